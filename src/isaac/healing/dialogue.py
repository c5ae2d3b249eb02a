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

from ..corpus.corpus import context_text
from ..corpus.dialogue.delexicalization import lexicalize, slots_of
from ..corpus.formats import Turn
from ..corpus.formats.task_oriented import ACT, acting, domains_of, filled, slots_in
from ..curation.arrays import Ints
from ..curation.curate import Curation
from ..curation.dialogue.induced_acts import Kinds
from ..curation.dialogue.span_relevance import slots_named
from ..curation.dialogue.trimming import learned
from ..curation.dialogue.turn_context import groups_in, last_said
from ..curation.resources import Tools
from ..curation.search.exact import group_by
from ..curation.vectors import Grid, embed
from ..errors import RecipeError
from .retrieval import Drawer, Healed, RefusedError

UNKNOWN = frozenset({""})
"""The domains of a turn of which none is known; no group has them."""


class Parted(NamedTuple):
    """A system's turn without its values, and what of it belongs: all, a part, None for nothing.

    ``domains`` are what it is about, of a turn without a group: its acts are not known.
    """

    turn: Turn
    left: str | None
    domains: frozenset[str] = UNKNOWN

    @property
    def context(self) -> str:
        """Return what the turn answers."""
        return context_text(self.turn.prompt)

    @property
    def response(self) -> str:
        """Return what the turn says, with its values."""
        return filled(self.text, self.turn.values or {})

    @property
    def text(self) -> str:
        """Return what the turn says, without its values."""
        return self.turn.response

    def filled(self, text: str) -> str | None:
        """Return another text with the turn's values, None where it names others or too few."""
        same = slots_of(text) == slots_of(self.text)
        return lexicalize(text, self.turn.values or {}) if same else None


class TurnHealer:
    """Heals turns by what a run of dialogues tells of the parts of its responses."""

    def __init__(self, curation: Curation, tools: Tools | None = None) -> None:
        recipe, tools = curation.recipe, tools or Tools()
        if recipe.group_by != ACT or not recipe.trim:
            raise RecipeError(
                "turns are healed with a run of dialogues that was curated with trim (came: "
                f"group_by {recipe.group_by}, trim {recipe.trim}); curate it anew with --trim"
            )
        self.curation, self.tools, self.drawer = curation, tools, Drawer(curation)
        encoder = tools.encoder(recipe.response_encoder)
        with tools.progress.stage("belonging", len(curation.layout.ids)) as tick:
            self.belonging = learned(curation.corpus, curation.layout, encoder)
            self.kinds = Kinds(curation.corpus, encoder)
            tick(len(curation.layout.ids))

    @property
    def seed(self) -> int:
        """Return the seed of every draw."""
        return self.drawer.seed

    def look(self, turn: Turn, domains: frozenset[str] = UNKNOWN) -> Parted:
        """Return a turn with what of it belongs."""
        if turn.prompt:
            said = last_said([message._asdict() for message in turn.prompt])
            group = self.kinds.grouped(said, turn.response, turn.group)
            turn = dataclasses.replace(turn, group=group)
        left = self.belonging.trim(turn.response, slots_named(turn.group))
        return Parted(turn, left, domains)

    def stays(self, seen: Parted) -> str | None:
        """Return why a turn stays as it is, None if it does not."""
        return "belongs" if seen.left == seen.text else None

    def why(self, seen: Parted) -> str:
        """Return why a turn that does not stay goes."""
        return "nothing in it belongs" if seen.left is None else "not all of it belongs"

    def as_given(self, seen: Parted, action: str, reason: str) -> Healed:
        """Return a turn as it was given."""
        return _said(action, seen.response, reason)

    def cut(self, seen: Parted) -> Healed | None:
        """Return the part of a turn that belongs, None where that is all of it, or nothing."""
        if seen.left is None or seen.left == seen.text:
            return None
        text = lexicalize(seen.left, seen.turn.values or {})
        return None if text is None else _said("trimmed", text, "trimmed")

    def draws(self, seen: Parted) -> Iterator[Healed]:
        """Yield what may be said instead, filled: responses of the turn's group.

        Where its acts are not known: responses that have its slots and are about its domains.
        """
        rows = self._rows(seen)
        if not len(rows):
            return
        among = self.drawer.among(seen.context, seen.text, self._query(seen.context), rows)
        for drawn in self.drawer.draws(among):
            text = seen.filled(drawn.response)
            if text is not None and drawn.response != seen.text:
                yield drawn._replace(response=text)

    def asked(self, seen: Parted) -> tuple[str, str]:
        """Return the history with the acts, and the turn without its values."""
        return acting(seen.context, seen.turn.group), seen.text

    def rewritten(self, seen: Parted, text: str, *, judged: bool) -> Healed:
        """Return a rewrite, filled, that has the turn's slots and belongs, or is to be judged.

        Raises `RefusedError` for another one.
        """
        filled = seen.filled(text)
        if filled is None:
            has, wanted = (" ".join(slots_of(some)) or "none" for some in (text, seen.text))
            raise RefusedError(f"the rewrite has the slots {has}, not {wanted}")
        named = slots_named(seen.turn.group)
        if not judged and self.belonging.trim(text, named) != text:
            raise RefusedError("not all of the rewrite belongs")
        return _said("rewritten", filled, "rewritten")

    def _query(self, context: str) -> Grid:
        """Return the vector of a context, where responses are weighed by how they fit it."""
        if self.drawer.relevance is None:
            return np.zeros((1, 0), np.int16)
        encoder = self.tools.encoder(self.curation.recipe.context_encoder)
        return embed(encoder, [context]).vectors

    def _rows(self, seen: Parted) -> Ints:
        """Return the rows of the run that may stand for a turn, ascending."""
        if seen.turn.group:
            return self._by_group.get(seen.turn.group, NONE)
        return self._by_slots.get((slots_of(seen.text), seen.domains), NONE)

    @cached_property
    def _by_group(self) -> dict[str, Ints]:
        layout, names = self.curation.layout, groups_in(self.curation.corpus)
        found = group_by(layout.group)
        some = (found[number] for number in range(len(found.lengths)))
        return {names[layout.ids[rows[0]]]: rows for rows in some}

    @cached_property
    def _by_slots(self) -> dict[tuple[tuple[str, ...], frozenset[str]], Ints]:
        """Return the rows by their slots and the domains of their acts."""
        parts: dict[tuple[tuple[str, ...], frozenset[str]], list[Ints]] = {}
        for group, rows in self._by_group.items():
            parts.setdefault((slots_in(group), domains_of(group)), []).append(rows)
        return {key: np.sort(np.concatenate(some)) for key, some in parts.items()}


NONE = np.zeros(0, np.int64)


def _said(action: str, response: str, reason: str) -> Healed:
    return Healed(action, response, None, None, 0.0, 1.0, reason)
