"""What LLaMA-Factory, Axolotl and ms-swift need to read an export: settings, and rows of theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from .export_items import Messages

ExportType = Literal["sft", "messages", "dpo", "kto", "sharegpt", "alpaca"]

Json = dict[str, Any]

LLAMA_FACTORY_FILE = "llama-factory.jsonl"
SWIFT_FILE = "ms-swift.jsonl"


def join_system_turns(messages: Messages) -> str:
    """Join the texts of the system turns; empty if there are none."""
    return "\n\n".join(message["content"] for message in messages if message["role"] == "system")


def pair_turns(messages: Messages) -> list[list[str]]:
    """Group the other turns into [user, assistant] pairs; consecutive turns of one side are joined.

    A first turn of the assistant gets an empty user turn, a last user turn an empty answer.
    """
    turns: list[tuple[bool, str]] = []
    for message in messages:
        if message["role"] == "system":
            continue
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


def alternate(prompt: Messages) -> Messages:
    """The same prompt as one system turn at most, then the user and the assistant in turn.

    It ends with the user; that turn is empty if the assistant spoke last.
    """
    *earlier, last = pair_turns(prompt)
    if last[1]:
        earlier, last = [*earlier, last], ["", ""]
    system = join_system_turns(prompt)
    messages: Messages = [{"role": "system", "content": system}] if system else []
    for question, answer in earlier:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    return [*messages, {"role": "user", "content": last[0]}]


def alternates(messages: Messages) -> bool:
    """Whether user and assistant take turns, after one system turn at most, and the user begins."""
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    return all(role == ("user", "assistant")[i % 2] for i, role in enumerate(turns))


def _to_llama_factory_pair(row: Json) -> Json:
    """LLaMA-Factory takes the two answers as messages, TRL as lists of messages."""
    chosen, rejected = row["chosen"][-1], row["rejected"][-1]
    return {"messages": alternate(row["prompt"]), "chosen": chosen, "rejected": rejected}


def _to_labeled_messages(row: Json) -> Json:
    return {"messages": [*alternate(row["prompt"]), *row["completion"]], "label": row["label"]}


def _to_swift_pair(row: Json) -> Json:
    messages = [*alternate(row["prompt"]), *row["chosen"]]
    return {"messages": messages, "rejected_response": row["rejected"][-1]["content"]}


SIDE_FILES: dict[ExportType, dict[str, Callable[[Json], Json]]] = {
    "dpo": {LLAMA_FACTORY_FILE: _to_llama_factory_pair, SWIFT_FILE: _to_swift_pair},
    "kto": {LLAMA_FACTORY_FILE: _to_labeled_messages},
}
"""Files with the same rows for trainers that do not read TRL's columns."""


class TrainerSettings(NamedTuple):
    """How three trainers read an export; None for one that cannot.

    ``llama_factory`` is the entry of its ``dataset_info.json``, ``axolotl`` a part of its
    configuration, and ``swift`` are the arguments of ``swift sft`` or ``swift rlhf``.
    """

    llama_factory: Json | None
    axolotl: Json | None
    swift: str | None


def choose_settings(kind: ExportType, *, history: bool, context: bool) -> TrainerSettings:
    """Choose the settings for an export.

    For alpaca, ``history`` is whether the rows have this column, and ``context`` whether any has
    earlier turns or a system turn, which Axolotl's type ``alpaca`` leaves out.
    """
    entry = _build_llama_factory_entry(kind)
    if kind == "alpaca" and entry and not history:
        del entry["columns"]["history"]
    return TrainerSettings(
        entry,
        None if kind == "alpaca" and context else _build_axolotl_config(kind),
        _build_swift_arguments(kind),
    )


def _build_llama_factory_entry(kind: ExportType) -> Json | None:
    messages = {"formatting": "sharegpt", "columns": {"messages": "messages"}}
    messages["tags"] = _build_llama_factory_tags("role", "content", "user", "assistant")
    if kind == "messages":
        return {"file_name": "train.jsonl", **messages}
    if kind == "sharegpt":
        tags = _build_llama_factory_tags("from", "value", "human", "gpt")
        columns = {"messages": "conversations"}
        return {"file_name": "train.jsonl", **messages, "columns": columns, "tags": tags}
    if kind == "alpaca":
        columns = {"prompt": "instruction", "query": "input", "response": "output"}
        columns |= {"system": "system", "history": "history"}
        return {"file_name": "train.jsonl", "formatting": "alpaca", "columns": columns}
    if kind == "dpo":
        columns = {"messages": "messages", "chosen": "chosen", "rejected": "rejected"}
        return {"file_name": LLAMA_FACTORY_FILE, "ranking": True, **messages, "columns": columns}
    if kind == "kto":
        columns = {"messages": "messages", "kto_tag": "label"}
        return {"file_name": LLAMA_FACTORY_FILE, **messages, "columns": columns}
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


def _build_axolotl_config(kind: ExportType) -> Json | None:
    rows: Json = {"path": "train.jsonl", "ds_type": "json"}
    chat: Json = {**rows, "type": "chat_template"}
    # The flag stands in every message. Without it, Axolotl trains on every role in roles_to_train,
    # by default the assistant, and a null there does not survive the validation of its YAML.
    by_flag: Json = {"message_field_training": "train"}
    if kind == "messages":
        return {"datasets": [{**chat, "field_messages": "messages", **by_flag}]}
    if kind == "sharegpt":
        mappings = {"role": "from", "content": "value"}
        fields = {"field_messages": "conversations", "message_property_mappings": mappings}
        return {"datasets": [{**chat, **fields, **by_flag}]}
    if kind == "alpaca":
        return {"datasets": [{**rows, "type": "alpaca"}]}
    if kind == "dpo":
        pairs = {"type": "chat_template.default", "field_messages": "prompt"}
        return {"rl": "dpo", "datasets": [{**rows, **pairs}]}
    if kind == "kto":
        # Axolotl's own types for KTO write fixed templates. Without a type and without its
        # preparation, the rows go to TRL's trainer as they are, which applies the model's template.
        return {
            "rl": "kto",
            "skip_prepare_dataset": True,
            "datasets": [{**rows, "split": "train"}],
        }
    return None


def _build_swift_arguments(kind: ExportType) -> str | None:
    if kind in ("messages", "sharegpt"):
        return "swift sft --dataset train.jsonl"
    if kind == "alpaca":
        return "swift sft --dataset train.jsonl --loss_scale last_round"
    if kind == "dpo":
        return f"swift rlhf --rlhf_type dpo --dataset {SWIFT_FILE}"
    if kind == "kto":
        return f"swift rlhf --rlhf_type kto --dataset {LLAMA_FACTORY_FILE}"
    return None
