"""Settings, models and folders that training has to get along with, or to refuse in words."""

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

from isaac.models.chat.rephraser import INSTRUCTION, load_rephraser
from isaac.runs.export import iter_items
from isaac.train import TrainingSettings, rephraser, sft
from isaac.train.folder import TrainingFolder
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
"""A template without a system turn, in which the user speaks first."""


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
    return curate_to(folder / "run", source, Recipe(neighbors=40))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save_llama(tmp_path_factory.mktemp("base")))


def facts(folder: Path) -> Any:
    return json.loads((folder / "train.json").read_text())


@pytest.mark.parametrize("given", [{}, {"dtype": "bfloat16"}, {"full": True}])
def test_the_completion_head_goes_with_mixed_precision(
    run: Run, base: str, tmp_path: Path, given: dict[str, Any]
) -> None:
    curves = []
    for head in (False, True):
        settings = few(trl={"bf16": True}, completion_head=head, **given)
        out = sft(run, base, tmp_path / str(head), settings).folder
        curves.append([point["loss"] for point in facts(out)["curve"]])
    assert curves[1] == pytest.approx(curves[0], rel=2e-2)


def test_what_failed_before_anything_was_trained_leaves_the_folder_free(
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
    with pytest.raises(RecipeError, match="was begun as another training"):
        sft(run, base, out, few(seed=1))


def test_numbers_of_yaml_without_a_point_are_numbers(run: Run, base: str, tmp_path: Path) -> None:
    file = tmp_path / "more.yaml"
    file.write_text("trl:\n  weight_decay: 1e-2\n  optim: sgd\npeft:\n  lora_dropout: 1e-1\n")
    out = sft(run, base, tmp_path / "out", few(**read_config(file))).folder
    assert json.loads((out / "adapter_config.json").read_text())["lora_dropout"] == 0.1


@pytest.mark.parametrize("given", [{"logging_steps": 500}, {"logging_strategy": "no"}])
def test_a_training_that_logs_nothing_on_its_way_is_kept(
    run: Run, base: str, tmp_path: Path, given: dict[str, Any]
) -> None:
    done = sft(run, base, tmp_path, few(trl=given))
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
    said = facts(tmp_path / "out")
    assert said["rows"] + said["too_long"] == sum(1 for _ in iter_items(run.curation()))


def test_what_a_library_says_on_the_way_is_told(run: Run, base: str, tmp_path: Path) -> None:
    settings = few(trl={"max_grad_norm": 1.0, "optim": "adamw_8bit"})
    with pytest.raises(IsaacError, match=r"the training stopped: .*goes on from the last"):
        sft(run, base, tmp_path, settings)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"epochs": float("inf"), "steps": None}, "finite"),
        ({"epochs": float("nan"), "steps": None}, "finite"),
        ({"learning_rate": float("inf")}, "finite"),
        ({"full": True, "merge": True}, "no adapter to merge"),
    ],
)
def test_settings_that_cannot_be_are_named(
    run: Run, base: str, tmp_path: Path, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(RecipeError, match=told):
        sft(run, base, tmp_path, few(**given))


def test_rows_that_the_template_refuses_are_counted(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": one["prompt"]}, answered(one)]}
        for one in chats(40)
    ]
    rows[7]["messages"].insert(0, {"role": "assistant", "content": "Hello, what is it?"})
    run = curate_to(tmp_path / "run", write_lines(tmp_path / "c.jsonl", rows), Recipe(neighbors=30))
    strict = str(tiny.save_llama(tmp_path / "strict", STRICT))
    done = sft(run, strict, tmp_path / "out", few())
    assert facts(done.folder)["refused"] == 1
    assert done.rows == 39
    assert "1 more are none that the chat template takes" in (done.folder / "README.md").read_text()

    for row in rows:
        row["messages"].insert(0, {"role": "system", "content": "Be kind."})
    run = curate_to(tmp_path / "all", write_lines(tmp_path / "d.jsonl", rows), Recipe(neighbors=30))
    with pytest.raises(RecipeError, match=r"takes none of the rows: TemplateError: no system role"):
        sft(run, strict, tmp_path / "none", few())


def answered(one: dict[str, Any]) -> dict[str, str]:
    return {"role": "assistant", "content": one["completion"]}


def test_a_rephraser_without_a_system_turn_is_asked_by_the_user(run: Run, tmp_path: Path) -> None:
    strict = str(tiny.save_llama(tmp_path / "strict", STRICT))
    done = rephraser(run, strict, tmp_path / "out", few(max_length=1024))
    assert facts(done.folder)["refused"] == 0
    model = load_rephraser(done.folder)
    (turn,) = model._prepare("My head hurts", "Who cares.")
    assert turn["role"] == "user"
    assert turn["content"].startswith(INSTRUCTION)
    assert model.rewrite(["My head hurts"], ["Who cares."]) != [None]
    assert model.rewrite(["word " * 3000], ["Who cares."]) == [None]
    assert "tokens" in (model.first_error or "")


def test_a_run_in_which_nothing_was_replaced_makes_no_rephraser(
    run: Run, base: str, tmp_path: Path
) -> None:
    same = redraw_run(run, {"budget": 0.0}, tmp_path / "same")
    with pytest.raises(RunError, match="no response of the run was replaced"):
        rephraser(same, base, tmp_path / "out", few())
    assert not (tmp_path / "out").exists()


def test_a_merged_rephraser_is_one(run: Run, base: str, tmp_path: Path) -> None:
    done = rephraser(run, base, tmp_path / "out", few(max_length=1024, merge=True))
    asked = (["My head hurts"], ["Who cares."])
    merged = load_rephraser(done.folder / "merged")
    assert merged.decoding == load_rephraser(done.folder).decoding
    assert merged.rewrite(*asked) == load_rephraser(done.folder).rewrite(*asked)


def test_a_base_with_other_weights_is_refused(run: Run, tmp_path: Path) -> None:
    folder = tiny.save_llama(tmp_path / "base")
    sft(run, str(folder), tmp_path / "out", few())
    sft(run, f"{tmp_path}/./base/", tmp_path / "out", few())
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(RecipeError, match="base_files"):
        sft(run, str(folder), tmp_path / "out", few())


def test_a_checkpoint_that_is_torn_is_removed(tmp_path: Path) -> None:
    work = TrainingFolder(tmp_path)
    for step, state in ((2, "{}"), (10, '{"epoch": 1, "log_his')):
        folder = work.scratch / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "trainer_state.json").write_text(state)
    assert work.find_checkpoint() == str(work.scratch / "checkpoint-2")


def test_packed_rows_are_not_told_as_too_long(run: Run, base: str, tmp_path: Path) -> None:
    sft(run, base, tmp_path, few(trl={"packing": True}))
    assert facts(tmp_path)["too_long"] == 0
    assert yaml.safe_load((tmp_path / "README.md").read_text().split("---")[1])
