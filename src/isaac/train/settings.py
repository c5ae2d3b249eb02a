"""Training settings, including fields passed through to the configurations of TRL and PEFT."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import RecipeError
from ..models.chat.base import Dtype
from ..text import format_error, shorten
from ..yaml_files import read_yaml

TrainingKind = Literal["sft", "dpo", "kto", "rephraser"]

DEFAULT_LEARNING_RATES = {
    "sft": (2e-4, 2e-5),
    "dpo": (1e-5, 1e-6),
    "kto": (1e-5, 1e-6),
    "rephraser": (2e-4, 5e-5),
}
"""Default learning rates, for an adapter and for full training.

Full training has the defaults of TRL, or of transformers for a rephraser. Adapters have higher
rates, as the guides of TRL and PEFT recommend: ten times TRL's.
"""

LORA_DEFAULTS: dict[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
"""Default fields of PEFT's `LoraConfig`; `TrainingSettings.peft` overrides them."""

RESERVED_TRL_FIELDS = {
    "max_steps": "--steps",
    "num_train_epochs": "--epochs",
    "per_device_train_batch_size": "--batch",
    "learning_rate": "--learning-rate",
    "max_length": "--max-length",
    "seed": "--seed",
    "output_dir": "-o",
    "resume_from_checkpoint": "running the same command again",
}
"""Fields of TRL that isaac sets itself, and the flag to use instead, which errors name."""


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that defines a training job, apart from its data and base model.

    - ``steps`` overrides ``epochs``.
    - ``batch`` is in rows per step.
    - ``learning_rate`` defaults to the one for the kind of training in `DEFAULT_LEARNING_RATES`.
    - ``max_length`` is in tokens, for a conversation with its response.
    - ``full`` trains every weight instead of an adapter.
    - ``dtype`` is the data type of the base model's weights, see `load_model`.
    - ``completion_head`` applies the language-model head only at the tokens of completions, in sft
      and for causal rephrasers.
    - ``merge`` also writes a model with the adapter merged in.
    - ``trl`` and ``peft`` are fields of TRL's configuration and of PEFT's `LoraConfig`, under the
      names that these libraries use.
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
        """The learning rate for this kind of training."""
        return self.learning_rate or DEFAULT_LEARNING_RATES[kind][self.full]

    def dump(self) -> dict[str, Any]:
        """The settings as a dictionary of plain values."""
        return dataclasses.asdict(self)

    def checked(self) -> TrainingSettings:
        """The same settings; raises `RecipeError` if some are invalid or contradict each other."""
        for name, minimum in (("steps", 1), ("batch", 1), ("max_length", 2), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise RecipeError(f"expected {name} of at least {minimum}, got {value}")
        for name in ("epochs", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise RecipeError(f"expected {name} to be finite and above 0, got {value:g}")
        if self.full and self.merge:
            raise RecipeError("full training has no adapter to merge; leave out merge or full")
        if self.full and self.peft:
            raise RecipeError("full training has no adapter; leave out peft or full")
        return self


def read_config(path: Path) -> dict[str, Any]:
    """Read the fields for TRL and PEFT from a YAML file with the keys ``trl`` and ``peft``.

    Raises `RecipeError` if it has any other key, or if a key holds no fields.
    """
    values = read_yaml(path)
    if unknown := sorted(map(str, set(values) - {"trl", "peft"})):
        raise RecipeError(f"{path}: unknown key '{unknown[0]}'; available: trl, peft")
    for key, fields in values.items():
        if not isinstance(fields, dict):
            kind = type(fields).__name__
            raise RecipeError(f"{path}: expected 'field: value' lines under {key}, got a {kind}")
    return values


def build_config(
    config: type, defaults: Mapping[str, Any], overrides: Mapping[str, Any], section: str
) -> Any:
    """Build a configuration of TRL or PEFT from isaac's defaults and the user's overrides.

    Raises `RecipeError`, naming the ``section`` of the YAML file, if the configuration has no such
    field or rejects a value.
    """
    available = {field.name for field in dataclasses.fields(config) if field.init}
    for name in overrides:
        if name in RESERVED_TRL_FIELDS and section == "trl":
            raise RecipeError(
                f"{section}: {name} is set by {RESERVED_TRL_FIELDS[name]}; leave it out of the file"
            )
        if name not in available:
            raise RecipeError(f"{section}: {config.__name__} has no field '{shorten(str(name))}'")
    floats = {field.name for field in dataclasses.fields(config) if _takes_float(field.type)}
    overrides = {
        name: _parse_number(value) if name in floats else value for name, value in overrides.items()
    }
    try:
        return config(**{**defaults, **overrides})
    except Exception as error:
        raise RecipeError(f"{section}: {format_error(error, 300)}") from error


def _takes_float(annotation: Any) -> bool:
    text = str(annotation)
    return "float" in text and "str" not in text


def _parse_number(value: Any) -> Any:
    """Convert a text to a number if possible: YAML reads 1e-2, without a decimal point, as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
