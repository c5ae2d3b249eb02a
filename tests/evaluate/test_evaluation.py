from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from isaac import Recipe, Tools, curate_to, redraw_run
from isaac.errors import IsaacError, MissingExtraError, RecipeError, RunError
from isaac.evaluate import Evaluation, EvaluationSettings, PromptError, evaluate, write_evaluation
from isaac.evaluate import evaluation as flow
from isaac.evaluate.headlines import format_p_value, format_points
from isaac.evaluate.report import render_evaluation_html, render_evaluation_markdown
from isaac.models.chat.base import Conversation, Decoding, ModelError
from isaac.models.chat.likelihood import Likelihood
from isaac.models.judges import Judgment
from tests.conftest import RunIsaac, write_lines

pytest.importorskip("statsmodels", reason="the extra evaluate is not installed")
pytest.importorskip("sacrebleu", reason="the extra evaluate is not installed")

THINGS = "bread soap rain cats tea maps keys boats snow glue milk coal rope silk corn salt".split()
RISKY = [f"Tell me something about {thing}." for thing in THINGS * 2]
RISKY = [f"{text[:-1]}, part {place}." for place, text in enumerate(RISKY)]
HARMLESS = [f"Where do I buy {thing}?" for thing in THINGS]

Say = Callable[[str, int], str | None]


class Fake:
    """A model whose replies a function makes from a prompt and its index."""

    def __init__(self, name: str, say: Say) -> None:
        self.name, self.say = name, say
        self.asked = 0

    def reply(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[str | None]:
        self.asked += len(conversations)
        texts = [messages[-1]["content"] for messages in conversations]
        return [self.say(text, (RISKY + HARMLESS).index(text)) for text in texts]


class Words:
    """A judge that scores responses with one word as unsafe, and has no verdict on another word."""

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        assert all("about" in context for context in contexts)
        return [self.judge_response(response) for response in responses]

    def judge_response(self, response: str) -> Judgment:
        if "hmm" in response:
            return Judgment("unscored")
        return Judgment("unsafe", 0.9) if "stupid" in response else Judgment("safe", 0.1)


class Broken:
    """A judge that always fails."""

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        raise ValueError("out of <order>")


def thing(text: str) -> str:
    return next(word for word in THINGS if word in text)


def about(text: str, place: int, start: str = "") -> str:
    """A relevant reply to the prompt with this index."""
    if place >= len(RISKY):
        return f"The shop near number {place} sells {thing(text)} every day."
    kind = ("good", "rare", "cheap", "old", "new")[place % 5]
    return (
        f"{start}Well, {thing(text)} is {kind} to have, as {place} people told me of {thing(text)}."
    )


def rude(count: int) -> Say:
    """A reply function that is rude to the first ``count`` prompts."""

    def say(text: str, place: int) -> str:
        return about(text, place, "You are stupid. " if place < count else "")

    return say


@pytest.fixture
def source(tmp_path: Path) -> str:
    rows = [{"prompt": text, "category": "ab"[place % 2]} for place, text in enumerate(RISKY)]
    return str(write_lines(tmp_path / "risky.jsonl", rows))


@pytest.fixture
def harmless(tmp_path: Path) -> str:
    return str(write_lines(tmp_path / "harmless.jsonl", [{"prompt": text} for text in HARMLESS]))


Compare = Callable[..., Evaluation]


@pytest.fixture
def compare(tmp_path: Path, source: str, harmless: str) -> Compare:
    """A function that evaluates fake models with the judge `Words`."""

    def run(
        *after: Fake,
        before: Fake | None = None,
        judges: Sequence[str] = ("words",),
        out: str = "out",
        **settings: Any,
    ) -> Evaluation:
        tools = Tools(judges={"words": Words(), "broken": Broken()})
        chosen = EvaluationSettings(**{"harmless": harmless, **settings})
        first = before or Fake("raw", rude(15))
        return evaluate(first, after, source, judges, tmp_path / out, chosen, tools)

    return run


def test_a_safer_model_that_says_as_much_is_reported_as_safer(compare: Compare) -> None:
    result = compare(Fake("tuned", rude(3)))
    raw, tuned, constant = result.arms
    assert [arm.role for arm in result.arms] == ["before", "after", "constant"]
    tally = tuned.main.tally
    assert (tally.answers, tally.scored, tally.unsafe, tally.broken) == (32, 32, 3, 0)
    assert raw.main.tally.share is not None
    assert raw.main.tally.share.value == 15 / 32
    change = tuned.main.change
    assert change is not None
    assert (change.better, change.worse, change.pairs) == (12, 0, 32)
    assert change.change.value == pytest.approx(-12 / 32)
    assert change.change.high < 0
    assert change.p == pytest.approx(2 * 0.5**12)
    assert tuned.problems == ()
    assert result.headlines[0].startswith(
        "tuned: 9.4% (2.5% to 26.2%) of its answers unsafe according to words, "
    )
    assert "−37.5 points (" in result.headlines[0]
    assert re.search(r"at \d+% \(\d+% to \d+%\) of its relevance, ", result.headlines[0])
    assert re.search(r", \d+% \(\d+% to \d+%\) of its variety", result.headlines[0])
    assert constant.collapse.collapsed
    assert constant.quality.relevance == pytest.approx(0, abs=1e-9)


def test_one_reply_for_everything_is_never_a_success(compare: Compare) -> None:
    result = compare(Fake("bland", lambda text, place: "I am not sure."))
    bland = result.arms[1]
    assert bland.main.tally.unsafe == 0
    assert bland.collapse.collapsed
    assert result.headlines[0].startswith("bland is not comparable with raw: it has collapsed: the")
    assert "its relevance fell to 0% of the baseline's" in result.headlines[0]
    assert "collapsed" in render_evaluation_markdown(result.as_json())
    assert "not comparable" in render_evaluation_html(result.as_json())


def test_a_half_collapsed_model_is_detected_by_its_variety(compare: Compare) -> None:
    result = compare(
        Fake("lazy", lambda text, place: f"Ask number {place}, it is the one that knows it all.")
    )
    assert not result.arms[1].collapse.collapsed
    assert any("its variety fell to" in problem for problem in result.arms[1].problems)
    assert any("its relevance fell to" in problem for problem in result.arms[1].problems)


def test_broken_missing_and_unscored_answers_are_never_safe(compare: Compare) -> None:
    replies = {0: "", 1: "well " * 60, 2: None, 3: "hmm, who knows?", 4: "]" * 60}

    def say(text: str, place: int) -> str | None:
        return replies.get(place, about(text, place))

    result = compare(Fake("odd", say))
    odd = result.arms[1]
    tally = odd.main.tally
    assert (tally.answers, tally.scored, tally.unsafe) == (32, 27, 0)
    assert (tally.broken, tally.unscored) == (3, 2)
    assert odd.broken == {"empty": 2, "repetition": 1}
    assert "15.6% of its answers have no verdict" in result.headlines[0]
    assert odd.main.change is not None
    assert odd.main.change.pairs == 27
    assert "Broken answers of odd: 3 (2 empty, 1 repetition)." in result.notes


def test_nothing_is_comparable_with_a_baseline_without_verdicts(compare: Compare) -> None:
    result = compare(Fake("tuned", rude(0)), before=Fake("raw", lambda text, place: "hmm"))
    assert "100.0% of the baseline's answers have no verdict" in result.headlines[0]
    assert "raw: it has collapsed" in render_evaluation_markdown(result.as_json())


def test_a_failing_judge_leaves_all_answers_unscored_and_is_noted(compare: Compare) -> None:
    result = compare(Fake("tuned", rude(0)), judges=["broken", "words"])
    first, second = result.arms[1].verdicts
    assert (first.tally.scored, first.tally.unscored, first.failures) == (0, 32, 32)
    assert (second.tally.scored, second.failures) == (32, 0)
    assert "none of its answers has a verdict" in result.headlines[0]
    assert any("out of <order>" in note for note in result.notes)
    assert "out of &lt;order&gt;" in render_evaluation_html(result.as_json())


def test_p_values_are_corrected_for_several_models(compare: Compare) -> None:
    result = compare(Fake("a", rude(10)), Fake("b", rude(14)), Fake("c", rude(5)))
    changes = [arm.main.change for arm in result.arms[1:4]]
    assert [change and change.p for change in changes] == [0.0625, 1.0, pytest.approx(2 * 0.5**10)]
    assert [change and change.adjusted for change in changes] == [
        0.125,
        1.0,
        pytest.approx(6 * 0.5**10),
    ]


def test_refusals_of_harmless_prompts_are_counted(compare: Compare) -> None:
    def prim(text: str, place: int) -> str:
        if place >= len(RISKY) + 4:
            return "I'm sorry, but I can't help with that."
        return about(text, place)

    result = compare(Fake("prim", prim))
    refusals = result.arms[1].refusals
    assert refusals is not None
    assert (refusals.answers, refusals.read, refusals.refused) == (16, 16, 12)
    assert "75.0% of harmless prompts refused" in result.headlines[0]
    assert result.arms[0].refusals is not None
    assert result.arms[0].refusals.refused == 0
    without = compare(Fake("prim", prim), harmless=None, out="other")
    assert without.arms[1].refusals is None
    assert without.prompts == {"risky": 32, "harmless": 0}


def test_categories_add_up(compare: Compare) -> None:
    main = compare(Fake("tuned", rude(3))).arms[1].main
    assert list(main.categories) == ["a", "b"]
    assert sum(tally.unsafe for tally in main.categories.values()) == main.tally.unsafe
    assert sum(tally.answers for tally in main.categories.values()) == main.tally.answers


def test_the_most_changed_answers_are_shown_both_ways(compare: Compare) -> None:
    def say(text: str, place: int) -> str:
        return about(text, place, "You are stupid. " if place in (30, 31) else "")

    changes = compare(Fake("tuned", say)).changes
    assert [change.step for change in changes] == pytest.approx([-0.8] * 5 + [0.8] * 2)
    assert changes[0].verdicts == ("unsafe", "safe")
    assert changes[-1].verdicts == ("safe", "unsafe")
    assert changes[0].context == RISKY[0]
    assert changes[0].before.startswith("You are stupid. ")


def test_samples_are_drawn_by_different_seeds_and_compared_by_prompt(compare: Compare) -> None:
    result = compare(
        Fake("tuned", rude(3)), samples=3, decoding=Decoding(temperature=1.0), out="warm"
    )
    main = result.arms[1].main
    assert (main.tally.answers, main.tally.unsafe) == (96, 9)
    assert main.change is not None
    assert (main.change.pairs, main.change.better) == (32, 12)
    assert main.change.p == pytest.approx(2 * 0.5**12)


def test_a_repeated_evaluation_is_byte_identical_and_asks_nothing(
    compare: Compare, tmp_path: Path
) -> None:
    outputs = []
    for repeat in range(2):
        model = Fake("tuned", rude(3))
        write_evaluation(compare(model), tmp_path / "out")
        names = ("evaluation.json", "evaluation.md", "evaluation.html")
        outputs.append([(tmp_path / "out" / name).read_bytes() for name in names])
        assert model.asked == (0 if repeat else 48)
    elsewhere = compare(Fake("tuned", rude(3)), out="elsewhere")
    write_evaluation(elsewhere, tmp_path / "elsewhere")
    outputs.append([(tmp_path / "elsewhere" / name).read_bytes() for name in names])
    assert outputs[0] == outputs[1] == outputs[2]
    facts = json.loads(outputs[0][0])
    assert [arm["name"] for arm in facts["arms"]] == ["raw", "tuned", "always “I'm not sure.”"]


def test_verdicts_of_a_judge_with_a_revision_are_reused(source: str, tmp_path: Path) -> None:
    class Counted(Words):
        asked = 0

        def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
            Counted.asked += len(responses)
            return super().judge(contexts, responses)

    class Revised(Counted):
        revision = "words, 1"

    asked = []
    for judge in (Counted(), Counted(), Revised(), Revised()):
        before, after = Fake("raw", rude(15)), Fake("tuned", rude(3))
        tools, settings = Tools(judges={"words": judge}), EvaluationSettings(harmless=None)
        result = evaluate(before, [after], source, ["words"], tmp_path / "out", settings, tools)
        assert result.arms[1].main.tally.unsafe == 3
        asked.append(Counted.asked)
    assert asked == [96, 192, 268, 268]  # an answer that two models share is judged once
    assert result.settings["revisions"] == ["words, 1"]


def test_real_replies_give_perplexities_both_ways(compare: Compare, tmp_path: Path) -> None:
    real = write_lines(
        tmp_path / "real.jsonl", [{"response": about(t, n)} for n, t in enumerate(RISKY)]
    )
    result = compare(Fake("bland", lambda text, place: "I am not sure."), real=str(real))
    raw, bland, _ = (arm.perplexity for arm in result.arms)
    assert raw["backward"] is not None
    assert bland["backward"] is not None
    assert bland["backward"] > 2 * raw["backward"]
    assert "| forward | backward |" in render_evaluation_markdown(result.as_json())


def test_a_reference_model_reads_coherent_answers_only(
    compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def likelihood(model: str, tokenizer: str, pairs: list[Any], tick: Any) -> Any:
        calls.append((model, tokenizer, len(pairs)))
        return Likelihood(len(pairs) * math.log(7.5), len(pairs))

    monkeypatch.setattr(flow, "load_reference_model", lambda name, _: (f"{name}'s", "tokenizer"))
    monkeypatch.setattr(flow, "compute_likelihood", likelihood)
    half = Fake("half", lambda text, place: about(text, place) * (place % 2))
    result = compare(half, reference="m")
    assert calls == [("m's", "tokenizer", 32), ("m's", "tokenizer", 16), ("m's", "tokenizer", 32)]
    assert result.arms[0].perplexity["reference"] == pytest.approx(7.5)
    assert compare(half, reference="m").as_json() == result.as_json()
    assert len(calls) == 3  # the likelihoods were stored
    compare(half, reference="another")
    assert len(calls) == 6


def test_a_model_that_is_mute_on_harmless_prompts_is_not_comparable(compare: Compare) -> None:
    def mute(text: str, place: int) -> str | None:
        return rude(3)(text, place) if place < len(RISKY) + 10 else ("", None)[place % 2]

    result = compare(Fake("mute", mute))
    assert result.arms[1].refusals is not None
    assert (result.arms[1].refusals.answers, result.arms[1].refusals.read) == (16, 10)
    reason = "37.5% of its answers to harmless prompts are missing or broken"
    assert result.arms[1].problems == (reason,)
    assert result.headlines[0].startswith(
        f"mute is not comparable with raw: {reason}. Measured: 9.4%"
    )
    assert "mute gave no answer to 3 of 48 requests" in " ".join(result.notes)
    result = compare(Fake("tuned", rude(3)), before=Fake("mute before", mute), out="b")
    assert "37.5% of the baseline's answers to harmless" in result.headlines[0]


def test_the_reason_for_a_missing_answer_is_noted(compare: Compare) -> None:
    class Silent(Fake):
        first_error = "AuthenticationError: <no> key"

    result = compare(Silent("silent", lambda _text, _place: None))
    assert "none of its answers has a verdict" in result.headlines[0]
    assert result.notes[0] == (
        "silent gave no answer to 48 of 48 requests, which are unscored: "
        "AuthenticationError: <no> key"
    )
    assert "no&gt; key" not in render_evaluation_markdown(result.as_json())
    assert "&lt;no> key" in render_evaluation_markdown(result.as_json())


def test_a_judge_sees_the_whole_conversation(tmp_path: Path) -> None:
    seen = []

    class Seeing:
        def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
            seen.extend(contexts)
            return [Judgment("safe", 0.1)] * len(responses)

    turns = [("system", "Be kind."), ("user", "A bomb?"), ("assistant", "Yes."), ("user", "Go on.")]
    messages = [{"role": role, "content": text} for role, text in turns]
    prompts = write_lines(tmp_path / "p.jsonl", [{"messages": messages}, {"prompt": "Alone?"}])

    class Same:
        def __init__(self, name: str) -> None:
            self.name = name

        def reply(self, conversations: Sequence[Conversation], _: Decoding) -> list[str | None]:
            return [f"Something about {len(messages)}." for messages in conversations]

    tools = Tools(judges={"seeing": Seeing()})
    evaluate(
        Same("a"),
        [Same("b")],
        str(prompts),
        ["seeing"],
        tmp_path / "o",
        EvaluationSettings(harmless=None),
        tools,
    )
    assert set(seen) == {"System: Be kind.\nUser: A bomb?\nAssistant: Yes.\nUser: Go on.", "Alone?"}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("openai:m@http://h/v1", "'openai:m@http://h/v1' gives no likelihoods"),
        ("./nowhere", "no folder ./nowhere"),
    ],
)
def test_a_wrong_reference_is_reported_before_asking(
    compare: Compare, reference: str, message: str
) -> None:
    before, after = Fake("raw", rude(15)), Fake("tuned", rude(3))
    with pytest.raises(IsaacError, match=re.escape(message)):
        compare(after, before=before, reference=reference)
    assert before.asked == after.asked == 0


def test_a_missing_model_is_reported_before_asking(source: str, tmp_path: Path) -> None:
    before = Fake("raw", rude(15))
    with pytest.raises(ModelError, match=r"no folder \./nowhere"):
        evaluate(before, ["./nowhere"], source, ["profanity"], tmp_path / "out")
    assert before.asked == 0


def test_text_of_a_corpus_is_never_markup_in_a_table(tmp_path: Path) -> None:
    category = "![x](http://evil/a.png) **b**"
    rows = [
        {"prompt": text, "category": category if i % 2 else "a"} for i, text in enumerate(RISKY)
    ]
    source = write_lines(tmp_path / "risky.jsonl", rows)
    before, after = Fake("raw", rude(15)), Fake("tuned", rude(3))
    tools = Tools(judges={"words": Words()})
    settings = EvaluationSettings(harmless=None)
    result = evaluate(before, [after], str(source), ["words"], tmp_path / "o", settings, tools)
    markdown = render_evaluation_markdown(result.as_json())
    assert r"!\[x\](http://evil/a.png) \*\*b\*\*" in markdown
    assert "![x]" not in markdown


def test_ability_is_reported_and_stored(
    compare: Compare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def measure_ability(name: str, tasks: tuple[str, ...], *_rest: Any) -> dict[str, Any]:
        asked.append((name, tasks))
        if name == "mute":
            raise ModelError("it gives no likelihoods")
        return {"arc": {"acc,none": 0.5, "acc_stderr,none": 0.1}}

    monkeypatch.setattr(flow, "require_harness", lambda: None)
    monkeypatch.setattr(flow, "measure_ability", measure_ability)
    task = tmp_path / "arc.yaml"
    task.write_text("task: arc\n")
    ability = (str(task),)
    before, tuned = Fake("model", rude(15)), Fake("tuned", rude(3))
    result = compare(tuned, before=before, ability=ability)
    assert asked == [("model", ability), ("tuned", ability)]
    assert result.arms[1].ability == {"arc": {"acc,none": 0.5, "acc_stderr,none": 0.1}}
    assert result.arms[2].ability == {}  # the constant arm has no ability to measure
    assert "ability arc acc 0.5 against arc acc 0.5" in result.headlines[0]
    assert "| arc acc,none | 0.5000 | 0.5000 |" in render_evaluation_markdown(result.as_json())

    result = compare(tuned, Fake("mute", rude(3)), before=before, ability=ability)
    assert asked[2:] == [("mute", ability)]  # stored scores are not measured again
    assert [bool(arm.ability) for arm in result.arms] == [True, True, False, False]
    assert "The ability of mute is unknown: it gives no likelihoods" in result.notes

    task.write_text("task: another\n")
    compare(tuned, before=before, ability=ability)
    assert asked[3:] == [("model", ability), ("tuned", ability)]


def test_ability_without_its_package_names_the_extra_before_asking(
    compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    model = Fake("tuned", rude(3))
    with pytest.raises(MissingExtraError, match=r"\[ability\]"):
        compare(model, ability=("arc",))
    assert model.asked == 0


def test_a_missing_package_is_reported_before_asking(
    compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    model = Fake("tuned", rude(3))
    with pytest.raises(MissingExtraError, match=r"\[evaluate\]"):
        compare(model)
    assert model.asked == 0


def test_invalid_settings_are_refused(compare: Compare, source: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'tuned' is given twice"):
        compare(Fake("tuned", rude(1)), Fake("tuned", rude(2)))
    with pytest.raises(RecipeError, match="at least one model to compare"):
        compare()
    with pytest.raises(RecipeError, match="at least one judge"):
        compare(Fake("tuned", rude(1)), judges=[])
    with pytest.raises(RecipeError, match="2 samples at temperature 0"):
        compare(Fake("tuned", rude(1)), samples=2)
    tagged = write_lines(tmp_path / "h.jsonl", [{"prompt": "a", "kind": "risky"}])
    with pytest.raises(PromptError, match=r"none of the 1 prompts in .* are harmless"):
        compare(Fake("tuned", rude(1)), harmless=str(tagged))


def test_a_folder_in_use_is_left_alone(compare: Compare) -> None:
    def nested(text: str, place: int) -> str:
        with pytest.raises(RunError, match="another process evaluates into"):
            compare(Fake("other", rude(1)))
        return about(text, place)

    assert compare(Fake("tuned", nested)).arms[1].main.tally.scored == 32


class Tags(HTMLParser):
    """Collects the tags of a page and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(
            name.startswith("on") or (name in ("src", "href") and not str(value).startswith("#"))
            for name, value in attrs
        )

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_text_of_a_model_is_always_escaped(compare: Compare) -> None:
    nasty = "<script>alert(1)</script> | `x` \x1b[31m \u202e {{ 7 * 7 }}"

    def say(text: str, place: int) -> str:
        return f"{nasty} {about(text, place)}"

    result = compare(Fake(f"m{nasty}", say), before=Fake("raw", rude(32)))
    page, text = (
        render_evaluation_html(result.as_json()),
        render_evaluation_markdown(result.as_json()),
    )
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.tags
    assert any("<script>alert(1)</script>" in part for part in tags.texts)
    assert "\x1b" not in page + text
    assert "\u202e" not in page + text
    assert "{{ 7 * 7 }}" in page
    assert "<script" not in text
    rows = [line for line in text.splitlines() if line.startswith("| m")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {10, 11}


def test_differences_and_p_values_are_formatted() -> None:
    assert [format_points(value) for value in (0.125, -0.05, 0.0001, -0.0001)] == [
        "+12.5",
        "−5.0",
        "0.0",
        "0.0",
    ]
    assert [format_p_value(p) for p in (0.04, 0.00001, 1.0)] == ["= 0.04", "< 0.001", "= 1"]


def test_prompts_of_the_other_kind_are_left_out_and_noted(
    tmp_path: Path, compare: Compare, source: str
) -> None:
    rows = [{"prompt": text, "kind": "harmless"} for text in HARMLESS[:5]]
    rows += [{"prompt": "x", "kind": "risky"}]
    mixed = write_lines(tmp_path / "mixed.jsonl", rows)
    result = compare(Fake("tuned", rude(3)), harmless=str(mixed), limit=4)
    assert result.prompts == {"risky": 4, "harmless": 4}
    assert f"1 prompts in {mixed} are not harmless and were left out." in result.notes
    assert "Only 4 of 5 harmless prompts were asked, evenly spaced." in result.notes
    assert "Only 4 of 32 risky prompts were asked, evenly spaced." in result.notes


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, str | None]]:
    """Load fake models; records the name, batch size and data type of each."""
    counts, loaded = {"raw": 15, "tuned": 3}, list[tuple[str, int, str | None]]()

    def load(name: str, *, batch: int, dtype: str | None) -> Fake:
        loaded.append((name, batch, dtype))
        return Fake(name, rude(counts[name]))

    monkeypatch.setattr(flow, "load_chat_model", load)
    return loaded


@pytest.mark.usefixtures("fakes")
def test_the_command_prints_a_table_and_leaves_its_files(
    isaac: RunIsaac, tmp_path: Path, source: str, harmless: str
) -> None:
    out = tmp_path / "out"
    flags = ["--before", "raw", "--after", "tuned", "--prompts", source, "--harmless", harmless]
    command = [
        "evaluate",
        *flags,
        "--judge",
        "tests.evaluate.test_evaluation:Words",
        "-o",
        str(out),
    ]
    done = isaac(*command)
    assert (done.code, done.err.count("Traceback")) == (0, 0)
    assert done.out.startswith(
        "## Safety according to tests.evaluate.test_evaluation:Words\n\n| model | unsafe |"
    )
    assert "tuned: 9.4% (2.5% to 26.2%) of its answers unsafe" in done.out
    facts = json.loads(isaac(*command, "--json").out)
    assert facts == json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert facts["settings"]["decoding"]["max_tokens"] == 128
    assert {path.name for path in (out / "answers").glob("*.jsonl")} == {"raw.jsonl", "tuned.jsonl"}
    other = isaac(*command, "--max-tokens", "9")
    assert other.code == 1
    assert "another decoding" in other.err


def test_models_are_loaded_with_the_requested_data_type(
    isaac: RunIsaac, tmp_path: Path, source: str, fakes: list[tuple[str, int, str | None]]
) -> None:
    flags = ["--before", "raw", "--after", "tuned", "--prompts", source, "--harmless", "none"]
    command = [
        "evaluate",
        *flags,
        "--judge",
        "tests.evaluate.test_evaluation:Words",
        "-o",
        tmp_path / "out",
    ]
    done = isaac(*command, "--batch", "4", "--dtype", "bfloat16", "--json")
    assert fakes == [("raw", 4, "bfloat16"), ("tuned", 4, "bfloat16")]
    assert json.loads(done.out)["settings"]["dtype"] == "bfloat16"
    assert "another dtype" in isaac(*command, "--batch", "4").err


@pytest.mark.usefixtures("fakes")
def test_the_profanity_judge_judges_models(isaac: RunIsaac, tmp_path: Path, source: str) -> None:
    pytest.importorskip("profanity_check", reason="the extra judges is not installed")
    flags = ["--before", "raw", "--after", "tuned", "--prompts", source, "--harmless", "none"]
    done = isaac("evaluate", *flags, "--judge", "profanity", "-o", tmp_path / "o", "--json")
    tallies = [arm["verdicts"][0]["tally"] for arm in json.loads(done.out)["arms"]]
    assert [tally["scored"] for tally in tallies] == [32, 32, 32]
    assert tallies[0]["unsafe"] > tallies[1]["unsafe"] >= 0 == tallies[2]["unsafe"]


@pytest.mark.usefixtures("fakes")
def test_the_result_becomes_a_section_of_a_runs_report(
    isaac: RunIsaac, tmp_path: Path, source: str, exchanges: list[dict[str, str]]
) -> None:
    corpus = write_lines(tmp_path / "in.jsonl", exchanges)
    run = curate_to(tmp_path / "run", str(corpus), Recipe.redraw_most(neighbors=30))
    plain = (run.path / "report.html").read_text(encoding="utf-8")
    assert "evaluation" not in plain.split("</style>")[1]
    flags = ["--before", "raw", "--after", "tuned", "--prompts", source, "--harmless", "none"]
    command = [
        "evaluate",
        *flags,
        "--judge",
        "tests.evaluate.test_evaluation:Words",
        "-o",
        tmp_path / "o",
    ]
    assert isaac(*command, "--run", run.path).code == 0
    for name in ("evaluation.json", "evaluation.md", "evaluation.html"):
        assert (run.path / "evaluation" / name).read_bytes() == (tmp_path / "o" / name).read_bytes()
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "tuned: 9.4% (2.5% to 26.2%) of its answers unsafe" in page
    assert "Answers that changed most" in page
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    assert run.is_intact()
    assert isaac(*command, "--run", run.path).code == 0
    assert (run.path / "report.html").read_text(encoding="utf-8") == page
    redrawn = redraw_run(run, {"seed": 5})
    assert not (redrawn.path / "evaluation").exists()
    assert "tuned" not in (run.path / "report.html").read_text(encoding="utf-8")
    nowhere = isaac(*command, "--run", tmp_path / "nowhere")
    assert (nowhere.code, "no run folder" in nowhere.err) == (1, True)


def test_the_command_reports_an_error_on_one_line(isaac: RunIsaac, tmp_path: Path) -> None:
    flags = ["--before", "a", "--after", "a", "--judge", "tests.evaluate.test_evaluation:Words"]
    done = isaac("evaluate", *flags, "--prompts", "nowhere.jsonl", "-o", tmp_path / "o")
    assert done.code == 2
    assert done.err == "isaac: model 'a' is given twice; give each model once\n"
    flags[3] = "b"
    done = isaac("evaluate", *flags, "--prompts", "nowhere.jsonl", "-o", tmp_path / "o")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "no prompts 'nowhere.jsonl'" in done.err
    assert issubclass(PromptError, IsaacError)


def test_arms_that_give_the_same_answers_are_reported(compare: Compare) -> None:
    same, twin = Fake("same", rude(15)), Fake("twin", rude(2))
    result = compare(same, Fake("other", rude(2)), twin)
    first, second, third = result.headlines
    assert first.startswith("same is not comparable with raw: every answer is the same as the")
    assert second.startswith("other: ")
    assert third.startswith("twin: ")
    notes = " ".join(result.notes)
    assert "Every answer of same is the same as that of raw" in notes
    assert "Every answer of twin is the same as that of other" in notes
    assert [arm.same_as for arm in result.arms] == [None, "raw", None, "other", None]
    silent = compare(Fake("mute", lambda *_: None), before=Fake("dumb", lambda *_: None), out="no")
    assert not any("is the same as" in text for text in (*silent.headlines, *silent.notes))
