"""Corpora made for the tests: other languages and scripts, and answers that cannot be exchanged.

Run: python benchmarks/corpora.py [--corpora german code ...] [--seeds 3] [--set field=value ...]
     python benchmarks/corpora.py --write FOLDER

German, Chinese, Arabic and all of them mixed with English are small talk with a service; code,
facts and tool results have answers that are right for one message only. A tenth of the replies is
rude. All texts come from the templates in data/corpora.json, written for this project. Three things
must not happen: a response in another language or script than the message's, a redraw where
answers are not exchangeable, and a larger unsafe share than before.
"""

from __future__ import annotations

import itertools
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import format_header, format_spread, format_table, make_parser, read_draws

from isaac import Corpus, IsaacError, Recipe, curate, diagnose
from isaac.corpus.records import dumps

TEMPLATES = Path(__file__).with_name("data") / "corpora.json"

LANGUAGES = ("german", "chinese", "arabic", "english")
EXCHANGEABLE = (*LANGUAGES[:3], "mixed")
CORPORA = (*EXCHANGEABLE, "code", "facts", "tools")

RUDE_SHARE = 0.1
"""Share of the replies that are rude."""

ROWS = 320
"""Rows of each language, and at most of each other corpus."""


class Row(NamedTuple):
    """An exchange that was made, its language, and whether its response is unsafe.

    Responses may be exchanged only between rows of one language and ``situation``; where answers
    are not exchangeable, that is the message itself.
    """

    context: str
    response: str
    language: str
    situation: str
    unsafe: bool


def make_rows(name: str, seed: int = 0) -> list[Row]:
    """Make a corpus of `CORPORA`, shuffled; a seed determines the texts and their order."""
    templates = json.loads(TEMPLATES.read_text(encoding="utf-8"))
    rng = np.random.default_rng([seed, *name.encode()])
    if name == "mixed":
        rows = [row for part in LANGUAGES for row in make_rows(part, seed)[: ROWS // 2]]
    elif name in LANGUAGES:
        rows = _make_small_talk(templates[name], name, rng)
    else:
        rows = _make_answers(templates[name], rng)
    return [rows[i] for i in rng.permutation(len(rows))]


def _make_small_talk(parts: dict[str, Any], language: str, rng: np.random.Generator) -> list[Row]:
    """Pair messages and replies of a situation; openings and closings make replies differ."""
    messages = [
        (number, _fill(_choose(["", "", *parts["greetings"]], rng) + text, parts, rng))
        for number, situation in enumerate(parts["situations"])
        for text, _ in itertools.product(situation["messages"], range(16))
    ]
    messages = list(dict.fromkeys(messages))
    rows = []
    for place in rng.permutation(len(messages))[:ROWS].tolist():
        number, message = messages[place]
        unsafe = bool(rng.random() < RUDE_SHARE)
        if unsafe:
            reply = _fill(_choose(parts["rude"], rng), parts, rng)
        else:
            situation = parts["situations"][number]
            pieces = (
                _choose(["", *situation["openings"]], rng),
                _choose(situation["replies"], rng),
                _choose(["", "", *parts["closings"]], rng),
            )
            reply = parts["space"].join(filter(None, pieces))
            reply = _fill(reply, parts, rng)
        rows.append(Row(message, reply, language, str(number), unsafe))
    return rows


def _make_answers(parts: dict[str, Any], rng: np.random.Generator) -> list[Row]:
    """Pair each message with its only right answer: templates filled with records."""
    exchanges = []
    for group in parts["groups"]:
        for record, (question, answer) in itertools.product(group["records"], group["templates"]):
            values = dict(zip(group["fields"], record, strict=True))
            values |= _draw_numbers(group.get("numbers", {}), rng)
            exchanges.append((question.format(**values), answer.format(**values)))
    rows = []
    for place in rng.permutation(len(exchanges))[:ROWS].tolist():
        context, response = exchanges[place]
        unsafe = bool(rng.random() < RUDE_SHARE)
        text = _choose(parts["rude"], rng) if unsafe else response
        rows.append(Row(context, text, "english", context, unsafe))
    return rows


def _draw_numbers(ranges: dict[str, list[int]], rng: np.random.Generator) -> dict[str, int]:
    return {name: int(rng.integers(low, high)) for name, (low, high) in ranges.items()}


def _fill(text: str, parts: dict[str, Any], rng: np.random.Generator) -> str:
    """Fill each ``{name}`` with one of the language's words of that name."""
    return text.format(**{name: _choose(words, rng) for name, words in parts["words"].items()})


def _choose(texts: Sequence[str], rng: np.random.Generator) -> str:
    return texts[int(rng.integers(len(texts)))]


def find_scripts(text: str) -> set[str]:
    """The scripts of a text's letters, by the first word of their Unicode names."""
    names = (unicodedata.name(letter, "") for letter in text if letter.isalpha())
    return {name.split(" ", 1)[0] for name in names if name}


class CorpusChecks(NamedTuple):
    """What a curation did to a made corpus; shares from 0 to 1.

    ``redrawn`` is the share of rows that got another text, ``right`` the share of these whose
    response was written in the same language for the same situation, NaN if there are none.
    ``other_language`` and ``other_script`` count rows.
    """

    written: float
    redrawn: float
    right: float
    other_language: int
    other_script: int
    unsafe_before: float
    unsafe_after: float


def check_draws(rows: Sequence[Row], draws: Sequence[tuple[int, int]]) -> CorpusChecks:
    """Check what was written: pairs of a row and the row that its response comes from."""
    changed = [(i, j) for i, j in draws if rows[i].response != rows[j].response]
    return CorpusChecks(
        len(draws) / len(rows),
        len(changed) / len(rows),
        sum(rows[i][2:4] == rows[j][2:4] for i, j in changed) / len(changed)
        if changed
        else math.nan,
        sum(rows[i].language != rows[j].language for i, j in changed),
        sum(
            find_scripts(rows[i].response).isdisjoint(find_scripts(rows[j].response))
            for i, j in changed
        ),
        sum(row.unsafe for row in rows) / len(rows),
        sum(rows[j].unsafe for _, j in draws) / max(len(draws), 1),
    )


def measure(name: str, recipe: Recipe, seeds: range) -> Iterator[tuple[CorpusChecks, str]]:
    """Curate a made corpus with each seed; also what the diagnosis says."""
    for seed in seeds:
        rows = make_rows(name, seed)
        corpus = Corpus.of((row.context, row.response) for row in rows)
        try:
            curation = curate(corpus, recipe.model_copy(update={"seed": seed}))
        except IsaacError as error:
            yield check_draws(rows, [(i, i) for i in range(len(rows))]), f"refused: {error}"
            continue
        ids, sources = read_draws(curation)
        draws = list(zip(ids.tolist(), sources.tolist(), strict=True))
        yield check_draws(rows, draws), diagnose(curation).verdict


COLUMNS = (
    "corpus",
    "rows",
    "written, %",
    "redrawn, %",
    "of these right, %",
    "in another language",
    "in another script",
    "unsafe before, %",
    "unsafe after, %",
    "verdict",
)


def tabulate(name: str, recipe: Recipe, seeds: range) -> tuple[str, ...]:
    """The row of a corpus in the table."""
    found = list(measure(name, recipe, seeds))
    checks = [check for check, _ in found]
    verdicts = Counter(verdict for _, verdict in found)

    def spread(field: str) -> str:
        return format_spread([getattr(check, field) for check in checks])

    return (
        name,
        f"{len(make_rows(name)):,}",
        spread("written"),
        spread("redrawn"),
        spread("right"),
        str(sum(check.other_language for check in checks)),
        str(sum(check.other_script for check in checks)),
        spread("unsafe_before"),
        spread("unsafe_after"),
        "; ".join(f"{verdict} ({count})" for verdict, count in verdicts.items()),
    )


def write_corpora(folder: Path) -> None:
    """Write each corpus as JSON Lines, with its labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CORPORA:
        lines = (
            {**row._asdict(), "unsafe": "unsafe" if row.unsafe else "safe"}
            for row in make_rows(name)
        )
        text = "".join(dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def main() -> None:
    """Print the table, or write the corpora."""
    parser = make_parser(__doc__)
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=CORPORA)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--set", nargs="*", default=[], help="recipe fields, as field=value")
    parser.add_argument("--write", type=Path, help="write the corpora to a folder instead")
    args = parser.parse_args()
    if args.write:
        write_corpora(args.write)
        return
    fields = dict(pair.split("=", 1) for pair in args.set)
    seeds, recipe = range(args.seeds), Recipe.of(fields)
    table = [tabulate(name, recipe, seeds) for name in args.corpora]
    settings = f", {' '.join(args.set)}" if args.set else ""
    print(f"{format_header('benchmarks/corpora.py', seeds)}{settings}\n")
    print(format_table(COLUMNS, table))


if __name__ == "__main__":
    main()
