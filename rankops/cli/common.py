"""What every command shares: how errors, progress and results are printed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console

from rankops.errors import RankopsError

P = ParamSpec("P")
R = TypeVar("R")


def errors() -> Console:
    """Standard error, without highlighting."""
    return Console(stderr=True, highlight=False)


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """Turn errors that a person can act on into a message and exit code 1; bugs keep their traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except RankopsError as error:
            errors().print(f"[red]error:[/red] {plain(error.problem)}", soft_wrap=True)
            if error.remedy:
                errors().print(f"[green]remedy:[/green] {plain(error.remedy)}", soft_wrap=True)
            raise typer.Exit(1) from error

    return run


def plain(text: str) -> str:
    """``text`` with nothing in it that rich takes for markup."""
    from rich.markup import escape

    return escape(text)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A spinner with the latest message on a terminal, a line per message elsewhere; always on standard error."""
    console = errors()
    if not console.is_terminal:
        yield lambda message: console.print(plain(message), soft_wrap=True)
        return
    with console.status("starting") as status:
        yield lambda message: status.update(plain(message))


def say(text: str) -> None:
    """One result, on standard output."""
    typer.echo(text)
