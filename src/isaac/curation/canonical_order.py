"""The canonical order of a corpus, in which nothing depends on how its rows came.

Texts are embedded once each; texts and rows are sorted by a hash of what they say. So permuting
the rows of the input permutes the ids and changes nothing else, and of many rows with one context
the first few are a fair sample. The corpus is read batch by batch: what stays in memory are
numbers, about 110 bytes a row.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..corpus.corpus import Corpus
from ..runtime.progress import Progress
from ..runtime.storage import TextChunks, stored_arrays
from .arrays import Digests, Ints, Keys
from .storage import MemoryStorage, Storage
from .unique_texts import UniqueDigests, UniqueTexts, compute_digests, unique_digests


class CanonicalCorpus(NamedTuple):
    """Rows in canonical order, pointing to distinct texts.

    For canonical row r: ``context[r]`` and ``response[r]`` index ``contexts`` and ``responses``,
    ``ids[r]`` is its id in the corpus, ``keys[r]`` seeds its draws, ``group[r]`` is its group (0
    where there are none), ``exchange[r]`` the number of its distinct (group, context, response).
    ``first[e]`` is the first row of exchange e. ``shown`` are the distinct texts by which responses
    are compared, which are the responses themselves or what is seen of them, and ``look[r]`` says
    which of them row r has.
    """

    contexts: UniqueTexts
    responses: UniqueTexts
    shown: UniqueTexts
    context: Ints
    response: Ints
    look: Ints
    group: Ints
    exchange: Ints
    first: Ints
    ids: Ints
    keys: Keys


def hash_exchange(context: str, response: str, group: str = "", copy: int = 0) -> int:
    """Return 64 bits that stand for the nth such exchange of a group, wherever it was read."""
    text = f"{len(context)} {len(response)} {copy} {context}{response}{group}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def canonicalize(
    corpus: Corpus,
    store: Storage | None = None,
    show: Callable[[str], str] | None = None,
    progress: Progress | None = None,
) -> CanonicalCorpus:
    """Return the canonical layout of a corpus, kept in a store.

    ``show`` returns what of a response is compared; without it, all of it is.
    """
    store = store or MemoryStorage()
    made = functools.cache(functools.partial(_compute_order, corpus, progress or Progress()))
    contexts, responses = (
        _load_or_build_texts(name, corpus, made, store) for name in ("context", "response")
    )
    rows = stored_arrays(store, "texts/rows", ROW_ARRAYS, lambda: made()[1])
    shown, look = responses, rows["response"]
    if show is not None:
        shown, place = _load_or_build_views(responses, show, store)
        look = place[look]
    return CanonicalCorpus(contexts, responses, shown, look=look, **rows)


ROW_ARRAYS = ("context", "response", "group", "exchange", "first", "ids", "keys")
TEXT_COLUMNS = ("context", "response", "group")


def _load_or_build_texts(
    name: str,
    corpus: Corpus,
    made: Callable[[], tuple[dict[str, UniqueDigests], dict[str, Ints]]],
    store: Storage,
) -> UniqueTexts:
    """Return the distinct texts of a column."""
    digests = store.array(f"texts/{name}.digests", lambda: made()[0][name].digests)
    source = store.texts(
        f"texts/{name}", len(digests), lambda: iter_unique_texts(corpus, name, made()[0][name])
    )
    return UniqueTexts(digests, source)


def _load_or_build_views(
    responses: UniqueTexts, show: Callable[[str], str], store: Storage
) -> tuple[UniqueTexts, Ints]:
    """Return the distinct texts that are seen of responses, and which each response has."""

    def portions() -> Iterator[tuple[int, list[str]]]:
        for start in range(0, len(responses), CHUNK_ROWS):
            yield start, [show(text) for text in responses[start : start + CHUNK_ROWS]]

    @functools.cache
    def made() -> UniqueDigests:
        return unique_digests(np.concatenate([compute_digests(texts) for _, texts in portions()]))

    def pieces() -> TextChunks:
        for start, texts in portions():
            places = made().inverse[start : start + len(texts)]
            new = np.flatnonzero(made().first[places] == start + np.arange(len(texts)))
            yield places[new], [texts[i] for i in new.tolist()]

    digests = store.array("texts/shown.digests", lambda: made().digests)
    place = store.array("texts/shown.place", lambda: made().inverse)
    return UniqueTexts(digests, store.texts("texts/shown", len(digests), pieces)), place


def iter_unique_texts(corpus: Corpus, name: str, found: UniqueDigests) -> TextChunks:
    """Yield the distinct texts of a column of the corpus, each where it comes first."""
    start = 0
    for part in corpus.parts([name]):
        rows = np.arange(start, start + len(part))
        places = found.inverse[rows]
        new = np.flatnonzero(found.first[places] == rows)
        texts = part.column(name).take(new).to_pylist()
        yield places[new], [text or "" for text in texts]
        start += len(part)


def _compute_order(
    corpus: Corpus, progress: Progress
) -> tuple[dict[str, UniqueDigests], dict[str, Ints]]:
    """Return the distinct texts of each column, and the rows' arrays in canonical order."""
    parts: list[list[Digests]] = []
    with progress.stage("arrange", len(corpus)) as tick:
        for part in corpus.parts(list(TEXT_COLUMNS)):
            columns = [
                [text or "" for text in part.column(name).to_pylist()] for name in TEXT_COLUMNS
            ]
            keys = np.array(
                [hash_exchange(*texts) for texts in zip(*columns, strict=True)], np.uint64
            )
            parts.append([*map(compute_digests, columns), keys])
            tick(len(part))
    *digests, keys = (np.concatenate(column) for column in zip(*parts, strict=True))
    found = dict(zip(TEXT_COLUMNS, map(unique_digests, digests), strict=True))
    context, response, group = (found[name].inverse for name in TEXT_COLUMNS)
    pair = _rank_densely(context * len(found["response"].first) + response)
    exchange = _rank_densely(group * (int(pair.max(initial=0)) + 1) + pair)
    _assign_copy_keys(keys, exchange, corpus)
    order = np.lexsort((np.arange(len(keys)), keys)).astype(np.int64)
    _, first = np.unique(exchange[order], return_index=True)
    rows = (context, response, group, exchange)
    arrays: list[npt.NDArray[Any]] = [values[order] for values in rows]
    arrays += [first.astype(np.int64), order, keys[order]]
    return found, dict(zip(ROW_ARRAYS, arrays, strict=True))


def _rank_densely(values: Ints) -> Ints:
    """Return whole numbers from 0 without gaps, in the order of the values."""
    _, numbers = np.unique(values, return_inverse=True)
    return numbers.reshape(-1).astype(np.int64)


def _assign_copy_keys(keys: Keys, exchange: Ints, corpus: Corpus) -> None:
    """Give every copy of an exchange but the first a key of its own."""
    order = np.argsort(exchange, kind="stable")
    ranked = exchange[order]
    copy = np.empty(len(order), np.int64)
    copy[order] = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    for rows, texts in _iter_row_texts(corpus, np.flatnonzero(copy)):
        again = copy[rows].tolist()
        keys[rows] = [hash_exchange(*row, number) for row, number in zip(texts, again, strict=True)]


def _iter_row_texts(
    corpus: Corpus, rows: Ints
) -> Iterator[tuple[Ints, list[tuple[str, str, str]]]]:
    """Yield the texts of some rows, ascending, portion by portion."""
    for start in range(0, len(rows), CHUNK_ROWS):
        some = rows[start : start + CHUNK_ROWS]
        table = corpus.take(some, list(TEXT_COLUMNS))
        columns = ([text or "" for text in table.column(name).to_pylist()] for name in TEXT_COLUMNS)
        yield some, list(zip(*columns, strict=True))


CHUNK_ROWS = 10_000
"""Rows whose texts are in memory at a time."""
