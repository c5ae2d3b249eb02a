"""The beginning of a report: whether to trust the result, what is unknown, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from ...text import short_name
from .svg import number, percent

Facts = Mapping[str, Any]

Level = Literal["good", "caution", "stop"]


class Step(NamedTuple):
    """A command to run next, and what it is for."""

    command: str
    purpose: str


class Headline(NamedTuple):
    """Whether to trust a run.

    ``level`` selects color and icon, and ``word`` says the same; ``answer`` is the answer to
    "Should I trust it?", and ``reasons`` are sentences behind it. ``unknown`` is what the run
    itself cannot say.
    """

    level: Level
    word: str
    answer: str
    reasons: list[str]
    unknown: list[str]
    steps: list[Step]


def write_headline(summary: Facts) -> Headline:
    """Write the headline of a report from its values; the first audit outweighs the diagnosis."""
    audit = next(iter(summary.get("audits", ())), None)
    level, word, answer = _answer(summary, audit)
    reasons = [_as_sentence(reason) for reason in summary["diagnosis"]["reasons"]]
    if audit is not None:
        reasons = [
            *(audit[name] for name in ("sentence", "answers_sentence") if audit[name]),
            *reasons,
        ]
    unknown = _list_unknown(summary, audit)
    return Headline(level, word, answer, reasons, unknown, _list_steps(summary, audit, level))


def _answer(summary: Facts, audit: Facts | None) -> tuple[Level, str, str]:
    verdict = summary["diagnosis"]["verdict"]
    if summary["refused"]:
        return (
            "stop",
            "No",
            "The method does not apply to this corpus, so no curated corpus was written.",
        )
    if audit is not None:
        return _answer_by_audit(audit)
    answers: dict[str, tuple[Level, str, str]] = {
        "applies": ("good", "Probably", "The method applies. An audit has yet to confirm it."),
        "of little use": (
            "caution",
            "Hardly worth it",
            "The result may be safer, but its price is high.",
        ),
        "doubtful": ("caution", "Not yet", "Too little is known about this corpus."),
        "does not apply": (
            "stop",
            "No",
            "The method does not apply to this corpus. It was written because of --force.",
        ),
    }
    return answers[verdict]


def _answer_by_audit(audit: Facts) -> tuple[Level, str, str]:
    by = f"judge {short_name(audit['source']['name'])}"
    who = by if audit["source"]["kind"] == "judge" else "the labels"
    answers: dict[str, tuple[Level, str, str]] = {
        "applies": ("good", "Yes", f"According to {who}, the corpus is safer than before."),
        "doubtful": ("caution", "Not yet", f"It is open whether {who} show an improvement."),
        "does not apply": ("stop", "No", f"According to {who}, the corpus is less safe."),
    }
    if who == by:
        answers["doubtful"] = ("caution", "Not yet", f"It is open whether {who} sees any gain.")
    return answers[audit["verdict"]]


def _as_sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:] + ("" if reason.endswith(".") else ".")


def _list_unknown(summary: Facts, audit: Facts | None) -> list[str]:
    """What the run cannot say about itself."""
    by_judge = " and what a judge let pass" * bool(summary["recipe"]["judge"])
    unknown = []
    if audit is None:
        unknown.append(
            f"Whether the responses are safer: isaac saw which ones agree{by_judge}, but no labels."
        )
    elif audit["source"]["kind"] == "judge":
        unknown.append("Whether people agree with the judge.")
    else:
        unknown.append(f"The {number(summary['exchanges'] - _count_rows(audit))} rows not labeled.")
    fitting = summary["diagnosis"]["price"]["fitting"]
    if fitting is not None and fitting < 1 and (audit is None or audit["answers"] is None):
        unknown.append(
            f"Whether the other {percent(1 - fitting)} of the new responses answer their messages."
        )
    return unknown


def _count_rows(audit: Facts) -> int:
    """The number of rows with a label."""
    return sum(share["scored"] for share in audit["by_level"])


def _list_steps(summary: Facts, audit: Facts | None, level: Level) -> list[Step]:
    """The next two or three commands."""
    see = Step("isaac diff RUN", "list every change")
    ask = Step("isaac audit RUN", "label a few hundred responses and get a verdict with intervals")
    export = Step("isaac export RUN --as sft", "write files that trainers read")
    if summary["recipe"]["mode"] == "pairs":
        export = Step("isaac export RUN --as dpo", "write the pairs for trainers")
        return [export, ask, Step("isaac redraw RUN --budget B -o NEW", "make more or fewer pairs")]
    if summary["refused"] or level == "stop":
        drop = Step(
            "isaac curate INPUT -o NEW --mode filter --budget 0.3",
            "only drop the least trusted rows, which often applies where redrawing does not",
        )
        measures = Step("isaac diagnose RUN", "see the measures behind the verdict")
        return [measures, see] if summary["recipe"]["mode"] == "filter" else [drop, measures, see]
    less = Step("isaac redraw RUN --budget B -o NEW", "keep more or fewer rows; see the curve")
    if audit is None:
        return [see, ask, less if level == "caution" else export]
    return [export, see] if level == "good" else [ask, less, see]


__all__ = ["Headline", "Step", "write_headline"]
