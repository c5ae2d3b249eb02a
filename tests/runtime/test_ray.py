"""The Ray engine: the results of the local engine, whatever happens to workers and machines."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from isaac import MissingExtraError, RunError, __version__
from isaac.runtime.arrays import Floats
from isaac.runtime.engines import LocalEngine, RayEngine
from isaac.runtime.engines import ray as engine_ray
from isaac.runtime.engines.ray import check_same_version, pack, unpack
from tests.cli.test_runs import outputs
from tests.conftest import RunIsaac, curate_command, recombine_exchanges, write_lines

pytest.importorskip("ray", reason="ray is not installed")

CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1, wait=False) for _ in range(2)]
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "add":
        nodes.append(cluster.add_node(num_cpus=1))
    else:
        cluster.remove_node(nodes.pop(), allow_graceful=False)
    print("done", flush=True)
cluster.shutdown()
"""


class Nodes:
    """A process with three Ray nodes of one CPU each, which Ray takes for three machines."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        )
        self.address = self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, command: str) -> None:
        """Add a node with "add", or kill one with "remove"."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        assert self._answer() == "done"

    def busy_workers(self) -> list[int]:
        """The ids of the cluster's worker processes that are running an item."""
        return [pid for pid, title in processes() if title == "ray::_run" and self._owns(pid)]

    def _owns(self, pid: int) -> bool:
        while pid > 1:
            if pid == self.process.pid:
                return True
            pid = parent(pid)
        return False

    def close(self) -> None:
        self.process.communicate(timeout=30)


def processes() -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        yield int(folder.name), title.decode(errors="replace").split("\0")[0].strip()


def parent(pid: int) -> int:
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    cluster = Nodes()
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def engine(nodes: Nodes) -> Iterator[RayEngine]:
    with RayEngine(nodes.address) as connected:
        yield connected


class Vectors(NamedTuple):
    """The data that all items of a test share."""

    vectors: Floats
    scale: float


def mapped(tmp_path: Path) -> Floats:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).random((2000, 64), np.float32))
    opened: Floats = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert isinstance(opened, np.memmap)
    return opened


def similar(shared: Vectors, rows: range) -> Floats:
    block = shared.vectors[rows.start : rows.stop]
    return np.asarray((block @ shared.vectors.T) * np.float32(shared.scale))


def test_results_equal_the_local_engines_in_the_order_of_the_items(
    engine: RayEngine, tmp_path: Path
) -> None:
    shared = Vectors(mapped(tmp_path), 0.5)
    rows = [range(start, start + 100) for start in range(0, 2000, 100)]
    for local, remote in zip(
        LocalEngine(2).map(similar, rows, shared), engine.map(similar, rows, shared), strict=True
    ):
        assert local.tobytes() == remote.tobytes()
        assert remote.flags.writeable


def describe_memory(shared: Vectors, _item: int) -> tuple[str, bool, bool]:
    array = shared.vectors
    return type(array).__name__, array.flags.owndata, array.flags.writeable


def test_workers_read_shared_memory_and_not_a_copy(engine: RayEngine, tmp_path: Path) -> None:
    memory = list(engine.map(describe_memory, range(6), Vectors(mapped(tmp_path), 1)))
    assert memory == [("ndarray", False, False)] * 6


def test_packing_keeps_values_and_copies_only_small_ones(tmp_path: Path) -> None:
    vectors = mapped(tmp_path)
    values: dict[str, Any] = {
        "memmap": vectors,
        "strided": vectors[::2, 1::3],
        "fortran": np.asfortranarray(vectors),
        "empty": np.zeros((0, 3), np.int16),
        "scalar": np.float64(3).reshape(()),
        "texts": np.array(["a", None], object),
        "again": vectors,
        "plain": [1, ("two", 3.0)],
    }
    parts = pack(values)
    assert len(parts[0]) < 2000
    assert any(np.shares_memory(part, vectors) for part in parts)
    back = unpack(parts)
    assert back.keys() == values.keys()
    for name, value in values.items():
        assert np.array_equal(back[name], value) if name != "plain" else back[name] == value
        assert type(back[name]) is (np.ndarray if isinstance(value, np.ndarray) else type(value))
    assert back["again"] is back["memmap"]
    assert np.shares_memory(back["memmap"], vectors)


def test_no_items_give_no_results(engine: RayEngine) -> None:
    assert list(engine.map(describe_memory, [], Vectors(np.zeros((1, 1), np.float32), 1))) == []


def threads_of(_shared: None, _item: int) -> list[int]:
    np.ones((300, 300)) @ np.ones((300, 300))
    return [
        library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
    ]


def test_a_worker_has_one_thread_for_linear_algebra(engine: RayEngine) -> None:
    for threads in engine.map(threads_of, range(3), None):
        assert set(threads) == {1}


class StrangeError(Exception):
    """An error that cannot be pickled."""

    def __str__(self) -> str:
        return "strange"


def fails(kind: str, item: int) -> int:
    if item < 3:
        return item
    if kind == "extra":
        raise MissingExtraError("engine of the test", "test")
    if kind == "unpicklable":
        raise StrangeError(threading.Lock())
    raise RunError("item 3") if kind == "run" else ValueError("item 3")


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("run", RunError, "item 3"),
        ("extra", MissingExtraError, "engine of the test needs an extra: pip install"),
        ("value", ValueError, "item 3"),
        ("unpicklable", RunError, "a Ray worker failed: StrangeError: strange"),
    ],
)
def test_an_error_is_raised_unchanged_when_it_is_the_items_turn(
    engine: RayEngine,
    kind: str,
    error: type[Exception],
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    results = engine.map(fails, range(10), kind)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(error, match=f"^{message}") as raised:
        next(results)
    assert type(raised.value) is error
    assert "tests/runtime/test_ray.py" in str(raised.value.__cause__)
    assert capfd.readouterr().err == ""


def test_only_two_items_per_cpu_are_taken_ahead(engine: RayEngine) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in itertools.count():
            taken += 1
            yield item

    results = engine.map(fails, (item % 3 for item in items()), "run")
    assert taken == 0
    assert [next(results) for _ in range(5)] == [0, 1, 2, 0, 1]
    assert taken == 2 * 3 + 4
    assert isinstance(results, Generator)
    results.close()
    assert taken == 2 * 3 + 4


def test_workers_limits_the_items_in_progress_on_a_cluster(engine: RayEngine, nodes: Nodes) -> None:
    list(engine.map(slowly, [], None))
    items = iter(range(3))
    results = RayEngine(nodes.address, workers=2).map(fails, items, "run")
    assert next(results) == 0
    assert list(items) == [2]


def waits_to_be_killed(folder: Path, item: int) -> int:
    with (folder / str(item)).open("a") as attempts:
        attempts.write(f"{os.getpid()}\n")
    if item == 4 and len((folder / "4").read_text().split()) == 1:
        time.sleep(60)
    return item * item


def test_the_item_of_a_killed_worker_is_retried(engine: RayEngine, tmp_path: Path) -> None:
    def kill() -> None:
        while not (file := tmp_path / "4").exists() or not file.read_text():
            time.sleep(0.01)
        os.kill(int(file.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert list(engine.map(waits_to_be_killed, range(9), tmp_path)) == [n * n for n in range(9)]
    killer.join()
    assert len(set((tmp_path / "4").read_text().split())) == 2


def dies(_shared: None, _item: int) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("OutOfMemoryError", "more memory, or fewer CPUs"),
        ("ObjectStoreFullError", "--object-store-memory"),
        ("WorkerCrashedError", "ray status"),
    ],
)
def test_errors_of_ray_come_with_a_remedy(kind: str, remedy: str) -> None:
    from ray import exceptions

    error = getattr(exceptions, kind)
    with (
        pytest.raises(RunError, match=f"lost work.*{kind}.*{remedy}"),
        engine_ray._ray_errors_as_run_error(),
    ):
        raise error("why") if kind != "WorkerCrashedError" else error


def test_a_worker_returns_the_result_or_the_failure() -> None:
    def answer(item: int, kind: str, version: str = __version__) -> Any:
        return pickle.loads(engine_ray._run(version, pack((fails, kind)), item))

    assert answer(2, "run") == 2
    assert type(answer(3, "value").error) is ValueError
    assert type(answer(3, "extra").error) is MissingExtraError
    assert str(answer(3, "unpicklable").error) == "a Ray worker failed: StrangeError: strange"
    assert "tests/runtime/test_ray.py" in answer(3, "unpicklable").traceback
    assert "this is isaac 99.1" in str(answer(2, "run", "99.1").error)
    assert engine_ray._make_version_probe()()[0] == __version__


def test_an_item_that_kills_every_worker_is_an_error_with_a_remedy(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_ray, "MAX_RETRIES", 1)
    with pytest.raises(RunError, match=r"lost work.*1 retries.*WorkerCrashedError.*same command"):
        list(engine.map(dies, range(1), None))


def slowly(_shared: None, item: int) -> int:
    time.sleep(0.3)
    return item


@pytest.mark.slow
def test_a_cluster_may_grow_and_lose_a_machine_in_the_middle(
    engine: RayEngine, nodes: Nodes
) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(24):
            taken += 1
            yield item

    results = engine.map(slowly, items(), None)
    assert next(results) == 0
    assert taken == 6
    nodes.send("add")
    assert next(results) == 1
    assert taken == 8 + 1
    nodes.send("remove")
    assert list(results) == list(range(2, 24))


def test_another_version_of_isaac_on_a_worker_is_an_error(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match=r"worker on node-7 has no isaac; install the same"):
        check_same_version("1.2", None, "node-7")
    list(engine.map(slowly, [], None))
    engine._check_versions()
    monkeypatch.setattr(engine_ray, "__version__", "99.1")
    with pytest.raises(RunError, match=rf"this is isaac 99\.1, .* has isaac {__version__};"):
        list(engine.map(slowly, range(1), None))
    with pytest.raises(RunError, match=rf"this is isaac 99\.1, .* has isaac {__version__};"):
        engine._check_versions()


def test_a_second_cluster_in_one_process_is_refused(engine: RayEngine) -> None:
    list(engine.map(slowly, [], None))
    with pytest.raises(RunError, match="this process already uses the Ray cluster at"):
        list(RayEngine("elsewhere:6379").map(slowly, range(1), None))


def test_an_address_needs_the_engine_ray(isaac: RunIsaac, small: Path, tmp_path: Path) -> None:
    done = isaac("curate", small, "-o", tmp_path / "run", "--address", "auto")
    assert done.code == 2
    assert "--engine ray" in done.err


def test_without_ray_the_extra_is_named(
    isaac: RunIsaac, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = isaac("curate", small, "-o", tmp_path / "run", "--engine", "ray")
    assert done.code == 1
    assert "engine ray needs an extra: pip install '" in done.err


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "nowhere"])
def test_a_cluster_that_does_not_answer_is_an_error_within_seconds(
    small: Path, tmp_path: Path, address: str
) -> None:
    command = [*curate_command(small, tmp_path / "run"), "--engine", "ray", "--address", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"isaac: cannot connect to a Ray cluster at {address}: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_ray_started_here_is_silent_and_is_stopped(small: Path, tmp_path: Path) -> None:
    command = curate_command(small, tmp_path / "run")
    started = [*command, "--engine", "ray", "--workers", "2", "--json"]
    done = subprocess.run(started, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["exchanges"] == 120
    progress = re.compile(r"[\w -]+: ([\d,/]+ \([\d,]+/s.*\)|[\d.,]+ s)")
    assert all(map(progress.fullmatch, done.stderr.splitlines())), done.stderr
    subprocess.run([*command[:-3], str(tmp_path / "local"), *command[-2:]], check=True)
    assert outputs(tmp_path / "run") == outputs(tmp_path / "local")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find the workers")
def test_a_cluster_gives_the_bytes_of_this_machine_even_if_a_worker_is_killed(
    nodes: Nodes, tmp_path: Path
) -> None:
    source = write_lines(tmp_path / "in.jsonl", recombine_exchanges(5000))
    flags = ("--recipe", "redraw-most", "--radius", "1", "--view", "residual")
    local = [*curate_command(source, tmp_path / "local"), *flags]
    subprocess.run(local, check=True, capture_output=True)
    remote = [*curate_command(source, tmp_path / "remote"), *flags]
    with subprocess.Popen(
        [*remote, "--engine", "ray", "--address", nodes.address, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not (busy := nodes.busy_workers()) and process.poll() is None:
            time.sleep(0.005)
        assert busy, "no worker was seen running an item"
        os.kill(busy[0], signal.SIGKILL)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["exchanges"] == 5000
    assert len(list((tmp_path / "remote" / "shards").iterdir())) >= 3
    assert outputs(tmp_path / "remote") == outputs(tmp_path / "local")
