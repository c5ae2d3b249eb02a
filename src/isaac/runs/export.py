"""Export a curated corpus in the dataset types that trainers read, with a dataset card."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import yaml

from ..corpus.control_tokens import split_all
from ..corpus.records import dumps
from ..curation.curate import Curation
from ..errors import RunError
from ..text import shorten
from .export_items import ExportItem, Messages, has_tool_calls, iter_conversations, iter_items
from .export_trainers import (
    SIDE_FILES,
    ExportType,
    alternates,
    choose_settings,
    join_system_turns,
    pair_turns,
)
from .export_untrusted import Untrusted, check_untrusted, iter_dropped_rows, mark_trusted
from .reports.rendering import render_template
from .run import Run

ControlTokens = Literal["split", "drop", "keep"]
EXPORT_TYPES: tuple[ExportType, ...] = get_args(ExportType)

Json = dict[str, Any]


def _make_assistant_message(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _to_sft(item: ExportItem) -> Iterator[Json]:
    yield {"prompt": item.prompt, "completion": [_make_assistant_message(item.response)]}


def _to_dpo(item: ExportItem) -> Iterator[Json]:
    """Prefer the replacement to the original; no row unless the replacement is better.

    Spaces at the ends are removed: they are no reason to prefer a response, and Axolotl looks for
    the exact response in what a chat template makes of it, which is often without these spaces.
    """
    chosen, rejected = item.response.strip(), item.original.strip()
    if item.better and chosen != rejected:
        yield {
            "prompt": item.prompt,
            "chosen": [_make_assistant_message(chosen)],
            "rejected": [_make_assistant_message(rejected)],
        }


def _to_kto(item: ExportItem) -> Iterator[Json]:
    """Label kept responses and better replacements true, and what these replaced false.

    Spaces at the ends are removed, as in pairs.
    """
    desirable, undesirable = item.response.strip(), item.original.strip()
    texts = []
    if item.action == "kept" or item.better:
        texts.append((desirable, True))
    if item.better and item.target == 0 and desirable != undesirable:
        texts.append((undesirable, False))
    for text, label in texts:
        completion = [_make_assistant_message(text)]
        yield {"prompt": item.prompt, "completion": completion, "label": label}


def _to_alpaca(item: ExportItem) -> Iterator[Json]:
    """Write the last user turn as the instruction, and earlier turns as pairs in ``history``.

    If the last turn before the response is the assistant's, the instruction is empty and that turn
    ends the history.
    """
    history = pair_turns(item.prompt)
    instruction = "" if history[-1][1] else history.pop()[0]
    yield {
        "instruction": instruction,
        "input": "",
        "output": item.response,
        "system": join_system_turns(item.prompt),
        "history": history,
    }


ITEM_CONVERTERS: dict[ExportType, Callable[[ExportItem], Iterator[Json]]] = {
    "sft": _to_sft,
    "dpo": _to_dpo,
    "kto": _to_kto,
    "alpaca": _to_alpaca,
}
"""The types with a row for each turn."""


def join_messages(items: list[ExportItem]) -> Messages:
    """Join the turns of a conversation, each message with flags that say whether to train on it.

    Only curated responses are trained on. ``train`` is the flag of Axolotl, ``loss`` that of
    ms-swift, and ``weight`` (0 or 1, for the assistant only) that of OpenAI's and Mistral's
    services. Every message has its flags, because a flag that first comes late in a file changes
    the type of its column, and `datasets` then cannot load the file.
    """
    responses = {len(item.prompt): item.response for item in items}
    messages: Messages = []
    for position, message in enumerate(items[-1].prompt):
        if position in responses:
            messages.append(_flag(_make_assistant_message(responses[position]), train=True))
        else:
            messages.append(_flag(message, train=False))
    return [*messages, _flag(_make_assistant_message(items[-1].response), train=True)]


def _flag(message: Json, *, train: bool) -> Json:
    flags: Json = {"train": train, "loss": train}
    if message["role"] == "assistant":
        flags["weight"] = int(train)
    return {**message, **flags}


SHAREGPT_ROLES = {"user": "human", "assistant": "gpt", "system": "system"}


def _to_sharegpt(messages: Messages) -> Json:
    turns = [
        {
            "from": SHAREGPT_ROLES[message["role"]],
            "value": message["content"],
            **{flag: message[flag] for flag in ("train", "loss", "weight") if flag in message},
        }
        for message in messages
    ]
    return {"conversations": turns}


CONVERSATION_CONVERTERS: dict[ExportType, Callable[[Messages], Json]] = {
    "messages": lambda messages: {"messages": messages},
    "sharegpt": _to_sharegpt,
}
"""The types with a row for each conversation."""


class ExportRow(NamedTuple):
    """A row of an export, and what its card counts.

    ``curated`` and ``masked`` are the numbers of assistant messages to train on and not to train
    on. ``regular`` is whether user and assistant take turns in the conversation, ``control``
    whether its texts have control tokens of chat templates.
    """

    row: Json
    curated: int = 1
    masked: int = 0
    regular: bool = True
    control: bool = False


def iter_export_rows(
    curation: Curation, kind: ExportType, tokens: ControlTokens = "split"
) -> Iterator[ExportRow]:
    """Yield the rows of an export: one per turn and target, or per conversation and target.

    With ``tokens`` "split", control tokens of chat templates in their texts are taken apart.
    """
    for row in _convert_items(curation, kind):
        yield _handle_tokens(row, tokens)


def _handle_tokens(row: ExportRow, tokens: ControlTokens) -> ExportRow:
    """Mark a row that has control tokens, and take them apart if that is asked for."""
    split = split_all(row.row)
    if split == row.row:
        return row
    return row._replace(row=split if tokens == "split" else row.row, control=True)


def _convert_items(curation: Curation, kind: ExportType) -> Iterator[ExportRow]:
    if kind in ITEM_CONVERTERS:
        for item in iter_items(curation):
            regular = alternates([*item.prompt, _make_assistant_message(item.response)])
            for row in ITEM_CONVERTERS[kind](item):
                yield ExportRow(row, regular=regular)
        return
    for items in iter_conversations(curation):
        messages = join_messages(items)
        spoken = sum(message["role"] == "assistant" for message in messages)
        row = CONVERSATION_CONVERTERS[kind](messages)
        yield ExportRow(row, len(items), spoken - len(items), alternates(messages))


class ExportResult(NamedTuple):
    """The folder of an export, and numbers for its card.

    ``left_out`` counts the exchanges left out for tool calls, ``masked`` the assistant messages
    that are not to be trained on, and ``irregular`` the rows in which user and assistant do not
    take turns. ``several`` is whether any row has several curated turns; for alpaca, ``history``
    is whether any has earlier turns, and ``context`` whether any has these or a system turn.
    ``control`` counts the rows with control tokens of chat templates, and ``tokens`` says what
    happened to these.
    """

    folder: Path
    rows: int
    left_out: int
    masked: int = 0
    several: bool = False
    irregular: int = 0
    history: bool = False
    context: bool = False
    control: int = 0
    tokens: ControlTokens = "split"


def export(
    run: Run,
    kind: ExportType,
    to: Path | None = None,
    *,
    licence: str = "unknown",
    untrusted: Untrusted = "omit",
    tokens: ControlTokens = "split",
) -> ExportResult:
    """Write the curated corpus as ``train.jsonl`` in one of the types, with a dataset card.

    ``to`` is the folder, by default ``RUN/export/KIND``. ``licence`` is the license of the source
    corpus, as an identifier of the Hugging Face hub such as "mit". ``untrusted`` is what happens to
    the dropped rows. Pairs and KTO rows are written a second time for trainers that do not read
    TRL's columns. ``tokens`` is what happens to control tokens of chat templates in texts, such as
    ``<|im_end|>``: "split" takes them apart, "drop" leaves out their rows, and "keep" keeps them,
    so that they can end a turn when a trainer reads them. Raises `RunError` if no row can be
    exported as this type, and `RecipeError` if it cannot use the dropped rows.
    """
    run.require_corpus()
    check_untrusted(kind, untrusted)
    folder, curation = to or run.path / "export" / kind, run.curation()
    left_out = sum(
        has_tool_calls(json.loads(prompt)) for prompt in curation.corpus.column("prompt")
    )
    how = RowOptions(untrusted, tokens)
    if all(how.drops(row) for row in _iter_rows(curation, kind, how)):
        raise RunError(_explain_no_rows(curation, kind, left_out))
    result = ExportResult(folder, 0, left_out, tokens=tokens)
    with ExitStack() as files:
        lines = files.enter_context(run.writing(folder / "train.jsonl"))
        others = [
            (files.enter_context(run.writing(folder / name)), convert)
            for name, convert in SIDE_FILES.get(kind, {}).items()
        ]
        for row in _arrange_rows(curation, kind, how):
            result = result._replace(control=result.control + row.control)
            if how.drops(row):
                continue
            lines.write(dumps(row.row) + "\n")
            for file, convert in others:
                file.write(dumps(convert(row.row)) + "\n")
            result = _count(result, row)
    run.write(folder / "README.md", render_card(run, kind, result, licence))
    return result


class RowOptions(NamedTuple):
    """What happens to dropped rows, and to control tokens."""

    untrusted: Untrusted
    tokens: ControlTokens

    def drops(self, row: ExportRow) -> bool:
        """Whether a row is left out for its control tokens."""
        return self.tokens == "drop" and row.control


def _iter_rows(curation: Curation, kind: ExportType, how: RowOptions) -> Iterator[ExportRow]:
    """Yield the rows of the curated corpus, and after them the dropped ones that are wanted."""
    for row in iter_export_rows(curation, kind, how.tokens):
        yield row._replace(row=mark_trusted(row.row, how.untrusted))
    if kind in ITEM_CONVERTERS:
        for dropped in iter_dropped_rows(curation, how.untrusted, ITEM_CONVERTERS[kind]):
            yield _handle_tokens(ExportRow(dropped), how.tokens)


def _arrange_rows(curation: Curation, kind: ExportType, how: RowOptions) -> Iterator[ExportRow]:
    """Yield the rows in an order in which `datasets` can load them.

    It takes the type of a column from the first ten megabytes and cannot change it later if that
    part has nothing but empty lists. So a row with a history comes first, or no row has the column.
    """
    rows = _iter_rows(curation, kind, how)
    if kind != "alpaca":
        yield from rows
        return
    first = next(((i, row) for i, row in enumerate(rows) if row.row["history"]), None)
    rows = _iter_rows(curation, kind, how)
    if first is None:
        for row in rows:
            del row.row["history"]
            yield row
        return
    yield first[1]
    yield from (row for i, row in enumerate(rows) if i != first[0])


def _count(result: ExportResult, row: ExportRow) -> ExportResult:
    history = bool(row.row.get("history"))
    return result._replace(
        rows=result.rows + 1,
        masked=result.masked + row.masked,
        several=result.several or row.curated > 1,
        irregular=result.irregular + (not row.regular),
        history=result.history or history,
        context=result.context or history or bool(row.row.get("system")),
    )


def _explain_no_rows(curation: Curation, kind: ExportType, left_out: int) -> str:
    pairs, mode = "draw pairs: isaac redraw RUN --mode pairs", curation.recipe.mode
    if left_out == len(curation.corpus):
        reason = f"all {left_out:,} exchanges have tool calls, which no export type can hold"
    elif mode == "filter":
        reason = f"mode filter keeps or drops responses and replaces none; {pairs}"
    else:
        reason = f"no response was replaced by one that is preferred to it; {pairs}"
    return f"no rows for '{kind}': {reason}"


TYPE_DESCRIPTIONS: dict[ExportType, str] = {
    "sft": "conversational prompt-completion (TRL's `SFTTrainer`)",
    "messages": "conversational language modeling (`messages`)",
    "dpo": "conversational preference with an explicit prompt (TRL's `DPOTrainer`)",
    "kto": "conversational unpaired preference (TRL's `KTOTrainer`)",
    "sharegpt": "ShareGPT conversations",
    "alpaca": "Alpaca instructions",
}


def render_card(run: Run, kind: ExportType, result: ExportResult, licence: str) -> str:
    """Render the dataset card: what the rows are, where they are from, how to train on them."""
    summary, settings = (
        run.summary(),
        choose_settings(kind, history=result.history, context=result.context),
    )
    entry = settings.llama_factory
    values = {
        **result._asdict(),
        "summary": summary,
        "names": [Path(digest["name"]).name for digest in summary["inputs"]],
        "kind": kind,
        "type": TYPE_DESCRIPTIONS[kind],
        "license": shorten(licence, 300),
        "size": _size_category(result.rows),
        "llama_factory": entry and json.dumps({"isaac": entry}, indent=2),
        "axolotl": settings.axolotl and yaml.safe_dump(settings.axolotl, sort_keys=False),
        "swift": settings.swift,
    }
    return render_template("card.md.jinja", values, autoescape=False)


def _size_category(rows: int) -> str:
    """The Hugging Face hub's size category for a number of rows."""
    steps = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")]
    return next((name for limit, name in steps if rows < limit), "1M<n<10M")
