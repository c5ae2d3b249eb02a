from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.curation.clusters import Clusters
from isaac.curation.vectors import Embeddings
from isaac.errors import RunError
from isaac.runs.disk_storage import CHECKSUMS_FILE, MAX_UNMAPPED_BYTES, DiskStorage
from isaac.runtime.arrays import Ragged
from isaac.runtime.atomic_files import MirroredFolder
from isaac.runtime.storage import Array, TextChunks

NUMBERS = np.arange(12, dtype=np.float32).reshape(4, 3)
VECTORS = Embeddings(np.arange(20, dtype=np.int16).reshape(5, 4), 2, "some encoder, of one kind")
TEXTS = ["", "é", "a\nb", "\0", "😀" * 5, "plain"]
FACTS = {"lists": 3, "recall": 0.97, "name": "é", "none": None}


def ragged(*lists: list[int]) -> Ragged:
    values = np.array([number for numbers in lists for number in numbers], np.int64)
    return Ragged.of(values, np.array([len(numbers) for numbers in lists]))


CLUSTERS = Clusters(ragged([4, 1, 2], [3]), ragged([2, 1], [1]), ragged([1, 1], [1]))


def text_chunks() -> TextChunks:
    yield np.array([4, 0, 2]), [TEXTS[4], TEXTS[0], TEXTS[2]]
    yield np.array([], np.int64), []
    yield np.array([5, 1, 3]), [TEXTS[5], TEXTS[1], TEXTS[3]]


def array_chunks() -> Iterator[Array]:
    yield NUMBERS[:1]
    yield NUMBERS[1:]


Load = Callable[[DiskStorage, "Computation"], Any]
"""Loads one kind of value from a store, or computes and stores it."""


class Computation:
    """Computes values and counts how often; with ``allowed=False`` it fails."""

    def __init__(self, *, allowed: bool = True) -> None:
        self.allowed, self.times = allowed, 0

    def of(self, value: Any) -> Callable[[], Any]:
        def make() -> Any:
            assert self.allowed, "a stored value was computed again"
            self.times += 1
            return value() if callable(value) else value

        return make


def array(store: DiskStorage, computation: Computation) -> Any:
    return np.asarray(store.array("vectors/a", computation.of(NUMBERS))).tolist()


def stacked(store: DiskStorage, computation: Computation) -> Any:
    return np.asarray(store.stacked("vectors/b", 4, computation.of(array_chunks))).tolist()


def texts(store: DiskStorage, computation: Computation) -> Any:
    return list(store.texts("texts/c", len(TEXTS), computation.of(text_chunks)))


def facts(store: DiskStorage, computation: Computation) -> Any:
    return store.facts("vectors/d", computation.of(FACTS))


def embedded(store: DiskStorage, computation: Computation) -> Any:
    loaded = store.embedded("vectors/e", computation.of(VECTORS))
    return np.asarray(loaded.vectors).tolist(), loaded.unknown, loaded.encoder


def clusters(store: DiskStorage, computation: Computation) -> Any:
    loaded = store.clusters("shards/00003", computation.of(CLUSTERS))
    return [(part.values.tolist(), part.offsets.tolist()) for part in loaded]


EXPECTED: dict[Load, Any] = {
    array: NUMBERS.tolist(),
    stacked: NUMBERS.tolist(),
    texts: TEXTS,
    facts: FACTS,
    embedded: (VECTORS.vectors.tolist(), 2, VECTORS.encoder),
    clusters: [(part.values.tolist(), part.offsets.tolist()) for part in CLUSTERS],
}
FILES: dict[Load, list[str]] = {
    array: ["vectors/a.npy"],
    stacked: ["vectors/b.npy"],
    texts: ["texts/c.txt", "texts/c.npy"],
    facts: ["vectors/d.json"],
    embedded: ["vectors/e.npy", "vectors/e.json"],
    clusters: ["shards/00003.parquet"],
}
LOADS_WITH_FILES = [(load, file) for load, names in FILES.items() for file in names]


def name_of(value: Any) -> str:
    return value.__name__ if callable(value) else str(value)


def open_store(path: Path, *, finished: bool = False) -> DiskStorage:
    return DiskStorage(MirroredFolder(path), finished=finished)


every = pytest.mark.parametrize("load", EXPECTED, ids=name_of)
every_file = pytest.mark.parametrize(("load", "file"), LOADS_WITH_FILES, ids=name_of)


@every
def test_a_stored_value_is_loaded_and_not_computed_again(tmp_path: Path, load: Load) -> None:
    store, computation = open_store(tmp_path), Computation()
    assert load(store, computation) == EXPECTED[load]
    assert computation.times == 1
    never = Computation(allowed=False)
    assert load(store, never) == EXPECTED[load]
    assert load(open_store(tmp_path), never) == EXPECTED[load]
    assert load(open_store(tmp_path, finished=True), never) == EXPECTED[load]


@every
def test_every_file_has_its_checksum(tmp_path: Path, load: Load) -> None:
    load(open_store(tmp_path), Computation())
    lines = [line.split("  ") for line in (tmp_path / CHECKSUMS_FILE).read_text().splitlines()]
    assert [name for _, name in lines] == FILES[load]
    for digest, name in lines:
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert files == {CHECKSUMS_FILE, *FILES[load]}


@pytest.mark.skipif(not which("sha256sum"), reason="the command sha256sum is not installed")
def test_sha256sum_can_check_the_checksums(tmp_path: Path) -> None:
    for load in EXPECTED:
        load(open_store(tmp_path), Computation())
    check = ["sha256sum", "--check", "--strict", CHECKSUMS_FILE]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "vectors/a.npy").write_bytes(b"")
    done = subprocess.run(check, cwd=tmp_path, capture_output=True)
    assert b"vectors/a.npy: FAILED" in done.stdout


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "short": lambda data: data[:-1],
    "flipped": lambda data: data[:-1] + bytes([data[-1] ^ 64]),
    "empty": lambda data: b"",
}


@every_file
@pytest.mark.parametrize("damage", [*DAMAGES, "gone", "no checksum"])
def test_a_damaged_or_missing_file_is_computed_again(
    tmp_path: Path, load: Load, file: str, damage: str
) -> None:
    load(open_store(tmp_path), Computation())
    before = {name: (tmp_path / name).read_bytes() for name in FILES[load]}
    if damage == "gone":
        (tmp_path / file).unlink()
    elif damage == "no checksum":
        lines = (tmp_path / CHECKSUMS_FILE).read_text().splitlines(keepends=True)
        others = (line for line in lines if not line.endswith(f"  {file}\n"))
        (tmp_path / CHECKSUMS_FILE).write_text("".join(others))
    else:
        (tmp_path / file).write_bytes(DAMAGES[damage](before[file]))
    finished = open_store(tmp_path, finished=True)
    with pytest.raises(RunError, match=f"{file} is damaged or missing; .*same isaac curate"):
        load(finished, Computation())
    computation = Computation()
    assert load(open_store(tmp_path), computation) == EXPECTED[load]
    assert computation.times <= 1
    assert {name: (tmp_path / name).read_bytes() for name in FILES[load]} == before
    assert load(open_store(tmp_path, finished=True), Computation(allowed=False)) == EXPECTED[load]


@every
def test_a_finished_run_computes_nothing(tmp_path: Path, load: Load) -> None:
    match = r"delete manifest.json in the run folder, .* same isaac curate"
    with pytest.raises(RunError, match=match):
        load(open_store(tmp_path, finished=True), Computation())
    assert not list(tmp_path.iterdir())


def test_a_finished_run_may_compute_what_a_redraw_needs(tmp_path: Path) -> None:
    store = open_store(tmp_path, finished=True)
    for name in ("vectors/ridge.weights", "vectors/wanted"):
        assert store.array(name, Computation().of(NUMBERS)).tolist() == NUMBERS.tolist()
        again, never = open_store(tmp_path, finished=True), Computation(allowed=False)
        assert again.array(name, never.of(NUMBERS)).tolist() == NUMBERS.tolist()


@every
def test_a_failed_computation_leaves_no_file(tmp_path: Path, load: Load) -> None:
    def interrupt() -> Any:
        raise KeyboardInterrupt

    class Failing(Computation):
        def of(self, value: Any) -> Callable[[], Any]:
            return interrupt

    with pytest.raises(KeyboardInterrupt):
        load(open_store(tmp_path), Failing())
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
    assert load(open_store(tmp_path), Computation()) == EXPECTED[load]


def test_a_file_without_its_checksum_is_computed_again(tmp_path: Path) -> None:
    """A process that is killed before it writes the checksum leaves such a file."""
    load = array
    load(open_store(tmp_path), Computation())
    (tmp_path / CHECKSUMS_FILE).unlink()
    computation = Computation()
    assert load(open_store(tmp_path), computation) == EXPECTED[load]
    assert computation.times == 1


# The file of checksums.


@given(st.integers(0, 5), st.integers(1, 79))
def test_a_cut_off_line_is_ignored_and_affects_no_other(
    tmp_path_factory: pytest.TempPathFactory, lines: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("store")
    for load in EXPECTED:
        load(open_store(path), Computation())
    complete = (path / CHECKSUMS_FILE).read_bytes().splitlines(keepends=True)
    cut_off = b"".join(complete[:lines]) + complete[lines][: min(cut, len(complete[lines]) - 1)]
    (path / CHECKSUMS_FILE).write_bytes(cut_off)
    store, computation = open_store(path), Computation()
    for load, value in EXPECTED.items():
        assert load(store, computation) == value
    assert computation.times >= 1
    for finished in (False, True):
        again = open_store(path, finished=finished)
        for load, value in EXPECTED.items():
            assert load(again, Computation(allowed=False)) == value


@pytest.mark.parametrize(
    "junk", [b"\xff\xfe\n", b"\n\n", b"abc  def\n", b"  \n", b"x" * 64 + b"\n"]
)
def test_lines_that_are_no_checksums_are_ignored(tmp_path: Path, junk: bytes) -> None:
    array(open_store(tmp_path), Computation())
    (tmp_path / CHECKSUMS_FILE).write_bytes(junk + (tmp_path / CHECKSUMS_FILE).read_bytes() + junk)
    assert array(open_store(tmp_path), Computation(allowed=False)) == EXPECTED[array]


def test_the_last_of_two_checksums_of_a_file_counts(tmp_path: Path) -> None:
    array(open_store(tmp_path), Computation())
    sums = (tmp_path / CHECKSUMS_FILE).read_text()
    (tmp_path / CHECKSUMS_FILE).write_text(f"{'0' * 64}  vectors/a.npy\n{sums}")
    assert array(open_store(tmp_path), Computation(allowed=False)) == EXPECTED[array]


def test_tidy_checksums_have_one_line_for_each_existing_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for load in EXPECTED:
        load(store, Computation())
    store.forget("vectors/e")
    store.tidy()
    names = [line.split("  ")[1] for line in (tmp_path / CHECKSUMS_FILE).read_text().splitlines()]
    existing = [name for names in FILES.values() for name in names if "/e." not in name]
    assert names == sorted(existing)
    assert array(open_store(tmp_path), Computation(allowed=False)) == EXPECTED[array]


# Deleted vectors, arrays and scratch space.


def test_vectors_are_stored_until_they_are_deleted(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert not store.has("vectors/e")
    embedded(store, Computation())
    assert store.has("vectors/e")
    open_store(tmp_path, finished=True).forget("vectors/e")
    assert open_store(tmp_path).has("vectors/e")
    store.forget("vectors/e")
    store.forget("vectors/none")
    assert not open_store(tmp_path).has("vectors/e")
    assert not list((tmp_path / "vectors").iterdir())


@pytest.mark.parametrize("file", FILES[embedded])
def test_vectors_need_both_of_their_files(tmp_path: Path, file: str) -> None:
    embedded(open_store(tmp_path), Computation())
    (tmp_path / file).unlink()
    assert not open_store(tmp_path).has("vectors/e")


def test_a_shard_is_stored_if_its_file_is_intact(tmp_path: Path) -> None:
    assert not open_store(tmp_path).has("shards/00003")
    clusters(open_store(tmp_path), Computation())
    assert open_store(tmp_path).has("shards/00003")
    (tmp_path / "shards" / "00003.parquet").write_bytes(b"PAR1")
    assert not open_store(tmp_path).has("shards/00003")


def test_large_arrays_are_memory_mapped_and_small_ones_are_read(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    small = store.array("vectors/small", Computation().of(NUMBERS))
    assert not isinstance(small, np.memmap)
    numbers = np.arange(MAX_UNMAPPED_BYTES // 8 + 5, dtype=np.int64).reshape(-1, 1)
    large = store.stacked("vectors/large", len(numbers), lambda: np.array_split(numbers, 7))
    assert isinstance(large, np.memmap)
    assert np.array_equal(large, numbers)


@pytest.mark.parametrize("dtype", [np.int16, np.uint64, np.float32, np.float64, np.bool_])
@pytest.mark.parametrize("shape", [(0,), (3,), (0, 4), (2, 3, 4), ()])
def test_arrays_of_any_dtype_and_shape_are_stored(
    tmp_path: Path, dtype: type[np.generic], shape: tuple[int, ...]
) -> None:
    numbers = np.ones(shape, dtype)
    numbers[...] = np.random.default_rng(0).integers(0, 2, shape)
    for _ in range(2):
        loaded = open_store(tmp_path).array("vectors/x", Computation().of(numbers))
        assert (loaded.dtype, loaded.shape) == (numbers.dtype, shape)
        assert np.array_equal(loaded, numbers)


def test_arrays_of_any_memory_layout_are_stored(tmp_path: Path) -> None:
    for number, array in enumerate((NUMBERS.T, NUMBERS[::-1], np.asfortranarray(NUMBERS))):
        loaded = open_store(tmp_path).array(f"vectors/{number}", Computation().of(array))
        assert np.array_equal(loaded, array)


def test_a_scratch_array_is_zeros_on_disk_without_a_visible_file(tmp_path: Path) -> None:
    scratch = open_store(tmp_path).scratch((3, 4), np.int32)
    assert scratch.shape == (3, 4)
    assert scratch.dtype == np.int32
    assert not scratch.any()
    scratch[1, 2] = 7
    assert scratch.sum() == 7
    assert not list(tmp_path.iterdir())
    assert open_store(tmp_path, finished=True).scratch((2,), np.float32).tolist() == [0, 0]


def test_a_scratch_array_larger_than_the_disk_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write .*a temporary file"):
        open_store(tmp_path).scratch((2**59,), np.float64)


def test_facts_are_stored_as_plain_json(tmp_path: Path) -> None:
    facts(open_store(tmp_path), Computation())
    assert json.loads((tmp_path / "vectors" / "d.json").read_text(encoding="utf-8")) == FACTS


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), min_size=1, max_size=5))
def test_clusters_of_any_size_are_stored(
    tmp_path_factory: pytest.TempPathFactory, lists: list[list[int]]
) -> None:
    part = ragged(*lists)
    path = tmp_path_factory.mktemp("store")
    for allowed in (True, False):
        computation = Computation(allowed=allowed)
        loaded = open_store(path).clusters("shards/0", computation.of(Clusters(part, part, part)))
        assert [loaded.members[n].tolist() for n in range(len(lists))] == lists
        assert loaded.counts.offsets.tolist() == part.offsets.tolist()


def test_texts_are_written_chunk_by_chunk(tmp_path: Path) -> None:
    sizes: list[int] = []

    def counted_chunks() -> Iterable[tuple[Any, list[str]]]:
        for indices, chunk in text_chunks():
            sizes.append(len(chunk))
            yield indices, list(chunk)

    loaded = open_store(tmp_path).texts("texts/c", len(TEXTS), counted_chunks)
    assert sizes == [3, 0, 3]
    assert loaded[2:5] == TEXTS[2:5]
    assert loaded[4] == TEXTS[4]
    empty = open_store(tmp_path).texts("texts/none", 0, lambda: [])
    assert list(empty) == list(open_store(tmp_path).texts("texts/none", 0, lambda: [])) == []
