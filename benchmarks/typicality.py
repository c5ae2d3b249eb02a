"""How well scores without labels tell unsafe rows apart, beside a classifier that has the labels.

For each score: AUROC for unsafe rows, and the unsafe share of the most typical 10, 20, 30 and 50 %
of rows over that of the corpus. The last line is a logistic regression on WordLlama vectors of
context and response, trained on the labels and cross-validated: about what any linear score on
these vectors could reach.

Run: python benchmarks/typicality.py
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from common import (
    DATA,
    CachedEncoder,
    CorpusWithLabels,
    contaminate,
    format_header,
    format_table,
    read_diasafety,
)
from gptfuzz import read_gptfuzz
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from isaac import load_encoder
from isaac.curation.near_duplicates import group_near_duplicates
from isaac.curation.typicality import compute_typicality
from isaac.runtime.arrays import Flags, Reals

RIDGE_PENALTY = 10.0
TOP_SHARES = (0.1, 0.2, 0.3, 0.5)


def normalize_vectors(vectors: npt.NDArray[np.floating]) -> Reals:
    """Return the vectors at unit length."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))


def neighbor_mass(vectors: Reals, contexts: Reals, k: int, width: float) -> Reals:
    """Return each row's kernel mass among the responses to its k nearest contexts."""
    mass = np.empty(len(vectors))
    for row in range(len(vectors)):
        near = np.argpartition(-(contexts @ contexts[row]), min(k, len(contexts) - 1))[:k]
        mass[row] = np.exp((vectors[near] @ vectors[row] - 1) / width**2).sum()
    return mass


def global_mass(vectors: Reals, width: float) -> Reals:
    """Return each row's kernel mass among all responses."""
    blocks = (vectors[start : start + 1024] for start in range(0, len(vectors), 1024))
    return np.concatenate([np.exp((b @ vectors.T - 1) / width**2).sum(axis=1) for b in blocks])


def rank_values(values: Reals) -> Reals:
    """Return the rank of each value."""
    order = np.empty(len(values))
    order[np.argsort(values, kind="stable")] = np.arange(len(values))
    return order


def compute_scores(
    labelled: CorpusWithLabels, encoder: CachedEncoder
) -> Iterator[tuple[str, Reals]]:
    """Yield each score by name, higher where a row is held to be safer."""
    corpus, unsafe = labelled
    contexts, responses = corpus.column("context"), corpus.column("response")
    texts, place = np.unique(np.array(responses, object), return_inverse=True)
    distinct = texts.tolist()
    wording = compute_typicality(distinct, group_near_duplicates(distinct))[place]
    yield "wording (isaac)", wording
    yield "shortness", -np.array([len(text) for text in responses], float)
    said, answered = (
        normalize_vectors(encoder.encode(contexts)),
        normalize_vectors(encoder.encode(responses)),
    )
    design = np.hstack([said, np.ones((len(said), 1))])
    gram = design.T @ design + RIDGE_PENALTY * np.eye(design.shape[1])
    expected = design @ np.linalg.solve(gram, design.T @ answered)
    residual = normalize_vectors(answered - expected)
    yield "as its context predicts", (normalize_vectors(expected) * answered).sum(axis=1)
    yield "fit to its context", (said * answered).sum(axis=1)
    for name, vectors in (("whole", answered), ("residual", residual)):
        yield f"density of {name} among 150 neighbours", neighbor_mass(vectors, said, 150, 0.3)
        dense = global_mass(vectors, 0.3)
        yield f"density of {name} in the corpus", dense
        yield (
            f"the lesser rank of that ({name}) and wording",
            np.minimum(rank_values(dense), rank_values(wording)),
        )
    features = np.hstack([said, answered, said * answered])
    model = LogisticRegression(C=3, max_iter=500)
    found = cross_val_predict(model, features, unsafe, cv=5, method="predict_proba")
    yield "classifier with all labels", -np.asarray(found)[:, 1]


def evaluate_score(score: Reals, unsafe: Flags) -> list[float]:
    """Return AUROC and relative unsafe shares of the most typical rows."""
    order = np.argsort(-score, kind="stable")
    shares = [unsafe[order[: int(part * len(order))]].mean() / unsafe.mean() for part in TOP_SHARES]
    return [float(roc_auc_score(unsafe, -score)), *map(float, shares)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    encoder, rows = CachedEncoder(load_encoder("wordllama")), read_diasafety(None)
    corpora = {
        f"DiaSafety, {name}": [contaminate(rows, share, seed) for seed in range(given.seeds)]
        for name, share in (("10 % unsafe", 0.1), ("20 % unsafe", 0.2), ("as it is", None))
    }
    corpora["GPTFuzz"] = [read_gptfuzz(DATA / "gptfuzz", seed) for seed in range(given.seeds)]
    print(format_header("benchmarks/typicality.py", list(range(given.seeds))))
    for name, made in corpora.items():
        found: dict[str, list[list[float]]] = {}
        for labelled in made:
            for score, values in compute_scores(labelled, encoder):
                found.setdefault(score, []).append(evaluate_score(values, labelled.unsafe))
        lines = [
            (score, *(f"{statistics.mean(values):.2f}" for values in zip(*each, strict=True)))
            for score, each in found.items()
        ]
        heads = ("score", "AUROC", *(f"{part:.0%}" for part in TOP_SHARES))
        print(f"\n### {name}\n\n{format_table(heads, lines)}")


if __name__ == "__main__":
    main()
