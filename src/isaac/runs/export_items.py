"""The rows of an export before they take a trainer's format: curated responses in context."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from ..corpus.corpus import Corpus
from ..corpus.source_records import fill_from_json
from ..curation.curate import Curation
from ..curation.lineage import first_targets
from .dropped_turns import find_removed_turns

Messages = list[dict[str, Any]]


class ExportItem(NamedTuple):
    """One target of one exchange: everything that a row of an export is made from.

    ``prompt`` has the messages before the response, with the curated responses of earlier turns.
    ``better`` is whether the response is preferred to ``original``: it is trusted and ``original``,
    in mode pairs, is the untrusted response that it is paired with; or it replaces ``original`` and
    is closer to what the corpus agrees on, which means that it is more trusted; or, if the recipe
    draws by cluster size alone, that it is from the largest cluster and the original is not; or
    that it is the original without irrelevant parts. ``group`` is
    the group of a dialogue turn, empty for other responses.
    """

    prompt: Messages
    original: str
    response: str
    action: str
    target: int
    better: bool
    group: str = ""


def iter_items(curation: Curation, *, filled: bool = True) -> Iterator[ExportItem]:
    """Yield every target, in order of id and target, except those of dropped turns.

    The turns that go with a dropped one are left out too, see `find_removed_turns`, and those of
    conversations with tool calls: no export type can hold calls and results. Placeholders in
    dialogue responses are filled with their values unless ``filled=False``; prompts are always
    filled.
    """
    for turns in _iter_records(curation, filled):
        yield from itertools.chain.from_iterable(turns)


def iter_conversations(curation: Curation) -> Iterator[list[ExportItem]]:
    """Yield every conversation, once for each target, as the items of its curated turns.

    The last item has the whole conversation. The items are those of `iter_items`; a turn with fewer
    targets than others of its conversation repeats its last one.
    """
    for turns in _iter_records(curation, filled=True):
        for target in range(max(map(len, turns), default=0)):
            yield [_choose_target(targets, target) for targets in turns]


def has_tool_calls(prompt: Messages) -> bool:
    """Whether a conversation has a tool result, or a turn without text, which must be a call."""
    return any(message["role"] == "tool" or not message["content"] for message in prompt)


def _choose_target(targets: list[Any], target: int) -> Any:
    return targets[min(target, len(targets) - 1)]


class _Exchange(NamedTuple):
    """One exchange as `CORPUS_SCHEMA` stores it."""

    prompt: str
    response: str
    values: str | None
    group: str | None
    starts_record: bool


class _LineageRow(NamedTuple):
    """One row of the lineage."""

    id: int
    source_id: int
    action: str
    target: int
    rank: int | None
    own_rank: int | None
    rejected_id: int | None


class _EarlierTurn(NamedTuple):
    """A turn that later prompts contain: the position of its message, and its curated responses."""

    position: int
    responses: list[str]


def _iter_records(curation: Curation, filled: bool) -> Iterator[list[list[ExportItem]]]:
    """Yield the items of each record: one list per turn, with one item per target."""
    removed = find_removed_turns(curation.corpus, curation.lineage)
    every = np.arange(len(removed))
    final, originals = curation.final_responses(every), curation.original_responses(every)
    # Rows are sorted by id, so an id indexes the trust in its own response.
    trust = first_targets(curation.lineage).column("trust").to_pylist()
    weighted = curation.recipe.by_fit or curation.recipe.weighted
    columns = [curation.lineage.column(name).to_pylist() for name in _LineageRow._fields]
    rows = itertools.starmap(_LineageRow, zip(*columns, strict=True))
    turns: list[list[ExportItem]] = []
    earlier: list[_EarlierTurn] = []
    for exchange, (number, targets) in zip(
        _iter_exchanges(curation.corpus), itertools.groupby(rows, attrgetter("id")), strict=True
    ):
        if exchange.starts_record:
            yield turns
            turns, earlier = [], []
        prompt = json.loads(exchange.prompt)
        if removed[number] or has_tool_calls(prompt):
            continue
        items, responses = [], []
        for row in targets:
            source, values = row.source_id, exchange.values if filled else None
            rises = trust[source] > trust[number]
            is_closer = rises if weighted else row.rank == 1 != row.own_rank
            is_trimmed = source == number  # a row is "replaced" by itself only if parts are removed
            is_paired, original = row.rejected_id is not None, exchange.response
            if row.rejected_id is not None:
                original = originals[row.rejected_id]
            item = ExportItem(
                _with_responses(prompt, earlier, row.target),
                fill_from_json(original, values),
                fill_from_json(final[source], values),
                row.action,
                row.target,
                is_paired or (row.action == "replaced" and (is_closer or is_trimmed)),
                "" if exchange.values is None else exchange.group or "",
            )
            items.append(item)
            responses.append(fill_from_json(final[source], exchange.values))
        turns.append(items)
        earlier.append(_EarlierTurn(len(prompt), responses))
    yield turns


def _iter_exchanges(corpus: Corpus) -> Iterator[_Exchange]:
    names = ["prompt", "response", "values", "group"]
    for part in corpus.parts([*names, "record"]):
        columns = [part.column(name).to_pylist() for name in names]
        starts = part.column("record").is_valid().to_pylist()
        yield from itertools.starmap(_Exchange, zip(*columns, starts, strict=True))


def _with_responses(prompt: Messages, earlier: list[_EarlierTurn], target: int) -> Messages:
    """Copy a prompt with the curated responses of the earlier turns."""
    messages = list(prompt)
    for turn in earlier:
        content = _choose_target(turn.responses, target)
        messages[turn.position] = {**messages[turn.position], "content": content}
    return messages
