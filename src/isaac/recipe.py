"""The numbers that define a curation, with their bounds."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self

from .errors import RecipeError
from .text import shorten

Sharpening = Literal["adaptive", "figure", "max", "softmax", "proportional", "power", "uniform"]
View = Literal["whole", "opening", "residual"]
Auto = Literal["auto"]

DEFAULT_BUDGETS = {"resample": 0.8, "filter": 0.2, "pairs": 0.2}
"""The budget of each mode where none is given."""

DRAW_FIELDS = frozenset(
    {
        "top_clusters",
        "top_mass",
        "sharpening",
        "temperature",
        "power",
        "targets",
        "mode",
        "budget",
        "abstain",
        "relevance",
        "typicality",
        "repeats",
        "keep",
        "seed",
    }
)
"""The fields that ``redraw`` may change: nothing before the draw depends on them."""


class Recipe(BaseModel):
    """Everything that decides which exchanges a curation yields, beside the corpus itself.

    benchmarks/frontier.py measures the defaults beside the settings of the paper, which `paper`
    gives. "auto" is chosen from the corpus itself, without labels.
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
    database: str | None = Field(
        default=None,
        description="folder with the values that task-oriented dialogues speak of, such as "
        "MultiWOZ's db; those that they note themselves if not given",
    )
    limit: int | None = Field(default=None, ge=1, description="read only the first N exchanges")

    # What is near what.
    context_encoder: str = Field(default="wordllama", description="encoder of contexts")
    response_encoder: str = Field(default="wordllama", description="encoder of responses")
    group_by: str | None = Field(
        default=None,
        description="column whose equal values make a neighbourhood, instead of a search; "
        "act: the acts and slots of a turn, in task-oriented dialogues",
    )
    candidates: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="share of the responses that may be drawn, the most typical first",
    )
    judge: str | None = Field(
        default=None,
        description="judge that may forbid a response to be drawn: profanity, hf:MODEL, "
        "guard:MODEL, openai:MODEL@URL, trained:DIR, or module:attribute",
    )
    neighbors: Annotated[int, Field(ge=1)] | Auto = Field(
        default="auto", description="size k of a neighbourhood, the row included"
    )
    search: Literal["exact", "ivf"] | Auto = Field(
        default="auto",
        description="how nearest contexts are found: all compared, or by an inverted file "
        "(auto: exact up to 50000 contexts that may be drawn from)",
    )
    view: View | Auto = Field(
        default="auto",
        description="what of a response is compared: all of it, its first sentence, or what its "
        "context does not predict",
    )
    clusters: Literal["components", "cover", "text"] = Field(
        default="cover",
        description="grouping of responses: chained within the radius, balls of it, equal",
    )
    radius: Annotated[float, Field(ge=0, le=2)] | Auto = Field(
        default="auto",
        description="Euclidean distance on unit vectors that joins two responses",
    )
    duplicates: Literal["once", "each"] = Field(
        default="once",
        description="how near-duplicate responses count for the size of a cluster; as equal texts "
        "they always count each",
    )

    # What is drawn.
    top_clusters: int = Field(default=100, ge=1, description="keep the K largest clusters")
    top_mass: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="keep the largest clusters up to this share of responses",
    )
    sharpening: Sharpening = Field(
        default="power", description="how odds follow from cluster sizes"
    )
    temperature: float = Field(
        default=0.5,
        gt=0,
        description="tau, in responses; never more than the smallest kept cluster",
    )
    power: float = Field(default=2.0, ge=1, description="exponent of the power rule")
    relevance: float = Field(
        default=50.0,
        ge=0,
        description="weight of what fits the context best; 0 draws uniformly, as the paper does",
    )
    trim: bool = Field(
        default=False,
        description="leave out parts of responses that have nothing to do with what they answer",
    )
    typicality: float = Field(
        default=100.0, ge=0, description="weight of what is worded as the corpus words its answers"
    )
    repeats: int = Field(
        default=8,
        ge=0,
        description="draw a response for no more rows than this while these have another of their "
        "64 best choices; 0 for any number",
    )
    targets: int = Field(default=1, ge=1, le=100, description="distinct draws for each row")

    # Which rows are changed, and how.
    mode: Literal["resample", "filter", "pairs"] = Field(
        default="resample",
        description="redraw the less typical rows, drop them, or pair each with what is drawn",
    )
    budget: Annotated[float, Field(ge=0, le=1)] | Auto = Field(
        default="auto",
        description="share of rows to change, the least typical first; the others stay "
        f"(auto: {', '.join(f'{share} {mode}' for mode, share in DEFAULT_BUDGETS.items())})",
    )
    abstain: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="leave a row alone whose largest cluster has a smaller share, or one response "
        "only; 0 never does",
    )
    keep: bool = Field(
        default=False, description="leave a response of the largest cluster as it is"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of every draw")

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """Return the paper's settings: k = 150, components, ten clusters, a uniform draw.

        The temperature is 0.5, the value that docs/experiments.md compares with others.
        """
        return cls(**{**PAPER_SETTINGS, **changes})

    @classmethod
    def dialogue(cls, **changes: Any) -> Self:
        """Return the settings for task-oriented dialogues: every turn, among those of its acts."""
        return cls(**{**DIALOGUE_SETTINGS, **changes})

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return a recipe from plain values; a bad one raises `RecipeError` that names it."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise RecipeError(cls._describe_problem(error)) from None

    @classmethod
    def _describe_problem(cls, error: ValidationError) -> str:
        first = error.errors()[0]
        name = shorten(str(first["loc"][0]), 40)
        if first["type"] in ("extra_forbidden", "invalid_key"):
            return f"no recipe field '{name}'; there: {', '.join(cls.model_fields)}"
        came = shorten(reprlib.repr(first["input"]), 40)
        auto = " or 'auto'" if cls.model_fields[name].default == "auto" else ""
        return f"recipe field '{name}': {first['msg']}{auto} (came: {came})"

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the recipe in a YAML file."""
        return cls.of(read_yaml(path))

    def with_draw_settings(self, changes: Mapping[str, Any]) -> Self:
        """Return the recipe with other draw settings.

        Raises `RecipeError` for a field that the neighbourhoods depend on, or a bad value.
        """
        fixed = sorted(set(changes) - DRAW_FIELDS)
        if fixed:
            raise RecipeError(
                f"redraw cannot change {', '.join(fixed)}; it can: {', '.join(sorted(DRAW_FIELDS))}"
            )
        return type(self).of({**self.model_dump(), **changes})

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


class ResolvedRecipe(Recipe):
    """A recipe with nothing left to be chosen."""

    neighbors: int = 150
    search: Literal["exact", "ivf"] = "exact"
    view: View = "whole"
    radius: float = 0.8

    @property
    def share(self) -> float:
        """Return the share of rows to change."""
        return DEFAULT_BUDGETS[self.mode] if self.budget == "auto" else self.budget

    @property
    def weighted(self) -> bool:
        """Say whether the responses of a cluster differ in how likely they are drawn."""
        by_weight = self.relevance > 0 or self.typicality > 0 or self.repeats > 0
        return by_weight or self.candidates < 1 or self.judge is not None


PAPER_SETTINGS: dict[str, Any] = {
    "candidates": 1.0,
    "neighbors": 150,
    "view": "whole",
    "clusters": "components",
    "radius": 0.8,
    "duplicates": "each",
    "top_clusters": 10,
    "sharpening": "adaptive",
    "relevance": 0.0,
    "typicality": 0.0,
    "repeats": 0,
    "budget": 1.0,
    "abstain": 0.0,
    "keep": True,
}

DIALOGUE_SETTINGS: dict[str, Any] = {
    "group_by": "act",
    "turns": "all",
    "clusters": "text",
    "trim": True,
    "budget": 0.0,
}
"""What task-oriented dialogues have instead of the defaults.

Nearly every turn is worded like no other of its act, so that rarity tells nothing: parts that have
nothing to do with the dialogue are left out, and a turn is drawn anew where nothing else is left.
"""

PAPER_DIALOGUE_SETTINGS: dict[str, Any] = {
    **DIALOGUE_SETTINGS,
    **PAPER_SETTINGS,
    "clusters": "text",
    "trim": False,
}
"""The paper's settings for task-oriented dialogues: equal texts among turns of the same acts."""


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; anything else there raises `RecipeError`."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RecipeError(f"{path} must hold 'field: value' lines, not a {type(values).__name__}")
    return values
