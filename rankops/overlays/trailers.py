"""What a deploy commit says about itself: Git trailers that machines read back.

The parser is strict where git's own is lenient: trailers are the last paragraph, every line of it must be
``Key: value``, and none of our keys may appear twice. A commit without ours is simply not a deploy commit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from rankops.errors import BadInput
from rankops.overlays.commits import CommitInfo
from rankops.overlays.mirror import GitRemote
from rankops.specs import DnsLabel

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""Hex SHA-256."""
OneLine = Annotated[str, StringConstraints(pattern=r"^[!-~]([ -~]*[!-~])?$", max_length=500)]
"""Printable ASCII without line breaks, so that no value can forge another trailer."""

_LINE = re.compile(r"^(?P<key>[A-Za-z0-9][A-Za-z0-9-]*): (?P<value>\S.*)$")


class DeployTrailers(BaseModel):
    """The trailers of one deploy commit; enough to rebuild the lineage and to check every digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: DnsLabel
    release: Digest
    environment: DnsLabel
    dagster_run: OneLine | None = None
    mlflow_run: OneLine | None = None
    dataset: Digest
    supersedes: Digest | None = None
    quarantined: Digest | None = Field(default=None, description="the release that a rollback took out of service")


_FIELDS = {
    "Rankops-Model": "model",
    "Rankops-Release": "release",
    "Rankops-Environment": "environment",
    "Dagster-Run-Id": "dagster_run",
    "MLflow-Run-Id": "mlflow_run",
    "Dataset-Hash": "dataset",
    "Rankops-Supersedes": "supersedes",
    "Rankops-Quarantined": "quarantined",
}
KEYS = tuple(_FIELDS)


@dataclass(frozen=True)
class CommitRecord:
    """A commit and, where it is a deploy commit, its trailers."""

    commit: CommitInfo
    trailers: DeployTrailers | None

    @property
    def is_rollback(self) -> bool:
        """True where the commit took a release out of service."""
        return self.trailers is not None and self.trailers.quarantined is not None


def render_trailers(trailers: DeployTrailers) -> str:
    """``Key: value`` lines in a fixed order, absent values left out, ending in a newline."""
    values = trailers.model_dump(exclude_none=True)
    return "".join(f"{key}: {values[name]}\n" for key, name in _FIELDS.items() if name in values)


def render_message(subject: str, body: str, trailers: DeployTrailers) -> str:
    """A whole commit message: subject, blank line, body, blank line, trailers."""
    paragraphs = [subject.strip(), *([body.strip()] if body.strip() else []), render_trailers(trailers)]
    return "\n\n".join(paragraphs)


def parse_trailers(message: str) -> dict[str, str]:
    """All trailers of a commit message, ours and others'; empty where the last paragraph holds anything else.

    Raises :class:`BadInput` where one of our keys appears twice.
    """
    paragraphs = re.split(r"\n[ \t]*\n", message.strip())
    if len(paragraphs) < 2:
        return {}
    found: dict[str, str] = {}
    for line in paragraphs[-1].splitlines():
        match = _LINE.match(line)
        if match is None:
            return {}
        if match["key"] in found and match["key"] in KEYS:
            raise BadInput(f"the trailer {match['key']} appears twice", "a deploy commit carries each trailer once")
        found[match["key"]] = match["value"].strip()
    return found


def read_trailers(message: str) -> DeployTrailers | None:
    """Our trailers in a commit message, or None where it is not a deploy commit.

    Raises :class:`BadInput` naming every trailer that is missing or malformed.
    """
    ours = {key: value for key, value in parse_trailers(message).items() if key in KEYS}
    if not any(key.startswith("Rankops-") for key in ours):
        return None
    try:
        return DeployTrailers.model_validate({_FIELDS[key]: value for key, value in ours.items()})
    except ValidationError as error:
        keys = {name: key for key, name in _FIELDS.items()}
        wrong = "; ".join(f"{keys[str(e['loc'][0])]}: {e['msg']}" for e in error.errors())
        raise BadInput(f"trailers of a deploy commit are malformed: {wrong}", "only rankops writes them") from error


def read_commit(remote: GitRemote, sha: str) -> CommitRecord:
    """Read one commit of the mirror. Raises :class:`BadInput` for an unknown commit or malformed trailers."""
    info = remote.info(sha)
    try:
        return CommitRecord(info, read_trailers(info.message))
    except BadInput as error:
        raise BadInput(f"commit {info}: {error.problem}", error.remedy) from error
