"""Load transformers models and tokenizers by name, for training and for replies.

A name is ``smollm2``, a folder with a complete model or with a PEFT adapter (its base model is
loaded too), or the name of a model on the hub. Python code that comes with a model is never run.
"""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import MissingExtraError
from ...runtime.progress import Progress
from ...text import format_error
from . import smollm2
from .base import Dtype, ModelError
from .library_logging import quiet_transformers
from .templates import adapt_chat_template
from .weights import LOADING_INFO, WeightsError, check_adapter_weights, check_weights

DEFAULT_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if not loop.first %}{{ '\n' }}{% endif %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '\nAssistant:' }}{% endif %}"
)
"""The chat template for tokenizers without one: ``User: ...`` and ``Assistant: ...``, one line per
turn; the assistant's turns end with the end-of-text token."""

MODEL_FILE_SUFFIXES = (".safetensors", ".bin", ".gguf", ".pt", ".json", ".jinja", ".model")
"""Suffixes of the files in a model's folder that its replies depend on."""

METADATA_FILE = "isaac.json"
"""The file in a model's folder that records what the model was trained for, and from."""

BYTES_PER_END = 2**20
"""How many bytes at each end of a file a model's fingerprint covers."""


class ModelLocation(NamedTuple):
    """The path or hub name that transformers loads, and the adapter's folder, if any."""

    base: str
    adapter: Path | None = None


class LoadedModel(NamedTuple):
    """A model on its device, and its tokenizer with a chat template and a padding token.

    ``base`` names the model without its adapter, as an adapter's configuration does.
    """

    model: Any
    tokenizer: Any
    base: str

    @property
    def seq2seq(self) -> bool:
        """Whether the model is an encoder-decoder, such as T5."""
        return bool(self.model.config.is_encoder_decoder)


def load_model(
    name: str, *, dtype: Dtype | None = None, trainable: bool = False, merged: bool = False
) -> LoadedModel:
    """Load a model and its tokenizer, on the GPU if there is one.

    ``dtype`` defaults to bfloat16 on a GPU, and on a CPU to float32, where a reply depends least
    on the other conversations in its batch. ``merged`` adds an adapter to the weights; otherwise it
    stays separate, and ``trainable`` lets its training continue. Raises `ModelError` if the model
    cannot be loaded or its files lack weights, and if an adapter does not fit its base model.
    """
    require_transformers(name)
    import torch

    location = locate_model(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
    try:
        with quiet_transformers():
            model = _load_weights(location.base, dtype, name).to(device)
            if location.adapter is not None:
                model = _apply_adapter(model, location.adapter, trainable=trainable, merged=merged)
            tokenizer = _load_tokenizer(location)
            adapt_chat_template(tokenizer, trainable=trainable)
    except (MissingExtraError, WeightsError):
        raise
    except Exception as error:
        raise ModelError(
            f"cannot load the model '{name}': {format_error(error, 300)}. "
            "Give smollm2, a folder with a model or an adapter, or the name of a model on the hub"
        ) from error
    return LoadedModel(model, tokenizer, base_model_name(name))


def announce_unpacking(name: str, progress: Progress) -> None:
    """Notify the user if loading a model has to unpack smollm2 first."""
    if base_model_name(name) == smollm2.MODEL_NAME and not smollm2.is_unpacked():
        progress.notify(
            f"unpacking {smollm2.MODEL_NAME}; this happens once and takes about ten seconds"
        )


def require_transformers(name: str) -> None:
    """Raise `MissingExtraError` if torch or transformers is not installed."""
    if not all(map(find_spec, ("torch", "transformers"))):
        raise MissingExtraError(f"model '{name}'", "train")


def locate_model(name: str) -> ModelLocation:
    """Find a model's weights; raise `ModelError` if a folder has none or does not exist."""
    if name == smollm2.MODEL_NAME:
        return ModelLocation(str(smollm2.ensure_unpacked()))
    folder = Path(name)
    if (folder / "adapter_config.json").is_file():
        base = locate_model(_read_base_model_name(folder))
        if base.adapter is not None:
            raise ModelError(
                f"the base of the adapter {folder} is another adapter; merge that one first"
            )
        return ModelLocation(base.base, folder)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{folder} contains no model: expected config.json or adapter_config.json in it"
            )
        return ModelLocation(str(folder))
    # A hub name has at most one slash and does not start like a path.
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"no folder {name}; expected a folder with a model or an adapter")
    return ModelLocation(name)


def base_model_name(name: str) -> str:
    """The name of an adapter's base model, or of the model itself.

    A folder is given as an absolute path, so that an adapter finds its base from anywhere.
    """
    folder = Path(name)
    if name == smollm2.MODEL_NAME:
        return name
    if (folder / "adapter_config.json").is_file():
        return base_model_name(_read_base_model_name(folder))
    return str(folder.resolve()) if folder.is_dir() else name


def fingerprint_model(model: str) -> str | None:
    """A checksum that changes with the weights in a model's folder; None if it is not a folder.

    For an adapter it covers the folder of the base model too, if that is local. It reads names,
    sizes, and only the first and last `BYTES_PER_END` bytes of each file.
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
        name = str(json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"cannot read base_model_name_or_path, the adapter's base model, from {file}: "
            f"{format_error(error)}"
        ) from None
    return smollm2.MODEL_NAME if name == smollm2.HUB_NAME and _is_packaged(adapter) else name


def _is_packaged(adapter: Path) -> bool:
    """Whether an adapter was trained on the weights of the package, which are not the hub's."""
    try:
        metadata = json.loads((adapter / METADATA_FILE).read_text(encoding="utf-8"))
        return bool(metadata["base_package"] == smollm2.PACKAGE)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _load_weights(base: str, dtype: Dtype, name: str) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = AutoConfig.from_pretrained(base)
    model_class = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model, info = model_class.from_pretrained(base, dtype=dtype, **LOADING_INFO)
    check_weights(model, info, name)
    return model.eval()


def _apply_adapter(model: Any, adapter: Path, *, trainable: bool, merged: bool) -> Any:
    if find_spec("peft") is None:
        raise MissingExtraError(f"the adapter {adapter}", "train")
    import peft

    base = model.name_or_path
    model = peft.PeftModel.from_pretrained(model, adapter, is_trainable=trainable and not merged)
    check_adapter_weights(model, adapter)
    # Set the local path of the base, so that peft does not look up its name on the hub.
    model.peft_config["default"].base_model_name_or_path = base
    if not merged or model.active_peft_config.is_prompt_learning:
        return model  # learned prompt tokens leave the weights unchanged: nothing to merge
    return model.merge_and_unload().requires_grad_(trainable)


def _load_tokenizer(location: ModelLocation) -> Any:
    """Load the adapter's tokenizer if it has one, otherwise the base model's."""
    from transformers import AutoTokenizer

    adapter = location.adapter
    from_adapter = adapter is not None and (adapter / "tokenizer_config.json").is_file()
    tokenizer = AutoTokenizer.from_pretrained(str(adapter) if from_adapter else location.base)
    if tokenizer.eos_token is None:
        raise ModelError("its tokenizer has no end-of-text token")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        tokenizer.chat_template = DEFAULT_CHAT_TEMPLATE
    return tokenizer
