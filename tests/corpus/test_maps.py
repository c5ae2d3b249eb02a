from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaac import Corpus, CorpusError, Recipe, RecipeError, read_corpus
from isaac.corpus.formats import MappedFormat, deserialize_format, serialize_format
from isaac.corpus.formats.proposals import propose_columns
from tests.conftest import RunIsaac, write_lines

TALK: dict[str, Any] = {
    "id": 7,
    "data": {
        "log": [
            {"sender": {"kind": "kunde"}, "body": {"txt": "where is it"}},
            {"sender": {"kind": "berater"}, "body": {"txt": "on its way"}},
            {"sender": {"kind": "kunde"}, "body": {"txt": "since when"}},
            {"sender": {"kind": "berater"}, "body": {"txt": "since Monday"}},
        ]
    },
}
PLACES = {"turns": "data.log", "role": "sender.kind", "text": "body.txt"}
ROLES = ("kunde=user", "berater=assistant")
NESTED = {"request": {"q": "why"}, "answer.text": "so", "other": 1}


def pairs(corpus: Corpus) -> list[tuple[str, str]]:
    """The contexts and responses of a corpus."""
    texts = (corpus.table.column(name).to_pylist() for name in ("context", "response"))
    return list(zip(*texts, strict=True))


def test_turns_are_read_from_where_the_map_says() -> None:
    corpus = read_corpus([TALK], map=PLACES, role=ROLES)
    assert corpus.table.column("context").to_pylist() == [
        "where is it",
        "where is it\non its way\nsince when",
    ]
    assert corpus.table.column("response").to_pylist() == ["on its way", "since Monday"]


def test_a_replaced_turn_changes_nothing_else() -> None:
    fmt = MappedFormat.of(PLACES)
    changed = fmt.replace(TALK, 1, "soon")
    expected = json.loads(json.dumps(TALK))
    expected["data"]["log"][1]["body"]["txt"] = "soon"
    assert changed == expected
    assert len(fmt.cut(TALK, 1)["data"]["log"]) == 2
    assert len(TALK["data"]["log"]) == 4


def test_context_and_response_may_be_nested_or_have_dots_in_their_names() -> None:
    places = {"context": "request.q", "response": "answer.text"}
    corpus = read_corpus([NESTED], map=places)
    assert (corpus[0].context, corpus[0].response) == ("why", "so")
    fmt = MappedFormat.of(places)
    assert fmt.replace(NESTED, 0, "no") == {**NESTED, "answer.text": "no"}
    assert deserialize_format(serialize_format(fmt)) == fmt


def test_rows_that_are_turns_are_joined_by_the_columns_of_the_map() -> None:
    rows: list[dict[str, Any]] = [
        {"thread": "a", "nr": "10", "who": "rep", "said": "so"},
        {"thread": "b", "nr": "1", "who": "cust", "said": "hey"},
        {"thread": "a", "nr": "9", "who": "cust", "said": "why"},
        {"thread": "b", "nr": "2", "who": "rep", "said": "yes?"},
    ]
    places = {"conversation": "thread", "order": "nr", "role": "who", "text": "said"}
    corpus = read_corpus(rows, map=places, role=("rep=assistant", "cust=user"))
    texts = pairs(corpus)
    assert texts == [("why", "so"), ("hey", "yes?")]


def test_turns_may_be_plain_texts_of_user_and_assistant() -> None:
    record: dict[str, Any] = {
        "talk": ["where is it", "on its way", "since when", "since Monday"],
        "n": 3,
    }
    corpus = read_corpus([record], map={"turns": "talk"})
    assert pairs(corpus) == [
        ("where is it", "on its way"),
        ("where is it\non its way\nsince when", "since Monday"),
    ]
    fmt = MappedFormat.of({"turns": "talk"})
    changed = fmt.replace(record, 1, "soon")
    assert changed == {"talk": ["where is it", "soon", "since when", "since Monday"], "n": 3}
    assert fmt.cut(record, 1)["talk"] == record["talk"][:2]
    odd = read_corpus([record, {"talk": ["a", {"b": 1}]}], map={"turns": "talk"})
    assert [row.reason for row in odd.rejected] == [
        "'talk' turn 1 is not a text; name its role and text in the map"
    ]


@pytest.mark.parametrize(
    "history",
    [
        ["where is it", "on its way"],
        [["where is it", "on its way"]],
        [{"role": "kunde", "text": "where is it"}, {"role": "berater", "text": "on its way"}],
    ],
)
def test_a_history_stands_before_the_message(history: list[Any]) -> None:
    places = {"context": "q", "response": "a", "history": "past.turns"}
    rows: list[dict[str, Any]] = [
        {"past": {"turns": history}, "q": "since when", "a": "since Monday"},
        {"past": {"turns": []}, "q": "why", "a": "so"},
        {"q": "who", "a": "me"},
    ]
    corpus = read_corpus(rows, map=places, role=ROLES)
    assert pairs(corpus) == [
        ("where is it\non its way\nsince when", "since Monday"),
        ("why", "so"),
        ("who", "me"),
    ]


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"turn": "x"}, "a map has no 'turn'; available: turns, role"),
        ({"turns": "x", "role": "y"}, "expected a map of role, text, turns; or context, response"),
    ],
)
def test_a_map_that_is_not_complete_is_refused(places: dict[str, str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Recipe.of({"map": places})


def test_a_missing_place_is_a_reason_to_reject_the_row() -> None:
    corpus = read_corpus([TALK, {"id": 8}], map=PLACES, role=ROLES)
    assert [row.reason for row in corpus.rejected] == ["no 'data.log'; there: id"]


PROPOSALS = [
    ([TALK] * 2, "turns: 'data.log'\n  role: 'sender.kind'\n  text: 'body.txt'"),
    (
        [{"n": 1, "anfrage": "wo ist es", "antwort": "es ist unterwegs"}],
        "--context anfrage --response antwort",
    ),
    (
        [
            {"thread": n // 2, "nr": n, "who": ("a", "b")[n % 2], "said": "a longer text"}
            for n in range(8)
        ],
        "conversation: thread\n  role: who\n  text: said",
    ),
    ([{"Hello, how are you today?": "x", "y": "z"}], "add --no-header"),
    ([{"n": 1}], "--map"),
    ([{"dialog": ["where is it?", "on its way"]}] * 2, "add --map map.yaml:\n  turns: dialog"),
]


@pytest.mark.parametrize(("records", "words"), PROPOSALS)
def test_columns_of_this_file_are_proposed(records: list[dict[str, Any]], words: str) -> None:
    assert words in propose_columns(records)


def test_the_proposed_map_reads_the_file(isaac: RunIsaac, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "talks.jsonl", [TALK] * 3)
    done = isaac("curate", source, "-o", tmp_path / "run", "--force")
    assert done.code == 1
    lines = done.err.split("--map map.yaml:\n")[1]
    roles = "roles:\n  kunde: user\n  berater: assistant\n"
    (tmp_path / "map.yaml").write_text(lines.replace("\n  ", "\n").strip() + "\n" + roles)
    done = isaac(
        "curate", source, "-o", tmp_path / "run", "--force", "--map", tmp_path / "map.yaml"
    )
    assert done.code == 0, done.err
    assert "6 exchanges" in done.out
    recipe = Recipe.load(tmp_path / "run" / "recipe.yaml")
    assert (recipe.reading.map, recipe.reading.role) == (PLACES, ROLES)


def test_a_run_with_a_map_heals_its_own_records(
    isaac: RunIsaac, tmp_path: Path, exchanges: list[dict[str, str]], monkeypatch: Any
) -> None:
    import io
    import sys
    from types import SimpleNamespace

    rows = [{"in": {"q": one["context"]}, "out": {"a": one["response"]}} for one in exchanges]
    source = write_lines(tmp_path / "in.jsonl", rows)
    (tmp_path / "map.yaml").write_text("context: in.q\nresponse: out.a\n")
    run = tmp_path / "run"
    assert isaac("curate", source, "-o", run, "--map", tmp_path / "map.yaml").code == 0
    line = json.dumps(rows[0]).encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(line)))
    healed = json.loads(isaac("heal", run).out)
    assert healed["in"] == rows[0]["in"]
    assert healed["isaac_action"] in ("kept", "replaced", "abstained")


def test_a_key_twice_in_a_file_of_settings_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("neighbors: 10\nneighbors: 20\n")
    with pytest.raises(RecipeError, match="the key 'neighbors' is there twice"):
        Recipe.load(file)


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(RecipeError, match="no such encoding"):
        Recipe.of({"encoding": "klingon"})


def test_another_encoding_and_rows_without_a_header_are_read(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes("wie geht’s;schön\nwarum;darum\n".encode("cp1252"))
    with pytest.raises(CorpusError, match="--encoding cp1252"):
        read_corpus(file)
    corpus = read_corpus(
        file, encoding="cp1252", header=False, context="column_1", response="column_2"
    )
    found = pairs(corpus)
    assert found == [("wie geht’s", "schön"), ("warum", "darum")]
    assert corpus.table.column("line").to_pylist() == [1, 2]


def test_a_byte_that_the_encoding_lacks_rejects_its_row_only(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes(b"question,answer\na\x81,b\nwhy,\xe4\n")
    corpus = read_corpus(file, encoding="cp1252")
    assert pairs(corpus) == [("why", "ä")]
    assert [(row.line, row.reason) for row in corpus.rejected] == [
        (2, "a byte that cp1252 does not have; try another --encoding")
    ]


def test_a_delimiter_inside_quotes_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text('question,answer,"a\tb\tc\td"\nwhy,so,1\n')
    assert read_corpus(file)[0].response == "so"
