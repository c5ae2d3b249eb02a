"""Preference data: a prompt with a chosen and a rejected answer, or with several ranked ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .base import (
    CorpusTurn,
    Message,
    RowError,
    find_assistant_turns,
    is_blank,
    require_text,
    validate_text,
)
from .contents import replace_text
from .messages import TurnKeys, read_turns
from .prompt_columns import find_columns, join_prompt, read_history, read_system
from .reasoning import without_reasoning
from .training_marks import find_untrained

PROMPT_COLUMNS = ("prompt", "question", "instruction", "query", "input", "context", "post")
TURN_COLUMNS = ("conversations", "messages", "conversation", "prompt")


def read_prompt(record: Mapping[str, Any], answer: str) -> list[Message]:
    """Read the prompt of an answer: a list of turns, or text columns; empty without any."""
    for column in find_columns(tuple(record), TURN_COLUMNS):
        value = record[column]
        if column != answer and isinstance(value, list) and value:
            messages = [message for _, message in read_turns(value, column)[0]]
            system = [] if messages[0].role == "system" else read_system(record)
            return [*system, *messages]
    columns = find_columns(tuple(record), PROMPT_COLUMNS)
    if not any(column != answer and not is_blank(record[column]) for column in columns):
        return []
    main = next(column for column in columns if column != answer)
    text = Message("user", join_prompt(record, main, answer))
    return [*read_system(record), *read_history(record), text]


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
    is text or a list of turns.
    """

    name: str = "preference"
    chosen: str = "chosen"
    rejected: str = "rejected"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has both answers, as turns or beside a prompt."""
        if self.chosen not in record or self.rejected not in record:
            return False
        if not isinstance(record[self.chosen], str):
            return isinstance(record[self.chosen], list | Mapping)
        return bool(find_columns(tuple(record), (*PROMPT_COLUMNS, *TURN_COLUMNS)))

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Read the chosen answer."""
        chosen = record.get(self.chosen)
        if isinstance(chosen, str):
            answer = without_reasoning(require_text(record, self.chosen))
            prompt = read_prompt(record, self.chosen)
            return [find_answer(prompt, Message("assistant", answer))]
        turns = chosen if isinstance(chosen, list) else [chosen]
        messages, editable = read_turns(turns, self.chosen)
        last = len(messages) - 1
        if last not in editable:
            raise RowError(f"'{self.chosen}' does not end with an assistant turn with text")
        before = [message for _, message in messages[:last]]
        if not any(message.role == "user" for message in before):
            before = [*read_prompt(record, self.chosen), *before]
        is_trained = last not in find_untrained(turns)
        return [find_answer(before, messages[last][1], trained=is_trained)]

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with its chosen answer replaced, in the shape that it has."""
        chosen = record[self.chosen]
        if isinstance(chosen, str):
            return {**record, self.chosen: response}
        turns = list(chosen) if isinstance(chosen, list) else [chosen]
        turns[-1] = replace_text(turns[-1], TurnKeys.of(turns[-1]).text, response)
        return {**record, self.chosen: turns if isinstance(chosen, list) else turns[0]}

    def cut(self, record: Mapping[str, Any], _index: int, /) -> dict[str, Any]:
        """Copy the record, whose conversation already ends after its only response."""
        return dict(record)


NUMBERED = (
    ("response_0", "response_1"),
    ("response_a", "response_b"),
    ("answer_0", "answer_1"),
    ("answer_a", "answer_b"),
    ("output_1", "output_2"),
    ("human_ref_A", "human_ref_B"),
)
"""Columns with two answers, of which another column says which one is better."""

CHOICES = {
    "better_response_id": (0, 1),
    "safer_response_id": (0, 1),
    "chosen_id": (0, 1),
    "winner": ("a", "b"),
    "preference": (1, 2),
    "labels": (1, 0),
}
"""Columns that say which one is better, and the values for the first and for the second."""


@dataclass(frozen=True)
class TwoAnswersFormat:
    """Two answers in numbered columns; the better one is curated.

    The first one is, if no column says which is better.
    """

    first: str
    second: str
    name: str = "two_answers"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the record has both answers."""
        return self.first in record and self.second in record

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Read the better answer."""
        column = (self.first, self.second)[self._choose(record)]
        answer = Message("assistant", without_reasoning(require_text(record, column)))
        prompt = [m for m in read_prompt(record, column) if m.content] or [*read_history(record)]
        return [find_answer(prompt, answer)]

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with the better answer replaced."""
        return {**record, (self.first, self.second)[self._choose(record)]: response}

    def cut(self, record: Mapping[str, Any], _index: int, /) -> dict[str, Any]:
        """Copy the record, whose conversation already ends after its only response."""
        return dict(record)

    @staticmethod
    def _choose(record: Mapping[str, Any]) -> int:
        for column, (_, second) in CHOICES.items():
            value = record.get(column)
            if value is not None:
                text = str(value).lower().removeprefix("model_").removeprefix("response_")
                return int(text == str(second))
        return 0


ANSWER_LISTS = ("completions", "answers", "responses", "candidates", "replies")
ANSWER_KEYS = ("response", "answer", "text", "content", "completion", "output")
RANK_KEYS = ("rank", "ranking")
SCORE_KEYS = ("overall_score", "score", "rating", "fine-grained_score", "reward", "pm_score")


@dataclass(frozen=True)
class RankedFormat:
    """A list of answers with ranks or scores; the best one is curated, the first of equal ones."""

    column: str = "completions"
    name: str = "ranked"

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether the column is a list of answers, beside a prompt."""
        answers = record.get(self.column)
        return (
            isinstance(answers, list)
            and bool(answers)
            and all(_find_key(answer, ANSWER_KEYS) for answer in answers)
            and bool(find_columns(tuple(record), (*PROMPT_COLUMNS, *TURN_COLUMNS)))
        )

    def turns(self, record: Mapping[str, Any]) -> list[CorpusTurn]:
        """Read the best answer."""
        answers = record.get(self.column)
        if not isinstance(answers, list) or not answers:
            raise RowError(f"'{self.column}' is not a list of answers, or is empty")
        best = _find_best(answers)
        key = _find_key(answers[best], ANSWER_KEYS)
        place = f"'{self.column}' answer {best}"
        text = validate_text(answers[best].get(key) if key else None, place)
        answer = Message("assistant", without_reasoning(text))
        return [find_answer(read_prompt(record, self.column), answer)]

    def replace(self, record: Mapping[str, Any], _index: int, response: str, /) -> dict[str, Any]:
        """Copy the record with the best answer replaced."""
        answers = list(record[self.column])
        best = _find_best(answers)
        answers[best] = {**answers[best], str(_find_key(answers[best], ANSWER_KEYS)): response}
        return {**record, self.column: answers}

    def cut(self, record: Mapping[str, Any], _index: int, /) -> dict[str, Any]:
        """Copy the record, whose conversation already ends after its only response."""
        return dict(record)


def _find_key(answer: Any, keys: Sequence[str]) -> str | None:
    if not isinstance(answer, Mapping):
        return None
    return next((key for key in keys if key in answer), None)


def _find_best(answers: Sequence[Any]) -> int:
    return max(range(len(answers)), key=lambda number: (_rate(answers[number]), -number))


def _rate(answer: Any) -> float:
    """The score of an answer, or minus its rank; the lowest if it has neither."""
    for keys, sign in ((SCORE_KEYS, 1), (RANK_KEYS, -1)):
        key = _find_key(answer, keys)
        value = answer[key] if key else None
        if isinstance(value, int | float) and not math.isnan(value):
            return float(sign * value)
    return -math.inf
