"""How much pollution a curation takes out of a booking assistant's dialogues, and its price.

Run: python benchmarks/multiwoz.py --folder DIR [--data multiwoz21] [--seeds 5]
     [--rates 0.01,0.02,0.04,0.06,0.08,0.1] [--repeat 14]
Needs: pip install 'isaac-align[benchmarks,evaluate]'

Every step is the real command, and is left out where its result is there already, so that a run
that was stopped goes on. At each rate and seed the dialogues are polluted (`isaac pollute`),
curated and scored against the clean ones; the first line is the clean corpus, curated. At the
highest rate the draws are compared: the default (parts that do not belong are left out), the head
alone and the proportional draw with and without it, and the default on a corpus whose annotations
of acts and values were taken away, compared with the clean corpus without them.

Polluted is a response that still has something put in, of any turn; in part, one that has a word of
it more than before. Of the clean turns, touched are those that read differently afterwards, and
changed in meaning those that have not the same slots of their acts. BLEU, Inform and Success are
told as points below those of the clean corpus.

Without acts, turns are grouped by their kinds: told is which share of the pairs of turns in
one group are in one by the acts that were taken away, too (precision), and which share of
those pairs are in one (recall).

For healing a tenth of the dialogues are held out by a seeded draw, polluted, and healed with a run
of the others, which are polluted too: as dialogues with their acts, and as predictions, of which
only the text is known. Healed is a polluted turn that holds no text that was put in, wholly healed
one that has no word of it more than before, restored one that reads as before.

With --repeat, the dialogues are curated that often over, and timed.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import DATA, format_header, format_spread, format_table

from isaac.corpus.dialogue import Dialogue, DialogueTurn, Lexicon, delexicalize, template_slots
from isaac.corpus.dialogue.group import DialogueGroup
from isaac.corpus.dialogue.predictions import normalize_id
from isaac.corpus.records import dumps
from isaac.curation.dialogue.clauses import NUMBER_SUFFIX
from isaac.evaluate.dialogue import measure_round_trip, read_truth_file
from isaac.evaluate.dialogue.files import read_dialogues
from isaac.evaluate.dialogue.tokens import PhraseMatcher, split_words
from isaac.runs.run import Run

FORMAT_FLAGS = ["--format", "multiwoz21"]
CLUSTER_SIZE_FLAGS = [
    "--candidates",
    "1",
    "--typicality",
    "0",
    "--relevance",
    "0",
    "--repeats",
    "0",
]
"""Flags of a draw by the sizes of clusters alone."""

DRAW_FLAGS = {
    "default": [],
    "head alone": ["--budget", "1", "--sharpening", "max", *CLUSTER_SIZE_FLAGS],
    "proportional": ["--budget", "1", "--sharpening", "proportional", *CLUSTER_SIZE_FLAGS],
    "head alone, nothing left out": [
        "--no-trim",
        "--budget",
        "1",
        "--sharpening",
        "max",
        *CLUSTER_SIZE_FLAGS,
    ],
    "proportional, nothing left out": [
        "--no-trim",
        "--budget",
        "1",
        "--sharpening",
        "proportional",
        *CLUSTER_SIZE_FLAGS,
    ],
}


def run_isaac(*arguments: object, given: Path | None = None) -> str:
    """Run the real command and return what it prints; its messages go to standard error."""
    line = [sys.executable, "-m", "isaac", *map(str, arguments)]
    print("+ isaac", *line[3:], file=sys.stderr, flush=True)
    text = None if given is None else given.read_text(encoding="utf-8")
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, input=text).stdout


class CorpusScores(NamedTuple):
    """What became of a polluted corpus: shares in per cent, and points below the clean corpus."""

    polluted: float
    in_part: float
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
        self.gold = read_system_turns(self.clean)

    def polluted(self, rate: float, seed: int, corpus: Path | None = None) -> tuple[Path, Path]:
        """Return a corpus polluted at a rate, and the file of its truth."""
        source = corpus or self.clean
        out = self.folder / f"{source.stem}-{rate:.0%}-{seed}.json"
        truth = out.with_suffix(".truth")
        if not out.exists():
            run_isaac("pollute", source, "-o", out, "--truth", truth, *FORMAT_FLAGS, "--rate", rate,
                  "--seed", seed)  # fmt: skip
        return out, truth

    def curated(self, corpus: Path, name: str, *flags: str) -> Path:
        """Return the run of a corpus curated with some flags."""
        run = self.folder / f"{corpus.stem}-{name.replace(' ', '-').replace(',', '')}"
        run_isaac("curate", corpus, "-o", run, *FORMAT_FLAGS, *flags)
        return run

    def scores(self, source: Path, truth: Path | None = None) -> dict[str, Any]:
        """Return what ``isaac score`` says of a corpus or run, against the clean corpus."""
        kept = self.folder / f"{source.name}.scores"
        if not kept.exists():
            line = [
                "score",
                source,
                *FORMAT_FLAGS,
                "--gold",
                self.clean,
                "--database",
                self.database,
            ]
            kept.write_text(run_isaac(*line, *(["--truth", truth] if truth else []), "--json"))
        found: dict[str, Any] = json.loads(kept.read_text())
        return found

    def scored(self, run: Path, truth: Path | None, clean: Path | None = None) -> CorpusScores:
        """Return what became of a corpus, beside a clean one as it is."""
        before, found = self.scores(clean or self.clean), self.scores(run, truth)
        rows = [] if truth is None else list(read_truth_file(truth))
        put_in = {(normalize_id(row.dialogue), row.turn): row.pieces for row in rows}
        now, was = (
            read_system_turns(run / "curated.jsonl"),
            read_system_turns(clean) if clean else self.gold,
        )
        kept = [key for key in was if key not in put_in]
        part = [
            has_more_words((piece.text for piece in pieces), now[key].text, was[key].text)
            for key, pieces in put_in.items()
        ]
        by_truth = found["polluted"]["truth"] or {"responses": 0, "dialogues": 0}
        return CorpusScores(
            100 * by_truth["responses"] / len(was),
            100 * sum(part) / len(was),
            100 * by_truth["dialogues"] / before["dialogues"],
            100 * float(np.mean([now[key].text != was[key].text for key in kept])),
            100 * float(np.mean([now[key].slots != was[key].slots for key in kept])),
            before["bleu"] - found["bleu"],
            before["inform"] - found["inform"],
            before["success"] - found["success"],
            100 * found["slots"]["precision"],
            100 * found["slots"]["recall"],
        )


class SystemTurn(NamedTuple):
    """A system turn: its text, and those of its acts' slots that the text has."""

    text: str
    slots: tuple[str, ...]


def read_system_turns(corpus: Path) -> dict[tuple[str, int], SystemTurn]:
    """Return the system turns of a corpus."""
    return {
        (normalize_id(one.id), turn.index): SystemTurn(turn.text, find_slots_in_text(turn))
        for one in read_dialogues(str(corpus), "multiwoz21").dialogues()
        for turn in one.turns
        if turn.role == "assistant"
    }


def find_slots_in_text(turn: DialogueTurn) -> tuple[str, ...]:
    """Return those slots of a turn's acts that its text has."""
    named = {act.slot for act in turn.acts}
    slots = template_slots(delexicalize(turn, Lexicon()))
    return tuple(slot for slot in slots if NUMBER_SUFFIX.sub("", slot).partition("_")[2] in named)


def has_more_words(pieces: Iterable[str], now: str, was: str) -> bool:
    """Say whether a text has a word of some pieces more often than it had before."""
    spoken = Counter(word for piece in pieces for word in split_words(piece))
    return bool((Counter(split_words(now)) - Counter(split_words(was))) & spoken)


COLUMNS = (
    "polluted, %",
    "in part, %",
    "dialogues, %",
    "clean touched, %",
    "changed in meaning, %",
    "BLEU below",
    "Inform below",
    "Success below",
    "slot precision, %",
    "slot recall, %",
)


def format_cells(found: Sequence[CorpusScores]) -> list[str]:
    """Return mean and spread of each column over seeds."""
    return [format_spread(list(values), scale=1, digits=2) for values in zip(*found, strict=True)]


def strip_annotations(corpus: Path) -> Path:
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


def tabulate_rates(bench: Bench, rates: Sequence[float], seeds: range) -> Iterator[list[str]]:
    """Yield the lines of the first table."""
    yield ["clean", *format_cells([bench.scored(bench.curated(bench.clean, "default"), None)])]
    for rate in rates:
        found = []
        for seed in seeds:
            corpus, truth = bench.polluted(rate, seed)
            found.append(bench.scored(bench.curated(corpus, "default"), truth))
        yield [f"{rate:.0%}", *format_cells(found)]


def tabulate_draws(bench: Bench, rate: float, seeds: range) -> Iterator[list[str]]:
    """Yield the lines of the second table."""
    for name, flags in DRAW_FLAGS.items():
        found = []
        for seed in seeds:
            corpus, truth = bench.polluted(rate, seed)
            found.append(bench.scored(bench.curated(corpus, name, *flags), truth))
        yield [name, *format_cells(found)]
    found = []
    for seed in seeds:
        corpus, truth = bench.polluted(rate, seed)
        found.append(
            bench.scored(curate_without_acts(bench, corpus), truth, strip_annotations(bench.clean))
        )
    # its values are read without annotations: slots cannot be held against those of the acts
    shown = zip(COLUMNS, format_cells(found), strict=True)
    unread = ("changed in meaning, %", "slot precision, %", "slot recall, %")
    yield ["default, without acts", *("—" if name in unread else cell for name, cell in shown)]


def curate_without_acts(bench: Bench, corpus: Path) -> Path:
    """Return the run of a corpus of which the acts were taken away."""
    return bench.curated(strip_annotations(corpus), "default", "--database", str(bench.database))


def tabulate_groupings(bench: Bench, rate: float, seeds: range) -> Iterator[list[str]]:
    """Yield the lines of the third table."""
    found: dict[str, list[tuple[float, float]]] = {"slots alone": [], "kinds of turns": []}
    for seed in seeds:
        corpus, _ = bench.polluted(rate, seed)
        runs = [bench.curated(corpus, "default"), curate_without_acts(bench, corpus)]
        acts, kinds = (Run(run).curation().corpus.column("group") for run in runs)
        slots = [DialogueGroup.parse(group).slots for group in kinds]
        noted = [(group.rpartition("|")[0], *own) for group, own in zip(acts, slots, strict=True)]
        found["slots alone"].append(compute_agreement(slots, noted))
        found["kinds of turns"].append(compute_agreement(kinds, noted))
    for name, shares in found.items():
        columns = zip(*shares, strict=True)
        yield [name, *(format_spread(list(values), scale=100, digits=1) for values in columns)]


def compute_agreement(groups: Sequence[object], noted: Sequence[object]) -> tuple[float, float]:
    """Return precision and recall of the pairs that are in one group."""
    both = count_pairs(list(zip(groups, noted, strict=True)))
    return both / count_pairs(groups), both / count_pairs(noted)


def count_pairs(groups: Sequence[object]) -> float:
    """Return how many pairs are in one group."""
    return sum(count * (count - 1) / 2 for count in Counter(groups).values())


def tabulate_healing(bench: Bench, rate: float, seeds: range) -> Iterator[list[str]]:
    """Yield the lines of the fourth table."""
    found: dict[str, list[list[float]]] = {"dialogues, with acts": [], "predictions": []}
    for seed in seeds:
        folder = bench.folder / f"healing-{seed}"
        kept, held = split_dialogues(bench.clean, folder, seed)
        (known, _), (given, truth) = (bench.polluted(rate, seed, part) for part in (kept, held))
        run = bench.curated(known, "default")
        said = folder / "predictions.json"
        said.write_text(dumps(as_predictions(read_system_turns(given))))
        for name, source in zip(found, (given, said), strict=True):
            out = source.with_suffix(".healed")
            if not out.exists():
                out.write_text(run_isaac("heal", run, *FORMAT_FLAGS, given=source))
            healed = read_healed_responses(json.loads(out.read_text()), read_system_turns(given))
            found[name].append(
                score_healing(healed, read_system_turns(given), read_system_turns(held), truth)
            )
    for name, shares in found.items():
        columns = zip(*shares, strict=True)
        yield [name, *(format_spread(list(values), scale=1, digits=1) for values in columns)]


def split_dialogues(clean: Path, folder: Path, seed: int) -> tuple[Path, Path]:
    """Return nine tenths of the dialogues, and the others."""
    paths = folder / f"kept-{seed}.json", folder / f"held-{seed}.json"
    if not paths[1].exists():
        folder.mkdir(exist_ok=True)
        every = json.loads(clean.read_text(encoding="utf-8"))
        names = np.random.default_rng(seed).permutation(sorted(every)).tolist()
        cut = round(0.9 * len(names))
        for path, some in zip(paths, (names[:cut], names[cut:]), strict=True):
            path.write_text(dumps({name: every[name] for name in sorted(some)}))
    return paths


TurnsByKey = dict[tuple[str, int], SystemTurn]


def as_predictions(said: TurnsByKey) -> dict[str, list[dict[str, str]]]:
    """Return turns as a system's predictions."""
    found: dict[str, list[dict[str, str]]] = {}
    for (name, _), turn in said.items():
        found.setdefault(name, []).append({"response": turn.text})
    return found


def read_healed_responses(healed: dict[str, Any], given: TurnsByKey) -> dict[tuple[str, int], str]:
    """Return the responses of healed dialogues or predictions."""
    found: dict[tuple[str, int], str] = {}
    for name, value in healed.items():
        own = [key for key in given if key[0] == normalize_id(name)]
        texts = [turn["response"] for turn in value] if isinstance(value, list) else None
        for place, key in enumerate(own):
            found[key] = texts[place] if texts else value["log"][key[1]]["text"]
    return found


def score_healing(
    healed: dict[tuple[str, int], str], given: TurnsByKey, was: TurnsByKey, truth: Path
) -> list[float]:
    """Return polluted turns, and in per cent those healed, wholly, restored; clean ones touched."""
    rows = {(normalize_id(row.dialogue), row.turn): row.pieces for row in read_truth_file(truth)}
    put_in = {key: [piece.text for piece in pieces] for key, pieces in rows.items()}
    hit = [key for key in given if key in put_in]
    left = [
        PhraseMatcher(put_in[key]).occurs_in(split_words(healed[key]), healed[key]) for key in hit
    ]
    part = [has_more_words(put_in[key], healed[key], was[key].text) for key in hit]
    same = [healed[key].split() == was[key].text.split() for key in hit]
    touched = [healed[key] != given[key].text for key in given if key not in put_in]
    shares = (1 - np.mean(left), 1 - np.mean(part), np.mean(same), np.mean(touched))
    return [float(len(hit)), *(100 * float(share) for share in shares)]


def tabulate_time(bench: Bench, times: int) -> Iterator[list[str]]:
    """Yield the line of the table of times: the dialogues so many times over, curated anew."""
    every = json.loads(bench.clean.read_text(encoding="utf-8"))
    source, run = bench.folder / "many.json", bench.folder / "many"
    source.write_text(
        dumps({f"{n:03}{name}": value for n in range(times) for name, value in every.items()})
    )
    shutil.rmtree(run, ignore_errors=True)
    start = time.perf_counter()
    run_isaac("curate", source, "-o", run, *FORMAT_FLAGS)
    took = time.perf_counter() - start
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    yield [f"{len(Run(run).corpus()):,}", f"{took:.0f}", f"{most:.1f}"]


def tabulate_round_trip(bench: Bench) -> Iterator[list[str]]:
    """Yield the line of the table of the round trip."""
    every: list[Dialogue] = list(read_dialogues(str(bench.clean), "multiwoz21").dialogues())
    for name, lexicon in (
        ("values of the corpus", Lexicon.of(every)),
        ("values of the database", Lexicon.read(bench.database)),
    ):
        found = measure_round_trip(every, lexicon)
        yield [name, f"{found.turns:,}", f"{found.verbatim:,}"]


def main() -> None:
    """Do what is not done yet, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=DATA / "multiwoz21")
    parser.add_argument("--rates", default="0.01,0.02,0.04,0.06,0.08,0.1")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeat", type=int, help="curate the dialogues so often over, timed")
    given = parser.parse_args()
    bench, seeds = Bench(given.folder, given.data), range(given.seeds)
    rates = [float(rate) for rate in given.rates.split(",")]
    print(format_header("benchmarks/multiwoz.py", seeds) + "\n")
    most = max(rates)
    if given.repeat is not None:
        print(format_table(("turns", "seconds", "GiB"), tabulate_time(bench, given.repeat)))
        return
    print(
        format_table(("values", "turns", "back word for word"), tabulate_round_trip(bench)) + "\n"
    )
    print(
        format_table(("polluted at", *COLUMNS), tabulate_rates(bench, rates, seeds)) + "\n",
        flush=True,
    )
    print(
        format_table((f"draw, {most:.0%}", *COLUMNS), tabulate_draws(bench, most, seeds)) + "\n",
        flush=True,
    )
    pairs_of = ("grouped by", "precision, %", "recall, %")
    print(format_table(pairs_of, tabulate_groupings(bench, most, seeds)) + "\n", flush=True)
    healed = (
        "given as",
        "polluted turns",
        "healed, %",
        "wholly, %",
        "restored, %",
        "clean touched, %",
    )
    print(format_table(healed, tabulate_healing(bench, most, seeds)))


if __name__ == "__main__":
    main()
