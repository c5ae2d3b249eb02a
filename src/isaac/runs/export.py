"""A curated corpus in the types that trainers read, with a dataset card."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pyarrow.compute as pc
import yaml

from ..corpus.records import dumps
from ..corpus.source_records import fill_from_json
from ..curation.curate import Curation
from ..errors import RunError
from ..text import make_printable
from .reports.rendering import render_template
from .run import Run

ExportType = Literal["sft", "messages", "dpo", "kto", "sharegpt", "alpaca"]
EXPORT_TYPES: tuple[ExportType, ...] = get_args(ExportType)

Json = dict[str, Any]
Messages = list[dict[str, str]]


class ExportItem(NamedTuple):
    """One target of one exchange, as an export sees it.

    ``better`` says that the response was drawn and is nearer to what the corpus agrees on than
    the original: more typical, or where the recipe weighs nothing but clusters, of the largest one.
    ``group`` is that of a turn of dialogues, empty for other responses.
    """

    prompt: Messages
    original: str
    response: str
    action: str
    target: int
    better: bool
    group: str = ""


def iter_items(curation: Curation, *, filled: bool = True) -> Iterator[ExportItem]:
    """Yield every target in order of id, but for conversations with tools.

    Their calls and results are no plain text, and no type here could carry them whole. Responses
    of dialogues have their values, unless they are not to be ``filled``.
    """
    prompts, responses = curation.corpus.column("prompt"), curation.corpus.column("response")
    written = curation.final_responses(np.arange(len(responses)))
    values, groups = curation.corpus.column("values"), curation.corpus.column("group")
    names = ("id", "source_id", "action", "target", "rank", "own_rank")
    columns = [curation.lineage.column(name).to_pylist() for name in names]
    first = curation.lineage.filter(pc.equal(curation.lineage.column("target"), 0))
    typical, weighted = first.column("typicality").to_pylist(), curation.recipe.weighted
    for row, source, action, target, rank, own_rank in zip(*columns, strict=True):
        prompt = json.loads(prompts[row])
        if action != "dropped" and not has_tool_calls(prompt):
            rises = typical[source] > typical[row] if weighted else rank == 1 < own_rank
            better = action == "replaced" and rises
            better |= action == "replaced" and source == row  # its own, trimmed
            group = "" if values[row] is None else groups[row]
            own = values[row] if filled else None
            given = fill_from_json(responses[row], own)
            drawn = fill_from_json(written[source], own)
            yield ExportItem(prompt, given, drawn, action, target, better, group)


def has_tool_calls(prompt: Messages) -> bool:
    """Say whether a conversation has a tool's result, or a turn that is only a call."""
    return any(message["role"] == "tool" or not message["content"] for message in prompt)


def _make_assistant_message(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _to_sft(item: ExportItem) -> Iterator[Json]:
    yield {"prompt": item.prompt, "completion": [_make_assistant_message(item.response)]}


def _to_messages(item: ExportItem) -> Iterator[Json]:
    yield {"messages": [*item.prompt, _make_assistant_message(item.response)]}


def _to_dpo(item: ExportItem) -> Iterator[Json]:
    """Prefer what was drawn to the row's own response, where it is the more common answer."""
    if item.better:
        yield {
            "prompt": item.prompt,
            "chosen": [_make_assistant_message(item.response)],
            "rejected": [_make_assistant_message(item.original)],
        }


def _to_kto(item: ExportItem) -> Iterator[Json]:
    """Want what was kept, or drawn and the more common answer; not what that replaced."""
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


SHAREGPT_ROLES = {"user": "human", "assistant": "gpt", "system": "system"}


def _to_sharegpt(item: ExportItem) -> Iterator[Json]:
    turns = [*item.prompt, _make_assistant_message(item.response)]
    yield {
        "conversations": [{"from": SHAREGPT_ROLES[t["role"]], "value": t["content"]} for t in turns]
    }


def _to_alpaca(item: ExportItem) -> Iterator[Json]:
    """Write one exchange a row; earlier turns stand in ``history`` as pairs.

    Where the model spoke twice in a row, its first turn ends the history and nothing is asked.
    """
    history = _pair_turns([message for message in item.prompt if message["role"] != "system"])
    asked = "" if history[-1][1] else history.pop()[0]
    system = [message["content"] for message in item.prompt if message["role"] == "system"]
    yield {
        "instruction": asked,
        "input": "",
        "output": item.response,
        "system": "\n\n".join(system),
        "history": history,
    }


def _pair_turns(said: Messages) -> list[list[str]]:
    """Return [question, answer] pairs; several turns of one side in a row become one."""
    sides: list[tuple[bool, str]] = []
    for message in said:
        answer = message["role"] == "assistant"
        if sides and sides[-1][0] == answer:
            sides[-1] = (answer, f"{sides[-1][1]}\n\n{message['content']}")
        else:
            sides.append((answer, message["content"]))
    if sides[0][0]:
        sides.insert(0, (False, ""))
    if not sides[-1][0]:
        sides.append((True, ""))
    return [[sides[i][1], sides[i + 1][1]] for i in range(0, len(sides), 2)]


ROW_CONVERTERS: dict[ExportType, Callable[[ExportItem], Iterator[Json]]] = {
    "sft": _to_sft,
    "messages": _to_messages,
    "dpo": _to_dpo,
    "kto": _to_kto,
    "sharegpt": _to_sharegpt,
    "alpaca": _to_alpaca,
}


class ExportResult(NamedTuple):
    """What was written, and how many exchanges with tools were left out."""

    folder: Path
    rows: int
    left_out: int


def export(
    run: Run, kind: ExportType, to: Path | None = None, *, licence: str = "unknown"
) -> ExportResult:
    """Write the run's corpus in one of the types, with a dataset card.

    The folder is ``RUN/export/KIND`` unless given; ``licence`` is the source's, by its name on
    the Hugging Face hub. Raises `RunError` if the run has no row of the kind.
    """
    folder = to or run.path / "export" / kind
    curation, count = run.curation(), 0
    left_out = sum(
        has_tool_calls(json.loads(prompt)) for prompt in curation.corpus.column("prompt")
    )
    with run.writing(folder / "train.jsonl") as lines:
        for item in iter_items(curation):
            for row in ROW_CONVERTERS[kind](item):
                lines.write(dumps(row) + "\n")
                count += 1
        if not count:
            raise RunError(_explain_no_rows(kind, left_out))
    written = ExportResult(folder, count, left_out)
    run.write(folder / "README.md", render_card(run, kind, written, licence))
    return written


def _explain_no_rows(kind: ExportType, left_out: int) -> str:
    why = "nothing was drawn that the corpus agrees on more than on the row's own response"
    if left_out:
        why = f"{left_out:,} conversations have tools, which an export cannot carry"
    return f"no rows for '{kind}': {why}"


TYPE_DESCRIPTIONS: dict[ExportType, str] = {
    "sft": "conversational prompt-completion (TRL's `SFTTrainer`)",
    "messages": "conversational language modelling (`messages`)",
    "dpo": "conversational preference with explicit prompt (TRL's `DPOTrainer`)",
    "kto": "conversational unpaired preference (TRL's `KTOTrainer`)",
    "sharegpt": "ShareGPT conversations",
    "alpaca": "Alpaca instructions",
}


def build_llama_factory_entry(kind: ExportType) -> Json | None:
    """Return LLaMA-Factory's ``dataset_info.json`` entry, None if it cannot read the type."""
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
    """Return all of LLaMA-Factory's tags: those that are not given, it takes for absent."""
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
    """Return the lines for Axolotl's configuration, None if it cannot read the type."""
    chat: Json = {"path": "train.jsonl", "ds_type": "json", "type": "chat_template"}
    last_turn_only: Json = {"roles_to_train": None, "train_on_eos": None}
    if kind == "messages":
        return {"datasets": [{**chat, "field_messages": "messages", **last_turn_only}]}
    if kind == "sharegpt":
        mappings = {"role": "from", "content": "value"}
        fields = {"field_messages": "conversations", "message_property_mappings": mappings}
        return {"datasets": [{**chat, **fields, **last_turn_only}]}
    if kind == "alpaca":
        return {"datasets": [{**chat, "type": "alpaca"}]}
    if kind == "dpo":
        chat["type"] = "chat_template.default"
        return {"rl": "dpo", "datasets": [{**chat, "field_messages": "prompt"}]}
    return None


def render_card(run: Run, kind: ExportType, written: ExportResult, licence: str) -> str:
    """Return the dataset card: what it is, where it comes from, how to train on it."""
    summary, settings = run.summary(), build_axolotl_config(kind)
    entry = build_llama_factory_entry(kind)
    values = {
        "summary": summary,
        "names": [make_printable(Path(given["name"]).name) for given in summary["inputs"]],
        "kind": kind,
        "type": TYPE_DESCRIPTIONS[kind],
        "rows": written.rows,
        "left_out": written.left_out,
        "license": yaml.safe_dump(licence).splitlines()[0],
        "size": _size_category(written.rows),
        "llama_factory": entry
        and json.dumps({"isaac": {"file_name": "train.jsonl", **entry}}, indent=2),
        "axolotl": settings and yaml.safe_dump(settings, sort_keys=False),
    }
    return render_template("card.md.jinja", values, autoescape=False)


def _size_category(rows: int) -> str:
    """Return the hub's name for a number of rows."""
    steps = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")]
    return next((name for limit, name in steps if rows < limit), "1M<n<10M")
