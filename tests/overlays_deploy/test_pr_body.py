from __future__ import annotations

from rankops.forge.pr_body import LIMIT, PullRequestFacts, build_body, build_title, escape, table

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
        "### Metrics against the champion",
        "| ndcg@10 | 0.6123 | 0.65 |",
        "### By slice",
        "### Most regressed queries",
        "### Size, latency and cost",
        "### Compression",
        "| int8 | yes |  |",
        "+y: 1",
        "+z: ```",
        "### How to roll back",
        "rankops rollback retriever --environment production",
    ]
    places = [body.find(part) for part in order]
    assert -1 not in places and places == sorted(places), list(zip(order, places, strict=True))


def test_what_strangers_wrote_is_text_and_nothing_else() -> None:
    body = build_body(FACTS)
    assert "<img" not in body and "@ada" not in body and "[x](http" not in body and "http://evil" not in body
    assert "red \\| shoes" in body  # the cell does not end the table's column


def test_a_diff_with_fences_cannot_leave_its_own_fence() -> None:
    assert "````diff\n--- a/r\n+++ b/r\n+z: ```\n````" in build_body(FACTS)


def test_a_body_never_exceeds_what_forges_take_and_says_what_it_cut() -> None:
    from dataclasses import replace

    body = build_body(replace(FACTS, diff="+line\n" * 50_000, rendered_diff="+line\n" * 50_000))
    assert len(body) <= LIMIT and body.count("… cut: too long") == 2 and "How to roll back" in body
    many = build_body(replace(FACTS, worst_queries=[{"query": f"q{i}"} for i in range(80)]))
    assert "… and 30 more" in many


def test_a_first_release_has_no_earlier_one_to_return_to() -> None:
    from dataclasses import replace

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
