from __future__ import annotations

import re
from dataclasses import replace

import pytest

from rankops.forge.gitlab import GitLabForge
from rankops.forge.markdown import bullet, escape, table
from rankops.forge.pr_body import LIMIT, PullRequestFacts, build_body, build_title

FACTS = PullRequestFacts(
    model="retriever",
    environment="production",
    release="a" * 64,
    commit="1" * 40,
    supersedes="b" * 64,
    lineage={"dataset": "d" * 64, "Dagster run": "run-1"},
    why=["new slang in 12 % of queries", "drift score 0.31"],
    metrics=[{"metric": "ndcg@10", "champion": 0.61234567, "challenger": 0.65, "interval": "[0.02, 0.05]", "n": 300}],
    slices=[{"slice": "tail", "difference": -0.01}],
    worst_queries=[{"query": "red | shoes @ada <img src=x>", "titles": ["Shoe [x](http://evil.example)", "Boot"]}],
    compression=[{"rung": "int8", "kept": True, "why": None}],
    cost=[{"what": "latency p99 (ms)", "champion": 12.5, "challenger": 3.0}],
    gates=[{"gate": "better than bm25", "passed": True, "why": "+0.1"}],
    diff="--- a/x\n+++ b/x\n+y: 1\n",
    rendered_diff="--- a/r\n+++ b/r\n+z: ```\n",
)


def test_the_body_tells_everything_that_a_reviewer_needs() -> None:
    assert build_title(FACTS) == "deploy(production): retriever → release aaaaaaaaaaaa"
    body = build_body(FACTS)
    order = [
        "release `aaaaaaaaaaaa` replaces release `bbbbbbbbbbbb`",
        "### Why",
        "new slang in 12 % of queries",
        "### Metrics, paired by query",
        "| ndcg@10 | 0.6123 | 0.65 |",
        "### By slice",
        "### Most regressed queries",
        "### Size, latency and cost",
        "### Compression",
        "| int8 | yes |  |",
        "### Gates",
        "| better than bm25 | yes | +0.1 |",
        "+y: 1",
        "+z: ```",
        "### How to roll back",
        "rankops rollback production retriever",
    ]
    places = [body.find(part) for part in order]
    assert -1 not in places and places == sorted(places), list(zip(order, places, strict=True))


def test_what_strangers_wrote_is_text_and_nothing_else() -> None:
    body = build_body(FACTS)
    assert "<img" not in body and "@ada" not in body and "[x](http" not in body and "http://evil" not in body
    assert "red \\| shoes" in body  # the cell does not end the table's column


def test_a_diff_with_fences_cannot_leave_its_own_fence() -> None:
    assert "````diff\n--- a/r\n+++ b/r\n+z: ```\n````" in build_body(FACTS)


@pytest.mark.parametrize("limit", [LIMIT, GitLabForge.body_limit])
def test_a_body_never_exceeds_what_a_forge_takes_and_says_what_it_cut(limit: int) -> None:
    long = replace(FACTS, diff="+line\n" * 500_000, rendered_diff="+line\n" * 500_000)
    body = build_body(long, limit)
    assert limit * 0.6 < len(body) <= limit and body.count("… cut: too long") == 2 and "How to roll back" in body
    assert body.count("<details>") == body.count("</details>") and body.count("```") % 2 == 0
    for part in ("### Why", "| ndcg@10 | 0.6123 |", "### Gates", "### Most regressed queries"):
        assert part in body


def test_the_worst_that_strangers_write_leaves_room_for_what_matters() -> None:
    noise = "<@ada|&`$" * 2000
    rows = [{"query": noise, "first now": [noise] * 3, "first before": [noise] * 3}] * 500
    body = build_body(
        replace(FACTS, why=[noise] * 100, worst_queries=rows, slices=rows, compression=rows, diff=noise * 100)
    )
    assert len(body) <= LIMIT and "How to roll back" in body and "| ndcg@10 | 0.6123 |" in body
    assert "… and 80 more" in body  # reasons
    assert re.search(r"… and 4\d\d more", body)  # rows


def test_a_long_table_shows_fifty_rows_and_counts_the_rest() -> None:
    body = build_body(replace(FACTS, worst_queries=[{"query": f"q{i}"} for i in range(80)]))
    assert "| q49 |" in body and "| q50 |" not in body and "… and 30 more" in body


def test_a_first_release_has_no_earlier_one_to_return_to() -> None:
    body = build_body(replace(FACTS, supersedes=None, metrics=()))
    assert "replaces nothing (first release)" in body and "Metrics" not in body and "revert the merge commit" in body


def test_rows_with_different_columns_make_one_table() -> None:
    assert table([{"a": 1, "b": "x"}, {"a": 2.5, "c": False}]).splitlines() == [
        "| a | b | c |",
        "|---|---|---|",
        "| 1 | x |  |",
        "| 2.5 |  | no |",
    ]
    assert escape("a\nb  c") == "a b c"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("a | b", "a \\| b"),
        ("`code` **bold** _x_ ~y~ $z$", "\\`code\\` \\*\\*bold\\*\\* \\_x\\_ \\~y\\~ \\$z\\$"),
        ("</details><img src=x>", "&lt;/details&gt;&lt;img src=x&gt;"),
        ("ask @ada", "ask @\u200bada"),
        ("é@ada", "é@\u200bada"),  # forges decide by ASCII what a word is
        ("(@acme/team)", "(@\u200bacme/team)"),
        ("ndcg@10 me@example.com", "ndcg@10 me@example.com"),
        ("&#64;ada", "&amp;#\u200b64;ada"),
        ("#12 !3 GH-4", "#\u200b12 !\u200b3 GH-\u200b4"),
        ("https://evil.example www.evil.example", "https:\u200b//evil.example www\u200b.evil.example"),
        ("\u202egnp.exe\x00\x1b[31m\ud800", "gnp.exe\\[31m"),
        ("line\u2028one\r\n/assign ada", "line one /assign ada"),  # GitLab obeys lines that begin with a slash
    ],
)
def test_each_trick_becomes_plain_text(written: str, shown: str) -> None:
    assert escape(written) == shown
    escape(written).encode()


def test_a_reason_is_one_item_of_a_list_whatever_it_begins_with() -> None:
    assert [bullet(text) for text in ("# big", "- a", "1. one", "12) x", "5 %")] == [
        "- \\# big", "- \\- a", "- 1\\. one", "- 12\\) x", "- 5 %",
    ]  # fmt: skip


def test_a_table_is_complete_unless_room_is_given() -> None:
    rows = [{"text": "x" * 300}] * 60
    assert table(rows).count("\n") == 61 and "…" not in table(rows)
    assert "… and 10 more" in table(rows, 100_000) and "x" * 201 not in table(rows, 100_000)
    assert table(rows, 0) == "… and 60 more"


def test_a_rollback_is_titled_and_explained_as_one() -> None:
    back = replace(FACTS, rolls_back="c" * 64)
    assert build_title(back).startswith("rollback(production)")
    assert "`cccccccccccc` is quarantined" in build_body(back) and "How to roll back" not in build_body(back)
