"""General ability, by passing models through to EleutherAI's lm-evaluation-harness."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import needed
from ..models import Dtype, ModelError, load_chat_model
from ..openai_client import address_in
from ..text import short

Ability = dict[str, dict[str, float | str]]
"""Metrics by task, named as the harness names them."""


def ability_of(
    name: str, tasks: Sequence[str], batch: int = 8, dtype: Dtype | None = None
) -> Ability:
    """Return what the harness says of a model, as it says it.

    Endpoints go through its ``local-chat-completions``, hub names and folders of whole models
    through ``hf``, adapters and other models as isaac has loaded them. Raises `MissingExtraError`
    without the package lm-eval, `ModelError` where the harness fails.
    """
    harness = harness_package()
    kind, arguments = _place(name, dtype)
    try:
        found = harness.simple_evaluate(
            model=kind, model_args=arguments, tasks=list(tasks), batch_size=batch
        )
        results: Mapping[str, Mapping[str, Any]] = found["results"]
        return {task: _metrics(values) for task, values in sorted(results.items())}
    except Exception as error:
        kinds = type(error).__name__
        raise ModelError(
            f"lm-evaluation-harness failed for {short(name)}: {kinds}: {short(str(error), 300)}"
        ) from error


def harness_package() -> Any:
    """Return the package lm_eval; raise `MissingExtraError` if it is not installed."""
    return needed("lm_eval", "--ability", "ability")


def _place(name: str, dtype: Dtype | None) -> tuple[Any, dict[str, Any] | None]:
    """Return the harness's kind of model, and what that wants to know, for a model's name."""
    if address := address_in(name):
        url = f"{address[1].rstrip('/')}/chat/completions"
        return "local-chat-completions", {"model": address[0], "base_url": url}
    folder = Path(name)
    if (folder / "adapter_config.json").exists() or not (folder.is_dir() or "/" in name):
        loaded: Any = load_chat_model(name, dtype=dtype)
        kinds = importlib.import_module("lm_eval.models.huggingface")
        return kinds.HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer), None
    return "hf", {"pretrained": name, **({"dtype": dtype} if dtype else {})}


def _metrics(values: Mapping[str, Any]) -> dict[str, float | str]:
    return {
        str(name): value for name, value in sorted(values.items()) if isinstance(value, int | float)
    }
