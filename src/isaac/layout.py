"""The canonical order of a corpus, in which nothing depends on how its rows came.

Texts are embedded once each; rows are sorted by a hash of what they say. So permuting the rows
of the input permutes the ids and changes nothing else, and of many rows with one context the
first few are a fair sample.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .corpus import Corpus

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]


class Layout(NamedTuple):
    """Rows in canonical order, pointing to unique texts.

    ``contexts`` and ``responses`` are sorted and distinct. For canonical row r: ``context[r]``
    and ``response[r]`` index them, ``ids[r]`` is its id in the corpus, ``keys[r]`` seeds its
    draws, ``group[r]`` is its group (0 where there are none), ``exchange[r]`` the number of its
    distinct (group, context, response).
    """

    contexts: list[str]
    responses: list[str]
    context: Ints
    response: Ints
    group: Ints
    exchange: Ints
    ids: Ints
    keys: Keys


def key(context: str, response: str, group: str = "", copy: int = 0) -> int:
    """Return 64 bits that stand for the nth such exchange of a group, wherever it was read."""
    text = f"{len(context)} {len(response)} {copy} {context}{response}{group}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def arrange(corpus: Corpus) -> Layout:
    """Return the canonical layout of a corpus."""
    contexts, context = distinct_texts(corpus.column("context"))
    responses, response = distinct_texts(corpus.column("response"))
    groups, group = distinct_texts([group or "" for group in corpus.column("group")])
    pair = _numbered(context * len(responses) + response)
    exchange = _numbered(group * len(pair) + pair)
    texts = zip(context.tolist(), response.tolist(), group.tolist(), strict=True)
    keys = _keys(((contexts[c], responses[r], groups[g]) for c, r, g in texts), exchange)
    order = np.lexsort((np.arange(len(keys)), keys))
    return Layout(
        contexts,
        responses,
        context[order],
        response[order],
        group[order],
        exchange[order],
        order.astype(np.int64),
        keys[order],
    )


def distinct_texts(texts: Sequence[str]) -> tuple[list[str], Ints]:
    """Return the sorted distinct texts, and where each of the given texts stands in them."""
    distinct = sorted(set(texts))
    place = {text: index for index, text in enumerate(distinct)}
    return distinct, np.array([place[text] for text in texts], np.int64)


def _numbered(values: Ints) -> Ints:
    """Return whole numbers from 0 without gaps, in the order of the values."""
    _, numbers = np.unique(values, return_inverse=True)
    return numbers.reshape(-1).astype(np.int64)


def _keys(rows: Iterable[tuple[str, str, str]], exchanges: Ints) -> Keys:
    copies: Counter[int] = Counter()
    keys = np.empty(len(exchanges), np.uint64)
    for row, (texts, exchange) in enumerate(zip(rows, exchanges.tolist(), strict=True)):
        keys[row] = key(*texts, copy=copies[exchange])
        copies[exchange] += 1
    return keys
