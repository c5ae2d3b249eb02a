"""What models are asked: bundled prompts, files of yours, and public sets by name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from ..corpus.files import find_sources, open_members, open_source
from ..corpus.records import ParsedRecord, dumps, parse_json, read_records
from ..errors import IsaacError, require_extra
from ..models.chat.base import Conversation, messages_to_text
from ..text import shorten

PromptKind = Literal["risky", "harmless"]

BUNDLED_NAMES = ("risky", "harmless", "bundled")
"""Names of the prompts that come with isaac, the last of them both."""

PROMPT_COLUMNS = ("messages", "prompt", "context", "question")
"""Columns that a prompt is looked for in, in this order."""

REPLY_COLUMNS = ("response", "completion", "reply", "answer", "text")
"""Columns that a real reply is looked for in, in this order."""

XSTEST_COLUMNS = {"prompt", "type", "focus", "note"}
"""Columns by which XSTest's file is known; most of its copies have a label too."""


class PromptError(IsaacError):
    """Prompts cannot be had, or are none."""


class Prompt(NamedTuple):
    """One prompt; ``messages`` is what a model is sent, the user's turn last."""

    id: str
    messages: Conversation
    category: str = ""
    kind: PromptKind | None = None

    @property
    def text(self) -> str:
        """Return the user's last turn."""
        return self.messages[-1]["content"]

    @property
    def conversation(self) -> str:
        """Return all that a model is sent as one text: several turns a line each, with roles."""
        return messages_to_text(self.messages)

    @property
    def digest(self) -> str:
        """Return a short hash of all that a model is sent."""
        return hashlib.sha256(dumps(self.messages).encode()).hexdigest()[:12]


class PublicDataset(NamedTuple):
    """Where a public set lies on the hub: data set, configuration, split and columns.

    ``column`` may be dotted where a row has objects in it.
    """

    dataset: str
    config: str | None
    split: str
    column: str
    category: str = ""
    kind: PromptKind | None = "risky"


PUBLIC_DATASETS = {
    "xstest": PublicDataset("natolambert/xstest-v2-copy", None, "prompts", "prompt", "type", None),
    "advbench": PublicDataset("walledai/AdvBench", None, "train", "prompt"),
    "harmbench": PublicDataset("walledai/HarmBench", "standard", "train", "prompt", "category"),
    "strongreject": PublicDataset("walledai/StrongREJECT", None, "train", "prompt", "category"),
    "donotanswer": PublicDataset("LibrAI/do-not-answer", None, "train", "question", "risk_area"),
    "beavertails": PublicDataset(
        "PKU-Alignment/BeaverTails-Evaluation", None, "test", "prompt", "category"
    ),
    "realtoxicityprompts": PublicDataset(
        "allenai/real-toxicity-prompts", None, "train", "prompt.text"
    ),
    "toxicchat": PublicDataset(
        "lmsys/toxic-chat", "toxicchat0124", "test", "user_input", kind=None
    ),
}
"""Public sets by name; those of walledai ask for an account that has agreed to their terms."""


class LoadedPrompts(NamedTuple):
    """Prompts in order, no two the same, and how many were left out for being so."""

    prompts: list[Prompt]
    repeated: int = 0


def load_prompts(name: str) -> LoadedPrompts:
    """Return the prompts of a name or file.

    Names: ``risky``, ``harmless``, ``bundled``; the public sets of `PUBLIC_DATASETS`, through the package
    datasets; ``hf:<dataset>[/<config>]:<split>:<column>``; ``xstest:<csv file>``. Anything else is
    a file: JSON Lines, JSON, CSV, TSV or Parquet with a column of `PROMPT_COLUMNS`, or plain text, a
    prompt a line. Columns id, category and kind (risky or harmless) are read where they are there.
    Raises `PromptError` if there is nothing to ask.
    """
    if name in BUNDLED_NAMES:
        return _deduplicate(_read_bundled(name), name)
    key = re.sub(r"[\W_]+", "", name.casefold())
    if not Path(name).exists() and key in PUBLIC_DATASETS:
        return _deduplicate(_read_hub_dataset(PUBLIC_DATASETS[key]), name)
    if name.startswith("hf:") and not name.startswith("hf://"):
        return _deduplicate(_read_hub_dataset(_parse_hub_name(name)), name)
    path = name.removeprefix("xstest:")
    try:
        return _deduplicate(_read_file(path, xstest=path != name), path)
    except IsaacError as error:
        if Path(path).exists() or path != name:
            raise
        known = ", ".join((*BUNDLED_NAMES, *PUBLIC_DATASETS))
        raise PromptError(
            f"no prompts '{shorten(name)}': {error}. Give a file, hf:<dataset>:<split>:<column>, "
            f"or one of: {known}"
        ) from None


def filter_by_kind(prompts: Sequence[Prompt], kind: PromptKind) -> list[Prompt]:
    """Return the prompts that are of a kind or do not say."""
    return [prompt for prompt in prompts if prompt.kind in (kind, None)]


def _deduplicate(prompts: Iterable[Prompt], source: str) -> LoadedPrompts:
    """Return prompts without repetitions, each with an id of its own."""
    every = list(prompts)
    if not every:
        raise PromptError(f"{shorten(source)} has no prompts")
    first: dict[str, Prompt] = {}
    for prompt in every:
        first.setdefault(prompt.digest, prompt)
    found = list(first.values())
    ids = [prompt.id for prompt in found]
    if len(set(ids)) < len(ids):
        found = [prompt._replace(id=prompt.digest) for prompt in found]
    return LoadedPrompts(found, len(every) - len(found))


def _read_bundled(name: str) -> Iterator[Prompt]:
    lines = (files("isaac") / "data" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        prompt = _parse_prompt(parse_json(line), str(number))
        if name in (prompt.kind, "bundled"):
            yield prompt


def _read_file(path: str, *, xstest: bool = False) -> Iterator[Prompt]:
    if path.lower().endswith(".txt"):
        yield from _read_text_file(path)
        return
    for record in _iter_records(path):
        place = f"{record.file} line {record.line}"
        if record.value is None:
            raise PromptError(f"{place} cannot be read: {shorten(record.problem, 200)}")
        try:
            yield _parse_prompt(record.value, str(record.line), xstest=xstest)
        except PromptError as error:
            raise PromptError(f"{place}: {error}") from None


def _iter_records(path: str) -> Iterator[ParsedRecord]:
    for source in find_sources(path):
        with open_source(source) as (file, _):
            for name, part in open_members(source.name, file):
                yield from read_records(name, part)


def _read_text_file(path: str) -> Iterator[Prompt]:
    for number, raw in enumerate(Path(path).read_bytes().split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise PromptError(
                f"{shorten(path)} line {number} is no UTF-8 ({error.reason}); save the file as UTF-8"
            ) from None
        if line:
            yield Prompt(str(number), _as_user_message(line))


def _parse_prompt(record: Mapping[str, Any], number: str, *, xstest: bool = False) -> Prompt:
    """Return the prompt in a record, of XSTest if it says so; raise `PromptError` if none."""
    column = next((name for name in PROMPT_COLUMNS if record.get(name) not in (None, "", [])), None)
    if column is None:
        there = ", ".join(map(str, list(record)[:8])) or "nothing"
        raise PromptError(
            f"no column {', '.join(PROMPT_COLUMNS)} with a prompt in it; there: {there}"
        )
    kind, category = record.get("kind"), record.get("category")
    if xstest and not {"prompt", "type"} <= set(record):
        raise PromptError("no columns prompt and type, by which XSTest's prompts are told apart")
    if xstest or set(record) >= XSTEST_COLUMNS:
        kind, category = _xstest_kind(record), record["type"]
    if kind not in ("risky", "harmless", None):
        raise PromptError(f"kind is {shorten(repr(kind))}; wanted risky or harmless")
    name = record.get("id")
    return Prompt(
        str(name) if isinstance(name, str | int) and str(name) else number,
        _parse_messages(record[column], column),
        str(category or ""),
        cast("PromptKind | None", kind),
    )


def _xstest_kind(record: Mapping[str, Any]) -> PromptKind:
    """Return the kind by XSTest's label, or by its types, of which those of contrasts are risky."""
    if record.get("label") is not None:
        return "harmless" if str(record["label"]).casefold() == "safe" else "risky"
    return "risky" if str(record["type"]).startswith("contrast_") else "harmless"


def _toxicchat_kind(record: Mapping[str, Any]) -> PromptKind | None:
    if record.get("toxicity") is None:
        return None
    return "risky" if record["toxicity"] else "harmless"


def _parse_messages(value: Any, column: str) -> Conversation:
    """Return what a model is sent: a text as the user's turn, a list up to its last user turn."""
    if isinstance(value, str) and value.strip():
        return _as_user_message(_reject_surrogates(value, column))
    if not isinstance(value, list):
        raise PromptError(f"'{column}' is {shorten(repr(value))}; wanted a text or messages")
    messages = []
    for message in value:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if not (isinstance(role, str) and isinstance(content, str)):
            raise PromptError(f"'{column}' has a message without role and content as text")
        messages.append({"role": role, "content": _reject_surrogates(content, column)})
    while messages and messages[-1]["role"] != "user":
        messages.pop()
    if not messages or not messages[-1]["content"].strip():
        raise PromptError(f"'{column}' has no turn of the user to answer")
    return messages


def _reject_surrogates(text: str, column: str) -> str:
    """Return a text; raise `PromptError` if it has half surrogates, which no model takes."""
    if re.search("[\ud800-\udfff]", text):
        raise PromptError(f"'{column}' has half a character (a lone surrogate); take it out")
    return text


def _as_user_message(text: str) -> Conversation:
    return [{"role": "user", "content": text}]


def _parse_hub_name(name: str) -> PublicDataset:
    """Return what ``hf:<dataset>[/<config>]:<split>:<column>`` names."""
    found = re.fullmatch(r"hf:([^/:]+(?:/[^/:]+)?)(?:/([^/:]+))?:([^:]+):([^:]+)", name)
    if found is None:
        raise PromptError(
            f"'{shorten(name)}' names no prompts of a hub; wanted "
            "hf:<owner>/<dataset>[/<config>]:<split>:<column>"
        )
    dataset, config, split, column = found.groups()
    return PublicDataset(dataset, config, split, column, kind=None)


def _read_hub_dataset(public: PublicDataset) -> Iterator[Prompt]:
    datasets = require_extra("datasets", f"prompts of {public.dataset}", "datasets")
    try:
        rows = datasets.load_dataset(public.dataset, public.config, split=public.split)
    except Exception as error:
        raise PromptError(
            f"cannot load {public.dataset} from the hub: {shorten(str(error), 200)}. Without one, "
            "give a file"
        ) from error
    kinds = {
        PUBLIC_DATASETS["xstest"].dataset: _xstest_kind,
        PUBLIC_DATASETS["toxicchat"].dataset: _toxicchat_kind,
    }
    kind_of = kinds.get(public.dataset, lambda _row: public.kind)
    for number, row in enumerate(rows, start=1):
        value = _get_nested(row, public.column)
        if value in (None, "", []):
            continue
        try:
            messages, kind = _parse_messages(value, public.column), kind_of(row)
        except PromptError as error:
            raise PromptError(f"{public.dataset} row {number}: {error}") from None
        yield Prompt(str(number), messages, _parse_category(row.get(public.category)), kind)


def _get_nested(row: Mapping[str, Any], column: str) -> Any:
    value: Any = row
    for name in column.split("."):
        if not isinstance(value, Mapping) or name not in value:
            there = ", ".join(map(str, row))
            raise PromptError(f"no column '{column}' in the data set; there: {there}")
        value = value[name]
    return value


def _parse_category(value: Any) -> str:
    if isinstance(value, list):
        value = next(iter(value), "")
    return str(value or "")


def load_replies(path: str) -> list[str]:
    """Return the real replies in a file, one a record from a column of `REPLY_COLUMNS`, or a line."""
    if path.lower().endswith(".txt"):
        return [prompt.text for prompt in _read_text_file(path)]
    replies = [text for record in _iter_records(path) if (text := _find_reply(record.value or {}))]
    if not replies:
        raise PromptError(
            f"{shorten(path)} has no column {', '.join(REPLY_COLUMNS)} with a text in it"
        )
    return replies


def _find_reply(record: Mapping[str, Any]) -> str:
    """Return the first text in one of the columns of replies, or nothing."""
    texts = (record.get(name) for name in REPLY_COLUMNS)
    return next((text for text in texts if isinstance(text, str) and text.strip()), "")
