from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from isaac.corpus.corpus import Corpus
from isaac.curation import fit
from isaac.curation.curate import Curation, prepare
from isaac.curation.fit import FitModel, choose_references, score_pairs
from isaac.curation.resources import Tools
from isaac.curation.storage import FIT_KEY
from isaac.curation.vectors import GRID_STEPS
from isaac.models.encoders import HashingEncoder
from isaac.recipe import Recipe
from isaac.runs.reports.price import score_rows
from isaac.runtime.engines import LocalEngine
from tests.curation.test_word_overlap import PlainWords
from tests.reference import EXCHANGES
from tests.runtime.test_storage import Remembering

HASHING = {"context_encoder": "hashing", "response_encoder": "hashing"}
COPIES = [
    (f"Is number {n} right, dear?", f"I hope you feel better soon{'!' * n}") for n in range(6)
]
PAIRS = [*EXCHANGES, *COPIES]

Numbers = npt.NDArray[Any]


class OtherEncoder(HashingEncoder):
    """The hashing encoder with another name."""

    def __init__(self) -> None:
        super().__init__()
        self.revision = "other 1"


def prepared(pairs: list[tuple[str, str]] = PAIRS, **fields: Any) -> Curation:
    return prepare(Corpus.of(pairs), Recipe.of({**HASHING, "mode": "selective", **fields}))


def model_of(curation: Curation) -> FitModel:
    model = curation.fit_model()
    assert model is not None
    return model


def unit(vectors: Numbers) -> Numbers:
    """Normalize vectors (n, d), and round them to the grid."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    steps = np.rint(vectors / np.where(norms < 0.01, np.inf, norms) * GRID_STEPS)
    on_grid: Numbers = steps / GRID_STEPS
    return on_grid


def sum_nearest(similarity: Numbers, is_other: Numbers, vectors: Numbers) -> Numbers:
    """Sum the 15 vectors (m, d) that are nearest of those allowed (n, m), for each row (n, d)."""
    sums = np.zeros((len(similarity), vectors.shape[1]))
    for row, similarities in enumerate(np.round(similarity, 9).tolist()):
        allowed = [m for m in range(len(vectors)) if is_other[row, m]]
        near = sorted(allowed, key=lambda m: (-similarities[m], m))[: fit.PROTOTYPE_EXCHANGES]
        sums[row] = vectors[near].sum(axis=0)
    return sums


class DenseFit:
    """The equations of fit for all exchanges of a corpus, with all products in one matrix each."""

    def __init__(self, curation: Curation, max_copies: int = fit.MAX_COPIES) -> None:
        layout = curation.layout
        assert curation.contexts is not None
        assert curation.responses is not None
        group_of_text = curation.response_scores.duplicate_group
        # The references: the distinct exchanges in canonical order, a few of each group.
        copies: dict[int, int] = {}
        self.references: list[int] = []
        for exchange in sorted(range(len(layout.first)), key=lambda e: int(layout.first[e])):
            group = int(group_of_text[layout.response[layout.first[exchange]]])
            copies[group] = copies.get(group, 0) + 1
            if copies[group] <= max_copies:
                self.references.append(exchange)
        rows = layout.first
        x = curation.contexts.vectors[layout.context[rows]] / GRID_STEPS
        y = curation.responses.vectors[layout.view[rows]] / GRID_STEPS
        m = self.references
        # Centered vectors of all exchanges (e, d); which references are no near-copies (e, m).
        self.c, self.r = unit(x - x[m].mean(axis=0)), unit(y - y[m].mean(axis=0))
        self.groups = group_of_text[layout.response[rows]]
        is_other_group = self.groups[:, None] != self.groups[m][None, :]
        is_other = np.arange(len(rows))[:, None] != np.array(m)[None, :]
        # The prototype of every exchange (e, d).
        similarity = self.c @ self.c[m].T + self.r @ self.r[m].T
        self.mc = unit(self.c + sum_nearest(similarity, is_other_group, self.c[m]))
        self.mr = unit(self.r + sum_nearest(similarity, is_other_group, self.r[m]))
        # The prototypes of every message (e, d).
        seen = self.c @ self.mc[m].T
        self.ch = unit(sum_nearest(seen, is_other, self.mc[m]))
        self.rh = unit(sum_nearest(seen, is_other, self.mr[m]))
        # What messages and responses share in rare words, minus what only the own message shares.
        contexts = [layout.contexts[n] for n in layout.context[rows].tolist()]
        responses = [layout.responses[n] for n in layout.response[rows].tolist()]
        fitted = {contexts[e] for e in m}, {responses[e] for e in m}
        words = PlainWords([*fitted[0], *fitted[1]])
        self.words = np.array(
            [
                [words.compare(message, *own) for own in zip(responses, contexts, strict=True)]
                for message in contexts
            ]
        )

    def fits(self, *, same_encoder: bool = True, with_own: bool = True) -> Numbers:
        """The fit (e, e) of the message of each exchange and the response of each other."""
        own_context, own_response = (self.mc, self.mr) if with_own else (self.ch, self.rh)
        terms = (self.c + self.ch + own_context) @ self.mc.T + (self.rh + own_response) @ self.mr.T
        terms += self.words
        return np.asarray(terms + self.c @ self.r.T if same_encoder else terms)


def score_all(curation: Curation) -> Numbers:
    """The fit (e, e) of all pairs of exchanges by the model."""
    count = len(curation.layout.first)
    message, source = (part.reshape(-1) for part in np.indices((count, count)))
    rows = curation.layout.first
    scores = score_rows(curation, model_of(curation), rows[message], rows[source])
    return scores.reshape(count, count)


@pytest.mark.parametrize("max_copies", [1, 3, 8])
def test_fit_is_that_of_the_equations(max_copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "MAX_COPIES", max_copies)
    curation = prepared()
    dense, model = DenseFit(curation, max_copies), model_of(curation)
    assert model.exchanges.tolist() == dense.references
    m = dense.references
    for found, expected in [
        (model.contexts, dense.c[m]),
        (model.responses, dense.r[m]),
        (model.prototype_contexts, dense.mc[m]),
        (model.prototype_responses, dense.mr[m]),
    ]:
        assert np.abs(found / GRID_STEPS - expected).max() <= 1.01 / GRID_STEPS
    found = score_all(curation)
    assert np.abs(found - dense.fits()).max() < 0.01
    assert found.min() < 0
    assert found.max() > 3
    assert dense.words.max() > 0.3
    assert dense.words.min() < -0.2


@pytest.mark.parametrize("with_own", [True, False])
def test_queries_hold_the_messages_and_what_their_prototypes_let_one_expect(
    *, with_own: bool
) -> None:
    curation = prepared()
    dense, model, layout = DenseFit(curation), model_of(curation), curation.layout
    assert curation.contexts is not None
    assert curation.responses is not None
    x = curation.contexts.vectors[layout.context[layout.first]]
    y = curation.responses.vectors[layout.view[layout.first]]
    keys = model.keys(x, y, dense.groups)
    queries = model.queries(x, np.arange(len(x)), keys if with_own else None)
    own_context, own_response = (dense.mc, dense.mr) if with_own else (dense.ch, dense.rh)
    parts = [dense.c + dense.ch + own_context, dense.rh + own_response, dense.c]
    found = queries * (fit.QUERY_SCALE / GRID_STEPS)
    assert np.abs(found - np.concatenate(parts, axis=1)).max() < 5 / GRID_STEPS
    scores = score_pairs(queries, keys) + np.diag(dense.words)
    assert np.abs(scores - np.diag(dense.fits(with_own=with_own))).max() < 0.01
    # An exchange that is not in the corpus leaves out none; here it votes for itself.
    new = model.queries(x, np.full(len(x), -1), keys if with_own else None)
    assert np.abs(new - queries).max() > 20


def test_the_response_that_fits_best_is_usually_about_the_same_thing() -> None:
    pairs = [
        (f"my {part} hurts {when}", f"put ice on your {part}{end}")
        for part in "head knee back foot hand neck".split()
        for when in "today again badly now".split()
        for end in ("", " and rest it", " or see a doctor")
    ]
    curation = prepared(pairs)
    layout, fits = curation.layout, score_all(curation)
    part = np.array([layout.contexts[n].split()[1] for n in layout.context[layout.first].tolist()])
    np.fill_diagonal(fits, -np.inf)
    assert (part[fits.argmax(axis=1)] == part).mean() > 0.95


def test_two_opposite_exchanges_have_prototypes() -> None:
    """Centered, the two exchanges are as far from each other as exchanges can be."""
    curation = prepared([("my head hurts", "see a doctor"), ("what to cook", "see your vet now")])
    dense = DenseFit(curation)
    assert np.abs(score_all(curation) - dense.fits()).max() < 0.01


@pytest.mark.parametrize("pairs", [PAIRS[:1], [("a", "b")] * 9, [("a", "b"), ("a", "c")]], ids=len)
def test_a_corpus_with_hardly_any_others_has_a_fit(pairs: list[tuple[str, str]]) -> None:
    assert np.isfinite(score_all(prepared(pairs))).all()


def test_different_encoders_lack_the_term_that_compares_message_and_response() -> None:
    recipe = Recipe.of({**HASHING, "response_encoder": "other", "mode": "selective"})
    curation = prepare(Corpus.of(PAIRS), recipe, Tools(encoders={"other": OtherEncoder()}))
    same = prepared()
    assert model_of(same).same_encoder
    assert not model_of(curation).same_encoder
    assert np.abs(score_all(curation) - DenseFit(same).fits(same_encoder=False)).max() < 0.01


def test_references_are_the_first_in_canonical_order(monkeypatch: pytest.MonkeyPatch) -> None:
    curation = prepared()
    groups = curation.response_scores.duplicate_group
    every = choose_references(curation.layout, groups)
    monkeypatch.setattr(fit, "MAX_REFERENCES", 10)
    assert choose_references(curation.layout, groups).tolist() == every[:10].tolist()
    assert (np.diff(curation.layout.first[every]) > 0).all()
    assert len(every) == len(set(every.tolist()))


def test_the_model_is_stored_and_loaded() -> None:
    store = Remembering()
    curation = prepare(Corpus.of(PAIRS), Recipe.of({**HASHING, "mode": "selective"}), Tools(store))
    first = score_all(curation)
    names = {name for name in store.stored if name.startswith(f"{FIT_KEY}.")}
    fields = {*fit.ARRAY_FIELDS, "words", "frequencies", "text_count"}
    assert names == {f"{FIT_KEY}.{field}" for field in fields}
    again = prepare(Corpus.of(PAIRS), Recipe.of({**HASHING, "mode": "selective"}), Tools(store))
    made = list(store.made)
    assert score_all(again).tolist() == first.tolist()
    assert store.made == made


def test_blocks_and_workers_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = score_all(prepared()).tolist()
    monkeypatch.setattr(fit, "BLOCK_ROWS", 7)
    monkeypatch.setattr("isaac.curation.search.exact.QUERIES_PER_ITEM", 5)
    recipe = Recipe.of({**HASHING, "mode": "selective"})
    for workers in (1, 3):
        tools = Tools(engine=LocalEngine(workers))
        assert score_all(prepare(Corpus.of(PAIRS), recipe, tools)).tolist() == expected


def test_scores_of_pairs_are_exact() -> None:
    rng = np.random.default_rng(0)
    queries, keys = (rng.integers(-2048, 2049, (3000, 40), np.int16) for _ in range(2))
    products = (queries.astype(np.int64) * keys.astype(np.int64)).sum(axis=1)
    assert (
        score_pairs(queries, keys).tolist() == (products * fit.QUERY_SCALE / GRID_STEPS**2).tolist()
    )
    assert score_pairs(queries[:0], keys[:0]).tolist() == []


def test_the_lineage_has_the_fit_of_what_was_drawn() -> None:
    curation = prepared(min_fit=2.0)
    lines = curation.decide().lineage.to_pylist()
    drawn = [line for line in lines if line["action"] == "replaced"]
    assert len(drawn) > 5
    position = np.empty(len(PAIRS), np.int64)
    position[curation.layout.ids] = np.arange(len(PAIRS))
    messages, sources = (position[[line[name] for line in drawn]] for name in ("id", "source_id"))
    fits = score_rows(curation, model_of(curation), messages, sources)
    assert [line["fit"] for line in drawn] == pytest.approx(fits.tolist())
    dense, exchange = DenseFit(curation), curation.layout.exchange
    expected = dense.fits()[exchange[messages], exchange[sources]]
    assert [line["fit"] for line in drawn] == pytest.approx(expected.tolist(), abs=0.01)
