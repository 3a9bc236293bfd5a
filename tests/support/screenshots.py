"""``python -m tests.support.screenshots``: the README's pictures, from the state that ``make demo`` left."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from rankops.state import REPOSITORY, LocalState
from tests.support import browser

PAGES = {
    "asset-graph": ("/locations/rankops/asset-groups/retriever/lineage", "verification", 0),
    "evaluation": ("/assets/retriever/evaluation?view=overview", "nDCG", 700),
    "quantized": ("/assets/retriever/quantized?view=overview", "int8", 700),
    "deploy": ("/assets/retriever/deploy?view=partitions&partition=staging", "overlay", 300),
    "drift": ("/assets/retriever/drift_report?view=partitions&partition=2026-03-18", "causes", 300),
}


def main(out: Path = REPOSITORY / "docs" / "images") -> None:
    """Open each page, wait until it shows what it is about, save a PNG."""
    state = LocalState.current()
    environment = {**os.environ, "PATH": f"{state.root / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "ui.log"
        with browser.dagster_ui(environment, log) as url, browser.browser(1500, 1300) as driver:
            for name, (path, text, scroll) in PAGES.items():
                driver.get(url + path)
                browser.see(driver, text)
                time.sleep(3)
                driver.execute_script(
                    "for (const e of document.querySelectorAll('*')) if (e.scrollHeight > e.clientHeight + 50)"
                    f" e.scrollTop = {scroll};"
                )
                time.sleep(1)
                driver.save_screenshot(str(out / f"{name}.png"))


if __name__ == "__main__":
    main()
