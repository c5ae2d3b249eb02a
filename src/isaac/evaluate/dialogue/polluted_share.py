"""How much of a corpus of responses is still polluted, by what was put in or by words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from ...corpus.dialogue.predictions import normalize_id
from ...errors import RecipeError
from .pollution import Injection, TurnKey
from .tokens import PhraseMatcher, split_words


class PollutedShare(NamedTuple):
    """Polluted responses and dialogues, of how many.

    ``carried`` of the responses hold only what was put into another one, as a draw may bring it
    there. ``absent`` responses are in the truth and were not given.
    """

    responses: int
    of_responses: int
    dialogues: int
    of_dialogues: int
    carried: int = 0
    absent: int = 0

    @property
    def by_response(self) -> float | None:
        """The share of responses that are polluted; None without any."""
        return self.responses / self.of_responses if self.of_responses else None

    @property
    def by_dialogue(self) -> float | None:
        """The share of dialogues with a polluted response; None without any."""
        return self.dialogues / self.of_dialogues if self.of_dialogues else None


def compute_polluted_share(
    responses: Mapping[str, Mapping[int, str]],
    *,
    truth: Iterable[Injection] | None = None,
    words: Collection[str] = (),
    clean: Collection[TurnKey] = (),
) -> PollutedShare:
    """Return how many responses are polluted: by the truth, or by a list of words.

    Responses are given by dialogue and by the index of their turn in its record, as in the truth.
    By the truth, a response is polluted while it holds a text that was put into it or into any
    other, unless it is in ``clean`` (by `normalize_id` and index): known to be what it was before
    anything was put in, which may hold such a text by itself. By a list, it is polluted if it holds
    one of its words or phrases. Texts are compared by whole words, without case, punctuation and
    spacing. Give one of both; raises `RecipeError` otherwise.
    """
    if (truth is None) == (not words):
        raise RecipeError("give either the truth of a pollution or a list of words")
    put_in = {
        (normalize_id(row.dialogue), row.turn): [piece.text for piece in row.pieces]
        for row in truth or ()
    }
    anywhere = PhraseMatcher(
        words if truth is None else (t for texts in put_in.values() for t in texts)
    )
    given = {
        (normalize_id(name), turn): text
        for name, said in responses.items()
        for turn, text in said.items()
    }
    found: dict[TurnKey, bool] = {}
    for key, text in given.items():
        spoken = split_words(text)
        if anywhere.among(spoken, text) and (truth is None or key not in clean):
            found[key] = truth is None or PhraseMatcher(put_in.get(key, ())).among(spoken, text)
    return PollutedShare(
        responses=len(found),
        of_responses=len(given),
        dialogues=len({name for name, _ in found}),
        of_dialogues=len({normalize_id(name) for name in responses}),
        carried=sum(not own for own in found.values()),
        absent=len(put_in.keys() - given.keys()),
    )
