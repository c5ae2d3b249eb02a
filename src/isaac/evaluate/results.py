"""What an evaluation holds, and how it is made of what models said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple

from .._version import __version__
from ..models.chat.base import Decoding, Dtype
from ..models.encoders import Encoder, revision
from ..text import clipped, visible
from .ability import Ability
from .arms import (
    Answer,
    Arm,
    Judged,
    Said,
    Verdicts,
    broken_by,
    by_category,
    by_prompt,
    kept,
    problems_before,
    problems_of,
    readable,
    refusals_of,
    shares,
    tally,
)
from .confidence import intervals
from .headlines import headline
from .perplexity import perplexities
from .prompts import Prompt
from .quality import collapse_of, quality_of, relevance, variety_kept
from .statistics import holm, paired

ENCODER = "wordllama"
"""By whose vectors replies are relevant."""

CONSTANT = "I'm not sure."
"""What the arm says that has one reply for everything."""

SHOWN = 600
"""Characters of a text that a report shows."""

CHANGED = 5
"""Answers shown of those whose score fell most, and of those whose score rose most."""


class Settings(NamedTuple):
    """How models are asked, and what is measured beside their safety.

    ``harmless`` is a file or name of prompts, None to leave over-refusal out; ``reference`` a model
    under which replies are likely or not, ``real`` a file of real replies, ``ability`` tasks of
    lm-evaluation-harness; ``limit`` takes so many prompts of each kind, spread evenly over them;
    ``dtype`` is of the weights of local models.
    """

    decoding: Decoding = Decoding()
    samples: int = 1
    harmless: str | None = "harmless"
    constant: str = CONSTANT
    reference: str | None = None
    real: str | None = None
    ability: tuple[str, ...] = ()
    limit: int | None = None
    batch: int = 16
    dtype: Dtype | None = None


class Given(NamedTuple):
    """What all models are given: prompts of both kinds, real replies and judges; and notes.

    ``judges`` are names with what their verdicts depend on, as far as they tell.
    """

    name: str
    risky: list[Prompt]
    harmless: list[Prompt]
    real: list[str]
    judges: dict[str, str]
    notes: list[str]


class Measured(NamedTuple):
    """What one model said, as judges see it, and what other models say of it."""

    said: Said
    judged: list[Judged]
    ability: Ability
    likelihood: float | None


class Change(NamedTuple):
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
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    prompts: dict[str, int]
    settings: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values, numbers to six digits."""
        facts = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        return {"isaac": __version__, **facts}


def _plain(value: Any) -> Any:
    """Return tuples with names and data classes as objects, and numbers to six digits."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(inner) for name, inner in value._asdict().items()}
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 6) + 0.0 if math.isfinite(value) else None
    return value


def compared(
    measured: Sequence[Measured], given: Given, settings: Settings, encoder: Encoder
) -> Evaluation:
    """Return the evaluation of what models said; the first is the one before."""
    arms = _arms(measured, given, encoder)
    before = arms[0]
    arms = [_against(arm, before) for arm in arms]
    after = [arm for arm in arms if arm.role == "after"]
    changes = [
        change
        for one in measured
        if one.said.role == "after"
        for change in _changes(one, measured[0], given.risky)
    ]
    return Evaluation(
        tuple(headline(arm, before) for arm in after),
        tuple(arms),
        tuple(changes),
        (*given.notes, *_notes(arms)),
        {"risky": len(given.risky), "harmless": len(given.harmless)},
        {
            "prompts": given.name,
            "judges": list(given.judges),
            "revisions": [visible(revision) or "unknown" for revision in given.judges.values()],
            **_plain(settings),
            "encoder": revision(encoder),
        },
    )


def _arms(measured: Sequence[Measured], given: Given, encoder: Encoder) -> list[Arm]:
    """Return the arms, not yet compared in quality."""
    grouped = [by_prompt(given.risky, one.said.risky) for one in measured]
    said = [[pair for pairs in every for pair in pairs] for every in grouped]
    within = intervals(grouped, encoder)
    replies = [[reply for _, reply in pairs] for pairs in said]
    changes = _verdicts(measured, given.risky)
    surprise = perplexities(given.real, replies) if given.real else [None] * len(measured)
    found = []
    for number, one in enumerate(measured):
        harmless = readable(given.harmless, one.said.harmless)
        first = [reply for _, reply in readable(given.risky, one.said.risky, first=True)]
        triples = surprise[number]
        found.append(
            Arm(
                name=one.said.name,
                role=one.said.role,
                verdicts=changes[number],
                broken=broken_by(one.judged[0].answers),
                quality=quality_of(said[number], encoder),
                collapse=collapse_of(first),
                refusals=refusals_of(given.harmless, one.said.harmless),
                relevance_harmless=relevance(harmless, encoder),
                perplexity={
                    "reference": one.likelihood,
                    **(triples._asdict() if triples else {"forward": None, "backward": None}),
                },
                ability=one.ability,
                variety_kept=variety_kept(replies[number], replies[0]) if number else None,
                kept_intervals=within[number],
            )
        )
    return found


def _verdicts(
    measured: Sequence[Measured], prompts: Sequence[Prompt]
) -> list[tuple[Verdicts, ...]]:
    """Return by model and judge what came out, p values corrected over the models after."""
    columns = []
    for place, first in enumerate(measured[0].judged):
        old = shares(first.answers)
        rows = [one.judged[place] for one in measured]
        changes = [None if row is first else paired(old, shares(row.answers)) for row in rows]
        tested = [n for n, one in enumerate(measured) if one.said.role == "after"]
        family = holm([change.p for n in tested if (change := changes[n])])
        for n, adjusted in zip(tested, family, strict=True):
            change = changes[n]
            changes[n] = change and change._replace(adjusted=adjusted)
        columns.append(
            [
                Verdicts(
                    row.judge,
                    tally(row.answers),
                    change,
                    by_category(prompts, row.answers),
                    row.failures,
                    row.first_error,
                )
                for row, change in zip(rows, changes, strict=True)
            ]
        )
    return list(zip(*columns, strict=True))


def _against(arm: Arm, before: Arm) -> Arm:
    """Return an arm with its quality compared and its problems named."""
    if arm.role == "before":
        return replace(arm, problems=problems_before(arm))
    compared = replace(
        arm,
        relevance_kept=kept(arm.quality.relevance, before.quality.relevance),
    )
    return replace(compared, problems=problems_of(compared, before))


def _changes(after: Measured, before: Measured, prompts: Sequence[Prompt]) -> list[Change]:
    """Return the answers whose score fell and rose most, by the first judge."""
    found = []
    pairs = zip(prompts, before.judged[0].answers, after.judged[0].answers, strict=True)
    for prompt, old, new in pairs:
        step = _step(old[0], new[0])
        if step:
            found.append(_change(after.said.name, prompt, old[0], new[0], step))
    ranked = sorted(found, key=lambda change: change.step)
    falls = [change for change in ranked if change.step < 0][:CHANGED]
    rises = [change for change in reversed(ranked) if change.step > 0][:CHANGED]
    return [*falls, *rises]


def _step(old: Answer, new: Answer) -> float:
    """Return how much more unsafe an answer became, 0 where that is not known."""
    if old.unsafe is None or new.unsafe is None:
        return 0.0
    before, after = old.judgement.score, new.judgement.score
    if before is not None and after is not None:
        return after - before
    return float(new.unsafe) - float(old.unsafe)


def _change(arm: str, prompt: Prompt, old: Answer, new: Answer, step: float) -> Change:
    return Change(
        arm,
        prompt.id,
        prompt.category,
        clipped(prompt.text, SHOWN),
        clipped(old.reply or "", SHOWN),
        clipped(new.reply or "", SHOWN),
        (old.judgement.verdict, new.judgement.verdict),
        (old.judgement.score, new.judgement.score),
        step,
    )


def _notes(arms: Sequence[Arm]) -> list[str]:
    """Return what a reader should know before trusting the result."""
    notes = []
    failed = [(arm, one) for arm in arms for one in arm.verdicts if one.failures]
    for arm, one in failed:
        notes.append(
            f"Judge {visible(one.judge)} failed for {one.failures:,} answers of "
            f"{visible(arm.name)}, which are unscored: {visible(one.first_error or '')}"
        )
    for arm in arms:
        broken = sum(arm.broken.values())
        if broken:
            kinds = ", ".join(f"{count:,} {name}" for name, count in arm.broken.items())
            notes.append(f"Broken answers of {visible(arm.name)}: {broken:,} ({kinds}).")
    return notes
