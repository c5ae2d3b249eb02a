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
ASKED = ("My head hurts today", ODD)


@pytest.fixture(scope="module")
def healer() -> Healer:
    """Return a healer of a corpus in which three kind answers own the head."""
    pairs = [(f"My head hurts since day {i}", KIND[i % 3]) for i in range(18)]
    pairs += [("My head hurts a lot", "Who cares."), ("My head hurts so much", "Ha, weakling.")]
    return Healer(curate(Corpus.of(pairs), Recipe.paper(neighbors=15, radius=0.8)))


class Says:
    """A judge by a function of the response; notes what it was asked."""

    def __init__(self, verdict: Callable[[str], Verdict]) -> None:
        self.verdict, self.asked = verdict, list[str]()

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        self.asked += responses
        return [Judgment(self.verdict(response)) for response in responses]


class Broken:
    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        raise OSError("out of order")


class Rewrites:
    """A rephraser that gives what it is told to, one text a seed."""

    def __init__(self, *texts: str | None) -> None:
        self.texts = texts

    def rewrite(self, contexts: list[str], responses: list[str], seed: int) -> list[str | None]:
        return [self.texts[seed % len(self.texts)] for _ in contexts]


class Breaks:
    def rewrite(self, contexts: list[str], responses: list[str], seed: int) -> list[str | None]:
        raise ValueError("no memory left")


def only(*safe: str) -> Callable[[str], Verdict]:
    return lambda response: "safe" if response in safe else "unsafe"


def test_without_judge_and_model_it_is_the_healers_work(healer: Healer) -> None:
    mender = ExchangePipeline(healer)
    for asked in (ASKED, ("My head hurts", KIND[0]), ("My head hurts a lot", "Who cares.")):
        mended, healed = mender.heal_exchange(*asked), healer.heal([asked])[0]
        assert mended._replace(reason="") == healed._replace(reason="")
    assert mender.heal_exchange(*ASKED).reason == "off-consensus, drawn"
    assert mender.heal_exchange("My head hurts", KIND[0]).reason in (
        "typical",
        "in the largest cluster",
    )


def test_what_is_judged_safe_stays_whatever_its_wording(healer: Healer) -> None:
    mended = ExchangePipeline(healer, Says(only(ODD))).heal_exchange(*ASKED)
    assert (mended.action, mended.response, mended.reason) == ("kept", ODD, "judged safe")
    assert mended.verdict == "safe"
    assert mended.source_id is None


def test_what_is_judged_unsafe_goes_however_typical_and_draws_are_judged(healer: Healer) -> None:
    for safe in KIND[1:]:
        judge = Says(only(safe))
        mended = ExchangePipeline(healer, judge).heal_exchange("My head hurts", KIND[0])
        assert (mended.action, mended.response) == ("replaced", safe)
        assert mended.reason == "judged unsafe, drawn"
        assert mended.verdict == "safe"
        assert mended.source_id is not None
        assert healer.curation.corpus[mended.source_id].response == safe
        assert judge.asked[0] == KIND[0]
        assert len(set(judge.asked)) == len(judge.asked) <= 5


def test_where_nothing_is_judged_safe_the_response_stays_or_the_fallback_is_said(
    healer: Healer,
) -> None:
    judge = Says(only())
    mended = ExchangePipeline(healer, judge, tries=2).heal_exchange(*ASKED)
    assert (mended.action, mended.response) == ("abstained", ODD)
    assert mended.reason == "judged unsafe; none of 2 draws judged safe"
    assert mended.verdict == "unsafe"
    assert len(judge.asked) == 3
    said = ExchangePipeline(healer, judge, fallback="Let us talk of something else.").heal_exchange(
        *ASKED
    )
    assert (said.action, said.response) == ("fallback", "Let us talk of something else.")
    assert (said.confidence, said.verdict, said.source_id) == (None, None, None)


@pytest.mark.parametrize("judge", [Says(lambda _: "unscored"), Broken()])
def test_unscored_is_never_safe(healer: Healer, judge: Says | Broken) -> None:
    mender = ExchangePipeline(healer, judge, fallback="I cannot say.")
    mended = mender.heal_exchange("My head hurts", KIND[0])
    assert (mended.action, mended.response) == ("fallback", "I cannot say.")
    assert mended.reason.startswith("left unscored by the judge; none of ")
    failed = isinstance(judge, Broken)
    assert mender.judge_failures.failed == (mender.judge_failures.asked if failed else 0)
    assert mender.judge_failures.first == ("OSError: out of order" if failed else None)
    assert mender.judge_failures.asked >= 2


def test_no_head_to_draw_from_is_said(healer: Healer) -> None:
    alone = Healer(healer.curation.redraw(keep=False, abstain=1.0))
    mended = ExchangePipeline(alone, fallback="Ask someone else.").heal_exchange(*ASKED)
    assert (mended.action, mended.response) == ("fallback", "Ask someone else.")
    assert mended.reason == "off-consensus; no head to draw from"
    assert alone.heal([ASKED])[0].reason == "no head to draw from"


def test_a_rewrite_that_is_judged_safe_goes_out(healer: Healer) -> None:
    texts = (None, "", ODD, "Tough luck.", "I'm sorry, do rest.")
    mender = ExchangePipeline(healer, Says(only(texts[-1] or "")), Rewrites(*texts), tries=5)
    mended = mender.heal_exchange(*ASKED)
    assert (mended.action, mended.response) == ("rewritten", "I'm sorry, do rest.")
    assert mended.reason == "judged unsafe, rewritten"
    assert mended.source_id is None
    assert (mended.verdict, mender.judge_failures.asked) == ("safe", 3)
    assert mender.rewrite_failures[:2] == (5, 2)
    assert mender.rewrite_failures.first == "it returned no text"


def test_without_a_judge_a_rewrite_is_to_be_worded_more_typically(healer: Healer) -> None:
    good = "I'm sorry, please do see a doctor soon."
    mended = ExchangePipeline(healer, None, Rewrites("Zzz qqq xxy wvu.", good)).heal_exchange(
        *ASKED
    )
    assert (mended.action, mended.response) == ("rewritten", good)
    assert mended.reason == "off-consensus, rewritten"
    assert mended.confidence is not None
    given = ExchangePipeline(healer, None, Rewrites(ODD)).heal_exchange(*ASKED)
    assert (given.action, given.reason) == (
        "abstained",
        "off-consensus; no rewrite to be had: the model leaves it as it is",
    )
    assert (
        ExchangePipeline(healer, None, Rewrites(good))
        .heal_exchange("My head hurts", KIND[0])
        .action
        == "kept"
    )


def test_a_model_that_breaks_is_counted_and_nothing_of_it_goes_out(healer: Healer) -> None:
    mender = ExchangePipeline(healer, None, Breaks(), "Sorry.")
    assert mender.heal_exchange(*ASKED).action == "fallback"
    assert mender.rewrite_failures == (4, 4, "ValueError: no memory left")


def test_the_same_exchange_is_mended_in_the_same_way(healer: Healer) -> None:
    judge = Says(only(KIND[2]))
    asked = [(f"My head hurts, {i}", ODD) for i in range(5)]
    once, again = ExchangePipeline(healer, judge), ExchangePipeline(healer, judge)
    assert [once.heal_exchange(*one) for one in asked] == [
        again.heal_exchange(*one) for one in asked[::-1]
    ][::-1]


def test_an_empty_fallback_is_refused(healer: Healer) -> None:
    with pytest.raises(RecipeError, match="says something"):
        ExchangePipeline(healer, fallback=" ")
