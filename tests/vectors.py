"""Vectors on the grid for tests, without a text encoder."""

from __future__ import annotations

import numpy as np

from isaac.curation.vectors import GridVectors, embed_chunk
from isaac.runtime.arrays import Floats


class FixedEncoder:
    """An encoder that returns fixed rows, whatever the texts."""

    def __init__(self, rows: Floats) -> None:
        self.rows = rows

    def encode(self, texts: list[str]) -> Floats:
        return self.rows


def embed_rows(rows: Floats) -> GridVectors:
    """Normalize vectors of any length and round them to the grid."""
    return embed_chunk(FixedEncoder(rows), [str(number) for number in range(len(rows))]).vectors


def random_directions(
    seed: int, count: int, width: int, distinct: int | None = None
) -> GridVectors:
    """Random vectors on the grid; only ``distinct`` of them differ, if given."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((distinct or count, width)).astype(np.float32)
    return embed_rows(rows if distinct is None else rows[rng.integers(0, distinct, count)])
