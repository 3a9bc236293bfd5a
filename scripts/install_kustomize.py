"""Install the kustomize that rankops renders overlays with: ``python scripts/install_kustomize.py [--dest FOLDER]``.

``make setup`` runs this. Nothing but the standard library is needed. The first source that works wins:

1. ``<dest>/kustomize`` is already there and recent enough: nothing to do;
2. a recent ``kustomize`` on PATH is linked into ``<dest>``;
3. the project's release archive, checked against a SHA-256 that two independent public sources agree on;
4. on Debian, the package ``kustomize`` of the suite *sid*, through the mirror and key that this machine's own apt
   sources name. Everything happens in a private folder: the machine's package lists and packages stay untouched.

What is installed is run once (``kustomize version``) before it gets its final name.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))  # `make setup` runs this before rankops is installed

from rankops.overlays.kustomize import OLDEST, version_of  # noqa: E402

VERSION = "5.8.1"
ARCHIVE = (
    "https://github.com/kubernetes-sigs/kustomize/releases/download/"
    "kustomize%2Fv{version}/kustomize_v{version}_{platform}.tar.gz"
)
SHA256 = {
    "linux_amd64": "029a7f0f4e1932c52a0476cf02a0fd855c0bb85694b82c338fc648dcb53a819d",
    "linux_arm64": "0953ea3e476f66d6ddfcd911d750f5167b9365aa9491b2326398e289fef2c142",
    "darwin_amd64": "ee7cf0c1e3592aa7bb66ba82b359933a95e7f2e0b36e5f53ed0a4535b017f2f8",
    "darwin_arm64": "8886f8a78474e608cc81234f729fda188a9767da23e28925802f00ece2bab288",
}
REMEDIES = f"""\
Remedies, any one of them:
  * put kustomize >= {OLDEST[0]}.{OLDEST[1]} on PATH (a package manager, or a release archive) and run this again;
  * copy the program to the destination named above;
  * allow this machine to reach the release archive or a Debian mirror, and run `make setup` again."""


class NotAvailableError(Exception):
    """This source cannot provide kustomize here; the next one may."""


def say(text: str) -> None:
    """Progress, on stderr and at once."""
    print(f"[kustomize] {text}", file=sys.stderr, flush=True)


def from_path(staged: Path) -> None:
    """Link a recent kustomize that PATH already offers."""
    name = shutil.which("kustomize")
    if name is None:
        raise NotAvailableError("none on PATH")
    version = version_of(Path(name))
    if version is None or version < OLDEST:
        raise NotAvailableError(f"{name} does not run, or is older than {OLDEST[0]}.{OLDEST[1]}")
    staged.symlink_to(Path(name).resolve())


def platform_key() -> str:
    """``linux_amd64``-style name of this machine."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def from_archive(staged: Path, *, archive: str = ARCHIVE, pinned: Mapping[str, str] = SHA256) -> None:
    """Download the release archive and refuse it unless its bytes are the pinned ones."""
    key = platform_key()
    if key not in pinned:
        raise NotAvailableError(f"no archive is pinned for {key}; install kustomize >= 5.7 yourself and put it on PATH")
    url = archive.format(version=VERSION, platform=key)
    try:
        with urllib.request.urlopen(url, timeout=8) as answer:  # noqa: S310 - https, unless a test says otherwise
            data = answer.read()
    except OSError as error:
        raise NotAvailableError(f"cannot download {url}: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != pinned[key]:
        raise NotAvailableError(f"{url} has SHA-256 {found}, pinned is {pinned[key]}: refused")
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as opened:
        member = opened.extractfile("kustomize")
        if member is None:
            raise NotAvailableError(f"{url} holds no file named kustomize")
        staged.write_bytes(member.read())
    staged.chmod(0o755)


def sid_sources(texts: Iterable[tuple[str, str]], codename: str) -> dict[str, str]:
    """The machine's apt sources for the Debian archive, turned to the suite sid.

    ``texts`` are ``(file name, content)`` of one-line (``.list``) and deb822 (``.sources``) files. Kept are the
    entries for ``codename`` itself (its ``-security`` and ``-updates`` siblings live elsewhere or add nothing) with
    their mirror, key and options.
    """
    found: dict[str, str] = {}
    for name, text in texts:
        entries = _deb822(text, codename) if name.endswith(".sources") else _one_line(text, codename)
        if entries:
            found[f"{len(found)}{Path(name).suffix}"] = "\n".join(entries)
    return found


def _deb822(text: str, codename: str) -> list[str]:
    kept = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and key:  # a folded value, such as a key written into the file
                fields[key] += f"\n{line}"
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.strip().lower()
                fields[key] = value.strip()
        off = fields.get("enabled", "yes").lower() in ("no", "false", "0", "off")
        if off or "deb" not in fields.get("types", "").split() or codename not in fields.get("suites", "").split():
            continue
        fields |= {"types": "deb", "suites": "sid", "components": "main"}
        kept.append("".join(f"{name}: {value}\n" for name, value in fields.items()))
    return kept


def _one_line(text: str, codename: str) -> list[str]:
    kept = []
    for line in text.splitlines():
        entry = rf"deb\s+(\[[^\]]*\]\s+)?(\S+)\s+{re.escape(codename)}(\s+\S+)+\s*$"
        match = re.match(entry, line.split("#")[0].strip())
        if match:
            kept.append(f"deb {match.group(1) or ''}{match.group(2)} sid main\n")
    return kept


def os_release() -> dict[str, str]:
    """``/etc/os-release`` as a dictionary; empty where there is none."""
    file = Path("/etc/os-release")
    lines = file.read_text().splitlines() if file.is_file() else []
    return {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines) if value}


def from_debian(staged: Path) -> None:
    """Unpack Debian's package with apt's own mirror, keys and proxies, in a private folder."""
    system = os_release()
    if system.get("ID") != "debian" or not all(map(shutil.which, ("apt-get", "dpkg-deb"))):
        raise NotAvailableError("this is not a Debian system")
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    texts = [(f.name, f.read_text()) for f in files if f.is_file() and f.suffix in (".list", ".sources")]
    sources = sid_sources(texts, system.get("VERSION_CODENAME", ""))
    if not sources:
        raise NotAvailableError("apt's sources name no mirror of the Debian archive")
    with tempfile.TemporaryDirectory(prefix="rankops-apt-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt downloads as its own user, who must be able to enter
        options = _private_apt(folder, sources)
        _apt(["apt-get", *options, "--error-on=any", "update"], folder, "reading the package list of sid")
        _apt(["apt-get", *options, "download", f"kustomize={VERSION}*"], folder, f"downloading kustomize {VERSION}")
        packages = list(folder.glob("kustomize_*.deb"))
        if not packages:
            raise NotAvailableError("apt-get download left no package behind")
        _apt(["dpkg-deb", "-x", str(packages[0]), str(folder / "unpacked")], folder, "unpacking it")
        shutil.copyfile(folder / "unpacked/usr/bin/kustomize", staged)
    staged.chmod(0o755)


def _private_apt(folder: Path, sources: dict[str, str]) -> list[str]:
    """Options that keep apt's state in ``folder`` and point it at ``sources`` only."""
    for name in ("lists/partial", "cache/archives/partial", "sources", "none"):
        (folder / name).mkdir(parents=True)
    for name, text in sources.items():
        (folder / "sources" / name).write_text(text)
    settings = {
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": folder / "sources",
        "Dir::Etc::Preferences": "/dev/null",  # a pin against sid, or a default release, must not hide the package
        "Dir::Etc::PreferencesParts": folder / "none",
        "APT::Default-Release": "",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _apt(command: list[str], folder: Path, what: str) -> None:
    say(f"  {what} ...")
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotAvailableError(f"{what} took over five minutes") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()[-3:]
        raise NotAvailableError(f"{what}: {' '.join(lines) or f'exit status {done.returncode}'}")


SOURCES: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("a kustomize on PATH", from_path),
    ("the project's release archive", from_archive),
    ("Debian's package", from_debian),
)


def install(destination: Path, sources: tuple[tuple[str, Callable[[Path], None]], ...] = SOURCES) -> int:
    """Make ``destination`` a working kustomize; return the exit status."""
    standing = version_of(destination) if destination.exists() else None
    if standing is not None and standing >= OLDEST:
        say(f"{_label(standing)} is installed: {destination}")
        return 0
    destination.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    refusals = []
    for label, fetch in sources:
        say(f"trying {label}")
        staged = destination.with_name(f".kustomize.{os.getpid()}.tmp")
        try:
            fetch(staged)
            version = version_of(staged)
            if version is None or version < OLDEST:
                raise NotAvailableError(f"what it offers does not run here, or is older than {OLDEST[0]}.{OLDEST[1]}")
            staged.replace(destination)
        except NotAvailableError as error:
            say(f"  no: {error}")
            refusals.append(f"  * {label}: {error}")
        else:
            seconds = time.monotonic() - started
            say(f"{_label(version)} from {label} in {seconds:.0f} s: {destination}")
            return 0
        finally:
            staged.unlink(missing_ok=True)
    print(f"error: kustomize could not be installed as {destination}", *refusals, REMEDIES, sep="\n", file=sys.stderr)
    return 1


def _label(version: tuple[int, ...]) -> str:
    """Debian's build carries no version number; it only proves to be recent enough."""
    text = ".".join(map(str, version))
    return text if len(version) > 2 else f"{text} or newer (an unstamped build)"


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and install."""
    state = Path(os.environ.get("RANKOPS_STATE") or REPOSITORY / ".rankops")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dest", type=Path, default=state / "bin", help="folder (default: %(default)s)")
    return install(parser.parse_args(arguments).dest / "kustomize")


if __name__ == "__main__":
    sys.exit(main())
