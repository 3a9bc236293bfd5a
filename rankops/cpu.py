"""What the CPU of this machine can do."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def cpu_flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Instruction sets of the first core, as Linux names them (``avx2``, ``asimddp``); empty where no file says."""
    try:
        lines = cpuinfo.read_text().split("\n")
    except OSError:
        return frozenset()
    # x86 has a line "flags", ARM a line "Features"
    line = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
    return frozenset(line.split(":", 1)[1].split())
