"""Read an export as LLaMA-Factory does: ``read_llama_factory.py FOLDER MODEL STAGE ENTRY OUT``.

Runs in LLaMA-Factory's own environment. ``STAGE`` is sft, rm or kto, ``ENTRY`` the JSON for its
``dataset_info.json``, preceded by "mask:" for ``mask_history``. Writes a JSON array: for each row,
a list of sequences, each as pairs of a text and whether its tokens carry loss.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any


def split_by_loss(tokenizer: Any, tokens: list[int], labels: list[int]) -> list[Any]:
    spans: list[Any] = []
    for token, label in zip(tokens, labels, strict=True):
        if spans and spans[-1][1] == (label != -100):
            spans[-1][0].append(token)
        else:
            spans.append([[token], label != -100])
    return [[tokenizer.decode(part), trained] for part, trained in spans]


def provide_torchaudio() -> None:
    """LLaMA-Factory imports it for sound; its wheels need a GPU build of torch."""
    try:
        importlib.import_module("torchaudio")
    except Exception:
        module = types.ModuleType("torchaudio")
        module.__spec__ = importlib.util.spec_from_loader("torchaudio", None)
        sys.modules["torchaudio"] = module


def main(folder: str, model: str, stage: str, entry: str, out: str) -> None:
    provide_torchaudio()
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    scratch = tempfile.mkdtemp()
    masked = entry.startswith("mask:")
    info = json.loads(entry.removeprefix("mask:"))
    for values in info.values():
        values["file_name"] = str(Path(folder) / values["file_name"])
    (Path(scratch) / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    arguments = {
        "stage": stage,
        "do_train": True,
        "model_name_or_path": model,
        "dataset": ",".join(info),
        "dataset_dir": scratch,
        "template": "chatml",
        "finetuning_type": "lora",
        "output_dir": scratch,
        "cutoff_len": 4096,
        "mask_history": masked,
        "overwrite_cache": True,
        "use_cpu": True,
    }
    model_args, data_args, training_args, _, _ = get_train_args(arguments)
    module = load_tokenizer(model_args)
    tokenizer = module["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    data = get_dataset(template, model_args, data_args, training_args, stage, **module)
    rows = data["train_dataset"]
    prefixes = ("chosen_", "rejected_") if stage == "rm" else ("",)
    found = [
        {
            "sequences": [
                split_by_loss(tokenizer, row[f"{prefix}input_ids"], row[f"{prefix}labels"])
                for prefix in prefixes
            ],
            "label": row.get("kto_tags"),
        }
        for row in rows
    ]
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:6])
