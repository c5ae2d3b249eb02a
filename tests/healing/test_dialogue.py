from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given as given_examples
from hypothesis import strategies as st

from isaac import Recipe, Run, curate_to
from isaac.corpus.dialogue.delexicalization import delexicalize_response, lexicalize, template_slots
from isaac.corpus.dialogue.value_lexicon import Lexicon
from isaac.corpus.formats import TASK_ORIENTED_FORMATS
from isaac.evaluate.dialogue import pollution
from isaac.evaluate.dialogue.files import read_dialogues
from isaac.healing.dialogue import TurnHealer
from isaac.healing.documents import find_dialogue_format
from isaac.train.rephraser import iter_examples
from tests.conftest import RunIsaac, write_lines
from tests.healing.test_pipeline import Rewrites
from tests.talks import BOOKINGS, parse_lines, write_corpus

JUDGES = """
from isaac.models.judges import Judgment

class Numbers:
    def judge(self, contexts, responses):
        bad = [("reference" in text and "Q7" not in text) or "[" in text for text in responses]
        return [Judgment("unsafe" if one else "safe") for one in bad]
"""
FORM = TASK_ORIENTED_FORMATS["dialogue"]
CLEAN = [
    talk
    for talk in parse_lines(BOOKINGS)
    if all(m.get("label", "clean") == "clean" for m in talk["messages"])
]
INSULT = "You really are an idiot, you pest."


def polluted(folder: Path, talks: list[Any], seed: int) -> tuple[list[Any], dict[Any, str]]:
    """Pollute a tenth of the turns of dialogues; also return what these turns were before."""
    file = write_lines(folder / f"clean{seed}.jsonl", talks)
    known = read_dialogues(str(file), "dialogue")
    done = pollution.pollute(known.dialogues(), 0.1, seed)
    return parse_lines("".join(known.serialize(done.texts))), {
        (row.dialogue, row.turn): row.original for row in done.truth
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of twenty polluted copies of the bundled dialogues."""
    folder = tmp_path_factory.mktemp("turns")
    (folder / "my_numbers.py").write_text(JUDGES, encoding="utf-8")
    copies = [{**t, "dialogue_id": f"{t['dialogue_id']}-{n}"} for n in range(20) for t in CLEAN]
    source = write_lines(folder / "in.jsonl", polluted(folder, copies, 0)[0])
    return curate_to(folder / "run", source, Recipe.dialogue(format="dialogue")).path


@pytest.fixture(scope="module")
def healer(run: Path) -> TurnHealer:
    """The healer that the command loads with the run."""
    return TurnHealer(Run(run).curation())


@pytest.fixture(scope="module")
def values(healer: TurnHealer) -> Lexicon:
    """The values that the command knows from the run."""
    form = find_dialogue_format(healer.curation)
    assert form is not None
    return form.lexicon


Heal = Callable[..., tuple[list[Any], str]]


@pytest.fixture
def heal(
    isaac: RunIsaac,
    run: Path,
    healer: TurnHealer,
    values: Lexicon,
    monkeypatch: pytest.MonkeyPatch,
) -> Heal:
    """A function that heals texts with the real command, whose healer is loaded only once."""
    monkeypatch.setattr("isaac.healing.lines.TurnHealer", lambda *_: healer)
    monkeypatch.setattr("isaac.healing.documents.lexicon_from_records", lambda *_: values)

    def healed(text: str, *flags: object) -> tuple[list[Any], str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        done = isaac("heal", run, "--format", "dialogue", *flags)
        assert done.code == 0, done.err
        whole = done.out[:2] in ("{\n", "[\n")
        return [json.loads(done.out)] if whole else parse_lines(done.out), done.out

    return healed


def written(records: list[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def turns(record: Any) -> list[tuple[int, str, str, str]]:
    """The index, text, action and reason of each healed turn."""
    columns = (record[f"isaac_{name}"] for name in ("turn", "action", "reason"))
    return [
        (i, record["messages"][i]["content"], action, reason)
        for i, action, reason in zip(*columns, strict=True)
    ]


def test_polluted_turns_are_healed_and_the_rest_stays(heal: Heal, tmp_path: Path) -> None:
    given, truth = polluted(tmp_path, CLEAN, 5)
    healed, out = heal(written(given))
    assert heal(written(given))[1] == out
    restored, touched = 0, 0
    for before, after in zip(given, healed, strict=True):
        for i, text, action, _ in turns(after):
            original = truth.get((before["dialogue_id"], i))
            same = text == before["messages"][i]["content"]
            assert same == (action in ("kept", "abstained"))
            restored += original is not None and text == original
            touched += original is None and not same
        users = [message for message in after["messages"] if message["role"] == "user"]
        assert users == before["messages"][::2]
    assert restored >= 0.75 * len(truth)
    assert touched <= 0.06 * sum(len(talk["messages"]) // 2 for talk in CLEAN)


def test_no_value_is_ever_lost_or_changed(heal: Heal, tmp_path: Path) -> None:
    given, _ = polluted(tmp_path, CLEAN, 6)
    for before, after in zip(given, heal(written(given))[0], strict=True):
        assert after["isaac_turn"] == [turn.index for turn in FORM.turns(before)]
        for turn in FORM.turns(before):
            text = after["messages"][turn.index]["content"]
            for forms in (turn.values or {}).values():
                assert all(form in text for form in forms)
        assert [t.group for t in FORM.turns(after)] == [t.group for t in FORM.turns(before)]


def foreign(text: str = INSULT) -> dict[str, Any]:
    """A dialogue in which the system's goodbye is an insult."""
    asked = {"role": "user", "content": "No, that's all, thank you."}
    said = {"role": "assistant", "content": text, "act": ["general-bye", "general-welcome"]}
    return {"dialogue_id": "x", "messages": [asked, {**said, "slots": {}}]}


def test_if_nothing_is_left_a_response_with_the_same_acts_is_drawn(heal: Heal, run: Path) -> None:
    record = heal(written([foreign()]))[0][0]
    (_, text, action, reason) = turns(record)[0]
    assert (action, reason) == ("replaced", "nothing in it belongs, drawn")
    corpus = Run(run).corpus()
    source = record["isaac_source_id"][0]
    assert corpus.column("group")[source] == "general-bye+general-welcome | "
    assert text in corpus.column("response")[source]
    odd = foreign()
    odd["messages"][1]["act"] = ["no-such-act"]
    again = turns(heal(written([odd]))[0][0])[0]
    assert again[1:] == (INSULT, "abstained", "nothing in it belongs; no head to draw from")
    said = heal(written([odd]), "--fallback", "Sorry, [hotel_name] is out of words.")[0][0]
    assert turns(said)[0][1:3] == ("Sorry, [hotel_name] is out of words.", "fallback")


def predictions() -> dict[str, Any]:
    say = "Your table is booked. Your reference is {}. Anything else I can do for you?"
    return {
        "a.json": [
            {"response": "How many tickets do you need, lol?", "state": {"train": {}}},
            {"response": f"{say.format('[ref]')} {INSULT}", "active_domains": ["restaurant"]},
            {"response": f"{INSULT} {say.format('Q7W2E3R4')}", "x": 1, "isaac_action": "mine"},
            {"response": INSULT},
            {"response": INSULT, "active_domains": ["general"]},
        ],
        "b.json": [{"response": 7}, "no turn", {"response": "Hi", "active_domains": 7}],
    }


def test_predictions_come_back_in_their_layout(heal: Heal) -> None:
    given = predictions()
    (healed,), line = heal(json.dumps(given))
    first, second = healed["a.json"], healed["b.json"]
    assert list(healed) == list(given)
    assert first[0]["response"] == "How many tickets do you need?"
    assert first[0]["state"] == {"train": {}}
    assert "reference is [ref]." in first[1]["response"]
    assert "reference is Q7W2E3R4." in first[2]["response"]
    assert INSULT not in first[1]["response"] + first[2]["response"]
    assert (first[2]["isaac_action"], first[2]["isaac_action_2"]) == ("mine", "trimmed")
    assert [first[3][f"isaac_{name}"] for name in ("action", "source_id")] == ["abstained", None]
    assert first[4]["isaac_action"] == "replaced"
    assert template_slots(first[4]["response"]) == ()
    assert first[4]["isaac_source_id"] is not None
    assert {turn["isaac_action"] for turn in second} == {"rejected"}
    assert second[0]["response"] == 7
    assert second[1]["raw"] == '"no turn"'
    assert "active_domains" in second[2]["isaac_reason"]
    whole = heal(json.dumps(given, indent=1))[1]
    assert json.loads(whole) == healed
    assert heal(f"{json.dumps(given)}\n\n{json.dumps(given)}")[1] == line * 2


def test_dialogues_are_read_as_lines_or_as_one_text(heal: Heal) -> None:
    given = [foreign(), CLEAN[0]]
    every = heal(written(given))[0]
    assert heal(json.dumps(given))[0] == [every]
    assert json.loads(heal("\ufeff" + json.dumps(given, indent=2))[1]) == every
    named = {talk["dialogue_id"]: talk for talk in given}
    assert list(heal(json.dumps(named))[0][0].values()) == every
    bare = {name: {"messages": talk["messages"]} for name, talk in named.items()}
    again = json.loads(heal(json.dumps(bare, indent=1))[1])
    assert [{"dialogue_id": name, **talk} for name, talk in again.items()] == every


GARBAGE = {
    "{cut [": "Expecting property name",
    "broken": "Expecting value",
    "[1]": "not a JSON object",
    "7": "not a JSON object",
    "{}": "neither a record of 'dialogue' nor predictions",
    '{"messages": [{"role": "user", "content": "Hi"}]}': "neither a record",
    '{"messages": [{"role": "assistant", "act": "a", "content": 7}]}': "'content'",
    '{"a": [{"response": "x"}], "a": []}': "appears twice",
    "[" * 100_000: "recursion",
    f'{{"a": [{{"response": "x", "deep": {"[" * 200}{"]" * 200}}}]}}': "nested too deeply",
}


def test_unusable_lines_come_back_with_a_reason_and_stop_nothing(heal: Heal) -> None:
    given = [*GARBAGE, json.dumps(foreign())]
    for first in (0, 1):
        *rejected, last = heal("\n".join(given[first:]))[0]
        for (garbage, says), one in zip([*GARBAGE.items()][first:], rejected, strict=True):
            came = one[0] if isinstance(one, list) else one
            assert came["isaac_action"] == "rejected"
            assert says in came["isaac_reason"]
            assert came["raw"] in garbage
        assert last["isaac_action"] == ["replaced"]


def test_a_judge_sees_values_and_decides(
    heal: Heal, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(run.parent))
    given = foreign("Your table is booked. The reference number is Q7W2E3R4.")
    given["messages"][1] |= {
        "act": ["restaurant-book-ref"],
        "slots": {"restaurant_ref": ["Q7W2E3R4"]},
    }
    record = heal(written([given]), "--judge", "my_numbers:Numbers")[0][0]
    assert turns(record)[0][2:] == ("kept", "judged safe")
    assert record["isaac_verdict"] == ["safe"]
    given["messages"][1]["content"] = "The reference number is A7W2E3R4."
    record = heal(written([given]), "--judge", "my_numbers:Numbers")[0][0]
    assert turns(record)[0][2] == "abstained"
    assert "judged unsafe" in turns(record)[0][3]


@pytest.mark.parametrize(
    ("rewrite", "action", "says"),
    [
        ("The reference number is [restaurant_ref].", "rewritten", "belongs, rewritten"),
        ("Your table is booked.", "trimmed", "the rewrite has the slots none, not restaurant_ref"),
        (f"It is [restaurant_ref]. {INSULT}", "trimmed", "not all of the rewrite belongs"),
    ],
)
def test_a_rewrite_has_the_turns_own_slots_or_is_refused(
    heal: Heal, run: Path, monkeypatch: pytest.MonkeyPatch, rewrite: str, action: str, says: str
) -> None:
    asked = list[Any]()

    class Notes(Rewrites):
        def rewrite(self, contexts: list[str], responses: list[str], seed: int) -> Any:
            asked.append((contexts, responses))
            return super().rewrite(contexts, responses, seed)

    fake = SimpleNamespace(
        load_rephraser=lambda _: Notes(rewrite),
        WITHOUT_VALUES="bare",
        read_metadata=lambda _: {"bare": True},
    )
    monkeypatch.setitem(sys.modules, "isaac.models.chat.rephraser", fake)
    given = foreign(f"{INSULT} The reference number is Q7W2E3R4.")
    given["messages"][1] |= {
        "act": ["restaurant-book-ref"],
        "slots": {"restaurant_ref": ["Q7W2E3R4"]},
    }
    record = heal(written([given]), "--model", run)[0][0]
    assert asked[0][0] == ["No, that's all, thank you.\nacts: restaurant-book-ref"]
    assert asked[0][1] == [f"{INSULT} The reference number is [restaurant_ref]."]
    _, text, found, reason = turns(record)[0]
    assert says in reason
    assert (text, found) == ("The reference number is Q7W2E3R4.", action)


@pytest.mark.parametrize(
    ("flags", "text", "says"),
    [
        (["--format", "messages"], "", "a run of dialogues heals only dialogues"),
        (["--model", "."], "", "was trained on whole responses"),
        (["--fallback", " "], "", "expected a fallback text, got an empty one"),
    ],
)
def test_bad_options_are_refused(
    isaac: RunIsaac,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    text: str,
    says: str,
) -> None:
    fake = SimpleNamespace(
        load_rephraser=lambda _: None, WITHOUT_VALUES="bare", read_metadata=lambda _: {}
    )
    monkeypatch.setitem(sys.modules, "isaac.models.chat.rephraser", fake)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    done = isaac("heal", run, *flags)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_predictions_cannot_be_rewritten(
    isaac: RunIsaac, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = SimpleNamespace(
        load_rephraser=lambda _: Rewrites("Hi"),
        WITHOUT_VALUES="bare",
        read_metadata=lambda _: {"bare": True},
    )
    monkeypatch.setitem(sys.modules, "isaac.models.chat.rephraser", bare)
    given = json.dumps(predictions()).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    done = isaac("heal", run, "--model", "m")
    assert done.code == 2
    assert "needs a history and acts, which predictions lack" in done.err


@pytest.mark.parametrize("noted", [True, False])
def test_values_are_those_of_the_database_or_else_of_the_annotations(
    tmp_path: Path, noted: bool
) -> None:
    given = write_corpus(tmp_path)
    recipe = Recipe.dialogue(format="multiwoz21", database=None if noted else str(given.database))
    curation = curate_to(tmp_path / "run", given.file, recipe).curation()
    form = find_dialogue_format(curation, "multiwoz22")
    assert form is not None
    assert (form.name, *form.lexicon.find("Elm House")[0].slots) == ("multiwoz22", "hotel_name")
    assert bool(form.lexicon.find("01632960002")) is not noted


def test_a_run_without_trim_is_refused(
    isaac: RunIsaac, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_lines(tmp_path / "in.jsonl", CLEAN[:4])
    recipe = Recipe.dialogue(format="dialogue", trim=False)
    run = curate_to(tmp_path / "run", source, recipe, force=True)
    done = isaac("heal", run.path)
    assert done.code == 2
    assert "curate it again with --trim" in done.err


def test_a_rephraser_is_trained_on_delexicalized_turns_after_their_acts(run: Path) -> None:
    curation = Run(run).curation()
    corpus = curation.corpus
    acts: dict[str, set[str]] = {}
    for response, group in zip(corpus.column("response"), corpus.column("group"), strict=True):
        acts.setdefault(response, set()).add(group.partition(" | ")[0])
    every = list(iter_examples(Run(run)))
    assert any(not one.kept for one in every)
    assert any("[restaurant_name]" in one.response for one in every)
    for one in every:
        assert one.context.rpartition("\nacts: ")[2] in acts[one.original]
        assert template_slots(one.response) == template_slots(one.original)
        assert one.kept == (one.original == one.response)


PIECES = st.sampled_from(
    "[hotel_name]/[ area ]/[Hotel_Name]/[value_literal]/[1_a]/7 people/area/01223 123456/"
    "[value_count]/[value_count_2]/[a/b]/at 7:30 pm/[ref no.]/[value_literal_2]".split("/")
)


@given_examples(st.lists(PIECES | st.text("[]a_ 1.", max_size=6), max_size=8).map(" ".join))
def test_a_delexicalized_response_is_restored_word_for_word(text: str) -> None:
    template = delexicalize_response(text, Lexicon())
    assert lexicalize(*template) == text
    assert ("[hotel_name]" in template.text) == ("[hotel_name]" in text.lower())
