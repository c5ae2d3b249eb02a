"""General ability: benchmark scores from EleutherAI's lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import require_extra
from ..models.chat.base import Dtype, ModelError
from ..models.chat.loading import load_model
from ..models.openai_client import parse_openai_name
from ..text import format_error, shorten

Ability = dict[str, dict[str, float]]
"""The metrics of each task, under the harness's own names for tasks and metrics."""


def measure_ability(
    name: str, tasks: Sequence[str], batch: int = 8, dtype: Dtype | None = None
) -> Ability:
    """Run benchmark tasks on a model and report the harness's metrics unchanged.

    A task is a name that the harness knows, or the path of a YAML file in the harness's format.
    Endpoints go through the harness's ``local-chat-completions``. Local models are loaded by isaac
    and handed to the harness, so that all models are compared on the same device in the same
    precision. Raises `MissingExtraError` if the package lm-eval is not installed, `ModelError` if
    the harness fails.
    """
    harness = require_harness()
    model = (
        _build_endpoint_arguments(*address)
        if (address := parse_openai_name(name))
        else _build_local_arguments(name, batch, dtype)
    )
    try:
        output = harness.simple_evaluate(**model, tasks=list(tasks))
        results: Mapping[str, Mapping[str, Any]] = output["results"]
        return {task: _extract_metrics(values) for task, values in sorted(results.items())}
    except Exception as error:
        raise ModelError(
            f"lm-evaluation-harness failed for {shorten(name)}: {format_error(error, 300)}"
        ) from error


def require_harness() -> Any:
    """Import the package lm_eval; raises `MissingExtraError` if it is not installed."""
    return require_extra("lm_eval", "--ability", "ability")


def _build_endpoint_arguments(model: str, url: str) -> dict[str, Any]:
    """The harness's arguments for an endpoint, which accepts only conversations."""
    arguments = {"model": model, "base_url": f"{url.rstrip('/')}/chat/completions"}
    return {
        "model": "local-chat-completions",
        "model_args": arguments,
        "apply_chat_template": True,
    }


def _build_local_arguments(name: str, batch: int, dtype: Dtype | None) -> dict[str, Any]:
    """The harness's arguments for a local model: the loaded model in the harness's wrapper."""
    loaded = load_model(name, dtype=dtype, merged=True)
    wrappers = require_extra("lm_eval.models.huggingface", "--ability", "ability")
    arguments = {"pretrained": loaded.model, "tokenizer": loaded.tokenizer, "batch_size": batch}
    return {"model": wrappers.HFLM(**arguments)}


def _extract_metrics(values: Mapping[str, Any]) -> dict[str, float]:
    """Select the metrics from the harness's results for a task.

    The key of a metric is its name and its filter, such as ``acc,none``; other keys have no comma.
    """
    return {
        name: float(value)
        for name, value in sorted(values.items())
        if "," in name and isinstance(value, int | float)
    }
