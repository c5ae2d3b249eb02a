"""How close clustering and the neighbor search come to the limits of the machine.

Run: python benchmarks/limit.py [--data train.json] [--rows 9017] [--repeats 7] [--sample 1024]

Each repeat measures the machine's rates of matrix products and of memory again, and every
percentage refers to the rates of the same repeat. Without the data, or with --rows, the vectors
are synthetic: contexts and responses scattered around seeded topics.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import (
    DATA,
    format_header,
    format_median,
    format_table,
    make_parser,
    read_diasafety,
)
from threadpoolctl import threadpool_limits

from isaac import embed, load_encoder
from isaac.curation.clusters import joined_pairs
from isaac.curation.neighborhoods import BLOCK_NEIGHBORHOODS, cluster_neighborhoods
from isaac.curation.search.exact import find_neighbors
from isaac.curation.vectors import GRID_STEPS, GridVectors
from isaac.curation.views import ComparedResponses
from isaac.recipe import Recipe, ResolvedRecipe
from isaac.runtime.arrays import Ints

MATRIX_ROWS = 2048
"""Rows of the square matrices to multiply."""

STREAM_NUMBERS = 2**26
"""Numbers in each of the arrays to add, on all cores together."""

QUERY_ROWS = 1024
"""Queries in one call of the search."""

CASES = (("components", 150, 0.8), ("cover", 150, 0.9), ("cover", 400, 0.9))
"""The clustering methods to measure, with k and radius."""


class Vectors(NamedTuple):
    """The vectors to search and cluster.

    Row r has the context ``contexts[r]`` and the response ``responses[item[r]]``.
    """

    contexts: GridVectors
    responses: GridVectors
    item: Ints


def embed_diasafety(path: Path) -> Vectors:
    """Embed DiaSafety with the default encoder."""
    rows, encoder = read_diasafety(path), load_encoder("wordllama")
    texts, item = np.unique([row["response"] for row in rows], return_inverse=True)
    contexts = embed(encoder, [row["context"] for row in rows]).vectors
    return Vectors(contexts, embed(encoder, texts.tolist()).vectors, item.reshape(-1))


def make_vectors(rows: int, seed: int = 0, width: int = 256) -> Vectors:
    """Make synthetic vectors: contexts and responses of the same topic are similar."""
    rng = np.random.default_rng(seed)
    topics = rng.integers(0, max(1, rows // 50), rows)
    sides = []
    for noise in (1.0, 0.8):
        # unit vectors (rows, width) scattered around the center of their topic, put on the grid
        centers = rng.standard_normal((topics.max() + 1, width), np.float32)
        vectors = centers[topics] + noise * rng.standard_normal((rows, width), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        sides.append(np.rint(vectors * GRID_STEPS).astype(np.int16))
    return Vectors(sides[0], sides[1], np.arange(rows))


def time_on_threads(work: Callable[[Any], object], parts: Sequence[Any], workers: int) -> float:
    """Seconds for all parts on ``workers`` threads, with one BLAS thread in each."""
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        start = time.perf_counter()
        for _ in pool.map(work, parts):
            pass
        return time.perf_counter() - start


class Machine:
    """The rates that some of the machine's cores reach, in 10^9 per second."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.square = np.random.default_rng(0).standard_normal(
            (MATRIX_ROWS, MATRIX_ROWS), np.float32
        )
        self.products = np.empty((workers, MATRIX_ROWS, MATRIX_ROWS), np.float32)
        self.streams = np.ones((3, workers, STREAM_NUMBERS // workers), np.float32)

    def flops(self) -> float:
        """Operations of float32 matrix products, one product on each core."""

        def multiply(worker: int) -> None:
            np.matmul(self.square, self.square, out=self.products[worker])

        seconds = time_on_threads(multiply, range(self.workers), self.workers)
        return self.workers * 2 * MATRIX_ROWS**3 / seconds / 1e9

    def bytes(self) -> float:
        """Bytes read and written by a = b + c, with arrays far larger than the caches."""
        a, b, c = self.streams

        def add(worker: int) -> None:
            np.add(b[worker], c[worker], out=a[worker])

        return self.streams.nbytes / time_on_threads(add, range(self.workers), self.workers) / 1e9


def measure_clustering(
    vectors: Vectors, neighborhoods: Ints, machine: Machine, peak: float
) -> Iterator[tuple[str, float]]:
    """Measure whole `cluster_neighborhoods` calls, from gathering vectors to sorting clusters.

    ``neighborhoods`` (m, 400) are rows, nearest first; ``peak`` is the machine's rate of products.
    The percentage counts half of the product of a neighborhood with itself, k^2 d operations: the
    other half is its mirror image. There is none if pairs are looked up, because that needs hardly
    any products.
    """
    compared = ComparedResponses(vectors.responses, vectors.item)
    count = len(neighborhoods)
    for rule, k, radius in CASES:
        settings = {"clusters": rule, "neighbors": k, "radius": radius, "view": "whole"}
        recipe = ResolvedRecipe.of(Recipe(search="exact").model_dump() | settings)
        block = BLOCK_NEIGHBORHOODS if k < 256 else BLOCK_NEIGHBORHOODS // 4
        blocks = np.array_split(neighborhoods[:, :k], max(2, count // block))
        name = f"{rule}, k = {k}, radius {radius}"
        seconds = time_on_threads(partial(run_cluster, compared, recipe), blocks, machine.workers)
        operations = count * k**2 * vectors.responses.shape[1] / 1e9
        yield f"{name}: neighborhoods/s", count / seconds
        yield f"{name}: % of the products' rate", 100 * operations / seconds / peak
        start = time.perf_counter()
        with threadpool_limits(1, user_api="blas"):
            items = np.arange(len(vectors.responses))
            pairs = joined_pairs(vectors.responses, items, radius)
        yield f"{name}: all pairs once, one core: s", time.perf_counter() - start
        if pairs is not None:
            look_up = partial(run_cluster, compared._replace(joined_pairs=pairs), recipe)
            seconds = time_on_threads(look_up, blocks, machine.workers)
            yield f"{name}, pairs looked up: neighborhoods/s", count / seconds


def run_cluster(compared: ComparedResponses, recipe: ResolvedRecipe, members: Ints) -> None:
    cluster_neighborhoods(members, compared, recipe)


def measure_search(
    vectors: Vectors, machine: Machine, peak: float, bandwidth: float
) -> Iterator[tuple[str, float]]:
    """Measure the exact search for the 150 neighbors of every row.

    The percentages count the 2 n^2 d operations of all products, and the least that must be read
    and written: all vectors once per 1,024 queries, the queries, and the neighbors.
    """
    contexts, count = vectors.contexts, len(vectors.contexts)

    def search(start: int) -> None:
        rows = np.arange(start, min(start + QUERY_ROWS, count))
        find_neighbors(contexts[rows], contexts, 150, rows)

    starts = range(0, count, QUERY_ROWS)
    seconds = time_on_threads(search, starts, machine.workers)
    operations = 2 * count**2 * contexts.shape[1] / 1e9
    moved_bytes = (len(starts) + 1) * contexts.nbytes + count * 150 * 8
    yield "search, k = 150: queries/s", count / seconds
    yield "search, k = 150: % of the products' rate", 100 * operations / seconds / peak
    yield "search, k = 150: % of the bandwidth", 100 * moved_bytes / 1e9 / seconds / bandwidth


def sample_neighborhoods(vectors: Vectors, sample: int) -> Ints:
    """The 400 nearest rows of a sample of rows, evenly spread."""
    count = len(vectors.contexts)
    rows = np.unique(np.linspace(0, count - 1, sample).astype(np.int64))
    parts = np.array_split(rows, max(1, len(rows) // 256))
    return np.concatenate(
        [find_neighbors(vectors.contexts[part], vectors.contexts, 400, part) for part in parts]
    )


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--data", type=Path, default=DATA / "diasafety" / "train.json", help="DiaSafety's rows"
    )
    parser.add_argument("--rows", type=int, help="use this many synthetic vectors, and no data")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--sample", type=int, default=1024, help="neighborhoods to cluster")
    args = parser.parse_args()
    real = args.rows is None and args.data.exists()
    vectors = embed_diasafety(args.data) if real else make_vectors(args.rows or 9017)
    neighborhoods = sample_neighborhoods(vectors, args.sample)
    results: dict[str, dict[int, list[float]]] = {}
    machines = [Machine(workers) for workers in (1, 2)]
    for repeat, machine in itertools.product(range(args.repeats + 1), machines):
        peak, bandwidth = machine.flops(), machine.bytes()
        measured = [("matrix products, float32: 10^9/s", peak)]
        measured += [("a = b + c: 10^9 bytes/s", bandwidth)]
        measured += measure_clustering(vectors, neighborhoods, machine, peak)
        measured += measure_search(vectors, machine, peak, bandwidth)
        for name, value in measured if repeat else []:  # the first repeat only warms up
            results.setdefault(name, {}).setdefault(machine.workers, []).append(value)
    source = "DiaSafety" if real else "synthetic vectors"
    print(
        f"{format_header('benchmarks/limit.py', [0])}, {source}, {len(vectors.contexts):,} rows\n"
    )
    columns = ("what", *(f"{machine.workers} core(s)" for machine in machines))
    table = ((name, *map(format_cell, cells.values())) for name, cells in results.items())
    print(format_table(columns, table))


def format_cell(values: list[float]) -> str:
    """Format median, minimum and maximum, with fewer digits for larger numbers."""
    return format_median(values, 2 if max(values) < 10 else 1 if max(values) < 1000 else 0)


if __name__ == "__main__":
    main()
