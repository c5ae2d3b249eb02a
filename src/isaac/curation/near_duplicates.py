"""Near-duplicates: texts that differ in only a few words, so that they can count once.

Two texts are near-duplicates if they share most of their shingles, which are three words in a row
(Jaccard index). MinHash finds candidate pairs (Broder 1997), then their shingles decide. Every
group has a leader that all its members are near-duplicates of, so that no chain of small changes
joins texts that differ. Texts with the most common shingles become leaders first, so that an
original leads its variants.
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
"""Smallest Jaccard index of near-duplicates: one word changed out of 20 gives 0.71."""

SHINGLE_WORDS = 3
"""Words in a shingle; texts with fewer words are near-duplicates only if all words are the same."""

SKETCH_SHINGLES = 128
"""Shingles that a text is compared by: those with the smallest hashes, a sample of a long text."""

BANDS, HASHES_PER_BAND = 20, 3
"""Bands of MinHashes: of the pairs with Jaccard index 0.7, 99.98 % share a band; with 0.2, 15 %."""

BAND_RUN_LENGTHS = (1, 2, 4)
"""Bands in a row to look up as one; each is twice as long as the one before.

Among many similar texts, only those most alike share several bands in a row.
"""

PART_SHINGLES = 1 << 21
"""Shingles to count at a time."""

MAX_CACHED_WORDS = 1 << 17
"""Words whose hashes are cached."""

SPILL_BYTES = 1 << 27
"""Bytes of shingles to hold in memory before they go to a file."""

READ_PROGRESS, COUNT_PROGRESS, LOOKUP_PROGRESS = 0.55, 0.65, 0.85
"""Share of the work that is done after each step, for progress; does not affect results."""

HASH_MULTIPLIERS = np.frombuffer(
    shake_256(b"isaac").digest(8 * BANDS * HASHES_PER_BAND), "<u8"
) | np.uint64(1)
"""Odd numbers; multiplying hashes by each puts them in another order."""

UNSPACED_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR")
"""Scripts without spaces between words, by their Unicode names: each character counts as a word."""


def group_near_duplicates(texts: Sequence[str], tick: Tick | None = None) -> Ints:
    """Label each text (n,) with the smallest index in its group of near-duplicates.

    Case, accents, punctuation, spaces and numbers are ignored; in texts of fewer than three words,
    accents and numbers count. The order of the texts changes the numbers of the groups but not
    the groups. Other texts in the corpus may change which of two leaders a text joins.

    The texts are read once, in slices. Memory is about 600 bytes per text and a few blocks, however
    long the texts are; sketches beyond `SPILL_BYTES`, at most 1,024 bytes per text, are in a
    temporary file. ``tick`` receives progress, len(texts) in all.
    """
    if not len(texts):
        return np.empty(0, np.int64)
    reporter = ProgressReporter(tick, len(texts))
    with TemporaryFile() as file:
        sketches = _sketch_texts(texts, file, reporter)
        # Texts with the same words form one entry; entries are ranked by descending commonness.
        _, first, entry = np.unique(sketches.digests, return_index=True, return_inverse=True)
        commonness = _compute_commonness(sketches.shingles, reporter)
        ranked = first[np.argsort(-commonness[first], kind="stable")]
        leaders = np.empty(len(texts), np.int64)
        leaders[ranked] = ranked[_find_leaders(sketches, ranked, reporter)]
    _, first, group = np.unique(leaders[first][entry], return_index=True, return_inverse=True)
    return first[group].astype(np.int64)


def are_near_duplicates(text: str, other: str) -> bool:
    """Whether two texts are near-duplicates; up to chance, as `group_near_duplicates` has it."""
    mine, theirs = _find_shingles(text), _find_shingles(other)
    return len(mine & theirs) >= MIN_JACCARD * len(mine | theirs)


def _find_shingles(text: str) -> set[tuple[str, ...]]:
    words = _split_words(text)
    count = max(1, len(words) - SHINGLE_WORDS + 1)
    return {tuple(words[start : start + SHINGLE_WORDS]) for start in range(count)}


class _CharacterMap(dict[int, str]):
    """Maps each character to what it is compared as, for `str.translate`; filled on first use."""

    def __init__(self, loose: bool) -> None:
        self.loose = loose

    def __missing__(self, code: int) -> str:
        plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code)).casefold())
        self[code] = "".join(map(self._fold_character, plain))
        return self[code]

    def _fold_character(self, char: str) -> str:
        category, name = unicodedata.category(char), unicodedata.name(char, "")
        # Drop invisible characters and, if loose, accents and the vowel points that Arabic and
        # Hebrew may leave out; then keep letters, marks and, if not loose, numbers.
        if category == "Cf" or name.startswith(("VARIATION", "COMBINING")[: 1 + self.loose]):
            return ""
        if self.loose and category == "Mn" and name.startswith(("ARABIC", "HEBREW")):
            return ""
        if category[0] not in ("LM" if self.loose else "LMN"):
            return " "
        return f" {char} " if name.startswith(UNSPACED_SCRIPTS) else char


LOOSE_CHARACTERS, STRICT_CHARACTERS = _CharacterMap(loose=True), _CharacterMap(loose=False)
"""Ignoring accents and numbers, and keeping them, for texts of fewer than three words."""


def _split_words(text: str) -> list[str]:
    words = text.translate(LOOSE_CHARACTERS).split()
    if len(words) >= SHINGLE_WORDS:
        return words
    return text.translate(STRICT_CHARACTERS).split() or text.split()


class _WordHashes(dict[str, int]):
    """Cache of the hashes of words; emptied when full, and long words are not cached."""

    def __missing__(self, word: str) -> int:
        number = _hash_text(word)
        if len(self) >= MAX_CACHED_WORDS:
            self.clear()
        if len(word) < SKETCH_SHINGLES:
            self[word] = number
        return number


class _Sketches(NamedTuple):
    """Sketches of n texts.

    ``digests`` (n,) hash all words of a text, ``bands`` are its MinHashes, one array (n,) per band,
    ``shingles`` the hashes of its sketch, and ``bits`` (n,) has a bit set for each of these, by the
    first six bits of the hash.
    """

    digests: Keys
    bits: Keys
    bands: list[Keys]
    shingles: Ragged


def _sketch_texts(texts: Sequence[str], file: IO[bytes], reporter: ProgressReporter) -> _Sketches:
    size, done, hashes = len(texts), 0, _WordHashes()
    digests, bits = np.empty(size, np.uint64), np.empty(size, np.uint64)
    bands = [np.empty(size, np.uint64) for _ in range(BANDS)]
    lengths = np.empty(size, np.int64)
    values = _SpillableArray(file)
    for block in chain.from_iterable(map(_split_blocks, iter_slices(texts))):
        rows = slice(done, done + len(block))
        sketches = _sketch_block(block, hashes)
        parts = (sketches.digests, sketches.bits, *sketches.bands)
        for whole, part in zip((digests, bits, *bands), parts, strict=True):
            whole[rows] = part
        lengths[rows] = sketches.shingles.lengths
        values.add(sketches.shingles.values)
        done += len(block)
        reporter.advance_to(READ_PROGRESS * done / size)
    return _Sketches(digests, bits, bands, Ragged.of(values.all(), lengths))


class _SpillableArray:
    """An array to append to: in memory up to `SPILL_BYTES` bytes, in a file beyond."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.recent = file, array("q")

    def add(self, values: Ints) -> None:
        """Append values."""
        self.recent.frombytes(values.tobytes())
        if self.recent.itemsize * len(self.recent) > SPILL_BYTES:
            self._spill()

    def all(self) -> Ints:
        """All values, mapped from the file if there is one."""
        if not self.file.tell():
            return np.frombuffer(self.recent, np.int64)
        self._spill()
        return np.memmap(self.file, np.int64, "r")

    def _spill(self) -> None:
        self.recent.tofile(self.file)
        self.recent = array("q")


def _split_blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split texts into blocks of about `BLOCK_SIZE` characters; a MinHash counts as one."""
    ends = np.cumsum([len(text) + BANDS * HASHES_PER_BAND for text in texts]) // BLOCK_SIZE
    cuts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(texts)]
    return (texts[start:end] for start, end in pairwise(cuts))


def _sketch_block(texts: Sequence[str], hashes: dict[str, int]) -> _Sketches:
    """Sketch a block of texts; ``hashes`` caches the hashes of words."""
    words = [_split_words(text) for text in texts]
    digests = np.array([_hash_text(" ".join(split)) for split in words], np.uint64)
    shingles, owner = _hash_shingles(
        [split + [""] * (SHINGLE_WORDS - len(split)) for split in words], hashes
    )
    # MinHashes: the smallest hash of each text by each multiplier, combined into bands.
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    smallest = [
        np.minimum.reduceat(shingles * multiplier, starts) for multiplier in HASH_MULTIPLIERS
    ]
    bands = [
        _combine_hashes(smallest[i : i + HASHES_PER_BAND])
        for i in range(0, len(smallest), HASHES_PER_BAND)
    ]
    # The sketch: the first distinct shingles of each text, in the order of their hashes.
    values, owner, is_new, rank = _sort_by_owner(shingles.view(np.int64), owner)
    kept = is_new & (rank < SKETCH_SHINGLES)
    values, lengths = values[kept], np.bincount(owner[kept])
    bits = np.uint64(1) << (values.view(np.uint64) >> np.uint64(58))
    starts = np.cumsum(lengths) - lengths
    bits = np.bitwise_or.reduceat(bits, starts)
    return _Sketches(digests, bits, bands, Ragged.of(values, lengths))


def _hash_text(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _combine_hashes(parts: Sequence[Keys]) -> Keys:
    """Combine several hashes into one that depends on their order."""
    mixed = parts[0]
    for part in parts[1:]:
        mixed = mixed * HASH_MULTIPLIERS[0] + part
    return mixed


def _hash_shingles(words: list[list[str]], hashes: dict[str, int]) -> tuple[Keys, Ints]:
    """Hash the shingles of all texts, and find the index of the text that each is from."""
    lengths = [len(split) for split in words]
    flat = map(hashes.__getitem__, chain.from_iterable(words))
    numbers = np.fromiter(flat, np.uint64, sum(lengths))
    owner = np.repeat(np.arange(len(words)), lengths)
    # A shingle starts at each word that has two more words of the same text after it.
    last = len(numbers) - SHINGLE_WORDS + 1
    inside = owner[:last] == owner[SHINGLE_WORDS - 1 :]
    shingles = _combine_hashes([numbers[i : i + last] for i in range(SHINGLE_WORDS)])
    return shingles[inside], owner[:last][inside]


def _sort_by_owner(values: Ints, owner: Ints) -> tuple[Ints, Ints, Flags, Ints]:
    """Sort values within each owner.

    Returns values and owners in that order, which of them are not repeated, and the rank from 0
    of each among the distinct values of its owner.
    """
    order = np.argsort(values)
    # NumPy's stable sort of 16-bit numbers is a radix sort, which is faster.
    narrow = owner[order].astype(np.uint16 if owner[-1] < 1 << 16 else np.int64)
    order = order[np.argsort(narrow, kind="stable")]
    values, owner = values[order], owner[order]
    first = np.diff(owner, prepend=-1) > 0
    is_new = first | (np.diff(values, prepend=0) != 0)
    count = np.cumsum(is_new)
    return values, owner, is_new, count - count[first][owner]


def _compute_commonness(shingles: Ragged, reporter: ProgressReporter) -> Reals:
    """Count the texts that have a shingle, averaged over the shingles of each text (n,)."""
    lengths, values = shingles.lengths, shingles.values
    sums, parts = np.zeros(len(lengths)), 1 + len(values) // PART_SHINGLES
    # Each part counts the shingles with one remainder, so that equal ones are in the same part.
    for part in range(parts):
        starts = range(0, len(values), PART_SHINGLES)
        matches = [
            np.flatnonzero(values[at : at + PART_SHINGLES] % parts == part) + at for at in starts
        ]
        indices = np.concatenate(matches)
        _, inverse, counts = np.unique(values[indices], return_inverse=True, return_counts=True)
        owner = np.searchsorted(shingles.offsets, indices, side="right") - 1
        sums += np.bincount(owner, counts[inverse], len(lengths))
        reporter.advance_to(READ_PROGRESS + (COUNT_PROGRESS - READ_PROGRESS) * (part + 1) / parts)
    return sums / lengths


def _find_leaders(sketches: _Sketches, rows: Ints, reporter: ProgressReporter) -> Ints:
    """Find for each row the first leader before it that is a near-duplicate, or the row itself."""
    leaders = list(range(len(rows)))
    step = BLOCK_SIZE // (2 * SKETCH_SHINGLES)
    for done, pairs in _iter_pairs(_find_shared_bands(sketches.bands, rows, reporter)):
        possible = pairs[_may_be_alike(sketches, rows[pairs])]
        for start in range(0, len(possible), step):
            block = possible[start : start + step]
            left, right = (sketches.shingles.take(rows[side]) for side in block.T)
            for row, leader in block[_jaccard(left, right) >= MIN_JACCARD].tolist():
                if leaders[row] == row and leaders[leader] == leader:
                    leaders[row] = leader
        reporter.advance_to(LOOKUP_PROGRESS + (1 - LOOKUP_PROGRESS) * done / len(rows))
    return np.array(leaders, np.int64)


def _find_shared_bands(
    bands: list[Keys], rows: Ints, reporter: ProgressReporter
) -> list[RowNumbers]:
    """Find for each run of bands the first row that has the same run as each row (r,).

    The result has an array for each of `BAND_RUN_LENGTHS` and each band it starts at. ``bands`` is
    emptied on the way, to save memory.
    """
    shared: list[RowNumbers] = []
    steps, bands[:] = BANDS * len(BAND_RUN_LENGTHS), bands[::-1]
    for step in range(steps):
        if bands:
            keys = bands.pop()[rows]
        else:
            # Two runs of half the length, one after the other, make a longer run.
            depth, band = divmod(step - BANDS, BANDS)
            next_run = depth * BANDS + (band + BAND_RUN_LENGTHS[depth]) % BANDS
            keys = (shared[step - BANDS] * np.int64(len(rows)) + shared[next_run]).view(np.uint64)
        shared.append(_find_first_occurrences(keys))
        reporter.advance_to(
            COUNT_PROGRESS + (LOOKUP_PROGRESS - COUNT_PROGRESS) * (step + 1) / steps
        )
    return shared


def _find_first_occurrences(keys: Keys) -> RowNumbers:
    """Find for each key the first index at which it occurs, with hash tables.

    Where keys collide, the first one takes the slot; the others try again in the next table, with
    another hash.
    """
    firsts = np.arange(len(keys), dtype=np.int32)
    pending, bits = firsts.copy(), 1 + len(keys).bit_length()
    table = np.empty(1 << bits, np.int32)
    for multiplier in cycle(HASH_MULTIPLIERS):
        pending_keys = keys[pending]
        slots = (pending_keys * multiplier >> np.uint64(64 - bits)).astype(np.int64)
        table[slots[::-1]] = pending[::-1]  # where slots repeat, NumPy keeps the last one written
        occupant = table[slots]
        same = keys[occupant] == pending_keys
        firsts[pending[same]] = occupant[same]
        pending = pending[~same]
        if not len(pending):
            break
    return firsts


def _iter_pairs(shared: list[RowNumbers]) -> Iterator[tuple[int, Ints]]:
    """Yield (rows done, pairs (p, 2)): each row with all earlier rows that share a run with it."""
    step = 1 + BLOCK_SIZE // len(shared)
    for start in range(0, len(shared[0]), step):
        block = np.stack([first[start : start + step] for first in shared], axis=1)
        # Sort for each row the first rows with an equal run, and keep distinct, earlier ones.
        block = np.sort(block, axis=1)
        end = start + len(block)
        is_new = np.diff(block, axis=1, prepend=-1) > 0
        is_new &= block != np.arange(start, end)[:, None]
        row, column = np.nonzero(is_new)
        yield end, np.stack([row + start, block[row, column]], axis=1)


def _may_be_alike(sketches: _Sketches, pairs: Ints) -> Flags:
    """Which pairs may have enough shingles in common, or are too long for this test.

    Each bit that only one of the two has set means at least one shingle that they do not share.
    """
    bits, lengths = sketches.bits[pairs], sketches.shingles.lengths[pairs]
    unshared = _popcount(bits & ~bits[:, ::-1])
    max_shared, total = (lengths - unshared).min(axis=1), lengths.sum(axis=1)
    return np.asarray(
        (max_shared / (total - max_shared) >= MIN_JACCARD) | (total > SKETCH_SHINGLES)
    )


def _popcount(bits: Keys) -> Ints:
    """Count the bits of each number that are 1."""
    for shift, mask in ((1, 0x55), (2, 0x33), (4, 0x0F)):
        repeated = np.uint64(mask * 0x0101010101010101)
        bits = (bits & repeated) + (bits >> np.uint64(shift) & repeated)
    return (bits * np.uint64(0x0101010101010101) >> np.uint64(56)).astype(np.int64)


def _jaccard(left: Ragged, right: Ragged) -> Reals:
    """Estimate the Jaccard index of pairs, by the smallest 128 shingles of their union."""
    owners = [np.repeat(np.arange(len(side.lengths)), side.lengths) for side in (left, right)]
    values = np.concatenate([left.values, right.values])
    _, owner, is_new, rank = _sort_by_owner(values, np.concatenate(owners))
    kept = rank < SKETCH_SHINGLES
    both = np.bincount(owner[kept & ~is_new], minlength=len(left.lengths))
    return both / np.bincount(owner[kept & is_new])
