"""The numbers that define a curation, with their bounds."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import RecipeError
from .text import short

Sharpening = Literal["adaptive", "figure", "max", "softmax", "proportional", "power", "uniform"]

DRAW_FIELDS = frozenset(
    {
        "top_clusters",
        "top_mass",
        "sharpening",
        "temperature",
        "power",
        "targets",
        "keep",
        "seed",
    }
)
"""The fields that ``redraw`` may change: nothing before the draw depends on them."""


class Recipe(BaseModel):
    """Everything that decides which exchanges a curation yields, beside the corpus itself.

    The defaults are the paper's settings: k = 150, connected components, the ten largest
    clusters, adaptive sharpening, a uniform draw within the cluster. The temperature is 0.5, the
    value that docs/experiments.md compares with others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # How the input is read.
    format: str | None = Field(
        default=None, description="input format, recognised by itself if not given"
    )
    context: str | None = Field(default=None, description="column with the context")
    response: str | None = Field(
        default=None, description="column with the response or conversation"
    )
    turns: Literal["last", "all"] = Field(
        default="last", description="which assistant turns to curate"
    )
    limit: int | None = Field(default=None, ge=1, description="read only the first N exchanges")

    # What is near what.
    context_encoder: str = Field(default="wordllama", description="encoder of contexts")
    response_encoder: str = Field(default="wordllama", description="encoder of responses")
    group_by: str | None = Field(
        default=None,
        description="column whose equal values make a neighbourhood, instead of a search",
    )
    neighbors: int = Field(
        default=150, ge=1, description="size k of a neighbourhood, the row included"
    )
    view: Literal["whole", "opening", "residual"] = Field(
        default="whole",
        description="what of a response is compared: all of it, its first sentence, or what its "
        "context does not predict",
    )
    clusters: Literal["components", "cover", "text"] = Field(
        default="components",
        description="grouping of responses: chained within the radius, balls of it, equal",
    )
    radius: float = Field(
        default=0.8,
        ge=0,
        le=2,
        description="Euclidean distance on unit vectors that joins two responses",
    )

    # What is drawn.
    top_clusters: int = Field(default=10, ge=1, description="keep the K largest clusters")
    top_mass: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="keep the largest clusters up to this share of responses",
    )
    sharpening: Sharpening = Field(
        default="adaptive", description="how odds follow from cluster sizes"
    )
    temperature: float = Field(
        default=0.5,
        gt=0,
        description="tau, in responses; never more than the smallest kept cluster",
    )
    power: float = Field(default=2.0, ge=1, description="exponent of the power rule")
    targets: int = Field(default=1, ge=1, le=100, description="distinct draws for each row")
    keep: bool = Field(default=True, description="leave a response of the largest cluster as it is")
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of every draw")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Recipe:
        """Return a recipe from plain values; a bad one raises `RecipeError` that names it."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise RecipeError(cls._problem(error)) from None

    @classmethod
    def _problem(cls, error: ValidationError) -> str:
        first = error.errors()[0]
        name = short(".".join(str(part) for part in first["loc"]), 40)
        if first["type"] in ("extra_forbidden", "invalid_key"):
            return f"no recipe field '{name}'; there: {', '.join(cls.model_fields)}"
        came = short(reprlib.repr(first["input"]), 40)
        return f"recipe field '{name}': {first['msg']} (came: {came})"

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Return the recipe in a YAML file."""
        return cls.of(read_yaml(path))

    def redrawn(self, changes: Mapping[str, Any]) -> Recipe:
        """Return the recipe with other draw settings.

        Raises `RecipeError` for a field that the neighbourhoods depend on, or a bad value.
        """
        fixed = sorted(set(changes) - DRAW_FIELDS)
        if fixed:
            raise RecipeError(
                f"redraw cannot change {', '.join(fixed)}; it can: {', '.join(sorted(DRAW_FIELDS))}"
            )
        return Recipe.of({**self.model_dump(), **changes})

    def dump(self) -> str:
        """Return the recipe as YAML, every field in its order."""
        values = self.model_dump()
        # Unescaped, these line breaks of Unicode would be read as plain new lines.
        escape = any(set("\x85\u2028\u2029") & set(str(value)) for value in values.values())
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=not escape)

    def differences(self, other: Recipe) -> list[str]:
        """Return ``field: here -> there`` for each field in which the two differ."""
        here, there = self.model_dump(), other.model_dump()
        return [f"{k}: {here[k]} -> {there[k]}" for k in here if here[k] != there[k]]


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; anything else there raises `RecipeError`."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RecipeError(f"{path} must hold 'field: value' lines, not a {type(values).__name__}")
    return values
