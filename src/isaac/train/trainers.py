"""Configure TRL's trainers for this machine, and report their progress."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..models.chat.loading import LoadedModel
from ..models.chat.transformers import max_sequence_length
from ..runtime.progress import Progress
from .folder import STATE_FILE, TrainingFolder
from .settings import LORA_DEFAULTS, TrainingKind, TrainingSettings, build_config


def build_training_arguments(
    config: type, kind: TrainingKind, folder: TrainingFolder, settings: TrainingSettings
) -> Any:
    """Build TRL's or transformers' training configuration; fields in ``settings.trl`` override it.

    On a CPU there is no mixed precision, no activation checkpointing and no pinned memory. A
    checkpoint is written after every tenth of the steps; only the latest is kept.
    """
    import torch

    gpu = torch.cuda.is_available()
    available = {field.name for field in dataclasses.fields(config)}
    # The setting has two names: use the newer one if this version of the configuration has it,
    # unless the user sets the older one.
    new, old = "activation_checkpointing", "gradient_checkpointing"
    fields = {
        "output_dir": str(folder.scratch),
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
        "use_cpu": not gpu,
        "bf16": gpu,
        new if new in available and old not in settings.trl else old: gpu,
        "dataloader_pin_memory": gpu,
    }
    fields = {name: value for name, value in fields.items() if name in available}
    return build_config(config, fields, settings.trl, "trl")


def cap_max_length(settings: TrainingSettings, loaded: LoadedModel) -> TrainingSettings:
    """Lower ``max_length`` to the number of tokens that the model can read."""
    limit = max_sequence_length(loaded) or settings.max_length
    return dataclasses.replace(settings, max_length=min(settings.max_length, limit))


def build_adapter_config(loaded: LoadedModel, settings: TrainingSettings) -> Any:
    """Configure a new adapter; None for full training, or if the model is already an adapter."""
    import peft

    if isinstance(loaded.model, peft.PeftModel):
        if settings.peft:
            raise RecipeError(
                "peft: the model is already an adapter and keeps its configuration; leave out peft"
            )
        return None
    if settings.full:
        return None
    task = "SEQ_2_SEQ_LM" if loaded.seq2seq else "CAUSAL_LM"
    return build_config(
        peft.LoraConfig, {**LORA_DEFAULTS, "task_type": task}, settings.peft, "peft"
    )


def is_at_the_end(checkpoint: str) -> bool:
    """Whether a checkpoint is that of the last step, or of a later one."""
    from transformers import TrainerState

    state = TrainerState.load_from_json(str(Path(checkpoint) / STATE_FILE))
    return bool(state.global_step >= state.max_steps > 0)


def load_checkpoint(trainer: Any, checkpoint: str) -> None:
    """Load the weights and the state of the last step's checkpoint, without training.

    ``train(resume_from_checkpoint=...)`` would go on for at least one step: transformers 5.24 tests
    only after a step whether it was the last one, and enters the epoch again in which a fraction of
    an epoch or ``max_steps`` ended (``Trainer._inner_training_loop``).
    """
    from transformers import TrainerState

    trainer._load_from_checkpoint(checkpoint)
    trainer.state = TrainerState.load_from_json(str(Path(checkpoint) / STATE_FILE))


@contextmanager
def report_progress(trainer: Any, progress: Progress) -> Iterator[None]:
    """Report a trainer's steps as a progress stage, instead of printing to standard output."""
    from transformers import PrinterCallback, TrainerCallback

    with ExitStack() as stages:
        done, ticks = [0], []

        def on_train_begin(_self: Any, _args: Any, state: Any, *_: Any, **__: Any) -> None:
            # A resumed training starts at the step of its checkpoint.
            done[0] = state.global_step
            ticks.append(stages.enter_context(progress.stage("train", state.max_steps)))
            ticks[-1](state.global_step)

        def on_step_end(_self: Any, _args: Any, state: Any, control: Any, **_: Any) -> None:
            ticks[-1](state.global_step - done[0])
            done[0] = state.global_step
            # The last checkpoint has the loss of the last steps, whatever the logging settings.
            control.should_log |= state.global_step >= state.max_steps

        # The base class is a lazy import, so the callback class is made here.
        methods = {"on_train_begin": on_train_begin, "on_step_end": on_step_end}
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(type("StepReporter", (TrainerCallback,), methods))
        yield
