"""``quarantine.yaml``: releases that must not come back to an environment. The refusal lives in Git.

A list of ``{digest, reason, since, commit, emergency}``, the last two optional. Rollback appends; people may append,
comment and remove.
Scalars are read as text (a digest of digits with one ``e`` is a float to YAML).
"""

from __future__ import annotations

import io
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from rankops.errors import BadInput, GateFailed
from rankops.overlays.trailers import Digest

HEADER = """\
# Releases that must not be deployed here again: a list of {digest, reason, since, commit}.
# `rankops rollback` appends to it; a person may remove an entry, in a commit that says why.
"""


class QuarantineEntry(BaseModel):
    """One refused release.

    ``since`` is an ISO 8601 time, ``commit`` the deploy commit that brought it, ``emergency`` says who took it out
    without the review that the environment asks for, and why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Digest
    reason: Annotated[str, StringConstraints(min_length=1)]
    since: str
    commit: str | None = Field(default=None)
    emergency: str | None = Field(default=None)


class Quarantine(BaseModel):
    """All refused releases of one environment and model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entries: tuple[QuarantineEntry, ...] = ()

    def find(self, digest: str) -> QuarantineEntry | None:
        """The entry for a release, or None."""
        return next((entry for entry in self.entries if entry.digest == digest), None)

    def problem(self, digest: str) -> str | None:
        """Why a release must not be deployed, as a sentence, or None."""
        entry = self.find(digest)
        return None if entry is None else f"release {digest[:12]} is quarantined since {entry.since}: {entry.reason}"

    def require_free(self, digest: str, *, name: str = "quarantine.yaml") -> None:
        """Raise :class:`GateFailed` where ``digest`` is quarantined."""
        if problem := self.problem(digest):
            raise GateFailed(
                f"{problem} ({name})", "deploy another release; a person may remove the entry in a commit that says why"
            )


def read_quarantine(text: str | None, *, name: str = "quarantine.yaml") -> Quarantine:
    """Parse the file; absent or empty means that nothing is quarantined.

    Raises :class:`BadInput` naming the entry and field: a list that cannot be read must not read as empty.
    """
    if text is None or not text.strip():
        return Quarantine()
    try:
        loaded = YAML(typ="base", pure=True).load(text)
    except YAMLError as error:
        raise BadInput(f"{name} is not YAML: {error}", "correct it") from error
    if loaded is None or loaded == "":
        return Quarantine()
    if not isinstance(loaded, list):
        raise BadInput(f"{name} is not a list", "write a list of {digest, reason, since, commit}")
    try:
        return Quarantine.model_validate({"entries": loaded})
    except ValidationError as error:
        wrong = "; ".join(f"entry {'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
        raise BadInput(f"{name}: {wrong}", "each entry needs digest (64 hex digits), reason and since") from error


def append_quarantine(text: str | None, entry: QuarantineEntry, *, name: str = "quarantine.yaml") -> str:
    """The file's new text with ``entry`` added; comments and entries of people stay. Idempotent by digest."""
    standing = read_quarantine(text, name=name)
    if text is not None and standing.find(entry.digest) is not None:
        return text
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000
    added = {key: DoubleQuotedScalarString(value) for key, value in entry.model_dump(exclude_none=True).items()}
    if not standing.entries:
        kept = "".join(f"{line}\n" for line in (text or HEADER).splitlines() if line.lstrip().startswith("#"))
        return kept + _dump(yaml, [added])
    items: CommentedSeq = yaml.load(text)
    items.append(added)
    return _dump(yaml, items)


def _dump(yaml: YAML, value: Any) -> str:
    out = io.StringIO()
    yaml.dump(value, out)
    return out.getvalue()
