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
from common import DATA, header, table

from isaac.corpus.reading import read_corpus
from isaac.models.judges import judged, load_judge
from isaac.models.judges.fitting.fit import Fitting, fit
from isaac.models.judges.fitting.labelled_rows import Found, Labels, Rows, rows_of, split
from isaac.models.judges.metrics import Measured, Quality, measured
from isaac.runtime.progress import for_terminal

COLUMNS = ("judge", "on", "rows", "accuracy, %", "constant, %", "AUROC", "ECE", "fit, s")


def known(path: Path | None, rows: int | None, seed: int) -> Found:
    """Return DiaSafety's rows, or a seeded sample of them."""
    corpus = read_corpus(path or DATA / "diasafety" / "train.json")
    found = rows_of(corpus, Labels("label", ["Unsafe"], category="category"))
    if rows is None:
        return found
    chosen = np.random.default_rng(seed).permutation(len(found.rows.contexts))[:rows]
    return Found(found.rows.take(np.sort(chosen)), found.left_out)


def profanity(rows: Rows) -> Measured:
    """Return how well the profanity judge does, which reads the response alone."""
    found = judged(load_judge("profanity"), rows.contexts, rows.responses)
    scores = [one.score for one in found.judgements]
    assert not found.failures
    return measured(np.array(scores, np.float64), rows.unsafe, rows.categories)


def lines(name: str, on: str, found: Measured, seconds: float | None) -> list[tuple[str, ...]]:
    """Return the rows of the table: all held-out rows, then each category."""
    time = "" if seconds is None else f"{seconds:,.0f}"
    whole = (name, on, *_figures(found.quality), time)
    parts = [("", f"— {part}", *_figures(of), "") for part, of in found.categories.items()]
    return [whole, *parts]


def _figures(of: Quality) -> tuple[str, ...]:
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
        rows = known(given.data, given.rows, seed)
        parts = split(rows.rows, seed)
        for on, part in (("held-out pairs", parts.pairs), ("contexts not seen", parts.unseen)):
            found += lines("profanity", on, profanity(rows.rows.take(part)), None)
        for name, frozen in (("logistic, MiniLM", True), ("pair encoder, MiniLM", False)):
            how = Fitting(frozen=frozen, seed=seed)
            done = fit(
                rows, folder / f"{'frozen' if frozen else 'pair'}-{seed}", how, for_terminal()
            )
            found += lines(name, "held-out pairs", done.pairs, done.seconds)
            found += lines(name, "contexts not seen", done.unseen, None)
    print(header("benchmarks/judge.py", range(given.seeds)) + "\n")
    print(table(COLUMNS, found))


if __name__ == "__main__":
    main()
