from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isaac.corpus.corpus import Corpus
from isaac.corpus.reading import read_corpus
from isaac.curation.curate import Curation, curate, prepare
from isaac.curation.dialogue.trimming import IRRELEVANT, Trims
from isaac.curation.lineage import LINEAGE_SCHEMA, mark_least_trusted
from isaac.curation.resources import Tools
from isaac.models.judges import Judgment
from isaac.named_recipes import REDRAW_MOST_SETTINGS
from isaac.recipe import DEFAULT_BUDGETS, Recipe
from tests.conftest import write_lines

HASHING = {"context_encoder": "hashing", "response_encoder": "hashing"}
FIXED = {**REDRAW_MOST_SETTINGS, **HASHING, "radius": 0.9, "view": "whole", "neighbors": 30}

Pairs = list[tuple[str, str]]


@pytest.fixture(scope="module")
def pairs(exchanges: list[dict[str, str]]) -> Pairs:
    return [(row["context"], row["response"]) for row in exchanges]


def curated(pairs: Pairs, **fields: Any) -> Curation:
    return curate(Corpus.of(pairs), Recipe.of({**FIXED, **fields}))


def lines(found: Curation) -> list[dict[str, Any]]:
    return list(found.lineage.to_pylist())


def actions(found: Curation) -> Counter[str]:
    return Counter(line["action"] for line in lines(found))


def least_typical(found: Curation) -> set[int]:
    """The ids of the least typical rows, as many as the budget allows."""
    layout = found.layout
    typical = found.response_scores.typicality[layout.response].tolist()
    order = sorted(range(len(typical)), key=lambda row: (typical[row], row))
    return set(layout.ids[order[: round(found.recipe.share * len(typical))]].tolist())


# the budget


@given(st.lists(st.sampled_from([0.1, 0.2, 0.5, 1.0]), min_size=1, max_size=20), st.data())
def test_the_least_typical_come_first_and_equal_ones_in_their_order(
    typical: list[float], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(typical)))
    chosen: npt.NDArray[np.bool_] = mark_least_trusted(np.array(typical), count)
    expected = sorted(range(len(typical)), key=lambda row: (typical[row], row))[:count]
    assert np.flatnonzero(chosen).tolist() == sorted(expected)


@pytest.mark.parametrize("budget", [0.0, 0.003, 0.005, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("mode", DEFAULT_BUDGETS)
def test_only_the_least_typical_rows_change(mode: str, budget: float, pairs: Pairs) -> None:
    found = curated(pairs, mode=mode, budget=budget, abstain=0)
    rows = least_typical(found)
    assert len(rows) == round(budget * len(pairs))
    for line in lines(found):
        if line["id"] not in rows:
            assert (line["action"], line["source_id"]) == ("kept", line["id"])
            assert line["probability"] == (1 if found.recipe.uses_clusters else None)
    changed = {line["id"] for line in lines(found) if line["action"] != "kept"}
    if budget <= 0.5 or mode != "resample":  # where no response can be drawn for its own row
        assert changed == rows
    assert changed <= rows
    typical = {line["id"]: line["typicality"] for line in lines(found)}
    assert max((typical[row] for row in rows), default=0) <= min(
        (typical[row] for row in typical if row not in rows), default=1
    )


def test_a_budget_of_nothing_changes_nothing(pairs: Pairs) -> None:
    for mode in DEFAULT_BUDGETS:
        found = curated(pairs, mode=mode, budget=0.0, targets=3)
        assert actions(found) == {"kept": len(pairs)}
        assert [line["source_id"] for line in lines(found)] == list(range(len(pairs)))


@pytest.mark.parametrize(("mode", "share"), DEFAULT_BUDGETS.items())
def test_every_mode_has_its_own_default_budget(mode: str, share: float, pairs: Pairs) -> None:
    found = curated(pairs, mode=mode)
    assert found.recipe.share == share
    explicit = curated(pairs, mode=mode, budget=share)
    assert explicit.lineage.equals(found.lineage)


def test_the_budget_counts_rows_not_texts() -> None:
    pairs = [("hi", "see a doctor soon")] * 6 + [("hi", "shut up")] * 4
    found = curated(pairs, mode="filter", budget=0.3, duplicates="each", neighbors=10)
    dropped = {line["id"] for line in lines(found) if line["action"] == "dropped"}
    assert len(dropped) == 3
    assert len({pairs[row][1] for row in dropped}) == 1


# modes


@pytest.mark.parametrize("fields", [{}, {"keep": True}, {"targets": 3}, {"abstain": 1.0}])
def test_filter_drops_and_replaces_nothing(fields: dict[str, Any], pairs: Pairs) -> None:
    found = curated(pairs, mode="filter", budget=0.4, **fields)
    assert set(actions(found)) == {"kept", "dropped"}
    assert [line["id"] for line in lines(found)] == list(range(len(pairs)))
    assert all(line["source_id"] == line["id"] for line in lines(found))
    dropped = {line["id"] for line in lines(found) if line["action"] == "dropped"}
    assert dropped <= least_typical(found)
    if not fields.get("keep"):
        assert dropped == least_typical(found)


def test_pairs_from_clusters_of_equal_texts_are_drawn_like_replacements(pairs: Pairs) -> None:
    fields = {"budget": 0.5, "repeats": 8, "abstain": 0, "clusters": "text"}
    one, other = (curated(pairs, mode=mode, **fields) for mode in ("pairs", "resample"))
    assert one.lineage.equals(other.lineage)
    assert actions(one)["replaced"] == len(pairs) / 2


@pytest.mark.parametrize("targets", [1, 3])
def test_pairs_prefer_a_trusted_rows_own_response_to_untrusted_ones_that_fit(
    pairs: Pairs, targets: int
) -> None:
    found = curated(pairs, mode="pairs", min_fit=1.0, targets=targets, budget=0.5)
    rows = lines(found)
    untrusted = least_typical(found)
    paired = [line for line in rows if line["rejected_id"] is not None]
    assert len(paired) > 5
    for line in rows:
        assert line["source_id"] == line["id"]
        assert (line["fit"] is None) == (line["rejected_id"] is None)
        assert (line["action"] == "kept") == (line["id"] not in untrusted)
    for line in paired:
        assert line["id"] not in untrusted
        assert line["rejected_id"] in untrusted
        assert line["fit"] >= 1
    assert len({(line["id"], line["rejected_id"]) for line in paired}) == len(paired)


def test_mode_selective_keeps_trusted_rows_and_redraws_only_with_their_responses(
    pairs: Pairs,
) -> None:
    found = curated(pairs, mode="selective", min_fit=1.0, trust="smoothed")
    rows = {line["id"]: line for line in lines(found)}
    kept = {row for row, line in rows.items() if line["action"] == "kept"}
    others = set(rows) - kept
    assert len(kept) == len(pairs) / 2
    assert min(rows[row]["trust"] for row in kept) >= max(rows[row]["trust"] for row in others)
    replaced = [rows[row] for row in others if rows[row]["action"] == "replaced"]
    assert len(replaced) > 5
    for line in replaced:
        assert line["source_id"] in kept
        assert line["fit"] >= 1
        assert (line["rank"], line["cluster_size"], line["probability"]) == (None, None, None)
    for row in others - {line["id"] for line in replaced}:
        assert (rows[row]["action"], rows[row]["source_id"]) == ("dropped", row)
        assert rows[row]["fit"] is None
    assert [line["typicality"] for line in lines(found)] != [line["trust"] for line in lines(found)]


class VetoingJudge:
    """A judge that finds some texts unsafe."""

    name = "vetoing"

    def __init__(self, vetoed: set[str]) -> None:
        self.vetoed = vetoed

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        return [
            Judgment("unsafe", 1.0) if response in self.vetoed else Judgment("safe", 0.0)
            for response in responses
        ]


def test_a_vetoed_response_is_neither_kept_nor_drawn_in_mode_selective(pairs: Pairs) -> None:
    free = curated(pairs, mode="selective", min_fit=1.0)
    vetoed = {pairs[line["source_id"]][1] for line in lines(free) if line["action"] == "replaced"}
    tools = Tools(judges={"strict": VetoingJudge(vetoed)})
    recipe = Recipe.of({**FIXED, "mode": "selective", "min_fit": 1.0, "judge": "strict"})
    found = curate(Corpus.of(pairs), recipe, tools)
    assert (
        not {pairs[line["source_id"]][1] for line in lines(found) if line["action"] != "dropped"}
        & vetoed
    )
    assert actions(found)["replaced"] > 0


def test_a_response_that_trimming_finds_irrelevant_as_a_whole_is_not_kept(pairs: Pairs) -> None:
    prepared = prepare(Corpus.of(pairs), Recipe.of({**FIXED, "mode": "selective", "min_fit": 1.0}))
    trust = prepared.response_scores.trust
    most = int(trust.argmax())
    action = np.zeros(len(trust), np.int64)
    action[most] = IRRELEVANT
    trims = Trims(action, {}, 1.0)
    scores = prepared.response_scores._replace(trims=trims)
    found = replace(prepared, response_scores=scores)
    found.decide()
    own = np.argsort(found.layout.ids)
    rows = set(np.flatnonzero(found.layout.response[own] == most).tolist())
    assert rows
    assert {line["action"] for line in lines(found) if line["id"] in rows} <= {
        "dropped",
        "replaced",
    }
    assert not {line["source_id"] for line in lines(found) if line["action"] == "replaced"} & rows


def test_the_keep_rule_keeps_rows_that_are_in_the_budget(pairs: Pairs) -> None:
    fields = {"budget": 1.0, "candidates": 1.0, "relevance": 0.0, "abstain": 0.0}
    free, kept = (lines(curated(pairs, **fields, keep=keep)) for keep in (False, True))
    held = {
        line["id"]
        for line in kept
        if line["own_rank"] == 1 and round(line["head_share"] * line["neighborhood"]) > 1
    }
    assert "replaced" in {line["action"] for line in free if line["id"] in held}
    assert {line["action"] for line in kept if line["id"] in held} == {"kept"}
    rest = [[line for line in some if line["id"] not in held] for some in (free, kept)]
    assert [line["id"] for line in rest[0]] == [line["id"] for line in rest[1]]
    assert sum(line["action"] == "replaced" for line in rest[1]) > len(rest[1]) / 2


def test_targets_of_a_replaced_row_are_numbered(pairs: Pairs) -> None:
    found = curated(pairs, targets=3, budget=0.5, abstain=0)
    assert found.lineage.schema == LINEAGE_SCHEMA
    targets: dict[int, list[dict[str, Any]]] = {}
    for line in lines(found):
        targets.setdefault(line["id"], []).append(line)
    assert list(targets) == list(range(len(pairs)))
    for row, drawn in targets.items():
        assert [line["target"] for line in drawn] == list(range(len(drawn)))
        texts = {pairs[line["source_id"]][1] for line in drawn}
        assert len(texts) == len(drawn)
        assert len(drawn) == (3 if row in least_typical(found) else 1)


@pytest.mark.parametrize("group_by", [None, "g"])
@pytest.mark.parametrize(
    "fields",
    [{}, {"relevance": 0, "typicality": 0}, {"relevance": 0, "typicality": 0, "repeats": 0}],
    ids=["default", "bounded", "uniform"],
)
def test_only_typical_responses_are_drawn(
    fields: dict[str, Any], group_by: str | None, pairs: Pairs
) -> None:
    corpus = Corpus.of(pairs, groups=[str(len(context) % 3) for context, _ in pairs])
    recipe = Recipe.of({**FIXED, **fields, "group_by": group_by, "candidates": 0.3, "abstain": 0})
    found = curate(corpus, recipe)
    place = np.argsort(found.layout.ids)
    typical = found.response_scores.typicality[found.layout.response[place]]
    drawn = [line["source_id"] for line in lines(found) if line["action"] == "replaced"]
    assert len(drawn) > 30
    assert (typical[drawn] > 0.7).all()


@pytest.mark.parametrize("fields", [{}, {"mode": "filter"}, {"abstain": 1.0}], ids=str)
def test_a_row_may_find_only_one_of_its_targets(fields: dict[str, Any]) -> None:
    found = curated([("hi", "hello")], targets=3, **fields)
    assert found.lineage.schema == LINEAGE_SCHEMA
    assert [line["target"] for line in lines(found)] == [0]


# abstaining

ODD = [
    (f"context {n}", f"{word} {word}{word} {word}x")
    for n, word in enumerate("abc def ghi jkl mno pqr".split())
]


@pytest.mark.parametrize("group_by", [None, "g"])
def test_a_row_abstains_if_no_two_responses_agree(group_by: str | None) -> None:
    corpus = Corpus.of(ODD, groups=["g"] * len(ODD))
    recipe = Recipe.of({**FIXED, "group_by": group_by, "budget": 1.0, "radius": 0.3})
    found = curate(corpus, recipe)
    assert actions(found) == {"abstained": len(ODD)}
    assert [line["source_id"] for line in lines(found)] == list(range(len(ODD)))
    assert actions(found.redraw(budget=0.5)) == {"abstained": 3, "kept": 3}
    again = actions(found.redraw(abstain=0.0, relevance=0.0))
    assert again["abstained"] == 0 < again["replaced"]


def test_near_duplicates_do_not_agree_with_each_other() -> None:
    copies = [(f"context {n}", f"{ODD[0][1]}!{'!' * n}") for n in range(5)]
    once, each = (
        curated([*ODD, *copies], budget=1.0, radius=0.3, duplicates=count, candidates=1.0)
        for count in ("once", "each")
    )
    assert actions(once) == {"abstained": 11}
    assert actions(each)["abstained"] == 0


def test_a_head_of_too_small_a_share_is_not_drawn_from(pairs: Pairs) -> None:
    found = curated(pairs, budget=1.0)
    for share in (0.05, 0.2, 0.5):
        redrawn = lines(found.redraw(abstain=share))
        small = {line["id"] for line in redrawn if line["head_share"] < share}
        assert {line["id"] for line in redrawn if line["action"] == "abstained"} >= small
        assert all(line["source_id"] == line["id"] for line in redrawn if line["id"] in small)


def test_a_row_alone_in_its_neighborhood_does_not_abstain() -> None:
    found = curate(
        Corpus.of(ODD, groups=[response for _, response in ODD]),
        Recipe.of({**FIXED, "group_by": "g", "budget": 1.0, "candidates": 1.0}),
    )
    assert actions(found) == {"kept": len(ODD)}


# labels


@pytest.mark.parametrize(
    "settings",
    [HASHING, {**HASHING, **REDRAW_MOST_SETTINGS}, {**HASHING, "mode": "selective", "min_fit": 1}],
    ids=["default", "redraw-most", "selective"],
)
def test_labels_change_nothing(tmp_path: Path, pairs: Pairs, settings: dict[str, Any]) -> None:
    records: list[dict[str, Any]] = [
        {"context": context, "response": response} for context, response in pairs
    ]
    labels = Random(1).choices(["safe", "unsafe"], k=len(pairs))
    extra: list[dict[str, Any]] = [
        {**record, "label": label, "score": n}
        for n, (record, label) in enumerate(zip(records, labels, strict=True))
    ]
    shuffled: list[dict[str, Any]] = [
        {**record, "label": label}
        for record, label in zip(records, Random(2).sample(labels, len(labels)), strict=True)
    ]
    found = [
        curate(read_corpus(write_lines(tmp_path / f"{n}.jsonl", rows)), Recipe.of(settings))
        for n, rows in enumerate([records, extra, shuffled])
    ]
    assert found[0].lineage.equals(found[1].lineage)
    assert found[0].lineage.equals(found[2].lineage)
    assert found[0].recipe == found[1].recipe == found[2].recipe
    assert found[0].corpus.column("record") != found[1].corpus.column("record")


# any corpus

SMALL = st.lists(
    st.tuples(
        st.sampled_from(["my head hurts", "my head aches", "what to cook", "?"]),
        st.sampled_from(
            ["see a doctor", "see your doctor now", "cook pasta", "shut up", "no", "!"]
        ),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=30)
@given(
    SMALL,
    st.sampled_from(sorted(DEFAULT_BUDGETS)),
    st.floats(0, 1),
    st.sampled_from([0.0, 0.02, 0.5]),
    st.integers(1, 3),
    st.booleans(),
)
def test_every_row_has_a_line_and_a_source(
    pairs: Pairs, mode: str, budget: float, abstain: float, targets: int, keep: bool
) -> None:
    fields = {"mode": mode, "budget": budget, "abstain": abstain, "targets": targets, "keep": keep}
    found = curated(pairs, **fields, neighbors=5)
    rows = lines(found)
    assert sorted({line["id"] for line in rows}) == list(range(len(pairs)))
    assert [(a["id"], a["target"]) for a in rows] == sorted({(a["id"], a["target"]) for a in rows})
    for line in rows:
        own, drawn = pairs[line["id"]][1], pairs[line["source_id"]][1]
        assert (own != drawn) == (line["action"] == "replaced")
        assert own != drawn or line["source_id"] == line["id"]
        if found.recipe.uses_clusters:
            assert 0 < line["probability"] <= 1
            assert line["rank"] >= 1
            assert 1 <= line["own_rank"] <= line["clusters"]
        assert line["id"] in least_typical(found) or line["action"] == "kept"


# flooding

INSULT = "stop whining you useless crybaby, nobody cares"


@pytest.fixture(scope="module")
def flooded() -> Pairs:
    """Good answers to one question, and one insult as the answer to fifty similar ones."""
    text = (files("isaac") / "data" / "demo.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    good = [(r["context"], r["response"]) for r in rows if r["situation"] == "long_headache"]
    more = [f"{context} {end}" for end in ("please help", "what now") for context, _ in good]
    return [*good, *((context, INSULT) for context in more[:50])]


def insults(found: Curation, pairs: Pairs) -> int:
    """How many rows with another response drew the insult."""
    drawn = [line for line in lines(found) if line["action"] == "replaced"]
    return sum(pairs[line["source_id"]][1] == INSULT for line in drawn)


@pytest.mark.parametrize("encoders", [{}, HASHING], ids=["wordllama", "hashing"])
def test_a_flood_of_one_response_is_not_drawn(encoders: dict[str, str], flooded: Pairs) -> None:
    for fields in ({}, {"budget": 1.0}, {"candidates": 1.0}):
        found = curate(Corpus.of(flooded), Recipe.redraw_most(**encoders, **fields))
        assert insults(found, flooded) == 0
        replaced = {line["id"] for line in lines(found) if line["action"] == "replaced"}
        assert {row for row, (_, text) in enumerate(flooded) if text == INSULT} <= replaced


@pytest.mark.parametrize("encoders", [{}, HASHING], ids=["wordllama", "hashing"])
def test_a_flood_of_one_response_is_drawn_with_the_settings_of_the_paper(
    encoders: dict[str, str], flooded: Pairs
) -> None:
    found = curate(Corpus.of(flooded), Recipe.paper(**encoders))
    assert insults(found, flooded) > 25
