"""Time by stage, memory, recall and growth from ten thousand to a million exchanges.

Run: python benchmarks/scale.py --folder DIR [--sizes 10000,30000,100000,300000,1000000]
     [--settings paper,defaults] [--cores 1,2] [--engines local,ray] [--repeats 3] [--data FILE]

Every curation goes through the real command, from text to report, and is noted in
DIR/results.jsonl as soon as it is done; a run that was stopped goes on from there, and the tables
are made of all notes. Texts are made by joining the halves of different exchanges of the data, so
that neighbours are real and no two are equal. "Vectors given" is the whole time without the
stages that embed.

Beside it stand, on the same texts and vectors and measured in the same run, the plain procedure
(one flat search and one scikit-learn DBSCAN a row, on one core) and semhash's
self-deduplication, which is a simpler job: it looks for one neighbour a row and groups nothing.
"""

from __future__ import annotations

import argparse
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
from common import DATA, format_header, format_table
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
ENCODER_ROWS = 100_000
"""The size at which the encoder's rate is measured."""

SETTINGS_FLAGS = {"paper": ["--paper"], "defaults": []}


def make_corpus(data: list[Path], size: int, folder: Path) -> Path:
    """Return a file of so many exchanges, made of the halves of those in the data."""
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
    """Return the first half of one text and the second half of another, in words."""
    first, last = one.split(), other.split()
    return " ".join(first[: -(-len(first) // 2)] + last[len(last) // 2 :])


def time_curation(file: Path, settings: str, cores: int, engine: str, folder: Path) -> Measurement:
    """Return what the real command measured of itself on some of the machine's cores."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    line = [sys.executable, "-m", "isaac", "curate", str(file), "-o", str(run)]
    line += [*SETTINGS_FLAGS[settings], "--engine", engine, "--workers", str(cores)]
    limit = partial(os.sched_setaffinity, 0, set(range(cores)))
    start = time.perf_counter()
    subprocess.run(line, check=True, capture_output=True, preexec_fn=limit)
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
    """Return the rates at which contexts are embedded into a run folder, and encoded alone.

    Both take the same texts in the same order and portions, in turn, so that what else the machine
    does falls on both alike.
    """
    encoder, texts = load_encoder("wordllama"), UniqueTexts.of(read_corpus(file).column("context"))
    rates: dict[str, list[float]] = {"ours": [], "alone": []}
    encoder.encode(list(texts[:CHUNK_TEXTS]))
    for _ in range(turns):
        start = time.perf_counter()
        for chunk in iter_chunks(texts):
            encoder.encode(list(chunk))
        rates["alone"].append(len(texts) / (time.perf_counter() - start))
        with tempfile.TemporaryDirectory(dir=folder) as place:
            tools = Tools(
                store=DiskStorage(MirroredFolder(Path(place))), encoders={"wordllama": encoder}
            )
            start = time.perf_counter()
            embed_all("contexts", "wordllama", texts, tools)
            rates["ours"].append(len(texts) / (time.perf_counter() - start))
    return dict(rates)


def embed_corpus(file: Path) -> tuple[Floats, Floats]:
    """Return context and response vectors."""
    corpus, encoder = read_corpus(file), load_encoder("wordllama")
    contexts, responses = (
        as_floats(embed(encoder, corpus.column(name)).vectors) for name in ("context", "response")
    )
    return contexts, responses


def time_semhash(responses: Floats) -> float:
    """Return the seconds of semhash's self-deduplication with the same vectors."""
    from semhash import SemHash

    class Nothing:
        def encode(self, _inputs: Any, **_: Any) -> Any:
            raise AssertionError("the vectors are given")

    records = [str(number) for number in range(len(responses))]
    start = time.perf_counter()
    SemHash.from_embeddings(responses, records, model=Nothing()).self_deduplicate()
    return time.perf_counter() - start


def time_others(file: Path) -> Measurement:
    """Return what others take on the same vectors."""
    contexts, responses = embed_corpus(file)
    seconds = time_semhash(responses)
    return {"plain_rate": measure_plain_rate(contexts, responses), "semhash_seconds": seconds}


class MeasurementLog:
    """What was measured, in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        self.all = [json.loads(line) for line in lines]

    def measure_missing(self, key: Measurement, measure: Callable[[], Measurement]) -> None:
        """Measure what is not noted yet."""
        if not any(key.items() <= note.items() for note in self.all):
            print(key, file=sys.stderr, flush=True)
            note = {**key, **measure()}
            self.all.append(note)
            with self.file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(note) + "\n")

    def some(self, **key: Any) -> list[Measurement]:
        """Return the notes of a kind."""
        return [note for note in self.all if key.items() <= note.items()]


def seconds_without_embedding(note: Measurement) -> float:
    """Return the seconds of a run without those that embed."""
    return float(note["wall"] - sum(s for k, s in note["seconds"].items() if "embed" in k))


def format_median(values: list[float], digits: int = 1) -> str:
    """Return the median, with the least and most of several."""
    if not values:
        return "—"
    shown = f"{statistics.median(values):,.{digits}f}"
    if len(values) > 1:
        shown += f" ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
    return shown


def format_stages(notes: MeasurementLog, sizes: list[int], settings: str, cores: int) -> str:
    """Return the table of seconds by stage."""
    by_size = {
        size: notes.some(size=size, settings=settings, cores=cores, engine="local")
        for size in sizes
    }
    by_size = {size: found for size, found in by_size.items() if found}
    names = list(
        dict.fromkeys(k for found in by_size.values() for n in found for k in n["seconds"])
    )
    rows = [
        (
            name,
            *(
                format_median([n["seconds"].get(name, 0.0) for n in found])
                for found in by_size.values()
            ),
        )
        for name in names
    ]
    rows.append(
        (
            "**all, from text**",
            *(format_median([n["wall"] for n in found]) for found in by_size.values()),
        )
    )
    rows.append(
        (
            "**all, vectors given**",
            *(
                format_median([seconds_without_embedding(n) for n in found])
                for found in by_size.values()
            ),
        )
    )
    rows.append(
        (
            "rows a second, vectors given",
            *(
                format_median([size / seconds_without_embedding(n) for n in found], 0)
                for size, found in by_size.items()
            ),
        )
    )
    rows.append(
        (
            "peak memory, MiB",
            *(format_median([n["peak_mib"] for n in found], 0) for found in by_size.values()),
        )
    )
    rows.append(
        (
            "run folder, MiB",
            *(format_median([n["disk_mib"] for n in found], 0) for found in by_size.values()),
        )
    )
    rows.append(("search", *(_format_search(found[0]["search"]) for found in by_size.values())))
    return format_table((f"{settings}, {cores} cores", *(f"{size:,}" for size in by_size)), rows)


def _format_search(how: Measurement) -> str:
    if "recall" not in how:
        return str(how["by"])
    return f"{how['lists']:,} lists, {how['probes']} probed, recall {how['recall']:.3f}"


def format_ratios(notes: MeasurementLog, sizes: list[int]) -> Iterator[tuple[str, ...]]:
    """Yield lines of what follows from the times."""

    def exponent(settings: str, least: int, most: int) -> str:
        small, large = (
            notes.some(size=s, settings=settings, cores=2, engine="local") for s in (least, most)
        )
        if not (small and large):
            return "—"
        times = [
            statistics.median(map(seconds_without_embedding, found)) for found in (small, large)
        ]
        return f"{math.log(times[1] / times[0]) / math.log(most / least):.2f}"

    for note in notes.some(kind="decisions"):
        many = [mine / theirs for mine, theirs in zip(note["ours"], note["plain"], strict=True)]
        yield (
            f"{note['rows']:,} rows of the data itself, from vectors to draws: rows a second",
            f"{format_median(note['ours'], 0)}",
        )
        yield (
            f"{note['rows']:,}: the plain procedure's on one core",
            format_median(note["plain"], 0),
        )
        yield f"{note['rows']:,}: over the plain procedure", f"{format_median(many)} times"
        yield (
            f"{note['rows']:,}: equal members; equal clusters and odds",
            f"{note['equal_members']} and {note['equal_decisions']} of {note['sample']}",
        )
    for note in notes.some(kind="encoded"):
        shares = [ours / alone for ours, alone in zip(note["ours"], note["alone"], strict=True)]
        yield (
            f"{note['size']:,}: contexts embedded into a run folder, over the encoder alone "
            f"({format_median(note['alone'], 0)} texts a second)",
            f"{format_median([100 * share for share in shares], 0)} %",
        )
    for settings in SETTINGS_FLAGS:
        for least, most in ((10_000, 100_000), (100_000, 1_000_000)):
            yield (
                f"{settings}: growth exponent, {least:,} to {most:,}, vectors given",
                exponent(settings, least, most),
            )
    for size in sizes:
        two, one = (
            [
                seconds_without_embedding(n)
                for n in notes.some(size=size, settings="paper", cores=c, engine="local")
            ]
            for c in (2, 1)
        )
        if one and two:
            yield (
                f"{size:,}: two cores over one",
                f"{statistics.median(one) / statistics.median(two):.2f} times",
            )
        slow = [
            seconds_without_embedding(n)
            for n in notes.some(size=size, settings="defaults", cores=2, engine="local")
        ]
        if slow and two:
            yield (
                f"{size:,}: defaults over the paper's settings",
                f"{statistics.median(slow) / statistics.median(two):.2f} times",
            )
        ray = [
            seconds_without_embedding(n)
            for n in notes.some(size=size, settings="paper", cores=2, engine="ray")
        ]
        if ray and two:
            yield (
                f"{size:,}: Ray over local",
                f"{statistics.median(ray) / statistics.median(two):.2f} times",
            )
        for note in notes.some(size=size, kind="beside")[:1]:
            if two:
                rate = f"{note['plain_rate']:,.0f} rows a second on one core"
                yield (
                    f"{size:,}: over the plain procedure ({rate})",
                    f"{size / statistics.median(two) / note['plain_rate']:,.0f} times",
                )
                yield f"{size:,}: semhash's self-deduplication", f"{note['semhash_seconds']:,.1f} s"


def main() -> None:
    """Measure what is not noted yet, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sizes", default="10000,30000,100000,300000,1000000")
    parser.add_argument("--settings", default="paper,defaults")
    parser.add_argument("--cores", default="2,1")
    parser.add_argument("--engines", default="local")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--largest", type=int, default=300_000, help="rows up to which others are run"
    )
    parser.add_argument("--data", type=Path, nargs="*", default=[DATA / "diasafety" / "train.json"])
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    sizes = [int(size) for size in asked.sizes.split(",")]
    notes = MeasurementLog(asked.folder / "results.jsonl")
    for repeat in range(asked.repeats):
        for size in sizes:
            file = make_corpus(asked.data, size, asked.folder)
            if size <= asked.largest:
                notes.measure_missing({"kind": "beside", "size": size}, partial(time_others, file))
            if size == ENCODER_ROWS:
                notes.measure_missing(
                    {"kind": "encoded", "size": size}, partial(time_encoding, file, asked.folder)
                )
            for settings in asked.settings.split(","):
                for engine in asked.engines.split(","):
                    for cores in map(int, asked.cores.split(",")):
                        key = {
                            "size": size,
                            "settings": settings,
                            "cores": cores,
                            "engine": engine,
                            "repeat": repeat,
                        }
                        notes.measure_missing(
                            key, partial(time_curation, file, settings, cores, engine, asked.folder)
                        )
    notes.measure_missing(
        {"kind": "decisions"}, partial(compare_decisions, asked.data[0], asked.repeats)
    )
    print(f"{format_header('benchmarks/scale.py', [SEED])}\n")
    for settings in asked.settings.split(","):
        print(format_stages(notes, sizes, settings, 2) + "\n")
    print(format_table(("what", "ratio"), format_ratios(notes, sizes)))


if __name__ == "__main__":
    main()
