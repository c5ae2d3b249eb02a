"""Near-duplicates: texts that are the same but for a few words, so that each is counted once.

Texts are alike if their shingles, which are three words in a row, mostly are (Jaccard index).
MinHash finds the pairs that may be alike (Broder 1997), their shingles decide. Every group has a
leader that all its members are alike to, so that no chain of small changes joins what differs.
Texts whose shingles are common lead first: an original comes before its variants.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b, shake_256
from itertools import chain, cycle, pairwise
from tempfile import TemporaryFile
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from ..runtime.arrays import Flags, Ints, Keys, Ragged, Reals
from ..runtime.progress import Tick
from .text_batches import BLOCK_SIZE, ProgressReporter, iter_slices

RowNumbers = npt.NDArray[np.int32]

MIN_JACCARD = 0.7
"""Least Jaccard index of texts that are alike: one word changed of 20 makes 0.71."""

SHINGLE_WORDS = 3
"""Words in a shingle; texts with fewer are alike only if their words are the same."""

SKETCH_SHINGLES = 128
"""Shingles that a text is compared by, those of smallest hash; a longer text's are a sample."""

BANDS, HASHES_PER_BAND = 20, 3
"""MinHashes: of pairs at 0.7 all but 0.02 % have some band in common, of pairs at 0.2 15 %."""

BAND_RUN_LENGTHS = (1, 2, 4)
"""Bands in a row that are looked up as one, each twice as many as before; in a crowd only those
most alike share many."""


PART_SHINGLES = 1 << 21
"""Shingles counted at a time."""

MAX_CACHED_WORDS = 1 << 17
"""Words whose hashes are kept at hand."""

SPILL_BYTES = 1 << 27
"""Bytes of shingles held in memory; more are in a file."""

READ_PROGRESS, COUNT_PROGRESS, LOOKUP_PROGRESS = 0.55, 0.65, 0.85
"""How much of the work is done by then; tells progress, changes no result."""

HASH_MULTIPLIERS = np.frombuffer(
    shake_256(b"isaac").digest(8 * BANDS * HASHES_PER_BAND), "<u8"
) | np.uint64(1)
"""Odd numbers, by each of which hashes are multiplied for another order."""

UNSPACED_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR")
"""Scripts without spaces, by their Unicode names: each character is a word."""


def group_near_duplicates(texts: Sequence[str], tick: Tick | None = None) -> Ints:
    """Return for each text the smallest index in its group of near-duplicates.

    Case, accents, punctuation, spaces and numbers do not count; in texts of fewer than three
    words accents and numbers do. The order of the texts changes no group, only its name; what
    other texts there are may change which of two leaders a text joins.

    The texts are read once, in slices. Memory is about 600 bytes a text and a few blocks, however
    long the texts; sketches beyond `SPILL_BYTES`, at most 1,024 bytes a text, are in a temporary file.
    ``tick`` is told of progress, in all as many texts as there are.
    """
    if not len(texts):
        return np.empty(0, np.int64)
    told = ProgressReporter(tick, len(texts))
    with TemporaryFile() as file:
        sketches = _sketch_texts(texts, file, told)
        _, first, form = np.unique(sketches.digests, return_index=True, return_inverse=True)
        chosen = first[
            np.argsort(-_compute_commonness(sketches.shingles, told)[first], kind="stable")
        ]
        leaders = np.empty(len(texts), np.int64)
        leaders[chosen] = chosen[_find_leaders(sketches, chosen, told)]
    _, first, group = np.unique(leaders[first][form], return_index=True, return_inverse=True)
    return first[group].astype(np.int64)


class _CharacterMap(dict[int, str]):
    """What each character reads as, found when it is first met."""

    def __init__(self, loose: bool) -> None:
        self.loose = loose

    def __missing__(self, code: int) -> str:
        plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code)).casefold())
        self[code] = "".join(map(self._fold_character, plain))
        return self[code]

    def _fold_character(self, char: str) -> str:
        kind, name = unicodedata.category(char), unicodedata.name(char, "")
        if kind == "Cf" or name.startswith(("VARIATION", "COMBINING")[: 1 + self.loose]):
            return ""
        if kind[0] not in ("LM" if self.loose else "LMN"):
            return " "
        return f" {char} " if name.startswith(UNSPACED_SCRIPTS) else char


LOOSE_CHARACTERS, STRICT_CHARACTERS = _CharacterMap(loose=True), _CharacterMap(loose=False)


def _split_words(text: str) -> list[str]:
    words = text.translate(LOOSE_CHARACTERS).split()
    return (
        words
        if len(words) >= SHINGLE_WORDS
        else text.translate(STRICT_CHARACTERS).split() or text.split()
    )


class _WordHashes(dict[str, int]):
    """The hashes of the words last met."""

    def __missing__(self, word: str) -> int:
        number = _hash_text(word)
        if len(self) >= MAX_CACHED_WORDS:
            self.clear()
        if len(word) < SKETCH_SHINGLES:
            self[word] = number
        return number


class _Sketches(NamedTuple):
    """What is kept of each text: hash of its words, bands, first shingles, a bit for each."""

    digests: Keys
    bits: Keys
    bands: list[Keys]
    shingles: Ragged


def _sketch_texts(texts: Sequence[str], file: IO[bytes], told: ProgressReporter) -> _Sketches:
    """Read all texts."""
    size, done, hashes = len(texts), 0, _WordHashes()
    digests, bits = np.empty(size, np.uint64), np.empty(size, np.uint64)
    bands = [np.empty(size, np.uint64) for _ in range(BANDS)]
    lengths = np.empty(size, np.int64)
    values = _SpillableArray(file)
    for block in chain.from_iterable(map(_split_blocks, iter_slices(texts))):
        rows = slice(done, done + len(block))
        some = _sketch_block(block, hashes)
        parts = (some.digests, some.bits, *some.bands)
        for whole, part in zip((digests, bits, *bands), parts, strict=True):
            whole[rows] = part
        lengths[rows] = some.shingles.lengths
        values.add(some.shingles.values)
        done += len(block)
        told.advance_to(READ_PROGRESS * done / size)
    return _Sketches(digests, bits, bands, Ragged.of(values.all(), lengths))


class _SpillableArray:
    """Numbers that are added to, in memory up to `SPILL_BYTES` bytes and in a file beyond."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.recent = file, array("q")

    def add(self, values: Ints) -> None:
        """Append numbers."""
        self.recent.frombytes(values.tobytes())
        if self.recent.itemsize * len(self.recent) > SPILL_BYTES:
            self._spill()

    def all(self) -> Ints:
        """Return all numbers."""
        if not self.file.tell():
            return np.frombuffer(self.recent, np.int64)
        self._spill()
        return np.memmap(self.file, np.int64, "r")

    def _spill(self) -> None:
        self.recent.tofile(self.file)
        self.recent = array("q")


def _split_blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    ends = np.cumsum([len(text) + BANDS * HASHES_PER_BAND for text in texts]) // BLOCK_SIZE
    cuts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(texts)]
    return (texts[start:end] for start, end in pairwise(cuts))


def _sketch_block(texts: Sequence[str], hashes: dict[str, int]) -> _Sketches:
    """Return the sketches of a block of texts."""
    words = [_split_words(text) for text in texts]
    digests = np.array([_hash_text(" ".join(some)) for some in words], np.uint64)
    shingles, owner = _hash_shingles(
        [some + [""] * (SHINGLE_WORDS - len(some)) for some in words], hashes
    )
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    least = [np.minimum.reduceat(shingles * mixer, starts) for mixer in HASH_MULTIPLIERS]
    bands = [
        _combine_hashes(least[i : i + HASHES_PER_BAND])
        for i in range(0, len(least), HASHES_PER_BAND)
    ]
    values, owner, fresh, place = _sort_by_owner(shingles.view(np.int64), owner)
    kept = fresh & (place < SKETCH_SHINGLES)
    values, lengths = values[kept], np.bincount(owner[kept])
    bits = np.uint64(1) << (values.view(np.uint64) >> np.uint64(58))
    starts = np.cumsum(lengths) - lengths
    bits = np.bitwise_or.reduceat(bits, starts)
    return _Sketches(digests, bits, bands, Ragged.of(values, lengths))


def _hash_text(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _combine_hashes(parts: Sequence[Keys]) -> Keys:
    """Return one hash for several, of which the order counts."""
    mixed = parts[0]
    for part in parts[1:]:
        mixed = mixed * HASH_MULTIPLIERS[0] + part
    return mixed


def _hash_shingles(words: list[list[str]], hashes: dict[str, int]) -> tuple[Keys, Ints]:
    """Return the hashes of the shingles of all texts, and which text each is of."""
    lengths = [len(some) for some in words]
    flat = map(hashes.__getitem__, chain.from_iterable(words))
    numbers = np.fromiter(flat, np.uint64, sum(lengths))
    owner = np.repeat(np.arange(len(words)), lengths)
    last = len(numbers) - SHINGLE_WORDS + 1
    inside = owner[:last] == owner[SHINGLE_WORDS - 1 :]
    return _combine_hashes([numbers[i : i + last] for i in range(SHINGLE_WORDS)])[inside], owner[
        :last
    ][inside]


def _sort_by_owner(values: Ints, owner: Ints) -> tuple[Ints, Ints, Flags, Ints]:
    """Return both sorted, which are new, and how many of its owner come before each."""
    order = np.argsort(values)
    narrow = owner[order].astype(np.uint16 if owner[-1] < 1 << 16 else np.int64)
    order = order[np.argsort(narrow, kind="stable")]
    values, owner = values[order], owner[order]
    first = np.diff(owner, prepend=-1) > 0
    fresh = first | (np.diff(values, prepend=0) != 0)
    count = np.cumsum(fresh)
    return values, owner, fresh, count - count[first][owner]


def _compute_commonness(shingles: Ragged, told: ProgressReporter) -> Reals:
    """Return in how many texts the shingles of each are, on average."""
    lengths, values = shingles.lengths, shingles.values
    sums, parts = np.zeros(len(lengths)), 1 + len(values) // PART_SHINGLES
    for part in range(parts):
        blocks = range(0, len(values), PART_SHINGLES)
        found = [
            np.flatnonzero(values[at : at + PART_SHINGLES] % parts == part) + at for at in blocks
        ]
        places = np.concatenate(found)
        _, inverse, counts = np.unique(values[places], return_inverse=True, return_counts=True)
        owner = np.searchsorted(shingles.offsets, places, side="right") - 1
        sums += np.bincount(owner, counts[inverse], len(lengths))
        told.advance_to(READ_PROGRESS + (COUNT_PROGRESS - READ_PROGRESS) * (part + 1) / parts)
    return sums / lengths


def _find_leaders(sketches: _Sketches, rows: Ints, told: ProgressReporter) -> Ints:
    """Return which row leads each: the first leader before it that it is alike to, or itself."""
    leaders = list(range(len(rows)))
    step = BLOCK_SIZE // (2 * SKETCH_SHINGLES)
    for done, pairs in _iter_pairs(_find_shared_bands(sketches.bands, rows, told)):
        hopeful = pairs[_may_be_alike(sketches, rows[pairs])]
        for start in range(0, len(hopeful), step):
            block = hopeful[start : start + step]
            one, other = (sketches.shingles.take(rows[side]) for side in block.T)
            for row, leader in block[_jaccard(one, other) >= MIN_JACCARD].tolist():
                if leaders[row] == row and leaders[leader] == leader:
                    leaders[row] = leader
        told.advance_to(LOOKUP_PROGRESS + (1 - LOOKUP_PROGRESS) * done / len(rows))
    return np.array(leaders, np.int64)


def _find_shared_bands(bands: list[Keys], rows: Ints, told: ProgressReporter) -> list[RowNumbers]:
    """Return where the first row stands that shares a band, or some in a row, with each row.

    There is an array for each of `BAND_RUN_LENGTHS` and of the bands, which are used up to save memory.
    """
    shared: list[RowNumbers] = []
    steps, bands[:] = BANDS * len(BAND_RUN_LENGTHS), bands[::-1]
    for step in range(steps):
        if bands:
            keys = bands.pop()[rows]
        else:
            depth, band = divmod(step - BANDS, BANDS)
            other = depth * BANDS + (band + BAND_RUN_LENGTHS[depth]) % BANDS
            keys = (shared[step - BANDS] * np.int64(len(rows)) + shared[other]).view(np.uint64)
        shared.append(_find_first_occurrences(keys))
        told.advance_to(COUNT_PROGRESS + (LOOKUP_PROGRESS - COUNT_PROGRESS) * (step + 1) / steps)
    return shared


def _find_first_occurrences(keys: Keys) -> RowNumbers:
    """Return for each key where it first stands, by tables in which the first comer stays."""
    firsts = np.arange(len(keys), dtype=np.int32)
    left, bits = firsts.copy(), 1 + len(keys).bit_length()
    table = np.empty(1 << bits, np.int32)
    for mixer in cycle(HASH_MULTIPLIERS):
        own = keys[left]
        slots = (own * mixer >> np.uint64(64 - bits)).astype(np.int64)
        table[slots[::-1]] = left[::-1]
        found = table[slots]
        same = keys[found] == own
        firsts[left[same]] = found[same]
        left = left[~same]
        if not len(left):
            break
    return firsts


def _iter_pairs(shared: list[RowNumbers]) -> Iterator[tuple[int, Ints]]:
    """Yield how many rows are done, and pairs: each row, ascending, with all that it shares."""
    step = 1 + BLOCK_SIZE // len(shared)
    for start in range(0, len(shared[0]), step):
        block = np.sort(np.stack([some[start : start + step] for some in shared], axis=1), axis=1)
        end = start + len(block)
        fresh = np.diff(block, axis=1, prepend=-1) > 0
        fresh &= block != np.arange(start, end)[:, None]
        row, place = np.nonzero(fresh)
        yield end, np.stack([row + start, block[row, place]], axis=1)


def _may_be_alike(sketches: _Sketches, pairs: Ints) -> Flags:
    """Return which pairs may have shingles enough in common, or are too long to say.

    Each bit that one has and the other lacks stands for a shingle or more that they do not share.
    """
    bits, lengths = sketches.bits[pairs], sketches.shingles.lengths[pairs]
    lacking = _popcount(bits & ~bits[:, ::-1])
    both, all_of_them = (lengths - lacking).min(axis=1), lengths.sum(axis=1)
    return np.asarray(
        (both / (all_of_them - both) >= MIN_JACCARD) | (all_of_them > SKETCH_SHINGLES)
    )


def _popcount(bits: Keys) -> Ints:
    """Return how many bits of each number are 1."""
    for shift, mask in ((1, 0x55), (2, 0x33), (4, 0x0F)):
        every = np.uint64(mask * 0x0101010101010101)
        bits = (bits & every) + (bits >> np.uint64(shift) & every)
    return (bits * np.uint64(0x0101010101010101) >> np.uint64(56)).astype(np.int64)


def _jaccard(one: Ragged, other: Ragged) -> Reals:
    """Return how alike pairs are: of the first shingles in either, the share that is in both."""
    owners = [np.repeat(np.arange(len(side.lengths)), side.lengths) for side in (one, other)]
    values = np.concatenate([one.values, other.values])
    _, owner, fresh, place = _sort_by_owner(values, np.concatenate(owners))
    kept = place < SKETCH_SHINGLES
    both = np.bincount(owner[kept & ~fresh], minlength=len(one.lengths))
    return both / np.bincount(owner[kept & fresh])
