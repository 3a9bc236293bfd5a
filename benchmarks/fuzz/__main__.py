"""``python -m benchmarks.fuzz``: writes ``.rankops/bench/fuzz.json``; exit code 1 when any answer is wrong."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.fuzz.run import fuzz
from benchmarks.harness import DEFAULT_FOLDER
from rankops.files import write_json
from tests.support.tiny_tasks import make_releases


def main() -> int:
    """Fuzz, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="requests in all (default: 100,000)")
    parser.add_argument("--described", type=int, default=3_000, help="of these, made by schemathesis (default: 3,000)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed sends the same requests")
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, help="folder for fuzz.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        releases = make_releases(Path(folder))
        outcome = fuzz(
            releases,
            options.requests,
            described=options.described,
            seed=options.seed,
            progress=lambda line: print(line, file=sys.stderr),
        )
    report = {
        "name": "fuzz",
        "what": "requests that are nearly right or wrong, to a server of each task: no 5xx, no crash",
        "seed": options.seed,
        "versions": {name: version(name) for name in ("hypothesis", "schemathesis")},
        **outcome.as_json(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "fuzz.json", report)
    print(json.dumps(report, indent=2))
    return int(bool(outcome.wrong))


if __name__ == "__main__":
    sys.exit(main())
