from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from isaac import read_corpus
from isaac.corpus import corpus
from isaac.corpus.formats import Message
from isaac.curation.dialogue.turn_context import last_user_message, turn_context
from tests.conftest import write_lines

U, A, S, T = "user", "assistant", "system", "tool"


def read(folder: Path, *talks: list[tuple[str, str]]) -> Any:
    rows = [{"messages": [{"role": r, "content": c} for r, c in talk]} for talk in talks]
    return read_corpus(write_lines(folder / "in.jsonl", rows), turns="all")


@pytest.mark.parametrize("chunk", [1, 2, 10_000])
def test_user_messages_before_and_after_each_response(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "CHUNK_EXCHANGES", chunk)
    first = [(S, "Be kind."), (U, "Hi"), (A, "Hello!"), (U, " A room,\nplease. \n"), (A, "Sure.")]
    second = [(U, "Bye"), (A, "Bye!")]
    found = turn_context(read(tmp_path, first, second))
    assert found.user_messages == ["Hi", "A room,\nplease.", "Bye"]
    assert found.replies == ["A room,\nplease.", "", ""]


def test_a_response_is_no_reply_to_the_one_before_it(tmp_path: Path) -> None:
    talk = [(U, "Hi"), (A, "Hello!"), (A, "One moment."), (U, "Fine"), (A, "Done."), (A, "More?")]
    found = turn_context(read(tmp_path, talk))
    assert found.user_messages == ["Hi", "Hi", "Fine", "Fine"]
    assert found.replies == ["", "Fine", "", ""]


def test_a_response_whose_predecessors_are_missing_is_the_first_of_its_record(
    tmp_path: Path,
) -> None:
    talk = [(U, "Hi"), (A, "Hello!"), (U, "A room"), (A, "Sure."), (U, "Bye"), (A, "Bye!")]
    whole = read(tmp_path, talk).table
    assert turn_context(corpus.Corpus(whole.slice(1))) == (["A room", "Bye"], ["Bye", ""])
    other = read(tmp_path, [(U, "Else"), (A, "Yes."), (U, "More"), (A, "No.")]).table.slice(1)
    mixed = corpus.Corpus(pa.concat_tables([whole.slice(0, 2), other]))
    assert turn_context(mixed) == (["Hi", "A room", "More"], ["A room", "", ""])


def test_unknown_messages_are_empty(tmp_path: Path) -> None:
    assert turn_context(corpus.Corpus.of([("a", "b"), ("c", "d")])) == (["a", "c"], ["", ""])
    assert turn_context(corpus.Corpus(corpus.CORPUS_SCHEMA.empty_table())) == ([], [])
    assert last_user_message([Message(S, "x")._asdict(), Message(A, "y")._asdict()]) == ""
    assert last_user_message([Message(U, "x")._asdict(), Message(T, "y")._asdict()]) == "y"
