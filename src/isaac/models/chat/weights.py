"""Check that the weights in a model's files are those of the model.

The libraries fill weights that a file lacks with random numbers and only log it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .base import ModelError

NAMED_WEIGHTS = 3
"""How many weights a message names."""

LOADING_INFO = {"output_loading_info": True, "ignore_mismatched_sizes": True}
"""Arguments of ``from_pretrained`` by which it returns a model and what `check_weights` needs."""


class WeightsError(ModelError):
    """The files of a model lack weights, or have weights that the model cannot take."""


def check_weights(
    model: Any, info: Mapping[str, Any], name: str, *, unused: tuple[str, ...] = ()
) -> None:
    """Raise `WeightsError` if a model's files do not have exactly its weights.

    ``info`` is the loading info of ``from_pretrained``. Weights whose names start with one of
    ``unused`` may be missing. Surplus weights are accepted if they are not those of further layers:
    many files have the head of another task, too.
    """
    missing = [key for key in info["missing_keys"] if not key.startswith(unused)]
    mismatched = [str(key[0]) for key in info["mismatched_keys"]]
    layers = {_mask_numbers(key) for key in model.state_dict() if _mask_numbers(key) != key}
    surplus = [key for key in info["unexpected_keys"] if _mask_numbers(key) in layers]
    kind = type(model).__name__
    if missing:
        raise WeightsError(
            f"'{name}' lacks {_name_weights(missing)} of a {kind}, which would be random numbers. "
            "Give the complete model, trained for this use"
        )
    if mismatched:
        raise WeightsError(
            f"'{name}' has another size in {_name_weights(mismatched)} than its config.json says "
            f"of a {kind}. Give the config.json that belongs to the weights"
        )
    if surplus:
        raise WeightsError(
            f"'{name}' has {_name_weights(surplus)} in layers beyond those of its config.json, "
            "which would be left out. Give the config.json that belongs to the weights"
        )


def _mask_numbers(key: str) -> str:
    return re.sub(r"\d+", "#", key)


def _name_weights(keys: Collection[str]) -> str:
    """Count the weights and name the first, with numbers in their order."""
    order = sorted(keys, key=lambda key: [int(n) if n.isdigit() else n for n in _split(key)])
    more = ", ..." if len(order) > NAMED_WEIGHTS else ""
    plural = "s" * (len(order) != 1)
    return f"{len(order):,} weight{plural} ({', '.join(order[:NAMED_WEIGHTS])}{more})"


def _split(key: str) -> list[str]:
    """Split at numbers: the parts at odd places are the numbers."""
    return re.split(r"(\d+)", key)


def check_adapter_weights(model: Any, adapter: Path) -> None:
    """Raise `WeightsError` if an adapter's file does not have exactly the weights of the adapter.

    ``model`` is a PeftModel with the adapter as ``default``. PEFT warns of missing weights, ignores
    surplus ones, and returns both only from `load_adapter`, so the file is read again.
    """
    if model.active_peft_config.is_prompt_learning:
        return  # PEFT itself raises an error if the learned tokens are missing
    result = model.load_adapter(str(adapter), "default")
    missing, surplus = map(_strip_adapter_name, (result.missing_keys, result.unexpected_keys))
    if not missing and not surplus:
        return
    problems = [f"lacks {_name_weights(missing)}"] * bool(missing)
    problems += [f"has {_name_weights(surplus)} that the model lacks"] * bool(surplus)
    raise WeightsError(
        f"the adapter {adapter} does not fit its base model {model.get_base_model().name_or_path}: "
        f"it {' and '.join(problems)}. Give the adapter with the base model that it was trained on"
    )


def _strip_adapter_name(keys: Collection[str]) -> list[str]:
    return [key.replace(".default.", ".") for key in keys]


@contextmanager
def checked_loading(name: str, *, unused: tuple[str, ...] = ()) -> Iterator[None]:
    """Check, as `check_weights` does, every transformers model that another library loads inside.

    Libraries such as sentence-transformers call ``from_pretrained`` and hand on no loading info.
    """
    from transformers import PreTrainedModel

    original = PreTrainedModel.__dict__["from_pretrained"]

    def load(cls: Any, *args: Any, **kwargs: Any) -> Any:
        both = kwargs.pop("output_loading_info", False)
        model, info = original.__func__(cls, *args, **kwargs, output_loading_info=True)
        check_weights(model, info, name, unused=unused)
        return (model, info) if both else model

    setattr(PreTrainedModel, "from_pretrained", classmethod(load))  # noqa: B010 - for mypy
    try:
        yield
    finally:
        setattr(PreTrainedModel, "from_pretrained", original)  # noqa: B010
