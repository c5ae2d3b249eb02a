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
import numpy.typing as npt
import pytest
from threadpoolctl import threadpool_info

from isaac import MissingExtraError, RunError, __version__
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
    """A cluster of three machines of one CPU each, so far as Ray can tell, and its processes."""

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

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        assert self._answer() == "done"

    def working(self) -> list[int]:
        """Return the processes of the cluster that have an item in hand."""
        return [pid for pid, title in processes() if title == "ray::_run" and self._has(pid)]

    def _has(self, pid: int) -> bool:
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
    with RayEngine(nodes.address) as made:
        yield made


class Vectors(NamedTuple):
    """What the items of a test share."""

    vectors: npt.NDArray[np.float32]
    scale: float


def mapped(tmp_path: Path) -> npt.NDArray[np.float32]:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).random((2000, 64), np.float32))
    opened: npt.NDArray[np.float32] = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert isinstance(opened, np.memmap)
    return opened


def similar(shared: Vectors, rows: range) -> npt.NDArray[np.float32]:
    block = shared.vectors[rows.start : rows.stop]
    return np.asarray((block @ shared.vectors.T) * np.float32(shared.scale))


def test_results_are_those_of_this_machine_in_the_order_of_the_items(
    engine: RayEngine, tmp_path: Path
) -> None:
    shared = Vectors(mapped(tmp_path), 0.5)
    rows = [range(start, start + 100) for start in range(0, 2000, 100)]
    for here, there in zip(
        LocalEngine(2).map(similar, rows, shared), engine.map(similar, rows, shared), strict=True
    ):
        assert here.tobytes() == there.tobytes()
        assert there.flags.writeable


def kind_of_memory(shared: Vectors, _item: int) -> tuple[str, bool, bool]:
    array = shared.vectors
    return type(array).__name__, array.flags.owndata, array.flags.writeable


def test_workers_read_shared_memory_and_not_a_copy(engine: RayEngine, tmp_path: Path) -> None:
    found = list(engine.map(kind_of_memory, range(6), Vectors(mapped(tmp_path), 1)))
    assert found == [("ndarray", False, False)] * 6


def test_what_is_packed_comes_back_and_only_small_things_are_copied(tmp_path: Path) -> None:
    opened = mapped(tmp_path)
    values: dict[str, Any] = {
        "memmap": opened,
        "strided": opened[::2, 1::3],
        "fortran": np.asfortranarray(opened),
        "empty": np.zeros((0, 3), np.int16),
        "scalar": np.float64(3).reshape(()),
        "texts": np.array(["a", None], object),
        "again": opened,
        "plain": [1, ("two", 3.0)],
    }
    parts = pack(values)
    assert len(parts[0]) < 2000
    assert any(np.shares_memory(part, opened) for part in parts)
    back = unpack(parts)
    assert back.keys() == values.keys()
    for name, value in values.items():
        assert np.array_equal(back[name], value) if name != "plain" else back[name] == value
        assert type(back[name]) is (np.ndarray if isinstance(value, np.ndarray) else type(value))
    assert back["again"] is back["memmap"]
    assert np.shares_memory(back["memmap"], opened)


def test_no_items_give_no_results(engine: RayEngine) -> None:
    assert list(engine.map(kind_of_memory, [], Vectors(np.zeros((1, 1), np.float32), 1))) == []


def threads_of(_shared: None, _item: int) -> list[int]:
    np.ones((300, 300)) @ np.ones((300, 300))
    return [
        library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
    ]


def test_a_worker_has_one_thread_for_linear_algebra(engine: RayEngine) -> None:
    for found in engine.map(threads_of, range(3), None):
        assert set(found) == {1}


class StrangeError(Exception):
    """An error that cannot be pickled."""

    def __str__(self) -> str:
        return "strange"


def fails(wanted: str, item: int) -> int:
    if item < 3:
        return item
    if wanted == "extra":
        raise MissingExtraError("engine of the test", "test")
    if wanted == "unpicklable":
        raise StrangeError(threading.Lock())
    raise RunError("item 3") if wanted == "run" else ValueError("item 3")


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        ("run", RunError, "item 3"),
        ("extra", MissingExtraError, "engine of the test needs an extra: pip install"),
        ("value", ValueError, "item 3"),
        ("unpicklable", RunError, "a Ray worker failed: StrangeError: strange"),
    ],
)
def test_an_error_reaches_the_caller_as_it_was_raised_and_in_its_turn(
    engine: RayEngine,
    wanted: str,
    error: type[Exception],
    said: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    results = engine.map(fails, range(10), wanted)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(error, match=f"^{said}") as raised:
        next(results)
    assert type(raised.value) is error
    assert "tests/runtime/test_ray.py" in str(raised.value.__cause__)
    assert capfd.readouterr().err == ""


def test_only_two_items_a_cpu_are_taken_ahead(engine: RayEngine) -> None:
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


def test_workers_bound_the_items_under_way_on_a_cluster(engine: RayEngine, nodes: Nodes) -> None:
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


def test_a_worker_killed_in_the_middle_is_made_up_for(engine: RayEngine, tmp_path: Path) -> None:
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
def test_what_ray_cannot_mend_is_told_with_a_remedy(kind: str, remedy: str) -> None:
    from ray import exceptions

    error = getattr(exceptions, kind)
    with (
        pytest.raises(RunError, match=f"lost work.*{kind}.*{remedy}"),
        engine_ray._ray_errors_as_run_error(),
    ):
        raise error("why") if kind != "WorkerCrashedError" else error


def test_a_worker_answers_with_the_result_or_with_what_was_raised() -> None:
    def answer(item: int, wanted: str, version: str = __version__) -> Any:
        return pickle.loads(engine_ray._run(version, pack((fails, wanted)), item))

    assert answer(2, "run") == 2
    assert type(answer(3, "value").error) is ValueError
    assert type(answer(3, "extra").error) is MissingExtraError
    assert str(answer(3, "unpicklable").error) == "a Ray worker failed: StrangeError: strange"
    assert "tests/runtime/test_ray.py" in answer(3, "unpicklable").traceback
    assert "this is isaac 99.1" in str(answer(2, "run", "99.1").error)
    assert engine_ray._make_version_probe()()[0] == __version__


def test_work_that_is_lost_each_time_ends_with_what_to_do(
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
    nodes.tell("add")
    assert next(results) == 1
    assert taken == 8 + 1
    nodes.tell("remove")
    assert list(results) == list(range(2, 24))


def test_another_version_of_isaac_on_a_worker_is_told(
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


def test_another_cluster_than_the_one_in_use_is_refused(engine: RayEngine) -> None:
    list(engine.map(slowly, [], None))
    with pytest.raises(RunError, match="this process already uses the Ray cluster at"):
        list(RayEngine("elsewhere:6379").map(slowly, range(1), None))


def test_an_address_needs_the_engine_that_has_one(
    isaac: RunIsaac, small: Path, tmp_path: Path
) -> None:
    done = isaac("curate", small, "-o", tmp_path / "run", "--address", "auto")
    assert done.code == 2
    assert "--engine ray" in done.err


def test_without_ray_the_extra_is_named(
    isaac: RunIsaac, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = isaac("curate", small, "-o", tmp_path / "run", "--engine", "ray")
    assert done.code == 1
    assert "engine ray needs an extra: pip install 'isaac-align[ray]'" in done.err


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "nowhere"])
def test_a_cluster_that_does_not_answer_is_told_soon(
    small: Path, tmp_path: Path, address: str
) -> None:
    command = [*curate_command(small, tmp_path / "run"), "--engine", "ray", "--address", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"isaac: cannot connect to a Ray cluster at {address}: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ray_that_is_started_here_says_nothing_and_is_stopped(small: Path, tmp_path: Path) -> None:
    command = curate_command(small, tmp_path / "run")
    started = [*command, "--engine", "ray", "--workers", "2", "--json"]
    done = subprocess.run(started, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["exchanges"] == 120
    progress = re.compile(r"[\w -]+: ([\d,/]+ \([\d,]+/s.*\)|[\d.,]+ s)")
    assert all(map(progress.fullmatch, done.stderr.splitlines())), done.stderr
    subprocess.run([*command[:-3], str(tmp_path / "here"), *command[-2:]], check=True)
    assert outputs(tmp_path / "run") == outputs(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="workers are looked for in /proc")
def test_a_cluster_gives_the_bytes_of_this_machine_though_a_worker_is_killed(
    nodes: Nodes, tmp_path: Path
) -> None:
    source = write_lines(tmp_path / "in.jsonl", recombine_exchanges(5000))
    flags = ("--radius", "1", "--view", "residual")
    here = [*curate_command(source, tmp_path / "here"), *flags]
    subprocess.run(here, check=True, capture_output=True)
    there = [*curate_command(source, tmp_path / "there"), *flags]
    with subprocess.Popen(
        [*there, "--engine", "ray", "--address", nodes.address, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not (working := nodes.working()) and process.poll() is None:
            time.sleep(0.005)
        assert working, "no worker was seen with an item in hand"
        os.kill(working[0], signal.SIGKILL)
        told, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert json.loads(told)["exchanges"] == 5000
    assert len(list((tmp_path / "there" / "shards").iterdir())) >= 3
    assert outputs(tmp_path / "there") == outputs(tmp_path / "here")
