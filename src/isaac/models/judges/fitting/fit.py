"""Fit a judge on labeled rows, as ``isaac judge fit`` does.

The quality of the judge is measured on rows that were used neither to fit nor to tune it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...._version import __version__
from ....errors import JudgeError, require_extra
from ....runtime.arrays import Ints, Reals
from ....runtime.atomic_files import atomic_write
from ....runtime.progress import Progress
from ....text import make_printable
from ...chat.library_logging import quiet_transformers
from ..fitted import (
    JUDGE_FILE,
    MINILM,
    WEIGHT_FILES,
    LinearHead,
    compute_features,
    encode_probe,
    find_minilm_folder,
    hash_weights,
    load_frozen_encoder,
    save_head,
)
from ..metrics import JudgeReport, compute_probabilities, fit_temperature, measure_judge
from ..windows import WindowedClassifier, import_transformers, load_pretrained, move_to_device
from .finetuning import FinetuningSettings, compute_log_loss, compute_margins, finetune
from .labeled_rows import LabeledCorpus, LabeledRows, RowSplit, split_rows

INVERSE_REGULARIZATION_STRENGTHS = (1.0, 4.0, 16.0)
"""Values to try for ``C`` of scikit-learn's logistic regression."""


class FittingSettings(NamedTuple):
    """How a judge is fitted.

    ``frozen`` fits a logistic regression on the encoder's embeddings; otherwise the encoder is
    fine-tuned, for at most ``epochs``. ``window`` is in tokens.
    """

    encoder: str = MINILM
    frozen: bool = False
    seed: int = 0
    epochs: int = 3
    window: int = 128


class FittedJudge(NamedTuple):
    """A judge in its folder, and its quality on held-out pairs and on unseen contexts.

    ``rows`` counts the rows in each part of the split, ``left_out`` those left out, by reason.
    """

    folder: Path
    pairs: JudgeReport
    unseen: JudgeReport
    rows: dict[str, int]
    left_out: dict[str, int]
    seconds: float


class _FittedModel(NamedTuple):
    """A fitted model: functions that compute the log odds of rows by index and save its weights."""

    compute_margins: Callable[[Ints], Reals]
    save: Callable[[Path], None]


def fit_judge(
    corpus: LabeledCorpus,
    folder: Path,
    settings: FittingSettings | None = None,
    progress: Progress | None = None,
) -> FittedJudge:
    """Fit a judge on labeled rows, measure it, and write it to a folder.

    The same rows and seed give the same judge on the same machine. Raises `RecipeError` if there
    are too few rows, and `JudgeError` if the folder contains something other than a judge.
    """
    settings, start = settings or FittingSettings(), time.monotonic()
    _check_folder_free(folder)
    rows = corpus.rows
    split = split_rows(rows, settings.seed)
    fit = _fit_frozen if settings.frozen else _fit_pair
    model = fit(rows, split, settings, progress or Progress())
    temperature = fit_temperature(model.compute_margins(split.tune), rows.unsafe[split.tune])
    pairs, unseen = (
        measure_judge(
            compute_probabilities(model.compute_margins(part), temperature),
            rows.unsafe[part],
            [rows.categories[index] for index in part.tolist()],
        )
        for part in (split.pairs, split.unseen)
    )
    counts = {name: len(part) for name, part in split._asdict().items()}
    fitted = FittedJudge(folder, pairs, unseen, counts, corpus.left_out, time.monotonic() - start)
    _write_folder(fitted, model, temperature, settings)
    return fitted


def check_packages(settings: FittingSettings) -> None:
    """Raise an error that says what to install, before any row is read."""
    if settings.frozen:
        _import_linear_model()
        return
    import_transformers("isaac judge fit")
    if settings.encoder == MINILM:
        find_minilm_folder()


def _import_linear_model() -> Any:
    return require_extra("sklearn.linear_model", "isaac judge fit --frozen", "judges")


def _check_folder_free(folder: Path) -> None:
    """Raise `JudgeError` if the path is a file, or a folder with something other than a judge."""
    if folder.is_file() or (
        folder.is_dir() and any(folder.iterdir()) and not (folder / JUDGE_FILE).exists()
    ):
        raise JudgeError(f"{folder} contains something other than a judge; choose another folder")


def _write_folder(
    fitted: FittedJudge, model: _FittedModel, temperature: float, settings: FittingSettings
) -> None:
    """Write the weights, then ``judge.json``, without which the folder has no finished judge."""
    folder = fitted.folder
    folder.mkdir(parents=True, exist_ok=True)
    kind = "frozen" if settings.frozen else "pair"
    for name in (JUDGE_FILE, *WEIGHT_FILES.values()):
        (folder / name).unlink(missing_ok=True)
    model.save(folder)
    facts = {
        "isaac": __version__,
        "kind": kind,
        "encoder": Path(settings.encoder).name if not settings.frozen else settings.encoder,
        "window": settings.window,
        "seed": settings.seed,
        "temperature": temperature,
        "weights": hash_weights(folder / WEIGHT_FILES[kind]),
        "rows": fitted.rows,
        "left_out": fitted.left_out,
        "held_out_pairs": fitted.pairs.as_json(),
        "unseen_contexts": fitted.unseen.as_json(),
    }
    with atomic_write(folder / JUDGE_FILE) as out:
        out.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _fit_frozen(
    rows: LabeledRows, split: RowSplit, settings: FittingSettings, progress: Progress
) -> _FittedModel:
    """Fit logistic regressions on frozen embeddings, and choose the best on the tuning rows."""
    linear = _import_linear_model()
    encoder = load_frozen_encoder(settings.encoder)
    texts = len({*rows.contexts, *rows.responses})
    with progress.stage("vectors", texts) as tick:
        # All rows (n, 4 d); the split selects from them below.
        features = compute_features(encoder, rows.contexts, rows.responses, tick)
    heads, probe = [], encode_probe(encoder)
    for strength in INVERSE_REGULARIZATION_STRENGTHS:
        model = linear.LogisticRegression(C=strength, max_iter=2000)
        model.fit(features[split.fit], rows.unsafe[split.fit])
        heads.append(
            LinearHead(model.coef_[0].astype(np.float64), float(model.intercept_[0]), probe)
        )
    # The head with the lowest log loss on the tuning rows wins.
    tuning, labels = features[split.tune], rows.unsafe[split.tune]
    losses = [compute_log_loss(tuning @ head.weights + head.bias, labels) for head in heads]
    best = heads[int(np.argmin(losses))]
    return _FittedModel(
        lambda part: np.asarray(features[part] @ best.weights + best.bias, np.float64),
        lambda folder: save_head(folder / WEIGHT_FILES["frozen"], best),
    )


def _fit_pair(
    rows: LabeledRows, split: RowSplit, settings: FittingSettings, progress: Progress
) -> _FittedModel:
    """Fine-tune an encoder with a new classification head on pairs of context and response."""
    used_by = f"isaac judge fit --encoder {make_printable(settings.encoder)}"
    modules = import_transformers(used_by)
    name = find_minilm_folder() if settings.encoder == MINILM else settings.encoder
    tokenizer = load_pretrained(modules, "AutoTokenizer", name, used_by)
    labels = {0: "safe", 1: "unsafe"}
    with modules.torch.random.fork_rng():  # the new head has random weights
        modules.torch.manual_seed(settings.seed)
        model = load_pretrained(
            modules,
            "AutoModelForSequenceClassification",
            name,
            used_by,
            num_labels=2,
            id2label=labels,
            label2id={label: number for number, label in labels.items()},
            dtype=modules.torch.float32,
        )
    reader = WindowedClassifier(modules, tokenizer, move_to_device(modules, model), settings.window)
    finetuning = FinetuningSettings(epochs=settings.epochs, seed=settings.seed)
    finetune(reader, rows.take(split.fit), rows.take(split.tune), finetuning, progress)

    def save(folder: Path) -> None:
        with quiet_transformers():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

    return _FittedModel(lambda part: compute_margins(reader, rows.take(part)), save)
