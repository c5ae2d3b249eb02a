"""Train models on a run with TRL and PEFT: fine-tuning, preference training and rephrasers."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import MissingExtraError

if not all(map(find_spec, ("accelerate", "datasets", "peft", "torch", "transformers", "trl"))):
    raise MissingExtraError("training", "train")

from .folder import TrainedModel
from .objectives import dpo, kto, sft
from .rephraser import rephraser
from .settings import TrainingSettings

__all__ = ["TrainedModel", "TrainingSettings", "dpo", "kto", "rephraser", "sft"]
