"""The readers of task-oriented corpora by name, and the records in a file of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from .multiwoz import MultiWOZReader
from .plain_rows import PlainRowsReader
from .schema import Dialogue
from .schema_guided import SchemaGuidedReader
from .validation import ReadingError, as_mapping


class DialogueReader(Protocol):
    """A way to write dialogues in a record (a mapping of column names to JSON values)."""

    @property
    def name(self) -> str:
        """The name for ``--format``."""
        ...

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Say whether the record has this layout's columns, whatever is in them."""
        ...

    def read(self, record: Mapping[str, Any]) -> Dialogue:
        """Return the dialogue; raise `ReadingError` that names what is wrong in the record."""
        ...

    def replaced(self, record: Mapping[str, Any], index: int, text: str, /) -> dict[str, Any]:
        """Return the record with one system turn's text replaced and nothing else changed.

        Places of values in that turn are made anew, so that the record stays true.
        """
        ...


READERS: Mapping[str, DialogueReader] = MappingProxyType(
    {
        "multiwoz21": MultiWOZReader("multiwoz21"),
        "multiwoz22": SchemaGuidedReader("multiwoz22", numbered=False),
        "sgd": SchemaGuidedReader("sgd", numbered=True),
        "dialogue": PlainRowsReader(),
        "multiwoz20": MultiWOZReader("multiwoz20"),
        "multiwoz24": MultiWOZReader("multiwoz24"),
    }
)
"""MultiWOZ 2.0, 2.1 and 2.4 share a layout, of which 2.1 comes first: it is the one recognised."""


def detect_reader(record: Mapping[str, Any]) -> DialogueReader | None:
    """Return the first reader that the record fits, if there is one."""
    return next((reader for reader in READERS.values() if reader.fits(record)), None)


def iter_records(document: Any) -> Iterator[dict[str, Any]]:
    """Yield the records of a corpus's JSON document, each with its dialogue's id.

    MultiWOZ 2.0, 2.1 and 2.4 are one object of id and dialogue: the id becomes ``dialogue_id``.
    The others are lists of records. Raises `ReadingError` where it is neither.
    """
    if isinstance(document, list):
        for number, record in enumerate(document):
            yield dict(as_mapping(record, f"record {number}"))
    elif isinstance(document, Mapping):
        for number, record in document.items():
            yield {"dialogue_id": number, **as_mapping(record, f"dialogue {number!r}")}
    else:
        raise ReadingError("the document is neither an object of dialogues nor a list of them")
