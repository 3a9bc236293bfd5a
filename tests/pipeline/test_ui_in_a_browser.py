"""The Dagster UI does the same job as the command: Materialize on the deploy asset makes the commit."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from rankops.overlays.seed import create_bare_remote
from rankops.state import REPOSITORY
from tests.pipeline.conftest import Place
from tests.support import browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(400),
    pytest.mark.skipif(browser.missing() is not None, reason=browser.missing() or ""),
]


def subjects(remote: Path) -> list[str]:
    command = ["git", "-C", str(remote), "log", "--format=%s", "main"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_materialize_in_the_browser_commits_the_overlay(released: Place, tmp_path: Path) -> None:
    remote = tmp_path / "fresh.git"
    create_bare_remote(remote, REPOSITORY / "k8s-overlays", released.state.public_key)
    environment = {**os.environ, "RANKOPS_GIT_URL": remote.as_uri()}
    with (
        browser.webserver(environment, tmp_path / "webserver.log") as url,
        browser.browser() as driver,
    ):
        driver.get(f"{url}/assets/retriever/deploy")
        browser.see(driver, "The commit that pins the release")
        browser.click(driver, "Materialize")
        try:
            browser.choose_partition(driver, "staging")
            deadline = time.monotonic() + 180
            while len(subjects(remote)) < 2 and time.monotonic() < deadline:
                time.sleep(1)
        finally:
            driver.save_screenshot(str(tmp_path / "after.png"))
    assert subjects(remote)[0].startswith("deploy(staging): retriever to release")
