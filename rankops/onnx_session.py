"""What every ONNX artifact is opened with: files that belong together, a tokenizer, a session of one thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from rankops.errors import BadInput, IntegrityError
from rankops.files import sha256_file

CPU = ("CPUExecutionProvider",)
CUDA = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""The second runs what the first cannot."""
ACCELERATOR_BATCH_TOKENS = 16384
KEEP_APART = ("SkipLayerNormFusion", "BiasGeluFusion")
"""What a session must not fuse on a CPU: ONNX Runtime 1.31 runs these nodes slower together than apart."""
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


@dataclass(frozen=True)
class SessionSettings:
    """How a session computes; results do not depend on it.

    ``threads``: cores of one run (a query of ten tokens gains nothing from a second). ``arena``: keep memory between
    runs (on a CPU neither slower nor faster without it, and smaller). ``device``: number of the accelerator.
    """

    threads: int = 1
    arena: bool = True
    device: int = 0


DEFAULT = SessionSettings()


def open_session(path: Path, providers: Sequence[str], settings: SessionSettings = DEFAULT) -> ort.InferenceSession:
    """One session. Raises :class:`BadInput` for a provider that this machine lacks, else IntegrityError."""
    absent = sorted(set(providers) - set(ort.get_available_providers()))
    if absent:
        raise BadInput(
            f"this onnxruntime offers {ort.get_available_providers()}, not {absent}",
            "use a provider that it offers, or install the onnxruntime package of that hardware",
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = settings.arena
    # a thread that spins while it waits takes a core from the requests beside it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    if CUDA[0] in providers:
        ort.preload_dlls()  # CUDA and cuDNN may lie in NVIDIA's wheels, where no loader looks by itself
    apart = KEEP_APART if tuple(providers) == CPU else ()
    try:
        session = ort.InferenceSession(
            str(path),
            options,
            providers=list(providers),
            provider_options=[_provider_options(name, settings) for name in providers],
            disabled_optimizers=apart,
        )
    except Exception as error:  # onnxruntime's own exceptions share no narrower base class
        raise IntegrityError(f"{path} does not load: {error}", REBUILD) from error
    if session.get_providers()[0] != providers[0]:  # onnxruntime goes on without what it cannot start
        raise BadInput(
            f"{providers[0]} cannot be started here, only {session.get_providers()}",
            "give the container a GPU with a driver that this onnxruntime knows, or serve with --provider cpu",
        )
    return session


def quiet_session(model: bytes) -> ort.InferenceSession:
    """A session of one thread over a graph in memory, for looking into it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=list(CPU))


def _provider_options(name: str, settings: SessionSettings) -> dict[str, str]:
    if name != CUDA[0]:
        return {}
    # As much memory as batches need, not the next power of two: several replicas may share a GPU.
    return {"device_id": str(settings.device), "arena_extend_strategy": "kSameAsRequested"}


def run_session(
    session: ort.InferenceSession,
    output: str,
    feed: Mapping[str, np.ndarray],
    *,
    bound_to: str | None = None,
    device: int = 0,
) -> np.ndarray:
    """One output. ``bound_to``: inputs and the output lie in the memory of that device (``cuda``) during the run.

    On a CPU binding costs more than it saves (measured: 0.8 against 0.7 ms a query), so nothing is bound there.
    """
    if bound_to is None:
        (found,) = session.run([output], dict(feed))
        return np.asarray(found)
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, bound_to, device))
    binding.bind_output(output, bound_to, device)
    session.run_with_iobinding(binding)
    return np.asarray(binding.copy_outputs_to_cpu()[0])


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
