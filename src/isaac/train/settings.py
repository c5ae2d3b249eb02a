"""The numbers that define a training, and the fields of TRL's and PEFT's own that pass through."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import RecipeError
from ..models.chat.base import Dtype
from ..recipe import read_yaml
from ..text import format_error, shorten

TrainingKind = Literal["sft", "dpo", "kto", "rephraser"]

DEFAULT_LEARNING_RATES = {
    "sft": (2e-4, 2e-5),
    "dpo": (1e-5, 1e-6),
    "kto": (1e-5, 1e-6),
    "rephraser": (2e-4, 5e-5),
}
"""What an adapter learns at unless told otherwise, and what a whole model does: TRL's defaults for
whole models, ten times as much for adapters, as TRL's and PEFT's guides advise."""

LORA_DEFAULTS: dict[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}

RESERVED_TRL_FIELDS = {
    "max_steps": "--steps",
    "num_train_epochs": "--epochs",
    "per_device_train_batch_size": "--batch",
    "learning_rate": "--learning-rate",
    "max_length": "--max-length",
    "seed": "--seed",
    "output_dir": "-o",
    "resume_from_checkpoint": "the same command again",
}
"""TRL's fields that have a flag of their own."""


@dataclass(frozen=True)
class TrainingSettings:
    """What a training does beside its data and base model.

    ``steps`` stand over ``epochs``; ``learning_rate`` None is the kind's own. ``max_length`` is in
    tokens, a conversation with its response. ``full`` trains every weight instead of an adapter.
    ``dtype`` is of the base's weights, see `load`. ``completion_head`` applies the language-model
    head at the tokens of completions only, in sft and for causal rephrasers. ``merge`` also writes
    a model with the adapter merged in. ``trl`` and ``peft`` are fields of TRL's configuration and
    PEFT's `LoraConfig`, as they name them.
    """

    steps: int | None = None
    epochs: float = 1.0
    batch: int = 8
    learning_rate: float | None = None
    max_length: int = 1024
    seed: int = 0
    full: bool = False
    dtype: Dtype | None = None
    completion_head: bool = False
    merge: bool = False
    trl: Mapping[str, Any] = field(default_factory=dict)
    peft: Mapping[str, Any] = field(default_factory=dict)

    def rate(self, kind: TrainingKind) -> float:
        """Return the learning rate of a training of this kind."""
        return self.learning_rate or DEFAULT_LEARNING_RATES[kind][self.full]

    def dump(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return dataclasses.asdict(self)

    def checked(self) -> TrainingSettings:
        """Return the settings; raise `RecipeError` for a number out of its bounds."""
        for name, least in (("steps", 1), ("batch", 1), ("max_length", 2), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise RecipeError(f"{name} is {value}; wanted {least} or more")
        rates = [self.epochs, 1.0 if self.learning_rate is None else self.learning_rate]
        if not all(0 < rate < math.inf for rate in rates):
            raise RecipeError("epochs and learning_rate must be above 0, and finite")
        if self.full and self.merge:
            raise RecipeError("a full training has no adapter to merge; leave out merge, or full")
        if self.full and self.peft:
            raise RecipeError("a full training has no adapter; leave out peft, or full")
        return self


def read_config(path: Path) -> dict[str, Any]:
    """Return the settings ``trl`` and ``peft`` of a YAML file; another key is an error."""
    values = read_yaml(path)
    if unknown := sorted(map(str, set(values) - {"trl", "peft"})):
        raise RecipeError(f"{path}: unknown key '{unknown[0]}'; there: trl, peft")
    for key, fields in values.items():
        if not isinstance(fields, dict):
            raise RecipeError(f"{path}: {key} must hold 'field: value' lines")
    return values


def build_config(
    config: type, fields: Mapping[str, Any], given: Mapping[str, Any], where: str
) -> Any:
    """Return a configuration of TRL or PEFT from our fields and, standing over them, those given.

    Raises `RecipeError` for a given field that it has not, or a value that it refuses.
    """
    known = {one.name for one in dataclasses.fields(config) if one.init}
    for name in given:
        if name in RESERVED_TRL_FIELDS and where == "trl":
            raise RecipeError(
                f"{where}: {name} is set by {RESERVED_TRL_FIELDS[name]}; leave it out of the file"
            )
        if name not in known:
            raise RecipeError(f"{where}: {config.__name__} has no field '{shorten(str(name))}'")
    floats = {one.name for one in dataclasses.fields(config) if _wants_float(one.type)}
    given = {
        name: _parse_number(value) if name in floats else value for name, value in given.items()
    }
    try:
        return config(**{**fields, **given})
    except Exception as error:
        raise RecipeError(f"{where}: {format_error(error, 300)}") from error


def _wants_float(kind: Any) -> bool:
    told = str(kind)
    return "float" in told and "str" not in told


def _parse_number(value: Any) -> Any:
    """Return a number for a text that is one: YAML takes 1e-2, without a point, for a text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
