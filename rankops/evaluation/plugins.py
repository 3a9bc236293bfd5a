"""A team's own metrics, slices and probes: modules that register them when they are imported."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from rankops.errors import BadInput


def load_plugins(modules: Sequence[str]) -> None:
    """Import the modules of ``EvaluationSpec.plugins``; raises :class:`BadInput` naming one that cannot be."""
    for name in modules:
        try:
            import_module(name)
        except ImportError as error:
            raise BadInput(
                f"the evaluation plugin {name!r} cannot be imported: {error}",
                "name an importable module in ModelSpec.evaluation.plugins, and ship it with the repository",
            ) from error
