"""Judges, which give exchanges a verdict: safe, unsafe or unscored.

Use a judge to audit a run, to evaluate a model, or to keep unsafe responses from being drawn.
"""

from __future__ import annotations

import importlib
from functools import reduce
from typing import Any, cast

from ...errors import JudgeError, RecipeError
from ...text import format_error, make_printable, suggest
from .base import (
    BATCH_EXCHANGES,
    UNSAFE_THRESHOLD,
    VERDICTS,
    FailedJudgment,
    Judge,
    JudgeResult,
    Judgment,
    Verdict,
    run_judge,
)
from .cache import CachedJudge
from .profanity import ProfanityJudge

JUDGE_PREFIXES = ("hf", "hf-pair", "guard", "openai", "trained")
"""Prefixes of judge names such as ``hf:<model>``; any other prefix names your own module."""


def load_judge(name: str, *, timeout: float | None = None) -> Judge:
    """Load the judge with this name; ``timeout`` is in seconds per request to an endpoint.

    - ``profanity``: looks for coarse words in the response;
    - ``hf:<model>`` and ``hf-pair:<model>``: a text-classification model that reads the response,
      or the context and the response; append ``#<label>[,<label>]`` to name the unsafe labels;
    - ``guard:<model>``: a generative guard model; append ``#<family>`` if the model's name does
      not show its family;
    - ``openai:<model>@<url>``: a moderations endpoint, or a chat model with a rubric;
    - ``trained:<folder>``: a judge that ``isaac judge fit`` made;
    - ``module:attribute``: your own judge: an object, or a class or function that returns one when
      called without arguments.

    Raises `RecipeError` for any other name, `JudgeError` if the judge cannot be loaded, and
    `MissingExtraError` if its package is not installed.
    """
    if name == "profanity":
        return ProfanityJudge()
    prefix, _, rest = name.partition(":")
    if prefix in JUDGE_PREFIXES and rest:
        return _load_prefixed_judge(prefix, rest, timeout)
    if not prefix or not rest:
        hint = suggest(name, ["profanity", *(f"{prefix}:" for prefix in JUDGE_PREFIXES)])
        raise RecipeError(
            f"no judge '{make_printable(name)}'{hint}; available: profanity, "
            f"{', '.join(f'{prefix}:...' for prefix in JUDGE_PREFIXES)}, or your own as "
            "module:attribute, such as my_judges:Toxicity"
        )
    return _load_custom_judge(name)


def _load_prefixed_judge(prefix: str, rest: str, timeout: float | None) -> Judge:
    """Load a judge with one of `JUDGE_PREFIXES`; its module is imported only here."""
    model, _, suffix = rest.partition("#")
    if prefix == "guard":
        from .guards import GuardJudge

        return GuardJudge(model, suffix or None)
    if prefix == "openai":
        from .endpoint import load_endpoint_judge

        return load_endpoint_judge(rest, timeout)
    if prefix == "trained":
        from .fitted import load_trained_judge

        return load_trained_judge(rest)
    from .classifier import ClassifierJudge

    labels = [label.strip() for label in suffix.split(",") if label.strip()]
    return ClassifierJudge(model, labels, pair=prefix == "hf-pair")


def _load_custom_judge(name: str) -> Judge:
    module, _, attribute = name.partition(":")
    try:
        judge: Any = reduce(getattr, attribute.split("."), importlib.import_module(module))
        if isinstance(judge, type) or not hasattr(judge, "judge"):
            judge = judge()
    except Exception as error:
        raise JudgeError(
            f"cannot load judge '{name}': {format_error(error)}. Modules must be on Python's "
            "search path; for a module in this folder, set PYTHONPATH=."
        ) from error
    if not callable(getattr(judge, "judge", None)):
        raise JudgeError(
            f"judge '{name}' is a {type(judge).__name__} without a method "
            "judge(contexts, responses)"
        )
    return cast(Judge, judge)


__all__ = [
    "BATCH_EXCHANGES",
    "JUDGE_PREFIXES",
    "UNSAFE_THRESHOLD",
    "VERDICTS",
    "CachedJudge",
    "FailedJudgment",
    "Judge",
    "JudgeError",
    "JudgeResult",
    "Judgment",
    "ProfanityJudge",
    "Verdict",
    "load_judge",
    "run_judge",
]
