"""Heal task-oriented dialogues: trim each turn of the system, and never lose a value.

Text that has nothing to do with what the turn answers is removed. If nothing would be left, a
response with the same acts and slots is drawn from the run, and filled with the turn's own values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..corpus.corpus import format_context
from ..corpus.dialogue.delexicalization import lexicalize, template_slots
from ..corpus.dialogue.group import DialogueGroup
from ..corpus.formats import CorpusTurn
from ..corpus.formats.task_oriented import (
    GROUP_BY_ACT,
    append_acts,
    fill_placeholders,
)
from ..curation.curate import Curation
from ..curation.dialogue.induced_acts import InducedActs
from ..curation.dialogue.span_relevance import parse_act_slots
from ..curation.dialogue.trimming import changes_polarity, learn_span_relevance
from ..curation.dialogue.turn_context import group_column, last_user_message
from ..curation.resources import Tools
from ..curation.search.exact import group_rows
from ..curation.vectors import GridVectors, embed
from ..errors import RecipeError
from ..runtime.arrays import Ints
from .sampler import Healed, ReplacementSampler, RewriteRefusedError

UNKNOWN_DOMAINS = frozenset({""})
"""The domains of a turn if they are not known; no group has these."""

NO_ROWS = np.zeros(0, np.int64)


class TrimmedTurn(NamedTuple):
    """A delexicalized turn of the system, and the same turn trimmed.

    ``trimmed_text`` is None if no part of the turn is relevant. ``domains`` are needed only for a
    turn without a group, that is, whose acts are not known.
    """

    original: CorpusTurn
    trimmed_text: str | None
    domains: frozenset[str] = UNKNOWN_DOMAINS

    @property
    def context(self) -> str:
        """The messages that the turn answers, as one text."""
        return format_context(self.original.prompt)

    @property
    def response(self) -> str:
        """The text of the turn with its values."""
        return fill_placeholders(self.text, self.original.values or {})

    @property
    def text(self) -> str:
        """The text of the turn with placeholders."""
        return self.original.response

    def fill(self, text: str) -> str | None:
        """Fill another text with the values of this turn; None if its slots are not the same."""
        same = template_slots(text) == template_slots(self.text)
        return lexicalize(text, self.original.values or {}) if same else None


class TurnHealer:
    """Heals turns with the relevance of spans, and the responses, of a run of dialogues."""

    def __init__(self, curation: Curation, tools: Tools | None = None) -> None:
        recipe, tools = curation.recipe, tools or Tools()
        if recipe.reading.group_by != GROUP_BY_ACT or not recipe.trim:
            raise RecipeError(
                "healing dialogues needs a run that was curated with group_by act and trim "
                f"(this run: group_by {recipe.reading.group_by}, trim {recipe.trim}); curate it "
                "again with --trim"
            )
        self.curation, self.tools, self.sampler = curation, tools, ReplacementSampler(curation)
        encoder = tools.encoder(recipe.response_encoder)
        with tools.progress.stage("relevant text", len(curation.layout.ids)) as tick:
            self.span_relevance = learn_span_relevance(curation.corpus, curation.layout, encoder)
            self.induced_acts = InducedActs(curation.corpus, encoder)
            tick(len(curation.layout.ids))

    @property
    def seed(self) -> int:
        """The seed of all draws and rewrites."""
        return self.sampler.seed

    def trim_turn(self, turn: CorpusTurn, domains: frozenset[str] = UNKNOWN_DOMAINS) -> TrimmedTurn:
        """Trim a turn; the other methods take the result."""
        if turn.prompt:
            message = last_user_message([message._asdict() for message in turn.prompt])
            group = self.induced_acts.assign_group(message, turn.response, turn.group)
            turn = dataclasses.replace(turn, group=group)
        trimmed_text = self.span_relevance.trim(turn.response, parse_act_slots(turn.group))
        implied = DialogueGroup.parse(turn.group or "").implied
        if implied and changes_polarity(turn.response, trimmed_text):
            trimmed_text = None
        return TrimmedTurn(turn, trimmed_text, domains)

    def reason_to_keep(self, turn: TrimmedTurn) -> str | None:
        """Why the turn stays; None if it does not."""
        return "belongs" if turn.trimmed_text == turn.text else None

    def reason_to_abstain(self, _turn: TrimmedTurn) -> str | None:
        """Always None: every turn is trimmed or replaced."""
        return None

    def explain_no_draw(self, _turn: TrimmedTurn) -> str:
        """Why there is nothing to draw."""
        return "no head to draw from"

    def reason_to_replace(self, turn: TrimmedTurn) -> str:
        """Why a turn is replaced if it has no reason to stay."""
        if turn.trimmed_text is None:
            return "nothing in it belongs"
        return "not all of it belongs"

    def leave_unchanged(self, turn: TrimmedTurn, action: str, reason: str) -> Healed:
        """The result if the turn stays unchanged."""
        return _make_healed(action, turn.response, reason)

    def trim(self, turn: TrimmedTurn) -> Healed | None:
        """The trimmed turn; None if there was nothing to remove, or nothing would be left."""
        if turn.trimmed_text is None or turn.trimmed_text == turn.text:
            return None
        text = lexicalize(turn.trimmed_text, turn.original.values or {})
        return None if text is None else _make_healed("trimmed", text, "trimmed")

    def draw_replacements(self, turn: TrimmedTurn) -> Iterator[Healed]:
        """Draw responses of the turn's group, filled with its values, no response twice.

        If the acts of the turn are not known, draw responses with the same slots and domains.
        """
        rows = self._find_rows(turn)
        if not len(rows):
            return
        query = self._embed_query(turn.context)
        neighborhood = self.sampler.locate_among(turn.context, turn.text, query, rows)
        for drawn in self.sampler.draw_replacements(neighborhood):
            text = turn.fill(drawn.response)
            if text is not None and drawn.response != turn.text:
                yield drawn._replace(response=text)

    def rephraser_input(self, turn: TrimmedTurn) -> tuple[str, str]:
        """The history with the acts appended, and the text of the turn with placeholders."""
        return append_acts(turn.context, turn.original.group), turn.text

    def accept_rewrite(self, turn: TrimmedTurn, text: str, *, judged: bool) -> Healed:
        """Fill a rewrite with the turn's values.

        Raises `RewriteRefusedError` if it has other slots than the turn, or if not all of it is
        relevant and no judge decides on it afterwards.
        """
        filled = turn.fill(text)
        if filled is None:
            has, needs = (" ".join(template_slots(each)) or "none" for each in (text, turn.text))
            raise RewriteRefusedError(f"the rewrite has the slots {has}, not {needs}")
        named_slots = parse_act_slots(turn.original.group)
        if not judged and self.span_relevance.trim(text, named_slots) != text:
            raise RewriteRefusedError("not all of the rewrite belongs")
        return _make_healed("rewritten", filled, "rewritten")

    def _embed_query(self, context: str) -> GridVectors:
        """Embed a context, if the draw depends on relevance; else a vector of no dimensions."""
        if self.sampler.relevance is None:
            return np.zeros((1, 0), np.int16)
        encoder = self.tools.encoder(self.curation.recipe.context_encoder)
        return embed(encoder, [context]).vectors

    def _find_rows(self, turn: TrimmedTurn) -> Ints:
        """Find the rows of the run that may replace a turn, ascending."""
        if turn.original.group:
            return self._rows_by_group.get(turn.original.group, NO_ROWS)
        return self._rows_by_slots.get((template_slots(turn.text), turn.domains), NO_ROWS)

    @cached_property
    def _rows_by_group(self) -> dict[str, Ints]:
        layout, groups = self.curation.layout, group_column(self.curation.corpus)
        rows_of_group = group_rows(layout.group)
        row_lists = (rows_of_group[number] for number in range(len(rows_of_group.lengths)))
        return {groups[layout.ids[rows[0]]]: rows for rows in row_lists}

    @cached_property
    def _rows_by_slots(self) -> dict[tuple[tuple[str, ...], frozenset[str]], Ints]:
        """The rows by their slots and the domains of their acts.

        Rows that imply a value are left out: a turn without acts may mean another one.
        """
        parts: dict[tuple[tuple[str, ...], frozenset[str]], list[Ints]] = {}
        for group, rows in self._rows_by_group.items():
            parsed = DialogueGroup.parse(group)
            if not parsed.implied:
                parts.setdefault((parsed.slots, parsed.domains), []).append(rows)
        return {key: np.sort(np.concatenate(lists)) for key, lists in parts.items()}


def _make_healed(action: str, response: str, reason: str) -> Healed:
    return Healed(action, response, None, None, 0.0, 1.0, reason)
