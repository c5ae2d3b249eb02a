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
    values = np.array([number for one in lists for number in one], np.int64)
    return Ragged.of(values, np.array([len(one) for one in lists]))


CLUSTERS = Clusters(ragged([4, 1, 2], [3]), ragged([2, 1], [1]), ragged([1, 1], [1]))


def pieces() -> TextChunks:
    yield np.array([4, 0, 2]), [TEXTS[4], TEXTS[0], TEXTS[2]]
    yield np.array([], np.int64), []
    yield np.array([5, 1, 3]), [TEXTS[5], TEXTS[1], TEXTS[3]]


def blocks() -> Iterator[Array]:
    yield NUMBERS[:1]
    yield NUMBERS[1:]


Making = Callable[[DiskStorage, "Makers"], Any]


class Makers:
    """Makes what is kept, and counts how often; or fails to, where nothing should be made."""

    def __init__(self, *, may: bool = True) -> None:
        self.may, self.times = may, 0

    def of(self, value: Any) -> Callable[[], Any]:
        def make() -> Any:
            assert self.may, "this was kept, and is made again"
            self.times += 1
            return value() if callable(value) else value

        return make


def array(store: DiskStorage, makers: Makers) -> Any:
    return np.asarray(store.array("vectors/a", makers.of(NUMBERS))).tolist()


def stacked(store: DiskStorage, makers: Makers) -> Any:
    return np.asarray(store.stacked("vectors/b", 4, makers.of(blocks))).tolist()


def texts(store: DiskStorage, makers: Makers) -> Any:
    return list(store.texts("texts/c", len(TEXTS), makers.of(pieces)))


def facts(store: DiskStorage, makers: Makers) -> Any:
    return store.facts("vectors/d", makers.of(FACTS))


def embedded(store: DiskStorage, makers: Makers) -> Any:
    found = store.embedded("vectors/e", makers.of(VECTORS))
    return np.asarray(found.vectors).tolist(), found.unknown, found.encoder


def clusters(store: DiskStorage, makers: Makers) -> Any:
    found = store.clusters("shards/00003", makers.of(CLUSTERS))
    return [(part.values.tolist(), part.offsets.tolist()) for part in found]


WHOLE: dict[Making, Any] = {
    array: NUMBERS.tolist(),
    stacked: NUMBERS.tolist(),
    texts: TEXTS,
    facts: FACTS,
    embedded: (VECTORS.vectors.tolist(), 2, VECTORS.encoder),
    clusters: [(part.values.tolist(), part.offsets.tolist()) for part in CLUSTERS],
}
FILES: dict[Making, list[str]] = {
    array: ["vectors/a.npy"],
    stacked: ["vectors/b.npy"],
    texts: ["texts/c.txt", "texts/c.npy"],
    facts: ["vectors/d.json"],
    embedded: ["vectors/e.npy", "vectors/e.json"],
    clusters: ["shards/00003.parquet"],
}
EACH = [(making, file) for making, names in FILES.items() for file in names]


def name_of(value: Any) -> str:
    return value.__name__ if callable(value) else str(value)


def opened(path: Path, *, finished: bool = False) -> DiskStorage:
    return DiskStorage(MirroredFolder(path), finished=finished)


every = pytest.mark.parametrize("making", WHOLE, ids=name_of)
every_file = pytest.mark.parametrize(("making", "file"), EACH, ids=name_of)


@every
def test_what_is_kept_comes_back_equal_and_is_made_once(tmp_path: Path, making: Making) -> None:
    store, makers = opened(tmp_path), Makers()
    assert making(store, makers) == WHOLE[making]
    assert makers.times == 1
    never = Makers(may=False)
    assert making(store, never) == WHOLE[making]
    assert making(opened(tmp_path), never) == WHOLE[making]
    assert making(opened(tmp_path, finished=True), never) == WHOLE[making]


@every
def test_every_file_has_its_checksum(tmp_path: Path, making: Making) -> None:
    making(opened(tmp_path), Makers())
    lines = [line.split("  ") for line in (tmp_path / CHECKSUMS_FILE).read_text().splitlines()]
    assert [name for _, name in lines] == FILES[making]
    for digest, name in lines:
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    there = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert there == {CHECKSUMS_FILE, *FILES[making]}


@pytest.mark.skipif(not which("sha256sum"), reason="needs the command sha256sum")
def test_the_checksums_are_those_that_sha256sum_checks(tmp_path: Path) -> None:
    for making in WHOLE:
        making(opened(tmp_path), Makers())
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
def test_a_file_that_is_not_sound_is_made_again(
    tmp_path: Path, making: Making, file: str, damage: str
) -> None:
    making(opened(tmp_path), Makers())
    before = {name: (tmp_path / name).read_bytes() for name in FILES[making]}
    if damage == "gone":
        (tmp_path / file).unlink()
    elif damage == "no checksum":
        lines = (tmp_path / CHECKSUMS_FILE).read_text().splitlines(keepends=True)
        others = (line for line in lines if not line.endswith(f"  {file}\n"))
        (tmp_path / CHECKSUMS_FILE).write_text("".join(others))
    else:
        (tmp_path / file).write_bytes(DAMAGES[damage](before[file]))
    finished = opened(tmp_path, finished=True)
    with pytest.raises(RunError, match=f"{file} is damaged or missing; .*same isaac curate"):
        making(finished, Makers())
    makers = Makers()
    assert making(opened(tmp_path), makers) == WHOLE[making]
    assert makers.times <= 1
    assert {name: (tmp_path / name).read_bytes() for name in FILES[making]} == before
    assert making(opened(tmp_path, finished=True), Makers(may=False)) == WHOLE[making]


@every
def test_a_finished_run_makes_nothing(tmp_path: Path, making: Making) -> None:
    match = r"delete manifest.json in the run folder, .* same isaac curate"
    with pytest.raises(RunError, match=match):
        making(opened(tmp_path, finished=True), Makers())
    assert not list(tmp_path.iterdir())


def test_what_another_draw_needs_may_be_made_in_a_finished_run(tmp_path: Path) -> None:
    store = opened(tmp_path, finished=True)
    for name in ("vectors/ridge.weights", "vectors/wanted"):
        assert store.array(name, Makers().of(NUMBERS)).tolist() == NUMBERS.tolist()
        again = opened(tmp_path, finished=True)
        assert again.array(name, Makers(may=False).of(NUMBERS)).tolist() == NUMBERS.tolist()


@every
def test_what_fails_on_its_way_leaves_nothing(tmp_path: Path, making: Making) -> None:
    def fails() -> Any:
        raise KeyboardInterrupt

    class Failing(Makers):
        def of(self, value: Any) -> Callable[[], Any]:
            return fails

    with pytest.raises(KeyboardInterrupt):
        making(opened(tmp_path), Failing())
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
    assert making(opened(tmp_path), Makers()) == WHOLE[making]


def test_a_file_between_its_name_and_its_checksum_is_made_again(tmp_path: Path) -> None:
    """A process that is killed there leaves a file that nobody vouches for."""
    making = array
    making(opened(tmp_path), Makers())
    (tmp_path / CHECKSUMS_FILE).unlink()
    makers = Makers()
    assert making(opened(tmp_path), makers) == WHOLE[making]
    assert makers.times == 1


# checksums that were cut off


@given(st.integers(0, 5), st.integers(1, 79))
def test_a_line_that_was_cut_off_counts_for_nothing_and_spoils_no_other(
    tmp_path_factory: pytest.TempPathFactory, lines: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("kept")
    for making in WHOLE:
        making(opened(path), Makers())
    whole = (path / CHECKSUMS_FILE).read_bytes().splitlines(keepends=True)
    torn = b"".join(whole[:lines]) + whole[lines][: min(cut, len(whole[lines]) - 1)]
    (path / CHECKSUMS_FILE).write_bytes(torn)
    store, makers = opened(path), Makers()
    for making, value in WHOLE.items():
        assert making(store, makers) == value
    assert makers.times >= 1
    for finished in (False, True):
        again = opened(path, finished=finished)
        for making, value in WHOLE.items():
            assert making(again, Makers(may=False)) == value


@pytest.mark.parametrize(
    "junk", [b"\xff\xfe\n", b"\n\n", b"abc  def\n", b"  \n", b"x" * 64 + b"\n"]
)
def test_lines_that_are_no_checksums_are_passed_over(tmp_path: Path, junk: bytes) -> None:
    array(opened(tmp_path), Makers())
    (tmp_path / CHECKSUMS_FILE).write_bytes(junk + (tmp_path / CHECKSUMS_FILE).read_bytes() + junk)
    assert array(opened(tmp_path), Makers(may=False)) == WHOLE[array]


def test_of_two_checksums_of_a_file_the_last_counts(tmp_path: Path) -> None:
    array(opened(tmp_path), Makers())
    sums = (tmp_path / CHECKSUMS_FILE).read_text()
    (tmp_path / CHECKSUMS_FILE).write_text(f"{'0' * 64}  vectors/a.npy\n{sums}")
    assert array(opened(tmp_path), Makers(may=False)) == WHOLE[array]


def test_a_tidy_list_has_a_line_for_each_file_that_is_there(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for making in WHOLE:
        making(store, Makers())
    store.forget("vectors/e")
    store.tidy()
    names = [line.split("  ")[1] for line in (tmp_path / CHECKSUMS_FILE).read_text().splitlines()]
    there = [name for names in FILES.values() for name in names if "/e." not in name]
    assert names == sorted(there)
    assert array(opened(tmp_path), Makers(may=False)) == WHOLE[array]


# vectors that are forgotten, and room


def test_vectors_are_there_until_they_are_forgotten(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert not store.has("vectors/e")
    embedded(store, Makers())
    assert store.has("vectors/e")
    opened(tmp_path, finished=True).forget("vectors/e")
    assert opened(tmp_path).has("vectors/e")
    store.forget("vectors/e")
    store.forget("vectors/none")
    assert not opened(tmp_path).has("vectors/e")
    assert not list((tmp_path / "vectors").iterdir())


@pytest.mark.parametrize("file", FILES[embedded])
def test_vectors_without_their_facts_or_facts_without_vectors_are_not_there(
    tmp_path: Path, file: str
) -> None:
    embedded(opened(tmp_path), Makers())
    (tmp_path / file).unlink()
    assert not opened(tmp_path).has("vectors/e")


def test_a_shard_is_there_when_it_is_sound(tmp_path: Path) -> None:
    assert not opened(tmp_path).has("shards/00003")
    clusters(opened(tmp_path), Makers())
    assert opened(tmp_path).has("shards/00003")
    (tmp_path / "shards" / "00003.parquet").write_bytes(b"PAR1")
    assert not opened(tmp_path).has("shards/00003")


def test_large_arrays_are_mapped_and_small_ones_are_read(tmp_path: Path) -> None:
    store = opened(tmp_path)
    small = store.array("vectors/small", Makers().of(NUMBERS))
    assert not isinstance(small, np.memmap)
    numbers = np.arange(MAX_UNMAPPED_BYTES // 8 + 5, dtype=np.int64).reshape(-1, 1)
    large = store.stacked("vectors/large", len(numbers), lambda: np.array_split(numbers, 7))
    assert isinstance(large, np.memmap)
    assert np.array_equal(large, numbers)


@pytest.mark.parametrize("kind", [np.int16, np.uint64, np.float32, np.float64, np.bool_])
@pytest.mark.parametrize("shape", [(0,), (3,), (0, 4), (2, 3, 4), ()])
def test_numbers_of_any_kind_and_shape_come_back(
    tmp_path: Path, kind: type[np.generic], shape: tuple[int, ...]
) -> None:
    numbers = np.ones(shape, kind)
    numbers[...] = np.random.default_rng(0).integers(0, 2, shape)
    for _ in range(2):
        found = opened(tmp_path).array("vectors/x", Makers().of(numbers))
        assert (found.dtype, found.shape) == (numbers.dtype, shape)
        assert np.array_equal(found, numbers)


def test_numbers_in_another_order_of_memory_come_back(tmp_path: Path) -> None:
    for number, turned in enumerate((NUMBERS.T, NUMBERS[::-1], np.asfortranarray(NUMBERS))):
        found = opened(tmp_path).array(f"vectors/{number}", Makers().of(turned))
        assert np.array_equal(found, turned)


def test_room_on_the_disk_is_zeros_and_gone_with_its_process(tmp_path: Path) -> None:
    room = opened(tmp_path).scratch((3, 4), np.int32)
    assert room.shape == (3, 4)
    assert room.dtype == np.int32
    assert not room.any()
    room[1, 2] = 7
    assert room.sum() == 7
    assert not list(tmp_path.iterdir())
    assert opened(tmp_path, finished=True).scratch((2,), np.float32).tolist() == [0, 0]


def test_room_that_the_disk_does_not_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write .*a temporary file"):
        opened(tmp_path).scratch((2**59,), np.float64)


def test_facts_are_json_that_others_can_read(tmp_path: Path) -> None:
    facts(opened(tmp_path), Makers())
    assert json.loads((tmp_path / "vectors" / "d.json").read_text(encoding="utf-8")) == FACTS


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), min_size=1, max_size=5))
def test_lists_of_any_length_come_back(
    tmp_path_factory: pytest.TempPathFactory, lists: list[list[int]]
) -> None:
    part = ragged(*lists)
    path = tmp_path_factory.mktemp("kept")
    for may in (True, False):
        makers = Makers(may=may)
        found = opened(path).clusters("shards/0", makers.of(Clusters(part, part, part)))
        assert [found.members[n].tolist() for n in range(len(lists))] == lists
        assert found.counts.offsets.tolist() == part.offsets.tolist()


def test_texts_are_taken_portion_by_portion(tmp_path: Path) -> None:
    taken: list[int] = []

    def lazily() -> Iterable[tuple[Any, list[str]]]:
        for places, some in pieces():
            taken.append(len(some))
            yield places, list(some)

    found = opened(tmp_path).texts("texts/c", len(TEXTS), lazily)
    assert taken == [3, 0, 3]
    assert found[2:5] == TEXTS[2:5]
    assert found[4] == TEXTS[4]
    empty = opened(tmp_path).texts("texts/none", 0, lambda: [])
    assert list(empty) == list(opened(tmp_path).texts("texts/none", 0, lambda: [])) == []
