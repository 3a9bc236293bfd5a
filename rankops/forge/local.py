"""A forge in a folder, for machines without one: pull requests are JSON files, merging happens on the Git remote."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from rankops.errors import BadInput
from rankops.files import write_json
from rankops.forge.protocol import LISTED, Branches, PullRequest, newest_open


class LocalForge:
    """Implements :class:`rankops.forge.protocol.Forge`. Safe for many processes on one machine."""

    body_limit = 1_000_000
    mark = "#"

    def __init__(
        self, folder: Path, branches: Branches, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.folder, self._branches, self._clock = folder.resolve(), branches, clock

    def all(self) -> list[PullRequest]:
        """See :class:`~rankops.forge.protocol.Forge`."""
        return [self.get(number) for number in self._numbers()[-LISTED:]]

    def get(self, number: int) -> PullRequest:
        """One pull request in any state. Raises :class:`BadInput` for an unknown number or a damaged file."""
        path = self._path(number)
        try:
            return PullRequest.model_validate(json.loads(path.read_text())["pull_request"])
        except FileNotFoundError as error:
            raise BadInput(f"there is no pull request #{number} in {self.folder}", "list them first") from error
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise BadInput(f"{path} is damaged: {error}", "correct or delete it; deploy opens a new one") from error

    def comments(self, number: int) -> list[str]:
        """See :class:`~rankops.forge.protocol.Forge`."""
        self.get(number)
        return [str(comment) for comment in json.loads(self._path(number).read_text())["comments"]]

    def find_open(self, *, base: str, head_prefix: str) -> list[PullRequest]:
        """See :class:`~rankops.forge.protocol.Forge`."""
        found = (self.get(number) for number in self._numbers())
        return [p for p in found if p.state == "open" and p.base == base and p.head.startswith(head_prefix)]

    def open(self, *, head: str, base: str, title: str, body: str, labels: Sequence[str] = ()) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`."""
        with self._locked():
            if standing := newest_open(self, head, base):
                return self._save(standing.model_copy(update={"title": title, "body": body}))
            number = max(self._numbers(), default=0) + 1
            new = PullRequest(
                number=number, url=self._path(number).as_uri(), head=head, base=base, title=title, body=body,
                state="open", labels=tuple(labels),
            )  # fmt: skip
            return self._save(new)

    def update(self, number: int, *, title: str, body: str) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`."""
        with self._locked():
            return self._save(self.get(number).model_copy(update={"title": title, "body": body}))

    def close(self, number: int, *, comment: str) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`."""
        with self._locked():
            found = self.get(number)
            if found.state != "open":
                return found
            return self._save(found.model_copy(update={"state": "closed"}), comment)

    def merge(self, number: int) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`. Raises :class:`BadInput` for a closed one.

        Killed between the merge on the remote and the record here, merging again finds the merge and records it.
        """
        with self._locked():
            found = self.get(number)
            if found.state == "merged":
                return found
            if found.state == "closed":
                raise BadInput(f"pull request #{number} is closed", "deploy again to open a new one")
            message = f"Merge pull request #{number} from {found.head}\n\n{found.title}\n"
            commit = self._branches.merge_branch(found.head, found.base, message, when=self._clock())
            merged = found.model_copy(update={"state": "merged", "merge_commit": commit})
            return self._save(merged, f"merged as {commit}")

    def _numbers(self) -> list[int]:
        return sorted(int(p.stem) for p in self.folder.glob("*.json") if p.stem.isdigit())

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.json"

    def _save(self, pull_request: PullRequest, comment: str | None = None) -> PullRequest:
        path = self._path(pull_request.number)
        comments = json.loads(path.read_text())["comments"] if path.exists() else []
        if comment:
            comments.append(f"{self._clock().isoformat(timespec='seconds')} {comment}")
        write_json(path, {"pull_request": pull_request.model_dump(), "comments": comments})
        return pull_request

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
