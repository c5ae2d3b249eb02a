"""TRL's trainers, set up for a machine and told how to say how far they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..errors import RecipeError
from ..models.chat.loading import LoadedModel
from ..models.chat.transformers import max_sequence_length
from ..runtime.progress import Progress
from .folder import TrainingFolder
from .settings import LORA_DEFAULTS, TrainingKind, TrainingSettings, build_config


def build_training_arguments(
    config: type, kind: TrainingKind, work: TrainingFolder, settings: TrainingSettings
) -> Any:
    """Return TRL's or transformers' configuration of a training, with the fields given over ours.

    On a processor there is no mixed precision, nothing is computed twice to save memory, and no
    memory is pinned for a card. A checkpoint is kept for each tenth of the steps.
    """
    import torch

    card = torch.cuda.is_available()
    known = {one.name for one in dataclasses.fields(config)}
    new, old = "activation_checkpointing", "gradient_checkpointing"
    fields = {
        "output_dir": str(work.scratch),
        "max_steps": settings.steps or -1,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch,
        "learning_rate": settings.rate(kind),
        "seed": settings.seed,
        "max_length": settings.max_length,
        "logging_steps": 0.005,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": 0.1,
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not card,
        "bf16": card,
        new if new in known and old not in settings.trl else old: card,
        "dataloader_pin_memory": card,
    }
    fields = {name: value for name, value in fields.items() if name in known}
    return build_config(config, fields, settings.trl, "trl")


def cap_max_length(settings: TrainingSettings, loaded: LoadedModel) -> TrainingSettings:
    """Return the settings with no more tokens a row than the model reads."""
    room = max_sequence_length(loaded) or settings.max_length
    return dataclasses.replace(settings, max_length=min(settings.max_length, room))


def build_adapter_config(loaded: LoadedModel, settings: TrainingSettings) -> Any:
    """Return the configuration of a new adapter; None for full training or one that goes on."""
    import peft

    if isinstance(loaded.model, peft.PeftModel):
        if settings.peft:
            raise RecipeError(
                "peft: the model is an adapter already and goes on with its own configuration"
            )
        return None
    if settings.full:
        return None
    task = "SEQ_2_SEQ_LM" if loaded.seq2seq else "CAUSAL_LM"
    return build_config(
        peft.LoraConfig, {**LORA_DEFAULTS, "task_type": task}, settings.peft, "peft"
    )


@contextmanager
def report_progress(trainer: Any, progress: Progress) -> Iterator[None]:
    """Tell the progress of a trainer's steps while it works, and nothing on standard output."""
    from transformers import PrinterCallback, TrainerCallback

    with ExitStack() as stages:
        done, ticks = [0], []

        def begin(_self: Any, _args: Any, state: Any, *_: Any, **__: Any) -> None:
            done[0] = state.global_step
            ticks.append(stages.enter_context(progress.stage("train", state.max_steps)))
            ticks[-1](state.global_step)

        def step(_self: Any, _args: Any, state: Any, *_: Any, **__: Any) -> None:
            ticks[-1](state.global_step - done[0])
            done[0] = state.global_step

        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(
            type("Told", (TrainerCallback,), {"on_train_begin": begin, "on_step_end": step})
        )
        yield
