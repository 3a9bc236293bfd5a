"""``precision="auto"``: bf16 where the machine multiplies it natively."""

from __future__ import annotations

import pytest
import torch

from rankops.specs import TrainingSpec
from rankops.training.runs import precision_of


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_asks_the_cpu_and_a_named_precision_stays(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    assert precision_of(TrainingSpec(precision="auto")) == expected
    assert precision_of(TrainingSpec(precision="fp32")) == "fp32"
