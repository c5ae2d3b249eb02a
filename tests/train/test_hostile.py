"""Unusual settings, models and folders, which training must handle or refuse with a message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from isaac import IsaacError, Recipe, RecipeError, Run, RunError, curate_to, redraw_run
from tests import tiny
from tests.conftest import write_lines

pytest.importorskip("trl", reason="TRL is not installed")
pytest.importorskip("peft", reason="PEFT is not installed")

from isaac.models.chat.loading import LoadedModel
from isaac.models.chat.rephraser import INSTRUCTION, load_rephraser
from isaac.runs.export_items import iter_items
from isaac.train import TrainingSettings, rephraser, sft
from isaac.train.folder import TrainingFolder
from isaac.train.objectives import _filter_by_template
from isaac.train.settings import read_config

FEW: dict[str, Any] = {"steps": 3, "batch": 4, "learning_rate": 1e-2, "max_length": 256}
ANSWERS = ["Please rest and see a doctor.", "Please see a doctor and rest.", "Who cares.", "Ha!"]

STRICT = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
"""A chat template without system turns, in which the user must speak first."""


def few(**more: Any) -> TrainingSettings:
    return TrainingSettings(**{**FEW, **more})


def chats(count: int) -> list[dict[str, Any]]:
    answers = [ANSWERS[0 if i % 4 else (i // 4) % 4] for i in range(count)]
    return [
        {"prompt": f"My head hurts since {i % 5} days, patient {i}", "completion": answer}
        for i, answer in enumerate(answers)
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("hostile")
    source = write_lines(folder / "chats.jsonl", chats(60))
    return curate_to(folder / "run", source, Recipe.redraw_most(neighbors=40))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save_llama(tmp_path_factory.mktemp("base")))


def facts(folder: Path) -> Any:
    return json.loads((folder / "train.json").read_text())


@pytest.mark.parametrize("options", [{}, {"dtype": "bfloat16"}, {"full": True}])
def test_the_completion_head_works_with_mixed_precision(
    run: Run, base: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    curves = []
    for head in (False, True):
        settings = few(trl={"bf16": True}, completion_head=head, **options)
        out = sft(run, base, tmp_path / str(head), settings).folder
        curves.append([point["loss"] for point in facts(out)["curve"]])
    assert curves[1] == pytest.approx(curves[0], rel=2e-2)


def test_a_failure_before_any_training_leaves_the_folder_free(
    run: Run, base: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(IsaacError, match="cannot load the model 'smolm2'"):
        sft(run, "smolm2", out, few())
    with pytest.raises(RecipeError, match="raise --max-length"):
        sft(run, base, out, few(max_length=8))
    with pytest.raises(RecipeError, match="no field 'speed'"):
        sft(run, base, out, few(trl={"speed": 1}))
    assert sft(run, base, out, few()).steps == 3
    with pytest.raises(RecipeError, match="contains a different training"):
        sft(run, base, out, few(seed=1))


def test_yaml_numbers_without_a_decimal_point_are_numbers(
    run: Run, base: str, tmp_path: Path
) -> None:
    file = tmp_path / "more.yaml"
    file.write_text("trl:\n  weight_decay: 1e-2\n  optim: sgd\npeft:\n  lora_dropout: 1e-1\n")
    out = sft(run, base, tmp_path / "out", few(**read_config(file))).folder
    assert json.loads((out / "adapter_config.json").read_text())["lora_dropout"] == 0.1


@pytest.mark.parametrize("options", [{"logging_steps": 500}, {"logging_strategy": "no"}])
def test_a_training_that_logs_no_step_has_a_mean_loss(
    run: Run, base: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    done = sft(run, base, tmp_path, few(trl=options))
    assert len(facts(tmp_path)["curve"]) == 1
    assert done.loss > 0
    assert (tmp_path / "adapter_model.safetensors").exists()
    assert "Loss by step" in (tmp_path / "report.html").read_text()


def test_a_row_is_no_longer_than_the_model_reads(run: Run, tmp_path: Path) -> None:
    folder = tiny.save_llama(tmp_path / "short")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 96}))
    settings = few(max_length=4096)
    assert sft(run, str(folder), tmp_path / "out", settings).steps == 3
    trained = facts(tmp_path / "out")
    assert trained["rows"] + trained["too_long"] == sum(1 for _ in iter_items(run.curation()))


def test_an_error_of_a_library_during_training_is_reported(
    run: Run, base: str, tmp_path: Path
) -> None:
    settings = few(trl={"max_grad_norm": 1.0, "optim": "adamw_8bit"})
    with pytest.raises(IsaacError, match=r"the training stopped: .*to resume from the last"):
        sft(run, base, tmp_path, settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": float("inf"), "steps": None}, "finite"),
        ({"epochs": float("nan"), "steps": None}, "finite"),
        ({"learning_rate": float("inf")}, "finite"),
        ({"full": True, "merge": True}, "no adapter to merge"),
    ],
)
def test_invalid_settings_are_named(
    run: Run, base: str, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        sft(run, base, tmp_path, few(**options))


def test_rows_that_the_template_rejects_are_counted(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": row["prompt"]}, assistant_turn(row)]}
        for row in chats(40)
    ]
    rows[7]["messages"].insert(0, {"role": "assistant", "content": "Hello, what is it?"})
    run = curate_to(
        tmp_path / "run", write_lines(tmp_path / "c.jsonl", rows), Recipe.redraw_most(neighbors=30)
    )
    strict = str(tiny.save_llama(tmp_path / "strict", STRICT))
    done = sft(run, strict, tmp_path / "out", few())
    assert facts(done.folder)["refused"] == 1
    assert done.rows == 39
    assert "1 more were rejected by the chat template" in (done.folder / "README.md").read_text()

    for row in rows:
        row["messages"].insert(0, {"role": "system", "content": "Be kind."})
    run = curate_to(
        tmp_path / "all", write_lines(tmp_path / "d.jsonl", rows), Recipe.redraw_most(neighbors=30)
    )
    with pytest.raises(RecipeError, match=r"rejects all rows: TemplateError: no system role"):
        sft(run, strict, tmp_path / "none", few())


def assistant_turn(row: dict[str, Any]) -> dict[str, str]:
    return {"role": "assistant", "content": row["completion"]}


def test_rows_whose_text_the_template_drops_are_counted(tmp_path: Path) -> None:
    template = tiny.CHAT_TEMPLATE.replace("m['content'] }}", "m['content'] | replace('!', '') }}")
    loaded, folder = (
        LoadedModel(None, tiny.make_tokenizer(template), "base"),
        TrainingFolder(tmp_path),
    )
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Question {number}"}],
            "completion": [
                {"role": "assistant", "content": f"Answer {number}{'!' * (number % 2)}"}
            ],
        }
        for number in range(5)
    ]
    kept = list(_filter_by_template(rows, loaded, folder))
    assert kept == rows[::2]
    assert folder.refused == 2
    with pytest.raises(RecipeError, match=r"rejects all rows: .*leaves out the assistant turn's"):
        list(_filter_by_template(rows[1::2], loaded, folder))


def test_without_a_system_turn_the_user_turn_has_the_instruction(run: Run, tmp_path: Path) -> None:
    strict = str(tiny.save_llama(tmp_path / "strict", STRICT))
    done = rephraser(run, strict, tmp_path / "out", few(max_length=1024))
    assert facts(done.folder)["refused"] == 0
    model = load_rephraser(done.folder)
    (turn,) = model._build_prompt("My head hurts", "Who cares.")
    assert turn["role"] == "user"
    assert turn["content"].startswith(INSTRUCTION)
    assert model.rewrite(["My head hurts"], ["Who cares."]) != [None]
    assert model.rewrite(["word " * 3000], ["Who cares."]) == [None]
    assert "tokens" in (model.first_error or "")


def test_a_run_without_replaced_rows_is_refused(run: Run, base: str, tmp_path: Path) -> None:
    unchanged = redraw_run(run, {"budget": 0.0}, tmp_path / "unchanged")
    with pytest.raises(RunError, match="no response of the run was replaced"):
        rephraser(unchanged, base, tmp_path / "out", few())
    assert not (tmp_path / "out").exists()


def test_a_merged_rephraser_rewrites_the_same(run: Run, base: str, tmp_path: Path) -> None:
    done = rephraser(run, base, tmp_path / "out", few(max_length=1024, merge=True))
    texts = (["My head hurts"], ["Who cares."])
    merged = load_rephraser(done.folder / "merged")
    assert merged.decoding == load_rephraser(done.folder).decoding
    assert merged.rewrite(*texts) == load_rephraser(done.folder).rewrite(*texts)


def test_a_base_whose_weights_changed_is_refused(run: Run, tmp_path: Path) -> None:
    folder = tiny.save_llama(tmp_path / "base")
    sft(run, str(folder), tmp_path / "out", few())
    sft(run, f"{tmp_path}/./base/", tmp_path / "out", few())
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(RecipeError, match="base_files"):
        sft(run, str(folder), tmp_path / "out", few())


def test_a_truncated_checkpoint_is_removed(tmp_path: Path) -> None:
    training = TrainingFolder(tmp_path)
    for step, state in ((2, "{}"), (10, '{"epoch": 1, "log_his')):
        checkpoint = training.scratch / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "trainer_state.json").write_text(state)
    assert training.find_checkpoint() == str(training.scratch / "checkpoint-2")


def test_packed_rows_are_not_counted_as_too_long(run: Run, base: str, tmp_path: Path) -> None:
    sft(run, base, tmp_path, few(trl={"packing": True}))
    assert facts(tmp_path)["too_long"] == 0
    assert yaml.safe_load((tmp_path / "README.md").read_text().split("---")[1])
