"""How far several labelers agree, and the labels that they give together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from ...text import make_printable, truncate
from .labels import ANSWERS, Aspect, LabelSet
from .questions import Question

MAX_TEXT_LENGTH = 600
"""Maximum number of characters of a text in a list of disagreements."""


class Agreement(NamedTuple):
    """How far labelers agree on the exchanges that at least two of them answered.

    "unsure" is not an answer here. ``share`` is the share of pairs of answers to the same question
    that are equal. ``value`` is that agreement corrected for chance, by ``measure``: 1 is perfect,
    0 is what chance gives. Both are None if there are no such pairs; ``value`` is also None if all
    answers are equal, because then chance alone gives perfect agreement.
    """

    labelers: int
    questions: int
    share: float | None
    measure: str
    value: float | None


class Disagreement(NamedTuple):
    """A question to which labelers gave different answers; ``row`` has its context."""

    row: int
    question: str
    aspect: Aspect
    context: str
    response: str
    answers: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """The disagreement as plain values, with texts that a report can show."""
        context = self.context[-MAX_TEXT_LENGTH:]
        cut = "…" if len(context) < len(self.context) else ""
        return {
            **self._asdict(),
            "context": cut + make_printable(context),
            "response": truncate(self.response, MAX_TEXT_LENGTH),
        }


class CombinedLabels(NamedTuple):
    """The answers of several labelers by majority, by question.

    ``unsure`` and ``ties`` count the exchanges without a majority: no labeler was sure, or as many
    gave one answer as the other. Both are "unsure" in ``answers``.
    """

    answers: dict[str, dict[Aspect, str]]
    unsure: dict[Aspect, int]
    ties: dict[Aspect, int]


def collect_answers(
    label_sets: Sequence[LabelSet], question: str, aspect: Aspect
) -> dict[str, str]:
    """The answers to a question by labeler, "unsure" included."""
    answers = {labels.name: labels.answer(question, aspect) for labels in label_sets}
    return {name: answer for name, answer in answers.items() if answer is not None}


def combine_labels(label_sets: Sequence[LabelSet], questions: Sequence[Question]) -> CombinedLabels:
    """Combine the answers to each question by majority; a labeler who is unsure has no vote."""
    combined: dict[str, dict[Aspect, str]] = {}
    unsure, ties = Counter[Aspect](), Counter[Aspect]()
    for question in questions:
        for aspect in ANSWERS:
            given = list(collect_answers(label_sets, question.key, aspect).values())
            if not given:
                continue
            (answer, votes), *others = [*_count_votes(given), ("unsure", 0)]
            if others and others[0][1] == votes and votes:
                ties[aspect] += 1
                answer = "unsure"
            elif not votes:
                unsure[aspect] += 1
            combined.setdefault(question.key, {})[aspect] = answer
    return CombinedLabels(combined, {a: unsure[a] for a in ANSWERS}, {a: ties[a] for a in ANSWERS})


def _count_votes(given: Iterable[str]) -> list[tuple[str, int]]:
    return Counter(answer for answer in given if answer != "unsure").most_common()


def find_disagreements(
    label_sets: Sequence[LabelSet], questions: Sequence[Question]
) -> list[Disagreement]:
    """List the questions with different answers, in the order of the questions."""
    return [
        Disagreement(
            question.row, question.key, aspect, question.context, question.response, answers
        )
        for question in questions
        for aspect in ANSWERS
        for answers in [collect_answers(label_sets, question.key, aspect)]
        if len(set(answers.values()) - {"unsure"}) > 1
    ]


def measure_agreement(
    label_sets: Sequence[LabelSet], questions: Sequence[Question], aspect: Aspect
) -> Agreement:
    """Measure the agreement on one of the two questions.

    The measure is Cohen's kappa for two labelers, and Krippendorff's alpha for more: they need not
    all have answered the same questions.
    """
    units = []
    for question in questions:
        answers = collect_answers(label_sets, question.key, aspect)
        sure = [answer for answer in answers.values() if answer != "unsure"]
        if len(sure) > 1:
            units.append(sure)
    pairs = [pair for unit in units for pair in combinations(unit, 2)]
    share = sum(a == b for a, b in pairs) / len(pairs) if pairs else None
    if len(label_sets) == 2:
        kappa = cohens_kappa([(a, b) for a, b in units])
        return Agreement(2, len(units), share, "Cohen's kappa", kappa)
    alpha = krippendorffs_alpha(units)
    return Agreement(len(label_sets), len(units), share, "Krippendorff's alpha", alpha)


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two labelers (Educational and Psychological Measurement 20, 1960, 37).

    None if there are no pairs, or if both gave the same one answer throughout.
    """
    if not pairs:
        return None
    count = len(pairs)
    first, second = (Counter(answers) for answers in zip(*pairs, strict=True))
    observed = sum(a == b for a, b in pairs) / count
    expected = sum(first[answer] * second[answer] for answer in first) / count**2
    return (observed - expected) / (1 - expected) if expected < 1 else None


def krippendorffs_alpha(units: Sequence[Sequence[str]]) -> float | None:
    """Krippendorff's alpha for nominal data (Content Analysis, 2nd edition, 2004, chapter 11).

    Each of ``units`` has the answers to one question; with fewer than two, it does not count. None
    if no unit counts, or if all answers are equal.
    """
    units = [unit for unit in units if len(unit) > 1]
    totals = Counter(answer for unit in units for answer in unit)
    count = sum(totals.values())
    # Ordered pairs of different answers: within units, each weighted by 1 / (answers - 1), and in
    # the whole pool.
    observed = sum(
        sum(number * (len(unit) - number) for number in Counter(unit).values()) / (len(unit) - 1)
        for unit in units
    )
    expected = sum(number * (count - number) for number in totals.values())
    return 1 - (count - 1) * observed / expected if expected else None
