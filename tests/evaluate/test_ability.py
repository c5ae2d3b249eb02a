from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaac.evaluate.ability import measure_ability
from isaac.models.chat.base import ModelError
from tests import tiny
from tests.conftest import write_lines
from tests.servers import ServerAnswer, StartServer, chat_completion

pytest.importorskip("lm_eval", reason="the extra ability is not installed")
pytest.importorskip("peft", reason="the extra train is not installed")

ROWS = [
    {"question": "The capital of France is", "choices": [" Paris", " Rome"], "answer": 0},
    {"question": "Water is", "choices": [" dry", " wet"], "answer": 1},
    {"question": "Two plus two is", "choices": [" four", " nine"], "answer": 0},
]

CHOICE = {
    "output_type": "multiple_choice",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "acc"}],
}
WRITTEN = {
    "output_type": "generate_until",
    "doc_to_target": "{{choices[answer].strip()}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
    "metric_list": [{"metric": "exact_match"}],
}


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that writes a task file in the harness's format, on the rows above."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = write_lines(tmp_path / "rows.jsonl", ROWS)

    def write_task(name: str, **fields: Any) -> str:
        data = {"dataset_path": "json", "dataset_kwargs": {"data_files": str(rows)}}
        common = {"task": name, "test_split": "train", "doc_to_text": "{{question}}"}
        file = tmp_path / f"{name}.yaml"
        file.write_text(json.dumps({**data, **common, **fields}), encoding="utf-8")
        return str(file)

    return write_task


def save_adapter(llama: Path, folder: Path) -> Path:
    import peft

    from isaac.models.chat.loading import load_model

    settings = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(load_model(str(llama)).model, settings).save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")
@pytest.mark.slow
def test_the_harness_takes_models_as_isaac_loads_them(task: Any, tmp_path: Path) -> None:
    llama = tiny.save_llama(tmp_path / "llama")
    tasks = [task("choice", **CHOICE), task("written", **WRITTEN)]
    adapter = save_adapter(llama, tmp_path / "adapter")
    for folder in (llama, adapter, tiny.save_t5(tmp_path / "t5")):
        ability = measure_ability(str(folder), tasks, 2)
        assert set(ability) == {"choice", "written"}
        assert set(ability["choice"]) == {"acc,none", "acc_stderr,none"}
        assert ability["choice"]["acc,none"] in (0, 1 / 3, 2 / 3, 1)
        assert ability["written"]["exact_match,none"] == 0  # the weights are random
        assert json.loads(json.dumps(ability)) == ability


def test_the_harness_asks_an_endpoint(task: Any, serve: StartServer) -> None:
    def answer(_request: dict[str, Any], number: int) -> ServerAnswer:
        return 200, chat_completion(("Paris", "wet", "five")[number - 1])

    server = serve(answer)
    ability = measure_ability(f"openai:m@{server.url}", [task("written", **WRITTEN)])
    assert ability["written"]["exact_match,none"] == pytest.approx(2 / 3)
    assert {request["path"] for request in server.asked} == {"/v1/chat/completions"}
    assert [request["messages"][-1]["content"] for request in server.asked] == [
        row["question"] for row in ROWS
    ]


@pytest.mark.slow
def test_failures_of_the_harness_are_reported(
    task: Any, serve: StartServer, tmp_path: Path
) -> None:
    server = serve(lambda _request, _number: (200, chat_completion("Paris")))
    with pytest.raises(ModelError, match=r"failed for openai:m@.*Loglikelihood is not supported"):
        measure_ability(f"openai:m@{server.url}", [task("choice", **CHOICE)])
    with pytest.raises(ModelError, match="'no-such-task' is not a registered task"):
        measure_ability(str(tiny.save_llama(tmp_path / "llama")), ["no-such-task"])
