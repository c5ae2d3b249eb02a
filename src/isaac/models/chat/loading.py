"""Models and tokenizers of the library transformers, by name, as training and replying need them.

A name is ``smollm2``, a folder with a whole model or with a PEFT adapter, whose base is loaded
too, or what a hub calls a model. Code that comes with a model is never run.
"""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import MissingExtraError
from ...runtime.progress import Progress
from ...text import format_error, shorten
from . import smollm2
from .base import Dtype, ModelError
from .library_logging import quiet_transformers

DEFAULT_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if not loop.first %}{{ '\n' }}{% endif %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '\nAssistant:' }}{% endif %}"
)
"""How a conversation is put to a model whose tokenizer brings no chat template: a line a turn,
``User: ...`` and ``Assistant: ...``, the assistant's ended by the token that ends a text."""


MODEL_FILE_SUFFIXES = (".safetensors", ".bin", ".gguf", ".pt", ".json", ".jinja", ".model")
"""Files of a model's folder that its replies depend on."""

BYTES_PER_END = 2**20
"""Bytes at each end of a large file that tell whether a model has changed."""


class ModelLocation(NamedTuple):
    """What transformers loads, a path or a hub's name, and the adapter's folder if there is one."""

    base: str
    adapter: Path | None = None


class LoadedModel(NamedTuple):
    """A model on its device and its tokenizer, which has a chat template and a padding token.

    ``base`` is the name that the model's weights go by, as an adapter's configuration gives it.
    """

    model: Any
    tokenizer: Any
    base: str

    @property
    def seq2seq(self) -> bool:
        """Say whether the model has an encoder and a decoder."""
        return bool(self.model.config.is_encoder_decoder)


def load_model(
    name: str, *, dtype: Dtype | None = None, trainable: bool = False, merged: bool = False
) -> LoadedModel:
    """Return the model and tokenizer of a name, on the graphics card where there is one.

    Numbers are float32 on a processor, where they depend least on what else is in a batch, and
    bfloat16 on a graphics card, unless ``dtype`` says otherwise. An adapter stays one, to be
    trained on if ``trainable``, unless it is to be ``merged``. Raises `ModelError` if the name
    names no model.
    """
    require_transformers(name)
    import torch

    place = locate_model(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
    try:
        with quiet_transformers():
            model = _load_weights(place.base, dtype).to(device)
            if place.adapter is not None:
                model = _apply_adapter(model, place.adapter, trainable=trainable, merged=merged)
            tokenizer = _load_tokenizer(place)
    except MissingExtraError:
        raise
    except Exception as error:
        raise ModelError(
            f"cannot load the model '{name}': {format_error(error, 300)}. "
            "Give smollm2, a folder with a model or an adapter, or a name that the hub knows"
        ) from error
    return LoadedModel(model, tokenizer, base_model_name(name))


def announce_unpacking(name: str, progress: Progress) -> None:
    """Tell of the wait before a model of this name can be loaded, if there is one."""
    if base_model_name(name) == smollm2.MODEL_NAME and not smollm2.is_unpacked():
        progress.notify(
            f"unpacking {smollm2.MODEL_NAME}, which is done once and takes some ten seconds"
        )


def require_transformers(name: str) -> None:
    """Raise `MissingExtraError` if models cannot be loaded here."""
    if not all(map(find_spec, ("torch", "transformers"))):
        raise MissingExtraError(f"model '{name}'", "train")


def locate_model(name: str) -> ModelLocation:
    """Return where a model's weights lie; raise `ModelError` if they lie nowhere."""
    if name == smollm2.MODEL_NAME:
        return ModelLocation(str(smollm2.ensure_unpacked()))
    folder = Path(name)
    if (folder / "adapter_config.json").is_file():
        base = locate_model(_read_base_model_name(folder))
        if base.adapter is not None:
            raise ModelError(f"the adapter {folder} stands on another adapter; merge that one")
        return ModelLocation(base.base, folder)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{folder} holds no model: neither config.json nor adapter_config.json"
            )
        return ModelLocation(str(folder))
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"no folder {name}")
    return ModelLocation(name)


def base_model_name(name: str) -> str:
    """Return the name of the model that an adapter stands on, or the model's own.

    A folder's is its whole path, so that an adapter finds it from anywhere.
    """
    folder = Path(name)
    if name == smollm2.MODEL_NAME:
        return name
    if (folder / "adapter_config.json").is_file():
        return base_model_name(_read_base_model_name(folder))
    return str(folder.resolve()) if folder.is_dir() else name


def fingerprint_model(model: str) -> str | None:
    """Return what tells a model's folder from the same folder with other weights, else None.

    Of an adapter the folder of its base counts too, where it stands on one.
    """
    folder = Path(model)
    if not folder.is_dir():
        return None
    sha = hashlib.sha256()
    base = Path(base_model_name(model))
    for part in [folder, base] if base != folder.resolve() and base.is_dir() else [folder]:
        for file in sorted(part.iterdir()):
            if file.suffix in MODEL_FILE_SUFFIXES and file.is_file():
                name = f"{file.name} {file.stat().st_size}\n"
                sha.update(name.encode("utf-8", "surrogateescape"))
                sha.update(_read_ends(file))
    return sha.hexdigest()[:16]


def _read_ends(file: Path) -> bytes:
    with file.open("rb") as data:
        start = data.read(BYTES_PER_END)
        data.seek(max(file.stat().st_size - BYTES_PER_END, 0))
        return start + data.read(BYTES_PER_END)


def _read_base_model_name(adapter: Path) -> str:
    file = adapter / "adapter_config.json"
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file} names no base model: {shorten(str(error))}") from None


def _load_weights(base: str, dtype: Dtype) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = AutoConfig.from_pretrained(base)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return kind.from_pretrained(base, dtype=dtype).eval()


def _apply_adapter(model: Any, adapter: Path, *, trainable: bool, merged: bool) -> Any:
    if find_spec("peft") is None:
        raise MissingExtraError(f"the adapter {adapter}", "train")
    import peft

    base = model.name_or_path
    model = peft.PeftModel.from_pretrained(model, adapter, is_trainable=trainable and not merged)
    # Where the base lies here, so that the library does not look for its name on the hub.
    model.peft_config["default"].base_model_name_or_path = base
    if not merged or model.active_peft_config.is_prompt_learning:
        return model  # learnt tokens before the prompt are no weights that others could be added to
    return model.merge_and_unload().requires_grad_(trainable)


def _load_tokenizer(place: ModelLocation) -> Any:
    """Return the adapter's own tokenizer if it has one, the base's otherwise."""
    from transformers import AutoTokenizer

    own = place.adapter is not None and (place.adapter / "tokenizer_config.json").is_file()
    tokenizer = AutoTokenizer.from_pretrained(str(place.adapter) if own else place.base)
    if tokenizer.eos_token is None:
        raise ModelError("its tokenizer has no token that ends a text")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        tokenizer.chat_template = DEFAULT_CHAT_TEMPLATE
    return tokenizer
