"""The commands of task-oriented dialogue: ``isaac pollute`` and ``score``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..corpus.act_files import ALL_ACT_FILES, find_act_files
from ..corpus.dialogue.predictions import Predictions, read_predictions
from ..corpus.dialogue.readers import READERS
from ..corpus.dialogue.schema import Dialogue, system_turns
from ..corpus.files import find_sources
from ..corpus.records import dumps
from ..errors import CorpusError, RecipeError
from ..evaluate.dialogue import pollution
from ..evaluate.dialogue.database import read_database
from ..evaluate.dialogue.files import DialogueCorpus, read_dialogues, read_truth_file
from ..evaluate.dialogue.pollution import POLLUTION_KINDS, PollutedCorpus, truth_rows
from ..evaluate.dialogue.references import (
    build_lexicon,
    check_same_corpus,
    check_same_user_turns,
    delexicalize_system_turns,
    delexicalize_truth,
    select_gold,
)
from ..evaluate.dialogue.scores import score_predictions
from ..runs.run import Run
from ..runtime.atomic_files import atomic_write
from ..text import shorten
from .common import AsJson, command, print_message, print_output

PREDICTIONS = "predictions"

FORMAT_NAMES = ", ".join(READERS)

CorpusInput = Annotated[
    str, typer.Argument(metavar="INPUT", help="task-oriented corpus: file, zip, folder or glob")
]
FormatName = Annotated[
    str | None,
    typer.Option("--format", help=f"how it is written, recognised if not given: {FORMAT_NAMES}"),
]

ScoredInput = Annotated[
    str,
    typer.Argument(
        metavar="INPUT", help="task-oriented corpus, a run folder, or a system's predictions"
    ),
]
ScoredFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        help=f"how it is written: predictions, or recognised if not given: {FORMAT_NAMES}",
    ),
]
GoldFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="the corpus as it should be, for BLEU and slot errors"),
]
DatabaseFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="folder of MultiWOZ's db/, for Inform and Success"),
]
TruthFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="what isaac pollute put in, to count the responses that have it"
    ),
]


@command
def pollute(
    source: CorpusInput,
    out: Annotated[Path, typer.Option("-o", "--out", help="write the polluted corpus here")],
    truth: Annotated[
        Path, typer.Option("--truth", help="write what was put in here, a polluted turn a line")
    ],
    form: FormatName = None,
    rate: Annotated[
        float, typer.Option(help="share of the system's turns, above 0 and at most 1")
    ] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="seed of which turns, and how")] = 0,
    kinds: Annotated[
        str, typer.Option(help="kinds, with commas, each as likely as the others")
    ] = ",".join(POLLUTION_KINDS),
    wordings: Annotated[
        str, typer.Option(help="repeated: a few fixed ones, varied: many, or mixed: both")
    ] = "mixed",
) -> None:
    """Pollute a task-oriented corpus, and keep the truth about it.

    It is for measuring what a curation takes out again. Some turns of the system become rude (low:
    a particle before a sentence; high: an insult) or unprofessional (slang, promotion). Text is
    only put in, and no value is cut. The corpus keeps its layout; what was put in where goes to a
    file of its own, which no curation reads. The same seed pollutes the same turns, in whatever
    order the dialogues stand.
    """
    _check_distinct_files(source, out, truth)
    known = read_dialogues(source, form)
    _report_skipped(known)
    dialogues = known.joined()
    asked = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    polluted = pollution.pollute(dialogues, rate, seed, asked, wordings)
    with atomic_write(truth) as rows, atomic_write(out) as corpus:
        corpus.writelines(known.text(polluted.texts))
        rows.writelines(dumps(row) + "\n" for row in truth_rows(polluted))
    print_output(_summarize_pollution(polluted, dialogues))
    print_output(f"polluted corpus: {out}\ntruth:           {truth}")


def _check_distinct_files(source: str, out: Path, truth: Path) -> None:
    """Raise `RecipeError` if a file would be written over the input or over the other."""
    given = find_sources(source)
    given += find_act_files(given, ALL_ACT_FILES)
    files = [os.path.realpath(file.path) for file in given if file.path]
    for flag, path in (("--out", out), ("--truth", truth)):
        if os.path.realpath(path) in files:
            raise RecipeError(f"{flag} {path} is the input itself; give another file")
        if path.suffix.lower() in (".zip", ".gz", ".zst"):
            raise RecipeError(f"{flag} {path}: what is written is not packed; name a .json file")
    if os.path.realpath(out) == os.path.realpath(truth):
        raise RecipeError("--out and --truth are one file; the truth needs one of its own")


def _report_skipped(known: DialogueCorpus) -> None:
    if known.acts:
        print_message(known.acts)
    if known.skipped:
        print_message(
            f"left out, since no dialogues are in it: {', '.join(map(shorten, known.skipped))}"
        )


def _summarize_pollution(polluted: PollutedCorpus, dialogues: Sequence[Dialogue]) -> str:
    turns = sum(bool(turn.text.strip()) for one in dialogues for turn in system_turns(one))
    touched = len({row.dialogue for row in polluted.truth})
    kinds = Counter(row.kind for row in polluted.truth)
    share = f" ({len(polluted.truth) / turns:.1%})" if turns else ""
    told = ", ".join(f"{kind} {kinds[kind]:,}" for kind in POLLUTION_KINDS if kinds[kind])
    return (
        f"polluted {len(polluted.truth):,} of {turns:,} system turns{share}, in {touched:,} of "
        f"{len(dialogues):,} dialogues{': ' if told else ''}{told}"
    )


@command
def score(
    source: ScoredInput,
    form: ScoredFormat = None,
    gold: GoldFile = None,
    database: DatabaseFolder = None,
    truth: TruthFile = None,
    words: Annotated[
        bool, typer.Option("--words", help="count responses with a word of isaac's list, too")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score responses: Inform, Success, BLEU, slots, pollution.

    A corpus is scored by its system turns without their values, a run by its curated.jsonl.
    Predictions are JSON: {dialogue: [{response, state, active_domains}]}, without values, one a
    system turn; with their own states they are judged by those, otherwise by gold's. What cannot
    be scored is none, and is told, not zero.
    """
    known = None if form == PREDICTIONS else _read_dialogues(source, form)
    wanted = (
        _read_dialogues(gold, None if form == PREDICTIONS else form) if gold is not None else None
    )
    put_in = None if truth is None else read_truth_file(truth)
    values = build_lexicon(database, wanted or known)
    if known is not None:
        said: Predictions = delexicalize_system_turns(known.joined(), values)
    else:
        if put_in is not None and wanted is None:
            raise RecipeError(
                "predictions do not say which turns of a record they are: with --truth give "
                "--gold, the corpus as it was before anything was put in"
            )
        said = read_predictions(source)
        put_in = None if put_in is None else delexicalize_truth(put_in, values)
    against = select_gold(wanted, known, values)
    check_same_corpus(source, said, against if wanted is not None else None, put_in)
    if known is not None and wanted is not None:
        check_same_user_turns(known, wanted)
    listed = pollution.load_word_list() if words else ()
    rows = None if database is None else read_database(database)
    found = score_predictions(said, against, rows, truth=put_in, words=listed)
    if as_json:
        print_output(dumps(found.as_json()))
    else:
        print_output("\n".join(found.lines()))
    _report_missing(gold=wanted is not None, rows=rows is not None, counted=bool(truth) or words)


def _read_dialogues(source: str, form: str | None) -> DialogueCorpus:
    """Return the dialogues of an input; of a run those that it curated."""
    if form is not None and form not in READERS:
        raise RecipeError(
            f"no format '{shorten(form)}' to score; there: {PREDICTIONS}, {', '.join(READERS)}"
        )
    if (Path(source) / "recipe.yaml").is_file():
        Run(source).need_finished()
        source = str(Path(source) / "curated.jsonl")
    try:
        known = read_dialogues(source, form)
    except CorpusError as error:
        if form is not None:
            raise
        raise CorpusError(f"{error}. A system's predictions need --format predictions") from None
    _report_skipped(known)
    return known


def _report_missing(*, gold: bool, rows: bool, counted: bool) -> None:
    if not gold:
        print_message("no --gold: BLEU and slot errors cannot be scored")
    if not rows:
        print_message("no --database: Inform and Success cannot be scored")
    if not counted:
        print_message("no --truth and no --words: what is polluted cannot be counted")
