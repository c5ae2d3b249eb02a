"""How much pollution curation removes from a booking assistant's dialogues, and at what price.

Run: python benchmarks/multiwoz.py --folder DIR [--data multiwoz21] [--seeds 5]
     [--rates 0.01,0.02,0.04,0.06,0.08,0.1] [--repeat 14]
Needs: pip install 'isaac-align[benchmarks,evaluate]'

Every step is the real command, and is skipped if its result exists. If the benchmark is
interrupted, run it again: it resumes. At each rate and seed, the dialogues are polluted
(`isaac pollute`), curated, and scored against the clean ones; the first row is the clean corpus,
curated. At the highest rate, the draws are compared: the default (irrelevant parts are trimmed),
head only and the proportional draw with and without trimming, and the default on a corpus without
its annotations of acts and values, compared with the clean corpus without them.

A response is polluted if it still contains injected text, from any turn, and partly polluted if it
contains a word of it more often than the original did. Clean turns are touched if they read
differently afterwards, and changed in meaning if they have different slots of their acts. BLEU,
Inform and Success are shown as losses, in points, from those of the clean corpus.

Without acts, turns are grouped by kind. Precision is the share of the pairs of turns in one group
that the removed acts also put in one group; recall is the share of the pairs grouped by the acts
that are in one group here.

For healing, a seeded tenth of the dialogues is held out, polluted, and healed with a run of the
others, which are polluted too: as dialogues with their acts, and as predictions, of which only the
text is known. A polluted turn is healed if it contains no injected text any more, fully healed if
it contains no word of it more often than before the injection, and restored if it reads as before.

With --repeat, the dialogues are repeated that many times, curated, and timed.
"""

from __future__ import annotations

import json
import resource
import shlex
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import (
    DATA,
    capture_isaac,
    format_header,
    format_spread,
    format_table,
    make_parser,
    run_isaac,
)

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
CLUSTER_SIZE_FLAGS = shlex.split(
    "--budget 1 --candidates 1 --typicality 0 --relevance 0 --repeats 0"
)
"""Flags of a draw of all rows that depends only on the sizes of the clusters."""

DRAW_FLAGS = {
    "default": [],
    "head only": [*CLUSTER_SIZE_FLAGS, "--sharpening", "max"],
    "proportional": [*CLUSTER_SIZE_FLAGS, "--sharpening", "proportional"],
    "head only, no trimming": [*CLUSTER_SIZE_FLAGS, "--sharpening", "max", "--no-trim"],
    "proportional, no trimming": [
        *CLUSTER_SIZE_FLAGS,
        "--sharpening",
        "proportional",
        "--no-trim",
    ],
}
"""The rows of the table of draws, and their flags."""

TurnKey = tuple[str, int]
"""A turn: the id of its dialogue, and its index."""


class CorpusScores(NamedTuple):
    """The scores of a curated corpus: shares in percent, and losses from the clean corpus."""

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
    """The steps of the benchmark, each done once, with their results in one folder.

    ``clean`` is the file of the clean dialogues, ``clean_turns`` their system turns.
    """

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.database = folder, data / "db"
        folder.mkdir(parents=True, exist_ok=True)
        self.clean = folder / "clean.json"
        if not self.clean.exists():
            with zipfile.ZipFile(data / "val.json.zip") as archive:
                self.clean.write_bytes(archive.read("val.json"))
        self.clean_turns = read_system_turns(self.clean)

    def pollute(self, rate: float, seed: int, corpus: Path | None = None) -> tuple[Path, Path]:
        """Pollute a corpus at a rate, by default the clean one; return it and its truth file."""
        source = corpus or self.clean
        out = self.folder / f"{source.stem}-{rate:.0%}-{seed}.json"
        truth = out.with_suffix(".truth")
        if not out.exists():
            flags = ["-o", out, "--truth", truth, *FORMAT_FLAGS, "--rate", rate, "--seed", seed]
            run_isaac("pollute", source, *flags)
        return out, truth

    def curate(self, corpus: Path, name: str, *flags: str) -> Path:
        """Curate a corpus with some flags; return the run."""
        run = self.folder / f"{corpus.stem}-{name.replace(' ', '-').replace(',', '')}"
        run_isaac("curate", corpus, "-o", run, *FORMAT_FLAGS, *flags)
        return run

    def read_scores(self, source: Path, truth: Path | None = None) -> dict[str, Any]:
        """Score a corpus or run against the clean corpus; return the JSON of ``isaac score``."""
        file = self.folder / f"{source.name}.scores"
        if not file.exists():
            command = ["score", source, *FORMAT_FLAGS, "--gold", self.clean]
            command += ["--database", self.database, *(["--truth", truth] if truth else [])]
            file.write_text(capture_isaac(*command, "--json"))
        scores: dict[str, Any] = json.loads(file.read_text())
        return scores

    def score(self, run: Path, truth: Path | None, clean: Path | None = None) -> CorpusScores:
        """Score a run, compared with a clean corpus that was not curated."""
        before, after = self.read_scores(clean or self.clean), self.read_scores(run, truth)
        injected = read_injections(truth) if truth else {}
        turns = read_system_turns(run / "curated.jsonl")
        clean_turns = read_system_turns(clean) if clean else self.clean_turns
        clean_keys = [key for key in clean_turns if key not in injected]
        partly_polluted = [
            has_more_words(pieces, turns[key].text, clean_turns[key].text)
            for key, pieces in injected.items()
        ]
        touched = [turns[key].text != clean_turns[key].text for key in clean_keys]
        meaning = [turns[key].slots != clean_turns[key].slots for key in clean_keys]
        by_truth = after["polluted"]["truth"] or {"responses": 0, "dialogues": 0}
        return CorpusScores(
            100 * by_truth["responses"] / len(clean_turns),
            100 * sum(partly_polluted) / len(clean_turns),
            100 * by_truth["dialogues"] / before["dialogues"],
            100 * float(np.mean(touched)),
            100 * float(np.mean(meaning)),
            before["bleu"] - after["bleu"],
            before["inform"] - after["inform"],
            before["success"] - after["success"],
            100 * after["slots"]["precision"],
            100 * after["slots"]["recall"],
        )


class SystemTurn(NamedTuple):
    """A system turn: its text, and the slots of its acts that occur in the text."""

    text: str
    slots: tuple[str, ...]


def read_system_turns(corpus: Path) -> dict[TurnKey, SystemTurn]:
    """Read the system turns of a corpus."""
    return {
        (normalize_id(dialogue.id), turn.index): SystemTurn(turn.text, find_slots_in_text(turn))
        for dialogue in read_dialogues(str(corpus), "multiwoz21").dialogues()
        for turn in dialogue.turns
        if turn.role == "assistant"
    }


def read_injections(truth: Path) -> dict[TurnKey, list[str]]:
    """Read the texts injected into each polluted turn."""
    return {
        (normalize_id(row.dialogue), row.turn): [piece.text for piece in row.pieces]
        for row in read_truth_file(truth)
    }


def find_slots_in_text(turn: DialogueTurn) -> tuple[str, ...]:
    """The slots of a turn's acts that occur in its text."""
    act_slots = {act.slot for act in turn.acts}
    slots = template_slots(delexicalize(turn, Lexicon()))
    return tuple(
        slot for slot in slots if NUMBER_SUFFIX.sub("", slot).partition("_")[2] in act_slots
    )


def has_more_words(pieces: Iterable[str], text: str, clean: str) -> bool:
    """Whether a text contains a word of the injected pieces more often than the clean text."""
    injected = Counter(word for piece in pieces for word in split_words(piece))
    return bool((Counter(split_words(text)) - Counter(split_words(clean))) & injected)


COLUMNS = (
    "polluted, %",
    "partly, %",
    "dialogues, %",
    "clean touched, %",
    "changed in meaning, %",
    "BLEU loss",
    "Inform loss",
    "Success loss",
    "slot precision, %",
    "slot recall, %",
)


def format_cells(scores: Sequence[Iterable[float]], digits: int = 2, scale: float = 1) -> list[str]:
    """Format mean and spread of each column over seeds."""
    columns = zip(*scores, strict=True)
    return [format_spread(list(values), scale=scale, digits=digits) for values in columns]


def strip_annotations(corpus: Path) -> Path:
    """Remove acts and value spans from a corpus; return the new file."""
    out = corpus.with_name(f"{corpus.stem}-bare.json")
    if not out.exists():
        dialogues = json.loads(corpus.read_text(encoding="utf-8"))
        for dialogue in dialogues.values():
            for turn in dialogue["log"]:
                turn.pop("dialog_act", None)
                turn.pop("span_info", None)
        out.write_text(dumps(dialogues), encoding="utf-8")
    return out


def tabulate_rates(bench: Bench, rates: Sequence[float], seeds: range) -> Iterator[list[str]]:
    """Yield the rows of the table of pollution rates."""
    yield ["clean", *format_cells([bench.score(bench.curate(bench.clean, "default"), None)])]
    for rate in rates:
        yield [f"{rate:.0%}", *score_draw(bench, rate, seeds, "default")]


def score_draw(bench: Bench, rate: float, seeds: range, name: str, *flags: str) -> list[str]:
    """Curate the corpus of each seed with some flags; format the scores over the seeds."""
    scores = []
    for seed in seeds:
        corpus, truth = bench.pollute(rate, seed)
        scores.append(bench.score(bench.curate(corpus, name, *flags), truth))
    return format_cells(scores)


def tabulate_draws(bench: Bench, rate: float, seeds: range) -> Iterator[list[str]]:
    """Yield the rows of the table of draws."""
    for name, flags in DRAW_FLAGS.items():
        yield [name, *score_draw(bench, rate, seeds, name, *flags)]
    scores, clean = [], strip_annotations(bench.clean)
    for seed in seeds:
        corpus, truth = bench.pollute(rate, seed)
        scores.append(bench.score(curate_without_acts(bench, corpus), truth, clean))
    # Without annotations, slots are found by their form, and not comparable with those of acts.
    cells = zip(COLUMNS, format_cells(scores), strict=True)
    not_comparable = ("changed in meaning, %", "slot precision, %", "slot recall, %")
    yield [
        "default, without acts",
        *("—" if column in not_comparable else cell for column, cell in cells),
    ]


def curate_without_acts(bench: Bench, corpus: Path) -> Path:
    """Curate a corpus without its acts; return the run."""
    return bench.curate(strip_annotations(corpus), "default", "--database", str(bench.database))


def tabulate_groupings(bench: Bench, rate: float, seeds: range) -> Iterator[list[str]]:
    """Yield the rows of the table of groups without acts."""
    results: dict[str, list[tuple[float, float]]] = {"slots only": [], "kinds of turns": []}
    for seed in seeds:
        corpus, _ = bench.pollute(rate, seed)
        runs = [bench.curate(corpus, "default"), curate_without_acts(bench, corpus)]
        by_acts, by_kinds = (Run(run).curation().corpus.column("group") for run in runs)
        # The slots are those found without annotations, so that only acts and kinds are compared.
        slots = [DialogueGroup.parse(group).slots for group in by_kinds]
        acts = [DialogueGroup.parse(group).acts for group in by_acts]
        expected = list(zip(acts, slots, strict=True))
        results["slots only"].append(compute_agreement(slots, expected))
        results["kinds of turns"].append(compute_agreement(by_kinds, expected))
    for name, shares in results.items():
        yield [name, *format_cells(shares, digits=1, scale=100)]


def compute_agreement(groups: Sequence[object], expected: Sequence[object]) -> tuple[float, float]:
    """Precision and recall of the pairs of turns in one group, compared with expected groups."""
    both = count_pairs(list(zip(groups, expected, strict=True)))
    return both / count_pairs(groups), both / count_pairs(expected)


def count_pairs(groups: Sequence[object]) -> float:
    """Count the pairs of turns in one group."""
    return sum(count * (count - 1) / 2 for count in Counter(groups).values())


def tabulate_healing(bench: Bench, rate: float, seeds: range) -> Iterator[list[str]]:
    """Yield the rows of the table of healing."""
    results: dict[str, list[list[float]]] = {"dialogues, with acts": [], "predictions": []}
    for seed in seeds:
        folder = bench.folder / f"healing-{seed}"
        train, held_out = split_dialogues(bench.clean, folder, seed)
        polluted, _ = bench.pollute(rate, seed, train)
        run = bench.curate(polluted, "default")
        dialogues, truth = bench.pollute(rate, seed, held_out)
        turns, clean_turns = read_system_turns(dialogues), read_system_turns(held_out)
        predictions = folder / "predictions.json"
        predictions.write_text(dumps(as_predictions(turns)))
        for name, source in zip(results, (dialogues, predictions), strict=True):
            out = source.with_suffix(".healed")
            if not out.exists():
                out.write_text(capture_isaac("heal", run, *FORMAT_FLAGS, stdin=source))
            healed = read_healed_responses(json.loads(out.read_text()), turns)
            results[name].append(score_healing(healed, turns, clean_turns, read_injections(truth)))
    for name, shares in results.items():
        yield [name, *format_cells(shares, digits=1)]


def split_dialogues(clean: Path, folder: Path, seed: int) -> tuple[Path, Path]:
    """Split the dialogues by a seed: a file of nine tenths of them, and one of the others."""
    paths = folder / f"kept-{seed}.json", folder / f"held-{seed}.json"
    if not paths[1].exists():
        folder.mkdir(exist_ok=True)
        dialogues = json.loads(clean.read_text(encoding="utf-8"))
        names = np.random.default_rng(seed).permutation(sorted(dialogues)).tolist()
        cut = round(0.9 * len(names))
        for path, part in zip(paths, (names[:cut], names[cut:]), strict=True):
            path.write_text(dumps({name: dialogues[name] for name in sorted(part)}))
    return paths


TurnsByKey = dict[TurnKey, SystemTurn]


def as_predictions(turns: TurnsByKey) -> dict[str, list[dict[str, str]]]:
    """Convert turns to the layout of a system's predictions."""
    predictions: dict[str, list[dict[str, str]]] = {}
    for (dialogue_id, _), turn in turns.items():
        predictions.setdefault(dialogue_id, []).append({"response": turn.text})
    return predictions


def read_healed_responses(healed: dict[str, Any], turns: TurnsByKey) -> dict[TurnKey, str]:
    """The responses of healed dialogues, or of healed predictions, by turn."""
    responses: dict[TurnKey, str] = {}
    for name, value in healed.items():
        keys = [key for key in turns if key[0] == normalize_id(name)]
        texts = [turn["response"] for turn in value] if isinstance(value, list) else None
        for place, key in enumerate(keys):
            responses[key] = texts[place] if texts else value["log"][key[1]]["text"]
    return responses


def score_healing(
    healed: dict[TurnKey, str],
    turns: TurnsByKey,
    clean_turns: TurnsByKey,
    injected: dict[TurnKey, list[str]],
) -> list[float]:
    """Compare healed responses with the polluted and the clean turns: a row of the table.

    The number of polluted turns; the percentages of them healed, fully healed and restored; and the
    percentage of clean turns touched.
    """
    polluted = [key for key in turns if key in injected]
    still_polluted = [
        PhraseMatcher(injected[key]).occurs_in(split_words(healed[key]), healed[key])
        for key in polluted
    ]
    partly_polluted = [
        has_more_words(injected[key], healed[key], clean_turns[key].text) for key in polluted
    ]
    restored = [healed[key].split() == clean_turns[key].text.split() for key in polluted]
    touched = [healed[key] != turns[key].text for key in turns if key not in injected]
    shares = (
        1 - np.mean(still_polluted),
        1 - np.mean(partly_polluted),
        np.mean(restored),
        np.mean(touched),
    )
    return [float(len(polluted)), *(100 * float(share) for share in shares)]


def tabulate_time(bench: Bench, repeats: int) -> Iterator[list[str]]:
    """Yield the row of the table of times: repeat the dialogues, curate and time them."""
    dialogues = json.loads(bench.clean.read_text(encoding="utf-8"))
    source, run = bench.folder / "many.json", bench.folder / "many"
    source.write_text(
        dumps({f"{n:03}{name}": value for n in range(repeats) for name, value in dialogues.items()})
    )
    shutil.rmtree(run, ignore_errors=True)
    start = time.perf_counter()
    run_isaac("curate", source, "-o", run, *FORMAT_FLAGS)
    seconds = time.perf_counter() - start
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    yield [f"{len(Run(run).corpus()):,}", f"{seconds:.0f}", f"{peak_gib:.1f}"]


def tabulate_round_trip(bench: Bench) -> Iterator[list[str]]:
    """Yield the rows of the table of values removed and filled in again."""
    dialogues: list[Dialogue] = list(read_dialogues(str(bench.clean), "multiwoz21").dialogues())
    for name, lexicon in (
        ("values of the corpus", Lexicon.of(dialogues)),
        ("values of the database", Lexicon.read(bench.database)),
    ):
        result = measure_round_trip(dialogues, lexicon)
        yield [name, f"{result.turns:,}", f"{result.verbatim:,}"]


def main() -> None:
    """Make the results that are missing, and print the tables."""
    parser = make_parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where all results go")
    parser.add_argument(
        "--data", type=Path, default=DATA / "multiwoz21", help="folder of MultiWOZ 2.1"
    )
    parser.add_argument(
        "--rates", default="0.01,0.02,0.04,0.06,0.08,0.1", help="shares of turns to pollute"
    )
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--repeat", type=int, help="only time the dialogues, repeated this often")
    args = parser.parse_args()
    bench, seeds = Bench(args.folder, args.data), range(args.seeds)
    rates = [float(rate) for rate in args.rates.split(",")]
    print(format_header("benchmarks/multiwoz.py", seeds) + "\n")
    if args.repeat is not None:
        print(format_table(("turns", "seconds", "GiB"), tabulate_time(bench, args.repeat)))
        return
    highest = max(rates)
    healing_columns = ("polluted turns", "healed, %", "fully, %", "restored, %", "clean touched, %")
    for columns, rows in (
        (("values", "turns", "restored word for word"), tabulate_round_trip(bench)),
        (("pollution rate", *COLUMNS), tabulate_rates(bench, rates, seeds)),
        ((f"draw, {highest:.0%}", *COLUMNS), tabulate_draws(bench, highest, seeds)),
        (
            ("grouped by", "precision, %", "recall, %"),
            tabulate_groupings(bench, highest, seeds),
        ),
        (("healed as", *healing_columns), tabulate_healing(bench, highest, seeds)),
    ):
        print(format_table(columns, rows) + "\n", flush=True)


if __name__ == "__main__":
    main()
