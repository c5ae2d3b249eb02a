"""Polluted dialogues: some system turns made rude or unprofessional, and the truth about which.

Text is only ever put in, so that taking the pieces out gives the turn back; a value is never cut.
The wordings are in ``data/pollution.json``, mild and written for this project.
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
WORDINGS = ("repeated", "varied", "mixed")
PUNCTUATION = re.compile(r"(\s?)[.,?!](?=\s|\Z)")

TurnKey = tuple[str, int]
"""A dialogue's id and the index of one of its turns."""


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
    """The texts of the polluted turns, and the truth in the order of dialogue id and turn."""

    texts: Mapping[TurnKey, str]
    truth: tuple[Injection, ...]

    def dialogues(self, dialogues: Iterable[Dialogue]) -> list[Dialogue]:
        """Return the dialogues with the polluted texts in them, their values' spans moved."""
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
    """Return a share of the system turns polluted, halves rounded up, in a seeded sample.

    Which turns, and how, depends on the seed, the dialogue's id and the turn's index alone: not
    on order; and what is polluted at a lower rate is so at a higher one too. System turns without
    text are no part of the sample. ``kinds`` are as likely as one another, and so are, where
    ``wordings`` is ``mixed``, one of a few fixed wordings and one of many. Raises `RecipeError`
    for what cannot be asked, `CorpusError` for two turns under one id.
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
    """Return a polluted text without its pieces; raise `CorpusError` if one is not there."""
    kept, end = [], 0
    for start, piece in pieces:
        if start < end or text[start : start + len(piece)] != piece:
            raise CorpusError(
                f"'{shorten(piece, 40)}' does not stand at {start} of '{shorten(text, 60)}'; "
                "is the truth file that of another corpus or seed?"
            )
        kept.append(text[end:start])
        end = start + len(piece)
    return "".join(kept) + text[end:]


def shift_spans(spans: Iterable[Span], pieces: Sequence[InjectedText]) -> tuple[Span, ...]:
    """Return the spans where they stand once the pieces are put in."""
    return tuple(
        span._replace(start=span.start + added, end=span.end + added)
        for span in spans
        for added in (_count_inserted_before(span.start, pieces),)
    )


def _count_inserted_before(place: int, pieces: Sequence[InjectedText]) -> int:
    """Return how many characters stand before what was at a place of the original."""
    added = 0
    for start, text in pieces:
        if start - added > place:
            break
        added += len(text)
    return added


def truth_rows(polluted: PollutedCorpus) -> list[dict[str, Any]]:
    """Return the truth as JSON objects, one a polluted turn."""
    return [
        {**row._asdict(), "pieces": [piece._asdict() for piece in row.pieces]}
        for row in polluted.truth
    ]


def parse_truth(rows: Iterable[Any]) -> tuple[Injection, ...]:
    """Return the truth from its JSON objects; raise `CorpusError` for a row that is not one."""
    return tuple(_parse_injection(row, number) for number, row in enumerate(rows, start=1))


def _parse_injection(row: Any, number: int) -> Injection:
    try:
        pieces = tuple(InjectedText(piece["start"], piece["text"]) for piece in row["pieces"])
        found = Injection(**{**row, "pieces": pieces})
    except (TypeError, KeyError):
        found = None
    if found is None or not (
        all(isinstance(part, str) for part in (*found[:1], *found[2:4], found.original))
        and type(found.turn) is int
        and all(type(start) is int and isinstance(text, str) for start, text in found.pieces)
    ):
        raise CorpusError(
            f"row {number} of the truth is {shorten(repr(row), 60)}; wanted an object with "
            f"{', '.join(Injection._fields)}, as `isaac pollute --truth` writes it"
        )
    return found


@cache
def load_word_list() -> tuple[str, ...]:
    """Return the word list: words and phrases of which every injected wording holds one."""
    return tuple(load_pollution_data()["words"])


def _check_settings(rate: float, kinds: Sequence[str], wordings: str) -> None:
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
        raise RecipeError(f"a rate of pollution is above 0 and at most 1 (0.1, say), not {rate}")
    unknown = [shorten(str(kind), 40) for kind in kinds if kind not in POLLUTION_KINDS]
    if unknown or not kinds or isinstance(kinds, str):
        asked = ", ".join(unknown) or shorten(str(kinds), 40) or "none"
        raise RecipeError(
            f"kinds of pollution are some of {', '.join(POLLUTION_KINDS)}, not {asked}"
        )
    if wordings not in WORDINGS:
        raise RecipeError(f"wordings are {', '.join(WORDINGS)}, not {shorten(str(wordings), 40)}")


def _index_system_turns(dialogues: Sequence[Dialogue]) -> dict[TurnKey, tuple[DialogueTurn, bool]]:
    """Return the system's turns with text, each with whether its marks are spaced."""
    found: dict[TurnKey, tuple[DialogueTurn, bool]] = {}
    for dialogue in dialogues:
        usual = sum(_spacing_balance(turn.text) for turn in dialogue.turns) > 0
        for turn in dialogue.turns:
            if turn.role != "assistant" or not turn.text.strip():
                continue
            key = (dialogue.id, turn.index)
            if key in found:
                raise CorpusError(
                    f"two system turns {turn.index} in '{shorten(dialogue.id, 40)}'; "
                    "give each dialogue an id of its own"
                )
            spacing = _spacing_balance(turn.text)
            found[key] = turn, spacing > 0 or (spacing == 0 and usual)
    return found


def _spacing_balance(text: str) -> int:
    """Return by how many marks more stand apart from their word than stand at it."""
    return sum(1 if mark[1] else -1 for mark in PUNCTUATION.finditer(text))


def _seeded_rng(seed: int, key: TurnKey, use: str) -> Random:
    text = json.dumps([seed, *key, use])
    return Random(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little"))
