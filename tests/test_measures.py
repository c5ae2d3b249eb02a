"""The measures of benchmarks/measures.py, against values worked out by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from isaac.runtime.arrays import Ints, Reals

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from common import CachedEncoder
from measures import (
    LabeledRows,
    PairJudge,
    Rates,
    measure_rows,
    rate_by_vectors,
    rate_situations,
)
from methods import Outcome
from pairs import Answer, Exchanges, measure_answers

# Six rows; rows 0 and 1 are unsafe, rows 4 and 5 have the same response.
ROWS = LabeledRows(
    ["a1", "a2", "a3", "b1", "b2", "b3"],
    ["one two", "three", "one two three", "four five", "six seven", "six seven"],
    np.array([True, True, False, False, False, False]),
)
SITUATIONS = ["a", "a", "a", "b", "b", "b"]


def outcome(*pairs: tuple[int, int]) -> Outcome:
    ids, sources = np.array(pairs, np.int64).T
    return Outcome(ids, sources)


def test_every_measure_of_a_small_result() -> None:
    # Row 0 is redrawn from row 2 (right), row 1 dropped, row 2 kept, row 3 redrawn from the unsafe
    # row 0 (wrong situation), row 4 gets the equal text of row 5 (not touched), row 5 is kept.
    result = outcome((0, 2), (2, 2), (3, 0), (4, 5), (5, 5))
    found = measure_rows(ROWS, result, rate_situations(ROWS, SITUATIONS))
    assert found.rows == 5 / 6
    assert found.source_before == found.judged_before == 2 / 6
    assert found.source == found.context == found.judged == 1 / 5
    assert found.source_cut == pytest.approx(1 - (1 / 5) / (2 / 6))
    assert (found.answers_before, found.answers) == (1, 4 / 5)
    assert np.isnan(found.relevance)
    assert (found.texts_before, found.texts) == (5, 3)
    # The written responses have seven pairs of words: "one two" three times, "two three" twice
    # and "six seven" twice.
    assert found.pairs == 3 / 7
    assert (found.touched, found.precision) == (3 / 6, 2 / 3)
    assert (found.safe_touched, found.safe_wrong) == (1 / 4, 1 / 4)
    assert (found.redrawn, found.redrawn_answers) == (2 / 6, 1 / 2)


def test_a_safe_response_of_another_situation_is_unsafe_in_context_only() -> None:
    found = measure_rows(ROWS, outcome((2, 3), (3, 3)), rate_situations(ROWS, SITUATIONS))
    assert (found.source, found.context) == (0, 1 / 2)
    assert found.context_cut == pytest.approx(1 - (1 / 2) / (2 / 6))


def test_unsafe_in_context_is_the_label_plus_what_the_new_context_changes() -> None:
    # The judge is wrong about all rows alike, and sees 0.1 more in every other context.
    def judge(ids: Ints, sources: Ints) -> Reals:
        return np.where(ids != sources, 0.6, 0.5)

    found = measure_rows(ROWS, outcome((0, 2), (1, 1), (2, 2), (3, 0)), Rates(judge))
    # Labels of the sources: rows 1 and 0 are unsafe; two of four rows have a new context.
    assert found.context == pytest.approx((2 + 2 * 0.1) / 4)
    assert found.judged == pytest.approx((4 * 0.5 + 2 * 0.1) / 4)
    kept = measure_rows(ROWS, outcome((0, 0), (2, 2)), Rates(judge))
    assert kept.context == kept.source == 1 / 2


def test_nothing_written_is_not_measured() -> None:
    nothing = np.zeros(0, np.int64)
    found = measure_rows(ROWS, Outcome(nothing, nothing), rate_situations(ROWS, SITUATIONS))
    assert found.rows == 0
    assert found.touched == found.safe_touched == 1
    assert np.isnan([found.source, found.context, found.pairs]).all()


class Letters:
    """An encoder that counts letters."""

    def encode(self, texts: list[str]) -> np.ndarray:
        letters = "abcdefghijklmnopqrstuvwxyz"
        return np.array([[text.count(x) for x in letters] for text in texts], np.float32) + 0.01


def make_labeled(count: int, seed: int = 0) -> LabeledRows:
    """Rows whose context and response share letters; a response with a z is unsafe."""
    rng = np.random.default_rng(seed)
    contexts, responses, unsafe = [], [], []
    for _ in range(count):
        topic = "".join(rng.choice(list("abcdefghijklmnop"), 4))
        bad = bool(rng.random() < 0.3)
        contexts.append(topic + "".join(rng.choice(list("qrs"), 3)))
        responses.append(topic + "".join(rng.choice(list("tuv"), 3)) + "zz" * bad)
        unsafe.append(bad)
    return LabeledRows(contexts, responses, np.array(unsafe))


def test_a_judge_is_calibrated_and_judges_rows_that_it_was_not_fitted_on() -> None:
    rows = make_labeled(300)
    judge = PairJudge(rows, CachedEncoder(Letters()))
    assert judge.measure_errors(rows).auroc > 0.95
    everything = np.arange(300)
    rate = judge.calibrate(rows)
    assert rate(everything, everything).mean() == pytest.approx(rows.unsafe.mean(), abs=0.01)
    # Labels that mean nothing cannot be learnt, although every row is among the fitted ones.
    rng = np.random.default_rng(1)
    shuffled = rows._replace(unsafe=rng.permutation(rows.unsafe))
    noise = PairJudge(shuffled, CachedEncoder(Letters())).measure_errors(shuffled)
    assert 0.35 < noise.auroc < 0.65


def test_rates_by_vectors_tell_own_responses_from_those_of_other_rows() -> None:
    rows = make_labeled(300)
    rates = rate_by_vectors(rows, CachedEncoder(Letters()), None)
    everything = np.arange(300)
    own = measure_rows(rows, Outcome(everything, everything), rates)
    other = measure_rows(rows, Outcome(everything, np.roll(everything, 1)), rates)
    assert own.answers == own.answers_before > 0.6
    assert own.relevance_kept == 1
    assert other.answers < 0.2
    assert other.relevance_kept < 0.9
    assert np.isnan(other.context)


def test_vectors_are_stored_for_the_next_time(tmp_path: Path) -> None:
    file = tmp_path / "vectors.npz"
    encoder = CachedEncoder(Letters(), file)
    vectors = encoder.encode(["ab", "c", "ab"])
    encoder.save()
    again = CachedEncoder(Letters(), file)
    assert set(again.vectors) == {"ab", "c"}
    assert (again.encode(["c", "ab"]) == vectors[[1, 0]]).all()


def test_answers_of_preference_pairs_are_counted_by_situation_and_label() -> None:
    texts = [("a", "q1", "yes"), ("a", "q2", "bad"), ("b", "q3", "no"), ("b", "q4", "bad")]
    rows = [{"situation": s, "context": c, "response": r} for s, c, r in texts]
    known = Exchanges.of(rows, ["safe", "unsafe", "safe", "safe"])
    answers = [
        Answer("q1", "no", True),  # of situation b
        Answer("q2", "bad", True),  # right situation, unsafe
        Answer("q4", "bad", True),  # the same text is safe in situation b
        Answer("q2", "bad", False),
        Answer("q3", "no", False),
    ]
    assert measure_answers(answers, known) == (3, 1, 1, 2, 1)
