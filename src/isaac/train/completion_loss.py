"""The loss of completions, with the language-model head applied only at their tokens.

On a GPU, TRL's SFTTrainer does this itself. On a CPU it also computes the logits of every prompt
token and discards them, which is most of the work if the vocabulary is large.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..errors import RecipeError

IGNORE_INDEX = -100
"""The label of tokens that are left out of the loss."""


def use_completion_head(trainer: Any) -> None:
    """Make a trainer apply the head only at labeled tokens; the loss stays the same.

    Raises `RecipeError` if the trainer uses several processes or another loss.
    """
    if trainer.accelerator.num_processes > 1:
        raise RecipeError("the completion head works in one process only; leave it out")
    if trainer.args.loss_type != "nll" or trainer.args.label_smoothing_factor:
        raise RecipeError(
            "the completion head works only with loss_type 'nll' and without label smoothing; "
            "leave it out"
        )
    trainer.compute_loss = partial(_compute_loss, trainer)


def _compute_loss(
    trainer: Any,
    model: Any,
    inputs: dict[str, Any],
    return_outputs: bool = False,
    num_items_in_batch: Any = None,
) -> Any:
    """Compute the mean negative log-likelihood of the labeled tokens.

    The head runs outside the model's forward pass, where accelerate applies mixed precision, so the
    autocast context is entered here.
    """
    from torch.nn.functional import cross_entropy

    model_inputs = {name: value for name, value in inputs.items() if name != "labels"}
    # The hidden state at a token predicts the next one: targets (batch, length - 1).
    targets = inputs["labels"][:, 1:]
    labeled = targets != IGNORE_INDEX
    with trainer.accelerator.autocast():
        outputs = model(
            **model_inputs, use_cache=False, output_hidden_states=True, logits_to_keep=1
        )
        head = trainer.accelerator.unwrap_model(model).get_output_embeddings()
        states = outputs.hidden_states[-1]  # (batch, length, hidden size)
        if trainer.state.global_step == 0:
            _check_head(head(states[:, -1:]), outputs.logits)
        logits = head(states[:, :-1][labeled])  # (labeled tokens, vocabulary)
    total = cross_entropy(logits.float(), targets[labeled], reduction="sum")
    count = labeled.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
    loss = total / count
    return (loss, outputs) if return_outputs else loss


def _check_head(head_logits: Any, model_logits: Any) -> None:
    """Raise `RecipeError` if the model's logits are not those of its head alone."""
    import torch

    if not torch.allclose(head_logits.float(), model_logits.float(), rtol=1e-3, atol=1e-3):
        raise RecipeError(
            "this model changes its logits after the language-model head; leave out the completion "
            "head"
        )
