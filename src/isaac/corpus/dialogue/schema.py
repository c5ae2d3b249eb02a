"""What a task-oriented dialogue is made of: turns, their acts, and where their values stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

BeliefState = Mapping[str, Mapping[str, str]]
"""What the user wants so far: domain, then slot, then value, all lower case."""


class Act(NamedTuple):
    """One dialogue act with one slot, all lower case: ``("hotel", "inform", "area", "east")``.

    ``slot`` is empty where the act has none; ``value`` is ``?`` where it is asked for, and empty
    where there is none.
    """

    domain: str
    intent: str
    slot: str = ""
    value: str = ""


class Span(NamedTuple):
    """A value in a text: ``text[start:end]`` is the value of the slot, ``hotel_name`` say."""

    slot: str
    start: int
    end: int


@dataclass(frozen=True)
class DialogueTurn:
    """One turn of a dialogue; ``index`` says where it stands in its record.

    ``acts`` and ``spans`` are empty where there are no annotations; ``state`` is what is known
    after the turn, of a system's turn only.
    """

    index: int
    role: Literal["user", "assistant"]
    text: str
    acts: tuple[Act, ...] = ()
    spans: tuple[Span, ...] = ()
    state: BeliefState = field(default_factory=dict)


@dataclass(frozen=True)
class Dialogue:
    """A dialogue with its goal, in the corpus's own words and layout (empty where unknown)."""

    id: str
    turns: tuple[DialogueTurn, ...]
    goal: Mapping[str, Any] = field(default_factory=dict)


class Template(NamedTuple):
    """A text without its values, such as ``[hotel_name] is in the [hotel_area] .``.

    ``values`` holds the surface forms of each placeholder in the order in which it appears:
    ``{"hotel_name": ("the allenbell",), "hotel_area": ("east",)}``. Distinct values of one slot
    have placeholders of their own: ``[hotel_name]``, ``[hotel_name_2]``.
    """

    text: str
    values: Mapping[str, tuple[str, ...]]


def system_turns(dialogue: Dialogue) -> list[DialogueTurn]:
    """The turns of the system, in order."""
    return [turn for turn in dialogue.turns if turn.role == "assistant"]
