"""What a resumable, reproducible run needs on top of a Hugging Face trainer, and that of sentence-transformers with it.

Importing this module imports PyTorch: the trainers of each task do so inside their functions.

Added by :class:`Stateful`:

* state is *sealed*: when all files of a saved state are on disk a marker naming them is written, and only then are
  older states deleted; a state without its marker is what a kill left behind and is never used.
* the weights of a state are one safetensors file of the whole module, so LoRA runs resume like full ones.
  (Optimizer and random state are the trainer's own files, private to the work folder.)
* a best state that cannot be loaded is an error (the original logs it and goes on with the last weights).
* of several processes (:mod:`rankops.training.ranks`) each saves its own random state; sealing waits for all of them.
"""

from __future__ import annotations

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_model, save_model
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.base.evaluation.evaluator import BaseEvaluator
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from rankops.errors import IntegrityError
from rankops.files import write_json
from rankops.training.ranks import Ranks

METRIC = "eval_dev"
STATE_FILE = "trainer_state.json"
_MARKER = "sealed.json"
_WEIGHTS = "model.safetensors"


class Stateful(Trainer):
    """A mix-in for trainers; see the module.

    ``elapsed`` returns the seconds of the run so far, those before an interruption included.
    """

    model: Any

    def __init__(self, *, elapsed: Callable[[], float], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._elapsed = elapsed
        self.trained_parameters = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        for callback in (PrinterCallback, ProgressCallback):  # progress goes through our own callback
            self.remove_callback(callback)

    @property
    def _folder(self) -> Path:
        """Where the state of this step lies."""
        return Path(str(self.args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        ranks = Ranks.current()
        with ranks.first_in_turn():
            if ranks.is_first:
                shutil.rmtree(self._folder, ignore_errors=True)  # what a killed save left under this step's name
        super()._save_checkpoint(model, trial)
        ranks.wait()  # each process has written its part
        with ranks.first_in_turn():
            if ranks.is_first:
                seal(self._folder, self._elapsed())
                super()._rotate_checkpoints(use_mtime=False, output_dir=self.args.output_dir)  # by number: no clock

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(str(output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.model, str(folder / _WEIGHTS))

    def _load_from_checkpoint(self, checkpoint_path: str, model: Any = None) -> None:
        load_model(self.model, Path(checkpoint_path) / _WEIGHTS, device=str(self.args.device))

    def _load_best_model(self) -> None:
        self.load_best_weights(int(self.state.best_global_step or 0))

    def load_best_weights(self, step: int) -> None:
        """Put the weights of a saved step into the model. Raises :class:`IntegrityError` when they are gone."""
        folder = Path(str(self.args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{step}"
        if not (folder / _MARKER).is_file():
            raise IntegrityError(
                f"the best state {folder} is gone or incomplete", "delete the work folder, train again"
            )
        self._load_from_checkpoint(str(folder))

    def _rotate_checkpoints(self, use_mtime: bool = False, output_dir: str | None = None) -> None:
        """Not yet: older states go when the new one is sealed (:meth:`_save_checkpoint`)."""


class NumberedTrainer(Stateful, ABC):
    """For batches of ours: lists of row numbers that :meth:`_collate` reads, and ``measure(model)`` as dev metric.

    ``batches`` yields what is left of each batch for this process.
    """

    def __init__(
        self, *, rows: int, batches: Iterable[list[int]], measure: Callable[[Any], float], **options: Any
    ) -> None:
        # The trainer insists on data sets; ours are row numbers, and evaluate() measures without one.
        super().__init__(train_dataset=range(rows), eval_dataset=range(rows), **options)
        self._rows_count, self._batches, self._measure = rows, batches, measure
        self.model_accepts_loss_kwargs = False

    @abstractmethod
    def _collate(self, numbers: list[int]) -> dict[str, Any]:
        """The tensors of one batch."""

    def get_train_dataloader(self) -> DataLoader:  # type: ignore[type-arg]
        """Row numbers in our batches; each process has its share already, and accelerate must not deal them out."""
        loader: DataLoader = DataLoader(  # type: ignore[type-arg]
            range(self._rows_count),  # type: ignore[arg-type]
            batch_sampler=self._batches,  # type: ignore[arg-type]
            collate_fn=self._collate,
        )
        if Ranks.current().count > 1:
            return loader
        prepared: DataLoader = self.accelerator.prepare(loader)  # type: ignore[type-arg]
        return prepared

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """The dev metric of the model as it is now."""
        self.model.eval()
        metrics = {METRIC: Ranks.current().once(lambda: self._measure(self.model))}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class StatefulTrainer(Stateful, SentenceTransformerTrainer):
    """For bi-encoders."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No model card: it holds timings and paths, and equal inputs must give equal checkpoints."""

    def get_train_dataloader(self) -> Any:
        """Our batches are shared out by the sampler itself; accelerate must not deal them out once more."""
        if Ranks.current().count == 1:
            return super().get_train_dataloader()
        return self._build_dataloader(self.train_dataset, self.args.train_batch_size, dataset_kind="train")


def seal(folder: Path, seconds: float) -> None:
    """Flush a state's files to disk, then write the marker that makes it count."""
    sizes = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
        sizes[path.name] = path.stat().st_size
    write_json(folder / _MARKER, {"files": sizes, "seconds": seconds})


def newest_state(states: Path) -> Path | None:
    """The last sealed state below ``states``; what killed saves left there is removed."""
    found: dict[int, Path] = {}
    for folder in states.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if _whole(folder):
            found[int(folder.name.rsplit("-", 1)[1])] = folder
        else:
            shutil.rmtree(folder)
    return found[max(found)] if found else None


def _whole(folder: Path) -> bool:
    marker = folder / _MARKER
    if not marker.is_file():
        return False
    files: dict[str, int] = json.loads(marker.read_text())["files"]
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in files.items())


def sealed_seconds(folder: Path) -> float:
    """Wall time that had gone into the run when this state was sealed."""
    return float(json.loads((folder / _MARKER).read_text())["seconds"])


@dataclass
class TextColumns:
    """Rows of text columns -> one batch of token ids per column, padded to its longest text, each with its limit."""

    model: SentenceTransformer
    limits: dict[str, int]
    valid_label_columns: list[str] = field(default_factory=list)

    def __call__(self, rows: list[dict[str, str]]) -> dict[str, Any]:
        """One batch: ``{column}_{tensor name}``, tensors (rows, longest text)."""
        batch: dict[str, Any] = {}
        for column in rows[0]:
            options = {"text": {"max_length": self.limits[column]}}
            tokens = self.model.preprocess([row[column] for row in rows], processing_kwargs=options)
            batch.update({f"{column}_{name}": value for name, value in tokens.items()})
        return batch


class DevEvaluator(BaseEvaluator):
    """Calls ``measure(model)`` at each evaluation; the trainer picks the best step by what it returns."""

    def __init__(self, measure: Callable[[SentenceTransformer], float]) -> None:
        super().__init__()
        self.primary_metric = "dev"
        self._measure = measure

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """The dev metric of the model as it is now."""
        return {"dev": self._measure(model)}
