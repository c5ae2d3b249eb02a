"""Train chat models on the curated responses (SFT) or to prefer them (DPO, KTO)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from ..errors import RecipeError
from ..models.chat.base import Conversation
from ..models.chat.loading import LoadedModel, load_model
from ..models.chat.templates import describe_lost_text
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
    """Fine-tune a model on the run's curated corpus; the loss covers responses only.

    Every target of an exchange is a row. ``model`` is any name that `load_model` accepts; if it is
    an adapter, its training continues. The same call on the same folder resumes where it stopped,
    and does nothing if the job is finished. Raises `RecipeError` if the folder contains a different
    training job.
    """

    def build(job: TrainingJob, loaded: LoadedModel, folder: TrainingFolder) -> Any:
        return build_sft_trainer(job, loaded, folder, iter_training_rows(job.run, "sft"))

    return run_training(TrainingJob.of("sft", run, model, out, settings), build, progress)


def build_sft_trainer(
    job: TrainingJob, loaded: LoadedModel, folder: TrainingFolder, rows: Iterable[Json]
) -> Any:
    """Build TRL's SFTTrainer for rows of prompt and completion, both lists of messages."""
    import trl

    _check_causal(job, loaded)
    job = job._replace(settings=cap_max_length(job.settings, loaded))
    trainer = trl.SFTTrainer(
        model=loaded.model,
        args=build_training_arguments(trl.SFTConfig, job.kind, folder, job.settings),
        train_dataset=build_dataset(
            _filter_by_template(rows, loaded, folder), "sft", folder.rows_file
        ),
        processing_class=loaded.tokenizer,
        peft_config=build_adapter_config(loaded, job.settings),
    )
    if job.settings.completion_head:
        use_completion_head(trainer)
    return trainer


def _filter_by_template(
    rows: Iterable[Json], loaded: LoadedModel, folder: TrainingFolder
) -> Iterator[Json]:
    """Yield the rows that the model's chat template writes; count the others in ``folder``.

    Raises `RecipeError` with the template's first error if it accepts none.
    """
    first_error, accepted = None, False
    for row in rows:
        try:
            for column in ("completion", "chosen", "rejected"):
                if column in row:
                    _check_rendering(loaded.tokenizer, [*row["prompt"], *row[column]])
        except Exception as error:  # a template is code and can raise anything
            first_error, folder.refused = first_error or error, folder.refused + 1
            continue
        accepted = True
        yield row
    if first_error is not None and not accepted:
        raise RecipeError(
            f"the model's chat template rejects all rows: {format_error(first_error)}"
        )


def _check_rendering(tokenizer: Any, messages: Conversation) -> None:
    """Raise `RecipeError` if the chat template leaves out a message's text; it may raise others."""
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    if lost := describe_lost_text(text, messages):
        raise RecipeError(lost)


def dpo(
    run: Run,
    model: str,
    out: str | Path,
    settings: TrainingSettings | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train a model with DPO to prefer drawn responses to the less common originals.

    ``model`` can be a folder that `sft` made; the reference model is ``model`` before this
    training. Everything else works as in `sft`.
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
    """Train a model with KTO: kept and drawn responses are desirable, replaced ones undesirable.

    A batch must have more than one row. Everything else works as in `dpo`.
    """
    return run_training(
        TrainingJob.of("kto", run, model, out, settings), _make_preference_builder("kto"), progress
    )


def _make_preference_builder(kind: Literal["dpo", "kto"]) -> TrainerBuilder:
    """Make the function that builds TRL's trainer for DPO or KTO."""

    def build(job: TrainingJob, loaded: LoadedModel, folder: TrainingFolder) -> Any:
        import trl

        _check_causal(job, loaded)
        job = job._replace(settings=cap_max_length(job.settings, loaded))
        trainer, config = (getattr(trl, f"{kind.upper()}{part}") for part in ("Trainer", "Config"))
        return trainer(
            model=loaded.model,
            ref_model=_load_initial_model(job),
            args=build_training_arguments(config, kind, folder, job.settings),
            train_dataset=build_dataset(
                _filter_by_template(iter_training_rows(job.run, kind), loaded, folder),
                kind,
                folder.rows_file,
            ),
            processing_class=loaded.tokenizer,
            peft_config=build_adapter_config(loaded, job.settings),
        )

    return build


def _load_initial_model(job: TrainingJob) -> Any:
    """Load the reference model for full training; for an adapter, TRL makes its own."""
    if not job.settings.full:
        return None
    return load_model(job.model, dtype=job.settings.dtype or "float32", merged=True).model


def _check_causal(job: TrainingJob, loaded: LoadedModel) -> None:
    if loaded.seq2seq:
        raise RecipeError(
            f"{job.kind} needs a causal language model, but {job.model} is an encoder-decoder "
            "model; use it to train a rephraser: isaac train rephraser"
        )
    if job.settings.completion_head and job.kind in ("dpo", "kto"):
        raise RecipeError(
            f"the completion head is for sft and rephrasers, not for {job.kind}; leave it out"
        )
