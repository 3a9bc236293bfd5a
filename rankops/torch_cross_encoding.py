"""A cross-encoder checkpoint in PyTorch: what training measures with, and the reference for compression.

A checkpoint is a Hugging Face sequence-classification folder of one logit (safetensors only), with
``cross_encoder.json`` and the parts' files as in :mod:`rankops.cross_encoding`. PyTorch is imported when asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankops.cross_encoding import DESCRIPTION, TOKENIZER, CrossEncoder, Logits, PairConfig
from rankops.errors import BadInput
from rankops.pair_parts import load_parts
from rankops.pair_tokens import MARKED_TYPES, PairTokenizer

BATCH_TOKENS = 4096


def load_network(folder: Path, *, marked: bool) -> Any:
    """A sequence-classification model of one logit in float32; a head that the folder lacks is drawn at random.

    ``marked`` gives a table of token types four rows where it has two: shared words start as the plain ones.
    Raises :class:`BadInput` where there are no safetensors: pickled weights are never loaded.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging as transformers_logging

    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise BadInput(
            f"{folder} is no model folder: it needs config.json and .safetensors weights",
            "rematerialize the checkpoint, or save the base model with safe_serialization=True",
        )
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # it warns of the new head, which is what we ask for
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            str(folder), num_labels=1, ignore_mismatched_sizes=True, local_files_only=True,
            trust_remote_code=False, use_safetensors=True, dtype="float32",
        )  # fmt: skip
    finally:
        transformers_logging.set_verbosity(level)
    if marked:
        _mark(model)
    return model


def token_types(model: Any) -> int:
    """Rows of the model's table of token types; 0 where there is none."""
    table = _type_table(model)
    return 0 if table is None else int(table[1].num_embeddings)


def _type_table(model: Any) -> tuple[Any, Any] | None:
    for module in model.modules():
        table = getattr(module, "token_type_embeddings", None)
        if table is not None:
            return module, table
    return None


def _mark(model: Any) -> None:
    import torch

    found = _type_table(model)
    if found is None or found[1].num_embeddings != MARKED_TYPES // 2:
        return
    holder, old = found
    wide = torch.nn.Embedding(MARKED_TYPES, old.embedding_dim)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([old.weight, old.weight]))
    holder.token_type_embeddings = wide
    model.config.type_vocab_size = MARKED_TYPES


def logits_of(model: Any) -> Logits:
    """The model as a function from arrays to logits, without gradients, on the model's device."""
    import torch

    typed = token_types(model) > 1

    def logits(ids: NDArray[np.int64], mask: NDArray[np.int64], types: NDArray[np.int64]) -> NDArray[np.float32]:
        feed = {"input_ids": ids, "attention_mask": mask, **({"token_type_ids": types} if typed else {})}
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(value).to(model.device) for name, value in feed.items()}
            found: NDArray[np.float32] = model(**tensors).logits.reshape(-1).float().cpu().numpy()
        return found

    return logits


def load_checkpoint(folder: Path) -> CrossEncoder:
    """A checkpoint, ready to score. Raises :class:`BadInput` or :class:`rankops.errors.IntegrityError`."""
    config = PairConfig.read(folder / DESCRIPTION)
    model = load_network(folder, marked=False).eval()
    return CrossEncoder(
        config,
        PairTokenizer(folder / TOKENIZER, max_tokens=config.max_pair_tokens, marked=config.marked),
        logits_of(model),
        load_parts(folder, config.files),
        batch_tokens=BATCH_TOKENS,
    )
