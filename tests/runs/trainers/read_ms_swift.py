"""Read an export as ms-swift does: ``read_ms_swift.py FOLDER MODEL FILE MODE LOSS_SCALE OUT``.

Runs in ms-swift's own environment. ``MODE`` is train, rlhf (pairs) or kto. Writes a JSON array: for
each row, its sequences as pairs of a text and whether its tokens carry loss; null where ms-swift
rejects the row.
"""

from __future__ import annotations

import json
import sys
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


def main(folder: str, model: str, file: str, mode: Any, loss_scale: str, out: str) -> None:
    from swift.dataset import load_dataset
    from swift.model import get_processor
    from swift.template import get_template

    rows, _ = load_dataset([str(Path(folder) / file)], load_from_cache_file=False)
    tokenizer = get_processor(model, model_type="llama")
    template = get_template(tokenizer, template_type="chatml", loss_scale=loss_scale)
    template.set_mode(mode)
    prefixes = {"rlhf": ("chosen_", "rejected_"), "kto": ("chosen_",)}.get(mode, ("",))
    found: list[Any] = []
    for row in rows:
        try:
            encoded = template.encode(dict(row))
        except Exception as error:
            print(repr(error), file=sys.stderr)
            found.append(None)
            continue
        sequences = []
        for prefix in prefixes:
            tokens, labels = encoded[f"{prefix}input_ids"], encoded[f"{prefix}labels"]
            sequences.append(split_by_loss(tokenizer, tokens, labels))
        found.append({"sequences": sequences, "label": row.get("label")})
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:7])
