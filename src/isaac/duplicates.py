"""Near-duplicates: texts that are the same but for a few words, so that each is counted once.

Texts are alike if their shingles, which are three words in a row, mostly are (Jaccard index).
MinHash finds the pairs that may be alike (Broder 1997), their shingles decide. Every group has a
leader that all its members are alike to, so that no chain of small changes joins what differs.
Texts whose shingles are common lead first: an original comes before its variants.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from hashlib import blake2b, shake_256
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt

from .layout import Keys
from .neighbors import Ints, Ragged

Reals = npt.NDArray[np.float64]

ALIKE = 0.7
"""Least Jaccard index of texts that are alike: one word changed of 20 makes 0.71."""

WORDS = 3
"""Words in a shingle; texts with fewer are alike only if their words are the same."""

SKETCH = 128
"""Shingles that a text is compared by, those of smallest hash; a longer text's are a sample."""

BANDS, ROWS = 20, 3
"""MinHashes: of pairs at 0.7 all but 0.02 % have some band in common, of pairs at 0.2 15 %."""

DEPTHS = (1, 2, 4)
"""Bands in a row that are looked up as one; in a crowd only those most alike share many."""

BLOCK = 1 << 20
"""Characters read, and shingles compared, at a time; bounds memory, changes no result."""

MIXERS = np.frombuffer(shake_256(b"isaac").digest(8 * BANDS * ROWS), "<u8") | np.uint64(1)
"""Odd numbers, by each of which hashes are multiplied for another order."""

UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR")
"""Scripts without spaces, by their Unicode names: each character is a word."""


def near_duplicates(texts: Sequence[str]) -> Ints:
    """Return for each text the smallest index in its group of near-duplicates.

    Case, accents, punctuation, spaces and numbers do not count; in texts of fewer than three
    words accents and numbers do. The order of the texts changes no group, only its name; what
    other texts there are may change which of two leaders a text joins.
    """
    if not texts:
        return np.empty(0, np.int64)
    parts = zip(*map(_read, _blocks(texts)), strict=True)
    digests, bands, values, lengths = map(np.concatenate, parts)
    shingles = Ragged.of(values, lengths)
    _, first, form = np.unique(digests, return_index=True, return_inverse=True)
    chosen = first[np.argsort(-_commonness(shingles)[first], kind="stable")]
    leaders = np.empty_like(lengths)
    leaders[chosen] = chosen[_leaders(bands[chosen], shingles, chosen)]
    _, first, group = np.unique(leaders[first][form], return_index=True, return_inverse=True)
    return first[group].astype(np.int64)


class _Reading(dict[int, str]):
    """What each character reads as, found when it is first met."""

    def __init__(self, loose: bool) -> None:
        self.loose = loose

    def __missing__(self, code: int) -> str:
        plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code)).casefold())
        self[code] = "".join(map(self._part, plain))
        return self[code]

    def _part(self, char: str) -> str:
        kind, name = unicodedata.category(char), unicodedata.name(char, "")
        if kind == "Cf" or name.startswith(("VARIATION", "COMBINING")[: 1 + self.loose]):
            return ""
        if kind[0] not in ("LM" if self.loose else "LMN"):
            return " "
        return f" {char} " if name.startswith(UNSPACED) else char


LOOSE, STRICT = _Reading(loose=True), _Reading(loose=False)


def _words(text: str) -> list[str]:
    words = text.translate(LOOSE).split()
    return words if len(words) >= WORDS else text.translate(STRICT).split() or text.split()


def _blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    ends = np.cumsum([len(text) + BANDS * ROWS for text in texts]) // BLOCK
    cuts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(texts)]
    return (texts[start:end] for start, end in pairwise(cuts))


def _read(texts: Sequence[str]) -> tuple[Keys, Keys, Ints, Ints]:
    """Return of each text the hash of its words, its bands, its shingles and how many these are."""
    words = [_words(text) for text in texts]
    digests = np.array([_hash(" ".join(some)) for some in words], np.uint64)
    shingles, owner = _shingles([some + [""] * (WORDS - len(some)) for some in words])
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    least = [np.minimum.reduceat(shingles * mixer, starts) for mixer in MIXERS]
    bands = np.stack([_mixed(least[i : i + ROWS]) for i in range(0, len(least), ROWS)], axis=1)
    values, owner, fresh, place = _ranked(shingles.view(np.int64), owner)
    kept = fresh & (place < SKETCH)
    return digests, bands, values[kept], np.bincount(owner[kept])


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _mixed(parts: Sequence[Keys]) -> Keys:
    """Return one hash for several, of which the order counts."""
    mixed = parts[0]
    for part in parts[1:]:
        mixed = mixed * MIXERS[0] + part
    return mixed


def _shingles(words: list[list[str]]) -> tuple[Keys, Ints]:
    """Return the hashes of the shingles of all texts, and which text each is of."""
    hashes = {word: _hash(word) for word in set(chain.from_iterable(words))}
    flat = np.fromiter(map(hashes.__getitem__, chain.from_iterable(words)), np.uint64)
    owner = np.repeat(np.arange(len(words)), [len(some) for some in words])
    last = len(flat) - WORDS + 1
    inside = owner[:last] == owner[WORDS - 1 :]
    return _mixed([flat[i : i + last] for i in range(WORDS)])[inside], owner[:last][inside]


def _ranked(values: Ints, owner: Ints) -> tuple[Ints, Ints, npt.NDArray[np.bool_], Ints]:
    """Return both sorted, which are new, and how many of its owner come before each."""
    order = np.lexsort((values, owner))
    values, owner = values[order], owner[order]
    first = np.diff(owner, prepend=-1) > 0
    fresh = first | (np.diff(values, prepend=0) != 0)
    count = np.cumsum(fresh)
    return values, owner, fresh, count - count[first][owner]


def _take(lists: Ragged, rows: Ints) -> Ragged:
    lengths = lists.lengths[rows]
    shift = np.repeat(lists.offsets[rows] - np.cumsum(lengths) + lengths, lengths)
    return Ragged.of(lists.values[shift + np.arange(len(shift))], lengths)


def _commonness(shingles: Ragged) -> Reals:
    """Return in how many texts the shingles of each are, on average."""
    _, inverse, counts = np.unique(shingles.values, return_inverse=True, return_counts=True)
    return np.add.reduceat(counts[inverse], shingles.offsets[:-1]) / shingles.lengths


def _leaders(bands: Keys, shingles: Ragged, rows: Ints) -> Ints:
    """Return which row leads each: the first leader before it that it is alike to, or itself."""
    leaders = list(range(len(rows)))
    pairs = _pairs(bands)
    step = BLOCK // (2 * SKETCH)
    for start in range(0, len(pairs), step):
        block = pairs[start : start + step]
        one, other = (_take(shingles, rows[side]) for side in block.T)
        for row, leader in block[_jaccard(one, other) >= ALIKE].tolist():
            if leaders[row] == row and leaders[leader] == leader:
                leaders[row] = leader
    return np.array(leaders, np.int64)


def _pairs(bands: Keys) -> Ints:
    """Return each row, ascending, with the first of those that share a band or some in a row."""
    size, codes = len(bands), [np.empty(0, np.int64)]
    for depth in DEPTHS:
        for band in range(BANDS):
            keys = _mixed([bands[:, (band + i) % BANDS] for i in range(depth)])
            _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
            rows = np.flatnonzero(first[inverse] != np.arange(size))
            codes.append(rows * size + first[inverse[rows]])
    return np.stack(np.divmod(np.unique(np.concatenate(codes)), size), axis=1)


def _jaccard(one: Ragged, other: Ragged) -> Reals:
    """Return how alike pairs are: of the first shingles in either, the share that is in both."""
    owners = [np.repeat(np.arange(len(side.lengths)), side.lengths) for side in (one, other)]
    values = np.concatenate([one.values, other.values])
    _, owner, fresh, place = _ranked(values, np.concatenate(owners))
    kept = place < SKETCH
    both = np.bincount(owner[kept & ~fresh], minlength=len(one.lengths))
    return both / np.bincount(owner[kept & fresh])
