"""Run a training job with any trainer, from the base model to the finished folder."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import IsaacError, RecipeError
from ..models.chat import smollm2
from ..models.chat.library_logging import quiet_transformers
from ..models.chat.loading import METADATA_FILE, LoadedModel, announce_unpacking, load_model
from ..runs.run import Run
from ..runtime.atomic_files import atomic_write
from ..runtime.progress import Progress
from ..text import format_error
from .completion_loss import IGNORE_INDEX
from .folder import TRAINING_FILE, TrainedModel, TrainingFolder, describe_training
from .report import collect_training_facts, extract_loss_curve, write_html_report, write_model_card
from .settings import TrainingKind, TrainingSettings
from .trainers import is_at_the_end, load_checkpoint, report_progress


class TrainingJob(NamedTuple):
    """A training job: its kind, data, base model, output folder and settings.

    ``extra`` has further facts that identify the job. ``start`` is the model to start from if that
    is not ``model``, as in a rephraser's later stages.
    """

    kind: TrainingKind
    run: Run
    model: str
    out: Path
    settings: TrainingSettings
    extra: dict[str, Any]
    start: str | None = None

    @classmethod
    def of(
        cls,
        kind: TrainingKind,
        run: Run,
        model: str,
        out: str | Path,
        settings: TrainingSettings | None,
    ) -> TrainingJob:
        """Create a job; raise `RecipeError` for an invalid setting."""
        return cls(kind, run, model, Path(out), (settings or TrainingSettings()).checked(), {})

    def describe(self) -> dict[str, Any]:
        """The facts that identify this job, for ``isaac.json`` and ``train.json``."""
        return describe_training(self.kind, self.run, self.model, self.settings) | self.extra


TrainerBuilder = Callable[[TrainingJob, LoadedModel, TrainingFolder], Any]
"""Builds a job's trainer from the loaded model."""


def run_training(
    job: TrainingJob, build: TrainerBuilder, progress: Progress | None = None
) -> TrainedModel:
    """Train, or resume where the training stopped; a finished job is not run again."""
    folder, progress = TrainingFolder(job.out), progress or Progress()
    with folder.locked():
        folder.begin(job.describe())
        if (done := folder.finished()) is not None:
            return done
        started = time.monotonic()
        job.run.require_corpus()  # before a large model is loaded for nothing
        with _quiet_libraries():
            announce_unpacking(job.model, progress)
            loaded = _load_base_model(job)
            trainer = _build_trainer(job, build, loaded, folder)
            with report_progress(trainer, progress):
                _train(trainer, folder)
            _save(job, trainer, loaded, folder)
        facts = job.describe() | collect_training_facts(trainer, folder, time.monotonic() - started)
        write_html_report(folder, facts)
        write_model_card(folder, facts, job.run.summary())
        folder.write(TRAINING_FILE, facts)
        folder.tidy()
    done = folder.finished()
    assert done is not None
    return done


def _load_base_model(job: TrainingJob) -> LoadedModel:
    """Load the model to start from; full training defaults to 32-bit weights."""
    full = job.settings.full
    dtype = job.settings.dtype or ("float32" if full else None)
    return load_model(job.start or job.model, dtype=dtype, trainable=True, merged=full)


def _build_trainer(
    job: TrainingJob, build: TrainerBuilder, loaded: LoadedModel, folder: TrainingFolder
) -> Any:
    try:
        trainer = build(job, loaded, folder)
    except IsaacError:
        raise
    except Exception as error:  # libraries and chat templates can raise anything
        raise RecipeError(
            f"the trainer rejects the settings or the data: {format_error(error, 300)}"
        ) from error
    if not len(trainer.train_dataset):
        raise RecipeError(
            f"no row has a response within {job.settings.max_length:,} tokens; raise --max-length"
        )
    return trainer


def _train(trainer: Any, folder: TrainingFolder) -> None:
    import torch

    checkpoint = folder.find_checkpoint()
    try:
        if checkpoint is not None and is_at_the_end(checkpoint):
            load_checkpoint(trainer, checkpoint)
        else:
            trainer.train(resume_from_checkpoint=checkpoint)
    except torch.OutOfMemoryError:
        raise IsaacError(
            "the GPU is out of memory; use a smaller --batch or --max-length, and another folder"
        ) from None
    except IsaacError:
        raise
    except Exception as error:  # libraries can raise anything, depending on settings and model
        raise IsaacError(
            f"the training stopped: {format_error(error, 300)}. Run the same command again to "
            "resume from the last checkpoint"
        ) from error
    last_points = extract_loss_curve(trainer.state.log_history)[-1:]
    if not all(math.isfinite(point["loss"]) for point in last_points):
        raise IsaacError(
            "the loss is not finite, so no model was saved; use a smaller --learning-rate or "
            "--dtype float32, and another folder"
        )


def _save(job: TrainingJob, trainer: Any, loaded: LoadedModel, folder: TrainingFolder) -> None:
    """Write the model or adapter with its tokenizer, and with ``merge`` also the merged model."""
    import peft

    model = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(model, peft.PeftModel):
        model.save_pretrained(folder.path, selected_adapters=["default"])
        _normalize_adapter_config(folder.path / "adapter_config.json", loaded.base)
        if job.settings.merge:
            merged = model.merge_and_unload(adapter_names=["default"])
            merged.save_pretrained(folder.path / "merged")
            loaded.tokenizer.save_pretrained(folder.path / "merged")
    else:
        model.save_pretrained(folder.path)
    loaded.tokenizer.save_pretrained(folder.path)
    if job.kind == "rephraser":
        # A rephraser later writes at most as many tokens as its longest training response has.
        lengths = (sum(label != IGNORE_INDEX for label in row) for row in _iter_labels(trainer))
        metadata = json.loads(json.dumps(job.describe())) | {"max_tokens": max(lengths)}
        folder.write(METADATA_FILE, metadata)
        if job.settings.merge:
            folder.write(f"merged/{METADATA_FILE}", metadata)


def _iter_labels(trainer: Any) -> Iterator[list[int]]:
    for row in trainer.train_dataset.select_columns(["labels"]):
        yield row["labels"]


def _normalize_adapter_config(file: Path, base: str) -> None:
    """Replace the base's path by a name that others can load; sort, to be reproducible."""
    values = json.loads(file.read_text(encoding="utf-8"))
    values["base_model_name_or_path"] = smollm2.HUB_NAME if base == smollm2.MODEL_NAME else base
    if isinstance(values.get("target_modules"), list):
        values["target_modules"].sort()
    with atomic_write(file) as out:
        out.write(json.dumps(values, indent=2, sort_keys=True) + "\n")


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Silence the progress bars and log messages of transformers and datasets."""
    import datasets

    already_disabled = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with quiet_transformers():
            yield
    finally:
        if not already_disabled:
            datasets.enable_progress_bars()
