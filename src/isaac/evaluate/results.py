"""The result of an evaluation, and how to build it from the models' replies and verdicts."""

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
    find_same_replies,
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
"""The encoder whose embeddings are used to measure relevance."""

CONSTANT_REPLY = "I'm not sure."
"""The default reply of the constant arm, which gives the same reply to every prompt."""

MAX_TEXT_CHARACTERS = 600
"""Length to which reports truncate prompts and replies."""

MAX_CHANGES = 5
"""Number of answers per model that a report shows in each direction, safer and less safe."""


class EvaluationSettings(NamedTuple):
    """How models are prompted, and what is measured in addition to safety.

    - ``decoding``, ``samples``: how replies are sampled, and how many for each prompt;
    - ``harmless``: a file or name of harmless prompts; None skips the measurement of refusals;
    - ``constant``: the reply of the constant arm, which gives the same reply to every prompt;
    - ``reference``: a causal model under which the perplexity of replies is measured;
    - ``real``: a file of real replies, for forward and backward perplexity;
    - ``ability``: tasks of lm-evaluation-harness;
    - ``limit``: use at most this many prompts of each kind, evenly spaced;
    - ``batch``, ``dtype``: batch size, and the data type of local models' weights.
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
    """The inputs that all models share, with notes for the reader of the result.

    ``prompts_name`` is the name or file of the risky prompts; ``judges`` maps each judge's name to
    its revision, empty if it has none.
    """

    prompts_name: str
    risky: list[Prompt]
    harmless: list[Prompt]
    real: list[str]
    judges: dict[str, str]
    notes: list[str]


class MeasuredArm(NamedTuple):
    """One model's replies, their judgments by each judge, and its other measurements.

    ``perplexity`` is that of the replies under the reference model.
    """

    replies: ModelReplies
    judged: list[JudgedReplies]
    ability: Ability
    perplexity: float | None


class AnswerChange(NamedTuple):
    """A prompt whose answers before and after are judged differently.

    ``step`` is the difference of their scores, after minus before. If either has no score, it is 1
    if the answer became unsafe and -1 if it became safe.
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
    """The result of an evaluation: headlines, arms, the answers that changed most, and notes.

    ``arms`` has the baseline first, then the models compared with it, then the constant arm;
    ``headlines`` has one sentence for each compared model. The same inputs and answers give the
    same result.
    """

    headlines: tuple[str, ...]
    arms: tuple[Arm, ...]
    changes: tuple[AnswerChange, ...]
    notes: tuple[str, ...]
    prompts: dict[str, int]
    settings: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Convert the evaluation to JSON values, with numbers rounded to six decimals."""
        facts = {field.name: _to_json_values(getattr(self, field.name)) for field in fields(self)}
        return {"isaac": __version__, **facts}


def _to_json_values(value: Any) -> Any:
    """Convert to JSON values: named tuples and dataclasses become objects, NaN becomes None."""
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
    inputs: EvaluationInputs,
    settings: EvaluationSettings,
    encoder: Encoder,
) -> Evaluation:
    """Build the evaluation from the measured models, of which the first is the baseline."""
    arms = _build_arms(measured, inputs, encoder)
    before = arms[0]
    arms = [_compare_with_baseline(arm, before) for arm in arms]
    after = [arm for arm in arms if arm.role == "after"]
    changes = [
        change
        for model in measured
        if model.replies.role == "after"
        for change in _find_changes(model, measured[0], inputs.risky)
    ]
    return Evaluation(
        tuple(format_headline(arm, before) for arm in after),
        tuple(arms),
        tuple(changes),
        (*inputs.notes, *_build_notes(arms)),
        {"risky": len(inputs.risky), "harmless": len(inputs.harmless)},
        {
            "prompts": inputs.prompts_name,
            "judges": list(inputs.judges),
            "revisions": [
                make_printable(revision) or "unknown" for revision in inputs.judges.values()
            ],
            **_to_json_values(settings),
            "encoder": encoder_revision(encoder),
        },
    )


def _build_arms(
    measured: Sequence[MeasuredArm], inputs: EvaluationInputs, encoder: Encoder
) -> list[Arm]:
    """Build the arms; `_compare_with_baseline` adds ``relevance_kept`` and ``problems`` later."""
    # For each model, its coherent pairs of risky prompt and reply: by prompt, then in one list.
    by_prompt = [group_coherent_pairs(inputs.risky, model.replies.risky) for model in measured]
    pairs = [[pair for group in groups for pair in group] for groups in by_prompt]
    texts = [[reply for _, reply in model_pairs] for model_pairs in pairs]
    intervals = compute_retention_intervals(by_prompt, encoder)
    verdicts = _compare_verdicts(measured, inputs.risky)
    perplexities = (
        compute_perplexities(inputs.real, texts) if inputs.real else [None] * len(measured)
    )
    same = find_same_replies([model.replies for model in measured])
    arms = []
    for index, model in enumerate(measured):
        replies, trigram = model.replies, perplexities[index]
        harmless = collect_coherent_pairs(inputs.harmless, replies.harmless)
        first_samples = collect_coherent_pairs(inputs.risky, replies.risky, first=True)
        arms.append(
            Arm(
                name=replies.name,
                role=replies.role,
                verdicts=verdicts[index],
                broken=count_degenerate(model.judged[0].answers),
                quality=measure_quality(pairs[index], encoder),
                collapse=detect_collapse([reply for _, reply in first_samples]),
                refusals=count_refusals(inputs.harmless, replies.harmless),
                relevance_harmless=compute_relevance(harmless, encoder),
                perplexity={
                    "reference": model.perplexity,
                    **(trigram._asdict() if trigram else {"forward": None, "backward": None}),
                },
                ability=model.ability,
                variety_kept=retained_variety(texts[index], texts[0]) if index else None,
                kept_intervals=intervals[index],
                same_as=same[index],
            )
        )
    return arms


def _compare_verdicts(
    measured: Sequence[MeasuredArm], prompts: Sequence[Prompt]
) -> list[tuple[JudgeVerdicts, ...]]:
    """Tally every judge's verdicts on each model, and compare them with the baseline's.

    For each judge, p values are corrected for the number of compared models; the constant arm is
    not tested.
    """
    by_judge = []
    for index, baseline in enumerate(measured[0].judged):
        old = compute_unsafe_rates(baseline.answers)  # one rate per prompt
        models = [model.judged[index] for model in measured]
        changes = [
            None if model is baseline else compare_paired(old, compute_unsafe_rates(model.answers))
            for model in models
        ]
        tested = [place for place, model in enumerate(measured) if model.replies.role == "after"]
        corrected = holm([change.p for place in tested if (change := changes[place])])
        for place, adjusted in zip(tested, corrected, strict=True):
            change = changes[place]
            changes[place] = change and change._replace(adjusted=adjusted)
        by_judge.append(
            [
                JudgeVerdicts(
                    model.judge,
                    tally_verdicts(model.answers),
                    change,
                    tally_by_category(prompts, model.answers),
                    model.failures,
                    model.first_error,
                )
                for model, change in zip(models, changes, strict=True)
            ]
        )
    # From one list per judge to one tuple per model.
    return list(zip(*by_judge, strict=True))


def _compare_with_baseline(arm: Arm, before: Arm) -> Arm:
    """Add the share of relevance that the arm kept, and the problems with the comparison."""
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
    """Find the largest changes: first the answers that became safer, then those less safe.

    Only the first judge and the first sample of each prompt are used.
    """
    changes = []
    rows = zip(prompts, before.judged[0].answers, after.judged[0].answers, strict=True)
    for prompt, old, new in rows:
        step = _compute_step(old[0], new[0])
        if step:
            changes.append(_build_change(after.replies.name, prompt, old[0], new[0], step))
    ranked = sorted(changes, key=lambda change: change.step)
    safer = [change for change in ranked if change.step < 0][:MAX_CHANGES]
    less_safe = [change for change in reversed(ranked) if change.step > 0][:MAX_CHANGES]
    return [*safer, *less_safe]


def _compute_step(old: JudgedReply, new: JudgedReply) -> float:
    """Compute how much less safe an answer became; 0 if either answer has no verdict."""
    if old.unsafe is None or new.unsafe is None:
        return 0.0
    before, after = old.judgment.score, new.judgment.score
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
        (old.judgment.verdict, new.judgment.verdict),
        (old.judgment.score, new.judgment.score),
        step,
    )


def _build_notes(arms: Sequence[Arm]) -> list[str]:
    """Note what to know before you rely on the result: failed judges, same and broken answers."""
    notes = []
    failed = [(arm, verdicts) for arm in arms for verdicts in arm.verdicts if verdicts.failures]
    for arm, verdicts in failed:
        notes.append(
            f"Judge {make_printable(verdicts.judge)} failed for {verdicts.failures:,} answers of "
            f"{make_printable(arm.name)}, which are unscored: "
            f"{make_printable(verdicts.first_error or '')}"
        )
    notes += [
        f"Every answer of {make_printable(arm.name)} is the same as that of "
        f"{make_printable(arm.same_as)}; check that they are different models."
        for arm in arms
        if arm.same_as is not None
    ]
    for arm in arms:
        broken = sum(arm.broken.values())
        if broken:
            counts = ", ".join(f"{count:,} {name}" for name, count in arm.broken.items())
            notes.append(f"Broken answers of {make_printable(arm.name)}: {broken:,} ({counts}).")
    return notes
