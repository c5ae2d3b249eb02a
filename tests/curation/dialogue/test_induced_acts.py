from __future__ import annotations

import json
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from isaac import Run
from isaac.corpus.dialogue.group import DialogueGroup
from isaac.curation.dialogue.induced_acts import (
    InducedActs,
    TurnTexts,
    induce_acts,
    with_induced_acts,
)
from isaac.curation.dialogue.span_relevance import parse_act_slots
from isaac.curation.storage import MemoryStorage
from isaac.healing.dialogue import TurnHealer
from isaac.models.encoders import load_encoder
from isaac.runtime.progress import Progress
from tests.conftest import RunIsaac, write_lines
from tests.curation.dialogue.test_curate import BOOKINGS
from tests.curation.dialogue.test_span_relevance import ASKED, MORE, RUDE

ANSWERS = {
    "train-request-day": "on Friday , please",
    "hotel-request-area": "somewhere in the north of town",
    "restaurant-request-food": "I would like something spicy",
    "general-bye": "",
}


def talk(rows: int = 600, rude: float = 0.1) -> tuple[TurnTexts, list[str]]:
    """Turns with four acts, some with injected rudeness, and their acts."""
    rng = random.Random(0)
    acts = [rng.choice(sorted(ASKED)) for _ in range(rows)]
    texts = [f"{rng.choice([*MORE[act], ''])} {ASKED[act][0]}".strip() for act in acts]
    texts = [f"{rng.choice(RUDE)} {text}" if rng.random() < rude else text for text in texts]
    return TurnTexts([ASKED[act][1] for act in acts], texts, [ANSWERS[act] for act in acts]), acts


def without_acts(folder: Path) -> Path:
    """Write a file of the bookings without acts and slots."""
    plain = [
        {**one, "messages": [{k: m[k] for k in ("role", "content")} for m in one["messages"]]}
        for one in BOOKINGS
    ]
    return write_lines(folder / "plain.jsonl", plain)


def test_induced_acts_are_the_acts_despite_injected_text_and_in_any_order() -> None:
    turns, acts = talk()
    encoder = load_encoder("wordllama")
    found = induce_acts(turns, encoder)
    acts_of_induced = defaultdict(set)
    for induced, act in zip(found.tolist(), acts, strict=True):
        acts_of_induced[induced].add(act)
    assert len(acts_of_induced) >= 4
    assert all(len(distinct) == 1 for distinct in acts_of_induced.values())

    order = random.Random(1).sample(range(len(acts)), len(acts))
    again = induce_acts(TurnTexts(*([column[i] for i in order] for column in turns)), encoder)
    assert again.tolist() == found[order].tolist()


def test_a_group_distinguishes_an_induced_act_from_acts() -> None:
    group = str(DialogueGroup.parse(" | hotel_name hotel_phone").with_induced_act(12))
    assert DialogueGroup.parse(group).induced_act == 12
    assert DialogueGroup.parse(group).acts == "~12"
    assert not DialogueGroup.parse(group).has_known_acts
    assert DialogueGroup.parse(group).slots == ("hotel_name", "hotel_phone")
    assert DialogueGroup.parse(group).domains == frozenset()
    assert parse_act_slots(group) is None
    assert DialogueGroup.parse("hotel-inform-name | hotel_name").induced_act is None
    assert DialogueGroup.parse("hotel-inform-name | hotel_name").has_known_acts
    assert parse_act_slots("hotel-inform-name+general-bye | hotel_name") == frozenset(
        {"name", "bye"}
    )
    assert DialogueGroup.parse(" | hotel_name").induced_act is None


def test_dialogues_without_acts_are_grouped_by_induced_acts(
    isaac: RunIsaac, tmp_path: Path
) -> None:
    plain = without_acts(tmp_path)
    made = isaac("curate", "--force", plain, "-o", tmp_path / "run", "--format", "dialogue")
    assert made.code == 0, made.err
    curation = Run(tmp_path / "run").curation()
    groups = curation.corpus.column("group")
    assert all(DialogueGroup.parse(group).induced_act is not None for group in groups)
    assert 2 <= len({DialogueGroup.parse(group).induced_act for group in groups}) <= 10
    assert np.unique(curation.layout.group).size == len(set(groups))
    assert "induced acts by" in (tmp_path / "run" / "report.md").read_text()

    again = isaac("curate", "--force", plain, "-o", tmp_path / "again", "--format", "dialogue")
    assert again.code == 0
    for name in ("curated.jsonl", "lineage.parquet", "report.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_annotated_acts_stay_unchanged(isaac: RunIsaac, tmp_path: Path) -> None:
    mixed = [json.loads(line) for line in without_acts(tmp_path).read_text().splitlines()]
    source = write_lines(tmp_path / "mixed.jsonl", [*BOOKINGS[:40], *mixed[40:]])
    made = isaac("curate", "--force", source, "-o", tmp_path / "run", "--format", "dialogue")
    assert made.code == 0, made.err
    corpus = Run(tmp_path / "run").curation().corpus
    assert not any(
        DialogueGroup.parse(group).induced_act is not None for group in corpus.column("group")
    )
    encoder = load_encoder("hashing")
    assert with_induced_acts(corpus, encoder, MemoryStorage(), Progress()) is corpus
    assert not len(InducedActs(corpus, encoder).numbers)


def test_a_column_of_that_name_is_no_act(isaac: RunIsaac, tmp_path: Path) -> None:
    rows = [
        {"context": f"Question {n} ?", "response": f"Answer {n % 3} .", "act": "inform"}
        for n in range(30)
    ]
    source = write_lines(tmp_path / "rows.jsonl", rows)
    made = isaac("curate", "--force", source, "-o", tmp_path / "run", "--group-by", "act")
    assert made.code == 0, made.err
    assert set(Run(tmp_path / "run").curation().corpus.column("group")) == {"inform"}
    assert "induced acts by" not in (tmp_path / "run" / "report.md").read_text()


@pytest.mark.parametrize("act", ["~5", "~x-inform"])
def test_an_act_cannot_pass_for_an_induced_act(act: str, isaac: RunIsaac, tmp_path: Path) -> None:
    odd = [
        {**one, "messages": [{**m, "act": act} for m in one["messages"]]} for one in BOOKINGS[:20]
    ]
    source = write_lines(tmp_path / "odd.jsonl", odd)
    made = isaac("curate", "--force", source, "-o", tmp_path / "run", "--format", "dialogue")
    assert made.code == 0, made.err
    groups = Run(tmp_path / "run").curation().corpus.column("group")
    assert act.removeprefix("~") in {DialogueGroup.parse(group).acts for group in groups}
    assert not any(DialogueGroup.parse(group).induced_act is not None for group in groups)


@pytest.fixture
def bare(isaac: RunIsaac, tmp_path: Path) -> TurnHealer:
    """A healer with a run of the bookings without acts."""
    made = isaac(
        "curate", "--force", without_acts(tmp_path), "-o", tmp_path / "run", "--format", "dialogue"
    )
    assert made.code == 0, made.err
    return TurnHealer(Run(tmp_path / "run").curation())


def test_a_turn_without_acts_gets_the_induced_act_of_the_run(bare: TurnHealer) -> None:
    corpus = bare.curation.corpus
    columns = (corpus.column(name) for name in ("context", "response", "group"))
    same = total = 0
    for context, response, group in zip(*columns, strict=True):
        bare_group = (
            f" | {group.rpartition('| ')[2]}".rstrip()
            if DialogueGroup.parse(group).slots
            else " | "
        )
        message = context.rpartition("\n")[2]
        found = bare.induced_acts.assign_group(message, response, bare_group)
        assert DialogueGroup.parse(found).induced_act is not None
        same += DialogueGroup.parse(found).induced_act == DialogueGroup.parse(group).induced_act
        total += 1
    assert same > 0.8 * total  # the next user message is not known when a turn is healed
    known = bare.induced_acts.assign_group("Hi", "Bye", "general-bye | ")
    assert known == "general-bye | "
