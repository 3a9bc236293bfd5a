"""How the suite runs: files are spread over the workers, the pipeline's tests stay together (they build on each other)."""

from __future__ import annotations

import os

import pytest

from rankops.state import REPOSITORY

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["PATH"] = f"{REPOSITORY / '.rankops' / 'bin'}{os.pathsep}{os.environ['PATH']}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group tests by file for pytest-xdist, and all of ``tests/pipeline`` as one group."""
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group("pipeline" if folder == "pipeline" else str(item.path)))
