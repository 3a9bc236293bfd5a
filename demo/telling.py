"""What the demo prints: progress, and the closing page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from rankops.state import LocalState

console = Console(highlight=False)


def tell(facts: Mapping[str, Any], state: LocalState) -> None:
    """The closing page: commits, diff, answer, drift, relevance before and after, where to look next."""
    console.rule("[bold]what happened")
    answer = facts["search"]
    console.print(f"[bold]search[/]    {answer['query']!r} → {answer['results'][0]['title']}")
    tell_life(facts)
    for model, found in facts["also"].items():
        console.rule(f"[bold]{model}")
        console.print(f"[bold]asked[/]     {found['asked']} → {found['answer']['results'][0]['title']}")
        tell_life(found)
    console.print(f"\n[green]✓[/] {facts['seconds']:.0f} s. Machine-readable: {state.root / 'demo.json'}")
    console.print(
        "Open the UI with [bold]make ui[/] (http://127.0.0.1:3000), the overlays' history with "
        f"[bold]git -C {state.root / 'gitops.git'} log -p[/]"
    )


def tell_life(facts: Mapping[str, Any]) -> None:
    """One model's commits, drift and decision, and the metric of every system on each release's held-out part."""
    from rankops.specs import LABELS

    for number, deployed in enumerate(facts["deploys"], 1):
        console.print(f"[bold]commit {number}[/]  {deployed['commit']}  {deployed['overlay']}")
        console.print(f"          release {deployed['release']}")
    for line in changed_lines(facts["deploys"][-1]["diff"]):
        console.print(f"          [dim]{escape(line)}[/]", soft_wrap=True)
    causes = ", ".join(cause["name"] for cause in facts["drift"]["causes"]) or "none"
    console.print(f"[bold]drift[/]     {facts['drift']['day']}: {causes}")
    verdict = "retrain" if facts["decision"]["retrained"] else "do not retrain"
    console.print(f"[bold]decision[/]  {verdict}: {'; '.join(facts['decision']['record'].get('reasons', []))}")
    metric, releases = facts["relevance"]["metric"], facts["relevance"]["releases"]
    if blocked := facts["decision"].get("blocked"):
        console.print(f"[bold]blocked[/]   {blocked}: the live release stays")
    label = LABELS[metric]
    for item in releases:
        scores = "  ".join(f"{name} {value:.3f}" for name, value in item[metric].items())
        console.print(
            f"[bold]{label}[/]   release {item['release'][:12]} on {item['queries']} held-out queries: {scores}"
        )
    last = releases[-1][metric]
    if "champion" in last:
        console.print(
            f"[bold]retrained[/] on the drifted traffic's queries: {last['champion']:.3f} before → "
            f"{last['quantized']:.3f} after ({label})"
        )


def changed_lines(diff: str, most: int = 8) -> list[str]:
    """The first added and removed lines of a diff, without its headers."""
    lines = [line for line in diff.splitlines() if line[:1] in ("+", "-") and line[:3] not in ("+++", "---")]
    more = [f"… {len(lines) - most} more changed lines"] if len(lines) > most else []
    return [*lines[:most], *more]


def say(text: str) -> None:
    """One line of progress."""
    console.print(f"  [dim]│[/] {escape(str(text))}")


def compact_logger() -> Any:
    """A Dagster logger that prints what assets say, one short line each, and nothing of the engine's own events."""
    import logging

    from dagster import logger

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            meta: dict[str, Any] = getattr(record, "dagster_meta", {})
            if meta.get("dagster_event") is not None and record.levelno < logging.ERROR:
                return
            step = str(meta.get("step_key") or "").split("__")[-1]
            message = meta.get("orig_message") or record.getMessage()
            say(f"{step:<13} {message}")

    @logger
    def compact(_context: Any) -> logging.Logger:
        made = logging.getLogger("rankops.demo")
        made.setLevel(logging.INFO)
        made.handlers = [Handler()]
        made.propagate = False
        return made

    return compact
