from __future__ import annotations

import numpy as np

from isaac.curation.vectors import Grid, embed_chunk
from isaac.models.encoders import Floats


class Given:
    """An encoder that returns the rows it was given."""

    def __init__(self, rows: Floats) -> None:
        self.rows = rows

    def encode(self, texts: list[str]) -> Floats:
        return self.rows


def on_grid(rows: Floats) -> Grid:
    """Return vectors of any length as they are put on the grid."""
    return embed_chunk(Given(rows), [str(number) for number in range(len(rows))]).vectors


def directions(seed: int, count: int, width: int, distinct: int | None = None) -> Grid:
    """Return random vectors on the grid, of which only some are distinct."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((distinct or count, width)).astype(np.float32)
    return on_grid(rows if distinct is None else rows[rng.integers(0, distinct, count)])
