"""How right the preference pairs of the bundled corpus are: what they choose, what they reject.

Run: python benchmarks/pairs.py [--kinds dpo kto]

The real commands curate the bundled corpus in chat format and export it. A chosen answer is of
another situation if no exchange of the context's situation has it; a rejected answer is unsafe by
the label of its exchange. Labels and situations are read only afterwards.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bundled import read_rows
from common import format_header, format_table, make_parser, run_isaac

from isaac.corpus.records import dumps


class Answer(NamedTuple):
    """An answer of an export: its context, its text, and whether it is chosen or rejected."""

    context: str
    text: str
    chosen: bool


class PairMeasures(NamedTuple):
    """Counts of the answers of an export.

    ``chosen_wrong`` are the chosen answers of another situation, ``chosen_unsafe`` those that are
    unsafe answers of the right situation, ``rejected_unsafe`` the unsafe rejected ones.
    """

    chosen: int
    chosen_wrong: int
    chosen_unsafe: int
    rejected: int
    rejected_unsafe: int


class Exchanges(NamedTuple):
    """What is known of the corpus: situations of contexts and responses, and unsafe exchanges."""

    situation: dict[str, str]
    situations_of_response: dict[str, set[str]]
    unsafe: set[tuple[str, str]]

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]], labels: Iterable[str]) -> Exchanges:
        """Collect it from rows with ``situation``, ``context`` and ``response``."""
        situations: dict[str, set[str]] = {}
        for row in rows:
            situations.setdefault(row["response"], set()).add(row["situation"])
        unsafe = {
            (row["situation"], row["response"])
            for row, label in zip(rows, labels, strict=True)
            if label == "unsafe"
        }
        return cls({row["context"]: row["situation"] for row in rows}, situations, unsafe)


def measure_answers(answers: Iterable[Answer], known: Exchanges) -> PairMeasures:
    """Count right and wrong answers."""
    chosen = chosen_wrong = chosen_unsafe = rejected = rejected_unsafe = 0
    for context, text, is_chosen in answers:
        situation = known.situation[context]
        is_unsafe = (situation, text) in known.unsafe
        if is_chosen:
            chosen += 1
            chosen_wrong += situation not in known.situations_of_response[text]
            chosen_unsafe += is_unsafe
        else:
            rejected += 1
            rejected_unsafe += is_unsafe
    return PairMeasures(chosen, chosen_wrong, chosen_unsafe, rejected, rejected_unsafe)


def read_answers(kind: str, file: Path) -> Iterator[Answer]:
    """Read the answers of an export of type ``dpo`` or ``kto``."""
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        context = row["prompt"][-1]["content"]
        if kind == "dpo":
            yield Answer(context, row["chosen"][0]["content"], True)
            yield Answer(context, row["rejected"][0]["content"], False)
        else:
            yield Answer(context, row["completion"][0]["content"], row["label"])


def write_chats(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write exchanges as conversations."""
    lines = []
    for row in rows:
        turns = (("user", row["context"]), ("assistant", row["response"]))
        lines.append(dumps({"messages": [{"role": r, "content": text} for r, text in turns]}))
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


RECIPES = {
    "defaults": [],
    "--mode pairs": ["--mode", "pairs"],
    "--recipe redraw-most (the old default)": ["--recipe", "redraw-most"],
}
"""The recipes that are measured, as flags of ``isaac curate``."""


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=("dpo", "kto"), default=["dpo", "kto"])
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    rows = read_rows("demo.jsonl")
    write_chats(folder / "chats.jsonl", rows)
    known = Exchanges.of(rows, (row["label"] for row in read_rows("demo_labels.jsonl")))
    table = []
    for number, (name, flags) in enumerate(RECIPES.items()):
        run = folder / f"run-{number}"
        run_isaac("curate", folder / "chats.jsonl", "-o", run, *flags)
        for kind in args.kinds:
            run_isaac("export", run, "--as", kind)
            found = measure_answers(
                read_answers(kind, run / "export" / kind / "train.jsonl"), known
            )
            table.append((name, kind, *format_measures(found)))
    print(format_header("benchmarks/pairs.py", ()) + "\n")
    columns = ("chosen", "of another situation, %", "unsafe, %", "rejected", "unsafe, %")
    print(format_table(("recipe", "export", *columns), table))


def format_measures(found: PairMeasures) -> tuple[str, ...]:
    """Format counts and shares, "—" where there are no answers."""

    def share(part: int, total: int) -> str:
        return f"{100 * part / total:.1f}" if total else "—"

    return (
        f"{found.chosen:,}",
        share(found.chosen_wrong, found.chosen),
        share(found.chosen_unsafe, found.chosen),
        f"{found.rejected:,}",
        share(found.rejected_unsafe, found.rejected),
    )


if __name__ == "__main__":
    main()
