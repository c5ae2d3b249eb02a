"""An encoder with a classification head, fine-tuned on pairs until it stops getting better."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ....runtime.arrays import Flags, Reals
from ....runtime.progress import Progress, Tick
from ..base import JudgeError
from ..metrics import fit_temperature
from ..windows import MAX_JUDGED_CHARACTERS, WindowedClassifier
from .labeled_rows import LabeledRows


class FinetuningSettings(NamedTuple):
    """How an encoder is tuned: AdamW, a linear warm-up over a tenth of the steps, then down to 0.

    The vectors of its words stay as they are: they are half of a small encoder's weights, and words
    that stand in no row would be left behind. ``patience`` is the number of epochs without a better
    loss on the tuning rows after which it stops; the best epoch's weights stay.
    """

    epochs: int = 3
    seed: int = 0
    batch: int = 32
    rate: float = 1e-4
    decay: float = 0.01
    patience: int = 2


def finetune(
    reader: WindowedClassifier,
    rows: LabeledRows,
    held: LabeledRows,
    how: FinetuningSettings,
    progress: Progress,
) -> list[float]:
    """Tune the reader's model on rows; return the `compute_calibrated_loss` loss on held rows of each epoch."""
    torch, model = reader.tools.torch, reader.model
    losses: list[float] = []
    best: dict[str, Any] = {}
    with torch.random.fork_rng():  # dropout
        torch.manual_seed(how.seed)
        tuner = _Finetuner(reader, rows, how)
        for epoch in range(1, how.epochs + 1):
            with progress.stage(f"epoch {epoch} of {how.epochs}", len(rows.contexts)) as tick:
                tuner.epoch(tick)
            losses.append(compute_calibrated_loss(compute_margins(reader, held), held.unsafe))
            if not math.isfinite(losses[-1]):
                raise JudgeError(f"the fit diverged in epoch {epoch}; try another encoder")
            if losses[-1] == min(losses):
                best = {name: value.clone() for name, value in model.state_dict().items()}
            if len(losses) - 1 - int(np.argmin(losses)) >= how.patience:
                break
    model.load_state_dict(best)
    return losses


class _Finetuner:
    """A model with its optimiser; of a response of several windows it learns from the first."""

    def __init__(
        self, reader: WindowedClassifier, rows: LabeledRows, how: FinetuningSettings
    ) -> None:
        self.reader, self.settings, self.unsafe = reader, how, rows.unsafe
        torch = reader.tools.torch
        encoded = reader.encode(
            *([text[:MAX_JUDGED_CHARACTERS] for text in column] for column in rows[:2])
        )
        owners = encoded.pop("overflow_to_sample_mapping")
        first = np.unique(owners, return_index=True)[1].tolist()
        self.encoded = {name: [values[i] for i in first] for name, values in encoded.items()}
        self.lengths = np.array([len(ids) for ids in self.encoded["input_ids"]])
        self.rng = np.random.default_rng(how.seed)
        steps = math.ceil(len(first) / how.batch) * how.epochs
        reader.model.get_input_embeddings().requires_grad_(False)
        self.trainable_parameters = [one for one in reader.model.parameters() if one.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trainable_parameters, lr=how.rate, weight_decay=how.decay, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: _compute_rate_factor(step, steps)
        )

    def epoch(self, tick: Tick) -> None:
        """Learn from every row once, in batches of like length and random order."""
        torch, model = self.reader.tools.torch, self.reader.model.train()
        for places in self._batches():
            with torch.autocast("cpu", torch.bfloat16, enabled=_has_bfloat16(torch, model)):
                cost = model(**self._padded(places)).loss
            cost.backward()
            torch.nn.utils.clip_grad_norm_(self.trainable_parameters, 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            tick(len(places))
        model.eval()

    def _batches(self) -> list[list[int]]:
        """Return batches of rows that are nearly of one length, for little is then padding."""
        noise = self.rng.uniform(0, 8, len(self.lengths))
        order = np.argsort(self.lengths + noise, kind="stable")
        size = self.settings.batch
        batches = [order[i : i + size].tolist() for i in range(0, len(order), size)]
        return [batches[place] for place in self.rng.permutation(len(batches))]

    def _padded(self, places: list[int]) -> Any:
        rows: dict[str, Any] = {
            name: [values[i] for i in places] for name, values in self.encoded.items()
        }
        rows["labels"] = self.unsafe[places].astype(np.int64)
        device = self.reader.model.device
        return self.reader.tokenizer.pad(rows, return_tensors="pt").to(device)


def _has_bfloat16(torch: Any, model: Any) -> bool:
    """Return whether the model is on a processor that multiplies bfloat16, at twice the speed.

    Products alone are cut to it: weights, optimiser and figures stay float32. An older torch
    cannot tell, and takes float32 throughout.
    """
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return model.device.type == "cpu" and any(map(able.get, ("avx512_bf16", "amx_bf16")))


def _compute_rate_factor(step: int, steps: int) -> float:
    """Return the part of the learning rate at a step: up over a tenth of them, then down to 0."""
    warm = max(1, steps // 10)
    return min((step + 1) / warm, (steps - step) / max(1, steps - warm))


def compute_margins(reader: WindowedClassifier, rows: LabeledRows) -> Reals:
    """Return of each row the log odds of being unsafe, in its worst window."""
    found = reader.logits(rows.contexts, rows.responses)
    return np.array([(logits[:, 1] - logits[:, 0]).max() for logits in found], np.float64)


def compute_log_loss(margins: Reals, unsafe: Flags) -> float:
    """Return the mean negative log-likelihood of labels (n,) under log odds (n,)."""
    return float(np.logaddexp(0, np.where(unsafe, -margins, margins)).mean())


def compute_calibrated_loss(margins: Reals, unsafe: Flags) -> float:
    """Return the loss at the temperature that suits the rows best.

    An epoch more makes an encoder too sure of itself, often while it still tells more rows apart;
    the first is mended once it is fitted.
    """
    return compute_log_loss(margins / fit_temperature(margins, unsafe), unsafe)
