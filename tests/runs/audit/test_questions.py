from __future__ import annotations

import numpy as np
import pytest

from isaac import Corpus, Curation, Recipe, curate
from isaac.runs.audit.questions import BLOCK_ROWS, Question, build_questions, digest_exchange
from isaac.runs.audit.sampling import AuditSample, draw_sample


@pytest.fixture(scope="module")
def curation(exchanges: list[dict[str, str]]) -> Curation:
    """A corpus of which many rows are replaced, and in which some exchanges occur twice."""
    rows = [(row["context"], row["response"]) for row in [*exchanges, *exchanges[:60]]]
    return curate(Corpus.of(rows), Recipe.redraw_most(neighbors=40, budget=0.8))


def draw(curation: Curation, ask: int, seed: int = 0) -> tuple[AuditSample, list[Question]]:
    sample = draw_sample(curation.lineage, ask, seed)
    return sample, build_questions(curation, sample, seed)


def test_every_item_has_one_question_and_equal_exchanges_share_it(curation: Curation) -> None:
    sample, questions = draw(curation, 300)
    items = [item for question in questions for item in question.items]
    assert sorted(items) == sorted(sample.items())
    texts = [(question.context, question.response) for question in questions]
    assert len(set(texts)) == len(texts) < len(items)
    for question in questions:
        assert question.key == digest_exchange(question.context, question.response)
        for item in question.items:
            assert curation.corpus[item.context].context == question.context
            assert curation.corpus[item.response].response == question.response


def test_questions_depend_on_run_seed_and_ask_and_a_larger_sample_begins_with_a_smaller(
    curation: Curation,
) -> None:
    assert draw(curation, 200)[1] == draw(curation, 200)[1]
    assert draw(curation, 200)[1] != draw(curation, 200, seed=1)[1]
    sample, small = draw(curation, 100)
    large = draw(curation, 200)[1]
    whole_blocks = len(sample.sampled_rows) // BLOCK_ROWS * BLOCK_ROWS
    keys = [question.key for question in small if question.position < whole_blocks]
    assert [question.key for question in large][: len(keys)] == keys


def test_the_order_does_not_show_which_response_is_the_original(curation: Curation) -> None:
    original_first, pairs = 0, 0
    for seed in range(20):
        sample, questions = draw(curation, 60, seed)
        places = {item: n for n, question in enumerate(questions) for item in question.items}
        for row in sample.sampled_rows:
            if row.after is not None and row.after != row.before:
                pairs += 1
                original_first += places[row.before] < places[row.after]
                # Both labels of a row come soon after one another.
                assert abs(places[row.before] - places[row.after]) < 2 * BLOCK_ROWS or any(
                    len(questions[places[item]].items) > 1 for item in (row.before, row.after)
                )
    assert pairs > 200
    # Half of them, within four standard deviations.
    assert abs(original_first - pairs / 2) < 4 * np.sqrt(pairs) / 2


def test_a_digest_separates_context_and_response() -> None:
    assert digest_exchange("a", "b c") != digest_exchange("a b", "c")
    assert digest_exchange("\ud800", "") != digest_exchange("", "\ud800")
