"""``python -m tests.support.screenshots``: the README's pictures, from the state that ``make demo`` left."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from rankops.state import REPOSITORY, LocalState
from tests.support import browser

# name: (path, what the page must show, the metadata row whose Markdown is opened)
PAGES = {
    "asset-graph": ("/locations/rankops/asset-groups/retriever/lineage", "verification", None),
    "evaluation": ("/assets/retriever/evaluation?view=overview", "held-out queries", "systems"),
    "quantized-rungs": ("/assets/retriever/quantized?view=overview", "times as fast", "rungs"),
    "deploy": ("/assets/retriever/deploy?view=overview", "supersedes", None),
    "drift": ("/assets/retriever/drift_report?view=overview", "causes", "picture"),
}


def main(only: list[str], out: Path = REPOSITORY / "docs" / "images") -> None:
    """Open each page, wait until it shows what it is about, open one plot or table, save a PNG."""
    state = LocalState.current()
    environment = {**os.environ, "PATH": f"{state.root / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "ui.log"
        with browser.dagster_ui(environment, log) as url, browser.browser(1500, 1200) as driver:
            for name, (path, text, row) in PAGES.items():
                if only and name not in only:
                    continue
                driver.get(url + path)
                browser.see(driver, text)
                time.sleep(2)
                if row is not None:
                    browser.open_markdown(driver, row)
                time.sleep(2)
                driver.save_screenshot(str(out / f"{name}.png"))


if __name__ == "__main__":
    main(sys.argv[1:])
