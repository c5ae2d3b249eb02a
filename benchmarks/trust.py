"""How well signals of trust that use no labels find safe rows, alone and combined.

For each signal, the table shows the AUROC for unsafe rows, and the unsafe share of the most trusted
10 to 60 % of rows, divided by that of the corpus. Signals of hidden states need torch; their states
are computed once per distinct text and cached.

Run: python benchmarks/trust.py [--seeds 3] [--states] [--rows 3200] [--cache FOLDER]
With ``--states``, the corpora are made from a sample of DiaSafety, because a CPU reads about 30
texts per second; GPTFuzz, whose answers are long, is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bundled import read_rows
from common import (
    DATA,
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
from sklearn.metrics import roc_auc_score

from isaac import Corpus, Encoder
from isaac.curation.near_duplicates import group_near_duplicates
from isaac.curation.signals.combine import combine_signals
from isaac.curation.signals.folds import assign_folds
from isaac.curation.signals.phrasing import PhrasingModel
from isaac.curation.signals.ranks import rank_scores
from isaac.curation.signals.reference import ReferenceDirection
from isaac.curation.signals.self_training import self_trained_scores
from isaac.curation.signals.states import StateDirection
from isaac.curation.typicality import compute_typicality
from isaac.curation.unique_texts import UniqueTexts
from isaac.curation.vectors import GridVectors, to_grid
from isaac.models.encoders import load_encoder
from isaac.runtime.arrays import Flags, Floats, Ints, Reals

NEIGHBORS = 20
"""Nearest other responses that typicality is smoothed over."""

TOP_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
STATES_ENCODER = "states:smollm2@16"
UNSAFE_SAMPLE = 0.25
"""Share of unsafe rows in a sample of DiaSafety."""


class Responses(NamedTuple):
    """The t distinct responses of a corpus, and the row (n,) of each exchange among them."""

    texts: UniqueTexts
    row: Ints
    group: Ints
    folds: Ints
    typicality: Reals
    vectors: Floats


def collect_responses(corpus: Corpus) -> Responses:
    """Find the distinct responses, their near-duplicates, folds, typicality and vectors."""
    responses = corpus.column("response")
    texts = UniqueTexts.of(responses)
    listed = list(texts)
    number = {text: index for index, text in enumerate(listed)}
    group = group_near_duplicates(listed)
    folds = assign_folds(texts.digests, group)
    vectors = normalize_vectors(load_cached_encoder("wordllama").encode(listed)).astype(np.float32)
    row = np.array([number[text] for text in responses])
    typicality = compute_typicality(listed, group, punctuation=False)
    return Responses(texts, row, group, folds, typicality, vectors)


def smooth(responses: Responses) -> Reals:
    """Mean typicality (t,) of the nearest other responses, near-duplicates left out."""
    vectors, group = responses.vectors, responses.group
    smoothed = np.empty(len(vectors))
    for start in range(0, len(vectors), 512):
        block = slice(start, start + 512)
        cosines = vectors[block] @ vectors.T
        cosines[group[block, None] == group] = -2
        nearest = np.argpartition(-cosines, NEIGHBORS, axis=1)[:, :NEIGHBORS]
        smoothed[block] = responses.typicality[nearest].mean(axis=1)
    return smoothed


class StateCache:
    """Hidden states of texts, computed once and stored in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder: Encoder | None = None

    def embed(self, texts: Sequence[str]) -> GridVectors:
        """States (n, d) on the grid; new texts are encoded and stored 64 at a time."""
        paths = [self.folder / f"{hashlib.sha256(t.encode()).hexdigest()}.npy" for t in texts]
        missing = [n for n, path in enumerate(paths) if not path.exists()]
        for start in range(0, len(missing), 64):
            part = missing[start : start + 64]
            self.encoder = self.encoder or load_encoder(STATES_ENCODER)
            states = self.encoder.encode([texts[n] for n in part])
            for n, state in zip(part, states, strict=True):
                np.save(paths[n], state)
            print(f"{start + len(part)} of {len(missing)} texts", file=sys.stderr, flush=True)
        return to_grid(np.stack([np.load(path) for path in paths]))


def profanity(texts: Sequence[str]) -> Reals:
    """The probability that a response is not profane."""
    from profanity_check import predict_prob

    return np.asarray(1 - predict_prob(list(texts)), np.float64)


def compute_signals(responses: Responses, cache: StateCache | None) -> Iterator[tuple[str, Reals]]:
    """Yield each signal and combination (t,) with its name."""
    texts, _, group, folds, typicality, vectors = responses
    listed = list(texts)

    def rank(scores: Reals) -> Reals:
        return rank_scores(scores, group)

    yield "wording", typicality
    rn = rank(typicality) + rank(smooth(responses))
    yield "rn", rn
    yield "self-training", self_trained_scores(vectors, typicality, folds)
    phrasing = PhrasingModel(listed, typicality, group, folds).scores
    yield "phrasing", phrasing
    coarse = profanity(listed)
    yield "profanity", coarse
    yield "rn + phrasing", rank(rn) + rank(phrasing)
    signals = {"wording": rn, "phrasing": phrasing, "profanity": coarse}
    yield "combined, no veto", combine_signals(signals, group, folds).trust
    veto = {"profanity": coarse}
    yield "combined", combine_signals(signals, group, folds, veto).trust
    if cache is None:
        return
    states = cache.embed(listed)
    direction = StateDirection(states, typicality, group, folds).scores
    yield "state direction m", direction
    yield "wording + m", rank(typicality) + rank(direction)
    reference = ReferenceDirection(states, group, cache.embed).scores
    yield "reference r", reference
    signals["states"] = direction
    yield "combined with m", combine_signals(signals, group, folds, veto).trust
    signals["reference"] = reference
    combined = combine_signals(signals, group, folds, veto)
    yield "combined with m and r", combined.trust
    print(*(d.reason for d in combined.decisions), sep="\n", file=sys.stderr)


def evaluate_trust(trust: Reals, unsafe: Flags) -> list[float]:
    """The AUROC for unsafe rows, and the relative unsafe share of each of `TOP_SHARES`."""
    # Rows with equal trust in a random but fixed order.
    order = np.lexsort((np.random.default_rng(0).random(len(trust)), -trust))
    shares = [unsafe[order[: int(top * len(order))]].mean() / unsafe.mean() for top in TOP_SHARES]
    return [float(roc_auc_score(unsafe, -trust)), *map(float, shares)]


def read_demo() -> CorpusWithLabels:
    """Read the bundled corpus with its labels."""
    unsafe = np.array([row["label"] == "unsafe" for row in read_rows("demo_labels.jsonl")])
    pairs = ((row["context"], row["response"]) for row in read_rows("demo.jsonl"))
    return CorpusWithLabels(Corpus.of(pairs), unsafe)


def iter_corpora(args: argparse.Namespace) -> Iterator[tuple[str, list[CorpusWithLabels]]]:
    """Yield each corpus with its name, once per seed where chance takes part."""
    rows, seeds = read_diasafety(), range(args.seeds)
    if args.states:
        rng = np.random.default_rng(5)
        counts = {"Safe": 1 - UNSAFE_SAMPLE, "Unsafe": UNSAFE_SAMPLE}
        parts = [[row for row in rows if row["label"] == label] for label in counts]
        rows = [
            part[i]
            for part, share in zip(parts, counts.values(), strict=True)
            for i in rng.permutation(len(part))[: round(share * args.rows)]
        ]
    for name, share in (("5 %", 0.05), ("10 %", 0.1), ("20 %", 0.2)):
        yield f"DiaSafety, {name} unsafe", [contaminate(rows, share, seed) for seed in seeds]
    if args.states:
        safe = [row for row in rows if row["label"] == "Safe"]
        unsafe = [row for row in rows if row["label"] == "Unsafe"]
        mixed = safe[: round(len(unsafe) * 0.54 / 0.46)] + unsafe
        yield "DiaSafety, 46 % unsafe", [contaminate(mixed, None, 0)]
    else:
        yield "DiaSafety, original, 46 % unsafe", [contaminate(rows, None, 0)]
        yield "GPTFuzz", [read_gptfuzz(DATA / "gptfuzz", 0)]
    yield "bundled corpus", [read_demo()]


def main() -> None:
    """Print a table for each corpus."""
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--states", action="store_true", help="include hidden states")
    parser.add_argument("--rows", type=int, default=3200, help="rows of DiaSafety with --states")
    parser.add_argument("--cache", type=Path, default=Path("states-cache"), help="for the states")
    args = parser.parse_args()
    cache = StateCache(args.cache) if args.states else None
    print(format_header("benchmarks/trust.py", range(args.seeds)), flush=True)
    columns = ("signal", "AUROC", *(f"{top:.0%}" for top in TOP_SHARES))
    for name, corpora in iter_corpora(args):
        results: dict[str, list[list[float]]] = {}
        for labeled in corpora:
            responses = collect_responses(labeled.corpus)
            for signal, scores in compute_signals(responses, cache):
                measured = evaluate_trust(scores[responses.row], labeled.unsafe)
                results.setdefault(signal, []).append(measured)
        table = []
        for signal, values in results.items():
            auroc, *shares = (statistics.mean(column) for column in zip(*values, strict=True))
            table.append((signal, f"{auroc:.3f}", *(f"{share:.2f}" for share in shares)))
        print(f"\n{name}\n\n{format_table(columns, table)}", flush=True)


if __name__ == "__main__":
    main()
