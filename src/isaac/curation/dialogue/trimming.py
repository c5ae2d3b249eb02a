"""Responses of a corpus without the parts that have nothing to do with what they answer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...corpus.corpus import Corpus
from ...models.encoders import Encoder
from ...runtime.arrays import Ints
from ...runtime.concurrency import gc_paused
from ...runtime.progress import Progress
from ..canonical_order import CanonicalCorpus
from ..storage import Storage
from .span_relevance import (
    ResponsesInContext,
    SpanRelevanceModel,
    fit_span_relevance,
    parse_act_slots,
)
from .turn_context import group_column, turn_context

WHOLE, TRIMMED, IRRELEVANT = 0, 1, 2
"""Nothing was left out of a response; a part was; all of it would have been, and stays."""


class Trims(NamedTuple):
    """What was left out of the distinct responses (t,): the fate of each, and the trimmed texts.

    ``dependent_share`` is the share of the distinct parts of responses that surely depend on what they
    answer.
    """

    action: Ints
    texts: dict[int, str]
    dependent_share: float


def learn_span_relevance(
    corpus: Corpus, layout: CanonicalCorpus, encoder: Encoder
) -> SpanRelevanceModel:
    """Return what a corpus tells of the parts of its responses, whatever the order of its rows."""
    return fit_span_relevance(collect_responses(corpus, layout), encoder)


def collect_responses(corpus: Corpus, layout: CanonicalCorpus) -> ResponsesInContext:
    """Return the responses of a corpus with what each answers."""
    given, groups = turn_context(corpus), group_column(corpus)
    ids, responses = layout.ids.tolist(), list(layout.responses)
    return ResponsesInContext(
        [groups[number] for number in ids],
        [given.said[number] for number in ids],
        [responses[number] for number in layout.response.tolist()],
        _order_replies(layout, [given.replies[number] for number in ids]),
    )


def _order_replies(layout: CanonicalCorpus, replies: list[str]) -> list[str]:
    """Return the replies (n,), those to equal exchanges in an order of their own.

    Equal exchanges stand in the order of the input otherwise, which is to change nothing.
    """
    exchange = layout.exchange.tolist()
    places = sorted(range(len(replies)), key=exchange.__getitem__)
    ranked = sorted(range(len(replies)), key=lambda row: (exchange[row], replies[row]))
    found = list(replies)
    for place, row in zip(places, ranked, strict=True):
        found[place] = replies[row]
    return found


def find_named_slots(corpus: Corpus, layout: CanonicalCorpus) -> list[frozenset[str] | None]:
    """Return which slots the acts of each distinct response name, None where some are not known."""
    groups = group_column(corpus)
    found: list[frozenset[str] | None] = [frozenset()] * len(layout.responses)
    for number, row in zip(layout.response.tolist(), layout.ids.tolist(), strict=True):
        named, before = parse_act_slots(groups[row]), found[number]
        found[number] = None if named is None or before is None else before | named
    return found


def trim_responses(
    corpus: Corpus, layout: CanonicalCorpus, encoder: Encoder, store: Storage, progress: Progress
) -> Trims:
    """Return what is left out of each distinct response of a corpus, kept in a store."""

    def make() -> dict[str, Any]:
        with progress.stage("belonging", len(layout.responses)) as tick, gc_paused():
            belonging, named = (
                learn_span_relevance(corpus, layout, encoder),
                find_named_slots(corpus, layout),
            )
            texts, foreign = {}, []
            for number, text in enumerate(layout.responses):
                left = belonging.trim(text, named[number])
                if left is None:
                    foreign.append(number)
                elif left != text:
                    texts[str(number)] = left
            tick(len(layout.responses))
        return {"texts": texts, "foreign": foreign, "dependent": belonging.dependent_share}

    found = store.facts("vectors/belonging", make)
    texts = {int(number): text for number, text in found["texts"].items()}
    fate = np.full(len(layout.responses), WHOLE)
    fate[list(texts)] = TRIMMED
    fate[found["foreign"]] = IRRELEVANT
    return Trims(fate, texts, found["dependent"])
