"""A system's responses to be scored, read from the JSON that MultiWOZ evaluations share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import CorpusError
from ...text import shorten
from .placeholders import is_specified
from .schema import BeliefState

MAX_VALUE_CHARACTERS = 1000
"""Characters of a slot's value above which it is none."""


class Prediction(NamedTuple):
    """A system's delexicalised response to one user turn, and what it is based on.

    ``state`` is what the system believes that the user wants, None where the file does not say;
    ``domains`` are those that the response is about, None likewise. ``turn`` is the index of
    the turn in its record and ``text`` the response with its values, both None where only the
    response is known.
    """

    response: str
    state: BeliefState | None = None
    domains: tuple[str, ...] | None = None
    turn: int | None = None
    text: str | None = None


Predictions = Mapping[str, list[Prediction]]
"""Predictions by `normalize_id`, one a system turn, in order."""


def normalize_id(dialogue: str) -> str:
    """Return a dialogue's id as it is compared: ``sng0073`` for ``SNG0073.json``."""
    return dialogue.strip().lower().removesuffix(".json")


def read_predictions(path: str | Path) -> dict[str, list[Prediction]]:
    """Return what a system said, from ``{dialogue: [{response, state, active_domains}]}``.

    ``state`` and ``active_domains`` may be missing. A state is by domain and slot, or flat as in
    MultiWOZ 2.2 (``"hotel-area"``); of several values of a slot the first counts. Raises
    `CorpusError` naming the dialogue and the turn of what cannot be read.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is not JSON: {shorten(str(error))}") from None
    return parse_predictions(record, str(path))


def parse_predictions(record: Any, source: str = "predictions") -> dict[str, list[Prediction]]:
    """Return the predictions in a record that is read already; see `read_predictions`."""
    if not isinstance(record, Mapping):
        raise CorpusError(
            f"{source}: wanted an object of dialogues, each a list of turns; "
            f"came {type(record).__name__}"
        )
    found: dict[str, list[Prediction]] = {}
    for name, turns in record.items():
        key, told = normalize_id(str(name)), f"{source}, dialogue {shorten(str(name), 60)}"
        if key in found:
            raise CorpusError(f"{told}: there twice, with and without .json or in another case")
        if not isinstance(turns, list):
            raise CorpusError(f"{told}: wanted a list of turns, came {type(turns).__name__}")
        found[key] = [_parse_prediction(turn, f"{told}, turn {i}") for i, turn in enumerate(turns)]
    return found


def _parse_prediction(turn: Any, name: str) -> Prediction:
    if not isinstance(turn, Mapping):
        raise CorpusError(f"{name}: wanted an object, came {type(turn).__name__}")
    response = turn.get("response")
    if not isinstance(response, str):
        raise CorpusError(f"{name}: wanted text as 'response', came {type(response).__name__}")
    state, domains = turn.get("state"), turn.get("active_domains")
    return Prediction(
        response,
        None if state is None else parse_state(state, name),
        None if domains is None else parse_domains(domains, name),
    )


def parse_domains(value: Any, name: str) -> tuple[str, ...]:
    """Return names of domains from JSON; ``name`` says where they stand, for the `CorpusError`."""
    if not isinstance(value, list) or not all(isinstance(domain, str) for domain in value):
        raise CorpusError(f"{name}: wanted a list of names as 'active_domains'")
    return tuple(domain.strip().lower() for domain in value)


def parse_state(value: Any, name: str) -> dict[str, dict[str, str]]:
    """Return a state from JSON; slots that say nothing (empty, ``none``, ``not mentioned``) go.

    ``name`` says where it stands, for the `CorpusError` about what cannot be read.
    """
    if not isinstance(value, Mapping):
        raise CorpusError(f"{name}: wanted an object as 'state', came {type(value).__name__}")
    state: dict[str, dict[str, str]] = {}
    for domain, slots in value.items():
        first, dash, slot = str(domain).strip().lower().partition("-")
        flat = dash and not isinstance(slots, Mapping)
        values = {slot: slots} if flat else slots
        if not isinstance(values, Mapping):
            kind = type(values).__name__
            raise CorpusError(f"{name}: wanted slots of '{first}' in 'state', came {kind}")
        for known, given in values.items():
            text = _parse_value(
                given, f"{name}, state of '{first}', slot '{shorten(str(known), 40)}'"
            )
            if is_specified(text):
                state.setdefault(first, {})[str(known).strip().lower()] = text
    return state


def _parse_value(value: Any, name: str) -> str:
    """Return a slot's value as text: of a list the first, nothing for null."""
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None:
        return ""
    if isinstance(value, (list, Mapping)):
        raise CorpusError(f"{name}: wanted text, came {type(value).__name__}")
    text = str(value).strip().lower()
    if len(text) > MAX_VALUE_CHARACTERS:
        raise CorpusError(
            f"{name}: {len(text):,} characters; at most {MAX_VALUE_CHARACTERS:,} are read"
        )
    return text
