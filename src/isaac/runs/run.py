"""A curation on disk: every finished piece is a file, the manifest is written last."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq

from ..corpus.corpus import CORPUS_SCHEMA, Corpus
from ..corpus.files import InputDigest
from ..corpus.parquet_table import ParquetTable
from ..corpus.rejected import RejectedFile
from ..curation.curate import Curation, prepare
from ..curation.lineage import LINEAGE_SCHEMA
from ..curation.resources import Tools
from ..errors import RunError
from ..recipe import Recipe
from ..runtime.atomic_files import (
    MirroredFolder,
    damaged_as_run_error,
    exclusive_lock,
    file_sha256,
    read_json,
)
from ..runtime.remote import Mirror, is_url
from .disk_storage import DiskStorage

OUTPUT_FILES = ("lineage.parquet", "curated.jsonl", "report.json", "report.md", "report.html")
INPUT_FILES = ("input.json", "corpus.parquet", "rejected.jsonl")
WORK_FOLDERS = ("vectors", "shards", "texts")


class Run:
    """A folder that holds a curation, finished or under way.

    What a curation finishes is kept in it piece by piece, so that the same command goes on where
    it was stopped, at whatever moment.
    """

    def __init__(self, path: str | Path, mirror: Mirror | None = None) -> None:
        self.path = Path(path)
        self.folder = MirroredFolder(self.path, mirror)

    @classmethod
    def at(cls, place: str | Path) -> Run:
        """Return the run at a path or URL; of a URL, a copy whose finished files go there."""
        if not is_url(place):
            return cls(place)
        path = Path(tempfile.mkdtemp(prefix="isaac-"))
        run = cls(path, Mirror(str(place), path))
        weakref.finalize(run, shutil.rmtree, path, ignore_errors=True)
        return run

    def place(self, name: str) -> str:
        """Return where a file of the run is to be found."""
        mirror = self.folder.mirror
        return str(self.path / name) if mirror is None else f"{mirror.url.rstrip('/')}/{name}"

    @property
    def finished(self) -> bool:
        """Say whether everything is there."""
        return (self.path / "manifest.json").exists()

    @property
    def begun(self) -> bool:
        """Say whether anything is finished that took more than reading."""
        return any(any((self.path / name).glob("*")) for name in ("vectors", "shards"))

    # What is in the folder.

    def recipe(self) -> Recipe:
        """Return the recipe of the run."""
        return Recipe.load(self.path / "recipe.yaml")

    def manifest(self) -> dict[str, Any]:
        """Return the manifest; raise `RunError` if the run is not finished."""
        self.need_finished()
        return read_json(self.path / "manifest.json")

    def summary(self) -> dict[str, Any]:
        """Return what the report says; raise `RunError` if the run is not finished."""
        self.need_finished()
        return read_json(self.path / "report.json")

    def corpus(self) -> Corpus:
        """Return the corpus as it was read, its exchanges on disk."""
        with damaged_as_run_error(self.path / "corpus.parquet") as file:
            table = ParquetTable(file, CORPUS_SCHEMA, ("values",))
        inputs = [InputDigest(**given) for given in read_json(self.path / "input.json")["files"]]
        return Corpus(table, RejectedFile(self.path / "rejected.jsonl"), inputs)

    def curation(self) -> Curation:
        """Return the curation of a finished run, without embedding or searching anything."""
        self.need_finished()
        made = self.prepared(self.recipe())
        with damaged_as_run_error(self.path / "lineage.parquet") as file:
            lineage = pq.read_table(file, schema=LINEAGE_SCHEMA)
        return replace(made, stored_lineage=lineage)

    def prepared(self, recipe: Recipe, tools: Tools | None = None) -> Curation:
        """Return the curation by a recipe of the run's neighbourhoods, making none of them."""
        kept = DiskStorage(self.folder, finished=True)
        return prepare(self.corpus(), recipe, (tools or Tools())._replace(store=kept))

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
    def locked(self) -> Iterator[None]:
        """Keep other processes from working on the run; raise `RunError` if one does."""
        with exclusive_lock(self.path, "a run folder", f"works on {self.path}"):
            if self.folder.mirror is not None:
                self.folder.mirror.fetch()
            yield

    def writing(self, file: Path, mode: str = "w") -> AbstractContextManager[IO[Any]]:
        """Return a file that takes its name only when it is whole and on the disk."""
        return self.folder.writing(file, mode)

    def write(self, file: Path, text: str) -> None:
        """Write a small text file, whole or not at all."""
        with self.writing(file) as out:
            out.write(text)

    def remove(self, *names: str) -> None:
        """Remove files and folders of the run, whether they are there or not."""
        for name in names:
            self.folder.remove(name)

    def whole(self) -> bool:
        """Say whether every output of a finished run is there as it was written."""
        known = self.manifest()["sha256"]
        return all(
            (self.path / name).exists() and file_sha256(self.path / name) == known.get(name)
            for name in OUTPUT_FILES
        )
