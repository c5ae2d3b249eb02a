"""Data types of task-oriented dialogue: dialogues, turns, acts, spans and templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

BeliefState = Mapping[str, Mapping[str, str]]
"""What the user wants so far, as domain -> slot -> value, all in lower case."""


class Act(NamedTuple):
    """One dialogue act with one slot, in lower case: ``("hotel", "inform", "area", "east")``.

    ``slot`` is empty if the act has none. ``value`` is ``?`` if the act requests the slot's value,
    and empty if there is no value.
    """

    domain: str
    intent: str
    slot: str = ""
    value: str = ""


class Span(NamedTuple):
    """A value in a text: ``text[start:end]`` is the value of ``slot``, e.g. ``hotel_name``."""

    slot: str
    start: int
    end: int


@dataclass(frozen=True)
class DialogueTurn:
    """One turn of a dialogue; ``index`` is its position in the record.

    ``acts`` and ``spans`` are empty if the turn is not annotated. ``state`` is the belief state
    after the turn; only system turns have one. ``values`` are annotated slots and values that
    belong to no act.
    """

    index: int
    role: Literal["user", "assistant"]
    text: str
    acts: tuple[Act, ...] = ()
    spans: tuple[Span, ...] = ()
    state: BeliefState = field(default_factory=dict)
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Dialogue:
    """A dialogue with its goal, as the corpus stores it (empty if the corpus has none)."""

    id: str
    turns: tuple[DialogueTurn, ...]
    goal: Mapping[str, Any] = field(default_factory=dict)


class Template(NamedTuple):
    """A delexicalized text, such as ``[hotel_name] is in the [hotel_area] .``, and its values.

    ``values`` maps each placeholder to its surface forms in order of appearance:
    ``{"hotel_name": ("the allenbell",), "hotel_area": ("east",)}``. Distinct values of one slot get
    placeholders of their own: ``[hotel_name]``, ``[hotel_name_2]``.
    """

    text: str
    values: Mapping[str, tuple[str, ...]]


def system_turns(dialogue: Dialogue) -> list[DialogueTurn]:
    """The system's turns, in order."""
    return [turn for turn in dialogue.turns if turn.role == "assistant"]
