from __future__ import annotations

import pytest

from rankops.errors import BadInput, GateFailed
from rankops.overlays.quarantine import QuarantineEntry, append_quarantine, read_quarantine

ENTRY = QuarantineEntry(digest="1" * 61 + "e12", reason="p99 was 2 s: too slow", since="2026-03-04T05:06:07+00:00")


@pytest.mark.parametrize("text", [None, "", "[]\n", "# nothing yet\n", "# nothing yet\n[]\n"])
def test_nothing_is_quarantined_before_the_first_entry(text: str | None) -> None:
    assert read_quarantine(text).entries == ()
    appended = append_quarantine(text, ENTRY)
    assert read_quarantine(appended).entries == (ENTRY,)
    if text and text.startswith("# nothing"):
        assert appended.startswith("# nothing yet\n")


def test_an_entry_is_appended_once_and_what_people_wrote_stays() -> None:
    people = f"# ours\n- digest: {'a' * 64}  # the slow one\n  reason: 'slow'\n  since: 2026-01-01\n"
    text = append_quarantine(people, ENTRY)
    assert "# the slow one" in text and "'slow'" in text and text.startswith("# ours")
    assert [e.digest for e in read_quarantine(text).entries] == ["a" * 64, ENTRY.digest]
    assert append_quarantine(text, ENTRY.model_copy(update={"reason": "again"})) == text


def test_a_digest_that_yaml_takes_for_a_number_is_still_refused() -> None:
    text = f"- digest: {ENTRY.digest}\n  reason: slow\n  since: 2026-01-01\n"
    with pytest.raises(GateFailed, match=r"quarantined since 2026-01-01: slow \(q\.yaml\)"):
        read_quarantine(text).require_free(ENTRY.digest, name="q.yaml")
    read_quarantine(text).require_free("a" * 64)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("digest: x\n", "not a list"),
        ("- [\n", "not YAML"),
        (f"- digest: {'a' * 64}\n  since: x\n", r"entry 0\.reason"),
        ("- digest: short\n  reason: r\n  since: x\n", r"entry 0\.digest"),
        (f"- digest: {'a' * 64}\n  reason: r\n  since: x\n  digset: y\n", r"entry 0\.digset"),
    ],
)
def test_a_list_that_cannot_be_read_never_reads_as_empty(text: str, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        read_quarantine(text, name="overlays/staging/retriever/quarantine.yaml")
