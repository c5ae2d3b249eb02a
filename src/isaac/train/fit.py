"""One training from its base model to its folder, whichever trainer does it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import IsaacError, RecipeError
from ..models.chat.library_logging import quiet_transformers
from ..models.chat.loading import LoadedModel, announce_unpacking, load_model
from ..models.chat.rephraser import METADATA_FILE
from ..runs.run import Run
from ..runtime.atomic_files import atomic_write
from ..runtime.progress import Progress
from ..text import format_error
from .completion_loss import IGNORE_INDEX
from .folder import TRAINING_FILE, TrainedModel, TrainingFolder, describe_training
from .report import collect_training_facts, extract_loss_curve, write_html_report, write_model_card
from .settings import TrainingKind, TrainingSettings
from .trainers import report_progress


class TrainingJob(NamedTuple):
    """What is to be trained on what, into which folder.

    ``start`` is the model to begin with where that is not ``model``, as in a later stage.
    """

    kind: TrainingKind
    run: Run
    model: str
    out: Path
    settings: TrainingSettings
    more: dict[str, Any]
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
        """Return the job; raise `RecipeError` for a setting out of its bounds."""
        return cls(kind, run, model, Path(out), (settings or TrainingSettings()).checked(), {})

    def asked(self) -> dict[str, Any]:
        """Return what tells this training from another."""
        return describe_training(self.kind, self.run, self.model, self.settings) | self.more


TrainerBuilder = Callable[[TrainingJob, LoadedModel, TrainingFolder], Any]
"""Makes the trainer of a job from the model loaded."""


def run_training(
    job: TrainingJob, build: TrainerBuilder, progress: Progress | None = None
) -> TrainedModel:
    """Return what the training yields; goes on where it was stopped, or finds it finished."""
    work, progress = TrainingFolder(job.out), progress or Progress()
    with work.locked():
        work.begin(job.asked())
        if (done := work.finished()) is not None:
            return done
        started = time.monotonic()
        with _quiet_libraries():
            announce_unpacking(job.model, progress)
            loaded = _load_base_model(job)
            trainer = _build_trainer(job, build, loaded, work)
            with report_progress(trainer, progress):
                _train(trainer, work)
            _save(job, trainer, loaded, work)
        facts = job.asked() | collect_training_facts(trainer, work, time.monotonic() - started)
        write_html_report(work, facts)
        write_model_card(work, facts, job.run.summary())
        work.write(TRAINING_FILE, facts)
        work.tidy()
    done = work.finished()
    assert done is not None
    return done


def _load_base_model(job: TrainingJob) -> LoadedModel:
    """Return the model to begin with; one that is trained whole needs weights of 32 bits."""
    full = job.settings.full
    dtype = job.settings.dtype or ("float32" if full else None)
    return load_model(job.start or job.model, dtype=dtype, trainable=True, merged=full)


def _build_trainer(
    job: TrainingJob, build: TrainerBuilder, loaded: LoadedModel, work: TrainingFolder
) -> Any:
    try:
        trainer = build(job, loaded, work)
    except IsaacError:
        raise
    except Exception as error:  # a library's, or a chat template's, which is code of its own
        raise RecipeError(
            f"the trainer refuses what it was given: {format_error(error, 300)}"
        ) from error
    if not len(trainer.train_dataset):
        raise RecipeError(
            f"no row has a response within {job.settings.max_length:,} tokens; raise --max-length"
        )
    return trainer


def _train(trainer: Any, work: TrainingFolder) -> None:
    import torch

    try:
        trainer.train(resume_from_checkpoint=work.find_checkpoint())
    except torch.OutOfMemoryError:
        raise IsaacError(
            "the graphics card is out of memory; try a smaller --batch or --max-length, in another "
            "folder"
        ) from None
    except IsaacError:
        raise
    except Exception as error:  # a library's, of which there are as many as settings and models
        raise IsaacError(
            f"the training stopped: {format_error(error, 300)}. The same command goes on from the last "
            "checkpoint"
        ) from error
    if not all(
        math.isfinite(point["loss"]) for point in extract_loss_curve(trainer.state.log_history)[-1:]
    ):
        raise IsaacError(
            "the loss is no number any more, so there is no model to keep; "
            "try a smaller --learning-rate, or --dtype float32, in another folder"
        )


def _save(job: TrainingJob, trainer: Any, loaded: LoadedModel, work: TrainingFolder) -> None:
    """Write the model, an adapter with its base's name, and the merged model if asked for."""
    import peft

    model = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(model, peft.PeftModel):
        model.save_pretrained(work.path, selected_adapters=["default"])
        _write_base_name(work.path / "adapter_config.json", loaded.base)
        if job.settings.merge:
            whole = model.merge_and_unload(adapter_names=["default"])
            whole.save_pretrained(work.path / "merged")
            loaded.tokenizer.save_pretrained(work.path / "merged")
    else:
        model.save_pretrained(work.path)
    loaded.tokenizer.save_pretrained(work.path)
    if job.kind == "rephraser":
        lengths = (sum(label != IGNORE_INDEX for label in row) for row in _iter_labels(trainer))
        mark = json.loads(json.dumps(job.asked())) | {"max_tokens": max(lengths)}
        work.write(METADATA_FILE, mark)
        if job.settings.merge:
            work.write(f"merged/{METADATA_FILE}", mark)


def _iter_labels(trainer: Any) -> Iterator[list[int]]:
    for row in trainer.train_dataset.select_columns(["labels"]):
        yield row["labels"]


def _write_base_name(file: Path, base: str) -> None:
    """Write what the base is called rather than where it lay, and sets in an order of their own."""
    values = json.loads(file.read_text(encoding="utf-8"))
    values["base_model_name_or_path"] = base
    if isinstance(values.get("target_modules"), list):
        values["target_modules"].sort()
    with atomic_write(file) as out:
        out.write(json.dumps(values, indent=2, sort_keys=True) + "\n")


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Hold back the bars and remarks of transformers and datasets."""
    import datasets

    off = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with quiet_transformers():
            yield
    finally:
        if not off:
            datasets.enable_progress_bars()
