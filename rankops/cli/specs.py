"""ModelSpecs by name, from the module in which a team keeps them."""

from __future__ import annotations

import sys
from importlib import import_module

from rankops.errors import BadInput
from rankops.specs import ModelSpec
from rankops.state import REPOSITORY


def find_spec(module: str, name: str) -> ModelSpec:
    """The spec called ``name`` among the module's ModelSpecs (single ones, or in tuples and lists).

    The repository is searched for the module too. Raises :class:`BadInput` naming the specs that there are.
    """
    if str(REPOSITORY) not in sys.path:
        sys.path.append(str(REPOSITORY))
    try:
        found = vars(import_module(module))
    except ImportError as error:
        raise BadInput(f"the module {module} cannot be imported: {error}", "give --specs package.module") from error
    values = [value for value in found.values() for value in (value if isinstance(value, tuple | list) else [value])]
    specs = {spec.name: spec for spec in values if isinstance(spec, ModelSpec)}
    if name not in specs:
        raise BadInput(f"{module} has no ModelSpec {name!r}", f"give one of {', '.join(sorted(specs)) or 'none'}")
    return specs[name]
