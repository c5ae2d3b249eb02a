"""A curated corpus in the types that trainers read, with a dataset card."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import yaml

from .curation import Curation
from .errors import RunError
from .records import dumps
from .runs import Run
from .text import visible

Kind = Literal["sft", "messages", "dpo", "kto", "sharegpt", "alpaca"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Json = dict[str, Any]
Messages = list[dict[str, str]]


class Item(NamedTuple):
    """One target of one exchange, as an export sees it."""

    prompt: Messages
    original: str
    response: str
    action: str
    rank: int
    target: int


def items(curation: Curation) -> Iterator[Item]:
    """Yield every target in order of id."""
    prompts, responses = curation.corpus.column("prompt"), curation.corpus.column("response")
    names = ("id", "source_id", "action", "rank", "target")
    columns = [curation.lineage.column(name).to_pylist() for name in names]
    for row, source, action, rank, target in zip(*columns, strict=True):
        prompt = [m for m in json.loads(prompts[row]) if m["content"]]
        yield Item(prompt, responses[row], responses[source], action, rank, target)


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _sft(item: Item) -> Iterator[Json]:
    yield {"prompt": item.prompt, "completion": [_assistant(item.response)]}


def _messages(item: Item) -> Iterator[Json]:
    yield {"messages": [*item.prompt, _assistant(item.response)]}


def _dpo(item: Item) -> Iterator[Json]:
    """Prefer a draw from the largest cluster to the row's own response outside it."""
    if item.action == "replaced" and item.rank == 1:
        yield {
            "prompt": item.prompt,
            "chosen": [_assistant(item.response)],
            "rejected": [_assistant(item.original)],
        }


def _kto(item: Item) -> Iterator[Json]:
    """Want what was kept or drawn from the largest cluster; do not want what was replaced."""
    if item.rank == 1:
        yield {"prompt": item.prompt, "completion": [_assistant(item.response)], "label": True}
    if item.action == "replaced" and item.target == 0:
        yield {"prompt": item.prompt, "completion": [_assistant(item.original)], "label": False}


SENDERS = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}


def _sharegpt(item: Item) -> Iterator[Json]:
    turns = [*item.prompt, _assistant(item.response)]
    yield {"conversations": [{"from": SENDERS[t["role"]], "value": t["content"]} for t in turns]}


def _alpaca(item: Item) -> Iterator[Json]:
    """Write one exchange a row; earlier turns stand in ``history`` as pairs."""
    said = [message for message in item.prompt if message["role"] != "system"]
    row: Json = {"instruction": said[-1]["content"], "input": "", "output": item.response}
    system = [message["content"] for message in item.prompt if message["role"] == "system"]
    if system:
        row["system"] = "\n\n".join(system)
    earlier = said[:-1]
    if earlier:
        row["history"] = _history(earlier)
    yield row


def _history(earlier: Messages) -> list[list[str]]:
    """Return [question, answer] pairs; several turns of one side in a row become one."""
    sides: list[tuple[bool, str]] = []
    for message in earlier:
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


WRITERS: dict[Kind, Callable[[Item], Iterator[Json]]] = {
    "sft": _sft,
    "messages": _messages,
    "dpo": _dpo,
    "kto": _kto,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
}


class Export(NamedTuple):
    """What was written."""

    folder: Path
    rows: int


def export(run: Run, kind: Kind, to: Path | None = None, *, license: str = "unknown") -> Export:  # noqa: A002
    """Write the run's corpus in one of the types, with a dataset card.

    The folder is ``RUN/export/KIND`` unless given; ``license`` is the source's, by its name on
    the Hugging Face hub. Raises `RunError` if the run has no row of the kind.
    """
    folder = to or run.path / "export" / kind
    count = 0
    with run.writing(folder / "train.jsonl") as lines:
        for item in items(run.curation()):
            for row in WRITERS[kind](item):
                lines.write(dumps(row) + "\n")
                count += 1
        if not count:
            raise RunError(f"no rows for '{kind}': nothing was drawn from a largest cluster")
    run.write(folder / "README.md", card(run, kind, count, license))
    return Export(folder, count)


TYPES: dict[Kind, str] = {
    "sft": "conversational prompt-completion (TRL's `SFTTrainer`)",
    "messages": "conversational language modelling (`messages`)",
    "dpo": "conversational preference with explicit prompt (TRL's `DPOTrainer`)",
    "kto": "conversational unpaired preference (TRL's `KTOTrainer`)",
    "sharegpt": "ShareGPT conversations",
    "alpaca": "Alpaca instructions",
}


def llama_factory(kind: Kind) -> Json | None:
    """Return LLaMA-Factory's ``dataset_info.json`` entry, None if it cannot read the type."""
    if kind == "messages":
        tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
        tags |= {"assistant_tag": "assistant", "system_tag": "system", "observation_tag": "tool"}
        columns = {"messages": "messages"}
        return {"formatting": "sharegpt", "columns": columns, "tags": tags}
    if kind == "sharegpt":
        columns, tags = {"messages": "conversations"}, {"system_tag": "system"}
        return {"formatting": "sharegpt", "columns": columns, "tags": tags}
    if kind == "alpaca":
        columns = {"prompt": "instruction", "query": "input", "response": "output"}
        return {"formatting": "alpaca", "columns": columns}
    return None


def axolotl(kind: Kind) -> Json | None:
    """Return the lines for Axolotl's configuration, None if it cannot read the type."""
    chat: Json = {"path": "train.jsonl", "ds_type": "json", "type": "chat_template"}
    if kind == "messages":
        return {"datasets": [{**chat, "field_messages": "messages", "roles_to_train": []}]}
    if kind == "sharegpt":
        mappings = {"role": "from", "content": "value"}
        fields = {"field_messages": "conversations", "message_property_mappings": mappings}
        return {"datasets": [{**chat, **fields, "roles_to_train": []}]}
    if kind == "alpaca":
        return {"datasets": [{**chat, "type": "alpaca"}]}
    if kind == "dpo":
        chat["type"] = "chat_template.default"
        return {"rl": "dpo", "datasets": [{**chat, "field_messages": "prompt"}]}
    return None


def card(run: Run, kind: Kind, rows: int, license: str) -> str:  # noqa: A002
    """Return the dataset card: what it is, where it comes from, how to train on it."""
    import jinja2

    summary, settings = run.summary(), axolotl(kind)
    entry = llama_factory(kind)
    text = files("isaac").joinpath("templates", "card.md.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text).render(
        summary=summary,
        names=[visible(Path(given["name"]).name) for given in summary["inputs"]],
        kind=kind,
        type=TYPES[kind],
        rows=rows,
        license=yaml.safe_dump(license).splitlines()[0],
        size=_size(rows),
        llama_factory=entry
        and json.dumps({"isaac": {"file_name": "train.jsonl", **entry}}, indent=2),
        axolotl=settings and yaml.safe_dump(settings, sort_keys=False),
    )


def _size(rows: int) -> str:
    """Return the hub's name for a number of rows."""
    steps = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")]
    return next((name for limit, name in steps if rows < limit), "1M<n<10M")
