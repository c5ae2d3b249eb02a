"""How well judges of DiaSafety do that ``isaac judge fit`` makes, beside those that know no labels.

A pair encoder (all-MiniLM-L6-v2, fine-tuned) and a logistic regression on its frozen vectors are
fitted on a part of DiaSafety train; all are measured on held-out pairs and on contexts that were
not seen, by category. The constant answer is the more frequent label.

Run: python benchmarks/judge.py [--data train.json] [--seeds 1] [--rows N] [--out DIR]
It needs: pip install 'isaac-align[benchmarks,evaluate]'
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import DATA, format_header, format_table

from isaac.corpus.reading import read_corpus
from isaac.models.judges import load_judge, run_judge
from isaac.models.judges.fitting.fit import FittingSettings, fit_judge
from isaac.models.judges.fitting.labeled_rows import (
    LabelDefinition,
    LabeledCorpus,
    LabeledRows,
    read_labeled_rows,
    split_rows,
)
from isaac.models.judges.metrics import JudgeQuality, JudgeReport, measure_judge
from isaac.runtime.progress import terminal_progress

COLUMNS = ("judge", "on", "rows", "accuracy, %", "constant, %", "AUROC", "ECE", "fit, s")


def load_rows(path: Path | None, rows: int | None, seed: int) -> LabeledCorpus:
    """Return DiaSafety's rows, or a seeded sample of them."""
    corpus = read_corpus(path or DATA / "diasafety" / "train.json")
    found = read_labeled_rows(corpus, LabelDefinition("label", ["Unsafe"], category="category"))
    if rows is None:
        return found
    chosen = np.random.default_rng(seed).permutation(len(found.rows.contexts))[:rows]
    return LabeledCorpus(found.rows.take(np.sort(chosen)), found.left_out)


def measure_profanity(rows: LabeledRows) -> JudgeReport:
    """Return how well the profanity judge does, which reads the response alone."""
    found = run_judge(load_judge("profanity"), rows.contexts, rows.responses)
    scores = [one.score for one in found.judgments]
    assert not found.failures
    return measure_judge(np.array(scores, np.float64), rows.unsafe, rows.categories)


def tabulate_report(
    name: str, on: str, found: JudgeReport, seconds: float | None
) -> list[tuple[str, ...]]:
    """Return the rows of the table: all held-out rows, then each category."""
    time = "" if seconds is None else f"{seconds:,.0f}"
    whole = (name, on, *_format_quality(found.quality), time)
    parts = [("", f"— {part}", *_format_quality(of), "") for part, of in found.categories.items()]
    return [whole, *parts]


def _format_quality(of: JudgeQuality) -> tuple[str, ...]:
    value, low, high = (f"{100 * share:.1f}" for share in of.accuracy)
    auroc = "—" if of.auroc is None else f"{of.auroc:.3f}"
    constant = f"{100 * of.constant:.1f}"
    return f"{of.rows:,}", f"{value} ({low} to {high})", constant, auroc, f"{of.ece:.3f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--out", type=Path, help="keep the judges in this folder")
    given = parser.parse_args()
    folder = given.out or Path(tempfile.mkdtemp())
    found = []
    for seed in range(given.seeds):
        rows = load_rows(given.data, given.rows, seed)
        parts = split_rows(rows.rows, seed)
        for on, part in (("held-out pairs", parts.pairs), ("contexts not seen", parts.unseen)):
            found += tabulate_report("profanity", on, measure_profanity(rows.rows.take(part)), None)
        for name, frozen in (("logistic, MiniLM", True), ("pair encoder, MiniLM", False)):
            how = FittingSettings(frozen=frozen, seed=seed)
            done = fit_judge(
                rows, folder / f"{'frozen' if frozen else 'pair'}-{seed}", how, terminal_progress()
            )
            found += tabulate_report(name, "held-out pairs", done.pairs, done.seconds)
            found += tabulate_report(name, "contexts not seen", done.unseen, None)
    print(format_header("benchmarks/judge.py", range(given.seeds)) + "\n")
    print(format_table(COLUMNS, found))


if __name__ == "__main__":
    main()
