"""A curation on disk: every finished piece is a file, the manifest is written last."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ._version import __version__
from .clusters import Clusters
from .corpus import SCHEMA, Corpus, Rejected, digest_inputs, read_corpus
from .curation import LINEAGE, Curation, Tools, curate
from .embeddings import Embedded
from .errors import RecipeError, RunError
from .neighbors import Ragged
from .recipe import DRAW_FIELDS, Recipe
from .records import dumps
from .report import html, markdown, summarize
from .sources import Digest

OUTPUTS = ("lineage.parquet", "curated.jsonl", "report.json", "report.md", "report.html")
INPUTS = ("input.json", "corpus.parquet", "rejected.jsonl")
TEMPORARY = ".part"


class Run:
    """A folder that holds a curation, finished or under way.

    It is a `Store`: what a curation finishes is kept in it piece by piece, so that the same
    command goes on where it was stopped, at whatever moment.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def finished(self) -> bool:
        """Say whether everything is there."""
        return (self.path / "manifest.json").exists()

    # What a curation keeps while it runs.

    def embedded(self, name: str, make: Callable[[], Embedded]) -> Embedded:
        """Return the vectors kept under a name, made and kept now if they are not there."""
        note, file = self.path / "vectors" / f"{name}.json", self.path / "vectors" / f"{name}.npy"
        if not note.exists():
            made = make()
            with self.writing(file, "wb") as out:
                _save(out, made.vectors)
            self.write(note, dumps({"encoder": made.encoder, "unknown": made.unknown}) + "\n")
        facts = json.loads(note.read_text())
        return Embedded(np.load(file, mmap_mode="r"), facts["unknown"], facts["encoder"])

    def forget(self, name: str) -> None:
        """Drop the vectors kept under a name."""
        for suffix in (".json", ".npy"):
            (self.path / "vectors" / f"{name}{suffix}").unlink(missing_ok=True)

    def clusters(self, number: int, make: Callable[[], Clusters]) -> Clusters:
        """Return the shard of that number, made and kept now if it is not there."""
        file = self.path / "shards" / f"{number:05}.parquet"
        if not file.exists():
            made = make()
            columns = {name: _lists(part) for name, part in made._asdict().items()}
            with self.writing(file, "wb") as out:
                pq.write_table(pa.table(columns), out, compression="zstd")
        table = pq.read_table(file)
        return Clusters(*(_ragged(table.column(name)) for name in Clusters._fields))

    # What is in the folder.

    def recipe(self) -> Recipe:
        """Return the recipe of the run."""
        return Recipe.load(self.path / "recipe.yaml")

    def manifest(self) -> dict[str, Any]:
        """Return the manifest; raise `RunError` if the run is not finished."""
        self.need_finished()
        return _json(self.path / "manifest.json")

    def summary(self) -> dict[str, Any]:
        """Return what the report says; raise `RunError` if the run is not finished."""
        self.need_finished()
        return _json(self.path / "report.json")

    def corpus(self) -> Corpus:
        """Return the corpus as it was read."""
        table = pq.read_table(self.path / "corpus.parquet", schema=SCHEMA)
        inputs = [Digest(**given) for given in _json(self.path / "input.json")["files"]]
        return Corpus(table, list(self._rejected()), inputs)

    def curation(self) -> Curation:
        """Return the curation of a finished run, without embedding or searching anything."""
        self.need_finished()
        made = self.prepared(self.recipe())
        lineage = pq.read_table(self.path / "lineage.parquet", schema=LINEAGE)
        return replace(made, lineage=lineage)

    def prepared(self, recipe: Recipe) -> Curation:
        """Return the curation by a recipe of the run's neighbourhoods, making none of them."""
        return curate(self.corpus(), recipe, Tools(store=_ReadOnly(self)))

    def _rejected(self) -> Iterator[Rejected]:
        with (self.path / "rejected.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                raw = base64.b64decode(row["raw_base64"]) if "raw_base64" in row else None
                raw = row["raw"].encode() if raw is None else raw
                yield Rejected(row["file"], row["line"], row["reason"], raw)

    def need_finished(self) -> None:
        """Raise `RunError` if the run is not there or not finished."""
        if not self.path.is_dir():
            raise RunError(
                f"no run folder {self.path}; make one with: isaac curate INPUT -o {self.path}"
            )
        if not self.finished:
            raise RunError(
                f"{self.path} is not a finished run: it has no manifest.json. "
                "If it was stopped, the same isaac curate command goes on with it"
            )

    # How files come into it.

    @contextmanager
    def writing(self, file: Path, mode: str = "w") -> Iterator[IO[Any]]:
        """Yield a file that takes its name only when it is whole and on the disk."""
        part = file.with_name(f"{file.name}.{os.getpid()}{TEMPORARY}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with part.open(mode, encoding=None if "b" in mode else "utf-8") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            part.replace(file)
        except OSError as error:
            part.unlink(missing_ok=True)
            why = error.strerror or str(error)
            raise RunError(
                f"cannot write {file}: {why}. What is finished stays: when it can be written, "
                "the same command goes on from there"
            ) from error

    def write(self, file: Path, text: str) -> None:
        """Write a small text file, whole or not at all."""
        with self.writing(file) as out:
            out.write(text)

    def remove(self, *names: str) -> None:
        """Remove files of the run, whether they are there or not."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a killed process had half written."""
        for part in self.path.rglob(f"*{TEMPORARY}"):
            part.unlink(missing_ok=True)


class _ReadOnly:
    """A store that gives what a run has and makes nothing."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def embedded(self, name: str, _make: Callable[[], Embedded], /) -> Embedded:
        return self.run.embedded(name, self._missing)

    def forget(self, _name: str, /) -> None:
        pass

    def clusters(self, number: int, _make: Callable[[], Clusters], /) -> Clusters:
        return self.run.clusters(number, self._missing)

    def _missing(self) -> Any:
        raise RunError(
            f"{self.run.path} lacks finished work; the same isaac curate command makes it again"
        )


def curate_to(
    path: str | Path, source: str | Path, recipe: Recipe, tools: Tools | None = None
) -> Run:
    """Return a finished run in a folder: begun, gone on with, or found as it was.

    Raises `RunError` if the folder holds something else, or a run of another recipe or input.
    """
    tools = tools or Tools()
    run = Run(path)
    begin(run, recipe)
    started = time.monotonic()
    seconds: dict[str, float] = {}
    with _timed(seconds, "read"):
        corpus = _read(run, source, recipe, tools)
    if run.finished:
        return run
    with _timed(seconds, "curate"):
        curation = curate(corpus, recipe, tools._replace(store=run))
    finish(run, curation, seconds=seconds, started=started)
    return run


def begin(run: Run, recipe: Recipe) -> None:
    """Make the folder a run of this recipe, or see that it already is one."""
    kept = run.path / "recipe.yaml"
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        empty = not any(run.path.iterdir())
    except OSError as error:
        raise RunError(f"cannot use {run.path} as a run folder: {error.strerror}") from None
    if kept.exists():
        differences = run.recipe().differences(recipe)
        if differences:
            raise RunError(
                f"{run.path} holds a run of another recipe ({'; '.join(differences)}). "
                "Choose another folder" + _redraw_hint(differences)
            )
        run.sweep()
    elif empty or all(file.name.endswith(TEMPORARY) for file in run.path.iterdir()):
        run.sweep()
        run.write(kept, recipe.dump())
    else:
        raise RunError(f"{run.path} is not empty and not a run folder; choose another")


def _redraw_hint(differences: list[str]) -> str:
    fields = {difference.partition(":")[0] for difference in differences}
    return ", or use isaac redraw" if fields <= DRAW_FIELDS else ""


def _read(run: Run, source: str | Path, recipe: Recipe, tools: Tools) -> Corpus:
    note = run.path / "input.json"
    if note.exists():
        known = _json(note)
        now = [digest.sha256 for digest in digest_inputs(source)]
        if now != [given["sha256"] for given in known["files"]]:
            raise RunError(f"{run.path} holds a run of another input; choose another folder")
        if known["isaac"] != __version__:
            raise RunError(
                f"{run.path} was begun by isaac {known['isaac']}, this is {__version__}; "
                "choose another folder"
            )
        return run.corpus()
    corpus = read_corpus(source, recipe, progress=tools.progress)
    with run.writing(run.path / "corpus.parquet", "wb") as out:
        pq.write_table(corpus.table, out, compression="zstd")
    with run.writing(run.path / "rejected.jsonl") as lines:
        lines.writelines(rejected.as_json() + "\n" for rejected in corpus.rejected)
    files = [digest._asdict() for digest in corpus.inputs]
    run.write(note, json.dumps({"isaac": __version__, "files": files}, indent=2) + "\n")
    return corpus


def finish(run: Run, curation: Curation, *, seconds: dict[str, float], started: float) -> None:
    """Write lineage, curated corpus, report and, last, the manifest."""
    with _timed(seconds, "write"):
        with run.writing(run.path / "lineage.parquet", "wb") as out:
            pq.write_table(curation.lineage, out, compression="zstd")
        with run.writing(run.path / "curated.jsonl") as lines:
            lines.writelines(dumps(record) + "\n" for record in curated_records(curation))
        write_report(run, summarize(curation))
    measured = {
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "seconds_total": round(time.monotonic() - started, 3),
        "peak_memory_mib": peak_memory_mib(),
    }
    manifest = {
        "isaac": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
        "platform": platform.platform(),
        "input": [digest._asdict() for digest in curation.corpus.inputs],
        "search": "exact" if curation.contexts is not None else f"key {curation.recipe.group_by}",
        "encoders": {
            name: embedded.encoder
            for name, embedded in (
                ("contexts", curation.contexts),
                ("responses", curation.responses),
            )
            if embedded is not None
        },
        "seed": curation.recipe.seed,
        "exchanges": len(curation.corpus),
        "rejected": len(curation.corpus.rejected),
        "sha256": {name: _sha256(run.path / name) for name in OUTPUTS},
        "measured": measured,
    }
    run.write(run.path / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def write_report(run: Run, summary: dict[str, Any]) -> None:
    """Write the report in its three forms."""
    run.write(run.path / "report.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    run.write(run.path / "report.md", markdown(summary))
    run.write(run.path / "report.html", html(summary))


def redraw_run(run: Run, changes: dict[str, Any], to: Path | None = None) -> Run:
    """Return the run drawn again with other settings, in place or as a new folder.

    Nothing is embedded or searched anew. Raises `RecipeError` for a field that the
    neighbourhoods depend on.
    """
    fixed = sorted(set(changes) - DRAW_FIELDS)
    if fixed:
        raise RecipeError(
            f"redraw cannot change {', '.join(fixed)}; it can: {', '.join(sorted(DRAW_FIELDS))}"
        )
    if not (run.path / "recipe.yaml").exists():
        run.need_finished()
    started = time.monotonic()
    seconds: dict[str, float] = {}
    recipe = Recipe.of({**run.recipe().model_dump(), **changes})
    curation = run.prepared(recipe)
    target = run
    if to is not None:
        target = Run(to)
        begin(target, recipe)
        _copy_work(run, target)
    target.remove("manifest.json")
    target.write(target.path / "recipe.yaml", recipe.dump())
    finish(target, curation, seconds=seconds, started=started)
    return target


def _copy_work(source: Run, target: Run) -> None:
    for name in INPUTS:
        with target.writing(target.path / name, "wb") as out:
            out.write((source.path / name).read_bytes())
    for folder in ("vectors", "shards"):
        if (source.path / folder).is_dir():
            shutil.copytree(source.path / folder, target.path / folder, dirs_exist_ok=True)


def curated_records(curation: Curation) -> Iterator[dict[str, Any]]:
    """Yield the input's own records, each once for every target, with what was drawn.

    ``isaac_id`` and ``isaac_action`` are added, as lists where several turns of a record were
    curated, and ``isaac_target`` where the recipe asks for several targets.
    """
    corpus, several = curation.corpus, curation.recipe.targets > 1
    drawn = curation.drawn()
    for record, ids in corpus.records():
        draws = [next(drawn)[1] for _ in ids]
        for target in range(max(map(len, draws))):
            chosen = [options[min(target, len(options) - 1)] for options in draws]
            new = {
                i: text
                for i, (action, text, _) in zip(ids, chosen, strict=True)
                if action != "kept"
            }
            actions = [action for action, _, _ in chosen]
            added: dict[str, Any] = {
                "isaac_id": ids if curation.recipe.turns == "all" else ids[0],
                "isaac_action": actions if curation.recipe.turns == "all" else actions[0],
            }
            if several:
                added["isaac_target"] = target
            yield _with(corpus.replaced(record, new), added)


def _with(record: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """Return the record with more columns, under other names where the names are taken."""
    merged = dict(record)
    for name, value in added.items():
        free, number = name, 1
        while free in record:
            number += 1
            free = f"{name}_{number}"
        merged[free] = value
    return merged


def peak_memory_mib() -> float | None:
    """Return the most memory that this process had at once, or None where that is not told."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if platform.system() == "Darwin" else 2**10), 1)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[name] = time.monotonic() - start


def _save(out: IO[bytes], array: npt.NDArray[Any]) -> None:
    """Write an array as .npy by plain writes: unlike np.save's, their errors name a cause."""
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(out, header)
    out.write(np.ascontiguousarray(array).data)


def _lists(part: Ragged) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array(part.offsets), pa.array(part.values, pa.int32()))


def _ragged(column: pa.ChunkedArray) -> Ragged:
    lists = column.combine_chunks()
    lists = lists if isinstance(lists, pa.Array) else lists.chunk(0)
    values = lists.values.to_numpy().astype(np.int64)
    return Ragged(values, lists.offsets.to_numpy().astype(np.int64))


def _json(file: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {file}: {error}") from None
    return values


def _sha256(file: Path) -> str:
    sha = hashlib.sha256()
    with file.open("rb") as data:
        while block := data.read(2**20):
            sha.update(block)
    return sha.hexdigest()
