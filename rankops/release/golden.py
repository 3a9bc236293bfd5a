"""Golden answers: requests with the answers that the gated artifact gave offline, whatever the task.

A live server must answer the same requests over HTTP with the same products and scores, and one inference of the
protocol v2 with the same numbers. The requests are whole, so that verification needs to know no task.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from rankops.errors import BadInput
from rankops.files import write_json

GOLDEN = "golden.json"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GoldenRequest(_Strict):
    """``POST path request`` answers ``results`` with these products, best first, and these scores."""

    name: str
    path: str
    request: dict[str, Any]
    product_ids: list[str]
    scores: list[float]


class GoldenInference(_Strict):
    """``POST /v2/models/<model>/infer`` with these JSON tensors answers with these (see the protocol's spec)."""

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


class Golden(_Strict):
    """``golden.json``."""

    requests: list[GoldenRequest]
    inference: GoldenInference

    def write(self, folder: Path) -> None:
        """Write ``golden.json`` into a bundle."""
        write_json(folder / GOLDEN, self.model_dump(mode="json"))


def read_golden(folder: Path) -> Golden:
    """The golden answers of a release. Raises :class:`BadInput` where they are missing or of another form."""
    path = folder / GOLDEN
    try:
        return Golden.model_validate_json(path.read_text())
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing", "rematerialize the release") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{path}: {where}: {first['msg']}", "rematerialize the release") from error
