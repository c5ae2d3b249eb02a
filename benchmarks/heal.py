"""Single requests healed a second by retrieval: in Python on one thread and on two, and by a pipe.

Run: python benchmarks/heal.py --folder DIR [--size 100000] [--settings paper,defaults]
     [--requests 400] [--repeats 5] [--threads 1,2] [--data FILE ...] [--run RUN ...]

Without --run a corpus is made as in benchmarks/scale.py and curated by the real command into DIR,
once. Requests are exchanges that are not in the corpus: halves of different contexts, and of
different responses, joined. Each is a call of its own, as a server would make it; with two threads
each takes the next request. The pipe is ``isaac heal RUN``, which answers line by line: its time
begins with the first answer, when all is loaded.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from common import DATA, format_header, format_table
from plain import SEED
from scale import SETTINGS_FLAGS, format_median, join_halves, make_corpus

from isaac import Healed, Healer, Run
from isaac.corpus.records import dumps

Request = tuple[str, str]


def curate_once(file: Path, settings: str, folder: Path) -> Path:
    """Return the run folder of a corpus, curated now by the real command if it is not there."""
    run = folder / f"{file.stem}-{settings}"
    if not Run(run).finished:
        line = [sys.executable, "-m", "isaac", "curate", str(file), "-o", str(run)]
        subprocess.run([*line, *SETTINGS_FLAGS[settings]], check=True, capture_output=True)
    return run


def sample_requests(run: Path, count: int) -> list[Request]:
    """Return so many exchanges that are like those of a run's corpus, and not in it."""
    corpus = Run(run).corpus()
    contexts, responses = corpus.column("context"), corpus.column("response")
    known = set(zip(contexts, responses, strict=True))
    rng = np.random.default_rng(SEED)
    found: dict[Request, None] = {}
    while len(found) < count:
        a, b, c, d = rng.integers(0, len(contexts), 4).tolist()
        request = join_halves(contexts[a], contexts[b]), join_halves(responses[c], responses[d])
        if all(map(str.strip, request)) and request not in known:
            found[request] = None
    return list(found)


def time_requests(healer: Healer, asked: list[Request], threads: int) -> tuple[float, list[Healed]]:
    """Return requests a second and what became of them, each healed by a call of its own."""

    def heal(request: Request) -> Healed:
        return healer.heal([request])[0]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(heal, asked[: 2 * threads]))
        start = time.perf_counter()
        found = list(pool.map(heal, asked))
        return len(asked) / (time.perf_counter() - start), found


def measure_latencies(healer: Healer, asked: list[Request]) -> list[float]:
    """Return the milliseconds of each request, one after the other."""
    found = []
    for request in asked:
        start = time.perf_counter()
        healer.heal([request])
        found.append(1000 * (time.perf_counter() - start))
    return found


def time_pipe(run: Path, asked: list[Request]) -> float:
    """Return lines a second of the real command, from its first answer to its last."""
    lines = [dumps({"context": context, "response": response}) for context, response in asked]
    with subprocess.Popen(
        [sys.executable, "-m", "isaac", "heal", str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(lines[0] + "\n")
        process.stdin.flush()
        process.stdout.readline()
        start = time.perf_counter()
        for line in lines[1:]:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            process.stdout.readline()
        seconds = time.perf_counter() - start
        process.stdin.close()
    return (len(lines) - 1) / seconds


def measure_run(run: Path, count: int, repeats: int, threads: list[int]) -> dict[str, str]:
    """Return the column of one run."""
    asked = sample_requests(run, count)
    start = time.perf_counter()
    curation = Run(run).curation()
    healer = Healer(curation)
    loaded = time.perf_counter() - start
    expected = [healer.heal([asked[0]])[0]]
    first = time.perf_counter() - start - loaded
    expected += [healer.heal([one])[0] for one in asked[1:]]
    rates: dict[int, list[float]] = {number: [] for number in threads}
    pipes: list[float] = []
    for _ in range(repeats):
        for number in threads:
            rate, found = time_requests(healer, asked, number)
            if found != expected:
                raise SystemExit(f"{run}: {number} threads gave other results than one")
            rates[number].append(rate)
        pipes.append(time_pipe(run, asked))
    single = sorted(measure_latencies(healer, asked))
    recipe = curation.recipe
    share = statistics.mean(one.action == "replaced" for one in expected)
    return {
        "exchanges": f"{len(curation.corpus):,}",
        "contexts searched": f"{len(healer.neighborhood_search.candidates.contexts):,}",
        "search, k, clusters": f"{recipe.search}, {recipe.neighbors}, {recipe.clusters}",
        **{f"requests/s, {number} thread(s)": format_median(rates[number]) for number in threads},
        "lines/s of `isaac heal`, one at a time": format_median(pipes),
        "one request, ms: median": f"{single[len(single) // 2]:.1f}",
        "one request, ms: 95th of 100": f"{single[len(single) * 95 // 100]:.1f}",
        "replaced": f"{share:.0%}",
        "to load, s": f"{loaded:.1f}",
        "first request, s": f"{first:.1f}",
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--settings", default="paper,defaults")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--data", type=Path, nargs="*", default=[DATA / "diasafety" / "train.json"])
    parser.add_argument("--run", type=Path, nargs="*", default=[], help="runs made before")
    asked = parser.parse_args()
    runs = {run.name: run for run in asked.run}
    if not runs:
        if asked.folder is None:
            parser.error("give --folder DIR, or runs with --run")
        asked.folder.mkdir(parents=True, exist_ok=True)
        file = make_corpus(asked.data, asked.size, asked.folder)
        runs = {name: curate_once(file, name, asked.folder) for name in asked.settings.split(",")}
    threads = [int(number) for number in asked.threads.split(",")]
    columns = {
        name: measure_run(run, asked.requests, asked.repeats, threads) for name, run in runs.items()
    }
    print(f"{format_header('benchmarks/heal.py', [SEED])}, {asked.requests} requests\n")
    rows = [
        (what, *(column[what] for column in columns.values()))
        for what in columns[next(iter(columns))]
    ]
    print(format_table(("what", *columns), rows))


if __name__ == "__main__":
    main()
