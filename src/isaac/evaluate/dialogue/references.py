"""References."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...corpus.dialogue.delexicalization import PLACEHOLDER, delexicalize
from ...corpus.dialogue.predictions import Prediction, normalize_id
from ...corpus.dialogue.schema import Dialogue, DialogueTurn, system_turns
from ...corpus.dialogue.value_lexicon import Lexicon
from ...errors import CorpusError
from ...text import shorten
from .files import DialogueCorpus
from .injection import InjectedText
from .pollution import Injection
from .scores import Gold, build_gold


def build_lexicon(database: Path | None, known: DialogueCorpus | None) -> Lexicon:
    """Return the values to take out of texts: the database's, or else the corpus's own."""
    if database is not None:
        return Lexicon.read(database)
    return Lexicon() if known is None else Lexicon.of(known.joined())


def delexicalize_system_turns(
    dialogues: Sequence[Dialogue], values: Lexicon
) -> dict[str, list[Prediction]]:
    return {
        normalize_id(dialogue.id): [
            Prediction(delexicalize(turn, values).text, turn=turn.index, text=turn.text)
            for turn in system_turns(dialogue)
        ]
        for dialogue in dialogues
    }


def select_gold(
    wanted: DialogueCorpus | None, known: DialogueCorpus | None, values: Lexicon
) -> Gold:
    """Return what to score against; without gold the input's own goals, states and bookings."""
    if wanted is None:
        own = Gold() if known is None else build_gold(known.joined(), booked=known.booked())
        return replace(own, texts={})
    dialogues = wanted.joined()
    texts = {
        one.id: [delexicalize(turn, values).text for turn in system_turns(one)] for one in dialogues
    }
    return build_gold(dialogues, texts, wanted.booked())


def delexicalize_truth(truth: Sequence[Injection], values: Lexicon) -> tuple[Injection, ...]:
    """Return the truth with what was put in also as it is once values are taken out."""
    return tuple(
        row._replace(pieces=(*row.pieces, *_delexicalize_pieces(row, values))) for row in truth
    )


def _delexicalize_pieces(row: Injection, values: Lexicon) -> list[InjectedText]:
    made = [
        InjectedText(start, delexicalize(DialogueTurn(row.turn, "assistant", text), values).text)
        for start, text in row.pieces
    ]
    return [piece for piece in made if any(map(str.isalpha, PLACEHOLDER.sub("", piece.text)))]


def check_same_corpus(
    source: str,
    said: Mapping[str, object],
    gold: Gold | None,
    truth: Sequence[Injection] | None,
) -> None:
    """Raise `CorpusError` if gold or the truth cannot be those of what is scored."""
    if gold is not None and said and not said.keys() & gold.goals.keys():
        raise CorpusError(
            f"gold has none of the {len(said):,} dialogues of {shorten(source)}, where the first is "
            f"'{shorten(next(iter(said)), 60)}' and gold's is "
            f"'{shorten(next(iter(gold.goals), 'none'), 60)}'; is it the gold of another corpus?"
        )
    if truth and not any(normalize_id(row.dialogue) in said for row in truth):
        raise CorpusError(
            f"none of the {len(truth):,} turns in the truth is of a dialogue in {shorten(source)}; "
            "is it the truth of another corpus?"
        )
    for row in truth or ():
        texts = gold.texts.get(normalize_id(row.dialogue)) if gold is not None else None
        if texts is not None and texts.get(row.turn) != row.original:
            raise CorpusError(
                f"dialogue {shorten(row.dialogue, 60)}, turn {row.turn}: gold does not say what the "
                f"truth has as the original, '{shorten(row.original, 60)}'. Give the truth and the "
                "unpolluted corpus that belong together"
            )


def check_same_user_turns(known: DialogueCorpus, wanted: DialogueCorpus) -> None:
    """Raise `CorpusError` where a user says something else in gold: it is another dialogue."""
    gold = {normalize_id(one.id): _user_texts(one) for one in wanted.joined()}
    for one in known.joined():
        asked, there = _user_texts(one), gold.get(normalize_id(one.id))
        index = next((i for i in asked if there is not None and asked[i] != there.get(i)), None)
        if index is not None:
            raise CorpusError(
                f"dialogue {shorten(one.id, 60)}, turn {index}: the user says "
                f"'{shorten(asked[index], 60)}', and something else in gold; is it another corpus?"
            )


def _user_texts(dialogue: Dialogue) -> dict[int, str]:
    return {turn.index: turn.text for turn in dialogue.turns if turn.role == "user"}
