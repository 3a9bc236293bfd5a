"""The diff that people read of what a cluster will see."""

from __future__ import annotations

from rankops.overlays.rendering import unified


def manifest(lines: int, replicas: int, *, first: str = "panel") -> str:
    dashboard = "".join(f"    {first if number == 0 else 'panel'} {number}\n\n" for number in range(lines))
    return f"kind: ConfigMap\ndata:\n  board.json: |\n{dashboard}---\nkind: Deployment\nspec:\n  replicas: {replicas}\n"


def test_a_long_text_that_is_new_or_gone_is_told_by_its_length() -> None:
    new = unified("", manifest(1500, 2), "rendered").splitlines()
    assert "+  board.json: |" in new and "+   … 3,000 lines" in new
    assert "+  replicas: 2" in new and len(new) < 15  # what would have been cut
    gone = unified(manifest(1500, 2), "", "rendered").splitlines()
    assert "-   … 3,000 lines" in gone and "-  replicas: 2" in gone


def test_a_short_text_and_a_change_inside_a_long_one_are_shown() -> None:
    assert "+    panel 19" in unified("", manifest(20, 2), "rendered")
    changed = unified(manifest(1500, 2), manifest(1500, 2, first="renamed"), "rendered").splitlines()
    assert "-    panel 0" in changed and "+    renamed 0" in changed and not any("…" in line for line in changed)


def test_a_diff_that_is_still_too_long_is_cut() -> None:
    items = "".join(f"- item {number}\n" for number in range(3000))
    lines = unified("", items, "rendered").splitlines()
    assert lines[-1] == "… 1003 more lines" and len(lines) == 2001
