"""The folder of a training: what was asked of it, how far it is, and what it yields."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RecipeError, RunError
from ..models.chat.loading import fingerprint_model
from ..models.chat.rephraser import METADATA_FILE
from ..runs.run import Run
from ..runtime.atomic_files import atomic_write, exclusive_lock, read_json, remove_stale_parts
from ..text import shorten
from .settings import TrainingKind, TrainingSettings

TRAINING_FILE = "train.json"
"""Written last: a training that has it is finished."""


class TrainedModel(NamedTuple):
    """A finished training: where its model lies, on how many rows, with what loss at the end.

    ``loss`` is the mean of the last tenth of the steps, ``seconds`` those of the last session.
    """

    folder: Path
    kind: str
    rows: int
    steps: int
    loss: float
    seconds: float


class TrainingFolder:
    """A folder that holds a training, finished or under way.

    ``refused`` counts rows that the model's chat template does not take.

    ``isaac.json`` says from the start what is trained on what; the same training goes on in the
    folder, another is refused.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.mark = self.path / METADATA_FILE
        self.scratch = self.path / "checkpoints"
        self.rows = self.scratch / "rows.arrow"
        self.refused = 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training here; raise `RunError` if one does."""
        with exclusive_lock(self.path, "a model's folder", f"trains in {self.path}"):
            remove_stale_parts(self.path)
            yield

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Note what is asked; raise `RecipeError` if the folder was made for something else."""
        plain = json.loads(json.dumps(asked, default=str))
        if not self.mark.exists():
            if (self.path / "manifest.json").exists() or list(self.path.glob("*.safetensors")):
                raise RunError(f"{self.path} already holds something else; choose another folder")
            self.write(METADATA_FILE, plain)
            return
        if not self._has_results():
            self.write(METADATA_FILE, plain)
            return
        known = read_json(self.mark)
        differs = [
            f"{name}: {shorten(str(there))} -> {shorten(str(here))}"
            for name, there, here in _iter_differences(known, plain)
            if name != "max_tokens"
        ]
        if differs:
            raise RecipeError(
                f"{self.path} was begun as another training; what differs: {'; '.join(differs)}. "
                "Repeat that command, or choose another folder"
            )

    def _has_results(self) -> bool:
        """Say whether anything was trained here that another training would spoil."""
        kinds = ("checkpoints/checkpoint-*", "stages/*", "*.safetensors", TRAINING_FILE)
        return any(next(self.path.glob(kind), None) is not None for kind in kinds)

    def write(self, name: str, values: Any) -> None:
        """Write a small file as JSON, whole or not at all."""
        with atomic_write(self.path / name) as out:
            out.write(json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def finished(self) -> TrainedModel | None:
        """Return what the training yielded if it is finished."""
        if not (self.path / TRAINING_FILE).exists():
            return None
        facts = read_json(self.path / TRAINING_FILE)
        return TrainedModel(
            self.path,
            facts["kind"],
            facts["rows"],
            facts["steps"],
            compute_final_loss(facts["curve"]),
            facts["seconds"],
        )

    def find_checkpoint(self) -> str | None:
        """Return the last checkpoint that is whole; halves are removed."""
        found = sorted(
            self.scratch.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])
        )
        whole = [path for path in found if _is_readable(path / "trainer_state.json")]
        for half in set(found) - set(whole):
            shutil.rmtree(half)
        return str(whole[-1]) if whole else None

    def tidy(self) -> None:
        """Remove what only going on would need."""
        shutil.rmtree(self.scratch, ignore_errors=True)


def _is_readable(file: Path) -> bool:
    """Say whether a file is whole JSON; a stop of the machine may have left half of it."""
    try:
        read_json(file)
    except RunError:
        return False
    return True


def compute_final_loss(curve: list[dict[str, float]]) -> float:
    """Return the mean loss of the last tenth of a curve, its last point at least."""
    losses = [point["loss"] for point in curve]
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail) if tail else float("nan")


def describe_training(
    kind: TrainingKind, run: Run, model: str, settings: TrainingSettings
) -> dict[str, Any]:
    """Return what tells one training from another."""
    return {
        "kind": kind,
        "base": str(Path(model)) if Path(model).is_dir() else model,
        "base_files": fingerprint_model(model),
        "lineage": run.manifest()["sha256"]["lineage.parquet"],
        "settings": settings.dump(),
    }


def _iter_differences(
    known: Mapping[str, Any], asked: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, known and asked value for each value in which the two differ."""
    for name in dict.fromkeys([*known, *asked]):
        there, here = known.get(name), asked.get(name)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            yield from _iter_differences(there, here, f"{above}{name}.")
        elif there != here:
            yield f"{above}{name}", there, here
