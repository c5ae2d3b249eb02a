"""Recipes: every setting of a curation, with its bounds and its default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    Field,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from typing_extensions import Self

from .errors import RecipeError
from .named_recipes import DIALOGUE_SETTINGS, PAPER_SETTINGS, REDRAW_MOST_SETTINGS
from .reading_options import ReadingOptions, Settings
from .text import has_url_secret
from .yaml_files import read_yaml

Sharpening = Literal["adaptive", "figure", "max", "softmax", "proportional", "power", "uniform"]
View = Literal["whole", "opening", "residual"]
Auto = Literal["auto"]
Mode = Literal["selective", "resample", "filter", "pairs"]

Trust = Literal["wording", "smoothed", "combined", "profanity", "states", "references"]

COMBINED_SIGNALS = ("similar", "phrasing")

TRUST_SIGNALS: dict[Trust, tuple[str, ...]] = {
    "wording": (),
    "smoothed": ("similar",),
    "combined": COMBINED_SIGNALS,
    "profanity": (*COMBINED_SIGNALS, "profanity"),
    "states": (*COMBINED_SIGNALS, "states"),
    "references": (*COMBINED_SIGNALS, "states", "references"),
}
"""The signals that each kind of trust adds to the typicality of the wording."""

DEFAULT_BUDGETS: dict[Mode, float] = {
    "selective": 0.5,
    "resample": 0.8,
    "filter": 0.5,
    "pairs": 0.2,
}
"""The default budget of each mode: the share of rows not to trust."""

DEFAULT_REPEATS: dict[Mode, int] = {"selective": 2, "resample": 8, "filter": 2, "pairs": 2}
"""How many rows get the same response by default."""

DEFAULT_MIN_FIT = {"wordllama": 3.7}
"""The least fit of a drawn response, by the encoder of both texts (benchmarks/fit.py)."""

OTHER_MIN_FIT = 4.0
"""The least fit with any other encoder."""

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
        "min_fit",
        "keep_original",
        "keep",
        "seed",
    }
)
"""The fields that ``redraw`` can change: no step before the draw depends on them."""


SHARES = ("candidates", "top_mass", "budget", "abstain")
"""The fields that are a share from 0 to 1, which may be given in percent."""

CLUSTER_FIELDS = (
    "neighbors",
    "search",
    "view",
    "clusters",
    "radius",
    "duplicates",
    "top_clusters",
    "top_mass",
    "sharpening",
    "temperature",
    "power",
    "relevance",
    "typicality",
    "abstain",
    "keep",
)
"""The fields that matter only if responses are drawn from clusters."""


class Recipe(Settings):
    """Every setting that, together with the corpus, determines the result of a curation.

    ``reading`` says how the input is read. YAML files, the command line and `of` do not nest its
    fields: ``Recipe.of({"context": "prompt", "neighbors": 30})``. "auto" means that the value is
    chosen from the corpus, without labels. `paper` builds a recipe with the paper's settings;
    benchmarks/frontier.py compares them with the defaults.
    """

    reading: ReadingOptions = ReadingOptions()

    # Encoders, candidates, neighborhoods and clusters.
    context_encoder: str = Field(
        default="auto",
        description="encoder of contexts (auto: wordllama, or one that knows the corpus's "
        "languages)",
    )
    response_encoder: str = Field(
        default="auto",
        description="encoder of responses (auto: wordllama, or one that knows the corpus's "
        "languages)",
    )
    candidates: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="share of the responses that can be drawn, the most typical first",
    )
    judge: str | None = Field(
        default=None,
        description="judge that can veto responses before the draw: profanity, hf:MODEL, "
        "guard:MODEL, openai:MODEL@URL, trained:DIR, or module:attribute",
    )
    neighbors: Annotated[int, Field(ge=1)] | Auto = Field(
        default="auto", description="size k of a neighborhood, including the row itself"
    )
    search: Literal["exact", "ivf"] | Auto = Field(
        default="auto",
        description="how to find the nearest contexts: exact compares all, ivf uses an inverted "
        "file (auto: exact up to 50000 contexts whose responses can be drawn)",
    )
    view: View | Auto = Field(
        default="auto",
        description="which part of a response to compare: whole, opening (its first sentence), or "
        "residual (what its context does not predict)",
    )
    clusters: Literal["components", "cover", "text"] = Field(
        default="cover",
        description="how to group responses: components (chains in which each is within the "
        "radius of the next), cover (balls of that radius), or text (equal texts)",
    )
    radius: Annotated[float, Field(ge=0, le=2)] | Auto = Field(
        default="auto",
        description="Euclidean distance between unit vectors up to which two responses agree",
    )
    duplicates: Literal["once", "each"] = Field(
        default="once",
        description="whether near-duplicate responses count once or each toward the size of a "
        "cluster; in clusters of equal texts, each always counts",
    )

    # Odds of the clusters and of their responses.
    top_clusters: int = Field(default=100, ge=1, description="keep the K largest clusters")
    top_mass: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="keep the largest clusters until they have this share of the responses",
    )
    sharpening: Sharpening = Field(
        default="power", description="rule that turns cluster sizes into odds"
    )
    temperature: float = Field(
        default=0.5,
        gt=0,
        description="tau of the rules adaptive, figure and softmax, in responses; the size of the "
        "smallest kept cluster caps the resulting temperature",
    )
    power: float = Field(default=2.0, ge=1, description="exponent of the power rule")
    relevance: float = Field(
        default=50.0,
        ge=0,
        description="weight of how well a response fits the context in the draw; 0, as in the "
        "paper, ignores it",
    )
    trim: bool = Field(
        default=False,
        description="remove the parts of a response that are irrelevant to its context",
    )
    typicality: float = Field(
        default=100.0,
        ge=0,
        description="weight of how typical the wording of a response is in the draw; 0 ignores it",
    )
    repeats: Annotated[int, Field(ge=0)] | Auto = Field(
        default="auto",
        description="draw a response for at most this many rows; 0 for no limit. In mode resample, "
        "more rows get it if none of their 64 best candidates is left (auto: 8 resample, 2 others)",
    )
    min_fit: Annotated[float, Field(ge=0)] | Auto = Field(
        default="auto",
        description="least fit of a message and a response drawn for it, in the modes selective "
        "and pairs (auto: 3.7 with wordllama, 4 with other encoders)",
    )
    targets: int = Field(
        default=1, ge=1, le=100, description="number of distinct responses to draw for each row"
    )

    # Which rows are changed, and how.
    trust: Trust | Auto = Field(
        default="combined",
        description="what shows which responses to trust: how typical their wording is (wording), "
        "also that of the most similar responses (smoothed), and also their turns of phrase "
        "(combined); combined can be joined by a profanity classifier (profanity), a small "
        "language model (states), or that model with ten kind and rude replies (references); auto "
        "takes all of these that are installed",
    )
    mode: Mode | Auto = Field(
        default="auto",
        description="what to do with the least trusted rows: redraw those that a trusted response "
        "fits and drop the rest (selective), redraw them all (resample), drop them all (filter), "
        "or use them as rejected responses for the trusted rows that they fit (pairs)",
    )
    budget: Annotated[float, Field(ge=0, le=1)] | Auto = Field(
        default="auto",
        description="share of rows not to trust, the least trusted first; the others are kept "
        f"(auto: {', '.join(f'{share} {mode}' for mode, share in DEFAULT_BUDGETS.items())})",
    )
    abstain: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="leave a row unchanged if the largest cluster of its neighborhood has a "
        "smaller share than this, or only one response; 0 never abstains",
    )
    keep_original: bool = Field(
        default=False,
        description="write the response that a new one replaced beside it, in the column "
        "isaac_original_response of curated.jsonl",
    )
    keep: bool = Field(
        default=False,
        description="also keep each response in the largest cluster of its neighborhood",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of every draw")

    @classmethod
    def fields(cls) -> dict[str, FieldInfo]:
        """Every field by name, including those of ``reading``, in the order of recipe.yaml."""
        fields, reading = dict(cls.model_fields), dict(ReadingOptions.model_fields)
        del fields["reading"]
        group_by = reading.pop("group_by")
        encoders = {name: fields.pop(name) for name in ("context_encoder", "response_encoder")}
        return {**reading, **encoders, "group_by": group_by, **fields}

    @field_validator(*SHARES, mode="before")
    @classmethod
    def _read_percent(cls, share: Any) -> Any:
        """Read a share such as "30%"."""
        if isinstance(share, str) and share.rstrip().endswith("%"):
            try:
                return float(share.rstrip()[:-1]) / 100
            except ValueError:
                return share
        return share

    @field_validator("context_encoder", "response_encoder", "judge")
    @classmethod
    def _refuse_secrets(cls, name: str | None) -> str | None:
        """Refuse a name whose URL has a secret, before any file has it; the error has no value."""
        if name is not None and has_url_secret(name):
            raise RecipeError(
                "the base URL contains a user name, a password or a key, which runs and reports "
                "would show; remove it and set OPENAI_API_KEY if the endpoint needs a key"
            )
        return name

    @model_validator(mode="before")
    @classmethod
    def _nest_reading(cls, values: Any) -> Any:
        """Collect flat reading options under ``reading``."""
        if not isinstance(values, Mapping):
            return values
        flat = {
            name: value for name, value in values.items() if name in ReadingOptions.model_fields
        }
        if not flat:
            return values
        reading = values.get("reading", {})
        if isinstance(reading, ReadingOptions):
            reading = reading.model_dump()
        rest = {name: value for name, value in values.items() if name not in flat}
        return {**rest, "reading": {**reading, **flat}}

    @model_serializer
    def _flatten(self) -> dict[str, Any]:
        """Every field with its value, flat, in the order of `fields`."""
        return {
            name: getattr(self.reading if name in ReadingOptions.model_fields else self, name)
            for name in type(self).fields()
        }

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """The paper's settings: k = 150, ten components, uniform draws within a component.

        Only the last turn of a conversation is curated: the paper's exchanges have one response.
        The temperature is 0.5; docs/experiments.md compares it with other values.
        """
        return cls(**{**PAPER_SETTINGS, **changes})

    @classmethod
    def redraw_most(cls, **changes: Any) -> Self:
        """Redraw the least typical 80 % of rows freely, whether the new response fits or not."""
        return cls(**{**REDRAW_MOST_SETTINGS, **changes})

    @classmethod
    def dialogue(cls, **changes: Any) -> Self:
        """The settings for task-oriented dialogues: every turn, grouped by its dialogue acts."""
        return cls(**{**DIALOGUE_SETTINGS, **changes})

    @classmethod
    def _describe_expected(cls, problem: ErrorDetails) -> str:
        if problem["loc"][0] in SHARES:
            return "expected a share from 0 to 1, or a percentage such as 30%"
        return super()._describe_expected(problem)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a recipe from a YAML file. Raises `RecipeError` if it holds no valid recipe."""
        return cls.of(read_yaml(path))

    def with_draw_settings(self, changes: Mapping[str, Any]) -> Self:
        """Copy the recipe with other draw settings.

        Raises `RecipeError` for a field that the neighborhoods depend on, or a bad value.
        """
        fixed = sorted(set(changes) - DRAW_FIELDS)
        if fixed:
            raise RecipeError(
                f"redraw cannot change {', '.join(fixed)}; it can change: "
                f"{', '.join(sorted(DRAW_FIELDS))}"
            )
        return type(self).of({**self.model_dump(), **changes})

    def dump(self) -> str:
        """The recipe as YAML, one line per field."""
        values = self.model_dump()
        # YAML reads these Unicode line breaks as plain newlines unless they are escaped.
        escape = any(set("\x85\u2028\u2029") & set(str(value)) for value in values.values())
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=not escape)

    def differences(self, other: Recipe) -> list[str]:
        """``field: this -> other`` for each field in which the two recipes differ."""
        old, new = self.model_dump(), other.model_dump()
        return [f"{name}: {old[name]} -> {new[name]}" for name in old if old[name] != new[name]]


class ResolvedRecipe(Recipe):
    """A recipe whose encoders, mode, neighbors, search, view and radius are chosen, not "auto".

    ``budget``, ``repeats`` and ``min_fit`` may still be "auto"; `share`, `repeat_limit` and
    `fit_bound` are the numbers they mean.
    """

    mode: Mode = "selective"
    context_encoder: str = "wordllama"
    response_encoder: str = "wordllama"
    neighbors: int = 150
    search: Literal["exact", "ivf"] = "exact"
    view: View = "whole"
    radius: float = 0.8

    @property
    def share(self) -> float:
        """The share of rows to change."""
        return DEFAULT_BUDGETS[self.mode] if self.budget == "auto" else self.budget

    @property
    def repeat_limit(self) -> int:
        """How many rows may get the same response, 0 for no limit."""
        return DEFAULT_REPEATS[self.mode] if self.repeats == "auto" else self.repeats

    @property
    def fit_bound(self) -> float:
        """The least fit of a message and a response drawn for it."""
        if self.min_fit != "auto":
            return self.min_fit
        if self.context_encoder != self.response_encoder:
            return OTHER_MIN_FIT
        return DEFAULT_MIN_FIT.get(self.context_encoder, OTHER_MIN_FIT)

    @property
    def by_fit(self) -> bool:
        """Whether rows get the response that fits best, not one that is drawn from clusters."""
        return self.mode in ("selective", "pairs") and self.clusters != "text"

    @property
    def is_paired(self) -> bool:
        """Whether trusted rows are kept, and paired with untrusted responses that fit them."""
        return self.mode == "pairs" and self.by_fit

    @property
    def by_cluster(self) -> bool:
        """Whether rows get a response that is drawn from the clusters of their neighborhood."""
        return self.mode != "filter" and not self.by_fit

    @property
    def uses_clusters(self) -> bool:
        """Whether anything depends on the clusters of neighborhoods."""
        return self.by_cluster or (self.mode == "filter" and self.keep)

    @property
    def weighted(self) -> bool:
        """Whether some responses of a cluster are likelier to be drawn than others."""
        by_weight = self.relevance > 0 or self.typicality > 0 or self.repeat_limit > 0
        return by_weight or self.candidates < 1 or self.judge is not None
