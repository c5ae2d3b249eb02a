"""Preference data: a prompt with a chosen and a rejected answer, or with several ranked ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...text import shorten
from .base import (
    CorpusTurn,
    Format,
    Message,
    RowError,
    find_assistant_turns,
    is_blank,
    require_text,
    validate_text,
)
from .context_response import PROMPT_COLUMNS
from .hh import HHFormat
from .messages import RoleNames, load_message_list, read_turns, replace_answer
from .prompt_columns import HISTORY_COLUMNS, find_columns, join_prompt, read_history, read_system
from .reasoning import without_reasoning
from .roles import fold_name
from .training_marks import find_untrained

TURN_COLUMNS = ("conversations", "messages", "conversation", "prompt", "input")
"""Columns that may have the prompt of an answer as turns."""

PREFERENCE_COLUMNS = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("accepted", "rejected"),
    ("preferred", "rejected"),
    ("preferred_output", "non_preferred_output"),
    ("preferred", "dispreferred"),
    ("messages", "rejected_response"),
    ("messages", "rejected_messages"),
    ("conversations", "rejected_conversations"),
)
"""Columns with a chosen and with a rejected answer."""


def read_prompt(record: Mapping[str, Any], answer: str, roles: RoleNames = ()) -> list[Message]:
    """Read the prompt of an answer: a list of turns, or text columns; empty without any."""
    history = read_history(record, dict(roles))
    for column in find_columns(tuple(record), TURN_COLUMNS):
        value = record[column]
        if isinstance(value, Mapping) and isinstance(value.get("messages"), list):
            value = value["messages"]
        turns = load_message_list(value)
        if column != answer and isinstance(turns, list) and turns:
            messages = [message for _, message in read_turns(turns, column, roles=roles)[0]]
            system = [] if messages[0].role == "system" else read_system(record)
            return [*system, *history, *messages]
    columns = find_columns(tuple(record), PROMPT_COLUMNS)
    main = next((c for c in columns if c != answer and not is_blank(record[c])), None)
    if main is None:
        return [*read_system(record), *history]
    text = Message("user", join_prompt(record, main, answer))
    return [*read_system(record), *history, text]


def _has_prompt(record: Mapping[str, Any]) -> bool:
    names = (*PROMPT_COLUMNS, *TURN_COLUMNS, *HISTORY_COLUMNS)
    return bool(find_columns(tuple(record), names))


def find_answer(prompt: Sequence[Message], answer: Message, *, trained: bool = True) -> CorpusTurn:
    """Make a turn of an answer; an assistant's turn at the end of the prompt is not one.

    Raises `RowError` if the prompt has no message that it answers.
    """
    last = len(prompt)
    turns = [*enumerate(prompt), (last, answer)]
    untrained = frozenset() if trained else frozenset({last})
    (turn,) = find_assistant_turns(turns, {last}, untrained)
    return turn


@dataclass(frozen=True)
class PreferenceFormat:
    """A chosen answer beside a rejected one; the chosen one is curated.

    The answer is text, a turn, or a list of turns that may begin with the whole prompt. The prompt
    is text or a list of turns. ``roles`` are further names of roles.
    """

    name: str = "preference"
    chosen: str = "chosen"
    rejected: str = "rejected"
    roles: RoleNames = ()

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has both answers, as turns or beside a prompt."""
        if self.chosen not in record or self.rejected not in record:
            return False
        if fold_name(self.chosen) in TURN_COLUMNS and is_blank(record[self.rejected]):
            return False
        chosen = load_message_list(record[self.chosen])
        if not isinstance(chosen, str):
            return isinstance(chosen, list)
        if HHFormat(self.chosen).fits(record):
            return False
        return _has_prompt(record)

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Read the chosen answer."""
        turns = load_message_list(record.get(self.chosen))
        if not isinstance(turns, list):
            answer = without_reasoning(require_text(record, self.chosen))
            prompt = read_prompt(record, self.chosen, self.roles)
            return [find_answer(prompt, Message("assistant", answer))]
        messages, editable = read_turns(turns, self.chosen, roles=self.roles)
        last = len(messages) - 1
        if last not in editable:
            raise RowError(f"'{self.chosen}' does not end with an assistant turn with text")
        before = [message for _, message in messages[:last]]
        if not any(message.role == "user" for message in before):
            before = [*read_prompt(record, self.chosen, self.roles), *before]
        elif before[0].role != "system":
            before = [*read_system(record), *before]
        is_trained = last not in find_untrained(turns)
        return [find_answer(before, messages[last][1], trained=is_trained)]

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with its chosen answer replaced, in the shape that it has."""
        return {**record, self.chosen: replace_answer(record[self.chosen], response)}

    def cut(self, record: Mapping[str, Any], _index: int, /) -> dict[str, Any]:
        """Copy the record, whose conversation already ends after its only response."""
        return dict(record)


NUMBERED = (
    ("response_0", "response_1"),
    ("response_1", "response_2"),
    ("response_a", "response_b"),
    ("answer_0", "answer_1"),
    ("answer_1", "answer_2"),
    ("answer_a", "answer_b"),
    ("output_0", "output_1"),
    ("output_1", "output_2"),
    ("output_a", "output_b"),
    ("completion_0", "completion_1"),
    ("completion_1", "completion_2"),
    ("completion_a", "completion_b"),
    ("conversation_a", "conversation_b"),
    ("human_ref_A", "human_ref_B"),
)
"""Columns with two answers, of which another column says which one is better."""

ACTION_COLUMN = "isaac_action"
"""A column of curated records. In them, an answer among rated ones without a rating is new."""

CHOICES = (
    "better_response_id",
    "safer_response_id",
    "chosen_id",
    "winner",
    "preference",
    "preferred",
    "choice",
    "chosen",
    "better",
)
"""Columns that say which answer is better, by the end of its column's name."""

TIES = ("tie", "tie (bothbad)", "both", "neither", "none", "equal", "same", "draw", "-1")
"""What they have if neither is; the first one is curated."""

RATINGS = ("{1}_score", "score_{0}", "{1}_rating", "rating_{0}", "reward_{0}", "winner_model_{0}")
"""Columns with a number for each answer, by the end of its column's name and by that name."""


@dataclass(frozen=True)
class TwoAnswersFormat:
    """Two answers in numbered columns; the better one is curated.

    The first one is, if no column says which is better. ``roles`` are further names of roles.
    With ``zero_based``, a choice is 0 or 1 although the columns end in 1 and 2.
    """

    first: str
    second: str
    name: str = "two_answers"
    roles: RoleNames = ()
    zero_based: bool = False

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has both answers."""
        return self.first in record and self.second in record

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Read the better answer."""
        return self._choose(record).turns(record)

    def replace(self, record: Mapping[str, Any], index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with the better answer replaced."""
        return self._choose(record).replace(record, index, response)

    def cut(self, record: Mapping[str, Any], _index: int, /) -> dict[str, Any]:
        """Copy the record, whose conversation already ends after its only response."""
        return dict(record)

    def list_other_fields(self, record: Mapping[str, Any]) -> set[str]:
        """The fields of a record that are about the answer that is not curated."""
        ends = [_find_end(name) for name in (self.first, self.second)]
        better = self._find_better(record)
        own, other = ends[better], ends[1 - better]
        words = {key: set(fold_name(key).split("_")) for key in record}
        return {key for key, found in words.items() if other in found and own not in found}

    def _choose(self, record: Mapping[str, Any]) -> PreferenceFormat:
        columns = (self.first, self.second)
        better = self._find_better(record)
        return PreferenceFormat(self.name, columns[better], columns[1 - better], self.roles)

    def _find_better(self, record: Mapping[str, Any]) -> int:
        """The number of the better answer, 0 or 1."""
        for column in find_columns(tuple(record), CHOICES):
            if not is_blank(str(value := record[column])) and value is not None:
                return self._read_choice(column, value)
        first, second = self._read_ratings(record)
        if ACTION_COLUMN in record and (first is None) != (second is None):
            return int(second is None)
        return int(first is not None and second is not None and second > first)

    def _read_choice(self, column: str, value: Any) -> int:
        whole = isinstance(value, float) and value.is_integer()
        text = fold_name(str(int(value) if whole else value))
        if text in map(fold_name, TIES):
            return 0
        ends = [_find_end(name) for name in (self.first, self.second)]
        if self.zero_based:
            ends = ["0", "1"]
        letters = ["a", "b"] if ends[0].isdigit() else ends
        for names in (ends, letters):
            if (end := _find_end(text)) in names:
                return names.index(end)
        raise RowError(
            f"'{column}' is {shorten(repr(value), 40)}, but '{self.first}' is {ends[0]} and "
            f"'{self.second}' is {ends[1]}; to curate one of them in all rows, name the columns "
            "with --context and --response"
        )

    def _read_ratings(self, record: Mapping[str, Any]) -> tuple[float | None, float | None]:
        """The rating of each answer, if it has one."""
        strength = _read_number(record.get("preference_strength"))
        if strength is not None:  # of the second one
            return 0.0, strength
        label = _read_number(record.get("labels"))
        if label is not None and self.first.startswith("human_ref"):
            return label, 1 - label
        for pattern in RATINGS:
            names = [pattern.format(_find_end(name), name) for name in (self.first, self.second)]
            columns = find_columns(tuple(record), tuple(map(fold_name, names)))
            if len(columns) == 2:
                first, second = (_read_number(record[column]) for column in columns)
                return first, second
        return None, None


def _find_end(column: str) -> str:
    """The number or letter at the end of a column's name."""
    return fold_name(column).rpartition("_")[2]


def _read_number(value: Any) -> float | None:
    """A finite number, also in a text; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


ANSWER_LISTS = ("completions", "answers", "responses", "candidates", "replies")
ANSWER_KEYS = ("response", "answer", "text", "content", "completion", "output")
RANK_KEYS = ("rank", "ranks", "ranking", "rankings")
SCORE_KEYS = (
    "overall_score",
    "score",
    "scores",
    "rating",
    "ratings",
    "fine-grained_score",
    "reward",
    "rewards",
    "pm_score",
)
"""Keys with the scores of answers: of each in the answer, or of all in a list beside them."""


@dataclass(frozen=True)
class RankedFormat:
    """A list of answers with ranks or scores; the best one is curated, the first of equal ones.

    An answer is an object with its rank or score, or a text; ranks or scores of texts are in
    another column. ``roles`` are further names of roles.
    """

    column: str = "completions"
    name: str = "ranked"
    roles: RoleNames = ()

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the column is a list of answers, beside a prompt."""
        answers = record.get(self.column)
        if not isinstance(answers, list) or not answers:
            return False
        if not _has_prompt(record):
            return False
        if all(isinstance(answer, str) for answer in answers):
            return bool(self._read_ratings(record, answers))
        return all(_find_key(answer, ANSWER_KEYS) for answer in answers)

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Read the best answer."""
        answers = record.get(self.column)
        if not isinstance(answers, list) or not answers:
            raise RowError(f"'{self.column}' is not a list of answers, or is empty")
        best = self._find_best(record)
        key = _find_key(answers[best], ANSWER_KEYS)
        place = f"'{self.column}' answer {best}"
        text = validate_text(answers[best].get(key) if key else answers[best], place)
        answer = Message("assistant", without_reasoning(text))
        return [find_answer(read_prompt(record, self.column, self.roles), answer)]

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with the best answer replaced."""
        answers = list(record[self.column])
        best = self._find_best(record)
        key = _find_key(answers[best], ANSWER_KEYS)
        answers[best] = response if key is None else {**answers[best], key: response}
        scores = {
            name: list(record[name]) for name in SCORE_KEYS if _has_each(record, name, answers)
        }
        for values in scores.values():
            values[best] = None
        return {**record, **scores, self.column: answers}

    def cut(self, record: Mapping[str, Any], _index: int, /) -> dict[str, Any]:
        """Copy the record, whose conversation already ends after its only response."""
        return dict(record)

    def _find_best(self, record: Mapping[str, Any]) -> int:
        answers = record[self.column]
        ratings = self._read_ratings(record, answers) or [_rate(answer) for answer in answers]
        if ACTION_COLUMN in record and ratings.count(-math.inf) == 1 < len(ratings):
            return ratings.index(-math.inf)
        return max(range(len(answers)), key=lambda number: (ratings[number], -number))

    @staticmethod
    def _read_ratings(record: Mapping[str, Any], answers: list[Any]) -> list[float]:
        """The ratings in a list beside the answers; empty if there is none of their length."""
        for key in (*SCORE_KEYS, *RANK_KEYS):
            if _has_each(record, key, answers):
                return [_rate({key: value}) for value in record[key]]
        return []


def _has_each(record: Mapping[str, Any], key: str, answers: list[Any]) -> bool:
    """Whether a column is a list with a value for each answer."""
    values = record.get(key)
    return isinstance(values, list) and len(values) == len(answers)


def _find_key(answer: Any, keys: Sequence[str]) -> str | None:
    if not isinstance(answer, Mapping):
        return None
    return next((key for key in keys if key in answer), None)


def _rate(answer: Any) -> float:
    """The score of an answer, or minus its rank; the lowest if it has neither."""
    for keys, sign in ((SCORE_KEYS, 1), (RANK_KEYS, -1)):
        key = _find_key(answer, keys)
        value = _read_number(answer[key]) if key else None
        if value is not None:
            return sign * value
    return -math.inf


def find_preferences(records: Iterable[Mapping[str, Any]]) -> Iterator[Format]:
    """Yield a format for each pair of columns that may be two answers, one of them better."""
    records = list(records)
    choices = {
        str(record[column]).removesuffix(".0")
        for record in records
        for column in find_columns(tuple(record), CHOICES)
    }
    for columns in dict.fromkeys(map(tuple, records)):
        for pair in PREFERENCE_COLUMNS:
            if len(found := find_columns(columns, pair)) == 2:
                yield PreferenceFormat("preference", found[0], found[1])
        for pair in NUMBERED:
            if len(found := find_columns(columns, tuple(map(fold_name, pair)))) == 2:
                zero_based = _find_end(pair[0]) == "1" and "0" in choices
                yield TwoAnswersFormat(found[0], found[1], zero_based=zero_based)


def find_ranked(records: Iterable[Mapping[str, Any]]) -> Iterator[Format]:
    """Yield a format for each column that may be a list of answers."""
    for columns in dict.fromkeys(map(tuple, records)):
        yield from map(RankedFormat, find_columns(columns, ANSWER_LISTS))
