"""Virtual environments of peers, made once from their pinned requirements under ``.rankops/peers``."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

from rankops.files import sha256_file, write_text

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent.parent / ".rankops" / "peers"


def python_of(name: str, progress: Callable[[str], None], *, sees_ours: bool = False, folder: Path = FOLDER) -> Path:
    """The Python of a peer's environment, made or brought up to its requirements first.

    ``sees_ours``: a path file lets it import what is installed beside rankops (torch), after its own packages.
    """
    requirements = HERE / f"requirements-{name}.txt"
    home = folder / name
    python, stamp = home / "bin" / "python", home / "requirements.sha256"
    packages = sysconfig.get_path("purelib") if sees_ours else "its own"  # ours may have moved since
    wanted = f"{sha256_file(requirements)} {packages}\n"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    progress(f"{name}: installing {requirements.name} into {home}")
    if not python.is_file():
        venv.EnvBuilder(with_pip=True, symlinks=True).create(home)
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(requirements)]
    subprocess.run([*install, *(["--no-deps"] if sees_ours else [])], check=True, stdout=sys.stderr)
    if sees_ours:
        theirs = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        write_text(theirs / "rankops-packages.pth", f"{packages}\n")
    write_text(stamp, wanted)
    return python


def version_in(python: Path, package: str) -> str:
    """The version of a package in that environment."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()
