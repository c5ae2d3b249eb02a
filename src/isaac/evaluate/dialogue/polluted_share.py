"""The share of responses that are polluted, according to the truth file or to a word list."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from ...corpus.dialogue.predictions import normalize_id
from ...errors import RecipeError
from .pollution import Injection, TurnKey
from .tokens import PhraseMatcher, split_words


class PollutedShare(NamedTuple):
    """Counts of polluted responses and dialogues.

    ``carried`` counts the polluted responses that contain only text injected into another response,
    which a draw can bring along. ``absent`` counts the polluted turns of the truth for which there
    is no response.
    """

    responses: int
    of_responses: int
    dialogues: int
    of_dialogues: int
    carried: int = 0
    absent: int = 0

    @property
    def by_response(self) -> float | None:
        """The share of polluted responses; None if there are no responses."""
        return self.responses / self.of_responses if self.of_responses else None

    @property
    def by_dialogue(self) -> float | None:
        """The share of dialogues with a polluted response; None if there are no dialogues."""
        return self.dialogues / self.of_dialogues if self.of_dialogues else None


def compute_polluted_share(
    responses: Mapping[str, Mapping[int, str]],
    *,
    truth: Iterable[Injection] | None = None,
    words: Collection[str] = (),
    clean: Collection[TurnKey] = (),
) -> PollutedShare:
    """Count the polluted responses, according to either the truth or a list of words.

    ``responses`` maps each dialogue to its responses by turn index in the record, as in the truth.
    With ``truth``, a response is polluted if it contains a text that was injected into it or into
    any other response. Responses in ``clean`` (keys of `normalize_id` and turn index) are exempt:
    they are unchanged, and an original may contain such a text itself. With ``words``, a response
    is polluted if it contains one of these words or phrases. Texts are compared by whole words,
    ignoring case, punctuation and spacing. Raises `RecipeError` unless exactly one of the two is
    given.
    """
    if (truth is None) == (not words):
        raise RecipeError(
            "expected either the truth of a pollution or a list of words, got both or neither"
        )
    injected = {
        (normalize_id(row.dialogue), row.turn): [piece.text for piece in row.pieces]
        for row in truth or ()
    }
    any_phrase = PhraseMatcher(
        words if truth is None else (text for texts in injected.values() for text in texts)
    )
    texts_by_turn = {
        (normalize_id(name), turn): text
        for name, texts in responses.items()
        for turn, text in texts.items()
    }
    # Each polluted turn, and whether it contains what was injected into this very turn.
    polluted: dict[TurnKey, bool] = {}
    for key, text in texts_by_turn.items():
        tokens = split_words(text)
        if any_phrase.occurs_in(tokens, text) and (truth is None or key not in clean):
            injected_here = PhraseMatcher(injected.get(key, ()))
            polluted[key] = truth is None or injected_here.occurs_in(tokens, text)
    return PollutedShare(
        responses=len(polluted),
        of_responses=len(texts_by_turn),
        dialogues=len({name for name, _ in polluted}),
        of_dialogues=len({normalize_id(name) for name in responses}),
        carried=sum(not is_injected_here for is_injected_here in polluted.values()),
        absent=len(injected.keys() - texts_by_turn.keys()),
    )
