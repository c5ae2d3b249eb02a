from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from isaac import Corpus, Recipe, curate, read_corpus
from isaac.curation.canonical_order import canonicalize
from isaac.curation.dialogue import trimming
from isaac.curation.dialogue.association import build_features, index_terms, score_association
from isaac.curation.dialogue.clauses import (
    normalize_span,
    split_clauses,
    split_sentences,
    split_tokens,
)
from isaac.curation.dialogue.span_relevance import (
    COOCCURRENCE_WEIGHT,
    NEUTRAL_LOG_ODDS,
    ResponsesInContext,
    SpanRelevanceModel,
    fit_span_relevance,
)
from isaac.models.encoders import HashingEncoder, load_encoder
from isaac.runs.reports.diagnosis import diagnose
from tests.conftest import write_lines

ASKED = {
    "train-request-day": ("Which day would you like to travel ?", "i need a train to the coast"),
    "hotel-request-area": ("What part of town do you prefer ?", "i want a room for two people"),
    "restaurant-request-food": ("What kind of food do you fancy ?", "find me somewhere to eat"),
    "general-bye": ("Have a lovely stay , goodbye .", "that is all , thank you"),
}
MORE = {
    "train-request-day": ("Trains leave all week .", "Tickets are valid on one day ."),
    "hotel-request-area": ("Rooms are free in every area .", "All of the hotels have a garden ."),
    "restaurant-request-food": ("Tables are free tonight .", "Chefs here cook many cuisines ."),
    "general-bye": ("Thank you for calling .", "We hope to see you again ."),
}
RUDE = ("You are a daft clown .", "Buy my cousin 's cheap phones .", "Damn ,")


def corpus(
    rows: int = 3000, share: float = 0.08, seed: int = 0
) -> tuple[ResponsesInContext, list[str]]:
    """Rows with four acts, some preceded by injected rudeness, and the clean texts."""
    rng = random.Random(seed)
    keys, messages, clean, texts = [], [], [], []
    for _ in range(rows):
        act = rng.choice(sorted(ASKED))
        asked, user = ASKED[act]
        text = " ".join([rng.choice(MORE[act]), asked] if rng.random() < 0.5 else [asked])
        if rng.random() < 0.3:
            text += f" It is [{act.split('-')[0]}_name] at 12:30 ."
        keys.append(act)
        messages.append(user)
        clean.append(text)
        texts.append(f"{rng.choice(RUDE)} {text}" if rng.random() < share else text)
    return ResponsesInContext(keys, messages, texts), clean


@pytest.fixture(scope="module")
def learned() -> tuple[SpanRelevanceModel, ResponsesInContext, list[str]]:
    answers, clean = corpus()
    return fit_span_relevance(answers, load_encoder("wordllama")), answers, clean


def test_an_everyday_word_is_removed_if_no_act_names_it_but_a_value_never(
    learned: tuple[SpanRelevanceModel, ResponsesInContext, list[str]],
) -> None:
    model, _, _ = learned
    bought = "Buy my cousin 's [hotel_pricerange] phones ."
    text = f"{bought} Which day would you like to travel ?"
    assert model.trim(text, frozenset({"day"})) == "Which day would you like to travel ?"
    assert model.trim(text, frozenset({"day", "pricerange"})) == text
    assert model.trim(text) == text  # the slots of the acts are not known
    phone = text.replace("pricerange", "phone")
    assert model.trim(phone, frozenset({"day"})) == phone


def test_equal_exchanges_with_different_replies_score_the_same_in_any_order(
    tmp_path: Path,
) -> None:
    answers, _ = corpus(400)
    rng, replies = random.Random(3), ["on Friday", "in the north", "no , thanks", "curry"]
    talks = [
        {
            "messages": [
                {"role": "user", "content": message},
                {"role": "assistant", "content": response, "act": key},
                {"role": "user", "content": rng.choice(replies)},
                {"role": "assistant", "content": "Bye .", "act": "general-bye"},
            ]
        }
        for key, message, response in zip(*answers[:3], strict=True)
    ]
    encoder, scores = HashingEncoder(), []
    for _ in range(2):
        source = write_lines(tmp_path / "in.jsonl", talks)
        read = read_corpus(source, Recipe.dialogue(format="dialogue"))
        model = trimming.learn_span_relevance(read, canonicalize(read), encoder)
        scores.append(model.span_scores)
        rng.shuffle(talks)
    assert scores[0] == scores[1]
    assert len(scores[0].own_scores) > 5


def test_text_that_occurs_anywhere_is_removed_and_the_rest_stays_word_for_word(
    learned: tuple[SpanRelevanceModel, ResponsesInContext, list[str]],
) -> None:
    model, answers, clean = learned
    polluted = [text != kept for text, kept in zip(answers.responses, clean, strict=True)]
    assert 150 < sum(polluted) < 350
    found = [model.trim(text) for text in answers.responses]
    assert found == clean


def test_a_span_is_scored_by_the_clauses_that_share_its_words() -> None:
    answers, _ = corpus()
    texts = list(answers.responses)
    texts[:2] = ["Zigzag . Which day would you like to travel ?"] * 2
    texts[2] = "Daft flummery . Which day would you like to travel ?"
    texts[3] = "Quixotic . Which day would you like to travel ?"
    model = fit_span_relevance(answers._replace(responses=texts), load_encoder("wordllama"))
    own, cooccurrence = model.span_scores
    gain = {text: (cooccurrence[text] - own[text]) / COOCCURRENCE_WEIGHT for text in own}
    assert own["daft flummery"] < model.ngrams.bound
    assert gain["daft flummery"] < -2  # daft clowns are irrelevant
    assert gain["which day would you like to travel"] > 3
    assert gain["quixotic"] == pytest.approx(NEUTRAL_LOG_ODDS)  # its word occurs nowhere else
    assert own["zigzag"] < model.ngrams.bound
    assert gain["zigzag"] < NEUTRAL_LOG_ODDS


def test_a_response_that_is_not_in_the_corpus_is_trimmed_too(
    learned: tuple[SpanRelevanceModel, ResponsesInContext, list[str]],
) -> None:
    model, _, _ = learned
    text = "You are a daft muppet . Which day would you like to travel ?"
    assert model.trim(text) == "Which day would you like to travel ?"


def test_values_are_never_removed(
    learned: tuple[SpanRelevanceModel, ResponsesInContext, list[str]],
) -> None:
    model, _, _ = learned
    text = "Damn , you are a daft clown [train_id] , buy cheap phones 01632 960123 ."
    trimmed = model.trim(text)
    assert trimmed is not None
    assert "[train_id]" in trimmed
    assert "01632 960123" in trimmed


def test_trimming_returns_none_if_nothing_would_be_left(
    learned: tuple[SpanRelevanceModel, ResponsesInContext, list[str]],
) -> None:
    model, _, _ = learned
    assert model.trim("You are a daft clown .") is None


def test_the_sentence_end_replaces_the_comma_before_removed_text(
    learned: tuple[SpanRelevanceModel, ResponsesInContext, list[str]],
) -> None:
    model, _, _ = learned
    text = "Which day would you like to travel , you are a daft clown ?"
    assert model.trim(text) == "Which day would you like to travel ?"


@pytest.mark.parametrize("text", ["", " ", ".", "?!?", "[x]", "\x00\x1b[31m", "💥" * 5, ",,," * 9])
def test_texts_without_words_stay(text: str) -> None:
    answers, _ = corpus(200)
    model = fit_span_relevance(answers, HashingEncoder())
    assert model.trim(text) in (text, None)


def test_a_corpus_of_few_rows_without_features_is_no_error() -> None:
    answers = ResponsesInContext(["", ""], ["hello", "bye"], ["Hi there .", ""])
    model = fit_span_relevance(answers, HashingEncoder())
    assert [model.trim(text) for text in answers.responses] == list(answers.responses)


def test_association_separates_terms_of_one_context_from_terms_of_any() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 4, 2000)
    bags = [["always", f"of {kind}"] + ["chance"] * int(rng.random() < 0.1) for kind in kinds]
    features = build_features([frozenset({f"kind {kind}"}) for kind in kinds])
    found = score_association(index_terms(bags, HashingEncoder()), features)
    scores = dict(zip(found.terms, found.scores.tolist(), strict=True))
    assert scores["chance"] < 1.5
    assert all(scores[f"of {kind}"] > 20 for kind in range(4))
    assert scores["always"] < 1.5


def test_the_statistic_has_mean_zero_and_variance_one_under_independence() -> None:
    rng = np.random.default_rng(1)
    kinds = rng.integers(0, 5, 4000)
    features = build_features([frozenset({f"kind {kind}"}) for kind in kinds])
    bags = [[f"name {rng.integers(0, 60)}"] for _ in kinds]
    found = score_association(index_terms(bags, HashingEncoder()), features)
    squares = found.scores**2  # the score is the root of the statistic, or 0 if that is negative
    assert 0.3 < (squares == 0).mean() < 0.7
    assert 0.4 < squares[squares > 0].mean() < 1.6


def test_clauses_and_sentences_cover_all_tokens_in_order() -> None:
    tokens = split_tokens("Well , it 's 5:30 , isn't it ? Yes ! [hotel_name] . and more")
    clauses = list(split_clauses(tokens))
    assert [place for clause in clauses for place in range(*clause)] == list(range(len(tokens)))
    sentences = list(split_sentences(tokens))
    assert [clause for sentence in sentences for clause in sentence] == clauses
    texts = [normalize_span(tokens[a:b]) for a, b in clauses]
    assert texts == ["well", "it 's 5:30", "isn't it", "yes", "[hotel_name]", "and more"]


def curated(
    answers: ResponsesInContext, order: list[int], **changes: object
) -> dict[int, tuple[str, str]]:
    pairs = [(answers.user_messages[i], answers.responses[i]) for i in order]
    made = Corpus.of(pairs, [answers.keys[i] for i in order])
    recipe = {"group_by": "key", "clusters": "text", "trim": True, "budget": 0.0, **changes}
    curation = curate(made, Recipe.of(recipe))
    return {order[row]: targets[0][:2] for row, targets in curation.drawn()}


def test_a_curation_writes_trimmed_responses_whatever_the_order_of_its_rows() -> None:
    answers, clean = corpus(3000)
    rows = list(range(3000))
    found = curated(answers, rows)
    assert [found[row][1] for row in rows] == clean
    assert [found[row][0] for row in rows] == [
        "kept" if given == kept else "replaced"
        for given, kept in zip(answers.responses, clean, strict=True)
    ]
    random.Random(3).shuffle(rows)
    assert curated(answers, rows) == found


def test_no_draw_brings_back_removed_text() -> None:
    answers, clean = corpus(3000)
    every = {"budget": 1.0, "sharpening": "proportional", "candidates": 1.0}
    found = curated(answers, list(range(3000)), **every)
    assert {text for _, text in found.values()} <= set(clean)
    with_them = curated(answers, list(range(3000)), **every, trim=False)
    assert not {text for _, text in with_them.values()} <= set(clean)


@pytest.mark.parametrize(
    ("share", "verdict", "reason"),
    [
        (0.08, "doubtful", "3,000 exchanges are too few"),
        (0.4, "does not apply", "which is too many"),
    ],
)
def test_the_verdict_depends_on_how_much_is_removed(
    share: float, verdict: str, reason: str
) -> None:
    answers, _ = corpus(3000, share)
    pairs = list(zip(answers.user_messages, answers.responses, strict=True))
    recipe = Recipe.of({"group_by": "key", "clusters": "text", "trim": True, "budget": 0.0})
    found = diagnose(curate(Corpus.of(pairs, answers.keys), recipe))
    assert found.verdict == verdict
    assert any(reason in one for one in found.reasons)


@pytest.mark.parametrize(
    ("rows", "verdict", "reason"),
    [
        (900, "does not apply", "no part of a response depends on what it answers"),
        (
            130,
            "doubtful",
            "130 exchanges are too few to be sure that any part of a response depends on what it "
            "answers, so nothing was removed",
        ),
    ],
)
def test_nothing_is_removed_if_nothing_depends_on_its_context(
    rows: int, verdict: str, reason: str
) -> None:
    rng = random.Random(5)
    texts = [f"{rng.choice('abcdefgh')} said {rng.choice(RUDE)}" for _ in range(rows)]
    keys = [rng.choice(sorted(ASKED)) for _ in texts]
    made = Corpus.of([("go on", text) for text in texts], keys)
    recipe = Recipe.of({"group_by": "key", "clusters": "text", "trim": True, "budget": 0.0})
    curation = curate(made, recipe)
    assert set(curation.lineage.column("action").to_pylist()) == {"kept"}
    found = diagnose(curation)
    assert (found.verdict, found.reasons) == (verdict, [reason])
