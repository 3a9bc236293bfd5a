"""What the forges behind an HTTP API share: their address, and how a refusal is told to a person."""

from __future__ import annotations

from urllib.parse import urlsplit

from rankops.errors import BadInput, RankopsError, RemoteUnavailable

_CUT = 600  # characters of a server's own words in an error


def server_address(url: str) -> str:
    """``url`` without a trailing slash.

    Raises :class:`BadInput` for one that is no http(s) address, or that carries credentials: it is shown in errors.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise BadInput(f"{url!r} is no address of a forge", "give https://host (and what follows it)")
    if "@" in parts.netloc:
        host = parts.netloc.rsplit("@", 1)[1]
        raise BadInput(
            f"the address of the forge at {host} carries credentials", "give the token by RANKOPS_GIT_TOKEN instead"
        )
    return url.rstrip("/")


def refusal(where: str, what: str, status: int, said: str, *, rate_limited: bool = False) -> RankopsError:
    """The error for an answer of ``status`` while we tried to do ``what``; ``said`` are the server's own words."""
    said = " ".join(said.split())[:_CUT] or "no message"
    problem = f"{where}: cannot {what} ({status}): {said}"
    if rate_limited or status == 429:
        return RemoteUnavailable(problem, "the forge's rate limit is used up: run again in a few minutes")
    if status in {401, 403}:
        remedy = "check that the token is set, has not expired and may write pull requests"
        return RemoteUnavailable(f"{where}: refused to {what} ({status}): {said}", remedy)
    if status == 404:
        return BadInput(problem, "check the repository's name, the number, and that the token may see them")
    if 400 <= status < 500:
        return BadInput(problem, "check the branches, and what the forge asks for before a merge")
    return RemoteUnavailable(problem, "run again later")


def silence(where: str, what: str, error: Exception) -> RemoteUnavailable:
    """The error where no answer came; the request itself is left out, for its headers hold the token."""
    return RemoteUnavailable(
        f"{where}: cannot {what}: {type(error).__name__}", "check the network and the forge's address"
    )
