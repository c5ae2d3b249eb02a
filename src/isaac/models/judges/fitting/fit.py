"""A judge fitted on labelled rows: what ``isaac judge fit`` does.

The figures are of the judge that is saved, on rows that it was neither fitted nor tuned on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...._version import __version__
from ....errors import require_extra
from ....runtime.arrays import Ints, Reals
from ....runtime.atomic_files import atomic_write
from ....runtime.progress import Progress
from ....text import make_printable
from ...chat.library_logging import quiet_transformers
from ..base import JudgeError
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
"""Inverse strengths of regularisation that a logistic regression may choose from."""


class FittingSettings(NamedTuple):
    """How a judge is fitted: ``frozen`` is a logistic regression on an encoder's vectors."""

    encoder: str = MINILM
    frozen: bool = False
    seed: int = 0
    epochs: int = 3
    window: int = 128


class FittedJudge(NamedTuple):
    """A judge in its folder: its quality on held-out pairs and on contexts not seen, and rows."""

    folder: Path
    pairs: JudgeReport
    unseen: JudgeReport
    rows: dict[str, int]
    left_out: dict[str, int]
    seconds: float


class _FittedModel(NamedTuple):
    """What a way of fitting gives: the log odds of some of the rows, and how to write weights."""

    margins: Callable[[Ints], Reals]
    save: Callable[[Path], None]


def fit_judge(
    found: LabeledCorpus,
    folder: Path,
    how: FittingSettings | None = None,
    progress: Progress | None = None,
) -> FittedJudge:
    """Fit a judge on labelled rows, measure it and write it to a folder.

    The same rows and seed give the same judge on the same machine. Raises `RecipeError` if there
    are too few rows, `JudgeError` if the folder holds something else.
    """
    how, start = how or FittingSettings(), time.monotonic()
    _check_folder_free(folder)
    parts = split_rows(found.rows, how.seed)
    make = _fit_frozen if how.frozen else _fit_pair
    made = make(found.rows, parts, how, progress or Progress())
    unsafe = found.rows.unsafe
    heat = fit_temperature(made.margins(parts.tune), unsafe[parts.tune])
    held, away = (
        measure_judge(
            compute_probabilities(made.margins(part), heat),
            unsafe[part],
            [found.rows.categories[place] for place in part.tolist()],
        )
        for part in (parts.pairs, parts.unseen)
    )
    counts = {name: len(part) for name, part in parts._asdict().items()}
    fitted = FittedJudge(folder, held, away, counts, found.left_out, time.monotonic() - start)
    _write_folder(fitted, made, heat, how)
    return fitted


def _check_folder_free(folder: Path) -> None:
    """Raise `JudgeError` for a folder that holds something else than a judge."""
    if folder.is_file() or (
        folder.is_dir() and any(folder.iterdir()) and not (folder / JUDGE_FILE).exists()
    ):
        raise JudgeError(f"{folder} holds something else than a judge; name another folder")


def _write_folder(
    fitted: FittedJudge, made: _FittedModel, heat: float, how: FittingSettings
) -> None:
    """Write the folder, ``judge.json`` last: without it there is no judge."""
    folder = fitted.folder
    folder.mkdir(parents=True, exist_ok=True)
    kind = "frozen" if how.frozen else "pair"
    for name in (JUDGE_FILE, *WEIGHT_FILES.values()):
        (folder / name).unlink(missing_ok=True)
    made.save(folder)
    facts = {
        "isaac": __version__,
        "kind": kind,
        "encoder": Path(how.encoder).name if not how.frozen else how.encoder,
        "window": how.window,
        "seed": how.seed,
        "temperature": heat,
        "weights": hash_weights(folder / WEIGHT_FILES[kind]),
        "rows": fitted.rows,
        "left_out": fitted.left_out,
        "held_out_pairs": fitted.pairs.as_json(),
        "unseen_contexts": fitted.unseen.as_json(),
    }
    with atomic_write(folder / JUDGE_FILE) as out:
        out.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _fit_frozen(
    rows: LabeledRows, parts: RowSplit, how: FittingSettings, progress: Progress
) -> _FittedModel:
    """Fit logistic regressions on frozen vectors and keep the one that suits the tuning rows."""
    linear = require_extra("sklearn.linear_model", "isaac judge fit --frozen", "evaluate")
    encoder = load_frozen_encoder(how.encoder)
    texts = len({*rows.contexts, *rows.responses})
    with progress.stage("vectors", texts) as tick:
        seen = compute_features(encoder, rows.contexts, rows.responses, tick)
    heads, known = [], encode_probe(encoder)
    for strength in INVERSE_REGULARIZATION_STRENGTHS:
        model = linear.LogisticRegression(C=strength, max_iter=2000)
        model.fit(seen[parts.fit], rows.unsafe[parts.fit])
        heads.append(
            LinearHead(model.coef_[0].astype(np.float64), float(model.intercept_[0]), known)
        )
    held, labels = seen[parts.tune], rows.unsafe[parts.tune]
    losses = [compute_log_loss(held @ head.weights + head.bias, labels) for head in heads]
    best = heads[int(np.argmin(losses))]
    return _FittedModel(
        lambda part: np.asarray(seen[part] @ best.weights + best.bias, np.float64),
        lambda folder: save_head(folder / WEIGHT_FILES["frozen"], best),
    )


def _fit_pair(
    rows: LabeledRows, parts: RowSplit, how: FittingSettings, progress: Progress
) -> _FittedModel:
    """Fine-tune an encoder on pairs."""
    what = f"isaac judge fit --encoder {make_printable(how.encoder)}"
    tools = import_transformers(what)
    name = find_minilm_folder() if how.encoder == MINILM else how.encoder
    tokenizer = load_pretrained(tools, "AutoTokenizer", name, what)
    labels = {0: "safe", 1: "unsafe"}
    with tools.torch.random.fork_rng():  # the head begins at random
        tools.torch.manual_seed(how.seed)
        model = load_pretrained(
            tools,
            "AutoModelForSequenceClassification",
            name,
            what,
            num_labels=2,
            id2label=labels,
            label2id={label: place for place, label in labels.items()},
            dtype=tools.torch.float32,
        )
    reader = WindowedClassifier(tools, tokenizer, move_to_device(tools, model), how.window)
    settings = FinetuningSettings(epochs=how.epochs, seed=how.seed)
    finetune(reader, rows.take(parts.fit), rows.take(parts.tune), settings, progress)

    def save(folder: Path) -> None:
        with quiet_transformers():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

    return _FittedModel(lambda part: compute_margins(reader, rows.take(part)), save)
