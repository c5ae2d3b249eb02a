"""Dialogues and predictions healed in the shape in which they came, line by line or as one text."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..corpus.dialogue.delexicalization import delexicalize_response, template_slots
from ..corpus.dialogue.placeholders import NON_DOMAINS
from ..corpus.dialogue.predictions import parse_domains
from ..corpus.dialogue.schema import Template
from ..corpus.formats import TASK_ORIENTED_FORMATS, CorpusTurn, RowError, TaskOrientedFormat
from ..corpus.formats.base import validate_text
from ..corpus.formats.task_oriented import lexicon_from_database, lexicon_from_records
from ..corpus.json_stream import is_too_deep
from ..corpus.records import dumps, parse_json
from ..corpus.rejected import encode_raw_bytes
from ..curation.curate import Curation
from ..errors import IsaacError, RecipeError
from ..text import free_name, shorten
from .dialogue import UNKNOWN_DOMAINS, TrimmedTurn, TurnHealer
from .pipeline import HealingPipeline
from .retrieval import Healed

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class DialogueDocumentHealer:
    """Heals what a system said, in records of a format of dialogues or in predictions.

    Predictions are an object of dialogues, each a list of turns with a ``response``, with values or
    without.
    """

    def __init__(
        self, healer: TurnHealer, mending: HealingPipeline[TrimmedTurn], form: TaskOrientedFormat
    ) -> None:
        self.healer, self.pipeline, self.format = healer, mending, form

    def healed(self, lines: Iterable[bytes]) -> Iterator[str]:
        """Yield the lines healed, each before the next is read, or the one text that they are.

        A line that cannot be used comes back as it was, with its reason. One text is written with
        a dialogue a line.
        """
        given = (line.rstrip(b"\r\n") for line in lines if line.strip())
        first = next(given, b"").removeprefix(BYTE_ORDER_MARK)
        waiting: Iterator[bytes] = itertools.chain([first] if first else [], given)
        if first.lstrip()[:1] in (b"{", b"[") and not _is_json(first):
            every = list(waiting)
            text, waiting = b"\n".join(every), iter(every)
            if _is_json(text):
                yield from (piece.removesuffix("\n") for piece in self._heal_text(text, "\n"))
                return
        for line in waiting:
            yield "".join(self._heal_text(line))

    def record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return a record with its system's turns healed; what became of each is added in lists.

        Raises `RowError` if none of its turns can be used.
        """
        turns = self.format.turns(record)
        healed = [self.pipeline.heal(self.healer.look(turn)) for turn in turns]
        made = dict(record)
        for turn, new in reversed([*zip(turns, healed, strict=True)]):
            if new.action not in ("kept", "abstained"):
                made = self.format.replace(made, turn.index, new.response)
        told = [self._told(new) for new in healed]
        added = {name: [one[name] for one in told] for name in told[0]}
        numbers = [turn.index for turn in turns]
        return {**made, **_with_free_names({"isaac_turn": numbers, **added}, record)}

    def heal_prediction(self, turn: Any) -> dict[str, Any]:
        """Return a turn of predictions healed, or as it was with the reason."""
        if self.pipeline.rephraser is not None:
            raise RecipeError(
                "predictions have neither a history nor acts, which a rephraser of dialogues "
                "needs; heal them without --model, or give the dialogues in their own layout"
            )
        try:
            if not isinstance(turn, Mapping):
                raise RowError("not an object with a 'response'")
            text = validate_text(turn.get("response"), "'response'")
            template = delexicalize_response(text, self.format.lexicon)
            domains = _find_domains(turn, template)
        except (ValueError, IsaacError) as error:
            return _mark_rejected(turn, error)
        bare = CorpusTurn(0, (), template.text, values=template.values)
        healed = self.pipeline.heal(self.healer.look(bare, domains))
        return {**turn, "response": healed.response, **_with_free_names(self._told(healed), turn)}

    def _heal_text(self, text: bytes, end: str = "") -> Iterator[str]:
        """Yield the pieces of a JSON text healed; ``end`` stands after each of its dialogues."""
        try:
            value = parse_json(text.decode("utf-8"))
            if isinstance(value, dict | list) and is_too_deep(value):
                raise RowError("JSON nested too deeply")
            if isinstance(value, list):
                yield from _join_json("[]", map(self._heal_dialogue, value), end)
            elif isinstance(value, Mapping) and self._is_collection(value):
                yield from _join_json(
                    "{}", itertools.starmap(self._heal_named_dialogue, value.items()), end
                )
            else:
                yield dumps(self.record(self._validate_record(value)))
        except RecipeError:
            raise
        except (ValueError, RecursionError, IsaacError) as error:
            yield dumps(
                {"isaac_action": "rejected", "isaac_reason": str(error), **encode_raw_bytes(text)}
            )

    def _validate_record(self, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise RowError("not a JSON object")
        if not self.format.fits(value):
            raise RowError(
                f"neither a record of '{self.format.name}' nor predictions, which are an object of "
                "dialogues, each a list of turns with a 'response'"
            )
        return value

    def _is_collection(self, value: Mapping[str, Any]) -> bool:
        """Say whether an object is one of dialogues: all predictions, or all records."""
        every = value.values()
        if self.format.fits(value):
            return False
        if all(isinstance(one, list) for one in every):
            turns = itertools.chain.from_iterable(every)
            return any(isinstance(turn, Mapping) and "response" in turn for turn in turns)
        return any(isinstance(one, Mapping) and self.format.fits(one) for one in every)

    def _heal_named_dialogue(self, name: str, value: Any) -> str:
        """Return a dialogue of an object with its name, healed, as it is written there."""
        if isinstance(value, list):
            return f"{dumps(name)}: {dumps([self.heal_prediction(turn) for turn in value])}"
        return f"{dumps(name)}: {self._heal_dialogue(value, name)}"

    def _heal_dialogue(self, value: Any, name: str | None = None) -> str:
        """Return a record of a document healed, or as it was with the reason."""
        lacking = name is not None and isinstance(value, Mapping) and "dialogue_id" not in value
        try:
            given = self._validate_record(value)
            made = self.record({"dialogue_id": name, **given} if lacking else given)
            return dumps({k: v for k, v in made.items() if k != "dialogue_id" or not lacking})
        except RecipeError:
            raise
        except (ValueError, RecursionError, IsaacError) as error:
            return dumps(_mark_rejected(value, error))

    def _told(self, healed: Healed) -> dict[str, Any]:
        columns = {
            "isaac_action": healed.action,
            "isaac_reason": healed.reason,
            "isaac_source_id": healed.source_id,
        }
        if self.pipeline.judge is not None:
            columns["isaac_verdict"] = healed.verdict
        return columns


def find_dialogue_format(curation: Curation, name: str | None = None) -> TaskOrientedFormat | None:
    """Return a run's format of dialogues, or that of a name, with the values of the run.

    These are the database's, or those that the run's own records note. None for a run of anything
    else. Raises `RecipeError` if the name is of no format of dialogues.
    """
    known, folder = curation.recipe.reading.format, curation.recipe.reading.database
    if known not in TASK_ORIENTED_FORMATS:
        return None
    if name is not None and name not in TASK_ORIENTED_FORMATS:
        raise RecipeError(
            f"a run of dialogues heals dialogues (came: --format {shorten(name)}); "
            f"there: {', '.join(TASK_ORIENTED_FORMATS)}"
        )
    records = (record for record, _ in curation.corpus.records())
    values = (
        lexicon_from_records(known, records) if folder is None else lexicon_from_database(folder)
    )
    return dataclasses.replace(TASK_ORIENTED_FORMATS[name or known], lexicon=values)


def _find_domains(turn: Mapping[str, Any], template: Template) -> frozenset[str]:
    """Return what a turn of predictions is about, told by itself or else by its slots."""
    told = turn.get("active_domains")
    if told is not None:
        return frozenset(parse_domains(told, "the turn")) - NON_DOMAINS
    return (
        frozenset(slot.partition("_")[0] for slot in template_slots(template)) - NON_DOMAINS
        or UNKNOWN_DOMAINS
    )


def _with_free_names(added: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    return {free_name(name, record): value for name, value in added.items()}


def _mark_rejected(value: Any, error: Exception) -> dict[str, Any]:
    """Return what cannot be used as it was, with the reason."""
    record = value if isinstance(value, Mapping) else {"raw": dumps(value)}
    added = {"isaac_action": "rejected", "isaac_reason": str(error)}
    return {**record, **_with_free_names(added, record)}


def _join_json(edges: str, texts: Iterable[str], end: str) -> Iterator[str]:
    """Yield the texts as a JSON array or object; ``end`` stands after each."""
    yield edges[0] + end
    last = ""
    for text in texts:
        if last:
            yield f"{last},{end or ' '}"
        last = text
    yield f"{last}{end if last else ''}{edges[1]}"


def _is_json(text: bytes) -> bool:
    """Say whether a text is JSON that is not cut off."""
    try:
        parse_json(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return True
