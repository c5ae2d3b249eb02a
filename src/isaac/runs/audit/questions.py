"""The questions of an audit: the texts to label, in an order that hides which are curated."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from ...curation.curate import Curation
from .sampling import AuditItem, AuditSample

BLOCK_ROWS = 10
"""Number of sampled rows whose questions are shuffled together.

A labeler who stops early then has labels for nearly all rows up to that point, before and after.
"""


class Question(NamedTuple):
    """One exchange to label: its texts, and every item of the sample that has these texts.

    ``key`` is a digest of the texts, so a label never applies to a text that has changed.
    ``position`` is the index of the first sampled row that needs the question.
    """

    key: str
    context: str
    response: str
    items: tuple[AuditItem, ...]
    position: int

    @property
    def row(self) -> int:
        """The id of a row with this context; it does not show which response the row has."""
        return self.items[0].context

    def as_json(self) -> dict[str, Any]:
        """The question with empty labels, for a file that `read_labels` reads."""
        texts = {"context": self.context, "response": self.response}
        return {"question": self.key, **texts, "label": None, "fits": None}


class Exchange(NamedTuple):
    """The two texts of an item."""

    context: str
    response: str


def build_questions(curation: Curation, sample: AuditSample, seed: int) -> list[Question]:
    """Build the questions about a sample, each distinct exchange once, in an order that is blind.

    The rows come in the order of the sample. Within a block of `BLOCK_ROWS` rows, the questions are
    sorted by a hash of seed and texts: neither the order nor the question shows whether a response
    is the original or the curated one. The questions of a larger sample begin with the same blocks.
    """
    items: dict[str, list[AuditItem]] = {}
    blocks: list[list[tuple[str, Exchange, int]]] = []
    for position, row in enumerate(sample.sampled_rows):
        if position % BLOCK_ROWS == 0:
            blocks.append([])
        for item in dict.fromkeys((row.before, row.after)):
            if item is None:
                continue
            exchange = find_exchange(curation, item)
            key = digest_exchange(*exchange)
            if key not in items:
                blocks[-1].append((key, exchange, position))
            items.setdefault(key, []).append(item)
    return [
        Question(key, *exchange, tuple(items[key]), position)
        for block in blocks
        for key, exchange, position in sorted(block, key=lambda each: _shuffle_key(seed, each[0]))
    ]


def find_exchange(curation: Curation, item: AuditItem) -> Exchange:
    """Look up the texts of an item: the original response, or the final one if it changed."""
    context = curation.corpus[item.context].context
    if item.response == item.context and not item.trimmed:
        return Exchange(context, curation.corpus[item.response].response)
    return Exchange(context, curation.final_responses(np.array([item.response]))[0])


def digest_exchange(context: str, response: str) -> str:
    """A digest of a context and a response, as 32 hex digits."""
    return blake2b(json.dumps([context, response]).encode(), digest_size=16).hexdigest()


def _shuffle_key(seed: int, key: str) -> bytes:
    return blake2b(f"{seed} {key}".encode(), digest_size=16).digest()
