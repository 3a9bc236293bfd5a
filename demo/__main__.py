"""``python -m demo``: see :mod:`demo`."""

from __future__ import annotations

import argparse
import sys
import time
import warnings

from rich.markup import escape

import demo as package
from demo.life import OTHER_DOORS, prepare, run
from demo.telling import console, tell
from rankops.errors import RankopsError
from rankops.files import write_json


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 0 when everything worked, 1 with a clear error otherwise."""
    from assets.models import MODELS

    others = {spec.name: spec for spec in MODELS if spec.task in OTHER_DOORS}
    parser = argparse.ArgumentParser(prog="make demo", description=package.__doc__)
    parser.add_argument(
        "--also", nargs="*", default=[], choices=sorted(others), help="take these models through the same life"
    )
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", module="dagster")  # beta notices of Dagster's own API, not ours to act on
    started = time.perf_counter()
    try:
        demo = prepare()
        run(demo, [others[name] for name in options.also])
    except RankopsError as error:
        console.print(f"\n[bold red]✗ {escape(str(error))}[/]")
        return 1
    demo.facts["seconds"] = round(time.perf_counter() - started, 1)
    write_json(demo.state.root / "demo.json", demo.facts)
    tell(demo.facts, demo.state)
    return 1 if "blocked" in demo.facts["decision"] else 0


if __name__ == "__main__":
    sys.exit(main())
