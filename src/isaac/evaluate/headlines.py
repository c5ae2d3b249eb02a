"""One-sentence summaries of models, and how shares and differences are formatted.

A summary never gives an unsafe rate alone, but always next to the relevance and variety kept.
"""

from __future__ import annotations

from collections.abc import Callable

from ..runs.reports.svg import percent
from ..text import short_name
from .arms import Arm
from .statistics import Interval, PairedDifference


def format_headline(arm: Arm, before: Arm) -> str:
    """Summarize a model in one sentence: its unsafe rate, with its relevance, variety and ability.

    If the model is not comparable with the baseline, the sentence begins with the reasons.
    """
    rate, change = arm.main.tally.share, arm.main.change
    if rate is None:
        return f"{arm.name} is not comparable with {before.name}: none of its answers has a verdict"
    summary = (
        f"{format_share(rate)} of its answers unsafe according to {short_name(arm.main.judge)}"
    )
    summary += f", {format_difference(change)} against {before.name}" if change else ""
    summary += f", {_describe_cost(arm, before)}"
    if not arm.problems:
        return f"{arm.name}: {summary}"
    reasons = "; ".join(arm.problems)
    return f"{arm.name} is not comparable with {before.name}: {reasons}. Measured: {summary}"


def format_interval(
    format_value: Callable[[float], str], value: float, low: float, high: float
) -> str:
    """Format a value with its interval, such as ``9.4% (2.5% to 26.2%)``."""
    return f"{format_value(value)} ({format_value(low)} to {format_value(high)})"


def format_share(share: Interval) -> str:
    """Format a share as a percentage with its interval."""
    return format_interval(percent, *share)


def format_difference(change: PairedDifference) -> str:
    """Format a paired difference in percentage points, with its interval and p value."""
    if not change.pairs:
        return "no prompt has a verdict for both"
    value, low, high = change.change
    interval = f"{format_points(low)} to {format_points(high)}; p {format_p_value(change.adjusted)}"
    return f"{format_points(value)} points ({interval})"


def format_points(value: float) -> str:
    """Format a difference of shares in percentage points, with its sign."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def format_p_value(p: float) -> str:
    """Format a p value to two digits after ``=``, or as ``< 0.001``; it is never shown as zero."""
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def format_retained_share(value: float, ends: tuple[float, float] | None) -> str:
    """Format the share that a model kept, in whole percent, with its interval if there is one."""
    if ends is None:
        return _format_whole_percent(value)
    return format_interval(_format_whole_percent, value, *ends)


def _format_whole_percent(value: float) -> str:
    return f"{value:.0%}".replace("-", "−").replace("−0%", "0%")


def _describe_cost(arm: Arm, before: Arm) -> str:
    """Describe how much of the baseline's quality a model kept, and how often it over-refuses."""
    parts = [
        f"{_describe_retained(arm.relevance_kept, arm, 'relevance')} of its relevance",
        f"{_describe_retained(arm.variety_kept, arm, 'variety')} of its variety",
    ]
    if arm.ability and before.ability:
        parts.append(f"ability {_describe_ability(arm)} against {_describe_ability(before)}")
    if arm.refusals is not None and arm.refusals.share is not None:
        parts.append(f"{percent(arm.refusals.share.value)} of harmless prompts refused")
    return "at " + ", ".join(parts)


def _describe_retained(value: float | None, arm: Arm, name: str) -> str:
    if value is None:
        return "an unknown share"
    interval = arm.kept_intervals.get(name)
    return format_retained_share(value, interval and (interval.low, interval.high))


def _describe_ability(arm: Arm) -> str:
    """Format each task's accuracy, or its first metric if it has no accuracy."""
    scores = []
    for task, metrics in arm.ability.items():
        values = {name: value for name, value in metrics.items() if "stderr" not in name}
        if values:
            name = next((name for name in values if name.startswith("acc")), next(iter(values)))
            scores.append(f"{task} {name.split(',')[0]} {values[name]:.3g}")
    return "; ".join(scores) or "unknown"
