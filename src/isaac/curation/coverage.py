"""Whether an encoder knows the languages of a corpus, measured without labels.

An encoder maps a language that it does not know almost onto one point: to WordLlama, unrelated
Amharic sentences have a mean cosine of 0.97, unrelated English sentences one of 0.01. Neighborhoods
and clusters are arbitrary there. The spread of unrelated texts, 1 minus their mean cosine, relative
to that of twenty English sentences, separates known from unknown languages:

- wordllama: German and French 0.78, Spanish 0.67, Chinese 0.50, Russian 0.41; but Japanese 0.32,
  Korean 0.25, Arabic 0.19, Hindi and Thai 0.15, Georgian 0.09, Tamil 0.06, Amharic 0.03
- use-multilingual: its 16 languages 0.98 to 1.01; but Hindi 0.27, Georgian 0.19, Amharic 0.05
- multilingual-e5: all 14 languages 0.81 to 1.00
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..corpus.corpus import Corpus
from ..models.encoders import NAMED_ENCODERS, Encoder, installed_multilingual_encoders
from ..recipe import Recipe
from .languages import SCRIPT_NAMES, detect_languages, detect_scripts
from .near_duplicates import group_near_duplicates
from .resources import Tools
from .storage import ENCODERS_KEY
from .vectors import as_floats, embed

MIN_SPREAD = 0.4
"""Smallest relative spread of a language that an encoder knows; see the figures above."""

SAMPLE_TEXTS = 2000
"""Contexts, and responses, whose languages decide which encoder is chosen."""

SPREAD_TEXTS = 100
"""Texts of a language whose spread is measured."""

MIN_SPREAD_TEXTS = 4
"""Texts of a language, without near-duplicates, below which its spread is not measured."""

MIN_REPORTED_SHARE = 0.01
"""Smallest share of the texts of an unknown language that is reported."""

MIN_SWITCH_SHARE = 0.05
"""Smallest share of the texts in unknown languages for which another encoder is chosen."""

MIN_HASHING_SHARE = 0.5
"""Smallest share of the texts in languages that no installed encoder knows to choose hashing."""

DEFAULT_ENCODER, LAST_ENCODER = "wordllama", "hashing"

REFERENCE_TEXTS = """
The train to the coast leaves at half past six in the morning.
My grandmother bakes bread with olives every Sunday.
Water boils at a lower temperature in the mountains.
She learned to play the violin when she was seven years old.
Please send me the invoice before the end of the month.
The cat is asleep on top of the warm washing machine.
Scientists have discovered a new species of frog in the rainforest.
I cannot help you with that, but a doctor can.
Our team lost the final by a single goal.
The museum is closed on Mondays and public holidays.
How many planets does the solar system have?
He forgot his umbrella and came home completely wet.
Democracy depends on the participation of its citizens.
The battery of my phone lasts only half a day.
Add two spoons of sugar and knead the dough well.
The old bridge was destroyed by the flood.
You should talk to a friend about how you feel.
The price of coffee has doubled in one year.
The children are playing football in the schoolyard.
I would like to book a double room for three nights.
""".strip().splitlines()
"""Unrelated sentences in a language that every encoder knows."""


class LanguageSample(NamedTuple):
    """A sample of the texts in one language, and the share of all texts in that language."""

    language: str
    share: float
    texts: list[str]


class LanguageCoverage(NamedTuple):
    """How well an encoder separates the texts of a language.

    ``cosine`` is the mean cosine of the sample's texts, ``spread`` is 1 minus that, divided by the
    same for the English reference texts.
    """

    language: str
    share: float
    cosine: float
    spread: float

    @property
    def known(self) -> bool:
        """Whether the encoder knows the language."""
        return self.spread >= MIN_SPREAD


class EncoderChoice(NamedTuple):
    """The encoders of a recipe, none of them "auto", and sentences about them.

    ``reasons`` say why an encoder was chosen, ``warnings`` which languages the encoders do not
    know.
    """

    context_encoder: str
    response_encoder: str
    reasons: list[str]
    warnings: list[str]


def choose_encoders(corpus: Corpus, recipe: Recipe, tools: Tools) -> EncoderChoice:
    """Choose the encoders that a recipe leaves open, or load the choice from the store.

    The choice depends only on the texts of the corpus and on the installed encoders.
    """
    names = (recipe.context_encoder, recipe.response_encoder)

    def choose() -> EncoderChoice:
        samples = {
            side: sample_languages(sample_texts(corpus, side)) for side in ("context", "response")
        }
        if recipe.context_encoder == recipe.response_encoder:
            both = [*samples["context"], *samples["response"]]
            name, reasons, warnings = _choose_encoder(names[0], both, tools)
            return EncoderChoice(name, name, reasons, warnings)
        context, response = (
            _choose_encoder(name, samples[side], tools)
            for name, side in zip(names, ("context", "response"), strict=True)
        )
        sentences = (
            [*dict.fromkeys(a + b)] for a, b in zip(context[1:], response[1:], strict=True)
        )
        return EncoderChoice(context[0], response[0], *sentences)

    if "auto" not in names:
        return EncoderChoice(*names, [], [])
    return EncoderChoice(**tools.store.facts(ENCODERS_KEY, lambda: choose()._asdict()))


def with_chosen_encoders(recipe: Recipe, choice: EncoderChoice) -> Recipe:
    """Copy a recipe with the encoders of a choice."""
    return recipe.model_copy(
        update={
            "context_encoder": choice.context_encoder,
            "response_encoder": choice.response_encoder,
        }
    )


def _choose_encoder(
    name: str, samples: list[LanguageSample], tools: Tools
) -> tuple[str, list[str], list[str]]:
    """Choose the encoder of some texts: its name, the reasons, and warnings."""
    if name != "auto":
        return name, [], _warn(name, samples, tools)
    if not samples:
        return DEFAULT_ENCODER, [], []
    default = measure_coverage(tools.encoder(DEFAULT_ENCODER), samples)
    tried = {DEFAULT_ENCODER: default}
    for candidate in installed_multilingual_encoders():
        if min(map(_unknown_share, tried.values())) >= MIN_SWITCH_SHARE:
            tried[candidate] = measure_coverage(tools.encoder(candidate), samples)
    best = min(tried, key=lambda candidate: _unknown_share(tried[candidate]))
    if _unknown_share(tried[best]) >= MIN_HASHING_SHARE:
        best = LAST_ENCODER
        tried[best] = measure_coverage(tools.encoder(best), samples)
    reasons = [] if best == DEFAULT_ENCODER else [_explain_choice(best, tried)]
    return best, reasons, _describe_unknown(best, tried[best])


def list_language_warnings(corpus: Corpus, recipe: Recipe, tools: Tools) -> list[str]:
    """Sentences on the languages of a corpus that the encoders of a recipe do not know.

    Encoders that are neither in a package nor passed in are not measured: that could be expensive.
    """
    sides = {"context": recipe.context_encoder, "response": recipe.response_encoder}
    samples: dict[str, list[LanguageSample]] = {}
    for column, name in sides.items():
        samples.setdefault(name, []).extend(sample_languages(sample_texts(corpus, column)))
    return [sentence for name, texts in samples.items() for sentence in _warn(name, texts, tools)]


def _warn(name: str, samples: list[LanguageSample], tools: Tools) -> list[str]:
    """A sentence on the languages that an encoder does not know, if there are any."""
    if not samples or (name not in NAMED_ENCODERS and name not in (tools.encoders or {})):
        return []
    return _describe_unknown(name, measure_coverage(tools.encoder(name), samples))


def sample_texts(corpus: Corpus, column: str) -> list[str]:
    """Choose distinct texts of a column by their checksums, whatever their order in the corpus."""
    chosen: list[tuple[int, str]] = []
    for part in corpus.parts([column]):
        bound = chosen[-1][0] if len(chosen) == SAMPLE_TEXTS else 2**32
        keyed = {(zlib.crc32(text.encode()), text) for text in part.column(column).to_pylist()}
        fresh = {pair for pair in keyed if pair[0] <= bound}
        chosen = heapq.nsmallest(SAMPLE_TEXTS, fresh.union(chosen))
    return [text for _, text in chosen]


def sample_languages(texts: Sequence[str]) -> list[LanguageSample]:
    """Sample the texts of each language; none if nearly all texts are in Latin script.

    The encoders know the languages in Latin script about equally well. English is left out, because
    the others are compared with it.
    """
    scripts = detect_scripts(texts)
    has_letters = scripts >= 0
    is_other = has_letters & (scripts != SCRIPT_NAMES.index("Latin"))
    if is_other.sum() < max(1, MIN_REPORTED_SHARE * has_letters.sum()):
        return []
    languages = detect_languages(texts)
    samples = []
    for number, language in enumerate(languages.names):
        rows = np.flatnonzero(languages.code == number)
        members = [texts[row] for row in rows[:SPREAD_TEXTS].tolist()]
        members = [members[row] for row in sorted(set(group_near_duplicates(members).tolist()))]
        if language != "English" and len(members) >= MIN_SPREAD_TEXTS:
            share = float(len(rows) / has_letters.sum())
            samples.append(LanguageSample(language, share, members))
    return samples


def measure_coverage(encoder: Encoder, samples: Iterable[LanguageSample]) -> list[LanguageCoverage]:
    """Measure how well an encoder separates the texts of each language."""
    reference = 1 - _mean_cosine(encoder, REFERENCE_TEXTS)
    cosines = [(sample, _mean_cosine(encoder, sample.texts)) for sample in samples]
    return [
        LanguageCoverage(sample.language, sample.share, cosine, (1 - cosine) / max(reference, 1e-6))
        for sample, cosine in cosines
    ]


def _mean_cosine(encoder: Encoder, texts: Sequence[str]) -> float:
    """The mean cosine between two different texts."""
    vectors = as_floats(embed(encoder, texts).vectors).astype(np.float64)
    total = vectors.sum(axis=0)
    pairs = len(texts) * (len(texts) - 1)
    return float((total @ total - np.square(vectors).sum()) / pairs)


def _unknown(coverage: Iterable[LanguageCoverage]) -> dict[str, LanguageCoverage]:
    """The languages that are not known, each where it is most frequent, most frequent first."""
    unknown: dict[str, LanguageCoverage] = {}
    for language in sorted(coverage, key=lambda each: (-each.share, each.language)):
        if not language.known and language.share >= MIN_REPORTED_SHARE:
            unknown.setdefault(language.language, language)
    return unknown


def _unknown_share(coverage: Iterable[LanguageCoverage]) -> float:
    return sum(language.share for language in _unknown(coverage).values())


def _describe_unknown(name: str, coverage: Iterable[LanguageCoverage]) -> list[str]:
    """A sentence on the languages that an encoder does not know, if there are any."""
    unknown = _unknown(coverage).values()
    if not unknown:
        return []
    return [
        f"The encoder {name} hardly separates unrelated texts in {_list_languages(unknown)}, so "
        "neighborhoods and clusters mean little there. Install the extra 'multilingual', or name "
        "another encoder with --context-encoder and --response-encoder"
    ]


def _explain_choice(best: str, tried: dict[str, list[LanguageCoverage]]) -> str:
    """Why an encoder was chosen instead of the default one."""
    unknown = _unknown(tried[DEFAULT_ENCODER]).values()
    problem = (
        f"encoder {best}: {DEFAULT_ENCODER} hardly separates unrelated texts in "
        f"{_list_languages(unknown)}"
    )
    if best == LAST_ENCODER:
        return f"{problem}, and no installed encoder does; the extra 'multilingual' has some"
    measured = {each.language: f"{each.cosine:.2f}" for each in tried[best]}
    return f"{problem}; {best} does ({_join([measured[each.language] for each in unknown])})"


def _list_languages(coverage: Iterable[LanguageCoverage]) -> str:
    return _join(
        [
            f"{each.language} ({each.share:.0%} of the texts, mean cosine {each.cosine:.2f})"
            for each in coverage
        ]
    )


def _join(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
