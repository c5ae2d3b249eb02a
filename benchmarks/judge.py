"""The quality of judges that ``isaac judge fit`` fits on DiaSafety, and of the profanity judge.

A pair encoder (all-MiniLM-L6-v2, fine-tuned) and a logistic regression on its frozen embeddings
are fitted on part of DiaSafety's training file. All judges are evaluated on held-out pairs and on
contexts not seen, by category. The constant answer is the more frequent label.

Run: python benchmarks/judge.py [--data train.json] [--seeds 1] [--rows N] [--out DIR]
Needs: pip install 'isaac-align[benchmarks,evaluate]'
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from common import DATA, format_header, format_table, make_parser

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

COLUMNS = ("judge", "evaluated on", "rows", "accuracy, %", "constant, %", "AUROC", "ECE", "fit, s")


def load_rows(path: Path | None, rows: int | None, seed: int) -> LabeledCorpus:
    """Read DiaSafety's labeled rows, or a seeded sample of ``rows`` of them."""
    corpus = read_corpus(path or DATA / "diasafety" / "train.json")
    labeled = read_labeled_rows(corpus, LabelDefinition("label", ["Unsafe"], category="category"))
    if rows is None:
        return labeled
    sample = np.random.default_rng(seed).permutation(len(labeled.rows.contexts))[:rows]
    return LabeledCorpus(labeled.rows.take(np.sort(sample)), labeled.left_out)


def measure_profanity(rows: LabeledRows) -> JudgeReport:
    """Measure the profanity judge, which reads only the response."""
    run = run_judge(load_judge("profanity"), rows.contexts, rows.responses)
    scores = [judgment.score for judgment in run.judgments]
    assert not run.failures
    return measure_judge(np.array(scores, np.float64), rows.unsafe, rows.categories)


def tabulate_report(
    judge: str, held_out: str, report: JudgeReport, seconds: float | None
) -> list[tuple[str, ...]]:
    """The rows of the table for one judge and held-out set: all its rows, then each category.

    ``seconds`` is the time of the fit, to be shown once per judge.
    """
    time = "" if seconds is None else f"{seconds:,.0f}"
    whole = (judge, held_out, *_format_quality(report.quality), time)
    categories = [
        ("", f"— {name}", *_format_quality(quality), "")
        for name, quality in report.categories.items()
    ]
    return [whole, *categories]


def _format_quality(quality: JudgeQuality) -> tuple[str, ...]:
    value, low, high = (f"{100 * share:.1f}" for share in quality.accuracy)
    auroc = "—" if quality.auroc is None else f"{quality.auroc:.3f}"
    constant = f"{100 * quality.constant:.1f}"
    return f"{quality.rows:,}", f"{value} ({low} to {high})", constant, auroc, f"{quality.ece:.3f}"


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, help="DiaSafety's train.json")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--rows", type=int, help="use a sample of this many rows")
    parser.add_argument("--out", type=Path, help="store the judges in this folder")
    args = parser.parse_args()
    folder = args.out or Path(tempfile.mkdtemp())
    table = []
    for seed in range(args.seeds):
        corpus = load_rows(args.data, args.rows, seed)
        split = split_rows(corpus.rows, seed)
        for held_out, rows in (
            ("held-out pairs", split.pairs),
            ("contexts not seen", split.unseen),
        ):
            report = measure_profanity(corpus.rows.take(rows))
            table += tabulate_report("profanity", held_out, report, None)
        for name, frozen in (("logistic, MiniLM", True), ("pair encoder, MiniLM", False)):
            settings = FittingSettings(frozen=frozen, seed=seed)
            out = folder / f"{'frozen' if frozen else 'pair'}-{seed}"
            fitted = fit_judge(corpus, out, settings, terminal_progress())
            table += tabulate_report(name, "held-out pairs", fitted.pairs, fitted.seconds)
            table += tabulate_report(name, "contexts not seen", fitted.unseen, None)
    print(format_header("benchmarks/judge.py", range(args.seeds)) + "\n")
    print(format_table(COLUMNS, table))


if __name__ == "__main__":
    main()
