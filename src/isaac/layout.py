"""The canonical order of a corpus, in which nothing depends on how its rows came.

Texts are embedded once each; rows are sorted by a hash of what they say. So permuting the rows
of the input permutes the ids and changes nothing else, and of many rows with one context the
first few are a fair sample.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
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


def key(context: str, response: str, copy: int = 0) -> int:
    """Return 64 bits that stand for the nth exchange with these texts, wherever it was read."""
    text = f"{len(context)} {copy} {context}{response}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def arrange(corpus: Corpus) -> Layout:
    """Return the canonical layout of a corpus."""
    contexts, context = _distinct(corpus.column("context"))
    responses, response = _distinct(corpus.column("response"))
    _, group = _distinct([group or "" for group in corpus.column("group")])
    pairs = context * len(responses) + response
    keys = _keys(contexts, responses, pairs)
    order = np.lexsort((np.arange(len(keys)), keys))
    _, exchange = np.unique(group * (len(contexts) * len(responses)) + pairs, return_inverse=True)
    return Layout(
        contexts,
        responses,
        context[order],
        response[order],
        group[order],
        exchange.reshape(-1)[order].astype(np.int64),
        order.astype(np.int64),
        keys[order],
    )


def _distinct(texts: Sequence[str]) -> tuple[list[str], Ints]:
    """Return the sorted distinct texts, and where each of the given texts stands in them."""
    distinct = sorted(set(texts))
    place = {text: index for index, text in enumerate(distinct)}
    return distinct, np.array([place[text] for text in texts], np.int64)


def _keys(contexts: list[str], responses: list[str], pairs: Ints) -> Keys:
    copies: defaultdict[int, int] = defaultdict(int)
    keys = np.empty(len(pairs), np.uint64)
    for row, pair in enumerate(pairs.tolist()):
        context, response = divmod(pair, len(responses))
        keys[row] = key(contexts[context], responses[response], copies[pair])
        copies[pair] += 1
    return keys
