from __future__ import annotations

import numpy as np

from isaac.runs.reports.answers import (
    FOLDS,
    RANDOM_RESPONSES,
    ResponseSelector,
    RowVectors,
    number_texts,
)


def make_topics(rows: int, topics: int, seed: int = 0) -> tuple[RowVectors, np.ndarray]:
    """Vectors whose contexts and responses share a topic, and the topic of each row."""
    rng = np.random.default_rng(seed)
    topic = rng.permutation(np.arange(rows) % topics)
    questions, replies = rng.standard_normal((2, topics, 96))
    contexts = questions[topic] + 0.3 * rng.standard_normal((rows, 96))
    responses = replies[topic] + 0.3 * rng.standard_normal((rows, 96))
    return RowVectors(contexts.astype(np.float32), responses.astype(np.float32)), topic


def test_a_response_to_the_same_topic_answers_and_one_to_another_does_not() -> None:
    vectors, topic = make_topics(600, 30)
    rows = np.arange(600)
    selector = ResponseSelector(vectors, rows, rows)
    order = np.argsort(topic, kind="stable")  # 20 rows of each topic
    assert selector.answers(rows, rows).mean() > 0.9
    assert selector.answers(order, order.reshape(30, 20)[:, ::-1].ravel()).mean() > 0.9
    assert selector.answers(order, np.roll(order, 20)).mean() < 0.1


def test_without_a_relation_one_in_twenty_pairs_ranks_above_95_of_100() -> None:
    rng = np.random.default_rng(0)
    contexts, responses = rng.standard_normal((2, 2000, 16)).astype(np.float32)
    rows = np.arange(2000)
    selector = ResponseSelector(RowVectors(contexts, responses), rows, rows)
    # Also the pairs that the model was fitted on: each is scored without its own folds.
    assert 0.02 < selector.answers(rows, rows).mean() < 0.09


def test_a_corpus_with_one_response_has_no_other_to_rank_it_above() -> None:
    vectors, _ = make_topics(60, 3)
    rows = np.arange(60)
    selector = ResponseSelector(vectors, rows, np.zeros(60, np.int64))
    assert not selector.answers(rows, rows).any()


def test_equal_texts_among_the_random_responses_do_not_count() -> None:
    vectors, topic = make_topics(300, 2)
    rows = np.arange(300)
    # Half of all responses have the same text, so most random responses of a topic are equal ones.
    selector = ResponseSelector(vectors, rows, topic)
    assert selector.answers(rows, rows).all()


def test_results_do_not_depend_on_what_else_is_asked() -> None:
    vectors, _ = make_topics(300, 30)
    rows, sources = np.arange(300), np.roll(np.arange(300), 7)
    selector = ResponseSelector(vectors, rows, rows)
    together = selector.answers(rows, sources)
    alone = [selector.answers(rows[[i]], sources[[i]])[0] for i in range(300)]
    assert together.tolist() == alone
    again = ResponseSelector(vectors, rows, rows).answers(rows, sources)
    assert together.tolist() == again.tolist()


def test_only_fitted_rows_are_random_responses() -> None:
    vectors, _ = make_topics(200, 20)
    rows = np.arange(200)
    selector = ResponseSelector(vectors, rows, rows, rows[:50])
    assert selector.random_rows.shape == (200, RANDOM_RESPONSES)
    assert selector.random_rows.max() < 50
    assert len(selector.weights) == FOLDS * (FOLDS + 1) // 2


def test_texts_are_numbered_by_first_occurrence() -> None:
    assert number_texts(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
