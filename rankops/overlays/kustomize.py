"""The real ``kustomize``: find it, know that it is recent enough, and build a folder with it.

What belongs here: running the program. What it renders is judged in ``schemas.py`` and ``rules.py``.
At import only the standard library and :mod:`rankops.errors` are needed: ``scripts/install_kustomize.py`` runs this
before anything is installed.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from rankops.errors import InvalidOverlay, ToolMissing
from rankops.state import LocalState

OLDEST = (5, 7)
REMEDY = "run `make setup`, or put kustomize >= 5.7 on PATH"

# Distributions build kustomize without stamping its version; it then calls itself "(devel)". `sourceValue` came with
# 5.7.0, and an older kustomize refuses the unknown field, so a build that fills it in proves the version.
_PROBE = """\
configMapGenerator:
  - name: probe
    literals: [since=unknown]
replacements:
  - sourceValue: v5.7
    targets:
      - select: {kind: ConfigMap}
        fieldPaths: [data.since]
"""


class Rendered(NamedTuple):
    """What ``kustomize build`` printed: the text as it is, and its objects in the same order."""

    objects: list[dict[str, Any]]
    text: str


def version_of(program: Path) -> tuple[int, ...] | None:
    """``(5, 8, 1)``; ``(5, 7)`` for an unstamped build that proves to be at least that; None if it does not run."""
    try:
        code, out, _ = _run([str(program), "version"], timeout=30)
    except (OSError, TimeoutError):
        return None
    if code != 0:
        return None
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", out)
    if found:
        return tuple(int(part) for part in found.groups())
    return OLDEST if "devel" in out and _knows_source_value(program) else None


def find_kustomize(explicit: Path | None = None) -> Path:
    """The kustomize to use: ``explicit``, else the state folder's ``bin/``, else the one on PATH.

    Raises :class:`ToolMissing` when there is none, or when the one that would be used does not run or is older than
    5.7: a later candidate is never taken silently in its place.
    """
    for candidate in _candidates(explicit):
        version = version_of(candidate)
        if version is None:
            raise ToolMissing(f"{candidate} does not run, or is older than kustomize 5.7", REMEDY)
        if version < OLDEST:
            raise ToolMissing(f"{candidate} is kustomize {'.'.join(map(str, version))}; 5.7 is needed", REMEDY)
        return candidate
    raise ToolMissing("kustomize is not installed (looked in the state folder's bin/ and on PATH)", REMEDY)


def build(folder: Path, *, kustomize: Path, timeout: float = 60.0) -> Rendered:
    """Run ``kustomize build folder``.

    Raises :class:`InvalidOverlay` with kustomize's own message when the folder does not build, renders nothing, or
    takes longer than ``timeout`` seconds (a remote base that does not answer), and :class:`ToolMissing` when the
    program cannot be started.
    """
    if not folder.is_dir():
        raise InvalidOverlay(f"{folder} does not exist", "create the overlay: k8s-overlays/README.md says how")
    try:
        code, out, err = _run([str(kustomize), "build", str(folder)], timeout=timeout)
    except TimeoutError as error:
        remedy = "copy remote bases into the repository, so that a build needs no network"
        raise InvalidOverlay(f"kustomize build {folder} took over {timeout:g} s", remedy) from error
    except OSError as error:
        raise ToolMissing(f"cannot run {kustomize}: {error}", REMEDY) from error
    if code != 0:
        message = err.strip().removeprefix("Error: ") or f"exit status {code}"
        raise InvalidOverlay(f"kustomize build {folder} failed: {message}", "fix the file that the message names")
    objects = parse(out)
    if not objects:
        raise InvalidOverlay(
            f"kustomize build {folder} renders no object", "add `resources:` to its kustomization.yaml"
        )
    return Rendered(objects, out)


def parse(text: str) -> list[dict[str, Any]]:
    """The objects of a multi-document YAML text, read as Kubernetes' Go tools read it; empty documents left out.

    Raises :class:`InvalidOverlay` where a document is not a mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.Constructor = _go_constructor()
        documents = [d for d in yaml.load_all(text) if d is not None]
    except YAMLError as error:
        raise InvalidOverlay(f"not YAML: {error}", "fix the line that the message names") from error
    for document in documents:
        if not isinstance(document, dict):
            raise InvalidOverlay(f"a YAML document is a {type(document).__name__}, not an object", "remove it")
    return documents


@cache
def _go_constructor() -> type[Any]:
    """YAML 1.2 with Go's two exceptions: numbers too large for a float, and dates, are text.

    The first matters: a hex digest such as ``1234567e8000...`` is printed without quotes by kustomize.
    """
    from ruamel.yaml.constructor import SafeConstructor

    class GoConstructor(SafeConstructor):
        def float_or_text(self, node: Any) -> float | str:
            value = self.construct_yaml_float(node)
            return str(node.value) if math.isinf(value) and "inf" not in node.value.lower() else float(value)

    GoConstructor.add_constructor("tag:yaml.org,2002:float", GoConstructor.float_or_text)
    GoConstructor.add_constructor("tag:yaml.org,2002:timestamp", GoConstructor.construct_yaml_str)
    return GoConstructor


def _candidates(explicit: Path | None) -> Iterator[Path]:
    if explicit is not None:
        yield explicit
        return
    installed = LocalState.current().root / "bin" / "kustomize"
    if installed.exists():
        yield installed
    if (name := shutil.which("kustomize")) is not None:
        yield Path(name)


def _knows_source_value(program: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix="rankops-kustomize-") as folder:
        (Path(folder) / "kustomization.yaml").write_text(_PROBE)
        code, out, _ = _run([str(program), "build", folder], timeout=30)
    return code == 0 and "since: v5.7" in out


def _run(command: list[str], *, timeout: float) -> tuple[int, str, str]:
    """``(exit status, stdout, stderr)``; on a time-out the whole process group is killed (kustomize starts git)."""
    environment = os.environ | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise TimeoutError(f"{command[0]} took over {timeout:g} s") from error
    return process.returncode, out, err
