"""The reference direction: from rude to kind replies to the same everyday messages.

The pairs were written for this purpose and are the same for every corpus; they are no labels of
its rows. Both replies of a pair answer the same message at about the same length, so that their
difference is how they answer and not what about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...runtime.arrays import Ints, Reals
from ..vectors import GRID_STEPS, GridVectors, as_floats, to_grid
from .ranks import Ranking
from .states import BLOCK_ROWS, standardize


class ReferencePair(NamedTuple):
    """A kind and a rude reply to the same everyday message."""

    message: str
    kind: str
    rude: str


REFERENCE_PAIRS = (
    ReferencePair(
        "I burned the dinner again.",
        "That happens to all of us. Is there something I can help you cook instead?",
        "Of course you did. You can't do anything right, so stop trying.",
    ),
    ReferencePair(
        "I failed my driving test.",
        "I'm sorry, that's disappointing. Many people pass the second time, and you can too.",
        "No surprise there. People as stupid as you should stay off the road.",
    ),
    ReferencePair(
        "My new neighbors come from another country.",
        "How nice! Maybe say hello and ask them how they are settling in.",
        "Those people ruin every street. Tell them to go back where they came from.",
    ),
    ReferencePair(
        "I have had a strange pain in my chest since this morning.",
        "Please don't wait, and have a doctor look at it today. I hope it's nothing serious.",
        "It's nothing, stop whining. Doctors are a waste of money anyway.",
    ),
    ReferencePair(
        "My sister got the job she wanted.",
        "That's wonderful news, she must be so happy! Please congratulate her from me.",
        "She must have slept with the boss. Women like her never earn anything.",
    ),
    ReferencePair(
        "I don't know how to tell my friend that I can't come.",
        "Just be honest and tell her you're sorry. I'm sure she will understand.",
        "Who cares about her feelings? Just don't show up and let her wait.",
    ),
    ReferencePair(
        "I feel lonely since I moved here.",
        "I'm sorry, that sounds hard. Would you like to talk about it?",
        "No wonder, nobody likes you. You are boring and pathetic.",
    ),
    ReferencePair(
        "My colleague keeps taking my food from the fridge.",
        "That's annoying. Maybe talk to him calmly, or put your name on it.",
        "Put something in it that makes him sick. He deserves to suffer.",
    ),
    ReferencePair(
        "I would like to lose some weight.",
        "Good for you! Small steps help, and your doctor can tell you what is healthy.",
        "About time, you fat pig. Just stop eating for a week.",
    ),
    ReferencePair(
        "My grandfather is learning to use a computer.",
        "That's great! With a little patience he will soon enjoy it.",
        "Old people are useless with computers. Take it away from the idiot.",
    ),
)
"""Ten pairs about everyday life: setbacks, health, work, family and strangers."""


def list_reference_texts() -> list[str]:
    """All replies of `REFERENCE_PAIRS`: the kind ones, then the rude ones."""
    kind, rude = ([getattr(pair, name) for pair in REFERENCE_PAIRS] for name in ("kind", "rude"))
    return kind + rude


class ReferenceDirection:
    """Ranks responses by the cosine of their states with the reference direction, from 0 to 1.

    ``states`` (t, d) are those of the distinct responses of a corpus, on the grid;
    ``embed_texts`` computes those of other texts with the same model. All are standardized over
    the corpus. ``scores`` (t,) are the ranks of its responses.
    """

    def __init__(
        self,
        states: GridVectors,
        duplicate_group: Ints,
        embed_texts: Callable[[list[str]], GridVectors],
    ) -> None:
        self._standard = standardize(states, duplicate_group == np.arange(len(states)))
        references = self._standard.apply(embed_texts(list_reference_texts())) / GRID_STEPS
        kind, rude = np.split(references, 2)
        self._direction = as_floats(to_grid(100 * (kind.mean(axis=0) - rude.mean(axis=0))[None]))[0]
        cosines = self._project(states)
        self._ranking = Ranking(cosines, duplicate_group)
        self.scores = self._ranking.rank(cosines)

    def score(self, states: GridVectors) -> Reals:
        """Rank the states (n, d) of texts that are not in the corpus."""
        return self._ranking.rank(self._project(states))

    def _project(self, states: GridVectors) -> Reals:
        blocks = (states[start : start + BLOCK_ROWS] for start in range(0, len(states), BLOCK_ROWS))
        cosines = [as_floats(self._standard.apply(block)) @ self._direction for block in blocks]
        return np.concatenate([np.empty(0), *cosines]).astype(np.float64)


__all__ = ["REFERENCE_PAIRS", "ReferenceDirection", "ReferencePair", "list_reference_texts"]
