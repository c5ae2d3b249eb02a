from __future__ import annotations

from typing import Any

import pytest

from isaac.corpus.dialogue.group import DialogueGroup
from isaac.corpus.formats.task_oriented import TASK_ORIENTED_FORMATS


def sgd(text: str, *acts: tuple[str, str, list[str]]) -> dict[str, Any]:
    actions = [{"act": act, "slot": slot, "values": values} for act, slot, values in acts]
    turns = [
        {"speaker": "USER", "utterance": "Well?", "frames": []},
        {
            "speaker": "SYSTEM",
            "utterance": text,
            "frames": [{"service": "A_1", "actions": actions}],
        },
    ]
    return {"dialogue_id": "1", "services": ["A_1"], "turns": turns}


def multiwoz(text: str, acts: dict[str, Any]) -> dict[str, Any]:
    log = [{"text": "Well?", "metadata": {}}, {"text": text, "metadata": {}, "dialog_act": acts}]
    return {"dialogue_id": "1", "goal": {}, "log": log}


def plain(text: str, **annotations: Any) -> dict[str, Any]:
    return {"context": "Well?", "response": text, **annotations}


def unified(text: str, **acts: list[dict[str, Any]]) -> dict[str, Any]:
    said = [("user", "Well?", {}), ("system", text, acts)]
    turns = [{"speaker": who, "utterance": each, "dialogue_act": act} for who, each, act in said]
    return {"dialogue_id": "1", "data_split": "train", "turns": turns}


UNIFIED_ACT = {"intent": "inform", "domain": "a", "slot": "pets", "value": "True"}


def implied(layout: str, record: dict[str, Any]) -> tuple[str, ...]:
    (turn,) = TASK_ORIENTED_FORMATS[layout].turns(record)
    assert turn.group is not None
    return DialogueGroup.parse(turn.group).implied


@pytest.mark.parametrize(
    ("layout", "record", "values"),
    [
        ("sgd", sgd("Yes, they are.", ("INFORM", "pets", ["True"])), ("a-pets=true",)),
        ("sgd", sgd("Anywhere?", ("CONFIRM", "area", ["dontcare"])), ("a-area=dontcare",)),
        ("sgd", sgd("Book it?", ("OFFER_INTENT", "intent", ["BookA"])), ("a-intent=booka",)),
        ("sgd", sgd("Just for you?", ("CONFIRM", "people", ["1"])), ("a-people=1",)),
        ("sgd", sgd("For one person?", ("CONFIRM", "people", ["1"])), ()),
        ("sgd", sgd("Where?", ("REQUEST", "area", [])), ()),
        ("multiwoz21", multiwoz("It has.", {"Hotel-Inform": [["Internet", "yes"]]}),
         ("hotel-internet=yes",)),
        ("multiwoz21", multiwoz("It does not.", {"Hotel-Inform": [["Internet", "none"]]}),
         ("hotel-internet=no",)),
        ("multiwoz21", multiwoz("The Kirkwood.", {"Hotel-Inform": [["Name", "Kirkwood"]]}), ()),
        ("dialogue", plain("They may.", act="bus-inform-dog"), ("bus-dog=yes",)),
        ("dialogue", plain("They mayn't.", act="bus-inform"), ("bus-inform=no",)),
        ("dialogue", plain("They may.", slots={"dog": True}), ("dog=true",)),
        ("dialogue", plain("They may.", act="bus-inform", slots={"dog": ["no"]}),
         ("bus-dog=no", "bus-inform=yes")),
        ("dialogue", plain("To Ely.", act="bus-inform-to", slots={"to": "Ely"}), ()),
        ("unified", unified("Sure.", categorical=[UNIFIED_ACT]), ("a-pets=true",)),
        ("unified", unified("No.", binary=[{**UNIFIED_ACT, "value": ""}]), ("a-pets=no",)),
    ],
)  # fmt: skip
def test_values_that_stand_in_no_text_belong_to_the_group(
    layout: str, record: dict[str, Any], values: tuple[str, ...]
) -> None:
    assert implied(layout, record) == values
