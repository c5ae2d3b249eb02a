"""Read an export as Axolotl does, in its own environment: ``read_axolotl.py FOLDER MODEL YAML``.

Prints one JSON array: for each row, pairs of a text and whether its tokens carry loss.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any


def read_config(model: str, yaml_text: str) -> Any:
    import yaml
    from axolotl.utils.config import normalize_config, validate_config
    from axolotl.utils.dict import DictDefault

    scratch = tempfile.mkdtemp()
    rest = {
        "base_model": model,
        "sequence_len": 4096,
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "num_epochs": 1,
        "learning_rate": 1e-3,
        "optimizer": "adamw_torch",
        "lr_scheduler": "constant",
        "dataset_prepared_path": scratch,
        "output_dir": scratch,
        "dataset_num_proc": 1,
        "dataset_processes": 1,
        "shuffle_merged_datasets": False,
        "special_tokens": {"pad_token": "<pad>"},
    }
    config = validate_config(DictDefault({**yaml.safe_load(yaml_text), **rest}))
    normalize_config(config)
    return config


def split_by_loss(tokenizer: Any, tokens: list[int], labels: list[int]) -> list[Any]:
    spans: list[Any] = []
    for token, label in zip(tokens, labels, strict=True):
        if spans and spans[-1][1] == (label != -100):
            spans[-1][0].append(token)
        else:
            spans.append([[token], label != -100])
    return [[tokenizer.decode(part), trained] for part, trained in spans]


def main(folder: str, model: str, yaml_text: str) -> None:
    os.chdir(folder)
    from axolotl.loaders import load_tokenizer
    from axolotl.utils.data import prepare_datasets, prepare_preference_datasets

    config = read_config(model, yaml_text)
    tokenizer = load_tokenizer(config)
    if config.rl:
        rows, _ = prepare_preference_datasets(config, tokenizer)
        found: list[Any] = [dict(row) for row in rows]
    else:
        rows, *_ = prepare_datasets(config, tokenizer)
        found = [split_by_loss(tokenizer, row["input_ids"], row["labels"]) for row in rows]
    Path(sys.argv[4]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:4])
