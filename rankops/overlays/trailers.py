"""What a deploy commit says about itself: Git trailers that machines read back.

The parser is strict where git's own is lenient: every line of a paragraph of trailers must be ``Key: value``, none of
our keys may appear twice, and all that a deploy says must be there. A commit without ours is simply not a deploy
commit.

Trailers must survive how a pull request is merged. A rebase keeps the message. A squash writes a new one in which ours
are a paragraph among others: GitHub puts ``* subject`` lines before them and ``---------`` and ``Co-authored-by``
after, and breaks lines at 72 columns (our digests are longer); GitLab may end with ``See merge request``;
``git merge --squash`` indents all of it. So where the last paragraph is not ours, the others are searched. Two deploys
in one message are told apart by environment and model, and refused where that does not decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import dedent
from typing import Annotated, Literal

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
# Paragraphs end at an empty line or at the rule that a forge draws between squashed messages.
_BREAK = re.compile(r"\n(?:[ \t]*\n|[ \t]*(?:-{3,}|\*{3,}|={3,})[ \t]*(?:\n|$))+")


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
    emergency: OneLine | None = Field(default=None, description="who pushed a rollback past the review, and why")


FIELDS = {
    "Rankops-Model": "model",
    "Rankops-Release": "release",
    "Rankops-Environment": "environment",
    "Dagster-Run-Id": "dagster_run",
    "MLflow-Run-Id": "mlflow_run",
    "Dataset-Hash": "dataset",
    "Rankops-Supersedes": "supersedes",
    "Rankops-Quarantined": "quarantined",
    "Rankops-Emergency": "emergency",
}
KEYS = tuple(FIELDS)


# A forge that wraps lines leaves the key on one line and its one long word on the next.
_WRAPPED = re.compile(rf"^({'|'.join(map(re.escape, KEYS))}):[ \t]*\n[ \t]*(\S+)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class CommitRecord:
    """A commit and, where it is a deploy commit, its trailers.

    ``source`` tells where the trailers were read: the message, or (where a merge lost or spoilt them) the sealed
    release component of that commit. ``problem`` says what is wrong with a message that was not believed.
    """

    commit: CommitInfo
    trailers: DeployTrailers | None
    source: Literal["message", "component"] = "message"
    problem: str | None = None

    @property
    def is_rollback(self) -> bool:
        """True where the commit took a release out of service."""
        return self.trailers is not None and self.trailers.quarantined is not None


def render_trailers(trailers: DeployTrailers) -> str:
    """``Key: value`` lines in a fixed order, absent values left out, ending in a newline."""
    values = trailers.model_dump(exclude_none=True)
    return "".join(f"{key}: {values[name]}\n" for key, name in FIELDS.items() if name in values)


def render_message(subject: str, body: str, trailers: DeployTrailers) -> str:
    """A whole commit message: subject, blank line, body, blank line, trailers."""
    paragraphs = [subject.strip(), *([body.strip()] if body.strip() else []), render_trailers(trailers)]
    return "\n\n".join(paragraphs)


def parse_trailers(message: str) -> dict[str, str]:
    """All trailers in the last paragraph, ours and others'; empty where that paragraph holds anything else.

    Raises :class:`BadInput` where one of our keys appears twice.
    """
    paragraphs = _paragraphs(message)
    return _parse(paragraphs[-1]) if len(paragraphs) > 1 else {}


def read_trailers(message: str, environment: str | None = None, model: str | None = None) -> DeployTrailers | None:
    """Our trailers in a commit message, or None where it is not a deploy commit (of that environment and model).

    Raises :class:`BadInput` naming every trailer that is missing or malformed, or where several deploys are described
    and it is not clear which one is meant.
    """
    found = [
        block
        for block in read_all_trailers(message)
        if environment in (None, block.environment) and model in (None, block.model)
    ]
    if len(found) > 1:
        releases = ", ".join(f"{b.environment}/{b.model} {b.release[:12]}" for b in found)
        raise BadInput(f"the message carries the trailers of {len(found)} deploys: {releases}", "merge each by itself")
    return found[0] if found else None


def read_all_trailers(message: str) -> list[DeployTrailers]:
    """The trailers of every deploy that a message describes, each once, in order.

    Raises :class:`BadInput` naming every trailer that is missing or malformed: a block is whole or refused.
    """
    found: list[DeployTrailers] = []
    for paragraph in _paragraphs(message)[1:]:
        ours = {key: value for key, value in _parse(paragraph).items() if key in KEYS}
        if any(key.startswith("Rankops-") for key in ours) and (block := _validate(ours)) not in found:
            found.append(block)
    return found


def read_commit(remote: GitRemote, sha: str) -> CommitRecord:
    """Read one commit of the mirror. Raises :class:`BadInput` for an unknown commit or malformed trailers."""
    info = remote.info(sha)
    try:
        return CommitRecord(info, read_trailers(info.message))
    except BadInput as error:
        raise BadInput(f"commit {info}: {error.problem}", error.remedy) from error


def _paragraphs(message: str) -> list[str]:
    """Paragraphs without their common indentation, the subject first."""
    text = message.replace("\r\n", "\n").strip()
    return [dedent(paragraph.strip("\n")) for paragraph in _BREAK.split(text) if paragraph.strip()]


def _parse(paragraph: str) -> dict[str, str]:
    """The trailers of one paragraph; empty where one line of it is none."""
    found: dict[str, str] = {}
    for line in _WRAPPED.sub(r"\1: \2", paragraph).splitlines():
        match = _LINE.match(line)
        if match is None:
            return {}
        if match["key"] in found and match["key"] in KEYS:
            raise BadInput(f"the trailer {match['key']} appears twice", "a deploy commit carries each trailer once")
        found[match["key"]] = match["value"].strip()
    return found


def _validate(ours: dict[str, str]) -> DeployTrailers:
    try:
        return DeployTrailers.model_validate({FIELDS[key]: value for key, value in ours.items()})
    except ValidationError as error:
        keys = {name: key for key, name in FIELDS.items()}
        wrong = "; ".join(f"{keys[str(e['loc'][0])]}: {e['msg']}" for e in error.errors())
        raise BadInput(f"trailers of a deploy commit are malformed: {wrong}", "only rankops writes them") from error
