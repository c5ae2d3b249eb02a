from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from isaac.curation.clusters import Clusters, concatenate_neighborhoods, take_neighborhoods
from isaac.curation.curate import Curation, curate
from isaac.curation.sharpening import cluster_odds
from isaac.curation.vectors import Embeddings
from isaac.recipe import Recipe, ResolvedRecipe
from tests import reference
from tests.curation.test_curate import corpus_of
from tests.reference import EXCHANGES


def plain_vectors(texts: Iterable[str], embedded: Embeddings | None) -> dict[str, list[int]] | None:
    if embedded is None:
        return None
    return dict(zip(texts, embedded.vectors.tolist(), strict=True))


def all_neighborhoods(found: Curation) -> Clusters:
    """All neighborhoods, in the order of their numbers."""
    assert found.neighborhoods is not None
    numbers, parts = zip(*found.neighborhoods, strict=True)
    return take_neighborhoods(concatenate_neighborhoods(parts), np.argsort(np.concatenate(numbers)))


@pytest.mark.parametrize("encoder", ["wordllama", "hashing"])
@pytest.mark.parametrize(
    "fields",
    [
        {"neighbors": 12, "radius": 0.8},
        {"neighbors": 30, "radius": 1.0, "sharpening": "figure", "temperature": 3.0},
        {"neighbors": 40, "radius": 0.9, "sharpening": "softmax", "top_clusters": 4},
        {"neighbors": 25, "radius": 0.0, "sharpening": "power", "top_mass": 0.6},
        {"neighbors": 2, "sharpening": "proportional", "keep": False},
        {"neighbors": 40, "clusters": "text", "sharpening": "max"},
        {"group_by": "topic", "radius": 0.9, "sharpening": "uniform"},
        {"group_by": "topic", "clusters": "text", "top_clusters": 2},
    ],
    ids=str,
)
def test_a_curation_equals_its_plain_reference(encoder: str, fields: dict[str, Any]) -> None:
    encoders = {"context_encoder": encoder, "response_encoder": encoder}
    recipe = ResolvedRecipe.of(Recipe.paper(**encoders, **fields, search="exact").model_dump())
    rows = [(c, r, str(len(c) % 5)) for c, r in EXCHANGES]
    found = curate(corpus_of(rows), recipe)
    layout = found.layout
    contexts = None if recipe.reading.group_by else plain_vectors(layout.contexts, found.contexts)
    responses = plain_vectors(layout.responses, found.responses)
    ordered = reference.number_and_sort(rows)
    neighborhood = layout.group if recipe.reading.group_by else layout.exchange
    assert layout.row_neighborhoods(recipe) is neighborhood
    lines = {line["id"]: line for line in found.lineage.to_pylist()}
    neighborhoods = all_neighborhoods(found)
    odds = cluster_odds(neighborhoods, found.recipe).odds
    for row, own in enumerate(ordered):
        expected = reference.curate_row(own, ordered, recipe, contexts, responses)
        number = int(neighborhood[row])
        members = [ordered[member] for member in neighborhoods.members[number]]
        assert members == [member for cluster in expected.clusters for member in cluster]
        assert neighborhoods.sizes[number].tolist() == [len(c) for c in expected.clusters]
        assert odds[number, : len(expected.odds)] == pytest.approx(expected.odds, abs=1e-12)
        assert not odds[number, len(expected.odds) :].any()
        line = lines[int(layout.ids[row])]
        assert line["sharpness"] == pytest.approx(expected.sharpness)
        assert EXCHANGES[line["source_id"]][1] in {
            member.response for member in expected.clusters[line["rank"] - 1]
        }
        if expected.kept:
            assert (line["action"], line["probability"]) == ("kept", 1)
        else:
            assert line["probability"] == pytest.approx(expected.odds[line["rank"] - 1])
