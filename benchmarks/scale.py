"""Time by stage, memory, recall and growth from ten thousand to a million exchanges.

Run: python benchmarks/scale.py --folder DIR [--sizes 10000,30000,100000,300000,1000000]
     [--settings paper,defaults] [--cores 1,2] [--engines local,ray] [--repeats 3] [--data FILE]

Every curation is the real command, from text to report. Its measurements are appended to
DIR/results.jsonl as soon as it is done. If the benchmark is interrupted, run it again: it resumes
from there, and the tables show all measurements in that file. Texts are made by joining halves of
different exchanges of the data, so that neighbors are realistic and no two texts are equal.
"Embeddings given" is the total time without the stages that embed.

For comparison, the same benchmark measures, on the same texts and embeddings, the plain procedure
(one flat search and one scikit-learn DBSCAN per row, on one core) and semhash's
self-deduplication, which is a simpler job: it looks for one neighbor per row and groups nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, format_header, format_median, format_table, make_parser
from plain import SEED, compare_decisions, measure_plain_rate

from isaac import Run, Tools, embed, load_encoder, read_corpus
from isaac.corpus.records import dumps
from isaac.curation.embedding import embed_all
from isaac.curation.unique_texts import UniqueTexts
from isaac.curation.vectors import CHUNK_TEXTS, as_floats, iter_chunks
from isaac.runs.disk_storage import DiskStorage
from isaac.runtime.arrays import Floats
from isaac.runtime.atomic_files import MirroredFolder

Measurement = dict[str, Any]
"""A line of results.jsonl: what was measured (its key), and the results."""

ENCODER_ROWS = 100_000
"""Size of the corpus on which the encoder's rate is measured."""

SETTINGS_FLAGS = {"paper": ["--paper"], "defaults": []}
"""The flags of ``isaac curate`` for each setting."""


def make_corpus(data: list[Path], size: int, folder: Path) -> Path:
    """Write a corpus of ``size`` exchanges, joined from halves of those in the data files.

    Returns the file, which is only made if it does not exist yet.
    """
    file = folder / f"corpus-{size}.jsonl"
    if file.exists():
        return file
    pairs: list[tuple[str, str]] = []
    for source in data:
        corpus = read_corpus(source)
        pairs += zip(corpus.column("context"), corpus.column("response"), strict=True)
    rng = np.random.default_rng(SEED)
    seen: set[tuple[int, int]] = set()
    part = file.with_suffix(".part")
    with part.open("w", encoding="utf-8") as out:
        while len(seen) < size:
            for i, j in rng.integers(0, len(pairs), (size, 2)).tolist():
                if (i, j) not in seen and len(seen) < size:
                    seen.add((i, j))
                    sides = zip(pairs[i], pairs[j], strict=True)
                    context, response = (join_halves(*texts) for texts in sides)
                    out.write(dumps({"context": context, "response": response}) + "\n")
    part.replace(file)
    return file


def join_halves(one: str, other: str) -> str:
    """Join the first half of the words of one text and the second half of another's."""
    first, last = one.split(), other.split()
    return " ".join(first[: -(-len(first) // 2)] + last[len(last) // 2 :])


def time_curation(file: Path, settings: str, cores: int, engine: str, folder: Path) -> Measurement:
    """Run the real command on some of the cores; read its own measurements from the manifest."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    command = [sys.executable, "-m", "isaac", "curate", str(file), "-o", str(run)]
    command += [*SETTINGS_FLAGS[settings], "--engine", engine, "--workers", str(cores)]
    limit_cores = partial(os.sched_setaffinity, 0, set(range(cores)))
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, preexec_fn=limit_cores)
    wall = time.perf_counter() - start
    manifest = Run(run).manifest()
    size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    shutil.rmtree(run)
    measured = manifest["measured"]
    return {
        "wall": wall,
        "seconds": measured["seconds"],
        "peak_mib": measured["peak_memory_mib"],
        "disk_mib": size / 2**20,
        "search": manifest["search"],
    }


def time_encoding(file: Path, folder: Path, turns: int = 15) -> Measurement:
    """Texts per second, embedding contexts into a run folder ("ours") and encoding them alone.

    Both take the same texts in the same order and chunks. They alternate, so that other load on
    the machine affects both alike.
    """
    encoder, texts = load_encoder("wordllama"), UniqueTexts.of(read_corpus(file).column("context"))
    rates: dict[str, list[float]] = {"ours": [], "alone": []}
    encoder.encode(list(texts[:CHUNK_TEXTS]))
    for _ in range(turns):
        start = time.perf_counter()
        for chunk in iter_chunks(texts):
            encoder.encode(list(chunk))
        rates["alone"].append(len(texts) / (time.perf_counter() - start))
        with tempfile.TemporaryDirectory(dir=folder) as run:
            store = DiskStorage(MirroredFolder(Path(run)))
            tools = Tools(store=store, encoders={"wordllama": encoder})
            start = time.perf_counter()
            embed_all("contexts", "wordllama", texts, tools)
            rates["ours"].append(len(texts) / (time.perf_counter() - start))
    return dict(rates)


def embed_corpus(file: Path) -> tuple[Floats, Floats]:
    """Embed a corpus: the vectors (n, d) of its contexts, and of its responses."""
    corpus, encoder = read_corpus(file), load_encoder("wordllama")
    contexts, responses = (
        as_floats(embed(encoder, corpus.column(name)).vectors) for name in ("context", "response")
    )
    return contexts, responses


def time_semhash(responses: Floats) -> float:
    """Seconds of semhash's self-deduplication, with the vectors (n, d) given."""
    from semhash import SemHash

    class NoEncoder:
        def encode(self, _inputs: Any, **_: Any) -> Any:
            raise AssertionError("semhash must use the given vectors, and not encode texts")

    records = [str(number) for number in range(len(responses))]
    start = time.perf_counter()
    SemHash.from_embeddings(responses, records, model=NoEncoder()).self_deduplicate()
    return time.perf_counter() - start


def time_others(file: Path) -> Measurement:
    """Time the plain procedure and semhash on a corpus, with its embeddings given."""
    contexts, responses = embed_corpus(file)
    seconds = time_semhash(responses)
    return {"plain_rate": measure_plain_rate(contexts, responses), "semhash_seconds": seconds}


class MeasurementLog:
    """The measurements in a JSON Lines file, one per line."""

    def __init__(self, file: Path) -> None:
        self.file = file
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        self.all = [json.loads(line) for line in lines]

    def measure_missing(self, key: Measurement, measure: Callable[[], Measurement]) -> None:
        """Measure and append, unless the log has a measurement with this key."""
        if not self.select(**key):
            print(key, file=sys.stderr, flush=True)
            measurement = {**key, **measure()}
            self.all.append(measurement)
            with self.file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(measurement) + "\n")

    def select(self, **key: Any) -> list[Measurement]:
        """The measurements that have these values."""
        return [measurement for measurement in self.all if key.items() <= measurement.items()]

    def curation_seconds(
        self, size: int, settings: str, cores: int = 2, engine: str = "local"
    ) -> list[float]:
        """Seconds of each curation of a size, without embedding."""
        runs = self.select(size=size, settings=settings, cores=cores, engine=engine)
        return [seconds_without_embedding(run) for run in runs]


def seconds_without_embedding(run: Measurement) -> float:
    """Seconds of a curation, without the stages that embed."""
    return float(run["wall"] - sum(s for stage, s in run["seconds"].items() if "embed" in stage))


def format_stages(log: MeasurementLog, sizes: list[int], settings: str, cores: int) -> str:
    """Format the table of seconds by stage, with totals, memory and search."""
    every_size = {
        size: log.select(size=size, settings=settings, cores=cores, engine="local")
        for size in sizes
    }
    by_size = {size: runs for size, runs in every_size.items() if runs}

    def row(name: str, value: Callable[[Measurement], float], digits: int = 1) -> tuple[str, ...]:
        cells = (format_median([value(run) for run in runs], digits) for runs in by_size.values())
        return name, *cells

    stages = dict.fromkeys(
        stage for runs in by_size.values() for run in runs for stage in run["seconds"]
    )
    rows = [row(stage, partial(_stage_seconds, stage)) for stage in stages]
    rows += [
        row("**total, from text**", lambda run: run["wall"]),
        row("**total, embeddings given**", seconds_without_embedding),
        row(
            "rows per second, embeddings given",
            lambda run: run["size"] / seconds_without_embedding(run),
            0,
        ),
        row("peak memory, MiB", lambda run: run["peak_mib"], 0),
        row("run folder, MiB", lambda run: run["disk_mib"], 0),
        ("search", *(_format_search(runs[0]["search"]) for runs in by_size.values())),
    ]
    return format_table((f"{settings}, {cores} cores", *(f"{size:,}" for size in by_size)), rows)


def _stage_seconds(stage: str, run: Measurement) -> float:
    return float(run["seconds"].get(stage, 0.0))


def _format_search(search: Measurement) -> str:
    if "recall" not in search:
        return str(search["by"])
    return f"{search['lists']:,} lists, {search['probes']} probed, recall {search['recall']:.3f}"


def format_comparisons(log: MeasurementLog, sizes: list[int]) -> Iterator[tuple[str, str]]:
    """Yield the rows of the last table: rates and ratios of times."""
    for measurement in log.select(kind="decisions"):
        yield from _compare_with_plain(measurement)
    for measurement in log.select(kind="encoded"):
        rates = zip(measurement["ours"], measurement["alone"], strict=True)
        yield (
            f"{measurement['size']:,}: rate of embedding contexts into a run folder, as a share of "
            f"the encoder alone ({format_median(measurement['alone'], 0)} texts per second)",
            f"{format_median([100 * ours / alone for ours, alone in rates], 0)} %",
        )
    for settings in SETTINGS_FLAGS:
        for small, large in ((10_000, 100_000), (100_000, 1_000_000)):
            yield (
                f"{settings}: growth exponent, {small:,} to {large:,}, embeddings given",
                _growth_exponent(log, settings, small, large),
            )
    for size in sizes:
        yield from _compare_at_size(log, size)


def _compare_with_plain(measurement: Measurement) -> Iterator[tuple[str, str]]:
    """Compare rates and decisions on the data itself, as `compare_decisions` measured them."""
    ours, plain, rows = measurement["ours"], measurement["plain"], f"{measurement['rows']:,}"
    ratios = [our_rate / plain_rate for our_rate, plain_rate in zip(ours, plain, strict=True)]
    yield (
        f"{rows} rows of the data itself, from embeddings to draws: rows per second",
        format_median(ours, 0),
    )
    yield f"{rows}: the plain procedure on one core, rows per second", format_median(plain, 0)
    yield f"{rows}: speed-up over the plain procedure", f"{format_median(ratios)} times"
    equal = f"{measurement['equal_members']} and {measurement['equal_decisions']}"
    yield (
        f"{rows}: neighborhoods with equal members; with equal clusters and odds",
        f"{equal} of {measurement['sample']}",
    )


def _growth_exponent(log: MeasurementLog, settings: str, small: int, large: int) -> str:
    """The exponent of the power of the size with which time grows."""
    seconds = [log.curation_seconds(size, settings) for size in (small, large)]
    if not all(seconds):
        return "—"
    fast, slow = map(statistics.median, seconds)
    return f"{math.log(slow / fast) / math.log(large / small):.2f}"


def _compare_at_size(log: MeasurementLog, size: int) -> Iterator[tuple[str, str]]:
    """Compare the paper's settings on two cores with everything else measured at this size."""
    paper = log.curation_seconds(size, "paper")
    if not paper:
        return
    seconds = statistics.median(paper)
    for name, others in (
        ("speed-up of two cores over one", log.curation_seconds(size, "paper", cores=1)),
        (
            "time of the defaults relative to the paper's settings",
            log.curation_seconds(size, "defaults"),
        ),
        (
            "time with Ray relative to local threads",
            log.curation_seconds(size, "paper", engine="ray"),
        ),
    ):
        if others:
            yield f"{size:,}: {name}", f"{statistics.median(others) / seconds:.2f} times"
    for measurement in log.select(size=size, kind="beside")[:1]:
        rate, semhash_seconds = measurement["plain_rate"], measurement["semhash_seconds"]
        plain = f"the plain procedure ({rate:,.0f} rows per second on one core)"
        yield f"{size:,}: speed-up over {plain}", f"{size / seconds / rate:,.0f} times"
        yield f"{size:,}: semhash's self-deduplication", f"{semhash_seconds:,.1f} s"


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; lists become lists."""

    def names(text: str) -> list[str]:
        return text.split(",")

    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    parser = make_parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="corpora, runs and results")
    parser.add_argument("--sizes", type=numbers, default="10000,30000,100000,300000,1000000")
    parser.add_argument("--settings", type=names, default="paper,defaults")
    parser.add_argument("--cores", type=numbers, default="2,1")
    parser.add_argument("--engines", type=names, default="local")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--largest",
        type=int,
        default=300_000,
        help="largest size for plain and semhash",
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="*",
        default=[DATA / "diasafety" / "train.json"],
        help="corpora whose exchanges are cut in half and joined",
    )
    return parser.parse_args()


def measure(args: argparse.Namespace) -> MeasurementLog:
    """Make every measurement that results.jsonl does not have yet."""
    args.folder.mkdir(parents=True, exist_ok=True)
    log = MeasurementLog(args.folder / "results.jsonl")
    for repeat, size in itertools.product(range(args.repeats), args.sizes):
        file = make_corpus(args.data, size, args.folder)
        if size <= args.largest:
            log.measure_missing({"kind": "beside", "size": size}, partial(time_others, file))
        if size == ENCODER_ROWS:
            log.measure_missing(
                {"kind": "encoded", "size": size}, partial(time_encoding, file, args.folder)
            )
        for settings, engine, cores in itertools.product(args.settings, args.engines, args.cores):
            key = {
                "size": size,
                "settings": settings,
                "cores": cores,
                "engine": engine,
                "repeat": repeat,
            }
            log.measure_missing(
                key, partial(time_curation, file, settings, cores, engine, args.folder)
            )
    log.measure_missing(
        {"kind": "decisions"}, partial(compare_decisions, args.data[0], args.repeats)
    )
    return log


def main() -> None:
    """Measure what is missing, and print the tables."""
    args = parse_arguments()
    log = measure(args)
    print(f"{format_header('benchmarks/scale.py', [SEED])}\n")
    for settings in args.settings:
        print(format_stages(log, args.sizes, settings, 2) + "\n")
    print(format_table(("what", "measured"), format_comparisons(log, args.sizes)))


if __name__ == "__main__":
    main()
