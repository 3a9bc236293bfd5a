"""The rungs of each target's ladder: what is tried, and how each is built.

A rung is a declaration; :class:`Workshop` builds it and shares the exported and the optimized graphs between rungs.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rankops.compression.export import ExportTask, export_onnx, fuse
from rankops.specs import Target

Precision = Literal["fp32", "fp16", "int8"]
Graph = Literal["plain", "O1", "O2", "O3", "O4", "lean", "split", "apart"]
Calibration = Literal["minmax", "entropy", "percentile"]
Spared = Literal["nothing", "after-gelu", "sensitive"]


@dataclass(frozen=True)
class Rung:
    """One candidate artifact.

    ``graph``: as exported, one of Optimum's levels, ``lean`` (O3 with the nodes apart that a CPU runs faster so, and
    embeddings folded; see :mod:`rankops.compression.lean`) or ``split`` (lean, with attention's projection as a
    product of its own); ``apart`` is what static ranges need. The other switches are for int8 only: one scale per
    output channel or per tensor; signed weights (u8s8) or unsigned (u8u8); 7-bit weights (``reduce_range``) where the
    CPU's 16-bit sums would overflow; ``calibration`` fixes the activations' ranges on real texts (static; None: each
    run finds its own, dynamic).

    ``spared`` names the matrices that int8 per tensor serves badly: those behind a GELU (their inputs have outliers),
    or those that a scan found to cost the most. They stay in fp32, or with ``bits`` they get scales of their own for
    every ``block`` numbers of weights and inputs, which is slower than int8 and far faster than fp32. ``bits`` with
    nothing spared treats every matrix so.

    ``words``: how the table of word embeddings is kept.
    ``smooth``: outliers of activations are moved into the weights first (:mod:`rankops.compression.smooth`).
    ``student``: made from the pruned and distilled student instead of the checkpoint.
    ``thorough``: tried only where the spec asks for the thorough ladder.
    """

    name: str
    precision: Precision
    graph: Graph = "lean"
    per_channel: bool = True
    signed: bool = True
    reduce_range: bool = False
    calibration: Calibration | None = None
    spared: Spared = "nothing"
    bits: Literal[0, 4, 8] = 0
    block: int = 32
    smooth: bool = False
    words: Literal["int8", "fp32"] = "int8"
    student: bool = False
    thorough: bool = False

    @property
    def what(self) -> str:
        """One line for people."""
        whose = ["student"] if self.student else []
        if self.precision != "int8":
            return ", ".join([*whose, self.precision, f"{self.graph} graph"])
        weights = ("s8" if self.signed else "u8") + (" weights in 7 bits" if self.reduce_range else " weights")
        parts = [
            *whose,
            f"static int8 ({self.calibration})" if self.calibration else "dynamic int8",
            f"{self.graph} graph",
            "per channel" if self.per_channel else "per tensor",
            weights,
            *(["smoothed activations"] if self.smooth else []),
        ]
        blocks = f"{self.bits} bits in blocks of {self.block}" if self.bits else "fp32"
        spared = {"nothing": "", "after-gelu": " after GELU", "sensitive": " for the most sensitive matrices"}
        if self.bits or self.spared != "nothing":
            parts.append(blocks + (spared[self.spared] or " for all matrices"))
        if self.words == "fp32":
            parts.append("word embeddings in fp32")
        return ", ".join(parts)


_PLAIN = Rung("fp32", "fp32", "plain")
_FLOAT = (
    Rung("fp32-lean", "fp32"),
    Rung("fp32-fused", "fp32", "O3", thorough=True),
    Rung("fp32-o2", "fp32", "O2", thorough=True),
    Rung("fp32-o1", "fp32", "O1", thorough=True),
    _PLAIN,
)


def _cpu(*, reduce_range: bool = False, unsigned: bool = False) -> tuple[Rung, ...]:
    """The ladder of a CPU. ``unsigned``: u8u8 is worth a try beside u8s8."""
    lean = Rung("int8-lean", "int8", reduce_range=reduce_range)
    rungs = [
        lean,
        replace(lean, name="int8-smooth", smooth=True),
        replace(lean, name="int8-smooth-blocks", graph="split", smooth=True, bits=8, words="fp32"),
        replace(lean, name="int8-smooth-mixed", smooth=True, spared="after-gelu", bits=8, thorough=True),
        Rung("int8-lean-mixed", "int8", reduce_range=reduce_range, spared="sensitive", bits=8, thorough=True),
        Rung("int8-blocks", "int8", reduce_range=reduce_range, bits=8, thorough=True),
        Rung("int8-lean-spared", "int8", reduce_range=reduce_range, spared="sensitive", thorough=True),
        Rung("int8-fused", "int8", "O3", reduce_range=reduce_range, thorough=True),
        Rung("int8-fused-mixed", "int8", "O3", reduce_range=reduce_range, spared="after-gelu", thorough=True),
        Rung("int8-per-channel", "int8", "plain", reduce_range=reduce_range),
        Rung("int8-per-tensor", "int8", "plain", per_channel=False, signed=not unsigned, thorough=True),
        Rung("int4-blocks", "int8", reduce_range=reduce_range, bits=4, thorough=True),
        *(
            Rung(f"int8-static-{way}", "int8", "apart", reduce_range=reduce_range, calibration=way, thorough=True)
            for way in ("minmax", "entropy", "percentile")
        ),
    ]
    if unsigned:
        rungs.insert(1, replace(lean, name="int8-lean-u8u8", signed=False, reduce_range=False))
    return (*rungs, *_FLOAT)


_RUNGS: dict[Target, tuple[Rung, ...]] = {
    "cpu-avx512-vnni": _cpu(),
    # Without VNNI pairs of u8 * s8 products are added in 16 bits and saturate: 7-bit weights, or both sides unsigned.
    "cpu-avx2": _cpu(reduce_range=True, unsigned=True),
    "cpu-arm64": _cpu(),
    # Dynamic int8 is often slower than fp16 on a GPU: it is built, and loses where it is measured to be.
    "gpu-cuda": (
        Rung("fp16-fused", "fp16", "O4"),
        Rung("fp32-fused", "fp32", "O3"),
        Rung("int8-fused", "int8", "O3"),
        _PLAIN,
    ),
}


def rungs_for(target: Target, *, thorough: bool = False, students: bool = False) -> tuple[Rung, ...]:
    """The rungs of ``target``, in the order in which we would believe in them without measuring.

    ``students``: the first two of them are tried on the student as well; unmeasured they come last before fp32.
    """
    rungs = [rung for rung in _RUNGS[target] if thorough or not rung.thorough]
    if students:
        rungs[-1:-1] = [replace(rung, name=f"student-{rung.name}", student=True) for rung in rungs[:2]]
    return tuple(rungs)


class Workshop:
    """Builds rungs of one checkpoint in ``scratch``; shared graphs, scans and calibrations are made once.

    ``texts``: real queries and product texts (or pairs of texts), which static rungs are calibrated on and sensitivity
    is measured with; rungs that need them cannot be built without.
    """

    def __init__(
        self,
        checkpoint: Path,
        scratch: Path,
        target: Target,
        task: ExportTask = "feature-extraction",
        texts: Sequence[Any] = (),
    ) -> None:
        self._checkpoint = checkpoint
        self._scratch = scratch
        self._target = target
        self._task: ExportTask = task
        self._texts = texts
        self.exported = scratch / "exported"
        self.spared: dict[str, tuple[str, ...]] = {}

    def export(self) -> Path:
        """The plain fp32 graph; raises when the checkpoint cannot be exported at all."""
        if not (self.exported / "model.onnx").is_file():
            export_onnx(self._checkpoint, self.exported, self._task)
        return self.exported

    def build(self, rung: Rung) -> Path:
        """The rung's ``model.onnx``. Raises whatever Optimum or ONNX Runtime raises for graphs they cannot treat."""
        from rankops.compression.quantize import quantize

        base = self.smoothed(rung.graph) if rung.smooth else self.graph(rung.graph)
        folder = self._scratch / rung.name
        folder.mkdir()
        if rung.precision == "int8":
            self.spared[rung.name] = quantize(base, folder, rung, self._target, self._texts)
        else:
            shutil.copyfile(base / "model.onnx", folder / "model.onnx")
        return folder / "model.onnx"

    def smoothed(self, graph: Graph) -> Path:
        """The folder of that graph with smoothed activations, made once."""
        from rankops.compression.smooth import smooth

        folder = self._scratch / f"smooth-{graph}"
        if (folder / "model.onnx").is_file():
            return folder
        return smooth(self.graph(graph), folder, self._texts)

    def graph(self, graph: Graph) -> Path:
        """The folder of the checkpoint's graph before quantization, made once."""
        from rankops.compression.lean import fold_embeddings, split_attention

        exported = self.export()
        if graph == "plain":
            return exported
        folder = self._scratch / f"graph-{graph}"
        if (folder / "model.onnx").is_file():
            return folder
        if graph == "split":
            shutil.copytree(self.graph("lean"), folder)
            split_attention(folder / "model.onnx")
            return folder
        fuse(exported, folder, "O3" if graph == "O4" else graph, fp16=graph == "O4")
        if graph in ("lean", "apart") and self._task == "feature-extraction":
            fold_embeddings(folder / "model.onnx")
        return folder
