"""``python -m benchmarks [--only NAME] [--out FOLDER]``: run benchmarks, write their JSON, print one table."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

import benchmarks
from benchmarks.harness import DEFAULT_FOLDER, table, write

_NOT_BENCHMARKS = {"fuzz", "harness", "__main__", "icecat_release", "served", "peers", "retail"}


def names() -> list[str]:
    """The benchmarks of this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in _NOT_BENCHMARKS)


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 1 when a benchmark misses its goal or a limit of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=names(), help="one benchmark instead of all")
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, help="folder for <name>.json")
    options = parser.parse_args(arguments)
    results = []
    for name in [options.only] if options.only else names():
        result = importlib.import_module(f"benchmarks.{name}").measure(lambda line: print(line, file=sys.stderr))
        print(f"wrote {write(result, options.out)}: {result.what}", file=sys.stderr)
        results.append(result)
    print(table(results))
    missed = [r for r in results if r.goal is not None and r.ratio < r.goal]
    return int(bool(missed) or any(r.also.get("within limits") is False for r in results))


if __name__ == "__main__":
    sys.exit(main())
