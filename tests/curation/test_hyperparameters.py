from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.corpus.corpus import Corpus
from isaac.corpus.reading import read_corpus
from isaac.curation import hyperparameters
from isaac.curation.curate import Curation, curate
from isaac.curation.hyperparameters import (
    MAX_NEIGHBORS,
    MIN_NEIGHBORS,
    RADII,
    VIEWS,
    SelectedSettings,
    default_k,
)
from isaac.curation.resources import Tools
from isaac.curation.storage import MemoryStorage
from isaac.curation.views import Ridge
from isaac.named_recipes import REDRAW_MOST_SETTINGS
from isaac.reading_options import ReadingOptions
from isaac.recipe import Recipe, ResolvedRecipe
from isaac.runs.jobs import curate_to, redraw_run
from isaac.runs.run import Run
from isaac.runtime.arrays import Floats
from isaac.runtime.storage import Array
from tests.conftest import RunIsaac, write_lines

HASHING = {
    **REDRAW_MOST_SETTINGS,
    "context_encoder": "hashing",
    "response_encoder": "hashing",
}
"""Settings that draw from clusters, with the hashing encoder."""

Pairs = list[tuple[str, str]]

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnp" for b in "aeiou" for c in "bdfgklmnprstvz"]


class FixedVectors:
    """An encoder that looks up the vector of each text."""

    def __init__(self, vectors: dict[str, Floats]) -> None:
        self.vectors = vectors

    def encode(self, texts: list[str]) -> Floats:
        return np.array([self.vectors[text] for text in texts], np.float32)


def auto(**fields: Any) -> Recipe:
    return Recipe.of({**HASHING, **fields})


def chosen(found: Curation) -> SelectedSettings:
    assert found.choice is not None
    return found.choice


@pytest.fixture(scope="module")
def pairs(exchanges: list[dict[str, str]]) -> Pairs:
    return [(row["context"], row["response"]) for row in exchanges]


@pytest.fixture(scope="module")
def groups(exchanges: list[dict[str, str]]) -> list[str]:
    return [row["situation"] for row in exchanges]


@pytest.fixture(scope="module")
def plain(pairs: Pairs) -> Curation:
    """The corpus, curated with all settings open."""
    return curate(Corpus.of(pairs), auto())


# k


@given(st.integers(1, 10**7), st.integers(1, 10**7))
def test_k_rises_with_the_corpus_within_its_bounds(one: int, other: int) -> None:
    assert MIN_NEIGHBORS <= default_k(one) <= MAX_NEIGHBORS
    assert default_k(min(one, other)) <= default_k(max(one, other))


@pytest.mark.parametrize(("count", "k"), [(1, 50), (400, 60), (10_000, 300), (10**6, 400)])
def test_k_is_three_square_roots(count: int, k: int) -> None:
    assert default_k(count) == k


def test_k_depends_on_the_number_of_drawable_exchanges(pairs: Pairs) -> None:
    copies = [(f"{context} {n}", response) for n in range(10) for context, response in pairs]
    for share in (0.3, 1.0):
        found = curate(
            Corpus.of(copies), auto(candidates=share, radius=1.0, view="whole", relevance=0)
        )
        typical = found.response_scores.typicality[found.layout.response]
        count = int((typical > 1 - share).sum())
        assert found.recipe.neighbors == default_k(count) > MIN_NEIGHBORS
        assert f"the {count:,} exchanges that may be drawn" in chosen(found).reasons[0]


# what is chosen


def test_the_best_of_all_open_settings_is_chosen(plain: Curation) -> None:
    choice = chosen(plain)
    assert [trial[:2] for trial in choice.trials] == [(v, r) for v in VIEWS for r in RADII]
    best = max(choice.trials, key=lambda trial: trial.typicality)
    assert (choice.view, choice.radius) == best[:2]
    assert all(0 <= trial.typicality <= 1 for trial in choice.trials)
    assert len({trial.typicality for trial in choice.trials}) > 1
    recipe = plain.recipe
    assert (recipe.mode, recipe.neighbors) == (choice.mode, choice.neighbors)
    assert (recipe.view, recipe.radius) == (choice.view, choice.radius)
    assert f"at radius {choice.radius}" in choice.reasons[1]


@pytest.mark.parametrize(
    "fixed",
    [
        {"neighbors": 7},
        {"radius": 0.65},
        {"view": "residual"},
        {"view": "opening"},
        {"view": "opening", "radius": 0.65},
        {"neighbors": 7, "radius": 0.65},
    ],
    ids=str,
)
def test_fixed_values_stay(fixed: dict[str, Any], pairs: Pairs) -> None:
    found = curate(Corpus.of(pairs), auto(**fixed))
    values = found.recipe.model_dump()
    assert {name: values[name] for name in fixed} == fixed
    choice = chosen(found)
    assert (choice.neighbors, choice.view, choice.radius) == tuple(
        values[name] for name in ("neighbors", "view", "radius")
    )
    for trial in choice.trials:
        assert fixed.get("radius", trial.radius) == trial.radius
        assert fixed.get("view", trial.view) == trial.view
    left_open = [name for name in ("view", "radius") if name not in fixed]
    assert len(choice.trials) == (
        len(VIEWS) ** ("view" in left_open) * len(RADII) ** ("radius" in left_open)
        if left_open
        else 0
    )


def test_nothing_is_chosen_if_all_settings_are_given(pairs: Pairs) -> None:
    recipe = auto(neighbors=9, radius=0.9, view="whole")
    found = curate(Corpus.of(pairs), recipe)
    assert found.choice is None
    assert found.recipe == ResolvedRecipe.of({**recipe.model_dump(), "search": "exact"})
    again = curate(Corpus.of(pairs), found.recipe)
    assert again.choice is None
    assert again.lineage.equals(found.lineage)


def test_responses_compared_as_text_need_no_radius(pairs: Pairs, groups: list[str]) -> None:
    for group_by in (None, "situation"):
        found = curate(Corpus.of(pairs, groups=groups), auto(clusters="text", group_by=group_by))
        assert (found.recipe.view, found.recipe.radius) == ("whole", 0)
        assert isinstance(found.recipe.neighbors, int)


# a planted consensus


def simplex(count: int, apart: float, width: int, start: int) -> Floats:
    """Unit vectors (count, width), all at the same distance from each other."""
    cosine = 1 - apart**2 / 2
    vectors = np.zeros((count, width), np.float32)
    vectors[:, start] = np.sqrt(cosine)
    vectors[np.arange(count), start + 1 + np.arange(count)] = np.sqrt(1 - cosine)
    return vectors


def good_and_bad(good: int, bad: int) -> tuple[list[str], list[str]]:
    """Responses that share their wording, and responses each worded in its own way."""
    random = Random(0)
    return (
        [
            f"please see a doctor about {' '.join(random.sample(WORDS, 3))} soon"
            for _ in range(good)
        ],
        [" ".join(random.sample(WORDS, 8)) for _ in range(bad)],
    )


def hidden(apart: float) -> tuple[Pairs, FixedVectors]:
    """A corpus whose minority is at one distance from each other, the rest at 0.3 more."""
    good, bad = good_and_bad(24, 36)
    width = len(good) + len(bad) + 2
    rows = [simplex(24, apart, width, 0), simplex(36, apart + 0.3, width, 25)]
    vectors = dict(zip([*good, *bad], np.concatenate(rows), strict=True))
    rng = np.random.default_rng(1)
    found = [(f"question {n}", response) for n, response in enumerate([*good, *bad])]
    vectors |= {context: rng.standard_normal(width).astype(np.float32) for context, _ in found}
    return found, FixedVectors(vectors)


@pytest.mark.parametrize(("apart", "radius"), [(0.55, 0.6), (0.65, 0.7), (0.75, 0.8), (0.85, 0.9)])
def test_the_radius_is_the_one_at_which_a_consensus_is_found(apart: float, radius: float) -> None:
    found, encoder = hidden(apart)
    recipe = auto(view="whole", candidates=1.0, neighbors=60)
    curation = curate(Corpus.of(found), recipe, Tools(encoders={"hashing": encoder}))
    assert chosen(curation).radius == radius
    score = {trial.radius: trial.typicality for trial in chosen(curation).trials}
    assert score[radius] > max(score[0.5], score[1.2]) + 0.2


def test_the_residual_is_chosen_where_topics_hide_who_agrees() -> None:
    good, bad = good_and_bad(80, 80)
    topics = np.eye(4, 200, dtype=np.float32)
    stance = np.eye(200, dtype=np.float32)[4]
    vectors: dict[str, Floats] = {}
    found = []
    for n, response in enumerate([*good, *bad]):
        own = stance if n < len(good) else np.eye(200, dtype=np.float32)[5 + n]
        vectors[response] = topics[n % 4] + 0.3 * own
        vectors[f"question {n}"] = topics[n % 4] + 0.01 * np.eye(200, dtype=np.float32)[5 + n]
        found.append((f"question {n}", response))
    tools = Tools(encoders={"hashing": FixedVectors(vectors)})
    curation = curate(Corpus.of(found), auto(candidates=1.0), tools)
    assert chosen(curation).view == "residual"
    score: dict[str, float] = {}
    for trial in chosen(curation).trials:
        score[trial.view] = max(score.get(trial.view, 0), trial.typicality)
    assert score["residual"] > score["whole"] + 0.1


# what it does not depend on


@pytest.mark.parametrize("group_by", [None, "situation"])
def test_the_order_of_rows_does_not_matter(
    group_by: str | None, pairs: Pairs, groups: list[str]
) -> None:
    order = Random(5).sample(range(len(pairs)), len(pairs))
    one = curate(Corpus.of(pairs, groups=groups), auto(group_by=group_by))
    again = curate(Corpus.of(pairs, groups=groups), auto(group_by=group_by))
    shuffled = Corpus.of([pairs[i] for i in order], groups=[groups[i] for i in order])
    other = curate(shuffled, auto(group_by=group_by))
    assert chosen(one) == chosen(again) == chosen(other)
    assert one.recipe == other.recipe


def test_labels_do_not_matter(tmp_path: Path, pairs: Pairs) -> None:
    choices = []
    for seed in (1, 2):
        labels = Random(seed).choices(["safe", "unsafe"], k=len(pairs))
        records = (
            {"context": context, "response": response, "label": label}
            for (context, response), label in zip(pairs, labels, strict=True)
        )
        source = write_lines(tmp_path / f"{seed}.jsonl", records)
        choices.append(curate(read_corpus(source), auto()).choice)
    assert choices[0] == choices[1] is not None


# what is stored


class Counting(MemoryStorage):
    """A store that keeps arrays, and records which were computed."""

    def __init__(self) -> None:
        super().__init__()
        self.arrays: dict[str, Array] = {}
        self.made: list[str] = []

    def array(self, name: str, make: Callable[[], Array], /) -> Array:
        if name not in self.arrays:
            self.made.append(name)
            self.arrays[name] = make()
        return self.arrays[name]


def test_a_store_keeps_the_trials(pairs: Pairs) -> None:
    store = Counting()
    one, other = (curate(Corpus.of(pairs), auto(), Tools(store=store)) for _ in range(2))
    assert len(set(store.made)) == len(store.made)
    scores = {f"vectors/wording.{part}" for part in ("kind", "typicality", "fitted")}
    ridge = {f"vectors/ridge.{part}" for part in Ridge.__dataclass_fields__}
    expected = {"vectors/trials", "vectors/exchangeability"} | scores | ridge
    assert {name for name in store.made if not name.startswith("texts/")} == expected
    assert chosen(one) == chosen(other)
    assert one.lineage.equals(other.lineage)


def test_redrawing_does_not_choose_again(plain: Curation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyperparameters, "select_hyperparameters", None)
    monkeypatch.setattr(hyperparameters, "_score_settings", None)
    again = plain.redraw(sharpening="uniform", seed=3)
    assert again.choice is plain.choice
    assert again.recipe == ResolvedRecipe.of(
        {**plain.recipe.model_dump(), "sharpening": "uniform", "seed": 3}
    )


def test_a_run_keeps_its_choice_when_it_is_redrawn(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = curate_to(tmp_path / "run", small, auto())
    before = run.curation()
    monkeypatch.setattr(hyperparameters, "_expected_typicality", None)  # a trial would fail
    assert run.curation().choice == before.choice is not None
    other = redraw_run(run, {"power": 1.0, "seed": 9, "keep": True}, tmp_path / "other")
    for drawn in (other, redraw_run(run, {"power": 1.0, "seed": 9, "keep": True})):
        assert drawn.curation().choice == before.choice
        assert drawn.curation().recipe.radius == before.recipe.radius
        assert not drawn.curation().lineage.equals(before.lineage)
    assert curate_to(other.path, small, other.recipe()).path == other.path


def test_the_command_keeps_the_choice_when_it_redraws(
    tmp_path: Path, small: Path, isaac: RunIsaac, monkeypatch: pytest.MonkeyPatch
) -> None:
    redraw_most = ("--recipe", "redraw-most")
    assert isaac("curate", small, "-o", tmp_path / "run", *redraw_most).code == 0
    before = Run(tmp_path / "run").curation()
    monkeypatch.setattr(hyperparameters, "_expected_typicality", None)
    done = isaac("redraw", tmp_path / "run", "--power", "1", "--budget", "1")
    assert done.code == 0, done.err
    assert Run(tmp_path / "run").curation().choice == before.choice is not None


# groups, and small corpora


def test_view_and_radius_are_chosen_for_groups_too(pairs: Pairs, groups: list[str]) -> None:
    found = curate(Corpus.of(pairs, groups=groups), auto(group_by="situation"))
    choice = chosen(found)
    assert len(choice.trials) == len(VIEWS) * len(RADII)
    assert not any("square root" in reason for reason in choice.reasons)


@pytest.mark.parametrize("fields", [{}, {"clusters": "components"}, {"clusters": "text"}])
def test_groups_of_one_are_not_changed(fields: dict[str, Any], pairs: Pairs) -> None:
    corpus = Corpus.of(pairs, groups=[str(n) for n in range(len(pairs))])
    found = curate(corpus, auto(group_by="id", **fields))
    lines = found.lineage.to_pylist()
    assert [line["source_id"] for line in lines] == list(range(len(pairs)))
    assert {line["neighborhood"] for line in lines} == {1}
    assert {line["action"] for line in lines} <= {"kept", "abstained"}


def test_large_groups_are_tried_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyperparameters, "MAX_GROUP_ROWS", 40)
    many = [(f"question {n}", f"answer {WORDS[n]} {WORDS[-n]}") for n in range(41)]
    few = [("hi", "hello you"), ("hi", "hello there"), ("bye", "see you")]
    for rows, names in [
        (many + few, ["large"] * len(many) + ["small"] * 3),
        (many, ["large"] * len(many)),
    ]:
        found = curate(Corpus.of(rows, groups=names), auto(group_by="g", clusters="cover"))
        assert len(chosen(found).trials) == len(VIEWS) * len(RADII)


@pytest.mark.parametrize("group_by", [None, "group"])
@pytest.mark.parametrize("same", ["context", "response", "both", "neither"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiny_corpora(count: int, same: str, group_by: str | None) -> None:
    rows = [
        (
            "hi" if same in ("context", "both") else f"{WORDS[n]} {WORDS[-n]}",
            "hello" if same in ("response", "both") else f"{WORDS[10 + n]} {WORDS[50 + n]}",
        )
        for n in range(count)
    ]
    corpus = Corpus.of(rows, groups=[str(n // 2) for n in range(count)])
    reading = ReadingOptions(group_by=group_by)
    assert len(curate(corpus, Recipe(reading=reading)).lineage) == count
    found = curate(corpus, Recipe.redraw_most(reading=reading))
    assert [line["id"] for line in found.lineage.to_pylist()] == list(range(count))
    assert (found.recipe.neighbors, found.recipe.radius) == (MIN_NEIGHBORS, chosen(found).radius)
    assert all(rows[line["source_id"]][1] for line in found.lineage.to_pylist())
    json.dumps(chosen(found))
