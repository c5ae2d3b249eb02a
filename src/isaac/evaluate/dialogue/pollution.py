"""Pollute dialogues: make some system turns rude or unprofessional, and record the truth.

Text is only ever inserted, so removing the inserted pieces restores the turn, and never inside a
value. The wordings are in ``data/pollution.json``; they are mild and were written for this project.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from random import Random
from typing import Any, NamedTuple

from ...corpus.dialogue.schema import Dialogue, DialogueTurn, Span
from ...errors import CorpusError, RecipeError
from ...text import shorten
from .injection import (
    InjectedText,
    InsertionPoints,
    PhraseSampler,
    choose_option,
    inject_text,
    load_pollution_data,
)

POLLUTION_KINDS = ("low", "high", "unprofessional")
"""Kinds of pollution: a particle before a sentence, an insult, or slang and promotion."""

WORDINGS = ("repeated", "varied", "mixed")
"""Sources of wordings: a few fixed ones, a grammar that generates many, or either at random."""

PUNCTUATION = re.compile(r"(\s?)[.,?!](?=\s|\Z)")
"""A mark at the end of a word, with the space before it if there is one."""

TurnKey = tuple[str, int]
"""A dialogue's id and the index of one of its turns."""


class PollutionSettings(NamedTuple):
    """The settings of `pollute`; see its description for their meaning."""

    rate: float = 0.1
    seed: int = 0
    kinds: Sequence[str] = POLLUTION_KINDS
    wordings: str = "mixed"


class Injection(NamedTuple):
    """The truth about one polluted turn; ``wording`` is ``repeated`` or ``varied``."""

    dialogue: str
    turn: int
    kind: str
    wording: str
    pieces: tuple[InjectedText, ...]
    original: str


@dataclass(frozen=True)
class PollutedCorpus:
    """The texts of the polluted turns, and the truth, sorted by dialogue id and turn."""

    texts: Mapping[TurnKey, str]
    truth: tuple[Injection, ...]

    def apply_to(self, dialogues: Iterable[Dialogue]) -> list[Dialogue]:
        """The dialogues with the polluted texts, and the spans of values shifted to match."""
        pieces = {(row.dialogue, row.turn): row.pieces for row in self.truth}
        return [
            Dialogue(
                dialogue.id,
                tuple(
                    self._build_turn(turn, (dialogue.id, turn.index), pieces)
                    for turn in dialogue.turns
                ),
                dialogue.goal,
            )
            for dialogue in dialogues
        ]

    def _build_turn(
        self, turn: DialogueTurn, key: TurnKey, pieces: Mapping[TurnKey, tuple[InjectedText, ...]]
    ) -> DialogueTurn:
        if key not in self.texts or turn.role != "assistant":
            return turn
        spans = shift_spans(turn.spans, pieces[key])
        return DialogueTurn(turn.index, turn.role, self.texts[key], turn.acts, spans, turn.state)


def pollute(
    dialogues: Sequence[Dialogue],
    rate: float,
    seed: int = 0,
    kinds: Sequence[str] = POLLUTION_KINDS,
    wordings: str = "mixed",
) -> PollutedCorpus:
    """Pollute a seeded sample of the system turns.

    ``rate`` is the share of turns, with halves rounded up; turns without text are not sampled.
    Which turns are polluted, and how, depends only on the seed, the dialogue's id and the turn's
    index, not on the order of the dialogues; a higher rate adds turns to those of a lower one. All
    ``kinds`` are equally likely. With ``wordings`` set to ``mixed``, so are fixed and generated
    wordings. Raises `RecipeError` for invalid settings, and `CorpusError` if two turns share an id.
    """
    _check_settings(rate, kinds, wordings)
    turns = _index_system_turns(dialogues)
    order = sorted(turns, key=lambda key: (_seeded_rng(seed, key, "sample").random(), key))
    chosen = sorted(order[: int(rate * len(order) + 0.5)])
    texts, truth = {}, []
    for key in chosen:
        turn, spaced = turns[key]
        rng = _seeded_rng(seed, key, "words")
        kind = choose_option(sorted(set(kinds)), rng)
        wording = choose_option(WORDINGS[:2], rng) if wordings == "mixed" else wordings
        texts[key], pieces = inject_text(
            InsertionPoints(turn, spaced), PhraseSampler(rng, wording), kind
        )
        truth.append(Injection(*key, kind, wording, pieces, turn.text))
    return PollutedCorpus(texts, tuple(truth))


def remove_injected_text(text: str, pieces: Iterable[InjectedText]) -> str:
    """Restore a polluted text; raises `CorpusError` if a piece is not where it should be."""
    parts, end = [], 0
    for start, piece in pieces:
        if start < end or text[start : start + len(piece)] != piece:
            raise CorpusError(
                f"expected '{shorten(piece, 40)}' at position {start} of '{shorten(text, 60)}'; "
                "does the truth file belong to another corpus or seed?"
            )
        parts.append(text[end:start])
        end = start + len(piece)
    return "".join(parts) + text[end:]


def shift_spans(spans: Iterable[Span], pieces: Sequence[InjectedText]) -> tuple[Span, ...]:
    """Shift the spans to their positions after the pieces are inserted."""
    shifted = []
    for span in spans:
        added = _count_inserted_before(span.start, pieces)
        shifted.append(span._replace(start=span.start + added, end=span.end + added))
    return tuple(shifted)


def _count_inserted_before(position: int, pieces: Sequence[InjectedText]) -> int:
    """Count the characters that the pieces insert before a position of the original text."""
    added = 0
    for start, text in pieces:
        if start - added > position:
            break
        added += len(text)
    return added


def truth_rows(polluted: PollutedCorpus) -> list[dict[str, Any]]:
    """Convert the truth to JSON objects, one per polluted turn."""
    return [
        {**row._asdict(), "pieces": [piece._asdict() for piece in row.pieces]}
        for row in polluted.truth
    ]


def parse_truth(rows: Iterable[Any]) -> tuple[Injection, ...]:
    """Parse the truth from its JSON objects; raises `CorpusError` for a malformed one."""
    return tuple(_parse_injection(row, number) for number, row in enumerate(rows, start=1))


def _parse_injection(row: Any, number: int) -> Injection:
    try:
        pieces = tuple(InjectedText(piece["start"], piece["text"]) for piece in row["pieces"])
        injection = Injection(**{**row, "pieces": pieces})
    except (TypeError, KeyError):
        injection = None
    if injection is None or not (
        all(isinstance(part, str) for part in (*injection[:1], *injection[2:4], injection.original))
        and type(injection.turn) is int
        and all(type(start) is int and isinstance(text, str) for start, text in injection.pieces)
    ):
        raise CorpusError(
            f"row {number} of the truth: expected an object with "
            f"{', '.join(Injection._fields)}, as `isaac pollute --truth` writes it; "
            f"got {shorten(repr(row), 60)}"
        )
    return injection


@cache
def load_word_list() -> tuple[str, ...]:
    """Load the word list; every injected wording contains one of its words or phrases."""
    return tuple(load_pollution_data()["words"])


def _check_settings(rate: float, kinds: Sequence[str], wordings: str) -> None:
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
        raise RecipeError(f"expected a rate above 0 and at most 1, such as 0.1; got {rate}")
    unknown = [shorten(str(kind), 40) for kind in kinds if kind not in POLLUTION_KINDS]
    if unknown or not kinds or isinstance(kinds, str):
        got = ", ".join(unknown) or shorten(str(kinds), 40) or "none"
        raise RecipeError(
            f"expected one or more kinds of pollution from {', '.join(POLLUTION_KINDS)}; got {got}"
        )
    if wordings not in WORDINGS:
        raise RecipeError(
            f"expected wordings to be one of {', '.join(WORDINGS)}; "
            f"got {shorten(str(wordings), 40)}"
        )


def _index_system_turns(dialogues: Sequence[Dialogue]) -> dict[TurnKey, tuple[DialogueTurn, bool]]:
    """Index the system turns with text, and whether each has spaces before its punctuation marks.

    For a turn without marks, the rest of its dialogue decides.
    """
    index: dict[TurnKey, tuple[DialogueTurn, bool]] = {}
    for dialogue in dialogues:
        dialogue_is_spaced = sum(_spacing_balance(turn.text) for turn in dialogue.turns) > 0
        for turn in dialogue.turns:
            if turn.role != "assistant" or not turn.text.strip():
                continue
            key = (dialogue.id, turn.index)
            if key in index:
                raise CorpusError(
                    f"two system turns {turn.index} in '{shorten(dialogue.id, 40)}'; "
                    "give each dialogue its own id"
                )
            balance = _spacing_balance(turn.text)
            index[key] = turn, balance > 0 or (balance == 0 and dialogue_is_spaced)
    return index


def _spacing_balance(text: str) -> int:
    """Count the marks after a space, minus the marks attached to a word."""
    return sum(1 if mark[1] else -1 for mark in PUNCTUATION.finditer(text))


def _seeded_rng(seed: int, key: TurnKey, purpose: str) -> Random:
    """Create the random generator for one turn and purpose, independent of all others."""
    text = json.dumps([seed, *key, purpose])
    return Random(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little"))
