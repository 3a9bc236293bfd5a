"""When requests are sent, whatever the server does: offsets in seconds from the start."""

from __future__ import annotations

from typing import Literal

import numpy as np

from rankops.errors import BadInput

Process = Literal["poisson", "constant"]


def arrivals(process: Process, rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    """float64 ``(n,)``, rising, below ``seconds``, on average ``rate`` a second.

    ``poisson`` is what many independent people make (exponential gaps); ``constant`` has equal gaps. The same seed
    gives the same arrivals. Raises :class:`BadInput` for a rate or a time that is not positive.
    """
    if not (rate > 0 and seconds > 0):
        raise BadInput(f"a load of {rate:g} requests/s over {seconds:g} s is none", "give a positive rate and time")
    if process == "constant":
        return np.arange(max(1, round(rate * seconds))) / rate
    generator = np.random.default_rng(seed)
    expected = rate * seconds
    gaps = generator.exponential(1 / rate, size=int(expected + 10 * np.sqrt(expected) + 20))
    times: np.ndarray = np.cumsum(gaps)
    return times[times < seconds]
