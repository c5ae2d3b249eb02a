"""The run folder: a curation on disk, with a file per finished step and the manifest last."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow.parquet as pq

from .._version import __version__
from ..corpus.corpus import CORPUS_SCHEMA, OPTIONAL_COLUMNS, Corpus
from ..corpus.files import InputDigest
from ..corpus.parquet_table import ParquetTable
from ..corpus.rejected import RejectedFile
from ..curation.curate import Curation, prepare
from ..curation.lineage import LINEAGE_SCHEMA
from ..curation.resources import Tools
from ..curation.storage import CLUSTER_KEYS, SHARD_PREFIX
from ..errors import RunError
from ..recipe import Recipe
from ..runtime.atomic_files import (
    MirroredFolder,
    damaged_as_run_error,
    exclusive_lock,
    file_sha256,
    json_sha256,
    read_json,
)
from ..runtime.remote import Mirror, is_url
from ..text import hide_url_secrets
from .disk_storage import DiskStorage

REPORT_FILES = ("report.json", "report.md", "report.html")
"""The report of a finished run."""
CORPUS_FILES = ("curated.jsonl", "untrusted.jsonl")
"""The curated corpus and the rows that it leaves out; not written if the method does not apply."""
OUTPUT_FILES = ("lineage.parquet", *CORPUS_FILES, *REPORT_FILES)
"""Files of a finished run, besides its manifest."""
INPUT_FILES = ("input.json", "corpus.parquet", "rejected.jsonl")
"""Files that reading the input writes."""
WORK_FOLDERS = ("vectors", "shards", "texts")
"""Folders of the intermediate results."""

MANIFEST_CHECKSUM = "manifest_sha256"
"""Where the manifest has the checksum of all else in it."""


class InputFacts(NamedTuple):
    """What ``input.json`` says: who read which files, and the checksums of what was read."""

    isaac: str
    files: list[InputDigest]
    read: dict[str, str | None]


class Run:
    """A folder with one curation, finished or in progress.

    Each step of a curation stores its result here when it is done. If the process stops, at any
    moment, the same command resumes where it stopped. ``path`` is the local folder; a run at a
    URL works in a local copy and uploads each file when it is complete.
    """

    def __init__(self, path: str | Path, mirror: Mirror | None = None) -> None:
        self.path = Path(path)
        self.folder = MirroredFolder(self.path, mirror)

    @classmethod
    def at(cls, path_or_url: str | Path) -> Run:
        """Open the run at a path or URL; for a URL, in a temporary copy that uploads its files."""
        if not is_url(path_or_url):
            return cls(path_or_url)
        path = Path(tempfile.mkdtemp(prefix="isaac-"))
        run = cls(path, Mirror(str(path_or_url), path))
        weakref.finalize(run, shutil.rmtree, path, ignore_errors=True)
        return run

    def location(self, name: str) -> str:
        """The path or URL of a file of the run, as a user finds it; a secret in it is hidden."""
        mirror = self.folder.mirror
        if mirror is None:
            return str(self.path / name)
        return hide_url_secrets(f"{mirror.url.rstrip('/')}/{name}")

    @property
    def is_remote(self) -> bool:
        """Whether the run is at a URL, and its folder is a copy."""
        return self.folder.mirror is not None

    @property
    def finished(self) -> bool:
        """Whether the curation is complete: the manifest is written last."""
        return (self.path / "manifest.json").exists()

    @property
    def has_results(self) -> bool:
        """Whether the run has results besides the corpus that it read: vectors or clusters."""
        return any(any((self.path / name).glob("*")) for name in ("vectors", "shards"))

    # Reading what the folder contains.

    def recipe(self) -> Recipe:
        """Load the recipe of the run. Raises `RunError` if it was changed after the run."""
        file = self.path / "recipe.yaml"
        recorded = self.manifest()["recipe_sha256"] if self.finished else None
        if recorded is not None and (not file.is_file() or file_sha256(file) != recorded):
            raise RunError(
                f"{file} is missing, damaged or edited: it is not what isaac wrote. Curate the "
                "input again, into another folder"
            )
        return Recipe.load(file)

    def manifest(self) -> dict[str, Any]:
        """Load the manifest: versions, checksums, timings. Raises `RunError` if it is missing."""
        self.require_finished()
        manifest = read_json(self.path / "manifest.json")
        if manifest.pop(MANIFEST_CHECKSUM, None) != json_sha256(manifest):
            if isinstance(manifest.get("isaac"), str):
                self._check_version(manifest["isaac"])  # older ones wrote no checksum
            raise RunError(describe_damage(self.path / "manifest.json"))
        return manifest

    def write_manifest(self, facts: dict[str, Any]) -> None:
        """Write the manifest with its own checksum; it makes a run a finished one."""
        facts = facts | {MANIFEST_CHECKSUM: json_sha256(facts)}
        self.write(self.path / "manifest.json", json.dumps(facts, indent=2) + "\n")

    def summary(self) -> dict[str, Any]:
        """Load the values behind the report. Raises `RunError` if the run is unfinished."""
        self._check_outputs("report.json")
        return read_json(self.path / "report.json")

    def report(self) -> str:
        """Read the report as Markdown. Raises `RunError` if the run is unfinished."""
        self._check_outputs("report.md")
        return (self.path / "report.md").read_text(encoding="utf-8")

    def input_facts(self) -> InputFacts:
        """Load what was read. Raises `RunError` if isaac did not write it."""
        file = self.path / "input.json"
        recorded = read_json(file)
        try:
            inputs = [InputDigest(**digest) for digest in recorded["files"]]
            return InputFacts(recorded["isaac"], inputs, dict(recorded["read"]))
        except (KeyError, TypeError, ValueError):
            raise RunError(describe_damage(file)) from None

    def corpus(self) -> Corpus:
        """Open the corpus that was read from the input; its exchanges stay on disk."""
        version, inputs, checksums = self.input_facts()
        self._check_version(version)
        if self.finished:
            _check_file(self.path / "input.json", self.manifest()["input_sha256"])
        for name, checksum in checksums.items():
            _check_file(self.path / name, checksum)
        with damaged_as_run_error(self.path / "corpus.parquet") as file:
            table = ParquetTable(file, CORPUS_SCHEMA, OPTIONAL_COLUMNS)
        return Corpus(table, RejectedFile(self.path / "rejected.jsonl"), inputs)

    def curation(self) -> Curation:
        """Load the curation of a finished run; nothing is embedded or searched again."""
        self._check_outputs("lineage.parquet")
        curation = self.prepared(self.recipe())
        with damaged_as_run_error(self.path / "lineage.parquet") as file:
            lineage = pq.read_table(file, schema=LINEAGE_SCHEMA)
        return replace(curation, stored_lineage=lineage)

    def prepared(self, recipe: Recipe, tools: Tools | None = None) -> Curation:
        """Prepare a curation with a recipe from stored results; no text is embedded.

        Neighborhoods are computed only if the run has none and the recipe needs them.
        """
        store = DiskStorage(self.folder, finished=True)
        if not any(name.startswith(SHARD_PREFIX) for name in store.checksums):
            store.may_add += CLUSTER_KEYS
        return prepare(self.corpus(), recipe, (tools or Tools())._replace(store=store))

    def require_finished(self) -> None:
        """Raise `RunError` if the run does not exist or is not finished."""
        if self.path.is_file():
            raise RunError(
                f"{self.path} is a file, not a run folder; create a run with: isaac curate "
                f"{self.path} -o RUN"
            )
        if not self.path.is_dir():
            raise RunError(
                f"no run folder {self.path}; create one with: isaac curate INPUT -o {self.path}"
            )
        if not self.finished:
            raise RunError(
                f"{self.path} is not a finished run: it has no manifest.json. "
                "If it was interrupted, run the same isaac curate or isaac redraw command to resume"
            )

    def _check_version(self, version: str) -> None:
        """Raise `RunError` if another version of isaac wrote the run."""
        if version != __version__:
            raise RunError(
                f"{self.path} was started by isaac {version}, but this is isaac "
                f"{__version__}; use that version, or curate the input again into another folder"
            )

    def _check_outputs(self, *names: str) -> None:
        """Raise `RunError` if one of these outputs does not match its checksum in the manifest."""
        checksums = self.manifest()["sha256"]
        for name in names:
            if name in checksums:
                _check_file(self.path / name, checksums[name])

    # Writing to the folder.

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run against other processes. Raises `RunError` if one of them holds the lock."""
        with exclusive_lock(self.path, "a run folder", f"works on {self.path}"):
            if self.folder.mirror is None:
                yield
                return
            with self.folder.mirror.lock.held():
                self.folder.mirror.fetch()
                yield

    def writing(self, file: Path, mode: str = "w") -> AbstractContextManager[IO[Any]]:
        """Open a file that gets its name only when it is complete and on disk."""
        return self.folder.writing(file, mode)

    def write(self, file: Path, text: str) -> None:
        """Write a text file, completely or not at all."""
        with self.writing(file) as out:
            out.write(text)

    def remove(self, *names: str) -> None:
        """Remove files and folders of the run; missing ones are no error."""
        for name in names:
            self.folder.remove(name)

    def is_intact(self) -> bool:
        """Whether every output of a finished run exists and matches its checksum."""
        manifest = self.manifest()
        checksums = manifest["sha256"] | {"input.json": manifest["input_sha256"]}
        return all(
            (self.path / name).exists() and file_sha256(self.path / name) == checksum
            for name, checksum in checksums.items()
        )

    @property
    def refused(self) -> bool:
        """Whether a finished run has no curated corpus, because the method does not apply."""
        return "curated.jsonl" not in self.manifest()["sha256"]

    def require_corpus(self) -> None:
        """Raise `RunError` if the run is unfinished, or has no curated corpus."""
        self._check_outputs("lineage.parquet", *CORPUS_FILES)
        if self.refused:
            reasons = "; ".join(self.summary()["diagnosis"]["reasons"])
            raise RunError(
                f"{self.path} has no curated corpus, because the method does not apply: {reasons}. "
                "To write it all the same, run isaac curate again with --force"
            )


_CHECKED: dict[Path, tuple[int, int, str]] = {}
"""The size, time and checksum of each file that this process has checked: once is enough."""


def _check_file(file: Path, checksum: str | None) -> None:
    """Raise `RunError` if a file does not match its checksum; each is read once per process."""
    if checksum is None:
        return
    try:
        state = file.stat()
        seen = (state.st_size, state.st_mtime_ns, checksum)
        if _CHECKED.get(file.resolve()) == seen:
            return
        is_intact = file_sha256(file) == checksum
    except OSError:
        is_intact = False
    if not is_intact:
        raise RunError(describe_damage(file))
    _CHECKED[file.resolve()] = seen


def describe_damage(file: Path) -> str:
    """The message about a file of a run that is not what isaac wrote."""
    return (
        f"{file} is missing, damaged or edited: it is not what isaac wrote. To rebuild it, delete "
        "it and manifest.json in the run folder, then run the same isaac curate command"
    )
