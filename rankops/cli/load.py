"""Load tests by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankops.cli.common import progress, reported, say
from rankops.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from rankops.load.generator import Generator
    from rankops.load.result import StageResult

_LEAST = 100  # answers below which a p99 is a guess


@reported
def load_test(
    url: Annotated[str, typer.Argument(help="http://host:port of the server")],
    queries: Annotated[
        Path, typer.Option(help="one query a line, a TSV with a column 'query', or JSON lines of bodies")
    ],
    path: Annotated[str, typer.Option(help="what is asked, by POST")] = "/search",
    rate: Annotated[
        str | None, typer.Option(help="requests a second, several by comma: 100,200,400; none: find the capacity")
    ] = None,
    objective_ms: Annotated[float, typer.Option(min=0.1, help="p99 that must hold")] = 50.0,
    seconds: Annotated[float, typer.Option(min=0.2, help="length of each stage")] = 10.0,
    warm_up: Annotated[float, typer.Option(min=0.0, help="seconds that are sent first and not counted")] = 1.0,
    clients: Annotated[int, typer.Option(min=1, help="clients of the closed loop that finds the ceiling")] = 16,
    process: Annotated[str, typer.Option(help="poisson (independent people) or constant gaps")] = "poisson",
    timeout: Annotated[float, typer.Option(min=0.01, help="seconds until a request has failed")] = 10.0,
    connections: Annotated[int, typer.Option(min=1, help="most connections")] = 256,
    seed: Annotated[int, typer.Option(help="of the arrivals")] = 0,
    out: Annotated[Path | None, typer.Option(help="folder for load.json, load.md and the plots")] = None,
) -> None:
    """Load a server in an open loop: latencies count from when a request was meant to be sent.

    With --rate each rate is held for a while; exit code 1 when one misses the objective. Without it the capacity is
    searched: the largest rate with p99 within the objective and no failure.
    """
    from rankops.load.generator import Generator, Options
    from rankops.load.http import Target, encode_all, read_bodies

    target = Target.parse(url)
    rates = _rates(rate)
    if process not in ("poisson", "constant"):
        raise BadInput(f"--process {process!r} is unknown", "give poisson or constant")
    requests = encode_all(target, path, read_bodies(queries))
    with progress() as tell, Generator(target, requests, Options(timeout, connections)) as generator:
        if rates:
            run = _Rates(generator, process, seconds, warm_up, seed, objective_ms, tell)
            met = run.all(rates, out)
        else:
            met = _capacity(generator, process, seconds, warm_up, seed, objective_ms, clients, out, tell)
    if not met:
        raise typer.Exit(1)


def _rates(text: str | None) -> list[float]:
    try:
        rates = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        rates = [-1.0]
    if any(not 0 < rate < 1e6 for rate in rates):
        raise BadInput(f"--rate {text!r} is no list of rates", "give e.g. --rate 100,200,400")
    return rates


class _Rates:
    """Stages of given rates, each held for a while."""

    def __init__(
        self, generator: Generator, process: Any, seconds: float, warm_up: float, seed: int, objective_ms: float,
        tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._generator, self._process, self._seconds, self._warm_up = generator, process, seconds, warm_up
        self._seed, self._objective_ms, self._tell = seed, objective_ms, tell

    def all(self, rates: list[float], out: Path | None) -> bool:
        from rankops.load.capacity import Objective
        from rankops.load.report import latency_plot, stages_markdown

        stages = [self.one(rate) for rate in rates]
        objective = Objective(self._objective_ms)
        say(stages_markdown(stages))
        refusals = {stage.rate: refusal for stage in stages if (refusal := objective.refusal(stage))}
        for missed, refusal in refusals.items():
            say(f"{missed:g} requests/s misses p99 <= {self._objective_ms:g} ms: {refusal}")
        if out is not None:
            written = {
                "stages": [stage.row() for stage in stages],
                "missed": {f"{k:g}": v for k, v in refusals.items()},
            }
            _write(out, written, stages_markdown(stages), {"latency.png": latency_plot(stages, self._objective_ms)})
        return not refusals

    def one(self, rate: float) -> StageResult:
        """One stage, with progress."""
        from rankops.load.arrivals import arrivals

        length = self._warm_up + self._seconds
        if rate * self._seconds < _LEAST:
            self._tell(f"load: {rate * self._seconds:.0f} requests are few for a p99; give --seconds more")
        offsets = arrivals(self._process, rate, length, self._seed)
        shown = [0.0]

        def tick(elapsed: float) -> None:
            if elapsed - shown[0] >= 2:
                shown[0] = elapsed
                self._tell(f"load: {rate:g} requests/s, {elapsed:.0f} of {length:.0f} s")

        return self._generator.open_loop(offsets, rate=rate, warm_up=self._warm_up, tick=tick)


def _capacity(
    generator: Generator, process: Any, seconds: float, warm_up: float, seed: int, objective_ms: float, clients: int,
    out: Path | None, tell: Callable[[str], None],
) -> bool:  # fmt: skip
    from rankops.load.arrivals import arrivals
    from rankops.load.capacity import Objective, find_capacity
    from rankops.load.report import capacity_plot, capacity_sentence, latency_plot, stages_markdown

    tell(f"load: closed loop of {clients} clients")
    ceiling = generator.closed_loop(clients, seconds, warm_up=warm_up)
    if not ceiling.answered:
        raise BadInput(f"the server answered nothing: {dict(ceiling.failures)}", "check address, path and queries")

    def measure(rate: float, number: int) -> StageResult:
        offsets = arrivals(process, rate, seconds, seed + number)
        return generator.open_loop(offsets, rate=rate)

    found = find_capacity(measure, Objective(objective_ms), ceiling.throughput, progress=tell)
    stages = [ceiling, *(probe.result for probe in found.probes)]
    say(stages_markdown(stages))
    say(capacity_sentence(found))
    if out is not None:
        shown = [found.at_capacity] if found.at_capacity else stages
        pictures = {"latency.png": latency_plot(shown, objective_ms), "capacity.png": capacity_plot(found)}
        written = {
            "capacity": found.rate,
            "interval": found.interval,
            "objective_ms": objective_ms,
            "stages": [stage.row() for stage in stages],
        }
        _write(out, written, f"{capacity_sentence(found)}\n\n{stages_markdown(stages)}", pictures)
    return found.at_capacity is not None


def _write(out: Path, record: dict[str, Any], text: str, pictures: dict[str, bytes]) -> None:
    from rankops.files import write_bytes, write_text

    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "load.json", json.dumps(record, indent=2) + "\n")
    shown = "\n\n".join(f"![{name}]({name})" for name in pictures)
    write_text(out / "load.md", f"{text}\n\n{shown}\n")
    for name, data in pictures.items():
        write_bytes(out / name, data)
