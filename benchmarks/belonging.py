"""Which bound leaves out what was put in, and little else, on few dialogues and on many.

Run: python benchmarks/belonging.py [--data multiwoz21] [--seeds 1] [--dialogues 50,100,200,400,999]
     [--rate 0.1] [--bounds 3,4,5,6,6.5,7] [--company 0,0.4,0.75,1.1,1.5]
Needs: pip install 'isaac-align[benchmarks]'

MultiWOZ's validation dialogues, or the first of them by name, are polluted at a rate; what belongs
is learned of them, and each system turn is trimmed with each bound. Told are the polluted turns of
which something was left out, those that then read as before anything was put in (but for case and
spaces), and the clean turns of which something was left out. The last bound is the one that isaac
takes for so many turns. A second table tells the same for weights of the company of words.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import DATA, format_header, format_spread, format_table

from isaac.corpus.dialogue import Dialogue, Lexicon, act_string, delexicalize, template_slots
from isaac.corpus.dialogue.group import DialogueGroup
from isaac.curation.dialogue import clauses as cutting
from isaac.curation.dialogue import span_relevance as belonging
from isaac.curation.dialogue.span_relevance import (
    ResponsesInContext,
    SpanRelevanceModel,
    parse_act_slots,
)
from isaac.evaluate.dialogue import pollute
from isaac.evaluate.dialogue.files import read_dialogues
from isaac.models.encoders import load_encoder


class PollutedTurns(NamedTuple):
    """System turns without their values, as they are and as they were, and what is before them."""

    answers: ResponsesInContext
    clean: list[str]


def make_polluted_turns(before: Sequence[Dialogue], rate: float, seed: int) -> PollutedTurns:
    """Return the system turns of dialogues polluted at a rate."""
    polluted = pollute(before, rate, seed).apply_to(before)
    values = Lexicon.of(before)
    rows: list[tuple[str, str, str, str, str]] = []
    for was, now in zip(before, polluted, strict=True):
        said = ""
        for place, (old, new) in enumerate(zip(was.turns, now.turns, strict=True)):
            if new.role == "user":
                said = new.text
                continue
            reply = "".join(turn.text for turn in now.turns[place + 1 : place + 2])
            template = delexicalize(new, values)
            key = str(DialogueGroup(act_string(new.acts), tuple(template_slots(template))))
            rows.append((key, said, template.text, reply, delexicalize(old, values).text))
    *columns, clean = (list(column) for column in zip(*rows, strict=True))
    return PollutedTurns(ResponsesInContext(*columns), clean)


def compute_trim_rates(turns: PollutedTurns, learned: SpanRelevanceModel) -> list[float]:
    """Return in per cent the polluted turns trimmed and restored, and the clean ones trimmed."""
    named = [parse_act_slots(key) for key in turns.answers.keys]
    texts = zip(turns.answers.responses, named, strict=True)
    kept = [learned.trim(text, slots) for text, slots in texts]
    rows = list(zip(kept, turns.answers.responses, turns.clean, strict=True))
    polluted = [row for row in rows if row[1] != row[2]]
    clean = [left != now for left, now, was in rows if now == was]
    return [
        100 * float(np.mean([left != now for left, now, _ in polluted])),
        100 * float(np.mean([same_words(left, was) for left, _, was in polluted])),
        100 * float(np.mean(clean)),
    ]


def same_words(left: str | None, was: str) -> bool:
    """Say whether two texts are one but for case and spaces."""
    return left is not None and left.casefold().split() == was.casefold().split()


def read_validation_dialogues(data: Path) -> list[Dialogue]:
    """Return the validation dialogues in the order of their names."""
    every = read_dialogues(str(data / "val.json.zip"), "multiwoz21").dialogues()
    return sorted(every, key=lambda one: one.id)


def tabulate_bounds(given: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the lines of the table of sizes and bounds."""
    every = read_validation_dialogues(given.data)
    encoder = load_encoder("wordllama")
    for count in map(int, given.dialogues.split(",")):
        made = [make_polluted_turns(every[:count], given.rate, seed) for seed in range(given.seeds)]
        learned = [belonging.fit_span_relevance(turns.answers, encoder) for turns in made]
        rows = len(made[0].clean)
        own = learned[0].ngrams.bound
        for bound in (*map(float, given.bounds.split(",")), own):
            cutting.MIN_BOUND = cutting.MAX_BOUND = bound
            anew = map(replace, learned)  # what was told by another bound is forgotten
            found = [compute_trim_rates(*pair) for pair in zip(made, anew, strict=True)]
            cells = [format_spread(list(values), scale=1) for values in zip(*found, strict=True)]
            yield [f"{count:,}", f"{rows:,}", f"{bound:.1f}", *cells]
        cutting.MIN_BOUND, cutting.MAX_BOUND = DEFAULT_BOUNDS


def tabulate_company_weights(given: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the lines of the table of weights of company, on all dialogues."""
    every, own = read_validation_dialogues(given.data), belonging.COOCCURRENCE_WEIGHT
    made = [make_polluted_turns(every, given.rate, seed) for seed in range(given.seeds)]
    learned = [
        belonging.fit_span_relevance(turns.answers, load_encoder("wordllama")) for turns in made
    ]
    for weight in map(float, given.company.split(",")):
        belonging.COOCCURRENCE_WEIGHT = weight
        found = [
            compute_trim_rates(*pair) for pair in zip(made, map(replace, learned), strict=True)
        ]
        yield [
            f"{weight:g}",
            *(format_spread(list(values), scale=1) for values in zip(*found, strict=True)),
        ]
    belonging.COOCCURRENCE_WEIGHT = own


DEFAULT_BOUNDS = cutting.MIN_BOUND, cutting.MAX_BOUND
COLUMNS = ("dialogues", "system turns", "bound", "trimmed, %", "restored, %", "clean trimmed, %")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA / "multiwoz21")
    parser.add_argument("--dialogues", default="50,100,200,400,999")
    parser.add_argument("--bounds", default="3,4,5,6,6.5,7")
    parser.add_argument("--company", default="0,0.4,0.75,1.1,1.5", help="weights of it")
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    print(format_header("benchmarks/belonging.py", range(given.seeds)) + "\n")
    print(format_table(COLUMNS, tabulate_bounds(given)) + "\n", flush=True)
    print(format_table(("company", *COLUMNS[3:]), tabulate_company_weights(given)))


if __name__ == "__main__":
    main()
