"""Score the responses in files, as ``isaac score`` does: a corpus, a run or predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ...corpus.dialogue.delexicalization import PLACEHOLDER, delexicalize
from ...corpus.dialogue.predictions import (
    Prediction,
    Predictions,
    normalize_id,
    read_predictions,
)
from ...corpus.dialogue.readers import READERS
from ...corpus.dialogue.schema import Dialogue, DialogueTurn, system_turns
from ...corpus.dialogue.value_lexicon import Lexicon
from ...errors import CorpusError, RecipeError
from ...runs.run import Run
from ...text import shorten
from .database import read_database
from .files import DialogueCorpus, read_dialogues
from .injection import InjectedText
from .pollution import Injection, load_word_list
from .pollution_files import read_truth_file
from .scores import DialogueScores, Gold, build_gold, score_predictions

PREDICTIONS = "predictions"
"""The name of the format of a system's predictions, which are not a corpus (`read_predictions`)."""


class ScoringResult(NamedTuple):
    """The scores, and notes on the input and on what was not scored, one sentence each."""

    scores: DialogueScores
    notes: tuple[str, ...]


def score_corpus(
    source: str,
    format_name: str | None = None,
    *,
    gold: str | None = None,
    database: Path | None = None,
    truth: Path | None = None,
    words: bool = False,
    by_placeholder: bool = False,
) -> ScoringResult:
    """Score the responses in a corpus, a finished run or a system's predictions.

    ``format_name`` is `PREDICTIONS` or one of `READERS`; by default, the format is detected.
    ``gold`` is the clean corpus to compare with, for BLEU and slot errors. ``database`` is the
    folder of MultiWOZ's database, for Inform and Success. ``truth`` is the truth file from
    `pollute_corpus`, to count the responses that are still polluted. ``words`` also counts the
    responses that contain a word of the word list. ``by_placeholder`` finds active domains that
    are not given by placeholders first (see `score_predictions`).

    Raises `RecipeError` for an unknown format, or for predictions with ``truth`` but no ``gold``;
    `CorpusError` if a file cannot be read or the files do not belong together; `RunError` if a run
    is not finished.
    """
    is_corpus = format_name != PREDICTIONS
    corpus = _read_corpus_or_run(source, format_name) if is_corpus else None
    gold_format = format_name if is_corpus else None
    gold_corpus = None if gold is None else _read_corpus_or_run(gold, gold_format)
    injections = None if truth is None else read_truth_file(truth)
    lexicon = _build_lexicon(database, gold_corpus or corpus)
    if corpus is not None:
        predictions: Predictions = _delexicalize_system_turns(corpus.dialogues(), lexicon)
    else:
        if injections is not None and gold_corpus is None:
            raise RecipeError(
                "predictions do not say which turn of a record each response is for; with "
                "--truth, add --gold, the corpus before it was polluted"
            )
        predictions = read_predictions(source)
        injections = None if injections is None else _delexicalize_truth(injections, lexicon)
    reference = _select_gold(gold_corpus, corpus, lexicon)
    checked = None if gold_corpus is None else reference
    _check_same_corpus(source, predictions, checked, injections)
    if corpus is not None and gold_corpus is not None:
        _check_same_user_turns(corpus, gold_corpus)
    scores = score_predictions(
        predictions,
        reference,
        None if database is None else read_database(database),
        truth=injections,
        words=load_word_list() if words else (),
        by_placeholder=by_placeholder,
    )
    notes = [note for each in (corpus, gold_corpus) if each is not None for note in each.notes()]
    if gold is None:
        notes.append("no --gold: BLEU and slot errors are not scored")
    if database is None:
        notes.append("no --database: Inform and Success are not scored")
    if truth is None and not words:
        notes.append("no --truth and no --words: polluted responses are not counted")
    return ScoringResult(scores, tuple(notes))


def _read_corpus_or_run(source: str, format_name: str | None) -> DialogueCorpus:
    """Read the dialogues of a corpus, or those that a run curated."""
    if format_name is not None and format_name not in READERS:
        raise RecipeError(
            f"unknown format '{shorten(format_name)}'; "
            f"available: {PREDICTIONS}, {', '.join(READERS)}"
        )
    if (Path(source) / "recipe.yaml").is_file():
        Run(source).require_corpus()
        source = str(Path(source) / "curated.jsonl")
    try:
        return read_dialogues(source, format_name)
    except CorpusError as error:
        if format_name is not None:
            raise
        raise CorpusError(
            f"{error}. For a system's predictions, add --format {PREDICTIONS}"
        ) from None


# What to compare the responses with.


def _build_lexicon(database: Path | None, corpus: DialogueCorpus | None) -> Lexicon:
    """Build the lexicon of values to delexicalize: the database's, or else the corpus's own."""
    if database is not None:
        return Lexicon.read(database)
    return Lexicon() if corpus is None else Lexicon.of(corpus.dialogues())


def _delexicalize_system_turns(
    dialogues: Sequence[Dialogue], lexicon: Lexicon
) -> dict[str, list[Prediction]]:
    return {
        normalize_id(dialogue.id): [
            Prediction(delexicalize(turn, lexicon).text, turn=turn.index, text=turn.text)
            for turn in system_turns(dialogue)
        ]
        for dialogue in dialogues
    }


def _select_gold(
    gold_corpus: DialogueCorpus | None, corpus: DialogueCorpus | None, lexicon: Lexicon
) -> Gold:
    """Select what to score against: gold, or else the input's own goals, states and bookings."""
    if gold_corpus is None:
        if corpus is None:
            return Gold()
        from_input = build_gold(corpus.dialogues(), booked=corpus.booked_domains())
        return replace(from_input, texts={})
    dialogues = gold_corpus.dialogues()
    references = {
        name: [turn.response for turn in turns]
        for name, turns in _delexicalize_system_turns(dialogues, lexicon).items()
    }
    return build_gold(dialogues, references, gold_corpus.booked_domains())


def _delexicalize_truth(truth: Sequence[Injection], lexicon: Lexicon) -> tuple[Injection, ...]:
    """Add the delexicalized form of each injected piece to the truth."""
    return tuple(
        row._replace(pieces=(*row.pieces, *_delexicalize_pieces(row, lexicon))) for row in truth
    )


def _delexicalize_pieces(row: Injection, lexicon: Lexicon) -> list[InjectedText]:
    """Delexicalize the injected pieces; drops those that consist only of placeholders."""
    pieces = [
        InjectedText(start, delexicalize(DialogueTurn(row.turn, "assistant", text), lexicon).text)
        for start, text in row.pieces
    ]
    return [piece for piece in pieces if any(map(str.isalpha, PLACEHOLDER.sub("", piece.text)))]


# Whether the files belong together.


def _check_same_corpus(
    source: str,
    predictions: Mapping[str, object],
    gold: Gold | None,
    truth: Sequence[Injection] | None,
) -> None:
    """Raise `CorpusError` if gold or the truth belongs to another corpus than the responses."""
    if gold is not None and predictions and not predictions.keys() & gold.goals.keys():
        raise CorpusError(
            f"gold has none of the {len(predictions):,} dialogues of {shorten(source)}; the first "
            f"is '{shorten(next(iter(predictions)), 60)}', and gold's first is "
            f"'{shorten(next(iter(gold.goals), 'none'), 60)}'; "
            "does gold belong to another corpus?"
        )
    if truth and not any(normalize_id(row.dialogue) in predictions for row in truth):
        raise CorpusError(
            f"none of the {len(truth):,} turns in the truth is from a dialogue of "
            f"{shorten(source)}; does the truth belong to another corpus?"
        )
    for row in truth or ():
        texts = gold.texts.get(normalize_id(row.dialogue)) if gold is not None else None
        if texts is not None and texts.get(row.turn) != row.original:
            raise CorpusError(
                f"dialogue {shorten(row.dialogue, 60)}, turn {row.turn}: gold differs from the "
                f"original text in the truth, '{shorten(row.original, 60)}'. Give the truth "
                "together with the corpus that was polluted"
            )


def _check_same_user_turns(corpus: DialogueCorpus, gold_corpus: DialogueCorpus) -> None:
    """Raise `CorpusError` if a user turn differs in gold, which shows that the dialogue differs."""
    gold_texts = {normalize_id(each.id): _user_texts(each) for each in gold_corpus.dialogues()}
    for dialogue in corpus.dialogues():
        expected = gold_texts.get(normalize_id(dialogue.id))
        if expected is None:
            continue
        for index, text in _user_texts(dialogue).items():
            if text != expected.get(index):
                raise CorpusError(
                    f"dialogue {shorten(dialogue.id, 60)}, turn {index}: the user turn "
                    f"'{shorten(text, 60)}' is different in gold; "
                    "does gold belong to another corpus?"
                )


def _user_texts(dialogue: Dialogue) -> dict[int, str]:
    return {turn.index: turn.text for turn in dialogue.turns if turn.role == "user"}
