"""Export a curated corpus in the dataset types that trainers read, with a dataset card."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import yaml

from ..corpus.records import dumps
from ..curation.curate import Curation
from ..errors import RunError
from ..text import make_printable
from .export_items import ExportItem, Messages, has_tool_calls, iter_conversations, iter_items
from .export_untrusted import Untrusted, check_untrusted, iter_dropped_rows, mark_trusted
from .reports.rendering import render_template
from .run import Run

ExportType = Literal["sft", "messages", "dpo", "kto", "sharegpt", "alpaca"]
EXPORT_TYPES: tuple[ExportType, ...] = get_args(ExportType)

Json = dict[str, Any]


def _make_assistant_message(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _to_sft(item: ExportItem) -> Iterator[Json]:
    yield {"prompt": item.prompt, "completion": [_make_assistant_message(item.response)]}


def _to_dpo(item: ExportItem) -> Iterator[Json]:
    """Prefer the replacement to the original; no row unless the replacement is better."""
    if item.better:
        yield {
            "prompt": item.prompt,
            "chosen": [_make_assistant_message(item.response)],
            "rejected": [_make_assistant_message(item.original)],
        }


def _to_kto(item: ExportItem) -> Iterator[Json]:
    """Label kept responses and better replacements true, and what these replaced false."""
    if item.action == "kept" or item.better:
        yield {
            "prompt": item.prompt,
            "completion": [_make_assistant_message(item.response)],
            "label": True,
        }
    if item.better and item.target == 0:
        yield {
            "prompt": item.prompt,
            "completion": [_make_assistant_message(item.original)],
            "label": False,
        }


def _to_alpaca(item: ExportItem) -> Iterator[Json]:
    """Write the last user turn as the instruction, and earlier turns as pairs in ``history``.

    If the last turn before the response is the assistant's, the instruction is empty and that turn
    ends the history.
    """
    history = _pair_turns([message for message in item.prompt if message["role"] != "system"])
    instruction = "" if history[-1][1] else history.pop()[0]
    system = [message["content"] for message in item.prompt if message["role"] == "system"]
    yield {
        "instruction": instruction,
        "input": "",
        "output": item.response,
        "system": "\n\n".join(system),
        "history": history,
    }


def _pair_turns(messages: Messages) -> list[list[str]]:
    """Group messages into [user, assistant] pairs; consecutive turns of one side are joined.

    A first turn of the assistant gets an empty user turn, a last user turn an empty answer.
    """
    turns: list[tuple[bool, str]] = []
    for message in messages:
        is_answer = message["role"] == "assistant"
        if turns and turns[-1][0] == is_answer:
            turns[-1] = (is_answer, f"{turns[-1][1]}\n\n{message['content']}")
        else:
            turns.append((is_answer, message["content"]))
    if turns[0][0]:
        turns.insert(0, (False, ""))
    if not turns[-1][0]:
        turns.append((True, ""))
    return [[turns[i][1], turns[i + 1][1]] for i in range(0, len(turns), 2)]


ITEM_CONVERTERS: dict[ExportType, Callable[[ExportItem], Iterator[Json]]] = {
    "sft": _to_sft,
    "dpo": _to_dpo,
    "kto": _to_kto,
    "alpaca": _to_alpaca,
}
"""The types with a row for each turn."""


def join_messages(items: list[ExportItem]) -> Messages:
    """Join the turns of a conversation; assistant messages that are not curated get weight 0."""
    responses = {len(item.prompt): item.response for item in items}
    messages: Messages = []
    for position, message in enumerate(items[-1].prompt):
        if position in responses:
            messages.append(_make_assistant_message(responses[position]))
        elif message["role"] == "assistant":
            messages.append({**message, "weight": 0})
        else:
            messages.append(message)
    return [*messages, _make_assistant_message(items[-1].response)]


SHAREGPT_ROLES = {"user": "human", "assistant": "gpt", "system": "system"}


def _to_sharegpt(messages: Messages) -> Json:
    turns = [
        {"from": SHAREGPT_ROLES[message["role"]], "value": message["content"]}
        | ({"weight": 0} if "weight" in message else {})
        for message in messages
    ]
    return {"conversations": turns}


CONVERSATION_CONVERTERS: dict[ExportType, Callable[[Messages], Json]] = {
    "messages": lambda messages: {"messages": messages},
    "sharegpt": _to_sharegpt,
}
"""The types with a row for each conversation."""


class ExportRow(NamedTuple):
    """A row of an export, with its numbers of curated turns and of those with weight 0."""

    row: Json
    curated: int = 1
    masked: int = 0


def iter_export_rows(curation: Curation, kind: ExportType) -> Iterator[ExportRow]:
    """Yield the rows of an export: one per turn and target, or per conversation and target."""
    if kind in ITEM_CONVERTERS:
        for item in iter_items(curation):
            yield from map(ExportRow, ITEM_CONVERTERS[kind](item))
        return
    for items in iter_conversations(curation):
        messages = join_messages(items)
        masked = sum("weight" in message for message in messages)
        yield ExportRow(CONVERSATION_CONVERTERS[kind](messages), len(items), masked)


class ExportResult(NamedTuple):
    """The folder of an export, and numbers for its card.

    ``left_out`` counts the exchanges left out for tool calls, ``masked`` the assistant messages
    with weight 0. ``several`` is whether any row has several curated turns.
    """

    folder: Path
    rows: int
    left_out: int
    masked: int = 0
    several: bool = False


def export(
    run: Run,
    kind: ExportType,
    to: Path | None = None,
    *,
    licence: str = "unknown",
    untrusted: Untrusted = "omit",
) -> ExportResult:
    """Write the curated corpus as ``train.jsonl`` in one of the types, with a dataset card.

    ``to`` is the folder, by default ``RUN/export/KIND``. ``licence`` is the license of the source
    corpus, as an identifier of the Hugging Face hub such as "mit". ``untrusted`` is what happens to
    the dropped rows. Raises `RunError` if no row can be exported as this type, and `RecipeError` if
    it cannot use the dropped rows.
    """
    run.require_corpus()
    check_untrusted(kind, untrusted)
    folder = to or run.path / "export" / kind
    curation, count, masked, several = run.curation(), 0, 0, False
    left_out = sum(
        has_tool_calls(json.loads(prompt)) for prompt in curation.corpus.column("prompt")
    )
    with run.writing(folder / "train.jsonl") as lines:
        for row in iter_export_rows(curation, kind):
            lines.write(dumps(mark_trusted(row.row, untrusted)) + "\n")
            count, masked = count + 1, masked + row.masked
            several = several or row.curated > 1
        if kind in ITEM_CONVERTERS:
            for dropped in iter_dropped_rows(curation, untrusted, ITEM_CONVERTERS[kind]):
                lines.write(dumps(dropped) + "\n")
                count += 1
        if not count:
            raise RunError(_explain_no_rows(kind, left_out))
    result = ExportResult(folder, count, left_out, masked, several)
    run.write(folder / "README.md", render_card(run, kind, result, licence))
    return result


def _explain_no_rows(kind: ExportType, left_out: int) -> str:
    reason = (
        "no response was replaced by one that is preferred to it; draw pairs: isaac redraw RUN "
        "--mode pairs"
    )
    if left_out:
        reason = f"{left_out:,} conversations have tool calls, which no export type can hold"
    return f"no rows for '{kind}': {reason}"


TYPE_DESCRIPTIONS: dict[ExportType, str] = {
    "sft": "conversational prompt-completion (TRL's `SFTTrainer`)",
    "messages": "conversational language modeling (`messages`)",
    "dpo": "conversational preference with an explicit prompt (TRL's `DPOTrainer`)",
    "kto": "conversational unpaired preference (TRL's `KTOTrainer`)",
    "sharegpt": "ShareGPT conversations",
    "alpaca": "Alpaca instructions",
}


def build_llama_factory_entry(kind: ExportType) -> Json | None:
    """The entry for LLaMA-Factory's ``dataset_info.json``; None if it cannot read the type."""
    if kind == "messages":
        tags = _build_llama_factory_tags("role", "content", "user", "assistant")
        return {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    if kind == "sharegpt":
        tags = _build_llama_factory_tags("from", "value", "human", "gpt")
        return {"formatting": "sharegpt", "columns": {"messages": "conversations"}, "tags": tags}
    if kind == "alpaca":
        columns = {"prompt": "instruction", "query": "input", "response": "output"}
        columns |= {"system": "system", "history": "history"}
        return {"formatting": "alpaca", "columns": columns}
    return None


def _build_llama_factory_tags(role: str, content: str, user: str, assistant: str) -> dict[str, str]:
    """All of LLaMA-Factory's tags: it does not fill in defaults for missing ones."""
    return {
        "role_tag": role,
        "content_tag": content,
        "user_tag": user,
        "assistant_tag": assistant,
        "observation_tag": "observation",
        "function_tag": "function_call",
        "system_tag": "system",
    }


def build_axolotl_config(kind: ExportType) -> Json | None:
    """The settings for Axolotl's configuration; None if it cannot read the type."""
    chat: Json = {"path": "train.jsonl", "ds_type": "json", "type": "chat_template"}
    # Axolotl reads weight 0 as "do not train on this message"; a missing weight changes nothing.
    by_weight: Json = {"message_field_training": "weight"}
    if kind == "messages":
        return {"datasets": [{**chat, "field_messages": "messages", **by_weight}]}
    if kind == "sharegpt":
        mappings = {"role": "from", "content": "value"}
        fields = {"field_messages": "conversations", "message_property_mappings": mappings}
        return {"datasets": [{**chat, **fields, **by_weight}]}
    if kind == "alpaca":
        return {"datasets": [{**chat, "type": "alpaca"}]}
    if kind == "dpo":
        chat["type"] = "chat_template.default"
        return {"rl": "dpo", "datasets": [{**chat, "field_messages": "prompt"}]}
    return None


def render_card(run: Run, kind: ExportType, result: ExportResult, licence: str) -> str:
    """Render the dataset card: what the rows are, where they are from, how to train on them."""
    summary, axolotl = run.summary(), build_axolotl_config(kind)
    entry = build_llama_factory_entry(kind)
    values = {
        "summary": summary,
        "names": [make_printable(Path(digest["name"]).name) for digest in summary["inputs"]],
        "kind": kind,
        "type": TYPE_DESCRIPTIONS[kind],
        "rows": result.rows,
        "left_out": result.left_out,
        "masked": result.masked,
        "several": result.several,
        "license": yaml.safe_dump(licence).splitlines()[0],
        "size": _size_category(result.rows),
        "llama_factory": entry
        and json.dumps({"isaac": {"file_name": "train.jsonl", **entry}}, indent=2),
        "axolotl": axolotl and yaml.safe_dump(axolotl, sort_keys=False),
    }
    return render_template("card.md.jinja", values, autoescape=False)


def _size_category(rows: int) -> str:
    """The Hugging Face hub's size category for a number of rows."""
    steps = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")]
    return next((name for limit, name in steps if rows < limit), "1M<n<10M")
