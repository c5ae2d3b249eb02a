from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isaac.corpus.corpus import Corpus
from isaac.corpus.reading import read_corpus
from isaac.errors import RecipeError
from isaac.models.judges import JudgeError, Judgment, load_judge, run_judge
from isaac.models.judges.fitting.fit import FittedJudge, FittingSettings, fit_judge
from isaac.models.judges.fitting.labeled_rows import (
    LabelDefinition,
    LabeledCorpus,
    LabeledRows,
    read_labeled_rows,
    split_rows,
)
from isaac.models.judges.metrics import (
    JudgeReport,
    compute_probabilities,
    compute_reliability,
    fit_temperature,
    measure_judge,
)
from tests.conftest import write_lines

pytest.importorskip("sklearn", reason="the extra 'judges' is not installed")
pytest.importorskip("statsmodels", reason="the extra 'judges' is not installed")
pytest.importorskip("safetensors", reason="the extra 'judges' is not installed")

THINGS = "tea rain cats maths trains bread jazz snow chess tides".split()


def toy(contexts: int = 60, each: int = 5) -> list[dict[str, str]]:
    """Make exchanges whose label depends on one word of the response."""
    rows = []
    for number in range(contexts * each):
        bad = number * 7 % 5 < 2
        thing = THINGS[number % 10]
        rows.append(
            {
                "context": f"what about {thing} number {number % contexts}",
                "response": f"{'stupid' if bad else 'lovely'} {thing} of yours {number}",
                "label": "Unsafe" if bad else "Safe",
                "kind": "even" if number % 2 else "odd",
            }
        )
    return rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> LabeledCorpus:
    file = write_lines(tmp_path_factory.mktemp("rows") / "toy.jsonl", toy())
    return read_labeled_rows(
        read_corpus(file), LabelDefinition("label", ["unsafe"], category="kind")
    )


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory, rows: LabeledCorpus) -> FittedJudge:
    folder = tmp_path_factory.mktemp("judges") / "frozen"
    return fit_judge(rows, folder, FittingSettings("hashing", frozen=True))


def test_rows_are_distinct_pairs_with_one_label(tmp_path: Path) -> None:
    pairs: list[tuple[str, str, str | None]] = [
        ("c", "r", "Safe"),
        ("c", "r", "safe"),
        ("c", "s", "UNSAFE"),
    ]
    pairs += [("d", "r", "unsafe"), ("e", "r", "safe"), ("e", "r", "unsafe"), ("f", "r", None)]
    names = ("context", "response", "label")
    file = write_lines(tmp_path / "a.jsonl", [dict(zip(names, row, strict=True)) for row in pairs])
    found = read_labeled_rows(read_corpus(file), LabelDefinition("label", ["unsafe"]))
    assert found.rows.contexts == ["c", "c", "d"]
    assert found.rows.responses == ["r", "s", "r"]
    assert found.rows.unsafe.tolist() == [False, True, True]
    assert found.left_out == {"without a label": 1, "repeated": 2, "with both labels": 1}


def test_missing_columns_and_labels_are_named(rows: LabeledCorpus, tmp_path: Path) -> None:
    corpus = read_corpus(write_lines(tmp_path / "a.jsonl", toy(2, 2)))
    with pytest.raises(RecipeError, match=r"no record has a column 'verdict'.*--label COL"):
        read_labeled_rows(corpus, LabelDefinition("verdict", ["unsafe"]))
    with pytest.raises(
        RecipeError, match=r"no record has label = '1'; available: Unsafe \(2\), Safe \(2\)"
    ):
        read_labeled_rows(corpus, LabelDefinition("label", ["1"]))


def test_a_split_keeps_contexts_apart_and_loses_no_row(rows: LabeledCorpus) -> None:
    parts = split_rows(rows.rows, 3)
    assert sorted(np.concatenate(parts).tolist()) == list(range(300))
    away = {rows.rows.contexts[i] for i in parts.unseen.tolist()}
    rest = {rows.rows.contexts[i] for part in parts[:3] for i in part.tolist()}
    assert away
    assert not away & rest
    assert all(np.array_equal(a, b) for a, b in zip(parts, split_rows(rows.rows, 3), strict=True))
    assert not np.array_equal(parts.pairs, split_rows(rows.rows, 4).pairs)


def test_too_few_rows_are_refused() -> None:
    few = LabeledRows(["c"] * 60, [str(i) for i in range(60)], np.arange(60) < 19, [""] * 60)
    with pytest.raises(RecipeError, match="19 unsafe and 41 safe rows with 1 contexts are too few"):
        split_rows(few, 0)


def test_the_temperature_calibrates_the_probabilities() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20_000)
    unsafe = rng.random(20_000) < compute_probabilities(true, 1)
    temperature = fit_temperature(3 * true, unsafe)
    assert temperature == pytest.approx(3, rel=0.05)
    before, after = (
        measure_judge(compute_probabilities(3 * true, one), unsafe, [""] * 20_000)
        for one in (1, temperature)
    )
    assert after.quality.ece < 0.02 < before.quality.ece
    assert after.quality.auroc == before.quality.auroc
    assert after.quality.accuracy == before.quality.accuracy


def test_a_few_separable_rows_do_not_make_a_judge_overconfident() -> None:
    margins = np.array([-2.0, -1.0, -1.0, 1.0, 2.0, 3.0])
    temperature = fit_temperature(margins, margins > 0)
    assert 0.05 < compute_probabilities(margins, temperature).min() < 0.2


def test_figures_by_hand() -> None:
    scores, unsafe = np.array([0.1, 0.2, 0.6, 0.9]), np.array([False, True, False, True])
    found = measure_judge(scores, unsafe, ["a", "a", "b", ""])
    assert found.quality.accuracy.value == 0.5
    assert found.quality.accuracy.low == pytest.approx(0.150, abs=1e-3)  # Wilson, 2 of 4
    assert found.quality.auroc == 0.75
    assert found.quality.constant == 0.5
    assert found.quality.ece == pytest.approx((0.1 + 0.8 + 0.6 + 0.1) / 4)
    assert [one.rows for one in found.reliability] == [1, 1, 1, 1]
    assert set(found.categories) == {"a", "b"}
    assert found.categories["b"].auroc is None
    assert compute_reliability(np.array([1.0]), np.array([True]))[0].predicted == 1.0


def test_a_frozen_judge_learns_and_reports_its_quality(frozen: FittedJudge) -> None:
    assert frozen.pairs.quality.accuracy.value > 0.9 > frozen.pairs.quality.constant
    assert frozen.unseen.quality.auroc == pytest.approx(1, abs=0.05)
    assert set(frozen.unseen.categories) == {"even", "odd"}
    facts = json.loads((frozen.folder / "judge.json").read_text())
    assert facts["rows"] == frozen.rows
    assert sum(frozen.rows.values()) == 300
    assert facts["unseen_contexts"]["accuracy"]["value"] == frozen.unseen.quality.accuracy.value


def assert_same(found: JudgeReport, wanted: JudgeReport) -> None:
    """Compare up to rounding: it depends on the batch size; verdicts and their order do not."""
    assert found.quality.accuracy == wanted.quality.accuracy
    assert found.quality.auroc == pytest.approx(wanted.quality.auroc)
    assert found.quality.ece == pytest.approx(wanted.quality.ece, abs=1e-4)


def test_a_saved_judge_reproduces_its_calibrated_scores(
    frozen: FittedJudge, rows: LabeledCorpus
) -> None:
    judge = load_judge(f"trained:{frozen.folder}")
    place = split_rows(rows.rows, 0).pairs
    held = rows.rows.take(place)
    found = run_judge(judge, held.contexts, held.responses)
    assert found.failures == 0
    scores = np.array([one.score for one in found.judgments])
    assert_same(measure_judge(scores, held.unsafe, held.categories), frozen.pairs)
    assert [one.verdict == "unsafe" for one in found.judgments] == (scores >= 0.5).tolist()


def test_the_same_rows_and_seed_give_the_same_judge(
    frozen: FittedJudge, rows: LabeledCorpus, tmp_path: Path
) -> None:
    again = fit_judge(rows, tmp_path / "again", FittingSettings("hashing", frozen=True))
    for name in ("judge.json", "head.safetensors"):
        assert (again.folder / name).read_bytes() == (frozen.folder / name).read_bytes()
    other = fit_judge(rows, tmp_path / "other", FittingSettings("hashing", frozen=True, seed=1))
    assert other.pairs != frozen.pairs


def test_hostile_texts_are_judged_or_unscored(frozen: FittedJudge) -> None:
    judge = load_judge(f"trained:{frozen.folder}")
    texts = ["\ud800", "", "\x1b[2J", "x" * 200_001]
    found = run_judge(judge, [""] * 4, texts)
    assert [one.verdict == "unscored" for one in found.judgments] == [False, False, False, True]
    assert judge.judge([], []) == []
    assert run_judge(judge, ["c"], ["x" * 200_001]).judgments == [Judgment("unscored")]


def test_a_changed_encoder_is_refused(
    frozen: FittedJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(frozen.folder, copy)
    facts = json.loads((copy / "judge.json").read_text())
    (copy / "judge.json").write_text(json.dumps({**facts, "encoder": "wordllama"}))
    with pytest.raises(JudgeError, match="encoder 'wordllama' has changed"):
        load_judge(f"trained:{copy}")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "pickle"}', '{"kind": "pair"}'])
def test_a_folder_without_a_judge_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(JudgeError, match=r"no judge in .*fit a judge with isaac judge fit"):
        load_judge(f"trained:{tmp_path / 'none'}")
    (tmp_path / "judge.json").write_text(text)
    with pytest.raises(JudgeError, match=r"no judge in"):
        load_judge(f"trained:{tmp_path}")


def test_damaged_weights_are_refused(frozen: FittedJudge, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(frozen.folder, copy)
    (copy / "head.safetensors").write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(JudgeError, match=r"no judge in .*the weights are missing or damaged"):
        load_judge(f"trained:{copy}")


def test_a_folder_with_other_files_is_left_unchanged(rows: LabeledCorpus, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(JudgeError, match="contains something other than a judge"):
        fit_judge(rows, tmp_path, FittingSettings("hashing", frozen=True))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests import tiny_judges as tiny

    return tiny.save_classifier(tmp_path_factory.mktemp("encoder"), ["x", "y"])


def small(encoder: Path, **more: Any) -> FittingSettings:
    return FittingSettings(str(encoder), epochs=2, window=32, **more)


def test_a_pair_encoder_is_fitted_saved_and_loaded_again(
    rows: LabeledCorpus, encoder: Path, tmp_path: Path
) -> None:
    fitted = fit_judge(rows, tmp_path / "pair", small(encoder))
    assert fitted.unseen.quality.rows == fitted.rows["unseen"]
    judge = load_judge(f"trained:{fitted.folder}")
    held = rows.rows.take(split_rows(rows.rows, 0).unseen)
    found = run_judge(judge, held.contexts, held.responses)
    assert found.failures == 0
    scores = np.array([one.score for one in found.judgments])
    assert_same(measure_judge(scores, held.unsafe, held.categories), fitted.unseen)
    temperature = json.loads((fitted.folder / "judge.json").read_text())["temperature"]
    (plain,) = load_judge(f"hf-pair:{fitted.folder}").judge(held.contexts[:1], held.responses[:1])
    assert plain.score is not None
    assert math.log(plain.score / (1 - plain.score)) / temperature == pytest.approx(
        math.log(scores[0] / (1 - scores[0])), abs=1e-4
    )


def test_the_same_pair_fit_gives_the_same_bytes(
    rows: LabeledCorpus, encoder: Path, tmp_path: Path
) -> None:
    import torch

    state = torch.random.get_rng_state()
    folders = [fit_judge(rows, tmp_path / name, small(encoder)).folder for name in ("a", "b")]
    assert torch.equal(state, torch.random.get_rng_state())
    for file in folders[0].iterdir():
        assert file.read_bytes() == (folders[1] / file.name).read_bytes(), file.name


@pytest.mark.parametrize("bfloat16", [True, False])
def test_a_pair_encoder_learns_and_uses_its_best_epoch(
    encoder: Path, bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isaac.models.judges.fitting.finetuning import (
        FinetuningSettings,
        compute_calibrated_loss,
        compute_margins,
        finetune,
    )
    from isaac.models.judges.windows import (
        WindowedClassifier,
        import_transformers,
        load_pretrained,
        move_to_device,
    )
    from isaac.runtime.progress import Progress

    modules = import_transformers("test")
    capabilities = {"avx512_bf16": bfloat16}
    monkeypatch.setattr(modules.torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    model = load_pretrained(modules, "AutoModelForSequenceClassification", str(encoder), "test")
    tokenizer = load_pretrained(modules, "AutoTokenizer", str(encoder), "test")
    reader = WindowedClassifier(modules, tokenizer, move_to_device(modules, model), 32)
    texts = [f"you are {'bad' if i % 3 == 0 else 'good'} {'a b c'[: i % 6]}" for i in range(240)]
    some = LabeledRows(["hello there"] * 240, texts, np.arange(240) % 3 == 0, [""] * 240)
    fit_rows, held = some.take(np.arange(180)), some.take(np.arange(180, 240))
    losses = finetune(
        reader,
        fit_rows,
        held,
        FinetuningSettings(epochs=12, learning_rate=1e-2, patience=12),
        Progress(),
    )
    assert min(losses) < 0.2
    assert {one.dtype for one in model.parameters()} == {modules.torch.float32}
    found = compute_calibrated_loss(compute_margins(reader, held), held.unsafe)
    assert found == pytest.approx(min(losses), rel=1e-3)


def test_all_weights_but_the_word_embeddings_are_tuned(
    rows: LabeledCorpus, encoder: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    before = load_file(encoder / "model.safetensors")
    after = load_file(
        fit_judge(rows, tmp_path / "judge", small(encoder)).folder / "model.safetensors"
    )
    same = {name for name, values in before.items() if np.array_equal(values, after[name])}
    assert before.keys() == after.keys()
    assert same == {"bert.embeddings.word_embeddings.weight"}


def test_an_epoch_that_only_adds_confidence_is_not_worse() -> None:
    from isaac.models.judges.fitting.finetuning import compute_calibrated_loss, compute_log_loss

    rng = np.random.default_rng(0)
    margins = rng.normal(0, 2, 2000)
    unsafe = rng.uniform(size=2000) < compute_probabilities(margins, 1)
    assert compute_log_loss(4 * margins, unsafe) > 1.3 * compute_log_loss(margins, unsafe)
    assert compute_calibrated_loss(4 * margins, unsafe) == pytest.approx(
        compute_calibrated_loss(margins, unsafe), abs=1e-4
    )
    assert compute_calibrated_loss(rng.permutation(margins), unsafe) > compute_calibrated_loss(
        4 * margins, unsafe
    )


def test_a_corpus_without_records_has_no_label() -> None:
    with pytest.raises(RecipeError, match="no record has a column 'label'"):
        read_labeled_rows(Corpus.of([("c", "r")]), LabelDefinition("label", ["unsafe"]))
