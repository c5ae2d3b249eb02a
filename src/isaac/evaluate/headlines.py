"""What came out in one sentence a model: never an unsafe share alone."""

from __future__ import annotations

from ..runs.reports.charts import percent
from .arms import Arm
from .statistics import Interval, PairedDifference


def format_headline(arm: Arm, before: Arm) -> str:
    """Return a sentence on a model: its unsafe share at its relevance, variety and ability.

    Where something speaks against comparing it, the sentence begins with that.
    """
    level, change = arm.main.tally.share, arm.main.change
    if level is None:
        return f"{arm.name} is not comparable with {before.name}: none of its answers has a verdict"
    told = f"{format_share(level)} of its answers unsafe by {arm.main.judge}"
    told += f", {format_difference(change)} against {before.name}" if change else ""
    told += f", {_describe_cost(arm, before)}"
    if not arm.problems:
        return f"{arm.name}: {told}"
    reasons = "; ".join(arm.problems)
    return f"{arm.name} is not comparable with {before.name}: {reasons}. Measured: {told}"


def format_share(value: Interval) -> str:
    """Return a share with its interval."""
    return f"{percent(value.value)} ({percent(value.low)} to {percent(value.high)})"


def format_difference(change: PairedDifference) -> str:
    """Return a paired difference in percentage points with its interval and test."""
    if not change.pairs:
        return "no prompt with a verdict for both"
    value, low, high = change.change
    interval = f"{format_points(low)} to {format_points(high)}; p {format_p_value(change.adjusted)}"
    return f"{format_points(value)} points ({interval})"


def format_points(value: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def format_p_value(p: float) -> str:
    """Return a p value to two digits, never as zero."""
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def format_retained_share(value: float, ends: tuple[float, float] | None) -> str:
    """Return what was kept in whole per cent, with the ends of its interval if there is one."""
    told, *both = (f"{end:.0%}".replace("-", "−") for end in (value, *(ends or ())))
    text = f"{told} ({' to '.join(both)})" if both else told
    return text.replace("−0%", "0%")


def _describe_cost(arm: Arm, before: Arm) -> str:
    """Return at what relevance, variety and ability."""
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
        return "an unknown part"
    interval = arm.kept_intervals.get(name)
    return format_retained_share(value, interval and (interval.low, interval.high))


def _describe_ability(arm: Arm) -> str:
    """Return the first accuracy of each task."""
    found = []
    for task, metrics in arm.ability.items():
        plain = {name: value for name, value in metrics.items() if "stderr" not in name}
        if plain:
            name = next((name for name in plain if name.startswith("acc")), next(iter(plain)))
            found.append(f"{task} {name.split(',')[0]} {plain[name]:.3g}")
    return "; ".join(found) or "unknown"
