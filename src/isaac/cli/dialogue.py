"""The commands of task-oriented dialogue: ``isaac pollute`` and ``score``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..corpus.act_files import ANY, found_beside
from ..corpus.dialogue.predictions import Predictions, read_predictions
from ..corpus.dialogue.readers import READERS
from ..corpus.dialogue.schema import Dialogue, system_turns
from ..corpus.files import find_sources
from ..corpus.records import dumps
from ..errors import CorpusError, RecipeError
from ..evaluate.dialogue import pollution
from ..evaluate.dialogue.database import read_database
from ..evaluate.dialogue.files import Dialogues, read_dialogues, read_truth_file
from ..evaluate.dialogue.pollution import KINDS, Polluted, truth_rows
from ..evaluate.dialogue.references import _bare, _check, _check_users, _gold, _lexicon, _responses
from ..evaluate.dialogue.scores import score as score_responses
from ..runs.run import Run
from ..runtime.atomic_files import writing
from ..text import short
from .common import AsJson, command, say, show

PREDICTIONS = "predictions"

FORMATS = ", ".join(READERS)

Corpus = Annotated[
    str, typer.Argument(metavar="INPUT", help="task-oriented corpus: file, zip, folder or glob")
]
Form = Annotated[
    str | None,
    typer.Option("--format", help=f"how it is written, recognised if not given: {FORMATS}"),
]

Scored = Annotated[
    str,
    typer.Argument(
        metavar="INPUT", help="task-oriented corpus, a run folder, or a system's predictions"
    ),
]
ScoredForm = Annotated[
    str | None,
    typer.Option(
        "--format",
        help=f"how it is written: predictions, or recognised if not given: {FORMATS}",
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
    source: Corpus,
    out: Annotated[Path, typer.Option("-o", "--out", help="write the polluted corpus here")],
    truth: Annotated[
        Path, typer.Option("--truth", help="write what was put in here, a polluted turn a line")
    ],
    form: Form = None,
    rate: Annotated[
        float, typer.Option(help="share of the system's turns, above 0 and at most 1")
    ] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="seed of which turns, and how")] = 0,
    kinds: Annotated[
        str, typer.Option(help="kinds, with commas, each as likely as the others")
    ] = ",".join(KINDS),
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
    _need_apart(source, out, truth)
    known = read_dialogues(source, form)
    _tell_skipped(known)
    dialogues = known.joined()
    asked = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    polluted = pollution.pollute(dialogues, rate, seed, asked, wordings)
    with writing(truth) as rows, writing(out) as corpus:
        corpus.writelines(known.text(polluted.texts))
        rows.writelines(dumps(row) + "\n" for row in truth_rows(polluted))
    show(_counted(polluted, dialogues))
    show(f"polluted corpus: {out}\ntruth:           {truth}")


def _need_apart(source: str, out: Path, truth: Path) -> None:
    """Raise `RecipeError` if a file would be written over the input or over the other."""
    given = find_sources(source)
    given += found_beside(given, ANY)
    files = [os.path.realpath(file.path) for file in given if file.path]
    for flag, path in (("--out", out), ("--truth", truth)):
        if os.path.realpath(path) in files:
            raise RecipeError(f"{flag} {path} is the input itself; give another file")
        if path.suffix.lower() in (".zip", ".gz", ".zst"):
            raise RecipeError(f"{flag} {path}: what is written is not packed; name a .json file")
    if os.path.realpath(out) == os.path.realpath(truth):
        raise RecipeError("--out and --truth are one file; the truth needs one of its own")


def _tell_skipped(known: Dialogues) -> None:
    if known.acts:
        say(known.acts)
    if known.skipped:
        say(f"left out, since no dialogues are in it: {', '.join(map(short, known.skipped))}")


def _counted(polluted: Polluted, dialogues: Sequence[Dialogue]) -> str:
    turns = sum(bool(turn.text.strip()) for one in dialogues for turn in system_turns(one))
    touched = len({row.dialogue for row in polluted.truth})
    kinds = Counter(row.kind for row in polluted.truth)
    share = f" ({len(polluted.truth) / turns:.1%})" if turns else ""
    told = ", ".join(f"{kind} {kinds[kind]:,}" for kind in KINDS if kinds[kind])
    return (
        f"polluted {len(polluted.truth):,} of {turns:,} system turns{share}, in {touched:,} of "
        f"{len(dialogues):,} dialogues{': ' if told else ''}{told}"
    )


@command
def score(
    source: Scored,
    form: ScoredForm = None,
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
    known = None if form == PREDICTIONS else _read(source, form)
    wanted = _read(gold, None if form == PREDICTIONS else form) if gold is not None else None
    put_in = None if truth is None else read_truth_file(truth)
    values = _lexicon(database, wanted or known)
    if known is not None:
        said: Predictions = _responses(known.joined(), values)
    else:
        if put_in is not None and wanted is None:
            raise RecipeError(
                "predictions do not say which turns of a record they are: with --truth give "
                "--gold, the corpus as it was before anything was put in"
            )
        said = read_predictions(source)
        put_in = None if put_in is None else _bare(put_in, values)
    against = _gold(wanted, known, values)
    _check(source, said, against if wanted is not None else None, put_in)
    if known is not None and wanted is not None:
        _check_users(known, wanted)
    listed = pollution.words() if words else ()
    rows = None if database is None else read_database(database)
    found = score_responses(said, against, rows, truth=put_in, words=listed)
    if as_json:
        show(dumps(found.as_json()))
    else:
        show("\n".join(found.lines()))
    _tell_missing(gold=wanted is not None, rows=rows is not None, counted=bool(truth) or words)


def _read(source: str, form: str | None) -> Dialogues:
    """Return the dialogues of an input; of a run those that it curated."""
    if form is not None and form not in READERS:
        raise RecipeError(
            f"no format '{short(form)}' to score; there: {PREDICTIONS}, {', '.join(READERS)}"
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
    _tell_skipped(known)
    return known


def _tell_missing(*, gold: bool, rows: bool, counted: bool) -> None:
    if not gold:
        say("no --gold: BLEU and slot errors cannot be scored")
    if not rows:
        say("no --database: Inform and Success cannot be scored")
    if not counted:
        say("no --truth and no --words: what is polluted cannot be counted")
