"""The canonical order of a corpus: nothing depends on the order in which its rows were read.

Texts and rows are sorted by hashes of their content, so permuting the input permutes the ids and
changes nothing else, and of many rows with one context the first few are a fair sample. Each
distinct text is embedded once. The corpus is read in chunks: only numbers, about 110 bytes per row,
stay in memory.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..corpus.corpus import Corpus
from ..recipe import Recipe
from ..runtime.arrays import Digests, Ints, Keys
from ..runtime.progress import Progress
from ..runtime.storage import TextChunks, stored_arrays
from .storage import ROWS_KEY, VIEWS_KEY, MemoryStorage, Storage, text_key
from .unique_texts import UniqueDigests, UniqueTexts, compute_digests, unique_digests


class CanonicalCorpus(NamedTuple):
    """The rows of a corpus in canonical order, as numbers that index distinct texts.

    A variable of this type is called ``layout``, because it says where everything is; the texts
    may stay on disk. For row r: ``context[r]``, ``response[r]`` and ``view[r]`` index ``contexts``,
    ``responses`` and ``views``, where a view is the text by which a response is compared (the
    whole response, or its opening). ``group[r]`` is the row's group (0 if there are none),
    ``exchange[r]`` the number of its distinct (group, context, response), ``ids[r]`` its id in the
    corpus, and ``keys[r]`` seeds its draws. ``first[e]`` is the first row of exchange e.
    """

    contexts: UniqueTexts
    responses: UniqueTexts
    views: UniqueTexts
    context: Ints
    response: Ints
    view: Ints
    group: Ints
    exchange: Ints
    first: Ints
    ids: Ints
    keys: Keys

    def row_neighborhoods(self, recipe: Recipe) -> Ints:
        """The neighborhood of each row (n,): that of its exchange, or of its group if grouped.

        A group of more than `MAX_COMPARED` distinct exchanges has several neighborhoods if
        responses are compared with each other, since that takes the square of their number.
        """
        if recipe.reading.group_by is None:
            return self.exchange
        return self.group if recipe.clusters == "text" else _split_groups(self)


MAX_COMPARED = 2**15
"""Maximum number of distinct exchanges of a group whose responses are compared with each other."""


def _split_groups(layout: CanonicalCorpus) -> Ints:
    """Number the groups of the rows (n,), with large groups split into parts of equal size.

    Exchanges are in the order of their hashes, so each part is a fair sample of its group. Equal
    exchanges stay together.
    """
    group = layout.group[layout.first]
    counts = np.bincount(group)
    if counts.max(initial=0) <= MAX_COMPARED:
        return layout.group
    order = np.lexsort((layout.first, group))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    parts = -(-counts // MAX_COMPARED)
    number = (np.cumsum(parts) - parts)[group] + rank * parts[group] // counts[group]
    return np.asarray(number[layout.exchange])


def hash_exchange(context: str, response: str, group: str = "", copy: int = 0) -> int:
    """Hash an exchange to 64 bits; ``copy`` numbers equal exchanges from 0."""
    text = f"{len(context)} {len(response)} {copy} {context}{response}{group}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def canonicalize(
    corpus: Corpus,
    store: Storage | None = None,
    extract_view: Callable[[str], str] | None = None,
    progress: Progress | None = None,
) -> CanonicalCorpus:
    """Put a corpus into canonical order, or load that order from a store.

    ``extract_view`` maps a response to the text by which it is compared, by default all of it.
    """
    store = store or MemoryStorage()
    compute = functools.cache(functools.partial(_compute_order, corpus, progress or Progress()))
    contexts, responses = (
        _load_or_build_texts(name, corpus, compute, store) for name in ("context", "response")
    )
    rows = stored_arrays(store, ROWS_KEY, ROW_ARRAYS, lambda: compute()[1])
    views, view = responses, rows["response"]
    if extract_view is not None:
        views, view_of_response = _load_or_build_views(responses, extract_view, store)
        view = view_of_response[view]
    return CanonicalCorpus(contexts, responses, views, view=view, **rows)


CHUNK_ROWS = 10_000
"""Rows whose texts are in memory at a time."""

ROW_ARRAYS = ("context", "response", "group", "exchange", "first", "ids", "keys")
"""Fields of `CanonicalCorpus` that are stored."""

TEXT_COLUMNS = ("context", "response", "group")
"""Columns of the corpus that make an exchange."""


def _load_or_build_texts(
    name: str,
    corpus: Corpus,
    compute: Callable[[], tuple[dict[str, UniqueDigests], dict[str, Ints]]],
    store: Storage,
) -> UniqueTexts:
    """Load the distinct texts of a column, or collect and store them."""
    key = text_key(name)
    digests = store.array(f"{key}.digests", lambda: compute()[0][name].digests)
    source = store.texts(
        key, len(digests), lambda: iter_unique_texts(corpus, name, compute()[0][name])
    )
    return UniqueTexts(digests, source)


def _load_or_build_views(
    responses: UniqueTexts, extract_view: Callable[[str], str], store: Storage
) -> tuple[UniqueTexts, Ints]:
    """Load or build the distinct views, and the index (t,) of each response's view."""

    def iter_views() -> Iterator[tuple[int, list[str]]]:
        for start in range(0, len(responses), CHUNK_ROWS):
            yield start, [extract_view(text) for text in responses[start : start + CHUNK_ROWS]]

    @functools.cache
    def compute() -> UniqueDigests:
        return unique_digests(np.concatenate([compute_digests(texts) for _, texts in iter_views()]))

    def iter_chunks() -> TextChunks:
        for start, texts in iter_views():
            indices = compute().inverse[start : start + len(texts)]
            new = np.flatnonzero(compute().first[indices] == start + np.arange(len(texts)))
            yield indices[new], [texts[i] for i in new.tolist()]

    digests = store.array(f"{VIEWS_KEY}.digests", lambda: compute().digests)
    view = store.array(f"{VIEWS_KEY}.place", lambda: compute().inverse)
    return UniqueTexts(digests, store.texts(VIEWS_KEY, len(digests), iter_chunks)), view


def iter_unique_texts(corpus: Corpus, name: str, unique: UniqueDigests) -> TextChunks:
    """Yield the distinct texts of a column with their indices, each where it occurs first."""
    start = 0
    for part in corpus.parts([name]):
        rows = np.arange(start, start + len(part))
        indices = unique.inverse[rows]
        new = np.flatnonzero(unique.first[indices] == rows)
        texts = part.column(name).take(new).to_pylist()
        yield indices[new], [text or "" for text in texts]
        start += len(part)


def _compute_order(
    corpus: Corpus, progress: Progress
) -> tuple[dict[str, UniqueDigests], dict[str, Ints]]:
    """Find the distinct texts of each column, and the arrays of the rows in canonical order."""
    parts: list[list[Digests]] = []
    with progress.stage("canonical order", len(corpus)) as tick:
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
    unique = dict(zip(TEXT_COLUMNS, map(unique_digests, digests), strict=True))
    context, response, group = (unique[name].inverse for name in TEXT_COLUMNS)
    # Number the distinct (context, response), then the distinct (group, context, response).
    pair = _rank_densely(context * len(unique["response"].first) + response)
    exchange = _rank_densely(group * (int(pair.max(initial=0)) + 1) + pair)
    _assign_copy_keys(keys, exchange, corpus)
    # Sort by key; rows with equal keys keep the order of the input.
    order = np.lexsort((np.arange(len(keys)), keys)).astype(np.int64)
    _, first = np.unique(exchange[order], return_index=True)
    rows = (context, response, group, exchange)
    arrays: list[npt.NDArray[Any]] = [values[order] for values in rows]
    arrays += [first.astype(np.int64), order, keys[order]]
    return unique, dict(zip(ROW_ARRAYS, arrays, strict=True))


def _rank_densely(values: Ints) -> Ints:
    """Replace values by their ranks among the distinct values, from 0."""
    _, numbers = np.unique(values, return_inverse=True)
    return numbers.reshape(-1).astype(np.int64)


def _assign_copy_keys(keys: Keys, exchange: Ints, corpus: Corpus) -> None:
    """Give each copy of an exchange its own key; the first copy keeps the one it has."""
    order = np.argsort(exchange, kind="stable")
    ranked = exchange[order]
    copy = np.empty(len(order), np.int64)
    copy[order] = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    for rows, texts in _iter_row_texts(corpus, np.flatnonzero(copy)):
        pairs = zip(texts, copy[rows].tolist(), strict=True)
        keys[rows] = [hash_exchange(*row, number) for row, number in pairs]


def _iter_row_texts(
    corpus: Corpus, rows: Ints
) -> Iterator[tuple[Ints, list[tuple[str, str, str]]]]:
    """Yield the texts of ``rows``, which ascend, chunk by chunk."""
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = rows[start : start + CHUNK_ROWS]
        table = corpus.take(chunk, list(TEXT_COLUMNS))
        columns = ([text or "" for text in table.column(name).to_pylist()] for name in TEXT_COLUMNS)
        yield chunk, list(zip(*columns, strict=True))
