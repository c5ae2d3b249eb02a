from __future__ import annotations

import numpy as np

from isaac.curation.near_duplicates import group_near_duplicates
from isaac.curation.signals.folds import FOLD_COUNT, assign_folds
from isaac.curation.signals.phrasing import PhrasingModel
from isaac.curation.signals.ranks import Ranking, rank_scores
from isaac.curation.typicality import compute_typicality
from isaac.curation.unique_texts import UniqueTexts

THINGS = "tea bread rain cats trains maps songs boats ink wool salt keys".split()
KIND = [
    "I'm sorry about the {0}, please take care of the {1}.",
    "I hope the {0} is better soon, and please ask about the {1}.",
    "Thank you for the {0}, I hope the {1} is fine.",
]
RUDE = "{0} {1} you fool, {1} {0} nobody wants {0}"


def make_texts() -> tuple[list[str], list[bool]]:
    """Many polite answers that share phrases, and a few rude ones."""
    pairs = [(a, b) for a in THINGS for b in THINGS if a != b]
    kind = [KIND[i % 3].format(*pair) for i, pair in enumerate(pairs)]
    rude = [RUDE.format(a, a[::-1] + b) for a, b in pairs[::11]]
    texts = list(UniqueTexts.of(kind + rude))
    return texts, [text in set(rude) for text in texts]


def fit(texts: list[str]) -> PhrasingModel:
    groups = np.arange(len(texts))
    folds = assign_folds(UniqueTexts.of(texts).digests, groups)
    return PhrasingModel(texts, compute_typicality(texts, groups), groups, folds)


def test_near_duplicates_share_a_fold_in_any_order() -> None:
    texts = UniqueTexts.of([f"answer {i} of many, word{i} and word{i * i}" for i in range(200)])
    groups = np.arange(200) // 2 * 2
    folds = assign_folds(texts.digests, groups)
    assert (folds[::2] == folds[1::2]).all()
    assert set(folds.tolist()) == set(range(FOLD_COUNT))
    backwards = assign_folds(texts.digests[::-1], 7 - groups[::-1])
    assert (backwards[::-1] == folds).all()


def test_ranks_count_each_group_once_and_ties_are_equal() -> None:
    scores = np.array([3.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    groups = np.array([0, 1, 2, 3, 3, 3])
    assert rank_scores(scores, groups).tolist() == [0.875, 0.25, 0.25, 0.625, 0.625, 0.625]
    assert Ranking(scores, groups).rank(np.array([0.0, 1.5, 9.0])).tolist() == [0, 0.5, 1]


def test_rude_phrases_score_below_polite_ones() -> None:
    texts, rude = make_texts()
    model = fit(texts)
    kind_scores, rude_scores = model.scores[~np.array(rude)], model.scores[rude]
    assert rude_scores.max() < np.median(kind_scores)
    new = [
        "I'm sorry about the lamp, please take care of the oil.",
        "lamp oil you fool, nobody wants lamp",
    ]
    assert model.score(new)[0] > model.score(new)[1] + 0.3
    assert model.score([]).shape == (0,)


def test_a_copy_of_a_response_changes_no_other_score() -> None:
    texts, _ = make_texts()
    more = [*texts, texts[0].upper() + "!"]
    groups = group_near_duplicates(more)
    groups[-1] = 0
    folds = assign_folds(UniqueTexts.of(texts).digests, np.arange(len(texts)))
    typicality = compute_typicality(texts, np.arange(len(texts)))
    alone = PhrasingModel(texts, typicality, np.arange(len(texts)), folds)
    groups = np.append(np.arange(len(texts)), 0)
    copied = PhrasingModel(more, typicality[groups], groups, folds[groups])
    # The copy is read, so the most common words may change by one text, but nothing is counted.
    assert np.abs(copied.scores[1:-1] - alone.scores[1:]).max() < 0.05
