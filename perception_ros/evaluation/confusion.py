"""What true things were taken for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """What true things were called.

    counts: int64 [C + 1, C + 1], rows: the truth, columns: what was said; the last of each stands
    for what is no class. `names` [C + 1].
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]

    def as_json(self) -> dict[str, Any]:
        """Return it, ready for JSON."""
        return {'names': list(self.names), 'counts': self.counts.tolist()}
