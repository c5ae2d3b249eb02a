"""General ability, by passing models through to EleutherAI's lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import require_extra
from ..models.chat.base import Dtype, ModelError
from ..models.chat.loading import load_model
from ..models.openai_client import parse_openai_name
from ..text import shorten

Ability = dict[str, dict[str, float]]
"""Metrics by task, named as the harness names them."""


def measure_ability(
    name: str, tasks: Sequence[str], batch: int = 8, dtype: Dtype | None = None
) -> Ability:
    """Return what the harness says of a model, as it says it.

    A task is a name that the harness knows, or the path of a task of its kind in YAML. Endpoints
    go through the harness's ``local-chat-completions``, all other models as isaac loads them, so
    that what is compared has the same device and numbers. Raises `MissingExtraError` without the
    package lm-eval, `ModelError` where the harness fails.
    """
    harness = require_harness()
    model = (
        _build_endpoint_arguments(*address)
        if (address := parse_openai_name(name))
        else _build_local_arguments(name, batch, dtype)
    )
    try:
        found = harness.simple_evaluate(**model, tasks=list(tasks))
        results: Mapping[str, Mapping[str, Any]] = found["results"]
        return {task: _extract_metrics(values) for task, values in sorted(results.items())}
    except Exception as error:
        kinds = type(error).__name__
        raise ModelError(
            f"lm-evaluation-harness failed for {shorten(name)}: {kinds}: {shorten(str(error), 300)}"
        ) from error


def require_harness() -> Any:
    """Return the package lm_eval; raise `MissingExtraError` if it is not installed."""
    return require_extra("lm_eval", "--ability", "ability")


def _build_endpoint_arguments(model: str, url: str) -> dict[str, Any]:
    """Return what the harness is to know of an endpoint, which takes conversations only."""
    arguments = {"model": model, "base_url": f"{url.rstrip('/')}/chat/completions"}
    return {
        "model": "local-chat-completions",
        "model_args": arguments,
        "apply_chat_template": True,
    }


def _build_local_arguments(name: str, batch: int, dtype: Dtype | None) -> dict[str, Any]:
    """Return what the harness is to know of any other model: the model itself."""
    loaded = load_model(name, dtype=dtype, merged=True)
    kinds = require_extra("lm_eval.models.huggingface", "--ability", "ability")
    given = {"pretrained": loaded.model, "tokenizer": loaded.tokenizer, "batch_size": batch}
    return {"model": kinds.HFLM(**given)}


def _extract_metrics(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics among what the harness says of a task, each by name and filter."""
    found = ((str(name), value) for name, value in sorted(values.items()))
    return {name: float(value) for name, value in found if "," in name and _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
