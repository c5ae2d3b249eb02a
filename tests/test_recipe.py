from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from isaac.errors import IsaacError, RecipeError
from isaac.named_recipes import NAMED_RECIPES
from isaac.reading_options import ReadingOptions
from isaac.recipe import (
    DEFAULT_BUDGETS,
    DEFAULT_MIN_FIT,
    DRAW_FIELDS,
    OTHER_MIN_FIT,
    SHARES,
    Recipe,
    ResolvedRecipe,
)
from isaac.yaml_files import read_yaml

REAL = st.floats(allow_nan=False, allow_infinity=False)
NAME = st.none() | st.text()
RECIPES = st.builds(
    Recipe,
    format=NAME,
    context=NAME,
    response=NAME,
    turns=st.sampled_from(["last", "all"]),
    database=NAME,
    limit=st.none() | st.integers(1),
    context_encoder=st.text(),
    group_by=NAME,
    candidates=st.floats(0, 1, exclude_min=True),
    neighbors=st.just("auto") | st.integers(1),
    view=st.sampled_from(["auto", "whole", "opening", "residual"]),
    clusters=st.sampled_from(["components", "cover", "text"]),
    radius=st.just("auto") | st.floats(0, 2),
    duplicates=st.sampled_from(["once", "each"]),
    top_mass=st.floats(0, 1, exclude_min=True),
    temperature=REAL.filter(lambda value: value > 0),
    power=REAL.filter(lambda value: value >= 1),
    relevance=REAL.filter(lambda value: value >= 0),
    typicality=REAL.filter(lambda value: value >= 0),
    repeats=st.just("auto") | st.integers(0),
    min_fit=st.just("auto") | REAL.filter(lambda value: value >= 0),
    targets=st.integers(1, 100),
    trust=st.sampled_from(["combined", "smoothed", "wording"]),
    mode=st.sampled_from(["auto", "selective", "resample", "filter", "pairs"]),
    budget=st.just("auto") | st.floats(0, 1),
    abstain=st.floats(0, 1),
    keep=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
)

OUT_OF_BOUNDS: list[tuple[str, Any]] = [
    ("turns", "first"),
    ("limit", 0),
    ("neighbors", 0),
    ("neighbors", 1.5),
    ("neighbors", "many"),
    ("candidates", 0),
    ("candidates", 1.1),
    ("view", "half"),
    ("clusters", "kmeans"),
    ("duplicates", "never"),
    ("radius", -0.1),
    ("radius", 2.1),
    ("radius", float("nan")),
    ("top_clusters", 0),
    ("top_mass", 0),
    ("top_mass", 1.1),
    ("sharpening", "sharp"),
    ("temperature", 0),
    ("temperature", float("inf")),
    ("power", 0.9),
    ("trust", "blind"),
    ("mode", "all"),
    ("min_fit", -0.1),
    ("min_fit", "good"),
    ("repeats", -1),
    ("repeats", "few"),
    ("power", float("inf")),
    ("relevance", -1),
    ("typicality", float("inf")),
    ("repeats", -1),
    ("targets", 0),
    ("targets", 101),
    ("mode", "delete"),
    ("budget", -0.1),
    ("budget", 1.1),
    ("budget", "all"),
    ("abstain", 1.1),
    ("keep", "perhaps"),
    ("seed", -1),
    ("seed", 2**63),
    ("format", 3),
]


@pytest.mark.parametrize(("field", "value"), OUT_OF_BOUNDS)
def test_the_error_names_the_field_and_the_invalid_value(field: str, value: Any) -> None:
    with pytest.raises(RecipeError) as error:
        Recipe.of({field: value})
    assert str(error.value).startswith(f"recipe field '{field}': expected ")
    assert str(error.value).endswith(f"(got: {value!r})")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("candidates", 1),
        ("neighbors", "auto"),
        ("neighbors", 1),
        ("view", "auto"),
        ("radius", 0),
        ("radius", 2),
        ("radius", "auto"),
        ("top_mass", 1),
        ("power", 1),
        ("relevance", 0),
        ("typicality", 0),
        ("repeats", 0),
        ("repeats", "auto"),
        ("min_fit", 0),
        ("min_fit", "auto"),
        ("mode", "auto"),
        ("mode", "selective"),
        ("trust", "wording"),
        ("targets", 100),
        ("budget", 0),
        ("budget", 1),
        ("budget", "auto"),
        ("abstain", 0),
        ("abstain", 1),
        ("seed", 0),
    ],
)
def test_the_bounds_themselves_are_allowed(field: str, value: Any) -> None:
    assert Recipe.of({field: value}).model_dump()[field] == value


def test_the_error_for_an_unknown_field_lists_the_available_ones() -> None:
    with pytest.raises(RecipeError, match=r"'neighbours'; did you mean neighbors\?; available: fo"):
        Recipe.of({"neighbours": 3})


@pytest.mark.parametrize("field", SHARES)
@pytest.mark.parametrize("value", [30, "30", "150%", "some", -1])
def test_the_error_says_how_to_write_a_share(field: str, value: Any) -> None:
    with pytest.raises(RecipeError, match="expected a share from 0 to 1, or a percentage such as"):
        Recipe.of({field: value})


@pytest.mark.parametrize("field", SHARES)
def test_a_share_may_be_a_percentage(field: str) -> None:
    assert getattr(Recipe.of({field: "30%"}), field) == 0.3


def test_the_error_lists_the_choices_of_a_field() -> None:
    expected = "expected 'selective', 'resample', 'filter' or 'pairs', or 'auto' (got: 'flter')"
    with pytest.raises(RecipeError) as error:
        Recipe.of({"mode": "flter"})
    assert str(error.value) == f"recipe field 'mode': {expected}"


def test_errors_shorten_long_values_and_escape_control_characters() -> None:
    with pytest.raises(RecipeError) as error:
        Recipe.of({"seed": "\x1b" * 10_000})
    assert len(str(error.value)) < 200
    assert "\x1b" not in str(error.value)


def test_reading_options_are_flat_in_files_and_an_object_in_python() -> None:
    reading = ReadingOptions(context="prompt", group_by="topic")
    recipe = Recipe(reading=reading, seed=3)
    assert Recipe.of({"context": "prompt", "group_by": "topic", "seed": 3}) == recipe
    assert recipe.model_dump()["context"] == "prompt"
    assert "reading" not in recipe.model_dump()
    assert list(recipe.model_dump()) == list(Recipe.fields())
    assert Recipe.of({**recipe.model_dump(), "limit": 5}).reading.limit == 5
    assert Recipe.of({"reading": reading, "limit": 5}).reading.context == "prompt"
    assert ResolvedRecipe.of(
        Recipe.paper(search="exact", turns="all").model_dump()
    ).reading.turns == ("all")


def test_the_error_for_an_unknown_reading_option_lists_the_available_ones() -> None:
    with pytest.raises(RecipeError, match="no recipe field 'colum'; available: format, context"):
        ReadingOptions.of({"colum": "prompt"})


def test_a_recipe_cannot_be_changed() -> None:
    recipe = Recipe()
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 1


def test_the_fields_that_only_affect_the_draw_are_recipe_fields() -> None:
    assert set(Recipe.fields()) > DRAW_FIELDS


def test_the_differences_list_each_field() -> None:
    recipe, other = Recipe(seed=1, radius=0.5), Recipe(seed=2, reading=ReadingOptions(format="hh"))
    assert recipe.differences(other) == [
        "format: None -> hh",
        "radius: 0.5 -> auto",
        "seed: 1 -> 2",
    ]
    assert recipe.differences(recipe) == []


def test_the_papers_settings_leave_only_the_search_open() -> None:
    settings = Recipe.paper().model_dump()
    # In the mode of the paper nothing depends on fit.
    assert {name for name, value in settings.items() if value == "auto"} == {"search", "min_fit"}
    recipe = ResolvedRecipe.of({**settings, "search": "exact"})
    assert (recipe.neighbors, recipe.clusters, recipe.radius) == (150, "components", 0.8)
    assert (recipe.top_clusters, recipe.sharpening, recipe.keep) == (10, "adaptive", True)
    assert (recipe.share, recipe.candidates, recipe.weighted) == (1, 1, False)
    assert (recipe.mode, recipe.trust, recipe.by_cluster) == ("resample", "wording", True)
    assert Recipe.paper(radius=0.5, seed=3).differences(Recipe.paper()) == [
        "radius: 0.5 -> 0.8",
        "seed: 3 -> 0",
    ]


def test_a_resolved_recipe_has_no_auto_values() -> None:
    for field in ("mode", "neighbors", "view", "radius", "search"):
        with pytest.raises(RecipeError, match=field):
            ResolvedRecipe.of({field: "auto"})
    shares = {"selective": 0.5, "resample": 0.8, "filter": 0.5, "pairs": 0.2}
    assert shares == DEFAULT_BUDGETS
    for mode, share in shares.items():
        assert ResolvedRecipe.of({"mode": mode}).share == share
        assert ResolvedRecipe.of({"mode": mode, "budget": 0.7}).share == 0.7


def test_how_often_a_response_may_be_given_depends_on_the_mode() -> None:
    for mode, limit in (("selective", 2), ("resample", 8), ("filter", 2), ("pairs", 2)):
        assert ResolvedRecipe.of({"mode": mode}).repeat_limit == limit
        assert ResolvedRecipe.of({"mode": mode, "repeats": 0}).repeat_limit == 0


def test_the_bound_of_fit_depends_on_the_encoders() -> None:
    other = {"context_encoder": "hashing", "response_encoder": "hashing"}
    assert ResolvedRecipe.of({}).fit_bound == DEFAULT_MIN_FIT["wordllama"] < OTHER_MIN_FIT
    assert ResolvedRecipe.of(other).fit_bound == OTHER_MIN_FIT
    assert ResolvedRecipe.of({"response_encoder": "hashing"}).fit_bound == OTHER_MIN_FIT
    assert ResolvedRecipe.of({**other, "min_fit": 0}).fit_bound == 0


@pytest.mark.parametrize(
    ("mode", "clusters", "way"),
    [
        ("selective", "cover", "fit"),
        ("pairs", "components", "fit"),
        ("selective", "text", "cluster"),
        ("pairs", "text", "cluster"),
        ("resample", "cover", "cluster"),
        ("resample", "text", "cluster"),
        ("filter", "cover", "neither"),
        ("filter", "text", "neither"),
    ],
)
def test_responses_are_drawn_by_fit_or_from_clusters(mode: str, clusters: str, way: str) -> None:
    recipe = ResolvedRecipe.of({"mode": mode, "clusters": clusters})
    assert (recipe.by_fit, recipe.by_cluster) == (way == "fit", way == "cluster")


def test_recipes_have_names() -> None:
    assert Recipe.of(NAMED_RECIPES["default"]) == Recipe()
    assert Recipe.of(NAMED_RECIPES["paper"]) == Recipe.paper()
    assert Recipe.of(NAMED_RECIPES["redraw-most"]) == Recipe.redraw_most()
    assert Recipe.redraw_most(seed=2).differences(Recipe()) == [
        "trust: wording -> combined",
        "mode: resample -> auto",
        "seed: 2 -> 0",
    ]


@pytest.mark.parametrize("field", ["relevance", "typicality", "repeats"])
def test_a_draw_is_weighted_if_any_weight_or_bound_is_set(field: str) -> None:
    settings = {**Recipe.paper().model_dump(), "search": "exact"}
    assert not ResolvedRecipe.of(settings).weighted
    assert ResolvedRecipe.of({**settings, field: 1}).weighted


@given(RECIPES)
@example(Recipe(reading=ReadingOptions(context="\x85", response="a\u2028b\u2029", format="質問")))
@example(Recipe(reading=ReadingOptions(context="質問", response="\ufeff\ud7ff")))
def test_a_recipe_survives_a_round_trip_through_its_file(
    tmp_path_factory: pytest.TempPathFactory, recipe: Recipe
) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(recipe.dump(), encoding="utf-8", newline="")
    assert Recipe.load(path) == recipe


def test_every_field_is_written_in_order() -> None:
    lines = Recipe().dump().splitlines()
    assert [line.partition(":")[0] for line in lines] == list(Recipe.fields())


def test_an_empty_file_is_the_default_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("# only a comment\n")
    assert Recipe.load(path) == Recipe()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed: [1, 2", r"recipe.yaml is not YAML: .*line 1"),
        (b"seed: \xff", r"recipe.yaml is not YAML"),
        (b"seed: 1\x00", r"recipe.yaml is not YAML"),
        (b"seed: 2020-13-45", r"recipe.yaml is not YAML: month must be in 1..12"),
        (b"seed: " + b"[" * 5_000, r"recipe.yaml is not YAML"),
        (b"!!python/object:os.system {}", r"recipe.yaml is not YAML"),
        (b"- seed", r"expected 'field: value' lines, got a list"),
        (b"seed", r"expected 'field: value' lines, got a str"),
        (b"seed: -1", r"recipe field 'seed': expected at least 0"),
        (b"1: 2", r"no recipe field '1'; available: format"),
    ],
)
def test_an_invalid_file_gives_a_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=message) as error:
        Recipe.load(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_gives_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(IsaacError, match=r"cannot read .*none.yaml: No such file"):
        read_yaml(tmp_path / "none.yaml")
