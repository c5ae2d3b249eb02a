from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac import Corpus, Healer, Recipe, curate
from isaac.curation import openings, views
from isaac.curation.openings import extract_opening
from isaac.curation.vectors import GRID_STEPS, as_floats, to_grid
from isaac.curation.views import fit_ridge
from isaac.reading_options import ReadingOptions
from tests.vectors import random_directions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm sorry, I can't help. Call a doctor.", "I'm sorry, I can't help."),
        ("Sure! Here is how it goes. First, wait.", "Sure! Here is how it goes."),
        ("1. Take the train to town.\n2. Walk.", "Take the train to town."),
        ("- **Bold** idea to begin with\n- another", "Bold** idea to begin with"),
        ("# A title of a page\n\nAnd its text.", "A title of a page"),
        ("```python\nprint('hello, world')\n```", "print('hello, world')"),
        ("<p>Good morning to you.</p><p>More</p>", "Good morning to you."),
        ("No end in sight", "No end in sight"),
        ("It costs 3.50 euros a day. Fine.", "It costs 3.50 euros a day."),
        ("今日はいい天気ですね、散歩に行こう。 はい。", "今日はいい天気ですね、散歩に行こう。"),
        ("word " * 500, ("word " * 60).strip()),
        ("...", "..."),
        ("```", "```"),
    ],
)
def test_an_opening_is_the_first_sentence_without_markup(text: str, expected: str) -> None:
    assert extract_opening(text) == expected


@given(st.text(min_size=1))
def test_every_text_has_an_opening_of_bounded_length(text: str) -> None:
    found = extract_opening(text)
    assert len(found) <= max(len(text), 1)
    assert found.strip() or not text.strip()


def test_the_opening_of_a_huge_text_is_found_at_once() -> None:
    assert extract_opening("<" * 200_000) == "<" * openings.MAX_OPENING_CHARACTERS
    assert extract_opening("a " * 400_000 + ".").startswith("a a a")
    assert extract_opening("- " * 100_000)


def test_a_residual_is_what_the_contexts_do_not_predict() -> None:
    rng = np.random.default_rng(0)
    contexts = random_directions(1, 3000, 8)
    noise = to_grid(rng.standard_normal((3000, 6)))
    mixed = to_grid(as_floats(contexts) @ rng.standard_normal((8, 6)) + as_floats(noise))
    rows = np.stack([np.arange(3000)] * 2, axis=1)
    left = as_floats(fit_ridge(contexts, mixed, rows).residual(contexts, mixed))
    before = np.abs(np.corrcoef(as_floats(contexts).T, as_floats(mixed).T)[:8, 8:]).max()
    after = np.abs(np.corrcoef(as_floats(contexts).T, left.T)[:8, 8:]).max()
    assert before > 0.3
    assert after < 0.07
    near = (left * as_floats(noise)).sum(axis=1).mean()
    assert near > (as_floats(mixed) * as_floats(noise)).sum(axis=1).mean() + 0.1


def test_residuals_are_zero_where_all_responses_are_the_same() -> None:
    contexts, same = random_directions(2, 50, 8), np.repeat(random_directions(3, 1, 8), 50, axis=0)
    rows = np.stack([np.arange(50)] * 2, axis=1)
    assert not fit_ridge(contexts, same, rows).residual(contexts, same).any()


@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_blocks_change_the_regression_by_rounding_at_most(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts, responses = random_directions(4, 200, 8), random_directions(5, 200, 6)
    rows = np.stack([np.arange(200)] * 2, axis=1)
    expected = fit_ridge(contexts, responses, rows).residual(contexts, responses)
    monkeypatch.setattr(views, "BLOCK_ROWS", block)
    found = fit_ridge(contexts, responses, rows).residual(contexts, responses)
    assert np.abs(found.astype(int) - expected).max() <= 1


@given(st.integers(0, 9), st.integers(1, 30), st.floats(0.02, 50))
def test_vectors_on_the_grid_are_units_or_zero(seed: int, width: int, length: float) -> None:
    raw = np.random.default_rng(seed).standard_normal((5, width))
    raw *= length / np.linalg.norm(raw, axis=1, keepdims=True)
    norms = np.linalg.norm(to_grid(raw).astype(float), axis=1) / GRID_STEPS
    assert np.allclose(norms, 1, atol=0.01)
    assert not to_grid(raw / length * 0.009).any()


TOPICS = ("train", "parcel", "garden", "camera", "soup", "bicycle", "lamp", "letter")


def stances() -> list[tuple[str, str]]:
    """Answers that differ in topic between questions, and in stance within a question."""
    pairs = []
    for topic in TOPICS:
        question = f"How do I ruin the {topic} of my neighbour?"
        for number in range(9):
            compliant = (
                f"Take the {topic}, and ruin the {topic} of your neighbour by night {number}"
            )
            pairs.append((question, compliant if number < 3 else "I'm sorry, I can't help there."))
    return pairs


@pytest.mark.parametrize("view", ["whole", "opening", "residual"])
@pytest.mark.parametrize("clusters", ["components", "cover"])
def test_every_view_works_with_any_encoder_and_heals_as_it_curates(
    view: str, clusters: str, exchanges: list[dict[str, str]]
) -> None:
    pairs = [(row["context"], row["response"]) for row in exchanges]
    for encoder in ("wordllama", "hashing"):
        recipe = Recipe.paper(
            **{"view": view, "clusters": clusters, "neighbors": 20, "radius": 1.0},
            **{"context_encoder": encoder, "response_encoder": encoder},
        )
        curation = curate(Corpus.of(pairs), recipe)
        lines = curation.lineage.to_pylist()
        for one, line in zip(Healer(curation).heal(pairs), lines, strict=True):
            assert one.typicality == pytest.approx(line["typicality"])
            assert one.response == pairs[line["source_id"]][1]


def test_the_residual_groups_one_stance_across_topics() -> None:
    recipe = Recipe.paper(view="residual", neighbors=60, radius=0.8)
    lineage = curate(Corpus.of(stances()), recipe).lineage
    shares = lineage.column("head_share").to_numpy()
    ranks = lineage.column("own_rank").to_numpy()
    refused = np.array(["help" in response for _, response in stances()])
    assert (ranks[refused] == 1).all()
    assert (ranks[~refused] > 1).all()
    assert shares.min() > 0.5


def test_by_key_the_residual_still_sees_the_contexts() -> None:
    groups = [question for question, _ in stances()]
    recipe = Recipe.redraw_most(
        view="residual", duplicates="each", reading=ReadingOptions(group_by="question")
    )
    curation = curate(Corpus.of(stances(), groups), recipe)
    assert curation.contexts is not None
    assert curation.compared is not None
    assert curation.compared.ridge is not None
    assert set(curation.lineage.column("neighborhood").to_pylist()) == {9}
