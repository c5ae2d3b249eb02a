"""A dialogue system's responses, in the JSON format that MultiWOZ evaluations share."""

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
"""Maximum length of a slot's value, in characters; a longer one is an error."""


class Prediction(NamedTuple):
    """A system's delexicalized response to one user turn, with its belief state.

    ``state`` is the system's belief state and ``domains`` are the active domains; each is None if
    the file lacks it. ``turn`` is the index of the turn in its record and ``text`` the response
    with its values; both are None if only the delexicalized response is known.
    """

    response: str
    state: BeliefState | None = None
    domains: tuple[str, ...] | None = None
    turn: int | None = None
    text: str | None = None


Predictions = Mapping[str, list[Prediction]]
"""The predictions of each dialogue, one per system turn, by the id from `normalize_id`."""


def normalize_id(dialogue: str) -> str:
    """Normalize a dialogue's id for comparison: ``sng0073`` for ``SNG0073.json``."""
    return dialogue.strip().lower().removesuffix(".json")


def read_predictions(path: str | Path) -> dict[str, list[Prediction]]:
    """Read a system's responses from ``{dialogue: [{response, state, active_domains}]}``.

    ``state`` and ``active_domains`` are optional. A state maps domains to slots, or is flat as in
    MultiWOZ 2.2 (``"hotel-area"``). If a slot has several values, the first is used. Raises
    `CorpusError`, naming dialogue and turn, if something cannot be read.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is not JSON: {shorten(str(error))}") from None
    return parse_predictions(record, str(path))


def parse_predictions(record: Any, source: str = "predictions") -> dict[str, list[Prediction]]:
    """Parse predictions from decoded JSON; see `read_predictions`. Errors name ``source``."""
    if not isinstance(record, Mapping):
        raise CorpusError(
            f"{source}: expected an object of dialogues, each a list of turns; "
            f"got {type(record).__name__}"
        )
    predictions: dict[str, list[Prediction]] = {}
    for name, turns in record.items():
        key, where = normalize_id(str(name)), f"{source}, dialogue {shorten(str(name), 60)}"
        if key in predictions:
            raise CorpusError(
                f"{where}: duplicate id; ids are compared without .json and in lower case"
            )
        if not isinstance(turns, list):
            raise CorpusError(f"{where}: expected a list of turns, got {type(turns).__name__}")
        predictions[key] = [
            _parse_prediction(turn, f"{where}, turn {i}") for i, turn in enumerate(turns)
        ]
    return predictions


def _parse_prediction(turn: Any, name: str) -> Prediction:
    if not isinstance(turn, Mapping):
        raise CorpusError(f"{name}: expected an object, got {type(turn).__name__}")
    response = turn.get("response")
    if not isinstance(response, str):
        raise CorpusError(f"{name}: expected text in 'response', got {type(response).__name__}")
    state, domains = turn.get("state"), turn.get("active_domains")
    return Prediction(
        response,
        None if state is None else parse_state(state, name),
        None if domains is None else parse_domains(domains, name),
    )


def parse_domains(value: Any, name: str) -> tuple[str, ...]:
    """Parse ``active_domains``; raises `CorpusError`, with ``name`` as its place, if malformed."""
    if not isinstance(value, list) or not all(isinstance(domain, str) for domain in value):
        raise CorpusError(f"{name}: expected a list of domain names in 'active_domains'")
    return tuple(domain.strip().lower() for domain in value)


def parse_state(value: Any, name: str) -> dict[str, dict[str, str]]:
    """Parse a belief state; drops slots without a value (empty, ``none``, ``not mentioned``).

    Raises `CorpusError`, with ``name`` as its place, if the state is malformed.
    """
    if not isinstance(value, Mapping):
        raise CorpusError(f"{name}: expected an object in 'state', got {type(value).__name__}")
    state: dict[str, dict[str, str]] = {}
    for domain, slots in value.items():
        prefix, dash, slot = str(domain).strip().lower().partition("-")
        is_flat = dash and not isinstance(slots, Mapping)
        values = {slot: slots} if is_flat else slots
        if not isinstance(values, Mapping):
            raise CorpusError(
                f"{name}: expected an object of slots for '{prefix}' in 'state', "
                f"got {type(values).__name__}"
            )
        for key, slot_value in values.items():
            where = f"{name}, state of '{prefix}', slot '{shorten(str(key), 40)}'"
            text = _parse_value(slot_value, where)
            if is_specified(text):
                state.setdefault(prefix, {})[str(key).strip().lower()] = text
    return state


def _parse_value(value: Any, name: str) -> str:
    """Parse a slot's value as text: the first in a list, empty for null."""
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None:
        return ""
    if isinstance(value, (list, Mapping)):
        raise CorpusError(f"{name}: expected text, got {type(value).__name__}")
    text = str(value).strip().lower()
    if len(text) > MAX_VALUE_CHARACTERS:
        raise CorpusError(
            f"{name}: the value has {len(text):,} characters; the limit is {MAX_VALUE_CHARACTERS:,}"
        )
    return text
