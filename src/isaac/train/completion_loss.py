"""The loss of a completion with the language-model head applied at the completion's tokens only.

On a graphics card TRL's SFTTrainer does so itself; on a processor it scores every token of the
prompt too and throws the scores away, which is most of the work where a vocabulary is large.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..errors import RecipeError

IGNORE_INDEX = -100
"""The label of tokens that the loss leaves out."""


def use_completion_head(trainer: Any) -> None:
    """Make a trainer apply the head at labelled tokens only; its loss is the same otherwise."""
    if trainer.accelerator.num_processes > 1:
        raise RecipeError("the completion head is for one process; leave it out")
    if trainer.args.loss_type != "nll" or trainer.args.label_smoothing_factor:
        raise RecipeError("the completion head knows no loss but 'nll'; leave it out")
    trainer.compute_loss = partial(_compute_loss, trainer)


def _compute_loss(
    trainer: Any,
    model: Any,
    inputs: dict[str, Any],
    return_outputs: bool = False,
    num_items_in_batch: Any = None,
) -> Any:
    """Return the mean negative log-likelihood of the labelled tokens.

    The head is outside the model's own forward, where accelerate casts: so it is cast here.
    """
    from torch.nn.functional import cross_entropy

    given = {name: value for name, value in inputs.items() if name != "labels"}
    targets = inputs["labels"][:, 1:]
    wanted = targets != IGNORE_INDEX
    with trainer.accelerator.autocast():
        outputs = model(**given, use_cache=False, output_hidden_states=True, logits_to_keep=1)
        head = trainer.accelerator.unwrap_model(model).get_output_embeddings()
        states = outputs.hidden_states[-1]
        if trainer.state.global_step == 0:
            _check_head(head(states[:, -1:]), outputs.logits)
        scores = head(states[:, :-1][wanted])
    total = cross_entropy(scores.float(), targets[wanted], reduction="sum")
    count = wanted.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
    loss = total / count
    return (loss, outputs) if return_outputs else loss


def _check_head(ours: Any, theirs: Any) -> None:
    """Raise `RecipeError` where a model does more to its scores than its head does."""
    import torch

    if not torch.allclose(ours.float(), theirs.float(), rtol=1e-3, atol=1e-3):
        raise RecipeError(
            "this model does more to its scores than its language-model head does; "
            "leave out the completion head"
        )
