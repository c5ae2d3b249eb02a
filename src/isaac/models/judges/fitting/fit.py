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
from ....errors import needed
from ....runtime.atomic_files import writing
from ....runtime.progress import Progress
from ....text import visible
from ...chat.library_logging import quiet
from ..base import JudgeError
from ..fitted import (
    FACTS,
    MINILM,
    WEIGHTS,
    Head,
    digest,
    features,
    frozen_encoder,
    minilm,
    probe,
    save_head,
)
from ..metrics import Measured, measured, probabilities, temperature
from ..windows import Reader, Reals, kit, load, placed
from .finetuning import Tuning, loss, margins, tuned
from .labelled_rows import Found, Ints, Rows, Split, split

STRENGTHS = (1.0, 4.0, 16.0)
"""Inverse strengths of regularisation that a logistic regression may choose from."""


class Fitting(NamedTuple):
    """How a judge is fitted: ``frozen`` is a logistic regression on an encoder's vectors."""

    encoder: str = MINILM
    frozen: bool = False
    seed: int = 0
    epochs: int = 3
    window: int = 128


class Fitted(NamedTuple):
    """A judge in its folder: its quality on held-out pairs and on contexts not seen, and rows."""

    folder: Path
    pairs: Measured
    unseen: Measured
    rows: dict[str, int]
    left_out: dict[str, int]
    seconds: float


class _Made(NamedTuple):
    """What a way of fitting gives: the log odds of some of the rows, and how to write weights."""

    margins: Callable[[Ints], Reals]
    save: Callable[[Path], None]


def fit(
    found: Found, folder: Path, how: Fitting | None = None, progress: Progress | None = None
) -> Fitted:
    """Fit a judge on labelled rows, measure it and write it to a folder.

    The same rows and seed give the same judge on the same machine. Raises `RecipeError` if there
    are too few rows, `JudgeError` if the folder holds something else.
    """
    how, start = how or Fitting(), time.monotonic()
    _free(folder)
    parts = split(found.rows, how.seed)
    make = _frozen if how.frozen else _pair
    made = make(found.rows, parts, how, progress or Progress())
    unsafe = found.rows.unsafe
    heat = temperature(made.margins(parts.tune), unsafe[parts.tune])
    held, away = (
        measured(
            probabilities(made.margins(part), heat),
            unsafe[part],
            [found.rows.categories[place] for place in part.tolist()],
        )
        for part in (parts.pairs, parts.unseen)
    )
    counts = {name: len(part) for name, part in parts._asdict().items()}
    fitted = Fitted(folder, held, away, counts, found.left_out, time.monotonic() - start)
    _write(fitted, made, heat, how)
    return fitted


def _free(folder: Path) -> None:
    """Raise `JudgeError` for a folder that holds something else than a judge."""
    if folder.is_file() or (
        folder.is_dir() and any(folder.iterdir()) and not (folder / FACTS).exists()
    ):
        raise JudgeError(f"{folder} holds something else than a judge; name another folder")


def _write(fitted: Fitted, made: _Made, heat: float, how: Fitting) -> None:
    """Write the folder, ``judge.json`` last: without it there is no judge."""
    folder = fitted.folder
    folder.mkdir(parents=True, exist_ok=True)
    kind = "frozen" if how.frozen else "pair"
    for name in (FACTS, *WEIGHTS.values()):
        (folder / name).unlink(missing_ok=True)
    made.save(folder)
    facts = {
        "isaac": __version__,
        "kind": kind,
        "encoder": Path(how.encoder).name if not how.frozen else how.encoder,
        "window": how.window,
        "seed": how.seed,
        "temperature": heat,
        "weights": digest(folder / WEIGHTS[kind]),
        "rows": fitted.rows,
        "left_out": fitted.left_out,
        "held_out_pairs": fitted.pairs.as_json(),
        "unseen_contexts": fitted.unseen.as_json(),
    }
    with writing(folder / FACTS) as out:
        out.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _frozen(rows: Rows, parts: Split, how: Fitting, progress: Progress) -> _Made:
    """Fit logistic regressions on frozen vectors and keep the one that suits the tuning rows."""
    linear = needed("sklearn.linear_model", "isaac judge fit --frozen", "evaluate")
    encoder = frozen_encoder(how.encoder)
    texts = len({*rows.contexts, *rows.responses})
    with progress.stage("vectors", texts) as tick:
        seen = features(encoder, rows.contexts, rows.responses, tick)
    heads, known = [], probe(encoder)
    for strength in STRENGTHS:
        model = linear.LogisticRegression(C=strength, max_iter=2000)
        model.fit(seen[parts.fit], rows.unsafe[parts.fit])
        heads.append(Head(model.coef_[0].astype(np.float64), float(model.intercept_[0]), known))
    held, labels = seen[parts.tune], rows.unsafe[parts.tune]
    losses = [loss(held @ head.weights + head.bias, labels) for head in heads]
    best = heads[int(np.argmin(losses))]
    return _Made(
        lambda part: np.asarray(seen[part] @ best.weights + best.bias, np.float64),
        lambda folder: save_head(folder / WEIGHTS["frozen"], best),
    )


def _pair(rows: Rows, parts: Split, how: Fitting, progress: Progress) -> _Made:
    """Fine-tune an encoder on pairs."""
    what = f"isaac judge fit --encoder {visible(how.encoder)}"
    tools = kit(what)
    name = minilm() if how.encoder == MINILM else how.encoder
    tokenizer = load(tools, "AutoTokenizer", name, what)
    labels = {0: "safe", 1: "unsafe"}
    with tools.torch.random.fork_rng():  # the head begins at random
        tools.torch.manual_seed(how.seed)
        model = load(
            tools,
            "AutoModelForSequenceClassification",
            name,
            what,
            num_labels=2,
            id2label=labels,
            label2id={label: place for place, label in labels.items()},
            dtype=tools.torch.float32,
        )
    reader = Reader(tools, tokenizer, placed(tools, model), how.window)
    settings = Tuning(epochs=how.epochs, seed=how.seed)
    tuned(reader, rows.take(parts.fit), rows.take(parts.tune), settings, progress)

    def save(folder: Path) -> None:
        with quiet():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

    return _Made(lambda part: margins(reader, rows.take(part)), save)
