"""How much pollution a curation takes out of a booking assistant's dialogues, and its price.

Run: python benchmarks/multiwoz.py --folder DIR [--data multiwoz21] [--seeds 5]
     [--rates 0.01,0.02,0.04,0.06,0.08,0.1]
Needs: pip install 'isaac-align[benchmarks,evaluate]'

Every step is the real command, and is left out where its result is there already, so that a run
that was stopped goes on. At each rate and seed the dialogues are polluted (`isaac pollute`),
curated and scored against the clean ones; the first line is the clean corpus, curated. At the
highest rate the draws are compared: the default (parts that do not belong are left out), the head
alone and the proportional draw with and without it, and the default on a corpus whose annotations
of acts and values were taken away. For healing, the dialogues are parted by a seeded draw; half of
them are curated, polluted, and heal the other half, polluted too.

Polluted is a response that still has something put in, of any turn. Of the clean turns, touched
are those that read differently afterwards, and changed in meaning those of which the placeholders
differ. BLEU, Inform and Success are told as points below those of the clean corpus.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import DATA, header, spread, table

from isaac.dialogue import Lexicon, delexicalize, slots_of
from isaac.dialogue.predictions import plain_id
from isaac.dialogues import read_dialogues, read_truth_file
from isaac.records import dumps

FORM = ["--format", "multiwoz21"]
PURE = ["--candidates", "1", "--typicality", "0", "--relevance", "0", "--repeats", "0"]
"""Flags of a draw by the sizes of clusters alone."""

DRAWS = {
    "default": [],
    "head alone": ["--budget", "1", "--sharpening", "max", *PURE],
    "proportional": ["--budget", "1", "--sharpening", "proportional", *PURE],
    "head alone, nothing left out": ["--no-trim", "--budget", "1", "--sharpening", "max", *PURE],
    "proportional, nothing left out": [
        "--no-trim",
        "--budget",
        "1",
        "--sharpening",
        "proportional",
        *PURE,
    ],
}


def isaac(*arguments: object) -> str:
    """Run the real command and return what it prints; its messages go to standard error."""
    line = [sys.executable, "-m", "isaac", *map(str, arguments)]
    print("+ isaac", *line[3:], file=sys.stderr, flush=True)
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout


class Scored(NamedTuple):
    """What became of a polluted corpus: shares in per cent, and points below the clean corpus."""

    polluted: float
    dialogues: float
    touched: float
    meaning: float
    bleu: float
    inform: float
    success: float
    precision: float
    recall: float


class Bench:
    """The steps, each done once, below one folder."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.database = folder, data / "db"
        folder.mkdir(parents=True, exist_ok=True)
        self.clean = folder / "clean.json"
        if not self.clean.exists():
            with zipfile.ZipFile(data / "val.json.zip") as archive:
                self.clean.write_bytes(archive.read("val.json"))
        self.lexicon = Lexicon()
        self.gold = self.turns(self.clean)

    def turns(self, corpus: Path) -> dict[tuple[str, int], tuple[str, tuple[str, ...]]]:
        """Return each system turn of a corpus, and its placeholders."""
        return {
            (plain_id(one.id), turn.index): (turn.text, slots_of(delexicalize(turn, self.lexicon)))
            for one in read_dialogues(str(corpus), "multiwoz21").joined()
            for turn in one.turns
            if turn.role == "assistant"
        }

    def polluted(self, rate: float, seed: int, corpus: Path | None = None) -> tuple[Path, Path]:
        """Return a corpus polluted at a rate, and the file of its truth."""
        source = corpus or self.clean
        out = self.folder / f"{source.stem}-{rate:.0%}-{seed}.json"
        truth = out.with_suffix(".truth")
        if not out.exists():
            isaac("pollute", source, "-o", out, "--truth", truth, *FORM, "--rate", rate,
                  "--seed", seed)  # fmt: skip
        return out, truth

    def curated(self, corpus: Path, name: str, *flags: str) -> Path:
        """Return the run of a corpus curated with some flags."""
        run = self.folder / f"{corpus.stem}-{name.replace(' ', '-').replace(',', '')}"
        isaac("curate", corpus, "-o", run, *FORM, *flags)
        return run

    def scores(self, source: Path, truth: Path | None = None) -> dict[str, Any]:
        """Return what ``isaac score`` says of a corpus or run, against the clean corpus."""
        kept = self.folder / f"{source.name}.scores"
        if not kept.exists():
            line = ["score", source, *FORM, "--gold", self.clean, "--database", self.database]
            kept.write_text(isaac(*line, *(["--truth", truth] if truth else []), "--json"))
        found: dict[str, Any] = json.loads(kept.read_text())
        return found

    def scored(self, run: Path, truth: Path | None) -> Scored:
        """Return what became of a corpus, beside the clean one as it is."""
        clean, found = self.scores(self.clean), self.scores(run, truth)
        hit = set() if truth is None else {
            (plain_id(row.dialogue), row.turn) for row in read_truth_file(truth)
        }  # fmt: skip
        now = self.turns(run / "curated.jsonl")
        kept = [key for key in self.gold if key not in hit]
        by_truth = found["polluted"]["truth"] or {"responses": 0, "dialogues": 0}
        return Scored(
            100 * by_truth["responses"] / len(self.gold),
            100 * by_truth["dialogues"] / clean["dialogues"],
            100 * float(np.mean([now[key][0] != self.gold[key][0] for key in kept])),
            100 * float(np.mean([now[key][1] != self.gold[key][1] for key in kept])),
            clean["bleu"] - found["bleu"],
            clean["inform"] - found["inform"],
            clean["success"] - found["success"],
            100 * found["slots"]["precision"],
            100 * found["slots"]["recall"],
        )


COLUMNS = (
    "polluted, %",
    "dialogues, %",
    "clean touched, %",
    "changed in meaning, %",
    "BLEU below",
    "Inform below",
    "Success below",
    "slot precision, %",
    "slot recall, %",
)


def cells(found: Sequence[Scored]) -> list[str]:
    """Return mean and spread of each column over seeds."""
    return [spread(list(values), scale=1, digits=2) for values in zip(*found, strict=True)]


def bare(corpus: Path) -> Path:
    """Return a corpus of which the acts and the places of values were taken away."""
    out = corpus.with_name(f"{corpus.stem}-bare.json")
    if not out.exists():
        lines = corpus.read_text(encoding="utf-8")
        dialogues = json.loads(lines)
        for dialogue in dialogues.values():
            for turn in dialogue["log"]:
                turn.pop("dialog_act", None)
                turn.pop("span_info", None)
        out.write_text(dumps(dialogues), encoding="utf-8")
    return out


def by_rate(bench: Bench, rates: Sequence[float], seeds: range) -> Iterator[list[str]]:
    """Yield the lines of the first table."""
    yield ["clean", *cells([bench.scored(bench.curated(bench.clean, "default"), None)])]
    for rate in rates:
        found = []
        for seed in seeds:
            corpus, truth = bench.polluted(rate, seed)
            found.append(bench.scored(bench.curated(corpus, "default"), truth))
        yield [f"{rate:.0%}", *cells(found)]


def by_draw(bench: Bench, rate: float, seeds: range) -> Iterator[list[str]]:
    """Yield the lines of the second table."""
    for name, flags in DRAWS.items():
        found = []
        for seed in seeds:
            corpus, truth = bench.polluted(rate, seed)
            found.append(bench.scored(bench.curated(corpus, name, *flags), truth))
        yield [name, *cells(found)]
    found = []
    for seed in seeds:
        corpus, truth = bench.polluted(rate, seed)
        flags = ["--database", str(bench.database)]
        found.append(bench.scored(bench.curated(bare(corpus), "default", *flags), truth))
    yield ["default, without acts", *cells(found)]


def main() -> None:
    """Do what is not done yet, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=DATA / "multiwoz21")
    parser.add_argument("--rates", default="0.01,0.02,0.04,0.06,0.08,0.1")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    bench, seeds = Bench(given.folder, given.data), range(given.seeds)
    rates = [float(rate) for rate in given.rates.split(",")]
    print(header("benchmarks/multiwoz.py", seeds) + "\n")
    print(table(("polluted at", *COLUMNS), by_rate(bench, rates, seeds)) + "\n", flush=True)
    print(table((f"draw, {max(rates):.0%}", *COLUMNS), by_draw(bench, max(rates), seeds)))


if __name__ == "__main__":
    main()
