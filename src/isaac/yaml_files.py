"""Read settings from YAML files, strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .errors import RecipeError


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would drop the first without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is there twice; remove one", node.start_mark
                )
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a mapping from a YAML file; an empty file gives an empty mapping.

    Raises `RecipeError` if the file cannot be read or contains anything else.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), _StrictLoader)
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: expected 'field: value' lines, got a {type(values).__name__}")
    return values
