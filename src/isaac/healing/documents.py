"""Heal dialogues and predictions in their own layout, as JSON lines or as one JSON text."""

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
from ..curation.curate import Curation
from ..errors import IsaacError, RecipeError
from ..text import shorten
from .columns import (
    BYTE_ORDER_MARK,
    action_columns,
    reject_bytes,
    rejected_columns,
    with_free_names,
)
from .dialogue import UNKNOWN_DOMAINS, TrimmedTurn, TurnHealer
from .pipeline import HealingPipeline
from .sampler import Healed


class DialogueDocumentHealer:
    """Heals the turns of a system, in records of a dialogue format or in predictions.

    Predictions are an object of dialogues, each a list of turns with a ``response``, delexicalized
    or not.
    """

    def __init__(
        self,
        healer: TurnHealer,
        pipeline: HealingPipeline[TrimmedTurn],
        dialogue_format: TaskOrientedFormat,
    ) -> None:
        self.healer, self.pipeline, self.format = healer, pipeline, dialogue_format

    def heal_lines(self, lines: Iterable[bytes]) -> Iterator[str]:
        """Heal JSON lines, each before the next is read, or one JSON text of several lines.

        A line that cannot be used is returned unchanged, with the reason. A text of several lines
        is written with one dialogue per line.
        """
        stripped = (line.rstrip(b"\r\n") for line in lines if line.strip())
        first = next(stripped, b"").removeprefix(BYTE_ORDER_MARK)
        remaining: Iterator[bytes] = itertools.chain([first] if first else [], stripped)
        if first.lstrip()[:1] in (b"{", b"[") and not _is_json(first):
            all_lines = list(remaining)
            text, remaining = b"\n".join(all_lines), iter(all_lines)
            if _is_json(text):
                yield from (piece.removesuffix("\n") for piece in self._heal_text(text, "\n"))
                return
        for line in remaining:
            yield "".join(self._heal_text(line))

    def heal_record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Heal the system's turns of a record; each added column is a list with one item per turn.

        Raises `RowError` if none of its turns can be used.
        """
        turns = self.format.turns(record)
        healed = [self.pipeline.heal(self.healer.trim_turn(turn)) for turn in turns]
        result = dict(record)
        for turn, new in reversed([*zip(turns, healed, strict=True)]):
            if new.action not in ("kept", "abstained"):
                result = self.format.replace(result, turn.index, new.response)
        rows = [self._action_columns(new) for new in healed]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        numbers = [turn.index for turn in turns]
        return {**result, **with_free_names({"isaac_turn": numbers, **columns}, record)}

    def heal_prediction(self, turn: Any) -> dict[str, Any]:
        """Heal one turn of predictions; an unusable one is returned with the reason."""
        if self.pipeline.rephraser is not None:
            raise RecipeError(
                "a rephraser of dialogues needs a history and acts, which predictions lack; heal "
                "them without --model, or give the dialogues in their own layout"
            )
        try:
            if not isinstance(turn, Mapping):
                raise RowError("not an object with a 'response'")
            text = validate_text(turn.get("response"), "'response'")
            template = delexicalize_response(text, self.format.lexicon)
            domains = _find_domains(turn, template)
        except (ValueError, IsaacError) as error:
            return _mark_rejected(turn, error)
        delexicalized = CorpusTurn(0, (), template.text, values=template.values)
        healed = self.pipeline.heal(self.healer.trim_turn(delexicalized, domains))
        columns = with_free_names(self._action_columns(healed), turn)
        return {**turn, "response": healed.response, **columns}

    def _heal_text(self, text: bytes, end: str = "") -> Iterator[str]:
        """Yield a healed JSON text in pieces; ``end`` follows each of its dialogues."""
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
                yield dumps(self.heal_record(self._validate_record(value)))
        except RecipeError:
            raise
        except (ValueError, RecursionError, IsaacError) as error:
            yield dumps(reject_bytes(text, error))

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
        """Whether an object maps names to dialogues, either as predictions or as records."""
        dialogues = value.values()
        if self.format.fits(value):
            return False
        if all(isinstance(dialogue, list) for dialogue in dialogues):
            turns = itertools.chain.from_iterable(dialogues)
            return any(isinstance(turn, Mapping) and "response" in turn for turn in turns)
        return any(
            isinstance(dialogue, Mapping) and self.format.fits(dialogue) for dialogue in dialogues
        )

    def _heal_named_dialogue(self, name: str, value: Any) -> str:
        """Heal one dialogue of an object, and write it as JSON with its name."""
        if isinstance(value, list):
            return f"{dumps(name)}: {dumps([self.heal_prediction(turn) for turn in value])}"
        return f"{dumps(name)}: {self._heal_dialogue(value, name)}"

    def _heal_dialogue(self, value: Any, name: str | None = None) -> str:
        """Heal one record of a document; an unusable one is returned with the reason.

        The name of a record serves as its ``dialogue_id`` if it has none.
        """
        lacks_id = name is not None and isinstance(value, Mapping) and "dialogue_id" not in value
        try:
            record = self._validate_record(value)
            healed = self.heal_record({"dialogue_id": name, **record} if lacks_id else record)
            return dumps({k: v for k, v in healed.items() if k != "dialogue_id" or not lacks_id})
        except RecipeError:
            raise
        except (ValueError, RecursionError, IsaacError) as error:
            return dumps(_mark_rejected(value, error))

    def _action_columns(self, healed: Healed) -> dict[str, Any]:
        verdict = {} if self.pipeline.judge is None else {"isaac_verdict": healed.verdict}
        return {**action_columns(healed), **verdict}


def find_dialogue_format(curation: Curation, name: str | None = None) -> TaskOrientedFormat | None:
    """Find the dialogue format to heal with: the named one, or else that of the run.

    Its lexicon has the values in the run's database, or else those that the run's records annotate.
    None if the run has no dialogues. Raises `RecipeError` if the named format is not a dialogue
    format.
    """
    run_format, folder = curation.recipe.reading.format, curation.recipe.reading.database
    if run_format not in TASK_ORIENTED_FORMATS:
        return None
    if name is not None and name not in TASK_ORIENTED_FORMATS:
        raise RecipeError(
            f"a run of dialogues heals only dialogues, got --format {shorten(name)}; "
            f"available: {', '.join(TASK_ORIENTED_FORMATS)}"
        )
    if folder is None:
        records = (record for record, _ in curation.corpus.records())
        lexicon = lexicon_from_records(run_format, records)
    else:
        lexicon = lexicon_from_database(folder)
    return dataclasses.replace(TASK_ORIENTED_FORMATS[name or run_format], lexicon=lexicon)


def _find_domains(turn: Mapping[str, Any], template: Template) -> frozenset[str]:
    """Find the domains of a turn of predictions: its active domains, or else those of its slots."""
    active = turn.get("active_domains")
    if active is not None:
        return frozenset(parse_domains(active, "the turn")) - NON_DOMAINS
    return (
        frozenset(slot.partition("_")[0] for slot in template_slots(template)) - NON_DOMAINS
        or UNKNOWN_DOMAINS
    )


def _mark_rejected(value: Any, error: Exception) -> dict[str, Any]:
    """Make a record of an unusable value, unchanged, with the reason."""
    record = value if isinstance(value, Mapping) else {"raw": dumps(value)}
    return {**record, **with_free_names(rejected_columns(error), record)}


def _join_json(brackets: str, texts: Iterable[str], end: str) -> Iterator[str]:
    """Join texts as the items of a JSON array or object, in pieces; ``end`` follows each item."""
    yield brackets[0] + end
    last = ""
    for text in texts:
        if last:
            yield f"{last},{end or ' '}"
        last = text
    yield f"{last}{end if last else ''}{brackets[1]}"


def _is_json(text: bytes) -> bool:
    """Whether a text is complete JSON."""
    try:
        parse_json(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return True
