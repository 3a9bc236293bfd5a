"""What the remover catches: recall by class with Wilson's 95 % interval, and what it wrongly takes for personal data.

python -m tests.serving.pii_cases.measure            # the table, and microseconds a query
python -m tests.serving.pii_cases.measure tuning -v  # what is missed, to work on
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rankops.pii import may_name_someone, remove_pii

HERE = Path(__file__).parent
SHARED = HERE.parents[3] / "shared" / "data"
_WORD = re.compile(r"\w+")
_LABEL = re.compile(r"<[a-z]+>")


@dataclass(frozen=True)
class Case:
    kind: str
    detail: str
    query: str
    personal: str


@dataclass
class Score:
    """``found`` of ``n``, and examples of the rest."""

    n: int = 0
    found: int = 0
    missed: list[str] = field(default_factory=list)

    def add(self, good: bool, example: str) -> None:
        self.n += 1
        self.found += good
        if not good:
            self.missed.append(example)

    @property
    def share(self) -> float:
        return self.found / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 1927, 95 %."""
        z, n, p = 1.959964, self.n, self.share
        middle, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
        return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def cases(name: str) -> list[Case]:
    lines = (HERE / f"{name}.tsv").read_text().rstrip("\n").split("\n")[1:]
    return [Case(*line.split("\t")) for line in lines]


def leaks(case: Case, clean: Callable[[str], str] = remove_pii) -> bool:
    """Whether a word of the personal part (two characters or more) is left that stands nowhere else in the query."""
    kept = _WORD.findall(_LABEL.sub(" ", clean(case.query)))
    rest = unicodedata.normalize("NFKC", case.query.replace(case.personal, " ", 1))
    others = _WORD.findall(rest)
    personal = _WORD.findall(unicodedata.normalize("NFKC", case.personal))
    return any(len(word) > 1 and kept.count(word) > others.count(word) for word in personal)


def group(kind: str) -> str:
    return kind.partition(" ")[0] if kind.startswith(("phone ", "id ")) else kind


def recall(name: str, clean: Callable[[str], str] = remove_pii) -> dict[str, Score]:
    """By class; ``phone`` also by country and ``id`` by country's id."""
    scores: dict[str, Score] = defaultdict(Score)
    for case in cases(name):
        if case.kind != "negative":
            caught = not leaks(case, clean)
            for key in {
                case.kind,
                group(case.kind),
                group(case.kind),
            }:
                scores[key].add(caught, f"{case.query!r} -> {clean(case.query)!r}")
    return dict(scores)


def kept(queries: Iterable[str], clean: Callable[[str], str] = remove_pii) -> Score:
    """How many harmless texts stay as they are."""
    score = Score()
    for query in queries:
        cleaned = clean(query)
        score.add(cleaned == unicodedata.normalize("NFKC", query), f"{query!r} -> {cleaned!r}")
    return score


def suspected(name: str, known: frozenset[str] = frozenset()) -> Score:
    """Of the bare names, how many ``may_name_someone`` finds."""
    score = Score()
    for case in cases(name):
        if case.kind == "name, bare":
            score.add(may_name_someone(case.query, known), case.query)
    return score


def words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in re.findall(r"[^\W\d_]+", text.lower()))


def negatives(name: str) -> list[str]:
    return [case.query for case in cases(name) if case.kind == "negative"]


def icecat() -> tuple[list[str], list[str]]:
    """19,406 titles and 135 queries of people who rated an electronics shop."""
    folder = SHARED / "search_icecat"
    with gzip.open(folder / "products.jsonl.gz", "rt") as lines:
        titles = [json.loads(line)["title"] for line in lines]
    with (folder / "queries.tsv").open() as lines:
        next(lines)
        return titles, [line.split("\t", 2)[1] for line in lines]


def main(arguments: list[str]) -> None:
    name = next((a for a in arguments if not a.startswith("-")), "held_out")
    for kind, score in sorted(recall(name).items()):
        low, high = score.interval
        print(f"{kind:24} {score.found:4} / {score.n:4}  {score.share:6.1%}  [{low:.1%}, {high:.1%}]")
        if "-v" in arguments:
            print(*score.missed, sep="\n   ")
    known = words(icecat()[0]) if (SHARED / "search_icecat").is_dir() else frozenset()
    for what, vocabulary in (("bare names, suspected", frozenset()), ("same, with catalogue", known)):
        score = suspected(name, vocabulary)
        low, high = score.interval
        print(f"{what:24} {score.found:4} / {score.n:4}  {score.share:6.1%}  [{low:.1%}, {high:.1%}]")
    sets = {"negatives": negatives(name)}
    if (SHARED / "search_icecat").is_dir():
        sets["icecat titles"], sets["icecat queries"] = icecat()
    for what, texts in sets.items():
        score = kept(texts)
        low, high = score.interval
        print(
            f"{what:24} {score.n - score.found:4} / {score.n:5} changed, {1 - score.share:.3%}  [{1 - high:.3%}, {1 - low:.3%}]"
        )
        print(*score.missed[: 40 if "-v" in arguments else 0], sep="\n   ")
        started = time.perf_counter()
        for text in texts:
            remove_pii(text)
        print(f"{'':24} {(time.perf_counter() - started) / len(texts) * 1e6:.1f} us a text")


if __name__ == "__main__":
    main(sys.argv[1:])
