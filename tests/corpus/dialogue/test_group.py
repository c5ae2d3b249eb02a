from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.corpus.dialogue.group import DialogueGroup

SLOTS = st.lists(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), max_size=4).map(tuple)
ACTS = st.sampled_from(["", "general-bye", "hotel-inform-area+hotel-request-stars", "~7"])


IMPLIED = st.sampled_from([(), ("hotel-pets=yes",), ("hotel-area=north_|_east", "pets=no")])


@given(ACTS, SLOTS, IMPLIED)
def test_a_group_comes_back_from_its_text(
    acts: str, slots: tuple[str, ...], implied: tuple[str, ...]
) -> None:
    group = DialogueGroup(acts, slots, implied)
    assert DialogueGroup.parse(str(group)) == group


@pytest.mark.parametrize(
    ("text", "acts", "slots", "domains"),
    [
        ("hotel-inform-area | hotel_area", "hotel-inform-area", ("hotel_area",), {"hotel"}),
        ("general-bye+taxi-inform | ", "general-bye+taxi-inform", (), {"taxi"}),
        (" | hotel_area", "", ("hotel_area",), set()),
        ("~12 | hotel_area", "~12", ("hotel_area",), set()),
    ],
)
def test_a_group_has_acts_slots_and_domains(
    text: str, acts: str, slots: tuple[str, ...], domains: set[str]
) -> None:
    group = DialogueGroup.parse(text)
    assert (group.acts, group.slots, set(group.domains)) == (acts, slots, domains)
    assert group.has_known_acts == (bool(acts) and acts != "~12")
    assert group.induced_act == (12 if acts == "~12" else None)
    assert DialogueGroup.parse(str(group.with_induced_act(3))).induced_act == 3
