"""Errors that a person can act on.

Every error names what is wrong (file, field, row, commit) and the remedy. Callers catch the class that they can
do something about; everything else travels up and fails the step.
"""

from __future__ import annotations


class RankopsError(Exception):
    """Base class. ``problem`` says what is wrong, ``remedy`` what to do about it."""

    def __init__(self, problem: str, remedy: str | None = None) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(problem if remedy is None else f"{problem}\n  remedy: {remedy}")


class BadInput(RankopsError):
    """A table, file, spec or argument that people gave us breaks a rule."""


class IntegrityError(RankopsError):
    """Bytes are not what a digest or a signature says they are."""


class ProvenanceMismatch(RankopsError):
    """Two artifacts that must belong together were made from different inputs."""


class GateFailed(RankopsError):
    """The evidence says that a model must not go further."""


class OverlayConflict(RankopsError):
    """Somebody else changed a file that only ``deploy`` writes; a person has to decide."""


class InvalidOverlay(RankopsError):
    """The overlays do not build, or what they build breaks a schema or one of our rules."""


class RemoteUnavailable(RankopsError):
    """A Git remote, store or service could not be reached or refused us; trying later can help."""


class ToolMissing(RankopsError):
    """A program that rankops needs is not installed, or is too old."""


class VerificationFailed(RankopsError):
    """What is live is not the release that the commit pins, or it does not serve it well."""
