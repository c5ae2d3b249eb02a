from __future__ import annotations

import importlib
import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.corpus import corpus as corpus_module
from isaac.corpus import row_tables
from isaac.corpus.corpus import Corpus
from isaac.corpus.reading import read_corpus
from isaac.curation import (
    candidates,
    canonical_order,
    embedding,
    fit,
    hyperparameters,
    neighborhoods,
    relevance,
    shards,
    views,
    word_overlap,
)
from isaac.curation.curate import Curation, curate
from isaac.curation.resources import Tools
from isaac.curation.response_scores import drawable_rows
from isaac.curation.search import exact
from isaac.recipe import Recipe
from isaac.runtime.engines import LocalEngine
from tests.curation.test_curate import ALL, BOTH, Rows, changed, column, corpus_of
from tests.reference import EXCHANGES

curation = importlib.import_module("isaac.curation.curate")  # the package exports the function

ROWS: st.SearchStrategy[Rows] = st.lists(
    st.tuples(
        st.sampled_from(["my head hurts", "my head aches", "what to cook", "?"]),
        st.sampled_from(["see a doctor", "see your doctor", "cook pasta", "shut up", "no"]),
        st.sampled_from(["health", "food"]),
    ),
    min_size=1,
    max_size=16,
)


RECIPES = st.builds(
    Recipe,
    context_encoder=st.just("hashing"),
    response_encoder=st.just("hashing"),
    group_by=st.sampled_from([None, "group"]),
    candidates=st.sampled_from([0.3, 0.7, 1.0]),
    neighbors=st.just("auto") | st.integers(1, 20),
    view=st.sampled_from(["auto", "whole", "opening", "residual"]),
    clusters=st.sampled_from(["components", "cover", "text"]),
    radius=st.sampled_from(["auto", 0.0, 0.8, 1.2]),
    duplicates=st.sampled_from(["once", "each"]),
    top_clusters=st.integers(1, 4),
    top_mass=st.sampled_from([0.5, 1.0]),
    sharpening=st.sampled_from(["adaptive", "figure", "max", "proportional", "power"]),
    relevance=st.sampled_from([0.0, 50.0]),
    typicality=st.sampled_from([0.0, 100.0]),
    repeats=st.just("auto") | st.integers(0, 3),
    min_fit=st.sampled_from(["auto", 0.0, 0.7]),
    targets=st.integers(1, 4),
    trust=st.sampled_from(["smoothed", "wording"]),
    mode=st.sampled_from(["auto", "selective", "resample", "filter", "pairs"]),
    budget=st.sampled_from(["auto", 0.0, 0.5, 1.0]),
    abstain=st.sampled_from([0.0, 0.02, 0.6]),
    keep=st.booleans(),
)


REFERENCES = ("source_id", "rejected_id")
"""Columns of the lineage with the id of another exchange."""


def outcome(found: Curation, rows: Rows) -> Counter[tuple[Any, ...]]:
    """What happened to each exchange, and why, without ids."""
    texts = [row[1] for row in rows]
    named = [
        (
            *rows[line["id"]],
            tuple(
                texts[value]
                if name in ("source_id", "rejected_id") and value is not None
                else value
                for name, value in line.items()
                if name != "id"
            ),
        )
        for line in found.lineage.to_pylist()
    ]
    whole: dict[int, list[Any]] = {}
    for line, row in zip(named, column(found, "id"), strict=True):
        whole.setdefault(row, []).append(line)
    return Counter(map(tuple, whole.values()))


@given(ROWS, RECIPES, st.randoms())
def test_permuting_rows_changes_nothing_but_ids(rows: Rows, recipe: Recipe, random: Random) -> None:
    shuffled = random.sample(rows, len(rows))
    one, other = curate(corpus_of(rows), recipe), curate(corpus_of(shuffled), recipe)
    assert outcome(one, rows) == outcome(other, shuffled)


@given(ROWS, RECIPES)
def test_the_response_of_a_row_is_always_in_its_neighborhood(rows: Rows, recipe: Recipe) -> None:
    corpus = corpus_of(rows)
    found = curate(corpus, recipe)
    if found.neighborhoods is None:
        assert not found.recipe.uses_clusters
        return
    neighborhood = found.layout.group if recipe.reading.group_by else found.layout.exchange
    for row, number in enumerate(neighborhood.tolist()):
        members, sizes, counts = (part[0] for part in found.neighborhoods[number])
        assert found.layout.response[row] in found.layout.response[members]
        assert len(set(members.tolist())) == len(members)
        assert sizes.sum() == len(members)
        assert (counts >= 1).all()
        assert (counts <= sizes).all()
        if recipe.reading.group_by:
            assert set(found.layout.group[members]) == {number}
            continue
        drawable = drawable_rows(found.layout, found.response_scores, found.recipe)
        assert len(members) == min(found.recipe.neighbors, drawable.sum())
        assert set(found.layout.exchange[members[~drawable[members]]]) <= {number}


@given(ROWS, RECIPES)
def test_every_row_gets_what_the_recipe_allows(rows: Rows, recipe: Recipe) -> None:
    found = curate(corpus_of(rows), recipe)
    lines = found.lineage.to_pylist()
    assert {line["id"] for line in lines if line["target"] == 0} == set(range(len(rows)))
    trust = [line["trust"] for line in lines if line["target"] == 0]
    mode = found.recipe.mode
    changed_rows = {line["id"] for line in lines if line["action"] != "kept"}
    assert len(changed_rows) <= round(found.recipe.share * len(rows))
    drawable = drawable_rows(found.layout, found.response_scores, found.recipe)[
        np.argsort(found.layout.ids)
    ]
    for line in lines:
        row, source = line["id"], line["source_id"]
        assert 0 <= line["typicality"] <= 1
        if found.recipe.uses_clusters:
            assert 0 < line["probability"] <= 1
            assert 0 < line["head_share"] <= 1
        assert (rows[source][1] != rows[row][1]) == (line["action"] == "replaced")
        is_paired = line["rejected_id"] is not None
        assert not is_paired or (found.recipe.is_paired and line["action"] == "kept")
        is_redrawn = line["action"] == "replaced" and found.recipe.by_fit
        assert (line["fit"] is not None) == (is_redrawn or is_paired)
        if line["fit"] is not None:
            assert recipe.reading.group_by is not None or line["fit"] >= found.recipe.fit_bound
        if line["action"] == "replaced":
            assert mode != "filter"
            assert recipe.reading.group_by is not None or drawable[source]
            assert recipe.reading.group_by is None or rows[source][2] == rows[row][2]
        if line["action"] in ("abstained", "dropped"):
            assert (line["target"], source) == (0, row)
    dropped = [trust[line["id"]] for line in lines if line["action"] == "dropped"]
    if mode == "filter" and not recipe.keep:
        assert len(dropped) == round(found.recipe.share * len(rows))
    assert not dropped or mode in ("filter", "selective")


def labeled(path: Path, labels: list[str]) -> Corpus:
    lines = [
        json.dumps({"context": c, "response": r, "label": label})
        for (c, r), label in zip(EXCHANGES, labels, strict=True)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return read_corpus(path)


@pytest.mark.parametrize("base", ALL)
def test_shuffling_labels_changes_nothing(tmp_path: Path, base: Recipe) -> None:
    labels = ["safe", "safe", "unsafe"] * 20
    recipe = changed(base, neighbors=12, targets=3)
    one = curate(labeled(tmp_path / "one.jsonl", labels), recipe)
    other = curate(labeled(tmp_path / "other.jsonl", Random(1).sample(labels, 60)), recipe)
    assert one.lineage.equals(other.lineage)
    assert one.corpus.column("record") != other.corpus.column("record")


@pytest.mark.parametrize("base", [*BOTH, ALL[-1]])
@pytest.mark.parametrize("group_by", [None, "group"])
def test_workers_shards_blocks_and_tiles_change_nothing(
    group_by: str | None, base: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(c, r, str(len(c) % 4)) for c, r in EXCHANGES]
    recipe = changed(base, neighbors=12, targets=2, group_by=group_by)
    expected = curate(corpus_of(rows), recipe).lineage
    for workers in (1, 2, 4):
        tools = Tools(engine=LocalEngine(workers))
        assert curate(corpus_of(rows), recipe, tools).lineage.equals(expected)
    for module, name, value in [
        (neighborhoods, "BLOCK_NEIGHBORHOODS", 1),
        (neighborhoods, "BLOCK_NEIGHBORHOODS", 7),
        (neighborhoods, "BLOCK_PAIRS", 300),
        (hyperparameters, "BLOCK_NEIGHBORHOODS", 5),
        (candidates, "BLOCK_EXCHANGES", 1),
        (candidates, "BLOCK_EXCHANGES", 7),
        (candidates, "BLOCK_MEMBERS", 30),
        (relevance, "MAX_GATHERED_VALUES", 100),
        (relevance, "CHUNK_TEXTS", 7),
        (fit, "BLOCK_ROWS", 7),
        (word_overlap, "BLOCK_WORDS", 5),
        (exact, "TILE_VECTORS", 5),
        (exact, "QUERIES_PER_ITEM", 7),
        (shards, "SHARD_NEIGHBORHOODS", (1, 1)),
        (shards, "SHARD_NEIGHBORHOODS", (7, 7)),
        (shards, "SHARD_MEMBERS", 1),
        (shards, "SHARD_MEMBERS", 50),
        (neighborhoods, "CHUNK_TEXTS", 9),
        (views, "CHUNK_TEXTS", 9),
        (embedding, "CHUNK_TEXTS", 9),
        (curation, "CHUNK_EXCHANGES", 4),
        (canonical_order, "CHUNK_ROWS", 9),
        (corpus_module, "CHUNK_EXCHANGES", 4),
        (row_tables, "CHUNK_EXCHANGES", 4),
    ]:
        monkeypatch.setattr(module, name, value)
        assert curate(corpus_of(rows), recipe).lineage.equals(expected), (name, value)
