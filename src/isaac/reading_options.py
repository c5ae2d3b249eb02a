"""How an input is read: the settings of a recipe that the corpus decides."""

from __future__ import annotations

import codecs
import reprlib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from typing_extensions import Self

from .errors import RecipeError
from .text import shorten, suggest

EXPECTED = {
    "literal_error": "expected {expected}",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "string_type": "expected text",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "dict_type": "expected 'name: value' pairs",
    "tuple_type": "expected a list",
    "greater_than_equal": "expected at least {ge:g}",
    "greater_than": "expected more than {gt:g}",
    "less_than_equal": "expected at most {le:g}",
    "less_than": "expected less than {lt:g}",
}
"""What a value must be, by pydantic's type of the error."""


class Settings(BaseModel):
    """Frozen settings with bounds.

    `of` raises `RecipeError` for a bad value, the constructor pydantic's ``ValidationError``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Validate plain values, such as those of a YAML file.

        Raises `RecipeError` that names the first bad field, its value and what is allowed.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise RecipeError(cls._describe_problem(error)) from None

    @classmethod
    def fields(cls) -> dict[str, FieldInfo]:
        """Every field by name, in the order in which files and help list them."""
        return dict(cls.model_fields)

    @classmethod
    def _describe_problem(cls, error: ValidationError) -> str:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"] if part != "reading"] or ["reading"]
        name = shorten(path[0], 40)
        if first["type"] in ("extra_forbidden", "invalid_key"):
            hint = suggest(name, cls.fields())
            return f"no recipe field '{name}'{hint}; available: {', '.join(cls.fields())}"
        got = shorten(reprlib.repr(first["input"]), 40)
        field = cls.fields().get(path[0])
        auto = ", or 'auto'" if field is not None and field.default == "auto" else ""
        expected = cls._describe_expected(first)
        return f"recipe field '{name}': {expected}{auto} (got: {got})"

    @classmethod
    def _describe_expected(cls, problem: ErrorDetails) -> str:
        """What a field's value must be, for the message about a bad one."""
        text = EXPECTED.get(problem["type"], problem["msg"]).format(**problem.get("ctx", {}))
        return text.removeprefix("Value error, ")


class ReadingOptions(Settings):
    """How an input is read: its format, its columns, and which of its turns to curate."""

    format: str | None = Field(
        default=None, description="input format; detected automatically if not given"
    )
    context: str | None = Field(default=None, description="column with the context")
    response: str | None = Field(
        default=None, description="column with the response or conversation"
    )
    role: tuple[str, ...] = Field(
        default=(),
        description="what a role of the corpus is, as NAME=ROLE with the role system, user, "
        "assistant or tool; repeat it for several names",
    )
    map: dict[str, str] = Field(
        default={},
        description="YAML file that says where texts and speakers are, if no format fits: turns, "
        "role and text of a conversation; context and response; or conversation, parent and order "
        "of rows that are turns. A.b is b in A",
    )
    encoding: str | None = Field(
        default=None, description="encoding of files of text, such as cp1252; default: UTF-8"
    )
    header: bool = Field(
        default=True,
        description="the first row of CSV files and spreadsheets names the columns; otherwise they "
        "are column_1, column_2 and so on",
    )
    turns: Literal["last", "all"] = Field(
        default="all",
        description="which assistant turns of a conversation to curate; turns that are marked as "
        "not trained on (such as weight 0 or train false) are always left alone",
    )
    database: str | None = Field(
        default=None,
        description="folder with a database of the values that task-oriented dialogues mention, "
        "such as MultiWOZ's db; if not given, the values come from the dialogues' annotations",
    )
    limit: int | None = Field(default=None, ge=1, description="read only the first N exchanges")
    group_by: str | None = Field(
        default=None,
        description="column to group by: rows with the same value form a neighborhood, without a "
        "search; act groups the turns of task-oriented dialogues by their acts and slots",
    )

    @property
    def roles(self) -> dict[str, str]:
        """The role of each name in ``role``. Raises `RecipeError` for one that is not known."""
        return {name: role for name, _, role in map(_split_role, self.role)}

    @field_validator("role")
    @classmethod
    def _check_roles(cls, role: tuple[str, ...]) -> tuple[str, ...]:
        for pair in role:
            _split_role(pair)
        return role

    @field_validator("map")
    @classmethod
    def _check_map(cls, places: dict[str, str]) -> dict[str, str]:
        check_places(places)
        return places

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                codecs.lookup(name)
            except LookupError:
                raise ValueError("no such encoding; try utf-8, cp1252, latin-1 or utf-16") from None
        return name


PLACES = {
    "turns": "the list of turns of a conversation",
    "role": "who says a turn",
    "text": "what a turn says",
    "context": "the message",
    "response": "the response to it",
    "system": "the system message",
    "history": "the turns before the message, for context and response",
    "conversation": "the conversation that a row is a turn of",
    "order": "the place of a row in its conversation",
    "id": "the name of a row that is a turn",
    "parent": "the name of the row that a row answers",
}
"""What a map may place, in a record or in a turn."""

KINDS_OF_MAP = (
    {"turns", "role", "text"},
    {"context", "response"},
    {"conversation", "role", "text"},
    {"id", "parent", "role", "text"},
)
"""What a map must place, one of these sets; the first name of each tells which."""


def check_places(places: Mapping[str, str]) -> None:
    """Raise `ValueError` unless a map places all that one kind of input needs."""
    if not places:
        return
    if unknown := sorted(set(places) - set(PLACES)):
        raise ValueError(f"a map has no '{unknown[0]}'; available: {', '.join(PLACES)}")
    is_plain = places.keys() <= {"turns", "system"}
    if not is_plain and not any(kind <= set(places) for kind in KINDS_OF_MAP):
        needed = "; or ".join(", ".join(sorted(kind)) for kind in KINDS_OF_MAP)
        needed += "; or turns alone, if they are plain texts of the user and the assistant in turn"
        raise ValueError(f"expected a map of {needed}")


def _split_role(pair: str) -> tuple[str, str, str]:
    name, sign, role = pair.partition("=")
    known = ("system", "user", "assistant", "tool")
    if not name.strip() or role.strip() not in known:
        raise ValueError(f"'{pair}' is not NAME=ROLE with a role of {', '.join(known)}")
    return name.strip(), sign, role.strip()
