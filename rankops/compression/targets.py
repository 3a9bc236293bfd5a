"""Which target this machine is: what int8 arithmetic its CPU has.

The instruction set decides which quantization is right. AVX-512 VNNI and ARM's dot product multiply 8-bit numbers
exactly; AVX2 and plain AVX-512 add pairs of products in 16 bits, which overflows (saturates) when unsigned
activations meet full-range signed weights.
"""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from rankops.cpu import CPUINFO, cpu_flags
from rankops.errors import BadInput
from rankops.specs import Target


def detect_target(cpuinfo: Path = CPUINFO, machine: str | None = None) -> Target:
    """The CPU target of this machine. Raises :class:`BadInput` for an x86 CPU without AVX2 and for unknown ones."""
    machine = (machine or platform.machine()).lower()
    if machine in ("aarch64", "arm64"):
        return "cpu-arm64"
    if machine not in ("x86_64", "amd64"):
        raise BadInput(f"there is no target for a {machine} CPU", "run compression on x86-64 or ARM64")
    flags = cpu_flags(cpuinfo)
    if "avx512_vnni" in flags:
        return "cpu-avx512-vnni"
    if "avx2" in flags or not flags:  # no /proc (macOS, Windows): every x86-64 CPU of the last decade has AVX2
        return "cpu-avx2"
    raise BadInput("this CPU has no AVX2", "run compression on a newer machine")


def can_measure(target: Target) -> bool:
    """True where latencies measured on this machine say something about ``target``."""
    if target == "gpu-cuda":
        import onnxruntime

        return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return detect_target() == target


def providers_for(target: Target) -> tuple[str, ...]:
    """ONNX Runtime execution providers for ``target`` on this machine, best first."""
    from rankops.onnx_session import CPU, CUDA

    if target == "gpu-cuda" and can_measure(target):
        return CUDA
    return CPU


def available_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def cpu_name(cpuinfo: Path = CPUINFO) -> str:
    """What the CPU calls itself, for people reading a measurement."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().split("\n"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def gpu_name() -> str:
    """What the first NVIDIA GPU calls itself."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "GPU of unknown name"
    return done.stdout.split("\n", 1)[0].strip()
