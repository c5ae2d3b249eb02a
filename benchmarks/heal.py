"""Requests per second healed one at a time by retrieval: in Python with threads, and in a pipe.

Run: python benchmarks/heal.py --folder DIR [--size 100000] [--settings paper,defaults]
     [--requests 400] [--repeats 5] [--threads 1,2] [--data FILE ...] [--run RUN ...]
     python benchmarks/heal.py --outside

Without --run, a corpus is made as in benchmarks/scale.py, and the real command curates it into
DIR, once. Requests are exchanges that are not in the corpus: joined halves of different contexts,
and of different responses. Each request is a separate call, as a server would make it; several
threads take the requests in turn. The pipe is ``isaac heal RUN``, which answers line by line. Its
time starts at the first answer, when everything is loaded.

``--outside`` measures harm instead: a run of the bundled corpus heals 200 correct answers from
outside its domain (data/outside.jsonl: facts, code, sums, small talk). It should touch none.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from bundled import read_rows
from common import (
    DATA,
    capture_isaac,
    format_header,
    format_median,
    format_table,
    make_parser,
    run_isaac,
)
from pairs import write_chats
from plain import SEED
from scale import SETTINGS_FLAGS, join_halves, make_corpus

from isaac import Healed, Healer, Run
from isaac.corpus.records import dumps
from isaac.healing.fitting import FitHealer
from isaac.healing.retrieval import NeighborhoodHealer

Request = tuple[str, str]
"""A context and a response."""


def curate_once(file: Path, settings: str, folder: Path) -> Path:
    """Curate a corpus with the real command, unless its run is finished; return the run folder."""
    run = folder / f"{file.stem}-{settings}"
    if not Run(run).finished:
        command = [sys.executable, "-m", "isaac", "curate", str(file), "-o", str(run)]
        subprocess.run([*command, *SETTINGS_FLAGS[settings]], check=True, capture_output=True)
    return run


def sample_requests(run: Path, count: int) -> list[Request]:
    """Make exchanges similar to those of a run's corpus, but not in it."""
    corpus = Run(run).corpus()
    contexts, responses = corpus.column("context"), corpus.column("response")
    exchanges = set(zip(contexts, responses, strict=True))
    rng = np.random.default_rng(SEED)
    requests: dict[Request, None] = {}
    while len(requests) < count:
        a, b, c, d = rng.integers(0, len(contexts), 4).tolist()
        request = join_halves(contexts[a], contexts[b]), join_halves(responses[c], responses[d])
        if all(map(str.strip, request)) and request not in exchanges:
            requests[request] = None
    return list(requests)


def time_requests(
    healer: Healer, requests: list[Request], threads: int
) -> tuple[float, list[Healed]]:
    """Heal each request in a separate call; return requests per second, and the results."""

    def heal(request: Request) -> Healed:
        return healer.heal([request])[0]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(heal, requests[: 2 * threads]))  # starts the threads, outside the time
        start = time.perf_counter()
        healed = list(pool.map(heal, requests))
        return len(requests) / (time.perf_counter() - start), healed


def measure_latencies(healer: Healer, requests: list[Request]) -> list[float]:
    """Milliseconds of each request, one after the other."""
    latencies = []
    for request in requests:
        start = time.perf_counter()
        healer.heal([request])
        latencies.append(1000 * (time.perf_counter() - start))
    return latencies


def time_pipe(run: Path, requests: list[Request]) -> float:
    """Lines per second of the real command, from its first answer to its last."""
    lines = [dumps({"context": context, "response": response}) for context, response in requests]
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


def count_searched(healer: Healer) -> int:
    """How many responses are compared with a request, or how many contexts."""
    strategy = healer.strategy
    if isinstance(strategy, FitHealer):
        return len(strategy.offers.rows)
    assert isinstance(strategy, NeighborhoodHealer)
    return len(strategy.neighborhood_search.candidates.contexts)


def measure_run(run: Path, count: int, repeats: int, threads: list[int]) -> dict[str, str]:
    """Measure a run: the cells of its column, by the name of the row."""
    requests = sample_requests(run, count)
    start = time.perf_counter()
    curation = Run(run).curation()
    healer = Healer(curation)
    load_seconds = time.perf_counter() - start
    expected = [healer.heal([requests[0]])[0]]
    first_seconds = time.perf_counter() - start - load_seconds
    expected += [healer.heal([request])[0] for request in requests[1:]]
    rates: dict[int, list[float]] = {number: [] for number in threads}
    pipe_rates: list[float] = []
    for _ in range(repeats):
        for number in threads:
            rate, healed = time_requests(healer, requests, number)
            if healed != expected:
                raise SystemExit(f"{run}: {number} threads gave other results than one thread")
            rates[number].append(rate)
        pipe_rates.append(time_pipe(run, requests))
    latencies = sorted(measure_latencies(healer, requests))
    recipe = curation.recipe
    replaced = statistics.mean(healed.action == "replaced" for healed in expected)
    return {
        "exchanges": f"{len(curation.corpus):,}",
        "mode": recipe.mode,
        "responses offered, or contexts searched": f"{count_searched(healer):,}",
        **{f"requests/s, {number} thread(s)": format_median(rates[number]) for number in threads},
        "lines/s of `isaac heal`, one at a time": format_median(pipe_rates),
        "one request, ms: median": f"{latencies[len(latencies) // 2]:.1f}",
        "one request, ms: 95th percentile": f"{latencies[len(latencies) * 95 // 100]:.1f}",
        "replaced": f"{replaced:.0%}",
        "loading, s": f"{load_seconds:.1f}",
        "first request, s": f"{first_seconds:.1f}",
    }


OUTSIDE_FILE = Path(__file__).with_name("data") / "outside.jsonl"
"""Correct answers that have nothing to do with the bundled corpus, by kind."""


def measure_outside(folder: Path) -> list[tuple[str, ...]]:
    """Heal answers from outside the bundled corpus; the rows of a table, one per kind and all."""
    chats = folder / "chats.jsonl"
    write_chats(chats, read_rows("demo.jsonl"))
    run = folder / "run"
    run_isaac("curate", chats, "-o", run)
    records = [json.loads(line) for line in OUTSIDE_FILE.read_text(encoding="utf-8").splitlines()]
    requests = folder / "outside.jsonl"
    write_chats(requests, records)
    lines = capture_isaac("heal", run, stdin=requests).splitlines()
    actions = [json.loads(line)["isaac_action"] for line in lines]
    kinds = [record["kind"] for record in records]
    return tabulate_touched(kinds, actions)


def tabulate_touched(kinds: Sequence[str], actions: Sequence[str]) -> list[tuple[str, ...]]:
    """Count what was touched, by kind and in all; a row is touched unless it was kept."""
    touched = Counter(k for k, a in zip(kinds, actions, strict=True) if a in TOUCHED_ACTIONS)
    rows = [(kind, touched[kind], count) for kind, count in Counter(kinds).items()]
    rows.append(("all", touched.total(), len(kinds)))
    return [(kind, f"{count:,}", f"{100 * part / count:.1f}") for kind, part, count in rows]


TOUCHED_ACTIONS = ("replaced", "rewritten", "fallback")
"""What healing calls a response that it changed."""


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--folder", type=Path, help="where the corpus and its runs go")
    parser.add_argument("--size", type=int, default=100_000, help="exchanges in the corpus")
    parser.add_argument("--settings", default="paper,defaults")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--data", type=Path, nargs="*", default=[DATA / "diasafety" / "train.json"])
    parser.add_argument(
        "--run", type=Path, nargs="*", default=[], help="finished runs to heal with"
    )
    parser.add_argument("--outside", action="store_true", help="heal answers from other domains")
    args = parser.parse_args()
    if args.outside:
        table = measure_outside(Path(tempfile.mkdtemp()))
        print(f"{format_header('benchmarks/heal.py --outside', ())}\n")
        print(format_table(("answers about", "rows", "touched, %"), table))
        return
    runs = {run.name: run for run in args.run}
    if not runs:
        if args.folder is None:
            parser.error("no run to heal with: pass --folder DIR to make one, or --run RUN")
        args.folder.mkdir(parents=True, exist_ok=True)
        file = make_corpus(args.data, args.size, args.folder)
        runs = {name: curate_once(file, name, args.folder) for name in args.settings.split(",")}
    threads = [int(number) for number in args.threads.split(",")]
    columns = {
        name: measure_run(run, args.requests, args.repeats, threads) for name, run in runs.items()
    }
    print(f"{format_header('benchmarks/heal.py', [SEED])}, {args.requests} requests\n")
    first_column = next(iter(columns.values()))
    rows = [(name, *(column[name] for column in columns.values())) for name in first_column]
    print(format_table(("what", *columns), rows))


if __name__ == "__main__":
    main()
