from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from isaac.corpus.dialogue.goals import find_booked_domains
from isaac.corpus.dialogue.predictions import Prediction, parse_state
from isaac.corpus.dialogue.schema import Dialogue, DialogueTurn
from isaac.errors import CorpusError, MissingExtraError, RecipeError
from isaac.evaluate.dialogue.bleu import compute_bleu
from isaac.evaluate.dialogue.database import Database, read_database
from isaac.evaluate.dialogue.injection import InjectedText
from isaac.evaluate.dialogue.polluted_share import PollutedShare, compute_polluted_share
from isaac.evaluate.dialogue.pollution import Injection
from isaac.evaluate.dialogue.scores import DialogueScores, Gold, build_gold, score_predictions

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "multiwoz21"

DATABASE = Database(
    {
        "hotel": [
            {"id": "1", "name": "acorn", "area": "north"},
            {"id": "2", "name": "avalon", "area": "east"},
            {"id": "3", "name": "cityroomz", "area": "centre"},
        ]
    }
)
GOAL = {"hotel": {"info": {"area": "north"}, "reqt": ["phone"]}}
NORTH, EAST = {"hotel": {"area": "north"}}, {"hotel": {"area": "east"}}
OFFER = "there is [hotel_name] in the north of town , do you like it ?"
ANSWER = "their phone number is [hotel_phone] , is there anything else ?"
GOLD = Gold(
    goals={"a": GOAL, "b": GOAL, "c": {}, "d": GOAL, "e": GOAL},
    states={name: [NORTH, NORTH] for name in "abd"},
    references={name: [OFFER, ANSWER] for name in "abc"},
)


def system() -> dict[str, list[Prediction]]:
    return {
        "A.json": [Prediction(OFFER), Prediction(ANSWER)],
        "b": [Prediction(OFFER, EAST), Prediction(ANSWER, EAST)],
        "c": [Prediction(OFFER), Prediction(ANSWER)],
        "e": [Prediction(OFFER)],
        "f": [Prediction("you are an Idiot !")],
    }


def test_scores_by_hand() -> None:
    found = score_predictions(system(), GOLD, DATABASE, words=["idiot", "get lost"])
    # a succeeds by the gold states, b offers the wrong hotel by its own; c and f have no goal, e
    # has no state, and d has no prediction.
    assert found.overall == (2, 1, 1)
    assert found.domains == {"hotel": (2, 1, 1)}
    assert (found.overall.inform, found.overall.success) == (50.0, 50.0)
    assert found.gold_states == 1
    assert found.bleu == pytest.approx(100)
    assert found.combined == pytest.approx(150)
    assert found.slots == (6, 6, 6, 0)
    assert found.by_words == PollutedShare(1, 8, 1, 5)
    assert found.unscored == {
        "no goal": 2,
        "no state": 1,
        "no database": 0,
        "no reference": 2,
        "no prediction for a dialogue with a goal": 1,
        "not one response for each system turn of gold": 0,
    }


def test_scores_are_formatted_the_same_each_time() -> None:
    one, two = (score_predictions(system(), GOLD, DATABASE, words=["idiot"]) for _ in range(2))
    assert json.dumps(one.as_json()) == json.dumps(two.as_json())
    assert one.as_json()["domains"]["hotel"]["inform"] == 50.0
    lines = "\n".join(one.lines())
    assert "Inform 50.0, Success 50.0, BLEU 100.0, combined 150.0" in lines
    assert (
        "polluted according to the word list: 1 of 8 responses (12.5%), 1 of 5 dialogues" in lines
    )
    assert "not scored, no state: 1" in lines
    assert "no database" not in lines


def test_without_a_database_or_predictions_there_is_no_rate() -> None:
    found = score_predictions(system(), GOLD)
    assert found.unscored["no database"] == 3
    assert (found.overall.inform, found.combined) == (None, None)
    nothing = score_predictions({}, Gold(), DATABASE)
    assert (nothing.dialogues, nothing.bleu, nothing.overall.success) == (0, None, None)
    assert nothing.lines()[1].startswith("Inform none, Success none, BLEU none")
    json.dumps(nothing.as_json(), allow_nan=False)


@pytest.mark.parametrize("part", ["states", "references", "booked"])
def test_a_dialogue_with_another_number_of_turns_is_counted_and_the_rest_scored(part: str) -> None:
    three: list[Any] = [{}] * 3 if part == "states" else [""] * 3
    parts: dict[str, Any] = {"goals": {"a": GOAL, "b": GOAL}, "states": {"b": [NORTH] * 2}}
    gold = Gold(**{**parts, part: {**parts.get(part, {}), "a": three}})
    two = [Prediction("[hotel_name]", NORTH), Prediction("[hotel_phone]", NORTH)]
    found = score_predictions({"a": two, "b": two}, gold, DATABASE)
    assert (found.dialogues, found.responses, found.overall) == (1, 2, (1, 1, 1))
    assert found.unscored["not one response for each system turn of gold"] == 1
    assert found.unscored["no prediction for a dialogue with a goal"] == 0
    assert found.lines()[-1] == "not scored, not one response for each system turn of gold: 1"
    with pytest.raises(
        CorpusError, match=r"no dialogue has one response .* a, has 2 responses for 3 turns"
    ):
        score_predictions({"a": two}, gold, DATABASE)


def test_gold_is_built_from_dialogues() -> None:
    turns = (DialogueTurn(0, "user", "hi"), DialogueTurn(1, "assistant", "yes", state=NORTH))
    one = Dialogue("SNG1.json", turns, GOAL)
    gold = build_gold([one], references={"SNG1.json": ["yes"]}, booked={"SNG1": [{"hotel"}]})
    assert gold == Gold(
        {"sng1": GOAL},
        {"sng1": [NORTH]},
        {"sng1": ["yes"]},
        {"sng1": [{"hotel"}]},
        {"sng1": {1: "yes"}},
    )
    assert build_gold([Dialogue("x", (DialogueTurn(1, "assistant", "yes"),))]).states == {}
    with pytest.raises(CorpusError, match="duplicate dialogue id sng1"):
        build_gold([one, Dialogue("sng1", ())])


def test_bleu_does_not_depend_on_spacing_or_slot_names() -> None:
    reference = "I 'd say [hotel_name] has [hotel_stars] stars and does n't cost much ."
    same = "I'd say [value_name] has [count] stars and doesn't  cost much."
    assert compute_bleu([(same, reference)]) == pytest.approx(100)
    assert compute_bleu([("", reference)]) == 0
    assert compute_bleu([]) is None
    other = compute_bleu([(reference.replace("stars and", "rooms or"), reference)])
    assert other is not None
    assert 20 < other < 90


def test_bleu_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(MissingExtraError, match=r"\[evaluate\]"):
        compute_bleu([("a", "a")])


RESPONSES = {
    "A.json": {1: "Well , get LOST you fool .", 3: "fine", 5: "foolish"},
    "b": {1: "fine", 3: "you should not get it lost", 5: "a fool’s errand"},
}


def put(dialogue: str, turn: int, text: str) -> Injection:
    return Injection(dialogue, turn, "high", "varied", (InjectedText(0, text),), "")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["fool"], PollutedShare(1, 6, 1, 2)),
        (["get lost"], PollutedShare(1, 6, 1, 2)),
        (["FINE", "fool's"], PollutedShare(3, 6, 2, 2)),
        (["absent"], PollutedShare(0, 6, 0, 2)),
        (["’"], PollutedShare(1, 6, 1, 2)),
    ],
)
def test_listed_words_match_whole_words_only(words: list[str], found: PollutedShare) -> None:
    assert compute_polluted_share(RESPONSES, words=words) == found


def test_injected_text_counts_in_any_response() -> None:
    truth = [put("a", 1, "get lost"), put("B", 3, " , rot!"), put("b", 19, "gone")]
    responses = {**RESPONSES, "c": {1: "Get lost ."}}
    found = compute_polluted_share(responses, truth=truth)
    # a still contains what was injected into it, and c what was injected into a; b is clean again.
    assert found == PollutedShare(2, 7, 2, 3, carried=1, absent=1)
    assert found.by_response == pytest.approx(2 / 7)
    assert found.by_dialogue == pytest.approx(2 / 3)
    # c is unchanged: the original contains the text itself.
    known = compute_polluted_share(responses, truth=truth, clean={("c", 1)})
    assert known == PollutedShare(1, 7, 1, 3, absent=1)
    nothing = compute_polluted_share({}, truth=[])
    assert (nothing.by_response, nothing.by_dialogue) == (None, None)


def test_the_truth_refers_to_turns_by_their_index_in_the_record() -> None:
    turns = (
        DialogueTurn(0, "user", "hi"),
        DialogueTurn(1, "assistant", "yes"),
        DialogueTurn(3, "assistant", "get lost"),
    )
    gold = build_gold([Dialogue("a", turns)], {"a": ["yes", "get lost"]})
    truth = [put("A.json", 1, "rot , "), put("x", 3, "get lost")]
    predictions = [Prediction("rot , yes"), Prediction("get lost")]
    # The second response equals gold's, so what was injected elsewhere does not matter.
    assert score_predictions({"a": predictions}, gold, truth=truth).by_truth == PollutedShare(
        1, 2, 1, 1, absent=1
    )
    moved = [Prediction("get lost"), Prediction("rot , yes", turn=3, text="rot , yes")]
    found = score_predictions({"a": moved}, gold, truth=truth).by_truth
    assert found == PollutedShare(2, 2, 1, 1, carried=2, absent=1)
    with pytest.raises(CorpusError, match="dialogue x is in the truth but not in gold"):
        score_predictions({"x": predictions}, gold, truth=truth)


def test_the_polluted_share_needs_exactly_one_of_truth_and_words() -> None:
    message = "either the truth of a pollution or a list of words"
    with pytest.raises(RecipeError, match=message):
        compute_polluted_share(RESPONSES)
    with pytest.raises(RecipeError, match=message):
        compute_polluted_share(RESPONSES, truth=[], words=["x"])
    with pytest.raises(CorpusError, match="to search for is empty"):
        compute_polluted_share(RESPONSES, words=[" "])


SLOTS = {
    "Name": "name",
    "Addr": "address",
    "Post": "postcode",
    "Phone": "phone",
    "Ref": "reference",
    "Id": "id",
}


def delexicalize_by_spans(turn: Mapping[str, Any]) -> str:
    words = turn["text"].split(" ")
    for act, slot, _, start, end in sorted(turn["span_info"], key=lambda span: -span[3]):
        domain = act.split("-")[0].lower()
        words[start : end + 1] = [f"[{domain}_{SLOTS.get(slot, slot.lower())}]"]
    return " ".join(words)


def states_of(log: list[dict[str, Any]]) -> list[dict[str, dict[str, str]]]:
    return [
        parse_state(
            {
                domain: {
                    slot: value
                    for slot, value in {**part["semi"], **part["book"]}.items()
                    if slot != "booked"
                }
                for domain, part in turn["metadata"].items()
            },
            "validation",
        )
        for turn in log[1::2]
    ]


@pytest.fixture(scope="module")
def validation() -> Gold:
    if not DATA.exists():
        pytest.skip(f"{DATA} is not available")
    with zipfile.ZipFile(DATA / "val.json.zip") as archive:
        records = json.loads(archive.read("val.json"))
    return Gold(
        goals={name.lower(): record["goal"] for name, record in records.items()},
        states={name.lower(): states_of(record["log"]) for name, record in records.items()},
        references={
            name.lower(): [delexicalize_by_spans(turn) for turn in record["log"][1::2]]
            for name, record in records.items()
        },
        booked={
            name.lower(): find_booked_domains(record["log"], name)
            for name, record in records.items()
        },
    )


def test_multiwoz_limits(validation: Gold) -> None:
    """Gold comes close to the ceiling published for the test split: Inform 93.7, Success 90.9."""
    gold = {name: list(texts) for name, texts in validation.references.items()}
    database = read_database(DATA / "db")

    def scored(responses: Mapping[str, list[str]]) -> DialogueScores:
        predictions = {
            name: [Prediction(text) for text in texts] for name, texts in responses.items()
        }
        return score_predictions(predictions, validation, database)

    best = scored(gold)
    assert best.overall.dialogues == 999
    assert best.overall.inform == pytest.approx(93.5, abs=0.1)
    assert best.overall.success == pytest.approx(90.4, abs=0.1)
    assert best.bleu == pytest.approx(100)
    assert best.slots.rate == 0
    # Empty responses: by definition, goals that name the venue, taxis, and trains without a
    # requested id count as informed; only goals without requestable slots succeed.
    silent = scored({name: [""] * len(texts) for name, texts in gold.items()})
    assert silent.bleu == 0
    assert silent.slots.rate == 1
    assert silent.overall.inform == pytest.approx(22.9, abs=0.1)
    assert silent.overall.success == pytest.approx(2.0, abs=0.1)
    # Each dialogue gets the responses of another one.
    others = dict(zip(gold, [*list(gold.values())[17:], *list(gold.values())[:17]], strict=True))
    swapped = scored(
        {
            name: (texts + [""] * len(gold[name]))[: len(gold[name])]
            for name, texts in others.items()
        }
    )
    assert swapped.overall.inform is not None
    assert swapped.overall.success is not None
    assert swapped.bleu is not None
    assert swapped.overall.inform < 55
    assert swapped.overall.success < 10
    assert swapped.bleu < 10
