from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from isaac.runs.audit.agreement import (
    cohens_kappa,
    combine_labels,
    find_disagreements,
    krippendorffs_alpha,
    measure_agreement,
)
from isaac.runs.audit.labels import LabelLine, LabelSet
from isaac.runs.audit.questions import Question
from isaac.runs.audit.sampling import AuditItem


def test_kappa_is_the_published_one() -> None:
    # Cohen 1960 has the formula; the table is that of Wikipedia's article and of many textbooks.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohens_kappa(pairs) == pytest.approx(0.4)


def test_kappa_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = random.Random(1)
    for _ in range(20):
        pairs = [(rng.choice("ab"), rng.choice("aab")) for _ in range(30)]
        expected = metrics.cohen_kappa_score(*zip(*pairs, strict=True))
        assert cohens_kappa(pairs) == pytest.approx(expected)


def test_kappa_is_undefined_without_variation() -> None:
    assert cohens_kappa([]) is None
    assert cohens_kappa([("a", "a")] * 5) is None
    assert cohens_kappa([("a", "b")] * 5) == 0


def columns(*rows: str) -> list[list[str]]:
    """The answers by unit, of observers given as rows; a dot is a missing answer."""
    return [[value for value in unit if value != "."] for unit in zip(*rows, strict=True)]


@pytest.mark.parametrize(
    ("units", "alpha"),
    [
        (columns("0100000010", "1110010000"), 0.095),
        (columns("aabbdcccedda", "babbbccceddd"), 0.692),
        (columns("123321412...", "1233224125.3", ".3332342251.", "12332441251."), 0.743),
    ],
    ids=["A", "B", "C"],
)
def test_alpha_is_the_published_one(units: Sequence[Sequence[str]], alpha: float) -> None:
    # Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, examples A, B and C.
    found = krippendorffs_alpha(units)
    assert found == pytest.approx(alpha, abs=6e-4)


def test_alpha_is_undefined_without_variation() -> None:
    assert krippendorffs_alpha([]) is None
    assert krippendorffs_alpha([["a"], ["b"]]) is None
    assert krippendorffs_alpha([["a", "a"], ["a", "a", "a"]]) is None


def asked(count: int) -> list[Question]:
    return [
        Question(f"q{n}", f"context {n}", f"response {n}", (AuditItem(n, n),), n)
        for n in range(count)
    ]


def given(name: str, *answers: str) -> LabelSet:
    """A labeler with an answer to the first question about each exchange; "" is none."""
    labels = LabelSet(name)
    for number, answer in enumerate(answers):
        if answer:
            labels.apply(LabelLine(f"q{number}", {"label": answer}))
    return labels


def test_labels_are_combined_by_majority_and_ties_are_counted() -> None:
    ann = given("ann", "safe", "safe", "unsafe", "unsure", "unsure", "")
    bob = given("bob", "safe", "unsafe", "unsafe", "unsafe", "unsure", "")
    eve = given("eve", "unsafe", "", "", "", "", "")
    combined = combine_labels([ann, bob, eve], asked(6))
    answers = {key: each["label"] for key, each in combined.answers.items()}
    assert answers == {"q0": "safe", "q1": "unsure", "q2": "unsafe", "q3": "unsafe", "q4": "unsure"}
    assert combined.ties == {"label": 1, "fits": 0}
    assert combined.unsure == {"label": 1, "fits": 0}
    found = find_disagreements([ann, bob, eve], asked(6))
    assert [each.question for each in found] == ["q0", "q1"]
    assert found[0].answers == {"ann": "safe", "bob": "safe", "eve": "unsafe"}


def test_agreement_is_measured_where_two_labelers_were_sure() -> None:
    ann = given("ann", "safe", "safe", "unsafe", "unsure")
    bob = given("bob", "safe", "unsafe", "unsafe", "unsafe")
    two = measure_agreement([ann, bob], asked(4), "label")
    assert (two.labelers, two.questions, two.measure) == (2, 3, "Cohen's kappa")
    assert two.share == pytest.approx(2 / 3)
    assert two.value == pytest.approx(0.4)
    eve = given("eve", "safe", "", "safe", "")
    three = measure_agreement([ann, bob, eve], asked(4), "label")
    # Pairs: all three of q0 agree, the one of q1 does not, one of three of q2 does.
    assert three.questions == 3
    assert three.share == pytest.approx(4 / 7)
    assert three.measure == "Krippendorff's alpha"
    none = measure_agreement([ann, bob], asked(4), "fits")
    assert (none.questions, none.share, none.value) == (0, None, None)
