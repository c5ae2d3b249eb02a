"""The readers of task-oriented corpora by name, and how to iterate over a corpus's records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from .multiwoz import MultiWOZReader
from .plain_rows import PlainRowsReader
from .schema import Dialogue
from .schema_guided import SchemaGuidedReader
from .unified import UnifiedReader
from .validation import ReadingError, as_mapping


class DialogueReader(Protocol):
    """Reads and rewrites the dialogues of one format.

    A record is a mapping of column names to JSON values.
    """

    @property
    def name(self) -> str:
        """The value of ``--format`` that selects this reader."""
        ...

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has the columns of this format, whatever they contain."""
        ...

    def read(self, record: Mapping[str, Any]) -> Dialogue:
        """Parse the dialogue; raises `ReadingError`, with the reason, if it cannot be read."""
        ...

    def replaced(self, record: Mapping[str, Any], index: int, text: str, /) -> dict[str, Any]:
        """Copy the record, with the text of one system turn replaced.

        The positions of values in that turn are updated to the new text; nothing else changes.
        """
        ...

    def cut(self, record: Mapping[str, Any], index: int, /) -> dict[str, Any]:
        """Copy the record with a dialogue that ends after the system turn at ``index``."""
        ...


READERS: Mapping[str, DialogueReader] = MappingProxyType(
    {
        "multiwoz21": MultiWOZReader("multiwoz21"),
        "unified": UnifiedReader(),
        "multiwoz22": SchemaGuidedReader("multiwoz22", numbered=False),
        "sgd": SchemaGuidedReader("sgd", numbered=True),
        "dialogue": PlainRowsReader(),
        "multiwoz20": MultiWOZReader("multiwoz20"),
        "multiwoz24": MultiWOZReader("multiwoz24"),
    }
)
"""The readers by the name of their format, in the order in which `detect_reader` tries them.

MultiWOZ 2.0, 2.1 and 2.4 have the same columns, so their records are all detected as 2.1.
"""


def detect_reader(record: Mapping[str, Any]) -> DialogueReader | None:
    """The first reader that the record fits, or None."""
    return next((reader for reader in READERS.values() if reader.fits(record)), None)


def iter_records(document: Any) -> Iterator[dict[str, Any]]:
    """Yield the records of a corpus's JSON document, each with its dialogue's id.

    In MultiWOZ 2.0, 2.1 and 2.4, the document is an object that maps ids to dialogues; the id
    becomes the column ``dialogue_id``. Other corpora are lists of records. Raises `ReadingError`
    for anything else.
    """
    if isinstance(document, list):
        for key, record in enumerate(document):
            yield dict(as_mapping(record, f"record {key}"))
    elif isinstance(document, Mapping):
        for key, record in document.items():
            yield {"dialogue_id": key, **as_mapping(record, f"dialogue {key!r}")}
    else:
        raise ReadingError("the JSON document is neither an object nor a list of dialogues")
