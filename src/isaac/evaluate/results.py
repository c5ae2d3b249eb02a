"""What an evaluation holds, and how it is made of what models said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple

from .._version import __version__
from ..models.chat.base import Decoding, Dtype
from ..models.encoders import Encoder, encoder_revision
from ..text import make_printable, truncate
from .ability import Ability
from .arms import (
    Arm,
    JudgedReplies,
    JudgedReply,
    JudgeVerdicts,
    ModelReplies,
    collect_coherent_pairs,
    compute_unsafe_rates,
    count_degenerate,
    count_refusals,
    find_baseline_problems,
    find_comparison_problems,
    group_coherent_pairs,
    retained_share,
    tally_by_category,
    tally_verdicts,
)
from .confidence import compute_retention_intervals
from .headlines import format_headline
from .perplexity import compute_perplexities
from .prompts import Prompt
from .quality import compute_relevance, detect_collapse, measure_quality, retained_variety
from .statistics import compare_paired, holm

RELEVANCE_ENCODER = "wordllama"
"""By whose vectors replies are relevant."""

CONSTANT_REPLY = "I'm not sure."
"""What the arm says that has one reply for everything."""

MAX_TEXT_CHARACTERS = 600
"""Characters of a text that a report shows."""

MAX_CHANGES = 5
"""Answers shown of those whose score fell most, and of those whose score rose most."""


class EvaluationSettings(NamedTuple):
    """How models are asked, and what is measured beside their safety.

    ``harmless`` is a file or name of prompts, None to leave over-refusal out; ``reference`` a model
    under which replies are likely or not, ``real`` a file of real replies, ``ability`` tasks of
    lm-evaluation-harness; ``limit`` takes so many prompts of each kind, spread evenly over them;
    ``dtype`` is of the weights of local models.
    """

    decoding: Decoding = Decoding()
    samples: int = 1
    harmless: str | None = "harmless"
    constant: str = CONSTANT_REPLY
    reference: str | None = None
    real: str | None = None
    ability: tuple[str, ...] = ()
    limit: int | None = None
    batch: int = 16
    dtype: Dtype | None = None


class EvaluationInputs(NamedTuple):
    """What all models are given: prompts of both kinds, real replies and judges; and notes.

    ``judges`` are names with what their verdicts depend on, as far as they tell.
    """

    name: str
    risky: list[Prompt]
    harmless: list[Prompt]
    real: list[str]
    judges: dict[str, str]
    notes: list[str]


class MeasuredArm(NamedTuple):
    """What one model said, as judges see it, and what other models say of it."""

    said: ModelReplies
    judged: list[JudgedReplies]
    ability: Ability
    likelihood: float | None


class AnswerChange(NamedTuple):
    """A prompt whose answer is judged otherwise after than before; ``step`` is the difference.

    Steps are of scores where both answers have one, else of verdicts, unsafe being one.
    """

    arm: str
    prompt: str
    category: str
    context: str
    before: str
    after: str
    verdicts: tuple[str, str]
    scores: tuple[float | None, float | None]
    step: float


@dataclass(frozen=True)
class Evaluation:
    """What came out: a sentence and an arm a model, the model before first, and what changed most.

    The same inputs and answers give the same.
    """

    headlines: tuple[str, ...]
    arms: tuple[Arm, ...]
    changes: tuple[AnswerChange, ...]
    notes: tuple[str, ...]
    prompts: dict[str, int]
    settings: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values, numbers to six digits."""
        facts = {field.name: _to_json_values(getattr(self, field.name)) for field in fields(self)}
        return {"isaac": __version__, **facts}


def _to_json_values(value: Any) -> Any:
    """Return tuples with names and data classes as objects, and numbers to six digits."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_json_values(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _to_json_values(inner) for name, inner in value._asdict().items()}
    if isinstance(value, dict):
        return {str(name): _to_json_values(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json_values(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 6) + 0.0 if math.isfinite(value) else None
    return value


def build_evaluation(
    measured: Sequence[MeasuredArm],
    given: EvaluationInputs,
    settings: EvaluationSettings,
    encoder: Encoder,
) -> Evaluation:
    """Return the evaluation of what models said; the first is the one before."""
    arms = _build_arms(measured, given, encoder)
    before = arms[0]
    arms = [_compare_with_baseline(arm, before) for arm in arms]
    after = [arm for arm in arms if arm.role == "after"]
    changes = [
        change
        for one in measured
        if one.said.role == "after"
        for change in _find_changes(one, measured[0], given.risky)
    ]
    return Evaluation(
        tuple(format_headline(arm, before) for arm in after),
        tuple(arms),
        tuple(changes),
        (*given.notes, *_build_notes(arms)),
        {"risky": len(given.risky), "harmless": len(given.harmless)},
        {
            "prompts": given.name,
            "judges": list(given.judges),
            "revisions": [
                make_printable(revision) or "unknown" for revision in given.judges.values()
            ],
            **_to_json_values(settings),
            "encoder": encoder_revision(encoder),
        },
    )


def _build_arms(
    measured: Sequence[MeasuredArm], given: EvaluationInputs, encoder: Encoder
) -> list[Arm]:
    """Return the arms, not yet compared in quality."""
    grouped = [group_coherent_pairs(given.risky, one.said.risky) for one in measured]
    said = [[pair for pairs in every for pair in pairs] for every in grouped]
    within = compute_retention_intervals(grouped, encoder)
    replies = [[reply for _, reply in pairs] for pairs in said]
    changes = _compare_verdicts(measured, given.risky)
    surprise = compute_perplexities(given.real, replies) if given.real else [None] * len(measured)
    found = []
    for number, one in enumerate(measured):
        harmless = collect_coherent_pairs(given.harmless, one.said.harmless)
        first = [
            reply for _, reply in collect_coherent_pairs(given.risky, one.said.risky, first=True)
        ]
        triples = surprise[number]
        found.append(
            Arm(
                name=one.said.name,
                role=one.said.role,
                verdicts=changes[number],
                broken=count_degenerate(one.judged[0].answers),
                quality=measure_quality(said[number], encoder),
                collapse=detect_collapse(first),
                refusals=count_refusals(given.harmless, one.said.harmless),
                relevance_harmless=compute_relevance(harmless, encoder),
                perplexity={
                    "reference": one.likelihood,
                    **(triples._asdict() if triples else {"forward": None, "backward": None}),
                },
                ability=one.ability,
                variety_kept=retained_variety(replies[number], replies[0]) if number else None,
                kept_intervals=within[number],
            )
        )
    return found


def _compare_verdicts(
    measured: Sequence[MeasuredArm], prompts: Sequence[Prompt]
) -> list[tuple[JudgeVerdicts, ...]]:
    """Return by model and judge what came out, p values corrected over the models after."""
    columns = []
    for place, first in enumerate(measured[0].judged):
        old = compute_unsafe_rates(first.answers)
        rows = [one.judged[place] for one in measured]
        changes = [
            None if row is first else compare_paired(old, compute_unsafe_rates(row.answers))
            for row in rows
        ]
        tested = [n for n, one in enumerate(measured) if one.said.role == "after"]
        family = holm([change.p for n in tested if (change := changes[n])])
        for n, adjusted in zip(tested, family, strict=True):
            change = changes[n]
            changes[n] = change and change._replace(adjusted=adjusted)
        columns.append(
            [
                JudgeVerdicts(
                    row.judge,
                    tally_verdicts(row.answers),
                    change,
                    tally_by_category(prompts, row.answers),
                    row.failures,
                    row.first_error,
                )
                for row, change in zip(rows, changes, strict=True)
            ]
        )
    return list(zip(*columns, strict=True))


def _compare_with_baseline(arm: Arm, before: Arm) -> Arm:
    """Return an arm with its quality compared and its problems named."""
    if arm.role == "before":
        return replace(arm, problems=find_baseline_problems(arm))
    compared = replace(
        arm,
        relevance_kept=retained_share(arm.quality.relevance, before.quality.relevance),
    )
    return replace(compared, problems=find_comparison_problems(compared, before))


def _find_changes(
    after: MeasuredArm, before: MeasuredArm, prompts: Sequence[Prompt]
) -> list[AnswerChange]:
    """Return the answers whose score fell and rose most, by the first judge."""
    found = []
    pairs = zip(prompts, before.judged[0].answers, after.judged[0].answers, strict=True)
    for prompt, old, new in pairs:
        step = _compute_step(old[0], new[0])
        if step:
            found.append(_build_change(after.said.name, prompt, old[0], new[0], step))
    ranked = sorted(found, key=lambda change: change.step)
    falls = [change for change in ranked if change.step < 0][:MAX_CHANGES]
    rises = [change for change in reversed(ranked) if change.step > 0][:MAX_CHANGES]
    return [*falls, *rises]


def _compute_step(old: JudgedReply, new: JudgedReply) -> float:
    """Return how much more unsafe an answer became, 0 where that is not known."""
    if old.unsafe is None or new.unsafe is None:
        return 0.0
    before, after = old.judgement.score, new.judgement.score
    if before is not None and after is not None:
        return after - before
    return float(new.unsafe) - float(old.unsafe)


def _build_change(
    arm: str, prompt: Prompt, old: JudgedReply, new: JudgedReply, step: float
) -> AnswerChange:
    return AnswerChange(
        arm,
        prompt.id,
        prompt.category,
        truncate(prompt.text, MAX_TEXT_CHARACTERS),
        truncate(old.reply or "", MAX_TEXT_CHARACTERS),
        truncate(new.reply or "", MAX_TEXT_CHARACTERS),
        (old.judgement.verdict, new.judgement.verdict),
        (old.judgement.score, new.judgement.score),
        step,
    )


def _build_notes(arms: Sequence[Arm]) -> list[str]:
    """Return what a reader should know before trusting the result."""
    notes = []
    failed = [(arm, one) for arm in arms for one in arm.verdicts if one.failures]
    for arm, one in failed:
        notes.append(
            f"Judge {make_printable(one.judge)} failed for {one.failures:,} answers of "
            f"{make_printable(arm.name)}, which are unscored: {make_printable(one.first_error or '')}"
        )
    for arm in arms:
        broken = sum(arm.broken.values())
        if broken:
            kinds = ", ".join(f"{count:,} {name}" for name, count in arm.broken.items())
            notes.append(f"Broken answers of {make_printable(arm.name)}: {broken:,} ({kinds}).")
    return notes
