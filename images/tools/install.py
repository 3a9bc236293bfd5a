"""Install an extra of ``pyproject.toml`` into an environment of an image, and say exactly what was installed.

Runs in the build stage, with the standard library and pip only. pip resolves the extra under ``constraints.txt``; what
an image does not need (``--without``) is left out; the rest is installed without further resolving, each distribution
checked against the SHA-256 that the resolution saw. The report is what the SBOM is made from.

    python install.py --into /opt/rankops --extra serving --also "s3fs" --without without.txt --report installed.json

No source is built and no package of this repository is installed: an image holds the code as it is in the repository.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_OWN_EXTRA = re.compile(r"^rankops\[([^\]]+)\]$")


def normalized(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(pyproject: Path, extra: str) -> list[str]:
    """What ``pip install .[extra]`` would ask for, with this project's own extras followed.

    ``extra`` may be several, separated by commas. Raises ``SystemExit`` naming the extra that is not there.
    """
    project = tomllib.loads(pyproject.read_text())["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]

    def of(name: str) -> list[str]:
        if name not in extras:
            raise SystemExit(f"{pyproject} has no extra {name!r}; it has {', '.join(sorted(extras))}")
        found: list[str] = []
        for line in extras[name]:
            own = _OWN_EXTRA.match(line)
            found += [each for part in own[1].split(",") for each in of(part.strip())] if own else [line]
        return found

    return list(dict.fromkeys([*project["dependencies"], *(line for name in extra.split(",") for line in of(name))]))


def replaced(wanted: Iterable[str], replacements: Iterable[str]) -> list[str]:
    """``wanted`` with requirements swapped: ``onnxruntime=onnxruntime-gpu[cuda]`` replaces the one of that name."""
    pairs = dict(each.split("=", 1) for each in replacements)
    names = {normalized(old): new for old, new in pairs.items()}
    result = []
    for line in wanted:
        match = _NAME.match(line)
        result.append(names.pop(normalized(match[1]), line) if match else line)
    if names:
        raise SystemExit(f"nothing to replace: {', '.join(sorted(names))} is not asked for")
    return result


def names_in(file: Path | None) -> dict[str, str]:
    """``{name: reason}`` from lines ``name  # reason``."""
    if file is None:
        return {}
    lines = (line.partition("#") for line in file.read_text().splitlines())
    return {normalized(name.strip()): reason.strip() for name, _, reason in lines if name.strip()}


def resolve(pip: list[str], wanted: list[str], constraints: Path) -> list[dict[str, Any]]:
    """pip's installation report (https://pip.pypa.io/en/stable/reference/installation-report), one entry a package."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [*pip, "install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(report)]
        subprocess.run([*command, "--constraint", str(constraints), *wanted], check=True)
        entries: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return entries


def pins(entries: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """Name, version and, where the index told it, SHA-256 of each resolved distribution, by name."""
    found = []
    for entry in entries:
        hashes = entry["download_info"].get("archive_info", {}).get("hashes", {})
        meta = entry["metadata"]
        found.append({"name": meta["name"], "version": meta["version"], "sha256": hashes.get("sha256", "")})
    return sorted(found, key=lambda pin: normalized(pin["name"]))


def install(pip: list[str], chosen: list[dict[str, str]], *, sources: bool) -> None:
    """Install exactly these; a file with another hash than the resolved one is refused by pip.

    ``sources``: distributions without a wheel are built, which needs what their builds need.
    """
    hashed = [pin for pin in chosen if pin["sha256"]]
    plain = [f"{pin['name']}=={pin['version']}" for pin in chosen if not pin["sha256"]]
    flags = ["install", "--quiet", "--no-deps", "--no-compile", *([] if sources else ["--only-binary=:all:"])]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{pin['name']}=={pin['version']} --hash=sha256:{pin['sha256']}\n" for pin in hashed)
        file.flush()
        subprocess.run([*pip, *flags, "--require-hashes", "--requirement", file.name], check=True)
    if plain:
        subprocess.run([*pip, *flags, *plain], check=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(description="Install an extra of pyproject.toml into an environment of an image.")
    top.add_argument("--project", type=Path, default=Path(), help="folder of pyproject.toml and constraints.txt")
    top.add_argument("--extra", required=True, help="extras of pyproject.toml, separated by commas")
    top.add_argument("--also", default="", help="more requirements, separated by spaces, e.g. 's3fs'")
    top.add_argument("--replace", action="append", default=[], metavar="OLD=NEW", help="install NEW where OLD is asked")
    top.add_argument("--without", type=Path, help="file of distributions that this image does not need")
    top.add_argument("--sources", action="store_true", help="allow distributions that have no wheel")
    top.add_argument("--into", type=Path, help="virtual environment to install into; without it nothing is installed")
    top.add_argument("--report", type=Path, help="where to write what was installed, as JSON")
    return top


def main() -> None:
    """Resolve, leave out, install, report."""
    args = parser().parse_args()
    pip = [sys.executable, "-m", "pip"]
    if args.into:
        pip += ["--python", str(args.into / "bin" / "python")]
    wanted = [*replaced(requirements(args.project / "pyproject.toml", args.extra), args.replace), *args.also.split()]
    without = names_in(args.without)
    resolved = pins(resolve(pip, wanted, args.project / "constraints.txt"))
    chosen = [pin for pin in resolved if normalized(pin["name"]) not in without]
    if idle := without.keys() - {normalized(pin["name"]) for pin in resolved}:
        raise SystemExit(f"{args.without} leaves out what nothing asks for: {', '.join(sorted(idle))}")
    if args.into:
        install(pip, chosen, sources=args.sources)
    if args.report:
        args.report.parent.mkdir(parents=True, exist_ok=True)
        args.report.write_text(json.dumps(chosen, indent=1) + "\n")
    left_out = f", {len(without)} left out" if without else ""
    print(f"{len(chosen)} distributions {'installed' if args.into else 'resolved'}{left_out}")


if __name__ == "__main__":
    main()
