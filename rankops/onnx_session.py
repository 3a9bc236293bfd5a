"""What every ONNX artifact is opened with: files that belong together, a tokenizer, a session of one thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime as ort
from tokenizers import Tokenizer

from rankops.errors import BadInput, IntegrityError
from rankops.files import sha256_file

ACCELERATOR_BATCH_TOKENS = 16384
REBUILD = "rematerialize the quantized artifact; if this is a release, roll back to the last one that verified"


def part_digests(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """SHA-256 of each named file. Raises :class:`IntegrityError` naming the first that is missing."""
    for name in names:
        if not (folder / name).is_file():
            raise IntegrityError(f"{folder / name} is missing", REBUILD)
    return {name: sha256_file(folder / name) for name in names}


def require_parts(folder: Path, description: str, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Raise :class:`IntegrityError` for a file that is not the one that ``description`` names."""
    for name, digest in expected.items():
        if found.get(name) != digest:
            raise IntegrityError(
                f"{folder / name} is not the file that {description} names "
                f"(expected {digest[:16]}, found {found.get(name, 'nothing')[:16]})",
                REBUILD,
            )


def read_tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    """A tokenizer file; its own padding and truncation (many fix 128) are replaced by the role's."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust side raises a bare Exception
        raise IntegrityError(f"{path} is not a tokenizer: {error}", REBUILD) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=max_tokens)
    return tokenizer


def open_session(path: Path, providers: Sequence[str]) -> ort.InferenceSession:
    """One session of one thread. Raises :class:`BadInput` for a provider this machine lacks, else IntegrityError."""
    absent = sorted(set(providers) - set(ort.get_available_providers()))
    if absent:
        raise BadInput(
            f"this onnxruntime offers {ort.get_available_providers()}, not {absent}",
            "use a provider that it offers, or install the onnxruntime package of that hardware",
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # a query of ten tokens gains nothing from a second core
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's own exceptions share no narrower base class
        raise IntegrityError(f"{path} does not load: {error}", REBUILD) from error


def similar_lengths(lengths: list[int], token_budget: int) -> list[list[int]]:
    """Positions grouped by similar length, so that a group padded to its longest holds at most ``token_budget``."""
    batches: list[list[int]] = []
    current: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if current and (len(current) + 1) * lengths[position] > token_budget:
            batches.append(current)
            current = []
        current.append(position)
    return [*batches, current] if current else batches
