"""How near the clustering kernel and the neighbour search come to what the machine can do.

Run: python benchmarks/limit.py [--data train.json] [--rows 9017] [--repeats 7] [--sample 1024]
The rates of matrix products and of memory are measured on the spot, in each repeat anew, and every
share is of the rates in its own repeat. Without the data, vectors are made: responses and contexts
scattered about seeded topics.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import DATA, format_header, format_table, read_diasafety
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
"""Rows of the square matrices that are multiplied."""

STREAM_NUMBERS = 2**26
"""Numbers in each of the arrays that are added, on all cores together."""

QUERY_ROWS = 1024
"""Rows that one call looks for the neighbours of."""

CASES = (("components", 150, 0.8), ("cover", 150, 0.9), ("cover", 400, 0.9))


class Vectors(NamedTuple):
    """What is searched and clustered: row r answers ``contexts[r]`` by ``responses[item[r]]``."""

    contexts: GridVectors
    responses: GridVectors
    item: Ints


def embed_diasafety(path: Path) -> Vectors:
    """Return the default encoder's vectors of DiaSafety."""
    rows, encoder = read_diasafety(path), load_encoder("wordllama")
    texts, item = np.unique([row["response"] for row in rows], return_inverse=True)
    contexts = embed(encoder, [row["context"] for row in rows]).vectors
    return Vectors(contexts, embed(encoder, texts.tolist()).vectors, item.reshape(-1))


def make_vectors(rows: int, seed: int = 0, width: int = 256) -> Vectors:
    """Return vectors of which those of a topic are alike, contexts and responses."""
    rng = np.random.default_rng(seed)
    topics = rng.integers(0, max(1, rows // 50), rows)
    sides = []
    for noise in (1.0, 0.8):
        centres = rng.standard_normal((topics.max() + 1, width), np.float32)
        around = centres[topics] + noise * rng.standard_normal((rows, width), np.float32)
        around /= np.linalg.norm(around, axis=1, keepdims=True)
        sides.append(np.rint(around * GRID_STEPS).astype(np.int16))
    return Vectors(sides[0], sides[1], np.arange(rows))


def time_on_threads(work: Callable[[Any], object], parts: Sequence[Any], workers: int) -> float:
    """Return the seconds that threads take, each with one thread of linear algebra."""
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        start = time.perf_counter()
        for _ in pool.map(work, parts):
            pass
        return time.perf_counter() - start


class Machine:
    """What some of the machine's cores can do, in 10^9 a second."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.square = np.random.default_rng(0).standard_normal(
            (MATRIX_ROWS, MATRIX_ROWS), np.float32
        )
        self.products = np.empty((workers, MATRIX_ROWS, MATRIX_ROWS), np.float32)
        self.streams = np.ones((3, workers, STREAM_NUMBERS // workers), np.float32)

    def flops(self) -> float:
        """Return the operations of float32 matrix products, one product a core."""

        def multiply(worker: int) -> None:
            np.matmul(self.square, self.square, out=self.products[worker])

        taken = time_on_threads(multiply, range(self.workers), self.workers)
        return self.workers * 2 * MATRIX_ROWS**3 / taken / 1e9

    def bytes(self) -> float:
        """Return the bytes read and written by a = b + c, arrays far larger than caches."""
        a, b, c = self.streams

        def add(worker: int) -> None:
            np.add(b[worker], c[worker], out=a[worker])

        return self.streams.nbytes / time_on_threads(add, range(self.workers), self.workers) / 1e9


def measure_clustering(
    vectors: Vectors, near: Ints, machine: Machine, peak: float
) -> Iterator[tuple[str, float]]:
    """Yield what whole `cluster_neighborhoods` calls reach: gathering, products, names and order by size.

    Counted is half of the product of a neighbourhood with itself, k^2 d operations: the other half
    is its mirror image and has not to be computed. No share is told where pairs are looked up,
    which needs next to no products.
    """
    compared = ComparedResponses(vectors.responses, vectors.item)
    for rule, k, radius in CASES:
        chosen = {"clusters": rule, "neighbors": k, "radius": radius, "view": "whole"}
        settled = ResolvedRecipe.of(Recipe(search="exact").model_dump() | chosen)
        parts = np.array_split(
            near[:, :k],
            max(2, len(near) // (BLOCK_NEIGHBORHOODS if k < 256 else BLOCK_NEIGHBORHOODS // 4)),
        )
        name = f"{rule}, k = {k}, radius {radius}"
        taken = time_on_threads(partial(run_cluster, compared, settled), parts, machine.workers)
        flops = len(near) * k**2 * vectors.responses.shape[1] / 1e9
        yield f"{name}: neighbourhoods/s", len(near) / taken
        yield f"{name}: % of the products' rate", 100 * flops / taken / peak
        start = time.perf_counter()
        with threadpool_limits(1, user_api="blas"):
            every = np.arange(len(vectors.responses))
            known = joined_pairs(vectors.responses, every, radius)
        yield f"{name}: all pairs once, one core: s", time.perf_counter() - start
        if known is not None:
            looked_up = partial(run_cluster, compared._replace(joined_pairs=known), settled)
            taken = time_on_threads(looked_up, parts, machine.workers)
            yield f"{name}, pairs looked up: neighbourhoods/s", len(near) / taken


def run_cluster(compared: ComparedResponses, settled: ResolvedRecipe, members: Ints) -> None:
    cluster_neighborhoods(members, compared, settled)


def measure_search(
    vectors: Vectors, machine: Machine, peak: float, stream: float
) -> Iterator[tuple[str, float]]:
    """Yield what the exact search for 150 neighbours of every row reaches.

    Counted are the 2 n^2 d operations of all products, and the least that has to be read and
    written: all vectors once for each 1,024 queries, the queries, and the neighbours found.
    """
    found, count = vectors.contexts, len(vectors.contexts)

    def search(start: int) -> None:
        rows = np.arange(start, min(start + QUERY_ROWS, count))
        find_neighbors(found[rows], found, 150, rows)

    starts = range(0, count, QUERY_ROWS)
    taken = time_on_threads(search, starts, machine.workers)
    moved = (len(starts) + 1) * found.nbytes + count * 150 * 8
    yield "search, k = 150: queries/s", count / taken
    yield (
        "search, k = 150: % of the products' rate",
        (100 * 2 * count**2 * found.shape[1] / 1e9 / taken / peak),
    )
    yield "search, k = 150: % of the bandwidth", 100 * moved / 1e9 / taken / stream


def sample_neighborhoods(vectors: Vectors, sample: int) -> Ints:
    """Return the 400 nearest rows of some rows spread over all."""
    count = len(vectors.contexts)
    rows = np.unique(np.linspace(0, count - 1, sample).astype(np.int64))
    parts = np.array_split(rows, max(1, len(rows) // 256))
    return np.concatenate(
        [find_neighbors(vectors.contexts[part], vectors.contexts, 400, part) for part in parts]
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA / "diasafety" / "train.json")
    parser.add_argument("--rows", type=int, help="make so many vectors, take no data")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--sample", type=int, default=1024, help="neighbourhoods that are clustered"
    )
    asked = parser.parse_args()
    real = asked.rows is None and asked.data.exists()
    vectors = embed_diasafety(asked.data) if real else make_vectors(asked.rows or 9017)
    near = sample_neighborhoods(vectors, asked.sample)
    measured: dict[str, dict[int, list[float]]] = {}
    machines = [Machine(workers) for workers in (1, 2)]
    for repeat, machine in itertools.product(range(asked.repeats + 1), machines):
        peak, stream = machine.flops(), machine.bytes()
        facts = [("matrix products, float32: 10^9/s", peak), ("a = b + c: 10^9 bytes/s", stream)]
        facts += measure_clustering(vectors, near, machine, peak)
        facts += measure_search(vectors, machine, peak, stream)
        for name, value in facts if repeat else []:  # the first is to warm up
            measured.setdefault(name, {}).setdefault(machine.workers, []).append(value)
    source = "DiaSafety" if real else "made vectors"
    print(
        f"{format_header('benchmarks/limit.py', [0])}, {source}, {len(vectors.contexts):,} rows\n"
    )
    columns = ("what", *(f"{machine.workers} core(s)" for machine in machines))
    print(
        format_table(
            columns, ((name, *map(format_median, by.values())) for name, by in measured.items())
        )
    )


def format_median(values: list[float]) -> str:
    """Return the median, and the least and the most."""
    digits = 2 if max(values) < 10 else 1 if max(values) < 1000 else 0
    least, middle, most = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({least:,.{digits}f} to {most:,.{digits}f})"


if __name__ == "__main__":
    main()
