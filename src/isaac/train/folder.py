"""The folder of a training job: its metadata, its checkpoints and the finished model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RecipeError, RunError
from ..models.chat import smollm2
from ..models.chat.loading import METADATA_FILE, base_model_name, fingerprint_model
from ..runs.run import Run
from ..runtime.atomic_files import atomic_write, exclusive_lock, read_json, remove_stale_parts
from ..text import shorten
from .settings import TrainingKind, TrainingSettings

TRAINING_FILE = "train.json"
"""The file with facts about the training; written last, so a job is finished if it exists."""

STATE_FILE = "trainer_state.json"
"""The file of a checkpoint with the steps done and to do, and the losses; written last."""


class TrainedModel(NamedTuple):
    """A finished training job: the model's folder, and how the training went.

    ``loss`` is the mean over the last tenth of the loss curve. If the training was interrupted,
    ``seconds`` counts only its last session.
    """

    folder: Path
    kind: str
    rows: int
    steps: int
    loss: float
    seconds: float


class TrainingFolder:
    """The folder of one training job, finished or in progress.

    ``isaac.json`` identifies the job from the start: the same job resumes in the folder, a
    different one is refused. ``refused`` counts the rows that the model's chat template rejects.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.metadata_file = self.path / METADATA_FILE
        self.scratch = self.path / "checkpoints"
        self.rows_file = self.scratch / "rows.arrow"
        self.refused = 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder; raises `RunError` if another process is training in it."""
        with exclusive_lock(self.path, "a model's folder", f"trains in {self.path}"):
            remove_stale_parts(self.path)
            yield

    def begin(self, description: Mapping[str, Any]) -> None:
        """Write ``isaac.json``, or compare it with the job if the folder has results already.

        Raises `RecipeError` if the folder contains a different job, and `RunError` if it contains a
        run or another model.
        """
        requested = json.loads(json.dumps(description, default=str))
        if not self.metadata_file.exists():
            if (self.path / "manifest.json").exists() or list(self.path.glob("*.safetensors")):
                raise RunError(
                    f"{self.path} already contains a run or another model; choose another folder"
                )
            self.write(METADATA_FILE, requested)
            return
        if not self._has_results():
            self.write(METADATA_FILE, requested)
            return
        differences = [
            f"{name}: {shorten(str(old))} -> {shorten(str(new))}"
            for name, old, new in _iter_differences(read_json(self.metadata_file), requested)
            if name != "max_tokens"
        ]
        if differences:
            raise RecipeError(
                f"{self.path} contains a different training job; differences: "
                f"{'; '.join(differences)}. Repeat the original command, or choose another folder"
            )

    def _has_results(self) -> bool:
        """Whether the folder has results that another job would overwrite."""
        patterns = ("checkpoints/checkpoint-*", "stages/*", "*.safetensors", TRAINING_FILE)
        return any(next(self.path.glob(pattern), None) is not None for pattern in patterns)

    def write(self, name: str, values: Any) -> None:
        """Write a small JSON file atomically."""
        with atomic_write(self.path / name) as out:
            out.write(json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def finished(self) -> TrainedModel | None:
        """Read the results of the job; None if it is not finished."""
        if not (self.path / TRAINING_FILE).exists():
            return None
        facts = read_json(self.path / TRAINING_FILE)
        try:
            final_loss = compute_final_loss(facts["curve"])
            kind, rows, steps = facts["kind"], facts["rows"], facts["steps"]
            return TrainedModel(self.path, kind, rows, steps, final_loss, facts["seconds"])
        except (KeyError, TypeError):
            raise RunError(
                f"{self.path / TRAINING_FILE} is damaged or edited: it is not what isaac wrote. "
                "Train again, into another folder"
            ) from None

    def find_checkpoint(self) -> str | None:
        """Find the last complete checkpoint, and delete incomplete ones."""
        checkpoints = sorted(
            self.scratch.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])
        )
        complete = [path for path in checkpoints if _is_readable(path / STATE_FILE)]
        for incomplete in set(checkpoints) - set(complete):
            shutil.rmtree(incomplete)
        return str(complete[-1]) if complete else None

    def tidy(self) -> None:
        """Delete the checkpoints and rows, which are needed only to resume."""
        shutil.rmtree(self.scratch, ignore_errors=True)


def _is_readable(file: Path) -> bool:
    """Whether a file is valid JSON; after a power failure it can be incomplete."""
    try:
        read_json(file)
    except RunError:
        return False
    return True


def compute_final_loss(curve: list[dict[str, float]]) -> float:
    """Compute the mean loss over the last tenth of a curve, at least its last point."""
    losses = [point["loss"] for point in curve]
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail) if tail else float("nan")


def describe_training(
    kind: TrainingKind, run: Run, model: str, settings: TrainingSettings
) -> dict[str, Any]:
    """The facts that identify a training job: its kind, base model, run and settings."""
    return {
        "kind": kind,
        "base": str(Path(model)) if Path(model).is_dir() else model,
        "base_files": fingerprint_model(model),
        "base_package": smollm2.PACKAGE if base_model_name(model) == smollm2.MODEL_NAME else None,
        "lineage": run.manifest()["sha256"]["lineage.parquet"],
        "settings": settings.dump(),
    }


def _iter_differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted name, old value and new value of everything that differs."""
    for name in dict.fromkeys([*old, *new]):
        old_value, new_value = old.get(name), new.get(name)
        if isinstance(old_value, Mapping) and isinstance(new_value, Mapping):
            yield from _iter_differences(old_value, new_value, f"{prefix}{name}.")
        elif old_value != new_value:
            yield f"{prefix}{name}", old_value, new_value
