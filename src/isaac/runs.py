"""A curation on disk: every finished piece is a file, the manifest is written last."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from .clusters import Clusters
from .corpus import SCHEMA, Corpus, Rejected
from .curation import Curation, curate
from .decisions import LINEAGE
from .embeddings import Embedded
from .errors import RunError
from .neighbors import Ragged
from .recipe import Recipe
from .records import dumps
from .sources import Digest
from .text import short
from .tools import Tools

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

    @property
    def begun(self) -> bool:
        """Say whether anything is finished that took more than reading."""
        return any((self.path / name).is_dir() for name in ("vectors", "shards"))

    # What a curation keeps while it runs.

    def embedded(self, name: str, make: Callable[[], Embedded]) -> Embedded:
        """Return the vectors kept under a name, made and kept now if they are not there."""
        note, file = self.path / "vectors" / f"{name}.json", self.path / "vectors" / f"{name}.npy"
        if not note.exists():
            made = make()
            with self.writing(file, "wb") as out:
                _save(out, made.vectors)
            self.write(note, dumps({"encoder": made.encoder, "unknown": made.unknown}) + "\n")
        facts = json_in(note)
        with sound(file):
            vectors = np.load(file, mmap_mode="r")
        return Embedded(vectors, facts["unknown"], facts["encoder"])

    def forget(self, name: str) -> None:
        """Drop the vectors kept under a name."""
        for suffix in (".json", ".npy"):
            (self.path / "vectors" / f"{name}{suffix}").unlink(missing_ok=True)

    def array(
        self, name: str, make: Callable[[], npt.NDArray[np.float64]]
    ) -> npt.NDArray[np.float64]:
        """Return the numbers kept under a name, made and kept now if they are not there."""
        file = self.path / "vectors" / f"{name}.npy"
        if not file.exists():
            made = make()
            with self.writing(file, "wb") as out:
                _save(out, made)
        with sound(file):
            numbers: npt.NDArray[np.float64] = np.load(file)
        return numbers

    def clusters(self, number: int, make: Callable[[], Clusters]) -> Clusters:
        """Return the shard of that number, made and kept now if it is not there."""
        file = self.path / "shards" / f"{number:05}.parquet"
        if not file.exists():
            made = make()
            columns = {name: _lists(part) for name, part in made._asdict().items()}
            with self.writing(file, "wb") as out:
                pq.write_table(pa.table(columns), out, compression="zstd")
        with sound(file):
            table = pq.read_table(file)
            return Clusters(*(_ragged(table.column(name)) for name in Clusters._fields))

    # What is in the folder.

    def recipe(self) -> Recipe:
        """Return the recipe of the run."""
        return Recipe.load(self.path / "recipe.yaml")

    def manifest(self) -> dict[str, Any]:
        """Return the manifest; raise `RunError` if the run is not finished."""
        self.need_finished()
        return json_in(self.path / "manifest.json")

    def summary(self) -> dict[str, Any]:
        """Return what the report says; raise `RunError` if the run is not finished."""
        self.need_finished()
        return json_in(self.path / "report.json")

    def corpus(self) -> Corpus:
        """Return the corpus as it was read."""
        with sound(self.path / "corpus.parquet") as file:
            table = pq.read_table(file, schema=SCHEMA)
        inputs = [Digest(**given) for given in json_in(self.path / "input.json")["files"]]
        return Corpus(table, list(self._rejected()), inputs)

    def curation(self) -> Curation:
        """Return the curation of a finished run, without embedding or searching anything."""
        self.need_finished()
        made = self.prepared(self.recipe())
        with sound(self.path / "lineage.parquet") as file:
            lineage = pq.read_table(file, schema=LINEAGE)
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
                "If it was stopped, the same command, isaac curate or isaac redraw, goes on with it"
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
            writer = part.name.removesuffix(TEMPORARY).rpartition(".")[2]
            if not (writer.isdigit() and _alive(int(writer))):
                part.unlink(missing_ok=True)

    def whole(self) -> bool:
        """Say whether every output of a finished run is there as it was written."""
        known = self.manifest()["sha256"]
        return all(
            (self.path / name).exists() and sha256_of(self.path / name) == known.get(name)
            for name in OUTPUTS
        )


class _ReadOnly:
    """A store that gives what a run has and makes nothing."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def embedded(self, name: str, _make: Callable[[], Embedded], /) -> Embedded:
        return self.run.embedded(name, self._missing)

    def forget(self, _name: str, /) -> None:
        pass

    def array(
        self, name: str, _make: Callable[[], npt.NDArray[np.float64]], /
    ) -> npt.NDArray[np.float64]:
        return self.run.array(name, self._missing)

    def clusters(self, number: int, _make: Callable[[], Clusters], /) -> Clusters:
        return self.run.clusters(number, self._missing)

    def _missing(self) -> Any:
        raise RunError(
            f"{self.run.path} lacks finished work; remove its manifest.json, and the same "
            "isaac curate command makes it again"
        )


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


@contextmanager
def sound(file: Path) -> Iterator[Path]:
    """Yield a file to be read; what is wrong with its bytes becomes a `RunError`."""
    try:
        yield file
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{file} is damaged or missing ({short(str(error))}); remove it and manifest.json, "
            "and the same isaac curate command makes it again"
        ) from None


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def json_in(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise `RunError` if it cannot be read."""
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {file}: {error}") from None
    return values


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    sha = hashlib.sha256()
    with file.open("rb") as data:
        while block := data.read(2**20):
            sha.update(block)
    return sha.hexdigest()
