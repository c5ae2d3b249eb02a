from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from isaac.corpus.corpus import Corpus
from isaac.curation import matching
from isaac.curation.curate import Curation, prepare
from isaac.curation.languages import detect_corpus_languages
from isaac.curation.matching import Matches, MatchInputs, conflicts, match_rows
from isaac.curation.values import find_values
from isaac.recipe import Recipe, ResolvedRecipe
from isaac.runs.reports.price import score_rows
from tests.reference import EXCHANGES

HASHING = {"context_encoder": "hashing", "response_encoder": "hashing"}
COPIES = [("My head hurts so much.", f"I hope you feel better soon{'!' * n}") for n in range(1, 5)]
NUMBERS = [
    ("My head hurts so much, should I take 2 pills?", "Take 2 pills and drink some water."),
    ("I have a terrible headache today.", "Take 3 pills and drink some water."),
]
PAIRS = [*EXCHANGES, *COPIES, *NUMBERS]


@pytest.fixture(scope="module")
def prepared() -> Curation:
    groups = [context.split()[0] for context, _ in PAIRS]
    recipe = Recipe.of({**HASHING, "mode": "selective"})
    curation = prepare(Corpus.of(PAIRS, groups=groups), recipe)
    assert curation.fit_model() is not None
    return curation


@pytest.fixture(scope="module")
def prepared_by_key() -> Curation:
    groups = [context.split()[0] for context, _ in PAIRS]
    recipe = Recipe.of({**HASHING, "mode": "selective", "group_by": "key"})
    return prepare(Corpus.of(PAIRS, groups=groups), recipe)


def inputs_of(curation: Curation, **fields: Any) -> MatchInputs:
    """Every second row needs a response; the others offer theirs."""
    model = curation.fit_model()
    assert model is not None
    assert curation.contexts is not None
    assert curation.responses is not None
    needs = np.arange(len(PAIRS)) % 2 == 0
    recipe = ResolvedRecipe.of({**curation.recipe.model_dump(), **fields})
    return MatchInputs(
        curation.layout,
        model,
        curation.contexts,
        curation.responses,
        curation.response_scores.duplicate_group,
        curation.response_scores.trust,
        needs,
        ~needs,
        detect_corpus_languages(curation.layout, curation.tools),
        recipe,
        curation.tools,
    )


def list_pairs(curation: Curation, inputs: MatchInputs) -> list[tuple[float, int, int]]:
    """Every pair that may be matched, best first: minus its fit, its row, its source."""
    layout, count = inputs.layout, len(PAIRS)
    group = inputs.groups[layout.response]
    message, source = (part.reshape(-1) for part in np.indices((count, count)))
    model = curation.fit_model()
    assert model is not None
    fits = score_rows(curation, model, message, source).reshape(count, count)
    # Of the rows of a group that offer, the first stands for all, in each key.
    key = layout.group if inputs.by_key else np.zeros(count, np.int64)
    offers: dict[tuple[int, int], int] = {}
    for row in np.flatnonzero(inputs.offers).tolist():
        offers.setdefault((int(key[row]), int(group[row])), row)
    pairs = []
    for row in np.flatnonzero(inputs.needs).tolist():
        context = layout.contexts[int(layout.context[row])]
        for (offer_key, offer_group), offer in offers.items():
            values = find_values(layout.responses[int(layout.response[offer])])
            fit = float(fits[row, offer])
            if (
                offer_group != group[row]
                and offer_key == key[row]
                and values <= find_values(context)
                and (inputs.by_key or fit >= inputs.recipe.fit_bound)
            ):
                pairs.append((-fit, row, offer))
    return sorted(pairs)


def match_plainly(curation: Curation, inputs: MatchInputs) -> list[dict[int, int]]:
    """The source of each row that gets one, for each target: the best pairs first."""
    pairs = list_pairs(curation, inputs)
    group = inputs.groups[inputs.layout.response].tolist()
    limit, used = inputs.recipe.repeat_limit or len(PAIRS), Counter[int]()
    given: set[tuple[int, int]] = set()
    targets = []
    for _ in range(inputs.recipe.targets):
        target: dict[int, int] = {}
        for _, row, source in pairs:
            is_given = (row, group[source]) in given
            if row not in target and used[group[source]] < limit and not is_given:
                target[row] = source
                used[group[source]] += 1
                given.add((row, group[source]))
        targets.append(target)
    return targets


def as_dicts(matches: Matches) -> list[dict[int, int]]:
    return [
        {int(row): int(source[row]) for row in np.flatnonzero(source >= 0)}
        for source in matches.sources
    ]


SETTINGS: list[dict[str, Any]] = [
    {},
    {"min_fit": 1.0},
    {"min_fit": 0.0, "repeats": 1},
    {"min_fit": 0.5, "repeats": 3, "targets": 2},
    {"min_fit": 0.0, "repeats": 0, "targets": 4},
]


@pytest.mark.parametrize("fields", SETTINGS, ids=str)
def test_rows_get_what_fits_best_within_the_bounds(
    prepared: Curation, fields: dict[str, Any]
) -> None:
    inputs = inputs_of(prepared, **fields)
    found = match_rows(inputs)
    assert as_dicts(found) == match_plainly(prepared, inputs)
    assert len(found.sources) == len(found.fits) == inputs.recipe.targets
    drawn = 0
    group = inputs.groups[inputs.layout.response]
    used: Counter[int] = Counter()
    for target, (source, fit) in enumerate(zip(found.sources, found.fits, strict=True)):
        rows = np.flatnonzero(source >= 0)
        drawn += len(rows)
        assert inputs.needs[rows].all()
        assert inputs.offers[source[rows]].all()
        assert np.isnan(fit[source < 0]).all()
        assert (fit[rows] >= inputs.recipe.fit_bound).all()
        assert (group[source[rows]] != group[rows]).all()
        used.update(group[source[rows]].tolist())
        for earlier in found.sources[:target]:
            assert (earlier[rows] >= 0).all()
            assert (group[earlier[rows]] != group[source[rows]]).all()
    if fields:
        assert drawn > 3
    assert max(used.values(), default=0) <= (inputs.recipe.repeat_limit or len(PAIRS))


@pytest.mark.parametrize("fields", SETTINGS, ids=str)
def test_by_key_every_response_of_the_key_fits(
    prepared_by_key: Curation, fields: dict[str, Any]
) -> None:
    inputs = inputs_of(prepared_by_key, **fields)
    found = match_rows(inputs)
    assert as_dicts(found) == match_plainly(prepared_by_key, inputs)
    rows = np.flatnonzero(found.sources[0] >= 0)
    key = inputs.layout.group
    assert len(rows) > 10
    assert (key[found.sources[0][rows]] == key[rows]).all()


def test_by_key_only_the_most_trusted_responses_are_offered(
    prepared_by_key: Curation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "MAX_KEY_OFFERS", 2)
    inputs = inputs_of(prepared_by_key, repeats=0, targets=5)
    layout, found = inputs.layout, match_rows(inputs)
    assert (found.sources[2] < 0).all()
    assert (found.sources[1] >= 0).sum() > 3
    for key in range(int(layout.group.max()) + 1):
        offering = np.flatnonzero(inputs.offers & (layout.group == key)).tolist()
        trust = {inputs.groups[layout.response[row]]: 0.0 for row in offering}
        for row in reversed(offering):  # the first row of a group stands for it
            trust[inputs.groups[layout.response[row]]] = inputs.trust[layout.response[row]]
        least = sorted(trust.values())[-2:][0] if trust else 0
        used = [source[(source >= 0) & (layout.group == key)] for source in found.sources]
        drawn = np.concatenate(used)
        assert (inputs.trust[layout.response[drawn]] >= least).all()


def test_near_copies_count_as_one_response(prepared: Curation) -> None:
    inputs = inputs_of(prepared, min_fit=0.0, repeats=1)
    layout, group = inputs.layout, inputs.groups[inputs.layout.response]
    texts = [layout.responses[n] for n in layout.response.tolist()]
    copies = np.array([text.startswith("I hope you feel better soon") for text in texts])
    assert len(set(group[copies].tolist())) == 1
    offers = copies & (np.arange(len(PAIRS)) > 0)
    found = match_rows(inputs._replace(needs=~copies, offers=offers))
    assert sum(len(target) for target in as_dicts(found)) == 1


def test_equal_exchanges_get_different_responses_but_equal_fits(prepared: Curation) -> None:
    inputs = inputs_of(prepared, min_fit=0.0, repeats=1, targets=1)
    exchange = inputs.layout.exchange
    twice = np.flatnonzero(np.bincount(exchange)[exchange] > 1)
    needs = np.isin(np.arange(len(PAIRS)), twice)
    found = match_rows(inputs._replace(needs=needs, offers=~needs))
    assert (found.sources[0][needs] >= 0).all()
    assert len(set(found.sources[0][needs].tolist())) == needs.sum()
    free = match_rows(
        inputs_of(prepared, min_fit=0.0, repeats=0)._replace(needs=needs, offers=~needs)
    )
    for row in twice.tolist():
        same = exchange == exchange[row]
        assert len(set(free.sources[0][same].tolist())) == 1
        assert len(set(free.fits[0][same].tolist())) == 1


@pytest.mark.parametrize("size", [1, 7, 20])
def test_the_bound_of_repeats_holds_over_all_blocks(
    prepared: Curation, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "BLOCK_ROWS", size)
    inputs = inputs_of(prepared, min_fit=0.0, repeats=2)
    layout, group = inputs.layout, inputs.groups[inputs.layout.response]
    found = match_rows(inputs)
    rows = np.flatnonzero(found.sources[0] >= 0)
    sources = found.sources[0][rows]
    assert (rows // size == sources // size).all()
    assert max(Counter(group[sources].tolist()).values(), default=0) <= 2
    assert (len(rows) > 0) == (size > 1)
    assert len(layout.ids) == len(PAIRS)


def test_a_block_has_the_whole_of_each_key(
    prepared_by_key: Curation, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = inputs_of(prepared_by_key, repeats=0)
    whole = as_dicts(match_rows(inputs))
    for size in (1, 5, 30):
        monkeypatch.setattr(matching, "BLOCK_ROWS", size)
        assert as_dicts(match_rows(inputs)) == whole
        blocks = list(matching._split_rows(inputs.layout, by_key=True))
        keys = [set(inputs.layout.group[rows].tolist()) for rows in blocks]
        assert sorted(np.concatenate(blocks).tolist()) == list(range(len(PAIRS)))
        assert sum(map(len, keys)) == len(set().union(*keys))


@pytest.mark.parametrize("nothing", ["needs", "offers", "both"])
def test_nothing_is_matched_without_rows_of_both_kinds(prepared: Curation, nothing: str) -> None:
    inputs = inputs_of(prepared, min_fit=0.0, targets=2)
    none = np.zeros(len(PAIRS), bool)
    needs = none if nothing in ("needs", "both") else inputs.needs
    offers = none if nothing in ("offers", "both") else inputs.offers
    found = match_rows(inputs._replace(needs=needs, offers=offers))
    assert as_dicts(found) == [{}, {}]
    assert all(np.isnan(fit).all() for fit in found.fits)


def test_a_response_with_a_value_answers_only_a_message_that_has_it(prepared: Curation) -> None:
    layout = prepared.layout
    row_of = {layout.responses[n]: row for row, n in enumerate(layout.response.tolist())}
    two, three, other = (
        row_of[text] for text in (NUMBERS[0][1], NUMBERS[1][1], "Drink some water and lie down.")
    )
    messages, sources = np.array(
        [[two, two], [two, three], [other, two], [three, three], [two, other]]
    ).T
    found = conflicts(layout, messages, sources)
    assert found.tolist() == [False, True, True, True, False]
    inputs = inputs_of(prepared, min_fit=0.0, repeats=0)
    rows = np.arange(len(PAIRS))
    offers = np.isin(rows, [two, three])
    found_rows = as_dicts(match_rows(inputs._replace(needs=~offers, offers=offers)))
    assert found_rows == [{}]
    alone = as_dicts(match_rows(inputs._replace(needs=rows == two, offers=~offers)))
    assert list(alone[0]) == [two]


def test_the_order_of_rows_changes_nothing(prepared: Curation) -> None:
    order = np.random.default_rng(0).permutation(len(PAIRS))
    pairs = [PAIRS[n] for n in order]
    groups = [context.split()[0] for context, _ in pairs]
    shuffled = prepare(Corpus.of(pairs, groups=groups), prepared.recipe)
    fields = {"min_fit": 0.5, "targets": 2}
    one, other = (match_rows(inputs_of(curation, **fields)) for curation in (prepared, shuffled))
    assert as_dicts(one) == as_dicts(other)
    assert len(as_dicts(one)[1]) > 3
    for fits, others in zip(one.fits, other.fits, strict=True):
        assert np.array_equal(fits, others, equal_nan=True)
