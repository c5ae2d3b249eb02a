"""The result of an audit as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...text import make_printable, shorten

Facts = Mapping[str, Any]

MAX_LISTED = 20
"""Maximum number of disagreements that are printed."""

QUESTION_NAMES = {"label": "safe", "fits": "answers the message"}


def format_audit(facts: Facts) -> str:
    """Format the result of an audit, given as the result of `AuditReport.as_json`."""
    lines = [
        facts["sentence"],
        *([facts["answers_sentence"]] * bool(facts["answers_sentence"])),
        "",
    ]
    lines.append(f"  {'share of responses':<20} {'before':<24} {'after':<24} change, points")
    for name, title in (
        ("estimates", "unsafe"),
        ("answers", "answers the message"),
        ("unsafe_or_no_answer", "unsafe or no answer"),
    ):
        if facts[name] is not None:
            shares = [_format_share(facts[name][side]) for side in ("before", "after")]
            change = _format_points(facts[name]["change"])
            lines.append(f"  {title:<20} {shares[0]:<24} {shares[1]:<24} {change}")
    lines += ["  with 95 % intervals; about the whole corpus, dropped rows left out after", ""]
    lines += [
        f"  originals {share['name']:<28} {share['unsafe']:6.1%} unsafe "
        f"({share['scored']:,} labels for {share['rows']:,} rows)"
        for share in facts["by_level"]
    ]
    if facts["labeling"] is not None:
        lines += ["", *_format_labeling(facts["labeling"])]
    return "\n".join(lines)


def _format_share(share: Facts) -> str:
    if share["value"] is None:
        return "unknown"
    return f"{share['value']:.1%} ({share['low']:.1%} to {share['high']:.1%})"


def _format_points(share: Facts) -> str:
    if share["value"] is None:
        return "unknown"
    value, low, high = (100 * share[name] for name in ("value", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def _format_labeling(labeling: Facts) -> list[str]:
    lines = [f"{labeling['answered']:,} of {labeling['questions']:,} responses have labels"]
    lines += [
        f"  {each['name']}: {each['labeled']:,} labeled, {each['unsure']:,} of them unsure"
        + (f", {each['skipped']:,} skipped" if each["skipped"] else "")
        for each in labeling["labelers"]
    ]
    for reason, counts in (
        ("nobody was sure", labeling["unsure"]),
        ("labelers are divided equally", labeling["ties"]),
    ):
        if any(counts.values()):
            parts = ", ".join(f"{counts[name]:,} {title}" for name, title in QUESTION_NAMES.items())
            lines.append(f"  left out because {reason}: {parts}")
    for name, agreement in (labeling["agreement"] or {}).items():
        lines.append(f"  agreement, {QUESTION_NAMES[name]}: {format_agreement(agreement)}")
    if labeling["comments"]:
        lines.append(f"comments: {len(labeling['comments']):,}")
        lines += [
            f"  row {each['row']}, {each['labeler']}: {shorten(each['text'], 200)}"
            for each in labeling["comments"][:MAX_LISTED]
        ]
    return [*lines, *_format_disagreements(labeling["disagreements"])]


def _format_disagreements(disagreements: list[Facts]) -> list[str]:
    if not disagreements:
        return []
    lines = [f"different answers: {len(disagreements):,}"]
    for each in disagreements[:MAX_LISTED]:
        answers = ", ".join(f"{name}: {answer}" for name, answer in each["answers"].items())
        lines += [
            f"  row {each['row']}, {QUESTION_NAMES[each['aspect']]}? {make_printable(answers)}",
            f"    message:  {shorten(each['context'], 200)}",
            f"    response: {shorten(each['response'], 200)}",
        ]
    if len(disagreements) > MAX_LISTED:
        lines.append(f"  and {len(disagreements) - MAX_LISTED:,} more; --json lists all")
    return lines


def format_agreement(agreement: Facts) -> str:
    """Format the agreement on one question: the share of equal answers, and the coefficient."""
    if agreement["share"] is None:
        return "unknown, no response has answers from two labelers"
    value = agreement["value"]
    measure = agreement["measure"]
    corrected = (
        f"{measure} {value:.2f}"
        if value is not None
        else f"{measure} is undefined because all answers are equal"
    )
    several = "responses" if agreement["questions"] != 1 else "response"
    return f"{agreement['share']:.1%} on {agreement['questions']:,} {several}; {corrected}"
