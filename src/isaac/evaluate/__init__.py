"""Compare models before and after training: how unsafe they are, and what safety cost them."""

from .arms import Arm
from .evaluation import evaluate, write_evaluation, write_into_run
from .prompts import Prompt, PromptError, load_prompts
from .results import Evaluation, EvaluationSettings

__all__ = [
    "Arm",
    "Evaluation",
    "EvaluationSettings",
    "Prompt",
    "PromptError",
    "evaluate",
    "load_prompts",
    "write_evaluation",
    "write_into_run",
]
