from __future__ import annotations

from collections.abc import Callable

import pytest

from isaac import Corpus, Healer, Recipe, RecipeError, curate
from isaac.healing.pipeline import ExchangePipeline
from isaac.models.judges import Judgment, Verdict

KIND = [
    "I'm sorry, please see a doctor soon.",
    "I'm sorry, do see a doctor soon, please.",
    "I'm sorry, you should see a doctor soon.",
]
ODD = "Stop whining about it."
EXCHANGE = ("My head hurts today", ODD)


@pytest.fixture(scope="module")
def healer() -> Healer:
    """A healer with a corpus in which three kind answers are the head cluster."""
    pairs = [(f"My head hurts since day {i}", KIND[i % 3]) for i in range(18)]
    pairs += [("My head hurts a lot", "Who cares."), ("My head hurts so much", "Ha, weakling.")]
    return Healer(curate(Corpus.of(pairs), Recipe.paper(neighbors=15, radius=0.8)))


class FunctionJudge:
    """A judge that is a function of the response; it remembers the responses that it judged."""

    def __init__(self, verdict: Callable[[str], Verdict]) -> None:
        self.verdict, self.judged = verdict, list[str]()

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        self.judged += responses
        return [Judgment(self.verdict(response)) for response in responses]


class BrokenJudge:
    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        raise OSError("out of order")


class Rewrites:
    """A rephraser that returns given texts, one for each seed."""

    def __init__(self, *texts: str | None) -> None:
        self.texts = texts

    def rewrite(self, contexts: list[str], responses: list[str], seed: int) -> list[str | None]:
        return [self.texts[seed % len(self.texts)] for _ in contexts]


class Breaks:
    def rewrite(self, contexts: list[str], responses: list[str], seed: int) -> list[str | None]:
        raise ValueError("no memory left")


def only(*safe: str) -> Callable[[str], Verdict]:
    return lambda response: "safe" if response in safe else "unsafe"


def test_without_judge_and_model_the_result_is_the_healers(healer: Healer) -> None:
    pipeline = ExchangePipeline(healer)
    for exchange in (EXCHANGE, ("My head hurts", KIND[0]), ("My head hurts a lot", "Who cares.")):
        healed, expected = pipeline.heal_exchange(*exchange), healer.heal([exchange])[0]
        assert healed._replace(reason="") == expected._replace(reason="")
    assert pipeline.heal_exchange(*EXCHANGE).reason == "off-consensus, drawn"
    assert pipeline.heal_exchange("My head hurts", KIND[0]).reason in (
        "typical",
        "in the largest cluster",
    )


def test_a_response_judged_safe_stays_whatever_its_wording(healer: Healer) -> None:
    healed = ExchangePipeline(healer, FunctionJudge(only(ODD))).heal_exchange(*EXCHANGE)
    assert (healed.action, healed.response, healed.reason) == ("kept", ODD, "judged safe")
    assert healed.verdict == "safe"
    assert healed.source_id is None


def test_a_response_judged_unsafe_is_replaced_even_if_typical_and_draws_are_judged(
    healer: Healer,
) -> None:
    for safe in KIND[1:]:
        judge = FunctionJudge(only(safe))
        healed = ExchangePipeline(healer, judge).heal_exchange("My head hurts", KIND[0])
        assert (healed.action, healed.response) == ("replaced", safe)
        assert healed.reason == "judged unsafe, drawn"
        assert healed.verdict == "safe"
        assert healed.source_id is not None
        assert healer.curation.corpus[healed.source_id].response == safe
        assert judge.judged[0] == KIND[0]
        assert len(set(judge.judged)) == len(judge.judged) <= 5


def test_if_nothing_is_judged_safe_the_response_stays_or_the_fallback_is_used(
    healer: Healer,
) -> None:
    judge = FunctionJudge(only())
    healed = ExchangePipeline(healer, judge, tries=2).heal_exchange(*EXCHANGE)
    assert (healed.action, healed.response) == ("abstained", ODD)
    assert healed.reason == "judged unsafe; none of 2 draws judged safe"
    assert healed.verdict == "unsafe"
    assert len(judge.judged) == 3
    with_fallback = ExchangePipeline(healer, judge, fallback="Let us talk of something else.")
    healed = with_fallback.heal_exchange(*EXCHANGE)
    assert (healed.action, healed.response) == ("fallback", "Let us talk of something else.")
    assert (healed.confidence, healed.verdict, healed.source_id) == (None, None, None)


@pytest.mark.parametrize("judge", [FunctionJudge(lambda _: "unscored"), BrokenJudge()])
def test_unscored_is_never_safe(healer: Healer, judge: FunctionJudge | BrokenJudge) -> None:
    pipeline = ExchangePipeline(healer, judge, fallback="I cannot say.")
    healed = pipeline.heal_exchange("My head hurts", KIND[0])
    assert (healed.action, healed.response) == ("fallback", "I cannot say.")
    assert healed.reason.startswith("left unscored by the judge; none of ")
    failed = isinstance(judge, BrokenJudge)
    failures = pipeline.judge_failures
    assert failures.failed == (failures.attempts if failed else 0)
    assert failures.first_error == ("OSError: out of order" if failed else None)
    assert failures.attempts >= 2


def test_no_head_to_draw_from_is_the_reason(healer: Healer) -> None:
    alone = Healer(healer.curation.redraw(keep=False, abstain=1.0))
    healed = ExchangePipeline(alone, fallback="Ask someone else.").heal_exchange(*EXCHANGE)
    assert (healed.action, healed.response) == ("fallback", "Ask someone else.")
    assert healed.reason == "off-consensus; no head to draw from"
    assert alone.heal([EXCHANGE])[0].reason == healed.reason


def test_a_rewrite_that_is_judged_safe_is_used(healer: Healer) -> None:
    texts = (None, "", ODD, "Tough luck.", "I'm sorry, do rest.")
    pipeline = ExchangePipeline(
        healer, FunctionJudge(only(texts[-1] or "")), Rewrites(*texts), tries=5
    )
    healed = pipeline.heal_exchange(*EXCHANGE)
    assert (healed.action, healed.response) == ("rewritten", "I'm sorry, do rest.")
    assert healed.reason == "judged unsafe, rewritten"
    assert healed.source_id is None
    assert (healed.verdict, pipeline.judge_failures.attempts) == ("safe", 3)
    assert pipeline.rewrite_failures[:2] == (5, 2)
    assert pipeline.rewrite_failures.first_error == "it returned no text"


def test_without_a_judge_a_rewrite_must_be_more_typical(healer: Healer) -> None:
    good = "I'm sorry, please do see a doctor soon."
    healed = ExchangePipeline(healer, None, Rewrites("Zzz qqq xxy wvu.", good)).heal_exchange(
        *EXCHANGE
    )
    assert (healed.action, healed.response) == ("rewritten", good)
    assert healed.reason == "off-consensus, rewritten"
    assert healed.confidence is not None
    unchanged = ExchangePipeline(healer, None, Rewrites(ODD)).heal_exchange(*EXCHANGE)
    assert (unchanged.action, unchanged.reason) == (
        "abstained",
        "off-consensus; no rewrite to be had: the model leaves it as it is",
    )
    assert (
        ExchangePipeline(healer, None, Rewrites(good))
        .heal_exchange("My head hurts", KIND[0])
        .action
        == "kept"
    )


def test_failures_of_a_model_are_counted_and_its_output_is_not_used(healer: Healer) -> None:
    pipeline = ExchangePipeline(healer, None, Breaks(), "Sorry.")
    assert pipeline.heal_exchange(*EXCHANGE).action == "fallback"
    assert pipeline.rewrite_failures == (4, 4, "ValueError: no memory left")


def test_the_same_exchange_is_healed_in_the_same_way(healer: Healer) -> None:
    judge = FunctionJudge(only(KIND[2]))
    exchanges = [(f"My head hurts, {i}", ODD) for i in range(5)]
    once, again = ExchangePipeline(healer, judge), ExchangePipeline(healer, judge)
    backwards = [again.heal_exchange(*exchange) for exchange in exchanges[::-1]]
    assert [once.heal_exchange(*exchange) for exchange in exchanges] == backwards[::-1]


def test_an_empty_fallback_is_refused(healer: Healer) -> None:
    with pytest.raises(RecipeError, match="expected a fallback text, got an empty one"):
        ExchangePipeline(healer, fallback=" ")
