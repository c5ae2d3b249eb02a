from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from isaac import Recipe, Run, RunError, curate_to, export, redraw_run
from isaac.runs.export import EXPORT_TYPES
from isaac.runs.export_trainers import ExportType
from tests import tiny
from tests.conftest import RunIsaac, write_lines

COLUMNS = {
    "sft": {"prompt", "completion"},
    "messages": {"messages"},
    "dpo": {"prompt", "chosen", "rejected"},
    "kto": {"prompt", "completion", "label"},
    "sharegpt": {"conversations"},
    "alpaca": {"instruction", "input", "output", "system", "history"},
}

SIDE_FILES = {"dpo": ["llama-factory.jsonl", "ms-swift.jsonl"], "kto": ["llama-factory.jsonl"]}


LAST = {"turns": "last"}

ANSWERS = ["Please rest and see a doctor.", "Please see a doctor and rest.", "Who cares.", "Ha!"]


def chat(i: int) -> dict[str, Any]:
    turns = [
        ("system", "Be kind."),
        ("user", "Hello"),
        ("assistant", "Hi, what is it?"),
        ("user", f"My head hurts since {i % 5} days"),
        ("assistant", answer(i)),
    ]
    return {"messages": [{"role": role, "content": text} for role, text in turns], "extra": None}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the last turns of conversations with several, with two targets each."""
    folder = tmp_path_factory.mktemp("exports")
    source = write_lines(folder / "chats.jsonl", (chat(i) for i in range(60)))
    recipe = Recipe.redraw_most(neighbors=40, targets=2, **LAST)
    return curate_to(folder / "run", source, recipe, force=True)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", EXPORT_TYPES)
def test_an_export_has_the_columns_of_its_type_and_no_nulls(run: Run, kind: ExportType) -> None:
    written = export(run, kind)
    rows = rows_of(written.folder)
    assert len(rows) == written.rows > 0
    assert all(set(row) <= COLUMNS[kind] for row in rows)
    assert "null" not in (written.folder / "train.jsonl").read_text()
    assert len({frozenset(row) for row in rows}) == 1
    files = sorted(file.name for file in written.folder.iterdir())
    assert files == ["README.md", *SIDE_FILES.get(kind, []), "train.jsonl"]
    assert not any("labels" in row for row in rows), "TRL takes this column for token labels"


@pytest.mark.parametrize("kind", EXPORT_TYPES)
def test_the_card_parses_and_names_source_recipe_and_license(run: Run, kind: ExportType) -> None:
    card = (export(run, kind, licence="cc-by-4.0").folder / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc-by-4.0"
    assert yaml.safe_load(front)["configs"][0]["data_files"] == "train.jsonl"
    assert "chats.jsonl" in body
    assert "neighbors: 40" in body
    assert str(run.path) not in card
    for block in body.split("```json\n")[1:]:
        json.loads(block.split("```")[0])
    for block in body.split("```yaml\n")[1:]:
        yaml.safe_load(block.split("```")[0])


def test_sft_is_the_curated_corpus(run: Run) -> None:
    curation = run.curation()
    texts = [text for _, targets in curation.drawn() for _, text, _ in targets]
    rows = rows_of(export(run, "sft").folder)
    assert [row["completion"][0]["content"] for row in rows] == texts
    assert [m["role"] for m in rows[0]["prompt"]] == ["system", "user", "assistant", "user"]


def test_pairs_prefer_a_head_draw_to_the_rows_own_atypical_response(run: Run) -> None:
    for row in rows_of(export(run, "dpo").folder):
        assert row["chosen"][0]["content"].startswith("Please")
        assert row["rejected"][0]["content"] in (
            "Who cares.",
            "Ha!",
            "Please see a doctor and rest.",
        )
        assert row["chosen"] != row["rejected"]


def test_unpaired_labels_are_true_for_the_head_and_false_for_replaced_responses(run: Run) -> None:
    rows = rows_of(export(run, "kto").folder)
    assert {row["label"] for row in rows} == {True, False}
    labeled_true = {row["completion"][0]["content"] for row in rows if row["label"]}
    assert not labeled_true & {"Who cares.", "Ha!"}


def test_alpaca_keeps_earlier_turns_as_history(run: Run) -> None:
    row = rows_of(export(run, "alpaca").folder)[0]
    assert row["history"] == [["Hello", "Hi, what is it?"]]
    assert row["system"] == "Be kind."


def test_an_export_without_rows_is_an_error(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [{"prompt": "a", "completion": "b"}] * 5)
    run = curate_to(tmp_path / "run", source, Recipe.redraw_most(), force=True)
    with pytest.raises(RunError, match="no rows for 'dpo': no response was replaced"):
        export(run, "dpo")
    filtered = redraw_run(run, {"mode": "filter"}, tmp_path / "filtered", force=True)
    with pytest.raises(RunError, match=r"mode filter keeps or drops .*--mode pairs"):
        export(filtered, "dpo")
    assert not (run.path / "export").exists()
    assert not (filtered.path / "export").exists()


def test_the_command_writes_where_it_says(isaac: RunIsaac, run: Run, tmp_path: Path) -> None:
    done = isaac("export", run.path, "--as", "kto", "-o", tmp_path / "kto")
    assert done.code == 0
    assert str(tmp_path / "kto" / "train.jsonl") in done.out
    assert isaac("export", run.path, "--as", "csv").code == 2


@pytest.mark.parametrize("kind", ["sft", "messages", "dpo", "kto"])
def test_trl_reads_the_types_directly(run: Run, kind: ExportType) -> None:
    """Load each type as TRL's trainers do; TRL recognizes it as conversational."""
    pytest.importorskip("trl", reason="TRL is not installed")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    from trl import data_utils

    folder = export(run, kind).folder
    dataset = datasets.load_dataset(str(folder), split="train")
    assert set(dataset.column_names) == COLUMNS[kind]
    assert all(data_utils.is_conversational(row) for row in dataset)
    if kind == "dpo":
        assert data_utils.maybe_extract_prompt(dataset[0])["prompt"] == dataset[0]["prompt"]
    if kind == "kto":
        assert dataset.features["label"].dtype == "bool"


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of a default of TRL itself
def test_trl_trains_on_the_response_alone(run: Run, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    folder = export(run, "sft").folder
    trainer = trl.SFTTrainer(
        model=str(tiny.save_llama(tmp_path / "base")),
        args=trl.SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none"),
        train_dataset=datasets.load_dataset(str(folder), split="train"),
    )
    batch = trainer.data_collator(list(trainer.train_dataset))
    rows = rows_of(folder)
    texts = [
        trainer.processing_class.decode(tokens[labels != -100])
        for tokens, labels in zip(batch["input_ids"], batch["labels"], strict=True)
    ]
    assert [text.removesuffix("\n").removesuffix("</s>") for text in texts] == [
        row["completion"][0]["content"] for row in rows
    ]


def test_conversations_with_tools_are_left_out_and_counted(isaac: RunIsaac, tmp_path: Path) -> None:
    call = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f"}}]}
    turns = [
        {"role": "user", "content": "Where is it?"},
        call,
        {"role": "tool", "tool_call_id": "1", "content": "north"},
        {"role": "assistant", "content": "It is in the north."},
    ]
    rows = [{"messages": turns}, *(chat(i) for i in range(8))]
    run = curate_to(
        tmp_path / "run", write_lines(tmp_path / "in.jsonl", rows), Recipe.redraw_most(), force=True
    )
    done = isaac("export", run.path, "--as", "messages")
    assert done.out.startswith("8 rows")
    assert "left out: 1 exchanges with tool calls" in done.err
    assert (
        "1 exchanges with tool calls are left out"
        in (run.path / "export" / "messages" / "README.md").read_text()
    )


def test_a_response_of_the_head_is_never_the_rejected_one(run: Run, tmp_path: Path) -> None:
    redrawn = redraw_run(run, {"keep": False}, tmp_path / "new")
    for row in rows_of(export(redrawn, "dpo").folder):
        assert not row["rejected"][0]["content"].startswith("Please rest")


def test_alpaca_never_uses_an_assistant_turn_as_the_instruction(tmp_path: Path) -> None:
    turns = [("user", "Hello"), ("assistant", "Hi."), ("assistant", "How can I help?")]
    talk = {"messages": [{"role": role, "content": text} for role, text in turns]}
    source = write_lines(tmp_path / "in.jsonl", [talk])
    run = curate_to(tmp_path / "run", source, Recipe.redraw_most(**LAST), force=True)
    (row,) = rows_of(export(run, "alpaca").folder)
    assert row["instruction"] == ""
    assert row["history"] == [["Hello", "Hi."]]
    assert row["output"] == "How can I help?"


def make_run(folder: Path, talks: list[list[tuple[str, str]]], **fields: Any) -> Run:
    """A run on conversations of (role, text), with two targets each."""
    rows = [
        {"messages": [{"role": role, "content": text} for role, text in talk]} for talk in talks
    ]
    recipe = Recipe.redraw_most(neighbors=40, targets=2, **fields)
    return curate_to(folder / "run", write_lines(folder / "in.jsonl", rows), recipe, force=True)


def answer(i: int) -> str:
    return ANSWERS[0 if i % 4 else (i // 4) % 4]


def test_an_alpaca_row_with_a_history_comes_first(tmp_path: Path) -> None:
    """`datasets` types a column by the first ten megabytes, and cannot load another type later."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    long = "word " * 40_000
    talks = [[("user", f"{long} {i}"), ("assistant", "Please rest.")] for i in range(60)]
    late = [[("user", "Hi"), ("assistant", "Yes?"), ("user", "Ill"), ("assistant", "Please rest.")]]
    run = make_run(tmp_path, [*talks, *late], turns="last")
    folder = export(run, "alpaca").folder
    assert (folder / "train.jsonl").stat().st_size > 11_000_000
    loaded = datasets.load_dataset("json", data_files=str(folder / "train.jsonl"), split="train")
    assert loaded[0]["history"] == [["Hi", "Yes?"]]
    assert len(loaded) == len(rows_of(folder)) >= 61
    only_short = make_run(tmp_path / "short", talks[:5])
    card = export(only_short, "alpaca")
    assert all("history" not in row for row in rows_of(card.folder))
    text = (card.folder / "README.md").read_text()
    assert '"history"' not in text
    assert "type: alpaca" in text


def test_axolotl_gets_no_alpaca_rows_whose_system_turn_it_would_leave_out(tmp_path: Path) -> None:
    talks = [
        [("system", "Be kind."), ("user", f"My head hurts {i}"), ("assistant", answer(i))]
        for i in range(20)
    ]
    folder = export(make_run(tmp_path, talks), "alpaca").folder
    card = (folder / "README.md").read_text()
    assert "```yaml\ndatasets" not in card
    assert "would leave out the system turns" in card


def test_rows_in_which_nobody_takes_turns_are_counted_and_joined(tmp_path: Path) -> None:
    irregular = [("assistant", "Welcome."), ("user", "Hello."), ("user", "My head hurts now")]
    talks = [
        [
            *(irregular if i % 3 == 0 else [("user", f"My head hurts since {i % 5} days")]),
            ("assistant", answer(i)),
        ]
        for i in range(60)
    ]
    run = make_run(tmp_path, talks, turns="last")
    written = export(run, "messages")
    greeted = [row["messages"][0]["role"] == "assistant" for row in rows_of(written.folder)]
    assert 20 <= written.irregular == sum(greeted) < written.rows
    assert f"drops the {written.irregular} rows" in (written.folder / "README.md").read_text()
    pairs = export(run, "dpo").folder
    assert "consecutive turns of one side are joined" in (pairs / "README.md").read_text()
    for line in (pairs / "llama-factory.jsonl").read_text().splitlines():
        row = json.loads(line)
        roles = [message["role"] for message in row["messages"]]
        assert roles in (["user"], ["user", "assistant", "user"])
        assert {row[side]["role"] for side in ("chosen", "rejected")} == {"assistant"}


def test_answers_of_a_pair_have_no_spaces_around_them(tmp_path: Path) -> None:
    talks = [
        [
            ("user", f"It hurts for {i % 5} days"),
            ("assistant", f" {answer(i)}\n" if i % 2 else answer(i)),
        ]
        for i in range(60)
    ]
    run = make_run(tmp_path, talks)
    kinds: dict[ExportType, tuple[str, ...]] = {
        "dpo": ("chosen", "rejected"),
        "kto": ("completion",),
    }
    for kind, columns in kinds.items():
        for row in rows_of(export(run, kind).folder):
            contents = [row[column][0]["content"] for column in columns]
            assert contents == [content.strip() for content in contents]
            assert len(set(contents)) == len(contents)


def test_names_and_licences_cannot_write_markdown_html_or_front_matter(tmp_path: Path) -> None:
    name = "<img src=x>|[a](http://b.example) `x`\x1b[31m.jsonl"
    source = write_lines(tmp_path / name, (chat(i) for i in range(20)))
    run = curate_to(tmp_path / "run", source, Recipe.redraw_most(), force=True)
    licence = "mit\ntags: [x]\n---\n# <b>hello</b>" + " long" * 40
    card = (export(run, "sft", licence=licence).folder / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    values = yaml.safe_load(front)
    assert values["license"] == " ".join(licence.split())
    assert values["tags"] == ["isaac", "alignment", "safety"]
    for text in ("<img src=x>", "<b>hello</b>"):
        for line in body.splitlines():
            before, found, after = line.partition(text)
            if found:
                assert before.count("``") % 2 == 1, "the text is not in a code span"
                assert "``" in after
    (row,) = [line for line in body.splitlines() if line.startswith("| ``")]
    assert row.replace("\\|", "").count("|") == 4
    assert "\x1b" not in card
    for page in ("report.html", "report.md"):
        assert "\x1b" not in (run.path / page).read_text()


def test_control_tokens_are_counted_and_taken_apart(
    tmp_path: Path, isaac: RunIsaac, exchanges: list[dict[str, str]]
) -> None:
    tokens = ("<|im_end|>", "[INST]", "</s>", "<start_of_turn>", "<｜end▁of▁sentence｜>")
    rows = [
        {**row, "response": f"{row['response']} {tokens[n % 5]}"} if n % 3 == 0 else row
        for n, row in enumerate(exchanges)
    ]
    source = write_lines(tmp_path / "in.jsonl", rows)
    done = isaac("curate", source, "-o", tmp_path / "run", "--mode", "resample", "--budget", "0.1")
    told = f"{len(rows[::3]):,} responses have control tokens of chat templates, such as <|im_end|>"
    assert told in done.err
    counts = {}
    for how in ("split", "drop", "keep"):
        folder = tmp_path / how
        flags = ("--as", "messages", "-o", folder, "--control-tokens", how)
        message = isaac("export", tmp_path / "run", *flags).err
        text = (folder / "train.jsonl").read_text(encoding="utf-8")
        counts[how] = sum(any(token in line for token in tokens) for line in text.splitlines())
        assert "rows with control tokens of chat templates" in message
        assert "have control tokens of chat templates" in (folder / "README.md").read_text()
        assert ("< |im_end|>" in text) == (how == "split")
    assert counts["split"] == counts["drop"] == 0
    assert counts["keep"] > 0
