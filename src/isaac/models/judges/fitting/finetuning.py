"""Fine-tuning of an encoder with a classification head on pairs of context and response."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ....errors import JudgeError
from ....runtime.arrays import Flags, Reals
from ....runtime.progress import Progress, Tick
from ..metrics import fit_temperature
from ..windows import MAX_JUDGED_CHARACTERS, WindowedClassifier
from .labeled_rows import LabeledRows


class FinetuningSettings(NamedTuple):
    """How an encoder is fine-tuned with AdamW.

    The learning rate rises over a tenth of the steps and then falls linearly to 0. The word
    embeddings stay frozen: they are half of a small encoder's weights, and training would move only
    the words that occur in the rows, away from all others. Training stops after ``patience`` epochs
    without a better loss on the tuning rows; the weights of the best epoch are used.
    """

    epochs: int = 3
    seed: int = 0
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    patience: int = 2


def finetune(
    reader: WindowedClassifier,
    rows: LabeledRows,
    tuning_rows: LabeledRows,
    settings: FinetuningSettings,
    progress: Progress,
) -> list[float]:
    """Fine-tune the reader's model; returns each epoch's calibrated loss on the tuning rows."""
    torch, model = reader.modules.torch, reader.model
    losses: list[float] = []
    best_weights: dict[str, Any] = {}
    with torch.random.fork_rng():  # dropout is random
        torch.manual_seed(settings.seed)
        tuner = _Finetuner(reader, rows, settings)
        for epoch in range(1, settings.epochs + 1):
            with progress.stage(f"epoch {epoch} of {settings.epochs}", len(rows.contexts)) as tick:
                tuner.run_epoch(tick)
            margins = compute_margins(reader, tuning_rows)
            losses.append(compute_calibrated_loss(margins, tuning_rows.unsafe))
            if not math.isfinite(losses[-1]):
                raise JudgeError(
                    f"the loss is not finite after epoch {epoch}; choose another encoder"
                )
            if losses[-1] == min(losses):
                best_weights = {name: value.clone() for name, value in model.state_dict().items()}
            epochs_since_best = len(losses) - 1 - int(np.argmin(losses))
            if epochs_since_best >= settings.patience:
                break
    model.load_state_dict(best_weights)
    return losses


class _Finetuner:
    """A model with its optimizer and batches; it learns only from a response's first window."""

    def __init__(
        self, reader: WindowedClassifier, rows: LabeledRows, settings: FinetuningSettings
    ) -> None:
        self.reader, self.settings, self.unsafe = reader, settings, rows.unsafe
        torch = reader.modules.torch
        encoded = reader.encode(
            *([text[:MAX_JUDGED_CHARACTERS] for text in column] for column in rows[:2])
        )
        # The index of each row's first window; its tokens are all that the model learns from.
        row_of_window = encoded.pop("overflow_to_sample_mapping")
        first = np.unique(row_of_window, return_index=True)[1].tolist()
        self.encoded = {name: [values[i] for i in first] for name, values in encoded.items()}
        self.lengths = np.array([len(ids) for ids in self.encoded["input_ids"]])
        self.rng = np.random.default_rng(settings.seed)
        steps = math.ceil(len(first) / settings.batch_size) * settings.epochs
        reader.model.get_input_embeddings().requires_grad_(False)
        self.trainable_parameters = [
            parameter for parameter in reader.model.parameters() if parameter.requires_grad
        ]
        self.optimizer = torch.optim.AdamW(
            self.trainable_parameters,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: _compute_rate_factor(step, steps)
        )

    def run_epoch(self, tick: Tick) -> None:
        """Train on every row once, in batches of similar length and in random order."""
        torch, model = self.reader.modules.torch, self.reader.model.train()
        for batch in self._make_batches():
            with torch.autocast("cpu", torch.bfloat16, enabled=_has_bfloat16(torch, model)):
                loss = model(**self._build_inputs(batch)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trainable_parameters, 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            tick(len(batch))
        model.eval()

    def _make_batches(self) -> list[list[int]]:
        """Batch rows of similar length, so that little of a batch is padding, and shuffle."""
        # Noise of up to 8 tokens makes the batches of each epoch different.
        noise = self.rng.uniform(0, 8, len(self.lengths))
        order = np.argsort(self.lengths + noise, kind="stable")
        size = self.settings.batch_size
        batches = [order[i : i + size].tolist() for i in range(0, len(order), size)]
        return [batches[number] for number in self.rng.permutation(len(batches))]

    def _build_inputs(self, batch: list[int]) -> Any:
        rows: dict[str, Any] = {
            name: [values[i] for i in batch] for name, values in self.encoded.items()
        }
        rows["labels"] = self.unsafe[batch].astype(np.int64)
        device = self.reader.model.device
        return self.reader.tokenizer.pad(rows, return_tensors="pt").to(device)


def _has_bfloat16(torch: Any, model: Any) -> bool:
    """Whether the model is on a CPU that multiplies in bfloat16, which takes half the time.

    Only products are rounded to bfloat16; weights, optimizer state and losses stay float32. If
    torch has no ``get_capabilities``, everything is float32.
    """
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return model.device.type == "cpu" and any(map(capabilities.get, ("avx512_bf16", "amx_bf16")))


def _compute_rate_factor(step: int, steps: int) -> float:
    """The factor on the learning rate at a step: it rises for a tenth of the steps, then falls."""
    warmup = max(1, steps // 10)
    return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))


def compute_margins(reader: WindowedClassifier, rows: LabeledRows) -> Reals:
    """Compute the log odds (n,) that each row is unsafe: the highest of its windows."""
    row_logits = reader.logits(rows.contexts, rows.responses)
    return np.array([(logits[:, 1] - logits[:, 0]).max() for logits in row_logits], np.float64)


def compute_log_loss(margins: Reals, unsafe: Flags) -> float:
    """Compute the mean negative log-likelihood of labels (n,) under log odds (n,)."""
    return float(np.logaddexp(0, np.where(unsafe, -margins, margins)).mean())


def compute_calibrated_loss(margins: Reals, unsafe: Flags) -> float:
    """Compute the log loss at the temperature that fits these rows best.

    With more epochs an encoder becomes overconfident, often while it still learns to separate more
    rows. The temperature corrects that later, so overconfidence alone must not stop training.
    """
    return compute_log_loss(margins / fit_temperature(margins, unsafe), unsafe)
