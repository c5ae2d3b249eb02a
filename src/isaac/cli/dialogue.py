"""The commands for task-oriented dialogue: ``isaac pollute`` and ``isaac score``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..corpus.dialogue.readers import READERS
from ..corpus.records import dumps
from ..evaluate.dialogue.pollution import POLLUTION_KINDS, PollutionSettings
from ..evaluate.dialogue.pollution_files import pollute_corpus
from ..evaluate.dialogue.scoring import PREDICTIONS, score_corpus
from .common import AsJson, command, print_message, print_output

FORMAT_NAMES = ", ".join(READERS)

CorpusInput = Annotated[
    str, typer.Argument(metavar="INPUT", help="task-oriented corpus: file, zip, folder or glob")
]
CorpusFormat = Annotated[
    str | None,
    typer.Option("--format", help=f"format of the input, detected by default: {FORMAT_NAMES}"),
]

ScoredInput = Annotated[
    str,
    typer.Argument(
        metavar="INPUT", help="task-oriented corpus, run folder, or a system's predictions"
    ),
]
ScoredFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        help=f"format of the input: {PREDICTIONS}; or, detected by default: {FORMAT_NAMES}",
    ),
]
GoldFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="clean version of the corpus, for BLEU and slot errors"),
]
DatabaseFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="folder with MultiWOZ's db, for Inform and Success"),
]
TruthFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="truth file from isaac pollute, to count the responses that are still polluted",
    ),
]


@command
def pollute(
    source: CorpusInput,
    out: Annotated[Path, typer.Option("-o", "--out", help="write the polluted corpus here")],
    truth: Annotated[
        Path,
        typer.Option("--truth", help="write the injected text here, one polluted turn per line"),
    ],
    format_name: CorpusFormat = None,
    rate: Annotated[
        float, typer.Option(help="share of system turns to pollute, above 0 and at most 1")
    ] = 0.1,
    seed: Annotated[
        int, typer.Option(min=0, help="seed for the choice of turns and of the injected text")
    ] = 0,
    kinds: Annotated[
        str, typer.Option(help="comma-separated kinds of pollution, all equally likely")
    ] = ",".join(POLLUTION_KINDS),
    wordings: Annotated[
        str,
        typer.Option(help="repeated (a few fixed wordings), varied (many generated ones) or mixed"),
    ] = "mixed",
) -> None:
    """Pollute a task-oriented corpus, and record what was injected.

    Use it to measure how much pollution a curation removes. Some system turns become rude (low: a
    particle before a sentence; high: an insult) or unprofessional (slang, promotion). Text is only
    inserted, never inside a value, and the corpus keeps its format. The truth file records what was
    injected; no curation reads it. The same seed pollutes the same turns, whatever the order of the
    dialogues.
    """
    names = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    settings = PollutionSettings(rate, seed, names, wordings)
    result = pollute_corpus(source, out, truth, settings, format_name=format_name)
    for note in result.notes:
        print_message(note)
    print_output(result.summary())
    print_output(f"polluted corpus: {out}\ntruth:           {truth}")


@command
def score(
    source: ScoredInput,
    format_name: ScoredFormat = None,
    gold: GoldFile = None,
    database: DatabaseFolder = None,
    truth: TruthFile = None,
    words: Annotated[
        bool,
        typer.Option("--words", help="also count responses with a word from isaac's word list"),
    ] = False,
    domains: Annotated[
        Literal["states", "placeholders"],
        typer.Option(
            help="where active domains come from if predictions do not give them: states, as in "
            "the standardized evaluation, or placeholders ([hotel_name]), then states"
        ),
    ] = "states",
    as_json: AsJson = False,
) -> None:
    """Score responses: Inform, Success, BLEU, slot errors, variety, pollution.

    Scores the delexicalized system turns of a corpus, or of a run's curated.jsonl. Predictions are
    JSON: {dialogue: [{response, state, active_domains}]}, delexicalized, one per system turn. They
    are scored with their own states if they have any, otherwise with those of --gold. A score that
    cannot be computed is reported as none, not as zero.
    """
    result = score_corpus(
        source,
        format_name,
        gold=gold,
        database=database,
        truth=truth,
        words=words,
        by_placeholder=domains == "placeholders",
    )
    for note in result.notes:
        print_message(note)
    scores = result.scores
    print_output(dumps(scores.as_json()) if as_json else "\n".join(scores.lines()))
