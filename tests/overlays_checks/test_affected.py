from __future__ import annotations

from pathlib import Path

import pytest

from rankops.overlays.affected import affected
from rankops.overlays.layout import OverlayLayout

LAYOUT = OverlayLayout("deploy/overlays-root")
TREE = {
    "base/server": "resources: [service.yaml]",
    "base/one": "resources:\n  - ../server/\n",
    "base/two": "resources: ['../server']",
    "base/other": "resources: [x.yaml]",
    "components/cpu": "kind: Component",
    "components/tuned": "components: [../cpu]",
    "overlays/staging/one": "resources: [../../../base/one]\ncomponents: [release]",
    "overlays/staging/one/release": "kind: Component",
    "overlays/staging/two": "resources:\n- ../../../base/two\ncomponents:\n- ../../../components/tuned",
    "overlays/staging/other": "resources: [../../../base/other] # not ../../../base/server",
    "overlays/production/one": "bases: [../../staging/one]",
    "overlays/staging/nested/inner": "resources: [..]",
    "overlays/staging/nested": "resources: [../../../base/two]",
}
OVERLAYS = [f"{LAYOUT.root}/{name}" for name in TREE if name.startswith("overlays/") and not name.endswith("release")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder, text in TREE.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "kustomization.yaml").write_text(text)
    return tmp_path


EVERY = {"staging/one", "staging/two", "staging/other", "production/one", "staging/nested", "staging/nested/inner"}
ONE = {"staging/one", "production/one"}
TWO = {"staging/two", "staging/nested", "staging/nested/inner"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("base/server/service.yaml", ONE | TWO),
        ("base/server/templates/deep/x.yaml", ONE | TWO),
        ("base/one/kustomization.yaml", ONE),
        ("base/removed/kustomization.yaml", set()),
        ("components/cpu/kustomization.yaml", {"staging/two"}),
        ("components/trust/release-signing.pub", EVERY),
        ("overlays/staging/one/release/kustomization.yaml", ONE),
        ("overlays/staging/one/quarantine.yaml", ONE),
        ("overlays/staging/nested/kustomization.yaml", {"staging/nested", "staging/nested/inner"}),
        ("README.md", set()),
        ("clusters/flux/staging.yaml", set()),
    ],
)
def test_a_change_reaches_what_reads_it_however_far(root: Path, changed: str, expected: set[str]) -> None:
    found = affected(OVERLAYS, [f"{LAYOUT.root}/{changed}"], root, LAYOUT)
    assert {name.removeprefix(f"{LAYOUT.root}/overlays/") for name in found} == expected


def test_files_outside_the_root_reach_nothing(root: Path) -> None:
    assert affected(OVERLAYS, ["base/server/service.yaml", "README.md"], root, LAYOUT) == []


def test_a_reference_to_a_folder_that_went_away_is_followed(root: Path) -> None:
    (root / "base" / "server" / "kustomization.yaml").unlink()
    found = affected(OVERLAYS, [f"{LAYOUT.root}/base/server/kustomization.yaml"], root, LAYOUT)
    assert {name.removeprefix(f"{LAYOUT.root}/overlays/") for name in found} == ONE | TWO


def test_a_kustomization_that_cannot_be_read_is_built_and_says_why(root: Path) -> None:
    (root / "overlays/staging/other/kustomization.yaml").write_text("resources: [../../../base/one\n")
    found = affected(OVERLAYS, [f"{LAYOUT.root}/base/one/kustomization.yaml"], root, LAYOUT)
    assert f"{LAYOUT.root}/overlays/staging/other" in found
