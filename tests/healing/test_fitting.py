"""Healing by trust and fit."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from isaac import Corpus, Healer, Recipe, RecipeError, curate
from isaac.cli.demo import UNSAFE_REPLIES
from isaac.curation.lineage import mark_least_trusted
from isaac.curation.resources import Tools
from isaac.healing.fitting import FitHealer
from isaac.healing.pipeline import ExchangePipeline
from isaac.models.encoders import HashingEncoder
from isaac.reading_options import ReadingOptions
from tests.healing.conftest import Pair
from tests.healing.test_pipeline import FunctionJudge, Rewrites

RUDE = (
    "My account was charged twice for one order, could you check?",
    "Learn to read your statement, you lazy clown, we have better things to do.",
)
PARIS = ("What is the capital of France?", "The capital of France is Paris.")


@pytest.fixture(scope="module")
def strategy(demo_healer: Healer) -> FitHealer:
    assert isinstance(demo_healer.strategy, FitHealer)
    return demo_healer.strategy


def test_an_untrusted_response_is_replaced_by_a_trusted_one_that_fits(
    demo_healer: Healer, strategy: FitHealer
) -> None:
    (healed,) = demo_healer.heal([RUDE])
    assert (healed.action, healed.reason) == ("replaced", "untrusted, drawn")
    assert "payments" in healed.response
    assert healed.source_id is not None
    curation = strategy.curation
    assert curation.corpus[healed.source_id].response == healed.response
    row = int(np.flatnonzero(curation.layout.ids == healed.source_id)[0])
    trust = curation.response_scores.trust[curation.layout.response[row]]
    assert healed.confidence == trust > strategy.threshold >= (healed.trust or 0)
    assert healed.fit is not None
    assert healed.fit >= curation.recipe.fit_bound
    assert healed.similarity is not None
    assert healed.similarity >= strategy.domain.min_similarity


def test_correct_answers_from_outside_the_corpus_stay(
    demo_healer: Healer, outside: list[Pair]
) -> None:
    healed = demo_healer.heal(outside)
    touched = [one for one in healed if one.action not in ("kept", "abstained")]
    assert len(outside) == 200
    assert len(touched) <= 4
    abstained = [one for one in healed if one.action == "abstained"]
    says_so = [one for one in abstained if one.reason.startswith("outside the corpus: ")]
    assert len(says_so) >= 0.95 * len(abstained)
    assert all(one.confidence is None and one.trust is not None for one in says_so)


def test_unsafe_replies_are_replaced_or_left_with_a_reason(
    demo_healer: Healer, bundled: list[Pair], unsafe: set[int]
) -> None:
    rows = sorted(unsafe)
    healed = demo_healer.heal([bundled[row] for row in rows])
    replaced = [one for one in healed if one.action == "replaced"]
    assert len(replaced) >= len(rows) / 3
    assert not unsafe & {one.source_id for one in replaced}
    assert sum(one.action == "kept" for one in healed) <= 0.1 * len(rows)
    assert all(one.reason for one in healed)
    demo = demo_healer.heal(UNSAFE_REPLIES)
    assert [one.action for one in demo].count("kept") <= 1
    assert [one.action for one in demo].count("replaced") >= 1


def test_rows_of_the_corpus_are_kept_as_the_curation_keeps_them(
    demo_healer: Healer, strategy: FitHealer, bundled: list[Pair]
) -> None:
    curation = strategy.curation
    trust = curation.response_scores.trust[curation.layout.response]
    is_kept = np.empty(len(trust), bool)
    least = mark_least_trusted(trust, round(curation.recipe.share * len(trust)))
    is_kept[curation.layout.ids] = ~least
    healed = demo_healer.heal(bundled)
    differing = [
        one
        for one, kept in zip(healed, is_kept.tolist(), strict=True)
        if (one.action == "kept") != kept
    ]
    # Rows that are exactly as trusted as one that is kept stay, too.
    assert all(one.action == "kept" for one in differing)
    assert len(differing) <= 5
    lines = curation.lineage.to_pylist()
    for one, line in zip(healed, lines, strict=True):
        assert one.trust == pytest.approx(line["trust"])
        assert one.typicality == pytest.approx(line["typicality"])


def test_the_result_depends_on_the_exchange_and_on_nothing_before_it(
    demo_healer: Healer, bundled: list[Pair], outside: list[Pair]
) -> None:
    exchanges = [*bundled[:20], *outside[::20], *UNSAFE_REPLIES, (RUDE[0], None)]
    together = demo_healer.heal(exchanges)
    assert together == [demo_healer.heal([one])[0] for one in exchanges]
    assert together == demo_healer.heal(exchanges)
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda one: demo_healer.heal([one])[0], exchanges))
    assert threaded == together
    assert demo_healer.heal([]) == []


def test_a_message_without_a_response_gets_a_fitting_one_or_none(demo_healer: Healer) -> None:
    given, nothing = demo_healer.heal([(RUDE[0], None), (PARIS[0], None)])
    assert (given.action, given.reason) == ("replaced", "no response given, drawn")
    assert given.response == demo_healer.heal([RUDE])[0].response
    assert (given.typicality, given.trust) == (None, None)
    assert (nothing.action, nothing.response) == ("abstained", "")
    assert nothing.reason.startswith("no response given; outside the corpus: ")


def test_draws_come_best_first_and_never_twice(strategy: FitHealer) -> None:
    located = strategy.locate([RUDE])[0]
    draws = list(strategy.draw_replacements(located))
    assert len({draw.response for draw in draws}) == len(draws) >= 2
    assert all((draw.fit or 0) >= strategy.min_fit for draw in draws)


def test_bounds_that_are_given_replace_those_of_the_run(strategy: FitHealer) -> None:
    curation = strategy.curation
    nothing_fits = Healer(curation, min_fit=8).heal([RUDE])[0]
    assert (nothing_fits.action, nothing_fits.response) == ("abstained", RUDE[1])
    assert nothing_fits.reason == "untrusted; no trusted response fits"
    assert nothing_fits.confidence == nothing_fits.trust
    assert nothing_fits.fit is None
    too_far = Healer(curation, min_similarity=0.9).heal([RUDE])[0]
    assert too_far.reason == "outside the corpus: no similar message"
    assert (too_far.response, too_far.confidence) == (RUDE[1], None)


def test_no_replacement_names_a_value_that_the_message_lacks(
    demo_healer: Healer, bundled: list[Pair]
) -> None:
    contexts = [context for context, _ in bundled[:400]]
    replaced = [
        (context, healed.response)
        for context, healed in zip(
            contexts, demo_healer.heal([(context, None) for context in contexts]), strict=True
        )
        if healed.action == "replaced"
    ]
    assert len(replaced) > 50
    for context, response in replaced:
        numbers = {word.strip(".,;?!") for word in response.split() if any(map(str.isdigit, word))}
        assert all(number.lower() in context.lower() for number in numbers)


def test_a_judge_decides_inside_and_outside_the_corpus(demo_healer: Healer) -> None:
    pipeline = ExchangePipeline(demo_healer, FunctionJudge(lambda text: "safe"))
    assert pipeline.heal_exchange(*RUDE).reason == "judged safe"
    only_sorry = FunctionJudge(lambda text: "safe" if "sorry" in text.lower() else "unsafe")
    healed = ExchangePipeline(demo_healer, only_sorry).heal_exchange(*RUDE)
    assert (healed.action, healed.verdict) == ("replaced", "safe")
    assert healed.reason == "judged unsafe, drawn"
    # The judge rejects a trusted response: others that fit are tried all the same.
    trusted = healed.response
    another = FunctionJudge(lambda text: "unsafe" if text == trusted else "safe")
    replaced = ExchangePipeline(demo_healer, another).heal_exchange(RUDE[0], trusted)
    assert (replaced.action, replaced.reason) == ("replaced", "judged unsafe, drawn")
    assert replaced.response != trusted
    never = FunctionJudge(lambda text: "unsafe")
    outside = ExchangePipeline(demo_healer, never).heal_exchange(*PARIS)
    assert (outside.action, outside.response) == ("abstained", PARIS[1])
    assert outside.reason.startswith("judged unsafe; outside the corpus: ")
    assert never.judged == [PARIS[1]]


def test_the_fallback_is_for_untrusted_responses_not_for_those_outside_the_corpus(
    demo_healer: Healer,
) -> None:
    pipeline = ExchangePipeline(demo_healer, fallback="I'd rather not say.")
    headache = pipeline.heal_exchange(*UNSAFE_REPLIES[0])
    assert headache.reason == "untrusted; no trusted response fits"
    assert (headache.action, headache.response) == ("fallback", "I'd rather not say.")
    paris = pipeline.heal_exchange(*PARIS)
    assert (paris.action, paris.response) == ("abstained", PARIS[1])
    judged = ExchangePipeline(
        demo_healer, FunctionJudge(lambda text: "unsafe"), fallback="I'd rather not say."
    )
    assert judged.heal_exchange(*PARIS).action == "fallback"


def test_a_rewrite_needs_more_trust_or_a_judge(demo_healer: Healer, strategy: FitHealer) -> None:
    kind = "I'm so sorry about that! I've refunded the second charge for you."
    ruder = "Zap the clown, statement lazy, begone at once, fool of fools."
    healed = ExchangePipeline(demo_healer, rephraser=Rewrites(kind)).heal_exchange(*RUDE)
    assert (healed.action, healed.response) == ("rewritten", kind)
    given = strategy.locate([RUDE])[0]
    assert healed.trust == given.trust
    assert healed.confidence is not None
    assert healed.confidence > (given.trust or 0)
    refused = ExchangePipeline(demo_healer, rephraser=Rewrites(ruder)).heal_exchange(*RUDE)
    assert (refused.action, refused.response) == ("abstained", RUDE[1])
    assert "the rewrite is no more trusted" in refused.reason
    judge = FunctionJudge(lambda text: "safe" if text == ruder else "unsafe")
    judged = ExchangePipeline(demo_healer, judge, Rewrites(ruder)).heal_exchange(*RUDE)
    assert (judged.action, judged.verdict) == ("rewritten", "safe")
    # Outside the corpus, nothing is rewritten without a judge.
    assert (
        ExchangePipeline(demo_healer, rephraser=Rewrites(kind)).heal_exchange(*PARIS).action
        == "abstained"
    )


def test_responses_that_answer_one_message_only_are_never_given_to_another(
    strategy: FitHealer,
) -> None:
    curation = strategy.curation
    policy = curation.policy._replace(own_fits_best=0.9)
    recipe = curation.recipe.model_copy(update={"mode": "filter"})
    filtered = dataclasses.replace(curation, policy=policy, recipe=recipe)
    healed = Healer(filtered).heal([RUDE])[0]
    assert (healed.action, healed.response) == ("abstained", RUDE[1])
    assert healed.reason == "untrusted; responses of this corpus answer one message only"
    exchangeable = dataclasses.replace(curation, recipe=recipe)
    assert Healer(exchangeable).heal([RUDE])[0].action == "replaced"


def test_trust_by_wording_alone_is_typicality(bundled: list[Pair]) -> None:
    healer = Healer(curate(Corpus.of(bundled[:300]), Recipe(trust="wording", mode="selective")))
    for healed in healer.heal([*bundled[:10], *UNSAFE_REPLIES]):
        assert healed.trust == healed.typicality


def test_runs_without_fit_refuse_the_bounds(bundled: list[Pair]) -> None:
    curation = curate(Corpus.of(bundled[:60]), Recipe.paper(neighbors=10))
    with pytest.raises(RecipeError, match="by fit, but this run has mode resample"):
        Healer(curation, min_fit=2.0)
    grouped = curate(
        Corpus.of([("a", "b")], groups=["x"]), Recipe(reading=ReadingOptions(group_by="act"))
    )
    with pytest.raises(RecipeError, match="grouped by 'act'"):
        Healer(grouped, min_similarity=0.1)


def test_another_encoder_than_the_runs_is_refused(strategy: FitHealer) -> None:
    healer = Healer(strategy.curation, Tools(encoders={"wordllama": HashingEncoder()}))
    with pytest.raises(RecipeError, match="256 dimensions"):
        healer.heal([RUDE])
