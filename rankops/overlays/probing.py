"""A pod's HTTP probes, asked from this machine (for ``local_pod.py`` and ``docker_pod.py``)."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable

from rankops.overlays.pod_plan import Probe

_POLL = 0.1


def wait_for(url: str, probe: Probe, ended: Callable[[], str | None], *, poll: float = _POLL) -> str | None:
    """Ask until the probe passes (None), or the container ended or the probe's budget is spent (what happened).

    ``ended`` says how the container ended, None while it runs. The probe is asked every ``poll`` seconds or its
    period, whichever is shorter, within the same budget of seconds.
    """
    deadline = time.monotonic() + probe.budget
    answer = "no answer"
    while time.monotonic() < deadline:
        if how := ended():
            return f"{how} before it was ready"
        answer = ask(f"{url}{probe.path}", probe.timeout)
        if answer == "ok":
            return None
        time.sleep(min(poll, probe.period))
    return f"was not ready after {probe.budget:g} s ({probe.path}: {answer})"


def ask(url: str, timeout: float) -> str:
    """``ok`` for a status from 200 to 399 (as the kubelet counts), else what happened."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout):
            return "ok"
    except urllib.error.HTTPError as error:
        return f"status {error.code}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
