"""``rankops api-key``: keys for the server's callers."""

from __future__ import annotations

from typing import Annotated

import typer

from rankops.cli.common import errors, reported, say

api_key = typer.Typer(help="API keys of the server's callers.", no_args_is_help=True)


@api_key.callback()
def _group() -> None:
    """Keep `new` a subcommand, although it is the only one."""


@api_key.command()
@reported
def new(
    name: Annotated[str, typer.Argument(help="who will use it: lower-case letters, digits and dashes")],
    rate: Annotated[float | None, typer.Option(help="requests a second that it may ask of each replica")] = None,
    expires: Annotated[str | None, typer.Option(help="first day (UTC) on which it is refused, YYYY-MM-DD")] = None,
) -> None:
    """Make a key. It is printed once, here, and kept nowhere; its line goes into the file of --api-keys.

    Standard output has two lines: the key, and the line with its hash.
    """
    from datetime import date

    from rankops.errors import BadInput
    from rankops.serving.api_keys import new_key

    try:
        day = None if expires is None else date.fromisoformat(expires)
    except ValueError:
        raise BadInput(f"{expires!r} is no day", "give --expires as YYYY-MM-DD") from None
    secret, key = new_key(name, rate, day)
    errors().print("The key (for the caller; it is not shown again), then its line (for the file of --api-keys):")
    say(secret)
    say(key.line())
