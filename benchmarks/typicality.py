"""How well scores that use no labels separate unsafe rows, compared with a classifier that does.

For each score, the table shows the AUROC for unsafe rows, and the unsafe share of the most typical
10, 20, 30 and 50 % of rows, divided by that of the corpus. The last row is a logistic regression
on WordLlama vectors of context and response, trained on the labels and cross-validated: about the
best that a linear score on these vectors could do.

Run: python benchmarks/typicality.py [--seeds 3]
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import numpy as np
from common import (
    DATA,
    CachedEncoder,
    CorpusWithLabels,
    contaminate,
    format_header,
    format_table,
    load_cached_encoder,
    make_parser,
    normalize_vectors,
    read_diasafety,
)
from gptfuzz import read_gptfuzz
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from isaac.curation.near_duplicates import group_near_duplicates
from isaac.curation.typicality import compute_typicality
from isaac.runtime.arrays import Flags, Reals

RIDGE_PENALTY = 10.0
"""Penalty of the ridge regression of response vectors on context vectors."""

KERNEL_WIDTH = 0.3
"""Width of the kernel exp((cosine - 1) / width²)."""

DENSITY_NEIGHBORS = 150
TOP_SHARES = (0.1, 0.2, 0.3, 0.5)


def neighbor_density(vectors: Reals, contexts: Reals) -> Reals:
    """Kernel density of each response (n, d) among the responses to its nearest contexts (n, e)."""
    density = np.empty(len(vectors))
    for row in range(len(vectors)):
        last = min(DENSITY_NEIGHBORS, len(contexts) - 1)
        nearest = np.argpartition(-(contexts @ contexts[row]), last)[:DENSITY_NEIGHBORS]
        density[row] = np.exp((vectors[nearest] @ vectors[row] - 1) / KERNEL_WIDTH**2).sum()
    return density


def global_density(vectors: Reals) -> Reals:
    """Kernel density of each response (n, d) among all responses."""
    blocks = (vectors[start : start + 1024] for start in range(0, len(vectors), 1024))
    return np.concatenate(
        [np.exp((block @ vectors.T - 1) / KERNEL_WIDTH**2).sum(axis=1) for block in blocks]
    )


def rank_values(values: Reals) -> Reals:
    """The rank of each value, from 0 for the smallest."""
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks


def compute_scores(
    labeled: CorpusWithLabels, encoder: CachedEncoder
) -> Iterator[tuple[str, Reals]]:
    """Yield each score with its name; higher means more typical, so presumably safer."""
    corpus, unsafe = labeled
    contexts, responses = corpus.column("context"), corpus.column("response")
    unique, inverse = np.unique(np.array(responses, object), return_inverse=True)
    texts = unique.tolist()
    wording = compute_typicality(texts, group_near_duplicates(texts))[inverse]
    yield "wording (isaac)", wording
    yield "shortness", -np.array([len(text) for text in responses], float)
    # unit vectors (n, d) of contexts and responses
    context_vectors = normalize_vectors(encoder.encode(contexts))
    response_vectors = normalize_vectors(encoder.encode(responses))
    # ridge regression with intercept: what the context predicts of the response vector
    design = np.hstack([context_vectors, np.ones((len(context_vectors), 1))])
    gram = design.T @ design + RIDGE_PENALTY * np.eye(design.shape[1])
    predicted = design @ np.linalg.solve(gram, design.T @ response_vectors)
    residuals = normalize_vectors(response_vectors - predicted)
    yield (
        "similarity to the prediction from its context",
        (normalize_vectors(predicted) * response_vectors).sum(axis=1),
    )
    yield "similarity to its context", (context_vectors * response_vectors).sum(axis=1)
    for name, vectors in (("whole", response_vectors), ("residual", residuals)):
        yield (
            f"density among {DENSITY_NEIGHBORS} neighbors, {name} vectors",
            neighbor_density(vectors, context_vectors),
        )
        density = global_density(vectors)
        yield f"density in the corpus, {name} vectors", density
        yield (
            f"lower rank of wording and density in the corpus, {name} vectors",
            np.minimum(rank_values(density), rank_values(wording)),
        )
    features = np.hstack([context_vectors, response_vectors, context_vectors * response_vectors])
    model = LogisticRegression(C=3, max_iter=500)
    probabilities = cross_val_predict(model, features, unsafe, cv=5, method="predict_proba")
    yield "classifier with all labels", -np.asarray(probabilities)[:, 1]


def evaluate_score(score: Reals, unsafe: Flags) -> list[float]:
    """The AUROC for unsafe rows, and the relative unsafe share of each of `TOP_SHARES`."""
    order = np.argsort(-score, kind="stable")
    shares = [unsafe[order[: int(top * len(order))]].mean() / unsafe.mean() for top in TOP_SHARES]
    return [float(roc_auc_score(unsafe, -score)), *map(float, shares)]


def main() -> None:
    """Print a table for each corpus."""
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    seeds = range(parser.parse_args().seeds)
    encoder, rows = load_cached_encoder("wordllama"), read_diasafety()
    shares = (("10 % unsafe", 0.1), ("20 % unsafe", 0.2), ("original, 46 % unsafe", None))
    corpora = {
        f"DiaSafety, {name}": [contaminate(rows, share, seed) for seed in seeds]
        for name, share in shares
    }
    corpora["GPTFuzz"] = [read_gptfuzz(DATA / "gptfuzz", seed) for seed in seeds]
    columns = ("score", "AUROC", *(f"{top:.0%}" for top in TOP_SHARES))
    print(format_header("benchmarks/typicality.py", seeds))
    for name, corpora_by_seed in corpora.items():
        results: dict[str, list[list[float]]] = {}
        for labeled in corpora_by_seed:
            for score, values in compute_scores(labeled, encoder):
                results.setdefault(score, []).append(evaluate_score(values, labeled.unsafe))
        table = [
            (score, *(f"{statistics.mean(values):.2f}" for values in zip(*by_seed, strict=True)))
            for score, by_seed in results.items()
        ]
        print(f"\n### {name}\n\n{format_table(columns, table)}")


if __name__ == "__main__":
    main()
