"""One commit as git tells it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

FORMAT = "%H%x00%P%x00%an%x00%ae%x00%at%x00%s%x00%B"
"""The ``git log --format`` that :func:`parse_commit` reads."""

# A merge commit's first line, a squash commit's first line, GitLab's last paragraph.
_REQUEST = re.compile(
    r"\AMerge pull request (#\d+)|\A[^\n]*\((#\d+)\)[ \t]*(?:\n|\Z)|^See merge request \S*?(!\d+)[ \t]*$", re.MULTILINE
)


@dataclass(frozen=True)
class CommitInfo:
    """One commit; ``when`` is the author's time in UTC."""

    sha: str
    parents: tuple[str, ...]
    author: str
    email: str
    when: datetime
    subject: str
    message: str

    @property
    def request(self) -> str | None:
        """``#12`` (GitHub) or ``!12`` (GitLab): the pull request that the message says it merges, or None."""
        found = _REQUEST.search(self.message.replace("\r\n", "\n"))
        return next(filter(None, found.groups())) if found else None

    def __str__(self) -> str:
        return f"{self.sha[:12]} by {self.author} <{self.email}> on {self.when:%Y-%m-%d %H:%M} UTC"


def parse_commit(record: bytes) -> CommitInfo:
    """Parse one record printed with :data:`FORMAT`."""
    sha, parents, author, email, at, subject, message = record.decode(errors="replace").split("\0", 6)
    when = datetime.fromtimestamp(int(at), tz=UTC)
    return CommitInfo(sha.strip(), tuple(parents.split()), author, email, when, subject, message.strip("\n") + "\n")
