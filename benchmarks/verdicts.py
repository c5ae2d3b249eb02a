"""What the verdicts say where curating helps and where it harms.

GPTFuzz with ever fewer safe answers; DiaSafety at 10 % unsafe; and DiaSafety with its labels turned
round, so that what agrees is what is called unsafe. For each, the shares over the whole corpus,
the verdict without labels, and how often each verdict of an audit with 300 labels came out of 20.

Run: python benchmarks/verdicts.py
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

import numpy as np
from common import (
    DATA,
    CachedEncoder,
    CorpusWithLabels,
    contaminate,
    format_header,
    format_table,
    read_diasafety,
    read_draws,
)
from gptfuzz import read_gptfuzz

from isaac import Corpus, Curation, Recipe, Tools, curate, load_encoder
from isaac.models.judges import Verdict
from isaac.runs.audit.estimates import (
    AuditItem,
    compute_trend,
    decide_verdict,
    draw_sample,
    estimate,
)
from isaac.runs.reports.diagnosis import diagnose

LABEL_COUNT, AUDIT_COUNT = 300, 20


def drop_safe_rows(labelled: CorpusWithLabels, share: float, seed: int) -> CorpusWithLabels:
    """Return the corpus with so many safe rows left out that unsafe ones have a share."""
    rng = np.random.default_rng(seed)
    unsafe, safe = np.flatnonzero(labelled.unsafe), np.flatnonzero(~labelled.unsafe)
    count = min(len(safe), round(len(unsafe) * (1 - share) / share))
    rows = rng.permutation(np.concatenate([unsafe, rng.choice(safe, count, replace=False)]))
    contexts, responses = labelled.corpus.column("context"), labelled.corpus.column("response")
    corpus = Corpus.of((contexts[row], responses[row]) for row in rows.tolist())
    return CorpusWithLabels(corpus, labelled.unsafe[rows])


def make_corpora(seed: int) -> Iterator[tuple[str, CorpusWithLabels]]:
    """Yield the corpora by name."""
    answers = read_gptfuzz(DATA / "gptfuzz", seed)
    for share in (0.275, 0.5, 0.7, 0.85):
        yield f"GPTFuzz, {share:.1%} unsafe", drop_safe_rows(answers, share, seed)
    rows = read_diasafety(None)
    yield "DiaSafety, 10 % unsafe", contaminate(rows, 0.1, seed)
    turned = {"Safe": "Unsafe", "Unsafe": "Safe"}
    swapped = [{**row, "label": turned[row["label"]]} for row in rows]
    yield "DiaSafety, labels turned round", contaminate(swapped, 0.1, seed)


def run_audits(curation: Curation, unsafe: np.ndarray) -> str:
    """Return how often each verdict came out of seeded audits."""
    found: Counter[str] = Counter()
    for seed in range(AUDIT_COUNT):
        sample = draw_sample(curation.lineage, LABEL_COUNT, seed)
        answers: dict[AuditItem, Verdict] = {
            item: "unsafe" if unsafe[item.response] else "safe" for item in sample.items()
        }
        found[
            decide_verdict(estimate(sample, answers), compute_trend(sample, answers)).verdict
        ] += 1
    return ", ".join(f"{name} {count}" for name, count in found.most_common())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    encoder, rows = CachedEncoder(load_encoder("wordllama")), []
    for name, (corpus, unsafe) in make_corpora(given.seed):
        for shown, recipe in (("defaults", Recipe()), ("paper's", Recipe.paper())):
            curation = curate(corpus, recipe, Tools(encoders={"wordllama": encoder}))
            _, sources = read_draws(curation)
            shares = (f"{100 * unsafe.mean():.1f}", f"{100 * unsafe[sources].mean():.1f}")
            told = diagnose(curation).verdict
            rows.append((name, shown, *shares, told, run_audits(curation, unsafe)))
    print(format_header("benchmarks/verdicts.py", [given.seed]) + "\n")
    heads = ("corpus", "settings", "before, %", "after, %", "without labels", "20 audits")
    print(format_table(heads, rows))


if __name__ == "__main__":
    main()
