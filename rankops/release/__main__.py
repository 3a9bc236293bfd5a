"""``python -m rankops.release``: fetch, verify and show releases, and make a key pair.

Exit codes: 0 done; 1 other failure; 2 bad arguments or missing files; 3 a digest or signature is wrong; 4 the store
could not be reached.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rankops.errors import BadInput, IntegrityError, RankopsError, RemoteUnavailable

_CODES: tuple[tuple[type[RankopsError], int], ...] = ((BadInput, 2), (IntegrityError, 3), (RemoteUnavailable, 4))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m rankops.release",
        description="Fetch, verify and show signed releases.",
        epilog="exit codes: 0 done, 1 other failure, 2 bad arguments or missing files, "
        "3 a digest or signature is wrong, 4 the store could not be reached",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    fetch = commands.add_parser("fetch", help="download a release, verify it, put it in place (all or nothing)")
    fetch.add_argument("--uri", required=True, help="folder of the release in the store: file://, s3://, gs://")
    fetch.add_argument("--to", required=True, type=Path, help="folder that becomes the release")
    verify = commands.add_parser("verify", help="check signature, every file and the digest of a release folder")
    verify.add_argument("--release", required=True, type=Path, help="folder of the release")
    for command in (fetch, verify):
        command.add_argument("--public-key", required=True, type=Path, help="PEM file of the release signer")
    fetch.add_argument("--digest", required=True, help="hex digest that the release must have")
    verify.add_argument("--digest", help="hex digest that the release must have (default: what its manifest says)")
    keygen = commands.add_parser("keygen", help="make an EC P-256 key pair; never replaces one")
    keygen.add_argument("--folder", required=True, type=Path, help="where release-signing.key and .pub are written")
    show = commands.add_parser("show", help="print the manifest of a release folder as JSON (nothing is verified)")
    show.add_argument("--release", required=True, type=Path, help="folder of the release")
    return top


def run(args: argparse.Namespace) -> str:
    """Do what the arguments say and return the line to print. Raises :class:`RankopsError`."""
    if args.command == "keygen":
        from rankops.release.signing import create_key_pair

        private, public = create_key_pair(args.folder)
        return f"private key (keep it secret): {private}\npublic key (mount it where releases are served): {public}"
    if args.command == "show":
        from rankops.release.manifest import read_manifest

        return json.dumps(read_manifest(args.release).model_dump(mode="json"), indent=2, sort_keys=True)
    if args.command == "verify":
        from rankops.release.signing import verify

        manifest = verify(args.release, args.public_key, args.digest)
        return f"verified: {manifest.model} release {manifest.digest} ({len(manifest.files)} files)"
    from rankops.release.fetch import fetch

    outcome = fetch(args.uri, args.to, digest=args.digest, public_key=args.public_key)
    return f"{outcome}: release {args.digest} at {args.to}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; failures are one line on standard error."""
    args = parser().parse_args(argv)
    try:
        sys.stdout.write(run(args) + "\n")
    except RankopsError as error:
        remedy = f" (remedy: {error.remedy})" if error.remedy else ""
        sys.stderr.write(f"rankops.release: {error.problem}{remedy}\n")
        return next((code for kind, code in _CODES if isinstance(error, kind)), 1)
    except OSError as error:
        sys.stderr.write(f"rankops.release: {error} (remedy: check the path, its permissions and the free space)\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
