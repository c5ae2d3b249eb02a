"""Matching: give untrusted rows a trusted response that fits their message, or none.

Unlike a draw from clusters, nothing is random: the best-fitting pairs go first, a response is given
to a few rows at most, and a row for which nothing fits gets nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..recipe import ResolvedRecipe
from ..runtime.arrays import Flags, Ints, Reals
from .canonical_order import CanonicalCorpus
from .fit import FitModel, score_pairs, steps_to_scores
from .languages import CorpusLanguages
from .resources import Tools
from .search.exact import find_nearest_in_parallel, group_rows, split_range
from .values import find_values
from .vectors import Embeddings

BLOCK_ROWS = 16_384
"""Rows that are matched with each other.

Rows are in the order of their hashes, so each block is a fair sample of the corpus. This keeps the
work proportional to the number of rows.
"""

CANDIDATES = 32
"""Best-fitting responses to consider for each message."""

MAX_KEY_OFFERS = 64
"""Responses to consider for each key, if rows are grouped by a key: the most trusted ones."""

MAX_OVERLAP = 0.6
"""Overlap in words that hardly any pair exceeds; pairs further below the bound are left out."""


class Matches(NamedTuple):
    """What each row gets, by target.

    ``sources`` has the row that the response is from (n,), -1 for none, and ``fits`` the fit of
    that response (n,), NaN for none.
    """

    sources: list[Ints]
    fits: list[Reals]


class MatchInputs(NamedTuple):
    """What rows are matched by.

    ``needs`` (n,) marks the rows that need a response, ``offers`` (n,) those whose response may be
    given to other rows. ``groups`` (t,) are the near-duplicate groups of the distinct responses,
    ``trust`` (t,) is the trust in them. No response crosses ``languages``.
    """

    layout: CanonicalCorpus
    model: FitModel
    contexts: Embeddings
    responses: Embeddings
    groups: Ints
    trust: Reals
    needs: Flags
    offers: Flags
    languages: CorpusLanguages
    recipe: ResolvedRecipe
    tools: Tools

    @property
    def by_key(self) -> bool:
        """Whether rows are grouped by a key, within which every response fits."""
        return self.recipe.reading.group_by is not None


class ScoredPairs(NamedTuple):
    """Pairs (p,) that may be matched, best first.

    ``rows`` need a response, ``sources`` are the rows that it is from, ``fits`` is how well it
    fits.
    """

    rows: Ints
    sources: Ints
    fits: Reals


def match_rows(inputs: MatchInputs) -> Matches:
    """Match the rows that need a response with rows that offer one, block by block."""
    layout, recipe = inputs.layout, inputs.recipe
    count = len(layout.ids)
    sources = [np.full(count, -1) for _ in range(recipe.targets)]
    fits = [np.full(count, np.nan) for _ in range(recipe.targets)]
    group = inputs.groups[layout.response]
    used: dict[int, int] = {}
    with inputs.tools.progress.stage("match", count) as tick:
        for rows in _split_rows(layout, by_key=inputs.by_key):
            pairs = _score_block(inputs, rows)
            matcher = _Matcher(pairs, group[pairs.sources], recipe.repeat_limit, used)
            for source, fit in zip(sources, fits, strict=True):
                taken = matcher.take_best()
                source[pairs.rows[taken]] = pairs.sources[taken]
                fit[pairs.rows[taken]] = pairs.fits[taken]
            tick(len(rows))
    return Matches(sources, fits)


def _split_rows(layout: CanonicalCorpus, *, by_key: bool) -> Iterator[Ints]:
    """Split the rows (n,) into blocks of about `BLOCK_ROWS`; a key is in one block only."""
    if not by_key:
        every = np.arange(len(layout.ids))
        yield from (every[block] for block in split_range(len(every), BLOCK_ROWS))
        return
    rows = group_rows(layout.group)
    # Cut before the first key that starts in a new block.
    blocks = rows.offsets[:-1] // BLOCK_ROWS
    cuts = np.flatnonzero(np.diff(blocks, prepend=-1))
    for start, end in zip(cuts, [*cuts[1:], len(blocks)], strict=True):
        yield rows.values[rows.offsets[start] : rows.offsets[end]]


def _score_block(inputs: MatchInputs, rows: Ints) -> ScoredPairs:
    """Score the pairs of a block; keep those that fit, and that no guard rules out."""
    layout, model, groups = inputs.layout, inputs.model, inputs.groups
    needing, offering = rows[inputs.needs[rows]], rows[inputs.offers[rows]]
    # One row for each distinct exchange that needs a response, and for each group that offers one.
    exchange, first, place = np.unique(
        layout.exchange[needing], return_index=True, return_inverse=True
    )
    messages, offers = needing[first], _choose_offers(inputs, offering)
    if not len(messages) or not len(offers):
        return ScoredPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    x, y = inputs.contexts.vectors, inputs.responses.vectors
    own, keys = (
        model.keys(x[layout.context[part]], y[layout.view[part]], groups[layout.response[part]])
        for part in (messages, offers)
    )
    queries = model.queries(x[layout.context[messages]], exchange, own)
    bound = -np.inf if inputs.by_key else inputs.recipe.fit_bound
    if inputs.by_key:
        message, offer = _pair_by_key(layout.group[messages], layout.group[offers])
        blocks = split_range(len(message), BLOCK_ROWS)
        parts = [score_pairs(queries[message[b]], keys[offer[b]]) for b in blocks]
        fits = np.concatenate([np.empty(0), *parts])
    else:
        near = find_nearest_in_parallel(queries, keys, CANDIDATES, inputs.tools.threads)
        message = np.repeat(np.arange(len(messages)), near.indices.shape[1])
        offer, fits = near.indices.reshape(-1), steps_to_scores(near.steps.reshape(-1))
    close = fits >= bound - MAX_OVERLAP
    close &= inputs.languages.allow(layout, messages[message], offers[offer])
    message, offer, fits = message[close], offer[close], fits[close]
    fits += model.compare_words(layout, messages[message], offers[offer])
    # A near-copy of the row's own response is no better than it.
    own_group = groups[layout.response[messages]][message]
    good = (fits >= bound) & (own_group != groups[layout.response[offers]][offer])
    good[good] = ~conflicts(layout, messages[message[good]], offers[offer[good]])
    return _expand(needing, place.reshape(-1), message[good], offers[offer[good]], fits[good])


def _choose_offers(inputs: MatchInputs, offering: Ints) -> Ints:
    """Choose one row for each near-duplicate group that is offered, and at most 64 for each key."""
    layout = inputs.layout
    key = layout.group[offering] if inputs.by_key else np.zeros(len(offering), np.int64)
    group = inputs.groups[layout.response[offering]]
    order = np.lexsort((offering, group, key))
    is_new = np.ones(len(order), bool)
    is_new[1:] = np.diff(group[order]).astype(bool) | np.diff(key[order]).astype(bool)
    first = order[is_new]
    if not inputs.by_key:
        return np.sort(offering[first])
    # The most trusted of each key first; ties go by canonical order.
    trust = inputs.trust[layout.response[offering[first]]]
    first = first[np.lexsort((offering[first], -trust, key[first]))]
    ranked = key[first]
    rank = np.arange(len(ranked)) - np.searchsorted(ranked, ranked)
    return offering[first[rank < MAX_KEY_OFFERS]]


def _pair_by_key(message_keys: Ints, offer_keys: Ints) -> tuple[Ints, Ints]:
    """Pair every message with every offer of its key; ``offer_keys`` ascend."""
    start = np.searchsorted(offer_keys, message_keys)
    counts = np.searchsorted(offer_keys, message_keys, side="right") - start
    message = np.repeat(np.arange(len(message_keys)), counts)
    step = np.arange(len(message)) - np.repeat(np.cumsum(counts) - counts, counts)
    return message, np.repeat(start, counts) + step


def conflicts(layout: CanonicalCorpus, messages: Ints, sources: Ints) -> Flags:
    """Whether the response of each row of ``sources`` (p,) names a value its message lacks (p,).

    ``messages`` (p,) are the rows that the responses would be given to.
    """
    values = {
        number: find_values(layout.responses[number])
        for number in np.unique(layout.response[sources]).tolist()
    }
    seen: dict[int, frozenset[str]] = {}
    conflicting = np.zeros(len(messages), bool)
    pairs = zip(layout.context[messages].tolist(), layout.response[sources].tolist(), strict=True)
    for index, (message, response) in enumerate(pairs):
        if values[response]:
            if message not in seen:
                seen[message] = find_values(layout.contexts[message])
            conflicting[index] = not values[response] <= seen[message]
    return conflicting


def _expand(needing: Ints, place: Ints, message: Ints, sources: Ints, fits: Reals) -> ScoredPairs:
    """Repeat the pairs of an exchange for each of its rows; sort all pairs, best first."""
    order = np.argsort(message, kind="stable")
    start = np.searchsorted(message[order], place)
    counts = np.searchsorted(message[order], place, side="right") - start
    rows = np.repeat(needing, counts)
    step = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    pair = order[np.repeat(start, counts) + step]
    best = np.lexsort((sources[pair], rows, -fits[pair]))
    return ScoredPairs(rows[best], sources[pair][best], fits[pair][best])


class _Matcher:
    """Takes the best pairs such that a row gets one response, and no response goes out too often.

    ``groups`` (p,) are the near-duplicate groups of the responses; responses of one group count as
    one. ``limit`` is how many rows may get it, 0 for no limit. ``used`` counts the rows that got
    each group, those of earlier blocks included.
    """

    def __init__(self, pairs: ScoredPairs, groups: Ints, limit: int, used: dict[int, int]) -> None:
        self.rows, self.groups = pairs.rows.tolist(), groups.tolist()
        self.limit, self.used = limit or np.inf, used
        self.given: set[tuple[int, int]] = set()

    def take_best(self) -> Ints:
        """Take one more response for each row, best pairs first; the indices of the pairs."""
        taken, matched = [], set()
        for index, (row, group) in enumerate(zip(self.rows, self.groups, strict=True)):
            if row in matched or self.used.get(group, 0) >= self.limit:
                continue
            if (row, group) in self.given:
                continue
            matched.add(row)
            taken.append(index)
            self.given.add((row, group))
            self.used[group] = self.used.get(group, 0) + 1
        return np.array(taken, np.int64)
