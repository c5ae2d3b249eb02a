"""Heal JSON lines with a finished run, whether it holds exchanges or task-oriented dialogues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..corpus.corpus import format_context
from ..corpus.formats import (
    FORMATS,
    Format,
    MappedFormat,
    RowError,
    choose_format,
    with_roles,
)
from ..corpus.records import dumps, parse_json
from ..curation.resources import Tools
from ..errors import CorpusError, IsaacError, RecipeError
from ..models.judges import Judge
from ..reading_options import ReadingOptions
from ..runs.run import Run
from .columns import BYTE_ORDER_MARK, action_columns, reject_bytes, with_free_names
from .dialogue import TurnHealer
from .documents import DialogueDocumentHealer, find_dialogue_format
from .healer import Healer, require_no_bounds
from .pipeline import MAX_TRIES, ExchangePipeline, HealingPipeline, ResponseRewriter
from .sampler import Healed


class LineHealer(Protocol):
    """Heals records, one JSON object per line, and returns them in the same layout."""

    @property
    def pipeline(self) -> HealingPipeline[Any]:
        """The pipeline that heals each response and counts failures of judge and rephraser."""
        ...

    def heal_lines(self, lines: Iterable[bytes]) -> Iterator[str]:
        """Heal lines, each before the next is read.

        A line that cannot be used is returned unchanged, with the reason.
        """
        ...

    def heal_record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Heal one record, and add the columns that say what was done.

        Raises `RowError` or `CorpusError` if the record cannot be used.
        """
        ...


class HealingSettings(NamedTuple):
    """How records are healed.

    ``fallback`` and ``tries`` are as for `HealingPipeline`, ``min_fit`` and ``min_similarity`` as
    for `Healer`.
    """

    fallback: str | None = None
    tries: int = MAX_TRIES
    min_fit: float | None = None
    min_similarity: float | None = None


def open_healer(
    run: Run,
    *,
    judge: Judge | str | None = None,
    model: Path | None = None,
    settings: HealingSettings | None = None,
    reading: ReadingOptions | None = None,
    tools: Tools | None = None,
) -> LineHealer:
    """Load everything needed to heal records with a finished run.

    ``judge`` is a judge or its name, and ``model`` the folder of a rephraser; see
    `HealingPipeline` for what they do. ``reading`` has the format or the columns of the records,
    if they differ from those of the run. With a run of task-oriented dialogues, every turn of the
    system is healed; otherwise, the last response of each record. Raises `IsaacError` if the run,
    the judge or the rephraser cannot be used, or if the method does not apply to the run's corpus
    and the run was not forced.
    """
    run.require_corpus()
    curation, reading = run.curation(), reading or ReadingOptions()
    settings = settings or HealingSettings()
    judge = (tools or Tools()).judge(judge) if isinstance(judge, str) else judge
    rephraser = _load_rephraser(model)
    dialogue_format = find_dialogue_format(curation, reading.format)
    bounds = {"min_fit": settings.min_fit, "min_similarity": settings.min_similarity}
    if dialogue_format is None:
        reading = override_input_format(curation.recipe.reading, reading)
        healer = Healer(curation, tools, **bounds)
        exchange_pipeline = ExchangePipeline(
            healer, judge, rephraser, settings.fallback, settings.tries
        )
        return ExchangeLineHealer(exchange_pipeline, reading)
    require_no_bounds(**bounds, why="this run has dialogues, whose turns are drawn by their acts")
    _check_delexicalized_rephraser(model)
    turn_healer = TurnHealer(curation, tools)
    pipeline = HealingPipeline(turn_healer, judge, rephraser, settings.fallback, settings.tries)
    return DialogueDocumentHealer(turn_healer, pipeline, dialogue_format)


def _load_rephraser(folder: Path | None) -> ResponseRewriter | None:
    if folder is None:
        return None
    from ..models.chat.rephraser import load_rephraser

    rephraser: ResponseRewriter = load_rephraser(folder)
    return rephraser


def _check_delexicalized_rephraser(folder: Path | None) -> None:
    """Raise `RecipeError` if a rephraser was not trained on delexicalized turns."""
    if folder is None:
        return
    from ..models.chat.rephraser import WITHOUT_VALUES, read_metadata

    if not read_metadata(folder).get(WITHOUT_VALUES):
        raise RecipeError(
            f"the rephraser in {folder} was trained on whole responses, so it would lose values; "
            "train one on a run of dialogues: isaac train rephraser RUN"
        )


def override_input_format(run: ReadingOptions, override: ReadingOptions) -> ReadingOptions:
    """Choose how to read records: with the format or columns of ``override``, else like the run.

    Raises `CorpusError` if the format is unknown.
    """
    if override.format is override.context is override.response is None and not override.map:
        return run.model_copy(update={"role": (*run.role, *override.role)})
    if override.format is not None and override.format not in FORMATS:
        raise CorpusError(f"no format '{override.format}'; available: {', '.join(FORMATS)}")
    return override


def detect_record_format(record: Mapping[str, Any], reading: ReadingOptions) -> Format:
    """Choose the format of a record, or detect it if the record lacks the expected columns."""
    mapped = MappedFormat.of(reading.map) if {"turns", "context"} & set(reading.map) else None
    if mapped is not None and mapped.fits(record):
        return with_roles(mapped, reading.roles)
    return with_roles(_choose_record_format(record, reading), reading.roles)


def _choose_record_format(record: Mapping[str, Any], reading: ReadingOptions) -> Format:
    try:
        return choose_format(
            [record], name=reading.format, context=reading.context, response=reading.response
        )
    except CorpusError:
        if reading.response is not None:
            with suppress(CorpusError):
                return choose_format([record], name=reading.format)
        raise


class ExchangeLineHealer:
    """Heals the last response of each record; see `LineHealer`."""

    def __init__(self, pipeline: ExchangePipeline, reading: ReadingOptions) -> None:
        self.pipeline, self.reading = pipeline, reading

    def heal_lines(self, lines: Iterable[bytes]) -> Iterator[str]:
        """Heal lines, each before the next is read; blank lines are skipped."""
        for number, line in enumerate(lines, start=1):
            raw = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
            if raw.strip():
                yield dumps(self._heal_line(raw.rstrip(b"\r\n")))

    def heal_record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Heal the last response of a record, and add the columns that say what was done.

        Raises `RowError` or `CorpusError` if the record cannot be used.
        """
        record_format = detect_record_format(record, self.reading)
        turn = record_format.turns(record)[-1]
        healed = self.pipeline.heal_exchange(format_context(turn.prompt), turn.response)
        if healed.response != turn.response:
            record = record_format.replace(record, turn.index, healed.response)
        columns = exchange_columns(healed, judged=self.pipeline.judge is not None)
        return {**record, **with_free_names(columns, record)}

    def _heal_line(self, line: bytes) -> dict[str, Any]:
        try:
            record = parse_json(line.decode("utf-8"))
            if not isinstance(record, dict):
                raise RowError("not a JSON object")
            return self.heal_record(record)
        except (ValueError, RecursionError, IsaacError) as error:
            return reject_bytes(line, error)


def exchange_columns(healed: Healed, *, judged: bool) -> dict[str, Any]:
    """The columns that are added to a record; ``judged`` adds the verdict of the judge."""
    columns = {
        **action_columns(healed),
        "isaac_confidence": _round(healed.confidence),
        "isaac_typicality": _round(healed.typicality or 0.0),
    }
    if healed.trust is None:
        columns["isaac_probability"] = _round(healed.probability)
    else:
        columns["isaac_trust"] = _round(healed.trust)
        columns["isaac_fit"] = _round(healed.fit)
        columns["isaac_similarity"] = _round(healed.similarity)
    return {**columns, "isaac_verdict": healed.verdict} if judged else columns


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
