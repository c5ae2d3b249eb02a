from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isaac.curation.unique_texts import TextFile, UniqueTexts, compute_digests, unique_digests
from isaac.runtime.arrays import Digests

TEXTS = st.lists(st.text(max_size=6), max_size=20)
FEW = st.lists(st.sampled_from(["", "a", "b", "ab", "é", "\n", "😀"]), max_size=20)


def whole(digest: list[int]) -> int:
    """A digest as one number."""
    return digest[0] << 64 | digest[1]


# digests


@given(TEXTS)
def test_digests_are_those_of_the_bytes(texts: list[str]) -> None:
    found = compute_digests(iter(texts))
    assert found.shape == (len(texts), 2)
    assert found.dtype == np.uint64
    for text, digest in zip(texts, found.tolist(), strict=True):
        data = blake2b(text.encode(), digest_size=16).digest()
        assert digest == [int.from_bytes(half, "little") for half in (data[:8], data[8:])]


def some_digests(pairs: list[tuple[int, int]]) -> Digests:
    return np.array(pairs, np.uint64).reshape(-1, 2)


@given(st.lists(st.tuples(*[st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])] * 2), max_size=20))
def test_distinct_digests_are_sorted_with_their_first_places(pairs: list[tuple[int, int]]) -> None:
    found = unique_digests(some_digests(pairs))
    assert list(map(tuple, found.digests.tolist())) == sorted(set(pairs))
    assert found.first.tolist() == [pairs.index(pair) for pair in sorted(set(pairs))]
    assert [sorted(set(pairs))[number] for number in found.inverse.tolist()] == pairs


# texts


@given(TEXTS | FEW, st.randoms())
def test_each_text_occurs_once_and_is_found(source: list[str], random: Random) -> None:
    texts = UniqueTexts.of(source)
    assert len(texts) == len(set(source))
    assert set(texts) == set(source)
    assert [texts[place] for place in range(len(texts))] == list(texts)
    assert [texts.find(text) for text in texts] == list(range(len(texts)))
    numbers = [whole(digest) for digest in compute_digests(texts).tolist()]
    assert numbers == sorted(numbers)
    assert np.array_equal(texts.digests, compute_digests(texts))
    shuffled = random.sample(source, len(source))
    assert list(UniqueTexts.of(shuffled)) == list(texts)


@given(TEXTS | FEW, st.text(max_size=3))
@example([], "a")
def test_a_missing_text_is_not_found(source: list[str], text: str) -> None:
    texts = UniqueTexts.of(source)
    if text not in source:
        assert texts.find(text) == -1
    assert texts.find("something else that is missing") == -1


def test_texts_that_share_half_of_their_digest_are_distinguished() -> None:
    ((high, low),) = compute_digests(["here"]).tolist()
    near = [(high, low - 1), (high, low), (high, low + 1), (high + 1, low), (high - 1, low)]
    found = unique_digests(some_digests(near))
    texts = UniqueTexts(found.digests, [str(place) for place in found.first])
    assert texts.find("here") == near.index((high, low)) + 1
    without = UniqueTexts(np.delete(found.digests, 2, axis=0), ["a", "b", "c", "d"])
    assert without.find("here") == -1


def test_texts_are_sliced() -> None:
    texts = UniqueTexts.of("abcdefg")
    assert texts[2:5] == [texts[2], texts[3], texts[4]]
    assert texts[5:99] == [texts[5], texts[6]]
    assert list(texts[:]) == list(texts)


# texts in a file


def written(folder: Path, texts: list[str]) -> TextFile:
    """Write texts to a file in another order, with gaps between them."""
    data = bytearray()
    starts, lengths = np.zeros((2, len(texts)), np.int64)
    for place in Random(3).sample(range(len(texts)), len(texts)):
        data += b"\xff#"
        starts[place], lengths[place] = len(data), len(texts[place].encode())
        data += texts[place].encode()
    (folder / "texts").write_bytes(data)
    return TextFile(folder / "texts", starts, lengths)


@given(TEXTS, st.integers(1, 25), st.integers(0, 20), st.integers(0, 25))
def test_texts_in_a_file_are_those_in_memory(
    tmp_path_factory: pytest.TempPathFactory,
    source: list[str],
    batch: int,
    start: int,
    stop: int,
) -> None:
    texts = UniqueTexts.of(source)
    file = written(tmp_path_factory.mktemp("texts"), list(texts))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TextFile, "BATCH_TEXTS", batch)
        assert list(file) == list(texts)
    assert len(file) == len(texts)
    assert [file[place] for place in range(len(file))] == list(texts)
    assert file[start:stop] == texts[start:stop]
    on_disk = UniqueTexts(texts.digests, file)
    assert list(on_disk) == list(texts)
    assert [on_disk.find(text) for text in source] == [texts.find(text) for text in source]


def test_an_index_beyond_the_end_of_a_text_file_is_an_error(tmp_path: Path) -> None:
    file = written(tmp_path, ["a", "bc"])
    assert file[-1] == "bc"
    with pytest.raises(IndexError):
        file[2]
    assert "bc" in file
    assert "x" not in file


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    file = written(tmp_path, ["a text", "another one"])
    (tmp_path / "texts").write_bytes(b"\xff#a te")
    with pytest.raises(OSError, match=r"is cut short: expected \d+ bytes at offset \d+, got \d+"):
        list(file)


def test_a_file_of_texts_is_closed_when_it_is_no_longer_used(tmp_path: Path) -> None:
    for _ in range(3000):  # more than a process may have open
        assert written(tmp_path, ["a"])[0] == "a"
