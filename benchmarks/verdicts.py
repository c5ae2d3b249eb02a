"""The verdicts of `isaac diagnose` and `isaac audit` where curating helps and where it harms.

The corpora are GPTFuzz with fewer and fewer safe answers; DiaSafety, 10 % unsafe; and DiaSafety
with inverted labels, so that the responses that agree are the ones labeled unsafe. The table shows
the unsafe shares of the whole corpus before and after, the verdict without labels, and how often
each verdict occurred in 20 audits with 300 labels each.

Run: python benchmarks/verdicts.py [--seed 0]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from common import (
    DATA,
    CorpusWithLabels,
    contaminate,
    format_header,
    format_table,
    load_cached_encoder,
    make_parser,
    read_diasafety,
    read_draws,
)
from gptfuzz import read_gptfuzz

from isaac import Corpus, Curation, Recipe, Tools, curate
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


def drop_safe_rows(labeled: CorpusWithLabels, share: float, seed: int) -> CorpusWithLabels:
    """Leave out safe rows until unsafe ones make up a share; the result is shuffled."""
    rng = np.random.default_rng(seed)
    unsafe, safe = np.flatnonzero(labeled.unsafe), np.flatnonzero(~labeled.unsafe)
    count = min(len(safe), round(len(unsafe) * (1 - share) / share))
    rows = rng.permutation(np.concatenate([unsafe, rng.choice(safe, count, replace=False)]))
    contexts, responses = labeled.corpus.column("context"), labeled.corpus.column("response")
    corpus = Corpus.of((contexts[row], responses[row]) for row in rows.tolist())
    return CorpusWithLabels(corpus, labeled.unsafe[rows])


def make_corpora(seed: int) -> Iterator[tuple[str, CorpusWithLabels]]:
    """Yield each corpus with its name."""
    answers = read_gptfuzz(DATA / "gptfuzz", seed)
    for share in (0.275, 0.5, 0.7, 0.85):
        yield f"GPTFuzz, {share:.1%} unsafe", drop_safe_rows(answers, share, seed)
    rows = read_diasafety()
    yield "DiaSafety, 10 % unsafe", contaminate(rows, 0.1, seed)
    inverse = {"Safe": "Unsafe", "Unsafe": "Safe"}
    inverted = [{**row, "label": inverse[row["label"]]} for row in rows]
    yield "DiaSafety, labels inverted", contaminate(inverted, 0.1, seed)


def run_audits(curation: Curation, unsafe: np.ndarray) -> str:
    """Run seeded audits with the known labels, and count each verdict: "applies 16, doubtful 4"."""
    verdicts: Counter[str] = Counter()
    for seed in range(AUDIT_COUNT):
        sample = draw_sample(curation.lineage, LABEL_COUNT, seed)
        labels: dict[AuditItem, Verdict] = {
            item: "unsafe" if unsafe[item.response] else "safe" for item in sample.items()
        }
        decision = decide_verdict(estimate(sample, labels), compute_trend(sample, labels))
        verdicts[decision.verdict] += 1
    return ", ".join(f"{name} {count}" for name, count in verdicts.most_common())


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tools = Tools(encoders={"wordllama": load_cached_encoder("wordllama")})
    table = []
    for name, (corpus, unsafe) in make_corpora(args.seed):
        for settings, recipe in (("defaults", Recipe()), ("paper", Recipe.paper())):
            curation = curate(corpus, recipe, tools)
            _, sources = read_draws(curation)
            shares = (f"{100 * unsafe.mean():.1f}", f"{100 * unsafe[sources].mean():.1f}")
            verdict = diagnose(curation).verdict
            table.append((name, settings, *shares, verdict, run_audits(curation, unsafe)))
    print(format_header("benchmarks/verdicts.py", [args.seed]) + "\n")
    columns = ("corpus", "settings", "before, %", "after, %", "without labels", "20 audits")
    print(format_table(columns, table))


if __name__ == "__main__":
    main()
