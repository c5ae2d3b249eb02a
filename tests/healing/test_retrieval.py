from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from isaac import Corpus, Healer, Recipe, RecipeError, curate
from isaac.curation.curate import Curation
from isaac.curation.lineage import mark_least_trusted
from isaac.curation.resources import Tools
from isaac.curation.response_scores import drawable_rows
from isaac.healing.retrieval import NeighborhoodHealer
from isaac.healing.scoring import compute_threshold
from isaac.reading_options import ReadingOptions

KIND = ["I'm sorry, please see a doctor soon.", "I'm sorry, do see a doctor soon, please."]


@pytest.fixture(scope="module")
def curation() -> Curation:
    """A curation in which kind answers are the head cluster."""
    pairs = [(f"My head hurts since day {i}", KIND[i % 2]) for i in range(18)]
    pairs += [("My head hurts a lot", "Who cares."), ("My head hurts so much", "Ha, weakling.")]
    return curate(Corpus.of(pairs), Recipe.paper(neighbors=15, radius=0.6))


def test_an_odd_response_is_replaced_from_the_head_cluster(curation: Curation) -> None:
    healed = Healer(curation).heal([("My head hurts today", "Stop whining about it.")])[0]
    assert healed.action == "replaced"
    assert healed.response in KIND
    assert healed.source_id is not None
    assert curation.corpus[healed.source_id].response == healed.response
    assert healed.head_share == pytest.approx(0.8)


def test_a_response_as_typical_as_one_that_stays_stays_too() -> None:
    ranks = np.array([0.2, 0.4, 1.0, 1.0, 1.0])
    assert [compute_threshold(ranks, changed) for changed in range(6)] == [
        -1,
        0.2,
        0.4,
        0.4,
        0.4,
        1.0,
    ]
    every = np.full(4, 1.0)
    assert [compute_threshold(every, changed) for changed in (0, 2, 4)] == [-1, -1, 1.0]
    pairs = [(f"My head hurts, day {i}", KIND[0]) for i in range(49)]
    curation = curate(
        Corpus.of([*pairs, ("My tooth aches", "Ha!")]), Recipe.redraw_most(neighbors=20)
    )
    assert Healer(curation).heal(pairs[:1])[0].reason == "typical"


def test_typicality_is_computed_whether_the_corpus_has_the_response_or_not(
    curation: Curation,
) -> None:
    responses = ["Stop whining about it.", "I'm sorry, please see a doctor today.", KIND[0]]
    exchanges = [("My head hurts", response) for response in responses]
    odd, kind, known = (healed.typicality for healed in Healer(curation).heal(exchanges))
    assert odd is not None
    assert kind is not None
    assert odd < kind
    assert known in curation.lineage.column("typicality").to_pylist()


def test_a_typical_response_is_kept_in_other_words_too(curation: Curation) -> None:
    given = "I'm sorry! Please do see a doctor soon."
    healed = Healer(curation).heal([("My head hurts today", given), ("My head hurts", KIND[0])])
    assert [one.action for one in healed] == ["kept", "kept"]
    assert [one.response for one in healed] == [given, KIND[0]]
    assert all(one.source_id is None for one in healed)


def test_a_context_without_a_response_gets_one(curation: Curation) -> None:
    healed = Healer(curation).heal([("My head hurts today", None)])[0]
    assert healed.action == "replaced"
    assert healed.response in KIND
    assert healed.typicality is None


def test_healing_depends_on_the_exchange_and_on_nothing_before_it(curation: Curation) -> None:
    healer = Healer(curation)
    exchanges = [("My head hurts today", f"Odd answer number {i}") for i in range(5)]
    assert healer.heal(exchanges) == [healer.heal([one])[0] for one in exchanges]
    assert healer.heal([]) == []


def test_a_row_of_the_corpus_heals_as_it_was_curated(exchanges: list[dict[str, str]]) -> None:
    pairs = [(row["context"], row["response"]) for row in exchanges]
    curation = curate(Corpus.of(pairs), Recipe.paper(neighbors=20, radius=0.9))
    healed = Healer(curation).heal(pairs)
    lines = curation.lineage.to_pylist()
    for one, line, (_, response) in zip(healed, lines, pairs, strict=True):
        assert one.action == line["action"]
        assert one.response == pairs[line["source_id"]][1]
        assert one.typicality == pytest.approx(line["typicality"])
        assert one.response == response or one.source_id == line["source_id"]


@pytest.mark.parametrize("neighbors", [20, 100])
def test_with_weights_rows_abstain_as_in_the_curation_and_draw_only_drawable_rows(
    exchanges: list[dict[str, str]], neighbors: int
) -> None:
    pairs = [(row["context"], row["response"]) for row in exchanges]
    curation = curate(
        Corpus.of(pairs), Recipe.redraw_most(neighbors=neighbors, repeats=0, abstain=0.1)
    )
    allowed = drawable_rows(curation.layout, curation.response_scores, curation.recipe)
    ids = set(curation.layout.ids[allowed].tolist())
    lines = curation.lineage.to_pylist()
    for one, line in zip(Healer(curation).heal(pairs), lines, strict=True):
        assert one.typicality == pytest.approx(line["typicality"])
        assert one.head_share == pytest.approx(line["head_share"])
        assert (one.action == "abstained") == (line["action"] == "abstained")
        assert one.source_id is None or one.source_id in ids
    assert {line["action"] for line in lines} >= {"kept", "replaced"}


def test_odd_wording_is_replaced_and_typical_wording_stays(
    exchanges: list[dict[str, str]],
) -> None:
    pairs = [(row["context"], row["response"]) for row in exchanges]
    curation = curate(Corpus.of(pairs), Recipe.redraw_most())
    best = max(curation.lineage.to_pylist(), key=lambda line: line["typicality"])
    context, response = pairs[best["id"]]
    odd, typical, none = Healer(curation).heal(
        [(context, "Whatever, loser, quit bugging us."), (context, response), (context, None)]
    )
    assert odd.action == none.action == "replaced"
    assert odd.source_id is not None
    assert pairs[odd.source_id][1] == odd.response
    assert (typical.action, typical.response) == ("kept", response)


def test_a_given_exchange_takes_the_place_of_the_farthest_row() -> None:
    pairs = [(f"My head hurts since day {i}", "rest now") for i in range(4)]
    recipe = Recipe.paper(neighbors=5)
    curation = curate(Corpus.of([*pairs, ("Where is my parcel?", "soon")]), recipe)
    healed = Healer(curation).heal([("My head hurts a lot", "Ha!")])[0]
    assert (healed.response, healed.head_share) == ("rest now", 4 / 5)


def test_without_keep_even_a_typical_response_is_redrawn(curation: Curation) -> None:
    healer = Healer(curation.redraw(keep=False))
    exchanges = [
        (f"My head hurts today, {i}", "I'm sorry, please do see a doctor.") for i in range(9)
    ]
    actions = [one.action for one in healer.heal(exchanges)]
    assert "replaced" in actions
    assert {one.action for one in Healer(curation).heal(exchanges)} == {"kept"}


@pytest.mark.parametrize("weighted", [False, True])
def test_no_response_is_drawn_twice(curation: Curation, weighted: bool) -> None:
    changes = {"typicality": 1.0} if weighted else {}
    redrawn = curation.redraw(keep=False, **changes)
    healer = NeighborhoodHealer(redrawn)
    exchange = ("My head hurts today", "Stop whining about it.")
    located = healer.locate([exchange])[0]
    draws = list(healer.draw_replacements(located))
    expected = Healer(redrawn).heal([exchange])[0]
    assert draws[0]._replace(reason="") == expected._replace(reason="")
    responses = [drawn.response for drawn in draws]
    assert len(set(responses)) == len(responses) >= 2
    for drawn in draws:
        assert drawn.source_id is not None
        assert curation.corpus[drawn.source_id].response == drawn.response
        assert drawn.confidence is not None
        assert 0 <= drawn.confidence <= drawn.head_share


def test_confidence_is_the_share_of_the_cluster_times_typicality(curation: Curation) -> None:
    odd, kind = Healer(curation).heal([("My head hurts", "Go away."), ("My head hurts", KIND[0])])
    assert kind.confidence == pytest.approx((kind.typicality or 0) * 13 / 15, abs=0.08)
    located = NeighborhoodHealer(curation).locate([("My head hurts", "Go away.")])[0]
    assert located.share(located.given_index or 0) == pytest.approx(1 / 15)
    assert (odd.confidence or 0) > (odd.typicality or 0) / 15


def test_several_threads_may_heal_at_once(exchanges: list[dict[str, str]]) -> None:
    pairs = [(row["context"], row["response"] + " indeed") for row in exchanges]
    curation = curate(
        Corpus.of((r["context"], r["response"]) for r in exchanges), Recipe.redraw_most()
    )
    one = [Healer(curation).heal([pair])[0] for pair in pairs[:40]]
    healer = Healer(curation)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda pair: healer.heal([pair])[0], pairs[:40])) == one


def test_a_neighborhood_of_one_row_has_nothing_to_draw() -> None:
    pairs = [("a head", "rest now"), ("a parcel", "soon"), ("a word", "why not")]
    curation = curate(Corpus.of(pairs), Recipe.redraw_most(neighbors=1))
    healed = Healer(curation).heal([("a head", "look yourself")])[0]
    assert healed.response == "look yourself"
    assert healed.action in ("kept", "abstained")


def test_equal_text_clusters_need_no_response_encoder() -> None:
    pairs = [("where is it", "in the centre")] * 5 + [("where is it now", "no idea")]
    curation = curate(Corpus.of(pairs), Recipe.redraw_most(neighbors=6, clusters="text"))
    healed = Healer(curation).heal([("where is it", "look yourself")])[0]
    assert (healed.action, healed.response) == ("replaced", "in the centre")


def test_a_run_grouped_by_a_key_is_refused() -> None:
    curation = curate(
        Corpus.of([("a", "b")], groups=["x"]),
        Recipe.redraw_most(reading=ReadingOptions(group_by="act")),
    )
    with pytest.raises(RecipeError, match="grouped by 'act'"):
        Healer(curation)


def test_another_encoder_than_the_runs_is_refused(curation: Curation) -> None:
    from isaac.models.encoders import HashingEncoder

    healer = Healer(curation, Tools(encoders={"wordllama": HashingEncoder()}))
    with pytest.raises(RecipeError, match="256 dimensions"):
        healer.heal([("a", "b")])


def test_rows_stay_by_the_trust_that_the_curation_kept_them_by(
    exchanges: list[dict[str, str]],
) -> None:
    pairs = [(row["context"], row["response"]) for row in exchanges]
    curation = curate(Corpus.of(pairs), Recipe(mode="resample", neighbors=20, repeats=0))
    scores = curation.response_scores
    assert (scores.trust != scores.typicality).any()
    trust = scores.trust[curation.layout.response]
    least = mark_least_trusted(trust, round(curation.recipe.share * len(trust)))
    kept = set(curation.layout.ids[~least].tolist())
    healed = Healer(curation).heal(pairs)
    stays = {number for number, one in enumerate(healed) if one.reason == "typical"}
    # Rows that are exactly as trusted as one that is kept stay, too.
    assert kept <= stays
    assert len(stays - kept) <= 2
