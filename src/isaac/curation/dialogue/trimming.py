"""Trim the responses of a corpus: remove text that has nothing to do with what they answer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...corpus.corpus import Corpus
from ...corpus.dialogue.group import DialogueGroup
from ...corpus.dialogue.implied_values import NEGATION
from ...models.encoders import Encoder
from ...runtime.arrays import Ints
from ...runtime.concurrency import gc_paused
from ...runtime.progress import Progress
from ..canonical_order import CanonicalCorpus
from ..storage import TRIMS_KEY, Storage
from .span_relevance import (
    ResponsesInContext,
    SpanRelevanceModel,
    fit_span_relevance,
    parse_act_slots,
)
from .turn_context import group_column, turn_context

WHOLE, TRIMMED, IRRELEVANT = 0, 1, 2
"""What trimming does to a response: it removes nothing; it removes parts; or nothing would be left,
so the response is redrawn, and never drawn for another row."""


class Trims(NamedTuple):
    """How the distinct responses (t,) were trimmed.

    ``action`` (t,) is `WHOLE`, `TRIMMED` or `IRRELEVANT`, ``texts`` the trimmed texts by the number
    of the response, and ``dependent_share`` the share of the distinct spans that surely depend on
    what they answer.
    """

    action: Ints
    texts: dict[int, str]
    dependent_share: float


def learn_span_relevance(
    corpus: Corpus, layout: CanonicalCorpus, encoder: Encoder
) -> SpanRelevanceModel:
    """Fit the relevance of the spans of a corpus's responses, whatever the order of its rows."""
    return fit_span_relevance(collect_responses(corpus, layout), encoder)


def collect_responses(corpus: Corpus, layout: CanonicalCorpus) -> ResponsesInContext:
    """Collect the responses of a corpus with their contexts, in canonical order."""
    context, groups = turn_context(corpus), group_column(corpus)
    ids, responses = layout.ids.tolist(), list(layout.responses)
    return ResponsesInContext(
        [groups[row] for row in ids],
        [context.user_messages[row] for row in ids],
        [responses[number] for number in layout.response.tolist()],
        _sort_replies(layout, [context.replies[row] for row in ids]),
    )


def _sort_replies(layout: CanonicalCorpus, replies: list[str]) -> list[str]:
    """Sort the replies (n,) among equal exchanges.

    Equal exchanges are otherwise in the order of the input, which must not change any result.
    """
    exchange = layout.exchange.tolist()
    places = sorted(range(len(replies)), key=exchange.__getitem__)
    ranked = sorted(range(len(replies)), key=lambda row: (exchange[row], replies[row]))
    result = list(replies)
    for place, row in zip(places, ranked, strict=True):
        result[place] = replies[row]
    return result


def find_named_slots(corpus: Corpus, layout: CanonicalCorpus) -> list[frozenset[str] | None]:
    """Find the slots that the acts of each distinct response name.

    None for a response if the acts of any of its rows are not known.
    """
    groups = group_column(corpus)
    slots: list[frozenset[str] | None] = [frozenset()] * len(layout.responses)
    for number, row in zip(layout.response.tolist(), layout.ids.tolist(), strict=True):
        named, before = parse_act_slots(groups[row]), slots[number]
        slots[number] = None if named is None or before is None else before | named
    return slots


def _find_implying(corpus: Corpus, layout: CanonicalCorpus) -> set[int]:
    """Find the distinct responses that imply a value, such as a yes or a no."""
    groups = group_column(corpus)
    rows = zip(layout.response.tolist(), layout.ids.tolist(), strict=True)
    return {number for number, row in rows if DialogueGroup.parse(groups[row]).implied}


def changes_polarity(text: str, trimmed: str | None) -> bool:
    """Whether only one of a text and its trimmed form denies something."""
    found = (NEGATION.search(each) is None for each in (text, trimmed or text))
    return len(set(found)) > 1


def trim_responses(
    corpus: Corpus, layout: CanonicalCorpus, encoder: Encoder, store: Storage, progress: Progress
) -> Trims:
    """Trim each distinct response of a corpus, or load the result from the store."""

    def trim() -> dict[str, Any]:
        with progress.stage("relevant text", len(layout.responses)) as tick, gc_paused():
            model = learn_span_relevance(corpus, layout, encoder)
            named_slots = find_named_slots(corpus, layout)
            texts, irrelevant = {}, []
            implying = _find_implying(corpus, layout)
            for number, text in enumerate(layout.responses):
                trimmed = model.trim(text, named_slots[number])
                if number in implying and changes_polarity(text, trimmed):
                    trimmed = None
                if trimmed is None:
                    irrelevant.append(number)
                elif trimmed != text:
                    texts[str(number)] = trimmed
            tick(len(layout.responses))
        return {"texts": texts, "foreign": irrelevant, "dependent": model.dependent_share}

    stored = store.facts(TRIMS_KEY, trim)
    texts = {int(number): text for number, text in stored["texts"].items()}
    action = np.full(len(layout.responses), WHOLE)
    action[list(texts)] = TRIMMED
    action[stored["foreign"]] = IRRELEVANT
    return Trims(action, texts, stored["dependent"])
