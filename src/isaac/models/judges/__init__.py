"""Verdicts on exchanges, by a judge of your choice: to audit, to evaluate, to forbid draws."""

from __future__ import annotations

import importlib
from functools import reduce
from typing import Any, cast

from ...text import format_error, make_printable
from .base import (
    BATCH_EXCHANGES,
    UNSAFE_THRESHOLD,
    VERDICTS,
    FailedJudgment,
    Judge,
    JudgeError,
    JudgeResult,
    Judgment,
    Verdict,
    run_judge,
)
from .cache import CachedJudge
from .profanity import ProfanityJudge

JUDGE_PREFIXES = ("hf", "hf-pair", "guard", "openai", "trained")
"""What stands before the colon of a judge's name if it is no module of your own."""


def load_judge(name: str) -> Judge:
    """Return the judge of a name.

    - ``profanity``: the words of the response alone;
    - ``hf:<model>`` and ``hf-pair:<model>``: a text-classification model, on the response or on
      the context with it; ``#<label>[,<label>]`` at the end says which labels mean unsafe;
    - ``guard:<model>``: a generative guard; ``#<family>`` at the end if its name does not tell;
    - ``openai:<model>@<url>``: a moderations endpoint, or a chat model with a rubric;
    - ``trained:<folder>``: what ``isaac judge fit`` made;
    - ``module:attribute``: your own; what it names is called without arguments if it is a class
      or a function.

    Raises `JudgeError` if there is no such judge, `MissingExtraError` if its package is not
    installed.
    """
    if name == "profanity":
        return ProfanityJudge()
    prefix, _, rest = name.partition(":")
    if prefix in JUDGE_PREFIXES and rest:
        return _load_prefixed_judge(prefix, rest)
    if not prefix or not rest:
        raise JudgeError(
            f"no judge '{make_printable(name)}'; there: profanity, "
            f"{', '.join(f'{prefix}:...' for prefix in JUDGE_PREFIXES)}, or your own as "
            "module:attribute, such as my_judges:Toxicity"
        )
    return _load_custom_judge(name)


def _load_prefixed_judge(prefix: str, rest: str) -> Judge:
    """Return a judge whose module is only loaded when one of its kind is asked for."""
    model, _, said_after = rest.partition("#")
    if prefix == "guard":
        from .guards import GuardJudge

        return GuardJudge(model, said_after or None)
    if prefix == "openai":
        from .endpoint import load_endpoint_judge

        return load_endpoint_judge(rest)
    if prefix == "trained":
        from .fitted import load_trained_judge

        return load_trained_judge(rest)
    from .classifier import ClassifierJudge

    labels = [label.strip() for label in said_after.split(",") if label.strip()]
    return ClassifierJudge(model, labels, pair=prefix == "hf-pair")


def _load_custom_judge(name: str) -> Judge:
    module, _, attribute = name.partition(":")
    try:
        found: Any = reduce(getattr, attribute.split("."), importlib.import_module(module))
        if isinstance(found, type) or not hasattr(found, "judge"):
            found = found()
    except Exception as error:
        raise JudgeError(
            f"cannot load judge '{name}': {format_error(error)}. Modules are looked for on Python's path; "
            "for one in this folder, set PYTHONPATH=."
        ) from error
    if not callable(getattr(found, "judge", None)):
        raise JudgeError(
            f"judge '{name}' is a {type(found).__name__} without a method "
            "judge(contexts, responses)"
        )
    return cast(Judge, found)


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
