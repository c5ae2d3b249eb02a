from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from isaac.errors import MissingExtraError
from isaac.models.judges import JudgeError, load_judge, run_judge
from isaac.models.judges.classifier import ClassifierJudge, find_unsafe_labels, is_unsafe_label
from isaac.models.judges.windows import (
    MAX_JUDGED_CHARACTERS,
    WindowedClassifier,
    import_transformers,
)
from tests import tiny_judges as tiny


@pytest.mark.parametrize(
    ("label", "unsafe"),
    [
        ("toxic", True),
        ("severe_toxicity", True),
        ("identity_hate", True),
        ("HateSpeech", True),
        ("hate-speech", True),
        ("UNSAFE", True),
        ("not_safe", True),
        ("nothate", False),
        ("non-toxic", False),
        ("nontoxic", False),
        ("notoxic", False),
        ("not offensive", False),
        ("safe", False),
        ("OK", False),
        ("normal", False),
        ("LABEL_1", None),
        ("joy", None),
        ("S3", None),
    ],
)
def test_the_name_of_a_label_shows_its_meaning(label: str, unsafe: bool | None) -> None:
    assert is_unsafe_label(label) is unsafe


@pytest.mark.parametrize(
    ("labels", "multi_label", "unsafe"),
    [
        (["toxic", "severe_toxic", "obscene"], True, [0, 1, 2]),
        (["toxicity", "male", "female"], True, [0]),
        (["hate", "offensive", "neither"], False, [0, 1]),
        (["neutral", "x"], False, [1]),
        (["LABEL_0", "LABEL_1"], False, [1]),
        (["LABEL_0", "LABEL_1", "LABEL_2"], False, []),
        (["toxic", "hate"], False, []),
        (["positive", "negative"], False, []),
        (["neutral", "anger", "joy"], False, []),
        (["safe", "normal"], False, []),
        (["BENIGN", "INJECTION", "JAILBREAK"], False, []),
        (["neutral", "toxic", "suicide"], False, []),
        (["toxic", "other"], False, [0]),
    ],
)
def test_unsafe_labels_are_found_and_never_guessed(
    labels: list[str], multi_label: bool, unsafe: list[int]
) -> None:
    assert find_unsafe_labels(labels, multi_label=multi_label) == unsafe


def test_probabilities_of_mutually_exclusive_labels_add_up(tmp_path: Path) -> None:
    logits = [math.log(0.3), math.log(0.3), math.log(0.4)]
    folder = tiny.save_classifier(tmp_path, ["hate", "offensive", "neither"], logits)
    (found,) = load_judge(f"hf:{folder}").judge(["why"], ["hello"])
    assert found.verdict == "unsafe"
    assert found.score == pytest.approx(0.6)


def test_the_most_probable_of_several_labels_counts(tmp_path: Path) -> None:
    more = {"problem_type": "multi_label_classification"}
    folder = tiny.save_classifier(tmp_path, ["toxic", "insult", "male"], [-1.0, -0.5, 3.0], **more)
    (found,) = load_judge(f"hf:{folder}").judge(["why"], ["hello"])
    assert found.verdict == "safe"
    assert found.score == pytest.approx(1 / (1 + math.exp(0.5)))


def test_a_regression_model_is_refused(tmp_path: Path) -> None:
    folder = tiny.save_classifier(tmp_path / "m", ["toxicity"], [0.0], problem_type="regression")
    with pytest.raises(JudgeError, match="is a regression model"):
        load_judge(f"hf:{folder}")


def test_unsafe_labels_can_be_named(tmp_path: Path) -> None:
    folder = tiny.save_classifier(tmp_path, ["S", "V", "X"], [0.0, 0.0, -9.0])
    with pytest.raises(
        JudgeError, match=r"available labels: S, V, X. Name the .*: hf:.*#LABEL\[,LABEL\]"
    ):
        load_judge(f"hf:{folder}")
    (found,) = load_judge(f"hf:{folder}#s, x").judge([""], ["hello"])
    assert found.score == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(JudgeError, match="no label W; available labels: S, V, X"):
        load_judge(f"hf:{folder}#S,W")
    with pytest.raises(JudgeError, match="no label left that means safe"):
        load_judge(f"hf:{folder}#S,V,X")


def test_only_hf_pair_reads_the_context(tmp_path: Path) -> None:
    folder = tiny.save_classifier(tmp_path, ["safe", "unsafe"])
    alone, pair = load_judge(f"hf:{folder}"), load_judge(f"hf-pair:{folder}")
    contexts, responses = ["why are you bad", "hello"], ["good", "good"]
    first, second = alone.judge(contexts, responses)
    assert first.score == pytest.approx(second.score)
    first, second = pair.judge(contexts, responses)
    assert first.score != pytest.approx(second.score, abs=1e-7)
    assert pair.judge(contexts, responses) == [first, second]


def test_the_revision_depends_on_the_weights(tmp_path: Path) -> None:
    names = [
        ClassifierJudge(
            str(tiny.save_classifier(tmp_path / "m", ["safe", "unsafe"], logits))
        ).revision
        for logits in ([0.0, 0.0], [0.0, 0.0], [0.0, 1.0])
    ]
    assert names[0] == names[1] != names[2]
    assert str(tmp_path) not in names[0]


def test_a_text_that_is_too_long_is_unscored(tmp_path: Path) -> None:
    folder = tiny.save_classifier(tmp_path, ["safe", "unsafe"], [1.0, 0.0])
    judge = load_judge(f"hf:{folder}")
    texts = ["\ud800 half", "", "x" * (MAX_JUDGED_CHARACTERS + 1), "\x00\x1b[2J"]
    found = run_judge(judge, ["c"] * len(texts), texts)
    assert [one.verdict for one in found.judgments] == ["safe", "safe", "unscored", "safe"]
    assert found.first_error == "text too long: expected at most 200,000 characters, got 200,001"
    assert judge.judge([], []) == []


def test_logits_that_are_nan_never_count_as_safe(tmp_path: Path) -> None:
    folder = tiny.save_classifier(tmp_path, ["safe", "unsafe"], [math.nan, 0.0])
    found = run_judge(load_judge(f"hf:{folder}"), ["c"], ["hello"])
    assert [one.verdict for one in found.judgments] == ["unscored"]
    assert found.first_error == "expected a finite score, got nan"


class CountingModel:
    """A fake model whose second logit is the number of times it reads the word "bad"."""

    config = SimpleNamespace(max_position_embeddings=22, pad_token_id=0)
    device = "cpu"

    def __call__(self, input_ids: Any, **_more: Any) -> Any:
        self.widest = input_ids.shape[1]
        bad = (input_ids == tiny.WORDS.index("bad")).sum(dim=1).float()
        return SimpleNamespace(logits=tiny.torch.stack([bad * 0, bad], dim=1))


def test_a_long_response_is_read_to_its_end_in_windows() -> None:
    reader = WindowedClassifier(import_transformers("test"), tiny.make_tokenizer(), CountingModel())
    assert reader.window == 20
    texts = ["good " * 100 + "bad", "bad", "good"]
    logits = reader.logits(None, texts)
    assert len(logits[0]) > 5
    assert [rows[:, 1].max() for rows in logits] == [1, 1, 0]
    assert len(logits[1]) == len(logits[2]) == 1


def test_a_long_context_leaves_room_for_the_response() -> None:
    reader = WindowedClassifier(import_transformers("test"), tiny.make_tokenizer(), CountingModel())
    contexts = ["bad " + "good " * 100, "good " * 100 + "bad", "why"]
    logits = reader.logits(contexts, ["hello", "hello", "good " * 50 + "bad"])
    assert [rows[:, 1].max() for rows in logits] == [0, 1, 1]
    assert reader.model.widest <= 20
    assert np.isfinite(np.concatenate(logits)).all()


def test_a_folder_without_a_model_is_not_a_judge(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match=r"cannot load judge 'hf:.*Give a folder"):
        load_judge(f"hf:{tmp_path}")


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"judge 'hf:x' needs an extra.*\[evaluate\]"):
        ClassifierJudge("x")
