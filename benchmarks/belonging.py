"""Which bound on relevance removes injected text and little else, with few dialogues and many.

Run: python benchmarks/belonging.py [--data multiwoz21] [--seeds 1] [--dialogues 50,100,200,400,999]
     [--rate 0.1] [--bounds 3,4,5,6,6.5,7] [--company 0,0.4,0.75,1.1,1.5]
Needs: pip install 'isaac-align[benchmarks]'

MultiWOZ's validation dialogues, or the first of them by name, are polluted at a rate. The relevance
model is fitted on them, and each system turn is trimmed with each bound. The first table shows the
polluted turns that were trimmed, those restored (apart from case and spaces), and the clean turns
that were trimmed. The last bound is the one that isaac chooses for this number of turns. The second
table shows the same for weights of the co-occurrence of words (`COOCCURRENCE_WEIGHT`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import DATA, format_header, format_spread, format_table, make_parser

from isaac.corpus.dialogue import Dialogue, Lexicon, act_string, delexicalize, template_slots
from isaac.corpus.dialogue.group import DialogueGroup
from isaac.curation.dialogue import clauses, span_relevance
from isaac.curation.dialogue.span_relevance import (
    ResponsesInContext,
    SpanRelevanceModel,
    fit_span_relevance,
    parse_act_slots,
)
from isaac.evaluate.dialogue import pollute
from isaac.evaluate.dialogue.files import read_dialogues
from isaac.models.encoders import load_encoder


class PollutedTurns(NamedTuple):
    """Delexicalized system turns in context after pollution, and their clean texts."""

    polluted: ResponsesInContext
    clean: list[str]


def make_polluted_turns(dialogues: Sequence[Dialogue], rate: float, seed: int) -> PollutedTurns:
    """Pollute dialogues at a rate, and list their system turns."""
    polluted = pollute(dialogues, rate, seed).apply_to(dialogues)
    values = Lexicon.of(dialogues)
    rows: list[tuple[str, str, str, str, str]] = []
    for clean_dialogue, dialogue in zip(dialogues, polluted, strict=True):
        user_message = ""
        pairs = zip(clean_dialogue.turns, dialogue.turns, strict=True)
        for place, (clean_turn, turn) in enumerate(pairs):
            if turn.role == "user":
                user_message = turn.text
                continue
            reply = "".join(turn.text for turn in dialogue.turns[place + 1 : place + 2])
            template = delexicalize(turn, values)
            key = str(DialogueGroup(act_string(turn.acts), tuple(template_slots(template))))
            clean_text = delexicalize(clean_turn, values).text
            rows.append((key, user_message, template.text, reply, clean_text))
    *columns, clean = (list(column) for column in zip(*rows, strict=True))
    return PollutedTurns(ResponsesInContext(*columns), clean)


def compute_trim_rates(turns: PollutedTurns, model: SpanRelevanceModel) -> list[float]:
    """Trim all turns; percentages of polluted turns trimmed and restored, and of clean trimmed."""
    slots = map(parse_act_slots, turns.polluted.keys)
    trimmed = map(model.trim, turns.polluted.responses, slots)
    rows = list(zip(trimmed, turns.polluted.responses, turns.clean, strict=True))
    polluted = [row for row in rows if row[1] != row[2]]
    clean_trimmed = [after != before for after, before, clean in rows if before == clean]
    return [
        100 * float(np.mean([after != before for after, before, _ in polluted])),
        100 * float(np.mean([same_words(after, clean) for after, _, clean in polluted])),
        100 * float(np.mean(clean_trimmed)),
    ]


def same_words(text: str | None, other: str) -> bool:
    """Whether two texts are equal apart from case and spaces."""
    return text is not None and text.casefold().split() == other.casefold().split()


def read_validation_dialogues(data: Path) -> list[Dialogue]:
    """Read the validation dialogues, sorted by name."""
    dialogues = read_dialogues(str(data / "val.json.zip"), "multiwoz21").dialogues()
    return sorted(dialogues, key=lambda dialogue: dialogue.id)


def fit_models(
    dialogues: Sequence[Dialogue], args: argparse.Namespace
) -> tuple[list[PollutedTurns], list[SpanRelevanceModel]]:
    """Pollute dialogues with each seed, and fit a relevance model on each result."""
    turns = [make_polluted_turns(dialogues, args.rate, seed) for seed in range(args.seeds)]
    encoder = load_encoder("wordllama")
    return turns, [fit_span_relevance(one.polluted, encoder) for one in turns]


def format_trim_rates(
    turns: Sequence[PollutedTurns], models: Sequence[SpanRelevanceModel]
) -> list[str]:
    """Trim the turns of each seed with the present settings, and format mean and spread.

    The models are copied first, because a model caches scores that depend on the settings.
    """
    rates = map(compute_trim_rates, turns, map(replace, models))
    return [format_spread(list(values), scale=1) for values in zip(*rates, strict=True)]


def tabulate_bounds(args: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the rows of the table of sizes and bounds."""
    dialogues = read_validation_dialogues(args.data)
    for count in map(int, args.dialogues.split(",")):
        turns, models = fit_models(dialogues[:count], args)
        default_bound = models[0].ngrams.bound
        for bound in (*map(float, args.bounds.split(",")), default_bound):
            clauses.MIN_BOUND = clauses.MAX_BOUND = bound
            cells = format_trim_rates(turns, models)
            yield [f"{count:,}", f"{len(turns[0].clean):,}", f"{bound:.1f}", *cells]
        clauses.MIN_BOUND, clauses.MAX_BOUND = DEFAULT_BOUNDS


def tabulate_weights(args: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the rows of the table of co-occurrence weights, on all dialogues."""
    default_weight = span_relevance.COOCCURRENCE_WEIGHT
    turns, models = fit_models(read_validation_dialogues(args.data), args)
    for weight in map(float, args.company.split(",")):
        span_relevance.COOCCURRENCE_WEIGHT = weight
        yield [f"{weight:g}", *format_trim_rates(turns, models)]
    span_relevance.COOCCURRENCE_WEIGHT = default_weight


DEFAULT_BOUNDS = clauses.MIN_BOUND, clauses.MAX_BOUND
COLUMNS = ("dialogues", "system turns", "bound", "trimmed, %", "restored, %", "clean trimmed, %")


def main() -> None:
    """Print both tables."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--data", type=Path, default=DATA / "multiwoz21", help="folder of MultiWOZ 2.1"
    )
    parser.add_argument("--dialogues", default="50,100,200,400,999", help="numbers of dialogues")
    parser.add_argument("--bounds", default="3,4,5,6,6.5,7")
    parser.add_argument("--company", default="0,0.4,0.75,1.1,1.5", help="co-occurrence weights")
    parser.add_argument("--rate", type=float, default=0.1, help="share of turns to pollute")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    args = parser.parse_args()
    print(format_header("benchmarks/belonging.py", range(args.seeds)) + "\n")
    print(format_table(COLUMNS, tabulate_bounds(args)) + "\n", flush=True)
    print(format_table(("co-occurrence weight", *COLUMNS[3:]), tabulate_weights(args)))


if __name__ == "__main__":
    main()
