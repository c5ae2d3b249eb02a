"""Turns of task-oriented dialogues healed: what does not belong goes, and no value of the acts.

Of a turn those parts are left out that have nothing to do with what it answers. Where nothing would
be left, a response of the same acts and slots is drawn from the run and filled with the turn's own
values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..corpus.corpus import format_context
from ..corpus.dialogue.delexicalization import lexicalize, template_slots
from ..corpus.formats import CorpusTurn
from ..corpus.formats.task_oriented import (
    GROUP_BY_ACT,
    append_acts,
    domains_from_group,
    fill_placeholders,
    slots_from_group,
)
from ..curation.curate import Curation
from ..curation.dialogue.induced_acts import InducedActs
from ..curation.dialogue.span_relevance import parse_act_slots
from ..curation.dialogue.trimming import learn_span_relevance
from ..curation.dialogue.turn_context import group_column, last_user_message
from ..curation.resources import Tools
from ..curation.search.exact import group_rows
from ..curation.vectors import GridVectors, embed
from ..errors import RecipeError
from ..runtime.arrays import Ints
from .retrieval import Healed, ReplacementSampler, RewriteRefusedError

UNKNOWN_DOMAINS = frozenset({""})
"""The domains of a turn of which none is known; no group has them."""


class TrimmedTurn(NamedTuple):
    """A system's turn without its values, and what of it belongs: all, a part, None for nothing.

    ``domains`` are what it is about, of a turn without a group: its acts are not known.
    """

    turn: CorpusTurn
    left: str | None
    domains: frozenset[str] = UNKNOWN_DOMAINS

    @property
    def context(self) -> str:
        """Return what the turn answers."""
        return format_context(self.turn.prompt)

    @property
    def response(self) -> str:
        """Return what the turn says, with its values."""
        return fill_placeholders(self.text, self.turn.values or {})

    @property
    def text(self) -> str:
        """Return what the turn says, without its values."""
        return self.turn.response

    def filled(self, text: str) -> str | None:
        """Return another text with the turn's values, None where it names others or too few."""
        same = template_slots(text) == template_slots(self.text)
        return lexicalize(text, self.turn.values or {}) if same else None


class TurnHealer:
    """Heals turns by what a run of dialogues tells of the parts of its responses."""

    def __init__(self, curation: Curation, tools: Tools | None = None) -> None:
        recipe, tools = curation.recipe, tools or Tools()
        if recipe.reading.group_by != GROUP_BY_ACT or not recipe.trim:
            raise RecipeError(
                "turns are healed with a run of dialogues that was curated with trim (came: "
                f"group_by {recipe.reading.group_by}, trim {recipe.trim}); curate it anew with --trim"
            )
        self.curation, self.tools, self.sampler = curation, tools, ReplacementSampler(curation)
        encoder = tools.encoder(recipe.response_encoder)
        with tools.progress.stage("belonging", len(curation.layout.ids)) as tick:
            self.span_relevance = learn_span_relevance(curation.corpus, curation.layout, encoder)
            self.kinds = InducedActs(curation.corpus, encoder)
            tick(len(curation.layout.ids))

    @property
    def seed(self) -> int:
        """Return the seed of every draw."""
        return self.sampler.seed

    def look(self, turn: CorpusTurn, domains: frozenset[str] = UNKNOWN_DOMAINS) -> TrimmedTurn:
        """Return a turn with what of it belongs."""
        if turn.prompt:
            said = last_user_message([message._asdict() for message in turn.prompt])
            group = self.kinds.grouped(said, turn.response, turn.group)
            turn = dataclasses.replace(turn, group=group)
        left = self.span_relevance.trim(turn.response, parse_act_slots(turn.group))
        return TrimmedTurn(turn, left, domains)

    def stays(self, seen: TrimmedTurn) -> str | None:
        """Return why a turn stays as it is, None if it does not."""
        return "belongs" if seen.left == seen.text else None

    def why(self, seen: TrimmedTurn) -> str:
        """Return why a turn that does not stay goes."""
        return "nothing in it belongs" if seen.left is None else "not all of it belongs"

    def as_given(self, seen: TrimmedTurn, action: str, reason: str) -> Healed:
        """Return a turn as it was given."""
        return _make_healed(action, seen.response, reason)

    def cut(self, seen: TrimmedTurn) -> Healed | None:
        """Return the part of a turn that belongs, None where that is all of it, or nothing."""
        if seen.left is None or seen.left == seen.text:
            return None
        text = lexicalize(seen.left, seen.turn.values or {})
        return None if text is None else _make_healed("trimmed", text, "trimmed")

    def draws(self, seen: TrimmedTurn) -> Iterator[Healed]:
        """Yield what may be said instead, filled: responses of the turn's group.

        Where its acts are not known: responses that have its slots and are about its domains.
        """
        rows = self._rows(seen)
        if not len(rows):
            return
        among = self.sampler.among(seen.context, seen.text, self._embed_query(seen.context), rows)
        for drawn in self.sampler.draws(among):
            text = seen.filled(drawn.response)
            if text is not None and drawn.response != seen.text:
                yield drawn._replace(response=text)

    def asked(self, seen: TrimmedTurn) -> tuple[str, str]:
        """Return the history with the acts, and the turn without its values."""
        return append_acts(seen.context, seen.turn.group), seen.text

    def accept_rewrite(self, seen: TrimmedTurn, text: str, *, judged: bool) -> Healed:
        """Return a rewrite, filled, that has the turn's slots and belongs, or is to be judged.

        Raises `RewriteRefusedError` for another one.
        """
        filled = seen.filled(text)
        if filled is None:
            has, wanted = (" ".join(template_slots(some)) or "none" for some in (text, seen.text))
            raise RewriteRefusedError(f"the rewrite has the slots {has}, not {wanted}")
        named = parse_act_slots(seen.turn.group)
        if not judged and self.span_relevance.trim(text, named) != text:
            raise RewriteRefusedError("not all of the rewrite belongs")
        return _make_healed("rewritten", filled, "rewritten")

    def _embed_query(self, context: str) -> GridVectors:
        """Return the vector of a context, where responses are weighed by how they fit it."""
        if self.sampler.relevance is None:
            return np.zeros((1, 0), np.int16)
        encoder = self.tools.encoder(self.curation.recipe.context_encoder)
        return embed(encoder, [context]).vectors

    def _rows(self, seen: TrimmedTurn) -> Ints:
        """Return the rows of the run that may stand for a turn, ascending."""
        if seen.turn.group:
            return self._rows_by_group.get(seen.turn.group, NO_ROWS)
        return self._rows_by_slots.get((template_slots(seen.text), seen.domains), NO_ROWS)

    @cached_property
    def _rows_by_group(self) -> dict[str, Ints]:
        layout, names = self.curation.layout, group_column(self.curation.corpus)
        found = group_rows(layout.group)
        some = (found[number] for number in range(len(found.lengths)))
        return {names[layout.ids[rows[0]]]: rows for rows in some}

    @cached_property
    def _rows_by_slots(self) -> dict[tuple[tuple[str, ...], frozenset[str]], Ints]:
        """Return the rows by their slots and the domains of their acts."""
        parts: dict[tuple[tuple[str, ...], frozenset[str]], list[Ints]] = {}
        for group, rows in self._rows_by_group.items():
            parts.setdefault((slots_from_group(group), domains_from_group(group)), []).append(rows)
        return {key: np.sort(np.concatenate(some)) for key, some in parts.items()}


NO_ROWS = np.zeros(0, np.int64)


def _make_healed(action: str, response: str, reason: str) -> Healed:
    return Healed(action, response, None, None, 0.0, 1.0, reason)
