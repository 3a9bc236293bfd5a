"""Driving the Dagster UI in headless Chromium, for tests and for the README's screenshots."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.state import REPOSITORY

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


def missing() -> str | None:
    """Why the browser tests cannot run here, or None."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(absent)} not installed (make setup tries)" if absent else None


@contextmanager
def dagster_ui(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """``make ui`` (webserver, daemon with sensors, report server) on free ports; yields the UI's URL."""
    ports = [str(_free_port()), str(_free_port())]
    command = [sys.executable, "-m", "automation.ui", "--port", ports[0], "--reports-port", ports[1]]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=dict(environment), stdout=out, stderr=out, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{ports[0]}"
            _wait(lambda: urllib.request.urlopen(f"{url}/server_info", timeout=2).status == 200, 120, "no UI came up")
            yield url
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def browser(width: int = 1500, height: int = 1100) -> Iterator[Chrome]:
    """Headless Chromium."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={width},{height}"):
        options.add_argument(flag)
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


def click(driver: Chrome, text: str, *, seconds: float = 60) -> None:
    """Click the first visible, enabled button whose text contains ``text``."""
    from selenium.webdriver.common.by import By

    def attempt() -> bool:
        for element in driver.find_elements(By.XPATH, f"//button[contains(normalize-space(.), {text!r})]"):
            if element.is_displayed() and element.is_enabled() and not element.get_attribute("disabled"):
                element.click()
                return True
        return False

    _wait(attempt, seconds, f"no button {text!r} to click on {driver.current_url}")


def choose_partition(driver: Chrome, partition: str) -> None:
    """In Dagster's launch dialog of a partitioned asset: one partition, then launch."""
    from selenium.webdriver.common.by import By

    def attempt() -> bool:
        for button in driver.find_elements(By.XPATH, "//button[contains(normalize-space(.), 'Launch 1 run')]"):
            if button.is_enabled() and not button.get_attribute("disabled"):
                # by script: the open drop-down lies over the button
                driver.execute_script("arguments[0].click();", button)
                return True
        options = driver.find_elements(By.XPATH, f"//li//*[@title={partition!r}]")
        if not options:
            options = driver.find_elements(By.XPATH, "//*[contains(text(), 'Select a partition')]")
        if options:
            options[-1].click()
            time.sleep(1)  # the dialog counts what was chosen; a second click would take it back
        return False

    _wait(attempt, 90, f"could not choose partition {partition!r} and launch")


def open_markdown(driver: Chrome, row: str) -> None:
    """Click "Show Markdown" in the metadata row with this key."""
    from selenium.webdriver.common.by import By

    path = f"//tr[td[1][normalize-space(.)={row!r}]]//*[contains(text(), 'Show Markdown')]"

    def attempt() -> bool:
        for element in driver.find_elements(By.XPATH, path):
            driver.execute_script("arguments[0].scrollIntoView(); arguments[0].click();", element)
            return True
        return False

    _wait(attempt, 30, f"no Markdown in row {row!r} of {driver.current_url}")


def see(driver: Chrome, text: str, *, seconds: float = 60) -> None:
    """Wait until the page shows ``text``."""
    from selenium.webdriver.common.by import By

    _wait(
        lambda: text in driver.find_element(By.TAG_NAME, "body").text,
        seconds,
        f"{driver.current_url} never showed {text!r}",
    )


def _wait(done, seconds: float, problem: str = "timed out") -> None:
    from selenium.common.exceptions import WebDriverException

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if done():
                return
        except (OSError, WebDriverException):
            pass  # not there yet, or redrawn between finding and clicking
        time.sleep(0.3)
    raise AssertionError(problem)
