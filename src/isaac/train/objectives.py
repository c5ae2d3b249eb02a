"""Chat models trained on what was drawn (SFT), and on what it is preferred to (DPO, KTO)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from ..errors import RecipeError
from ..models.chat.loading import LoadedModel, load_model
from ..runs.run import Run
from ..runtime.progress import Progress
from ..text import format_error
from .completion_loss import use_completion_head
from .datasets import Json, build_dataset, iter_training_rows
from .fit import TrainerBuilder, TrainingJob, run_training
from .folder import TrainedModel, TrainingFolder
from .settings import TrainingSettings
from .trainers import build_adapter_config, build_training_arguments, cap_max_length


def sft(
    run: Run,
    model: str,
    out: str | Path,
    settings: TrainingSettings | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Return a model fine-tuned on the run's curated corpus, the loss on its responses only.

    Every target of an exchange is a row. ``model`` is any name that `load_model` knows; an adapter is
    trained on. The same call on the same folder goes on where it was stopped, and does nothing if
    it is finished. Raises `RecipeError` if the folder was begun with something else.
    """

    def build(job: TrainingJob, loaded: LoadedModel, work: TrainingFolder) -> Any:
        return build_sft_trainer(job, loaded, work, iter_training_rows(job.run, "sft"))

    return run_training(TrainingJob.of("sft", run, model, out, settings), build, progress)


def build_sft_trainer(
    job: TrainingJob, loaded: LoadedModel, work: TrainingFolder, rows: Iterable[Json]
) -> Any:
    """Return TRL's SFTTrainer on conversational rows of prompt and completion."""
    import trl

    _check_causal(job, loaded)
    job = job._replace(settings=cap_max_length(job.settings, loaded))
    trainer = trl.SFTTrainer(
        model=loaded.model,
        args=build_training_arguments(trl.SFTConfig, job.kind, work, job.settings),
        train_dataset=build_dataset(_filter_by_template(rows, loaded, work), "sft", work.rows),
        processing_class=loaded.tokenizer,
        peft_config=build_adapter_config(loaded, job.settings),
    )
    if job.settings.completion_head:
        use_completion_head(trainer)
    return trainer


def _filter_by_template(
    rows: Iterable[Json], loaded: LoadedModel, work: TrainingFolder
) -> Iterator[Json]:
    """Yield the rows that the model's chat template takes; the work counts the others.

    Raises `RecipeError` with the template's own words if it takes none.
    """
    why, taken = None, False
    for row in rows:
        try:
            for last in ("completion", "chosen", "rejected"):
                if last in row:
                    said = [*row["prompt"], *row[last]]
                    loaded.tokenizer.apply_chat_template(said, tokenize=False)
        except Exception as error:  # a template is code of its own
            why, work.refused = why or error, work.refused + 1
            continue
        taken = True
        yield row
    if why is not None and not taken:
        raise RecipeError(f"the model's chat template takes none of the rows: {format_error(why)}")


def dpo(
    run: Run,
    model: str,
    out: str | Path,
    settings: TrainingSettings | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Return a model that prefers what was drawn to the row's own atypical response, by DPO.

    ``model`` may be the folder that `sft` made: the reference is the model as it was given.
    Otherwise as `sft`.
    """
    return run_training(
        TrainingJob.of("dpo", run, model, out, settings), _make_preference_builder("dpo"), progress
    )


def kto(
    run: Run,
    model: str,
    out: str | Path,
    settings: TrainingSettings | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Return a model that wants what was kept or drawn, and not what that replaced, by KTO.

    Otherwise as `dpo`. A batch must hold more than one row.
    """
    return run_training(
        TrainingJob.of("kto", run, model, out, settings), _make_preference_builder("kto"), progress
    )


def _make_preference_builder(kind: Literal["dpo", "kto"]) -> TrainerBuilder:
    """Return what makes TRL's trainer of that kind."""

    def build(job: TrainingJob, loaded: LoadedModel, work: TrainingFolder) -> Any:
        import trl

        _check_causal(job, loaded)
        job = job._replace(settings=cap_max_length(job.settings, loaded))
        trainer, config = (getattr(trl, f"{kind.upper()}{part}") for part in ("Trainer", "Config"))
        return trainer(
            model=loaded.model,
            ref_model=_load_initial_model(job),
            args=build_training_arguments(config, kind, work, job.settings),
            train_dataset=build_dataset(
                _filter_by_template(iter_training_rows(job.run, kind), loaded, work),
                kind,
                work.rows,
            ),
            processing_class=loaded.tokenizer,
            peft_config=build_adapter_config(loaded, job.settings),
        )

    return build


def _load_initial_model(job: TrainingJob) -> Any:
    """Return the model as it was given, if all of its weights change; an adapter has its own."""
    if not job.settings.full:
        return None
    return load_model(job.model, dtype=job.settings.dtype or "float32", merged=True).model


def _check_causal(job: TrainingJob, loaded: LoadedModel) -> None:
    if loaded.seq2seq:
        raise RecipeError(
            f"{job.kind} is for causal language models; {job.model} has an encoder and a decoder. "
            "It can become a rephraser: isaac train rephraser"
        )
    if job.settings.completion_head and job.kind in ("dpo", "kto"):
        raise RecipeError(f"the completion head is for sft and rephrasers, not for {job.kind}")
