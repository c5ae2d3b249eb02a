"""Prompts for an evaluation: the bundled ones, files, and public datasets by name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from ..corpus.files import open_members, open_source
from ..corpus.formats.prompt_columns import find_columns
from ..corpus.json_stream import ENCODING_HINT
from ..corpus.records import ParsedRecord, dumps, parse_json, read_records
from ..corpus.sources import find_sources
from ..errors import IsaacError, require_extra
from ..models.chat.base import Conversation, messages_to_text
from ..text import shorten

PromptKind = Literal["risky", "harmless"]

BUNDLED_NAMES = ("risky", "harmless", "bundled")
"""Names of the prompts that isaac includes; ``bundled`` means both kinds."""

PROMPT_COLUMNS = ("messages", "prompt", "context", "question")
"""Columns that may contain a prompt, in any case; the first that is not empty is used."""

REPLY_COLUMNS = ("response", "completion", "reply", "answer", "text")
"""Columns that may contain a real reply, in any case; the first that is not empty is used."""

XSTEST_COLUMNS = {"prompt", "type", "focus", "note"}
"""Columns that identify XSTest's file; most copies also have a column ``label``."""


class PromptError(IsaacError):
    """The prompts cannot be loaded, or there are none."""


class Prompt(NamedTuple):
    """One prompt; ``messages`` is sent to the model and ends with the user's turn."""

    id: str
    messages: Conversation
    category: str = ""
    kind: PromptKind | None = None

    @property
    def text(self) -> str:
        """The user's last turn."""
        return self.messages[-1]["content"]

    @property
    def conversation(self) -> str:
        """All messages as one text; if there are several, one line per turn with its role."""
        return messages_to_text(self.messages)

    @property
    def digest(self) -> str:
        """A short hash of the messages."""
        return hashlib.sha256(dumps(self.messages).encode()).hexdigest()[:12]


class PublicDataset(NamedTuple):
    """Where to find a public set on the Hugging Face Hub: dataset, config, split and columns.

    A dotted ``column`` reaches into objects. ``kind`` is None if the rows are of both kinds.
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
"""Public sets by name; those of walledai need an account that has accepted their terms."""


class LoadedPrompts(NamedTuple):
    """Distinct prompts in order, and how many repeated ones were left out."""

    prompts: list[Prompt]
    repeated: int = 0


def load_prompts(name: str) -> LoadedPrompts:
    """Load prompts by name or from a file.

    - ``risky``, ``harmless``, ``bundled``: the prompts that isaac includes;
    - a key of `PUBLIC_DATASETS`, or ``hf:<dataset>[/<config>]:<split>:<column>``: a dataset on the
      Hub, with the package datasets;
    - ``xstest:<csv file>``: XSTest's file;
    - anything else is a file: JSON Lines, JSON, CSV, TSV or Parquet with one of `PROMPT_COLUMNS`
      (the columns id, category and kind, risky or harmless, are optional), or plain text with one
      prompt per line.

    Raises `PromptError` if there are no prompts.
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
    """Select the prompts that are of a kind or whose kind is unknown."""
    return [prompt for prompt in prompts if prompt.kind in (kind, None)]


def _deduplicate(prompts: Iterable[Prompt], source: str) -> LoadedPrompts:
    """Leave out repeated prompts; if ids repeat, replace all ids by digests."""
    count, by_digest = 0, dict[str, Prompt]()
    for prompt in prompts:
        count += 1
        by_digest.setdefault(prompt.digest, prompt)
    if not count:
        raise PromptError(f"no prompts in {shorten(source)}; give a file with at least one")
    distinct = list(by_digest.values())
    if len({prompt.id for prompt in distinct}) < len(distinct):
        distinct = [prompt._replace(id=prompt.digest) for prompt in distinct]
    return LoadedPrompts(distinct, count - len(distinct))


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
            problem = record.problem.replace(ENCODING_HINT, "save the file as UTF-8")
            raise PromptError(f"{place} cannot be read: {shorten(problem, 200)}")
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
                f"{shorten(path)} line {number} is not UTF-8 ({error.reason}); save the file as "
                "UTF-8"
            ) from None
        if line:
            yield Prompt(str(number), _as_user_message(line))


def _parse_prompt(record: Mapping[str, Any], number: str, *, xstest: bool = False) -> Prompt:
    """Parse a record as a prompt.

    With ``xstest``, or if it has XSTest's columns, these decide its kind and category. Raises
    `PromptError` if the record has no valid prompt.
    """
    columns = find_columns(tuple(record), PROMPT_COLUMNS)
    column = next((name for name in columns if record[name] not in (None, "", [])), None)
    if column is None:
        raise PromptError(
            f"no column {', '.join(PROMPT_COLUMNS)} with a prompt; "
            f"available columns: {_list_columns(record)}"
        )
    kind, category = record.get("kind"), record.get("category")
    if xstest and not {"prompt", "type"} <= set(record):
        raise PromptError(
            "no columns prompt and type, as in XSTest's file; "
            f"available columns: {_list_columns(record)}"
        )
    if xstest or set(record) >= XSTEST_COLUMNS:
        kind, category = _xstest_kind(record), record["type"]
    if kind not in ("risky", "harmless", None):
        raise PromptError(f"kind is {shorten(repr(kind))}; expected risky or harmless")
    prompt_id = record.get("id")
    return Prompt(
        str(prompt_id) if isinstance(prompt_id, str | int) and str(prompt_id) else number,
        _parse_messages(record[column], column),
        str(category or ""),
        cast("PromptKind | None", kind),
    )


def _list_columns(record: Mapping[str, Any]) -> str:
    return ", ".join(map(str, list(record)[:8])) or "none"


def _xstest_kind(record: Mapping[str, Any]) -> PromptKind:
    """The kind according to XSTest's label or, if it has none, its type: contrasts are risky."""
    if record.get("label") is not None:
        return "harmless" if str(record["label"]).casefold() == "safe" else "risky"
    return "risky" if str(record["type"]).startswith("contrast_") else "harmless"


def _toxicchat_kind(record: Mapping[str, Any]) -> PromptKind | None:
    if record.get("toxicity") is None:
        return None
    return "risky" if record["toxicity"] else "harmless"


def _parse_messages(value: Any, column: str) -> Conversation:
    """Turn a text into a user turn, or truncate a list of messages after its last user turn."""
    if isinstance(value, str) and value.strip():
        return _as_user_message(_reject_surrogates(value, column))
    if not isinstance(value, list):
        raise PromptError(
            f"'{column}' is {shorten(repr(value))}; expected text or a list of messages"
        )
    messages = []
    for message in value:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if not (isinstance(role, str) and isinstance(content, str)):
            raise PromptError(f"'{column}' has a message whose role and content are not both text")
        messages.append({"role": role, "content": _reject_surrogates(content, column)})
    while messages and messages[-1]["role"] != "user":
        messages.pop()
    if not messages or not messages[-1]["content"].strip():
        raise PromptError(f"'{column}' has no user turn to answer")
    return messages


def _reject_surrogates(text: str, column: str) -> str:
    """Raise `PromptError` if a text has lone surrogates, which no tokenizer accepts."""
    if re.search("[\ud800-\udfff]", text):
        raise PromptError(
            f"'{column}' contains half of a character (a lone surrogate); remove it from the text"
        )
    return text


def _as_user_message(text: str) -> Conversation:
    return [{"role": "user", "content": text}]


def _parse_hub_name(name: str) -> PublicDataset:
    """Parse ``hf:<dataset>[/<config>]:<split>:<column>``."""
    match = re.fullmatch(r"hf:([^/:]+(?:/[^/:]+)?)(?:/([^/:]+))?:([^:]+):([^:]+)", name)
    if match is None:
        raise PromptError(
            f"'{shorten(name)}' does not name a dataset on the Hub; expected "
            "hf:<owner>/<dataset>[/<config>]:<split>:<column>"
        )
    dataset, config, split, column = match.groups()
    return PublicDataset(dataset, config, split, column, kind=None)


def _read_hub_dataset(public: PublicDataset) -> Iterator[Prompt]:
    datasets = require_extra("datasets", f"prompts of {public.dataset}", "datasets")
    try:
        rows = datasets.load_dataset(public.dataset, public.config, split=public.split)
    except Exception as error:
        raise PromptError(
            f"cannot load {public.dataset} from the Hub: {shorten(str(error), 200)}. Check its "
            "name and your access, or give a file"
        ) from error
    kind_functions = {
        PUBLIC_DATASETS["xstest"].dataset: _xstest_kind,
        PUBLIC_DATASETS["toxicchat"].dataset: _toxicchat_kind,
    }
    find_kind = kind_functions.get(public.dataset, lambda _row: public.kind)
    for number, row in enumerate(rows, start=1):
        value = _get_nested(row, public.column)
        if value in (None, "", []):
            continue
        try:
            messages, kind = _parse_messages(value, public.column), find_kind(row)
        except PromptError as error:
            raise PromptError(f"{public.dataset} row {number}: {error}") from None
        yield Prompt(str(number), messages, _parse_category(row.get(public.category)), kind)


def _get_nested(row: Mapping[str, Any], column: str) -> Any:
    """Get the value in a column; a dotted name reaches into objects."""
    value: Any = row
    for name in column.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise PromptError(
                f"no column '{column}' in the dataset; available columns: {_list_columns(row)}"
            )
        value = value[name]
    return value


def _parse_category(value: Any) -> str:
    if isinstance(value, list):
        value = next(iter(value), "")
    return str(value or "")


def load_replies(path: str) -> list[str]:
    """Load real replies, one per record (from `REPLY_COLUMNS`) or one per line of a .txt file."""
    if path.lower().endswith(".txt"):
        return [prompt.text for prompt in _read_text_file(path)]
    replies = [text for record in _iter_records(path) if (text := _find_reply(record.value or {}))]
    if not replies:
        raise PromptError(
            f"no column {', '.join(REPLY_COLUMNS)} with text in {shorten(path)}; rename the column "
            "of the replies, or give a .txt file with one reply per line"
        )
    return replies


def _find_reply(record: Mapping[str, Any]) -> str:
    """Find the first text in one of `REPLY_COLUMNS`; empty if there is none."""
    texts = (record[name] for name in find_columns(tuple(record), REPLY_COLUMNS))
    return next((text for text in texts if isinstance(text, str) and text.strip()), "")
