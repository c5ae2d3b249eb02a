#!/usr/bin/env bash
# A Trainer that resumes from its last checkpoint takes one step more than max_steps.
#
# A training job that is killed after its last checkpoint, but before it ends, is usually started
# again with the same command. Guess before measuring: the checkpoint is at max_steps, so nothing
# is left to do, and the weights stay as they are.
#
# Exits with 1 if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
pip "torch==2.13.0" "accelerate==1.15.0" "transformers==5.24.0" "numpy==2.2.6"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from transformers import Trainer, TrainingArguments

print("transformers", version("transformers"), "torch", version("torch"))


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, y):
        return {"loss": ((self.slope * x - y) ** 2).mean()}


rows = [{"x": torch.tensor([1.0]), "y": torch.tensor([2.0])} for _ in range(64)]


def train(resume):
    arguments = TrainingArguments(
        "out", max_steps=6, save_steps=3, per_device_train_batch_size=2, learning_rate=0.01,
        report_to="none", use_cpu=True, disable_tqdm=True, logging_strategy="no",
        lr_scheduler_type="constant",
    )
    trainer = Trainer(Line(), arguments, train_dataset=rows)
    trainer.train(resume_from_checkpoint=resume)
    return trainer.state.global_step, trainer.model.slope.item()


steps, slope = train(None)
print(f"trained:              {steps} steps, slope {slope:.4f}")
again, moved = train("out/checkpoint-6")
print(f"resumed from the end: {again} steps, slope {moved:.4f}")
assert steps == 6, "the first training stopped at max_steps"
assert again == 7 and moved != slope, "the resumed one took a step more, and changed the weights"
PYTHON
