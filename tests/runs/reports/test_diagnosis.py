from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest

from isaac import Corpus, Recipe, curate
from isaac.curation.sharpening import ClusterOdds, preserves_rank_order
from isaac.runs.reports.diagnosis import MIN_FITTING, diagnose

GOOD = "I'm sorry to hear that, have you seen a doctor about your"
PARTS = [f"{side} {part}" for side in ("left", "right") for part in "knee hip arm ear eye".split()]


def chats(count: int, tail: int) -> list[tuple[str, str]]:
    """Exchanges whose responses agree, and ``tail`` ones whose responses are random letters."""
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    pairs = []
    for n in range(count):
        part = PARTS[n % len(PARTS)]
        if n < tail:
            answer = " ".join("".join(rng.choice(letters, 5)) for _ in range(8))
        else:
            answer = f"{GOOD} {part} {'today' if n % 2 else 'yet'}?"
        pairs.append((f"my {part} hurts, day {n}", answer))
    return pairs


@pytest.fixture(scope="module")
def demo() -> Corpus:
    """The bundled corpus."""
    text = (files("isaac") / "data" / "demo.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return Corpus.of((row["context"], row["response"]) for row in rows)


def test_the_method_applies_to_a_corpus_whose_responses_agree(demo: Corpus) -> None:
    found = diagnose(curate(demo))
    assert (found.verdict, found.mode, found.clusters) == ("applies", "selective", None)
    assert (found.price.fitting or 0) > 0.7


def test_redrawing_freely_is_of_little_use_where_few_new_responses_fit(demo: Corpus) -> None:
    found = diagnose(curate(demo, Recipe.redraw_most(neighbors=30)))
    assert found.clusters is not None
    assert found.clusters.guaranteed == 1
    assert found.clusters.margin > 0.1
    assert found.price.fitting is not None
    assert found.price.fitting < MIN_FITTING
    assert found.verdict == "of little use"
    assert found.reasons[0].startswith("only ")


def test_it_does_not_apply_if_no_responses_agree() -> None:
    pairs = chats(300, 300)
    found = diagnose(curate(Corpus.of(pairs), Recipe.paper(radius=0.4)))
    assert found.verdict == "does not apply"
    assert found.clusters is not None
    assert found.clusters.headless > 0.5
    assert "no two responses agree" in found.reasons[0]
    assert diagnose(curate(Corpus.of(pairs), Recipe.redraw_most())).verdict != "applies"


def test_it_does_not_apply_to_one_text_repeated() -> None:
    found = diagnose(curate(Corpus.of([(f"hi {n}", "buy now at once") for n in range(300)])))
    assert found.verdict == "does not apply"
    assert found.repeated == 1


def test_turns_with_the_same_acts_may_repeat_their_wording() -> None:
    corpus = Corpus.of(
        [(f"hi {n}", "pets may stay") for n in range(300)], ["hotel-inform | "] * 300
    )
    found = diagnose(curate(corpus, Recipe.paper(group_by="act", clusters="text")))
    assert (found.verdict, found.repeated) == ("applies", 1)


def test_few_exchanges_make_it_doubtful() -> None:
    found = diagnose(curate(Corpus.of(chats(60, 5)), Recipe.redraw_most(duplicates="each")))
    assert found.verdict != "applies"
    assert any("60 exchanges are too few" in reason for reason in found.reasons)


def test_odds_that_favor_small_clusters_are_reported() -> None:
    recipe = Recipe.redraw_most(duplicates="each", sharpening="uniform", candidates=1.0)
    found = diagnose(curate(Corpus.of(chats(300, 60)), recipe))
    assert found.clusters is not None
    assert found.clusters.guaranteed < 1
    assert any("favor smaller clusters" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("odds", "holds"),
    [([0.6, 0.4, 0.0], True), ([0.5, 0.5, 0.0], False), ([1.0, 0.0, 0.0], True)],
)
def test_the_ratio_of_odds_to_share_must_not_rise_with_rank(odds: list[float], holds: bool) -> None:
    sizes = np.array([[6, 4, 0]])
    facts = ClusterOdds(sizes, sizes, np.array([odds]), np.ones(1), np.array([10]))
    assert preserves_rank_order(facts).tolist() == [holds]
