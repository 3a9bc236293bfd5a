"""What the server imports is what its image holds, and what the digest of a working copy's "image" is made of."""

from __future__ import annotations

import re

import pytest

from rankops.stages.deploy import _SERVER_CODE, server_image
from rankops.state import REPOSITORY


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """Names right below ``rankops`` that the server and the release commands import, directly or not."""
    import grimp

    graph = grimp.build_graph("rankops")
    rooms = {room for name in ("rankops.serving", "rankops.release") for room in {name} | graph.find_descendants(name)}
    needed = rooms | {module for room in rooms for module in graph.find_upstream_modules(room)}
    return {module.split(".")[1] for module in needed if "." in module}


def test_the_image_holds_exactly_what_the_server_imports(imported: set[str]) -> None:
    dockerfile = (REPOSITORY / "images" / "server" / "Dockerfile").read_text()
    copied = {path.removesuffix(".py") for path in re.findall(r"rankops/([a-z_]+(?:\.py)?)(?=[ \n])", dockerfile)}
    assert copied - {"__init__"} >= imported
    assert {name for name in copied if (REPOSITORY / "rankops" / f"{name}.py").is_file()} - {"__init__"} <= imported


def test_the_digest_of_a_working_copy_covers_what_the_server_imports(imported: set[str]) -> None:
    assert {name.removesuffix(".py") for name in _SERVER_CODE} == imported
    assert server_image("")[1].startswith("sha256:")
