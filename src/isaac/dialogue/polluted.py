"""How much of a corpus of responses is still polluted, by what was put in or by words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ..errors import RecipeError
from .predictions import plain_id
from .words import Phrases, words_in

Truth = Mapping[tuple[str, int], Sequence[str]]
"""What was put into which response: texts by dialogue and number of its system turn, from 0."""


class Polluted(NamedTuple):
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


def polluted_share(
    responses: Mapping[str, Sequence[str]],
    *,
    truth: Truth | None = None,
    words: Collection[str] = (),
) -> Polluted:
    """Return how many responses, by dialogue, are polluted: by the truth, or by a list of words.

    By the truth, a response is polluted while it holds a text that was put into it or into any
    other; by a list, if it holds one of its words or phrases. Texts are compared by whole words,
    without case, punctuation and spacing. Give one of both; raises `RecipeError` otherwise.
    """
    if (truth is None) == (not words):
        raise RecipeError("give either the truth of a pollution or a list of words")
    put_in = {(plain_id(name), turn): texts for (name, turn), texts in (truth or {}).items()}
    anywhere = Phrases(words if truth is None else (t for texts in put_in.values() for t in texts))
    found: dict[tuple[str, int], bool] = {}
    for name, said in responses.items():
        for turn, text in enumerate(said):
            spoken = words_in(text)
            if anywhere.among(spoken, text):
                own = Phrases(put_in.get((plain_id(name), turn), ()))
                found[plain_id(name), turn] = truth is None or own.among(spoken, text)
    given = {
        (plain_id(name), turn) for name, said in responses.items() for turn in range(len(said))
    }
    return Polluted(
        responses=len(found),
        of_responses=len(given),
        dialogues=len({name for name, _ in found}),
        of_dialogues=len({plain_id(name) for name in responses}),
        carried=sum(not own for own in found.values()),
        absent=len(put_in.keys() - given),
    )
