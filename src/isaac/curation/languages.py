"""The scripts and languages of a corpus, so that no response is drawn across them.

A script follows from the letters of a text. A language is detected by py3langid, whose model is
part of its package (Lui and Baldwin, langid.py: An Off-the-shelf Language Identification Tool,
2012). Short texts are easily mistaken: "No!" could be English, Spanish or Italian. So a sample of
longer texts shows which languages the corpus has, only these are considered, and a text that could
be in several of them has an unknown language.
"""

from __future__ import annotations

import copy
import functools
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..runtime.arrays import Flags, Ints
from ..runtime.progress import Tick
from ..runtime.storage import stored_arrays
from .canonical_order import CanonicalCorpus
from .resources import Tools
from .storage import LANGUAGES_KEY
from .text_batches import ProgressReporter, iter_slices
from .unique_texts import UniqueTexts, compute_digests

MAX_CHARACTERS = 1000
"""Characters of a text that are read for its script, from its beginning."""

MAX_DETECTED_CHARACTERS = 200
"""Characters of a text that are read for its language, from its first letter."""

SAMPLE_TEXTS = 1000
"""Texts of a script whose languages are detected to find out which languages the corpus has."""

MIN_LETTERS = 30
"""Letters of a text in that sample; of the chat corpora tried, 98 % of such texts are recognized.

If fewer than `MIN_SAMPLE_TEXTS` texts are as long, the sample has texts half as long, too.
"""

MIN_SAMPLE_TEXTS = 100
"""Texts in the sample below which shorter texts are added."""

MIN_SHARE, MIN_TEXTS = 0.01, 3
"""Smallest share of a script's sample, and smallest number of its texts, of a language."""

MIN_SAMPLE_CONFIDENCE = 0.8
"""Confidence, among all 139 languages of the detector, that counts a text of the sample."""

MIN_CONFIDENCE = 0.8
"""Confidence, among the languages of the corpus, below which a text's language is unknown."""

MIN_CHINESE_LETTERS = 8
"""Characters without kana from which a text is Chinese, in a corpus that also has Japanese."""

SCRIPTS = {
    "LATIN": "Latin",
    "CYRILLIC": "Cyrillic",
    "GREEK": "Greek",
    "ARABIC": "Arabic",
    "HEBREW": "Hebrew",
    "CJK": "Han",
    "IDEOGRAPHIC": "Han",
    "BOPOMOFO": "Han",
    "HIRAGANA": "Kana",
    "KATAKANA": "Kana",
    "KATAKANA-HIRAGANA": "Kana",
    "HANGUL": "Hangul",
    "DEVANAGARI": "Devanagari",
    "BENGALI": "Bengali",
    "GURMUKHI": "Gurmukhi",
    "GUJARATI": "Gujarati",
    "ORIYA": "Oriya",
    "TAMIL": "Tamil",
    "TELUGU": "Telugu",
    "KANNADA": "Kannada",
    "MALAYALAM": "Malayalam",
    "SINHALA": "Sinhala",
    "THAI": "Thai",
    "LAO": "Lao",
    "TIBETAN": "Tibetan",
    "MYANMAR": "Myanmar",
    "KHMER": "Khmer",
    "GEORGIAN": "Georgian",
    "ARMENIAN": "Armenian",
    "ETHIOPIC": "Ethiopic",
    "MONGOLIAN": "Mongolian",
    "THAANA": "Thaana",
    "SYRIAC": "Syriac",
    "CHEROKEE": "Cherokee",
    "CANADIAN": "Canadian Aboriginal",
    "TIFINAGH": "Tifinagh",
    "NKO": "N'Ko",
    "OL": "Ol Chiki",
    "JAVANESE": "Javanese",
    "BALINESE": "Balinese",
    "VAI": "Vai",
    "YI": "Yi",
}
"""Scripts by the first word of the Unicode names of their letters."""

SCRIPT_NAMES = [*dict.fromkeys(SCRIPTS.values())]
KANA, HAN = SCRIPT_NAMES.index("Kana"), SCRIPT_NAMES.index("Han")

DETECTED_SCRIPTS = {"Latin", "Cyrillic", "Arabic", "Devanagari"}
"""Scripts of several languages that the detector distinguishes."""

SCRIPT_LANGUAGES = {
    "Han": "Chinese",
    "Hangul": "Korean",
    "Gurmukhi": "Punjabi",
    "Oriya": "Odia",
    "Myanmar": "Burmese",
    "Ethiopic": "Amharic",
    "Thaana": "Dhivehi",
}
"""Languages of the other scripts, where a script has another name than its main language."""

LANGUAGES = {
    "af": "Afrikaans",
    "ar": "Arabic",
    "be": "Belarusian",
    "bg": "Bulgarian",
    "ca": "Catalan",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "eu": "Basque",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "gl": "Galician",
    "ha": "Hausa",
    "hi": "Hindi",
    "hr": "Croatian",
    "hu": "Hungarian",
    "id": "Indonesian",
    "is": "Icelandic",
    "it": "Italian",
    "kk": "Kazakh",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "mk": "Macedonian",
    "mr": "Marathi",
    "ms": "Malay",
    "ne": "Nepali",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "ps": "Pashto",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sl": "Slovenian",
    "so": "Somali",
    "sq": "Albanian",
    "sr": "Serbian",
    "sv": "Swedish",
    "sw": "Swahili",
    "tl": "Tagalog",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "uz": "Uzbek",
    "vi": "Vietnamese",
    "yo": "Yoruba",
    "zu": "Zulu",
}
"""Names of languages by the detector's code; other languages are named by their code."""

_NEW, _NO_SCRIPT = 255, 254
CHARACTER_SCRIPTS = np.full(0x110000, _NEW, np.uint8)
"""Script of each character, looked up when it is first used."""


class Languages(NamedTuple):
    """The languages and scripts of t distinct texts.

    ``code`` (t,) is the index in ``names`` of a text's language, -1 if it is unknown. ``script``
    (t,) is the index in ``SCRIPT_NAMES`` of its most frequent script, -1 if it has no letters;
    kana count as Han.
    """

    code: Ints
    names: list[str]
    script: Ints


class LanguageShare(NamedTuple):
    """How many texts, and which share of all, are in a language; "unknown" is one, too."""

    name: str
    texts: int
    share: float


def detect_languages(texts: UniqueTexts | Sequence[str], tick: Tick | None = None) -> Languages:
    """Detect the script and the language of distinct texts (t,); their order changes nothing.

    A script with one language in the corpus needs only a sample of the texts, so it is fast. In a
    script with several, the language of each text is detected. ``tick`` receives progress,
    len(texts) in all.
    """
    reporter = ProgressReporter(tick, len(texts))
    script, letters, kana = _find_scripts(texts, reporter)
    code, found = np.full(len(texts), -1), list[str]()
    for number in np.unique(script[script >= 0]).tolist():
        members = np.flatnonzero(script == number)
        if SCRIPT_NAMES[number] in DETECTED_SCRIPTS:
            local, names = _detect_in_script(texts, members, letters[members])
            names = names or [f"{SCRIPT_NAMES[number]} script"]
        elif number == HAN:
            local, names = _separate_japanese(letters[members], kana[members])
        else:
            name = SCRIPT_NAMES[number]
            local, names = np.zeros(len(members), np.int64), [SCRIPT_LANGUAGES.get(name, name)]
        code[members] = np.where(local >= 0, local + len(found), -1)
        found += names
    reporter.advance_to(1)
    return Languages(code, found, script)


def detect_scripts(texts: Sequence[str]) -> Ints:
    """The index in ``SCRIPT_NAMES`` of the main script of each text (t,), -1 without letters."""
    return _find_scripts(texts, ProgressReporter(None, len(texts)))[0]


def summarize_languages(languages: Languages, weights: Ints | None = None) -> list[LanguageShare]:
    """Count the texts of each language, the most frequent first; letterless texts are left out.

    ``weights`` (t,) counts a text several times, such as once per row that has it.
    """
    has_letters = languages.script >= 0
    counts = np.ones(len(languages.code), np.int64) if weights is None else weights
    sums = np.bincount(
        languages.code[has_letters] + 1, counts[has_letters], len(languages.names) + 1
    ).astype(np.int64)
    total = max(int(sums.sum()), 1)
    named = zip(["unknown", *languages.names], sums.tolist(), strict=True)
    shares = [LanguageShare(name, count, count / total) for name, count in named if count]
    return sorted(shares, key=lambda share: (share.name == "unknown", -share.texts, share.name))


def compatible(codes: tuple[Ints, Ints], scripts: tuple[Ints, Ints]) -> Flags:
    """Whether texts a and b may be in the same language, from their codes and their scripts.

    They are if both have the same known language, or one has an unknown language and both have the
    same script. A text without letters, such as an emoji, fits every language. The two arrays of
    each pair broadcast against each other.
    """
    (code_a, code_b), (script_a, script_b) = codes, scripts
    known = (code_a >= 0) & (code_b >= 0)
    same_script = (script_a == script_b) | (script_a < 0) | (script_b < 0)
    return np.asarray(np.where(known, code_a == code_b, same_script))


def same_language(languages: Languages, own: Ints, candidate: Ints) -> Flags:
    """Whether texts may be in the same language, by their numbers; the arrays broadcast.

    A candidate response must be compatible with the row's own response, and its context with the
    row's context. So a corpus of translations, whose responses are in another language than their
    contexts, stays one.
    """
    code, script = languages.code, languages.script
    return compatible((code[own], code[candidate]), (script[own], script[candidate]))


class CorpusLanguages(NamedTuple):
    """The languages of the distinct contexts and responses of a corpus."""

    contexts: Languages
    responses: Languages

    def allow(self, layout: CanonicalCorpus, messages: Ints, sources: Ints) -> Flags:
        """Whether the response of each row of ``sources`` (p,) may answer that of ``messages``.

        Its context must be in the language of the message, and it must be in the language of the
        message's own response.
        """
        contexts = layout.context[messages], layout.context[sources]
        responses = layout.response[messages], layout.response[sources]
        same = same_language(self.contexts, *contexts) & same_language(self.responses, *responses)
        return np.asarray(same)


def detect_corpus_languages(layout: CanonicalCorpus, tools: Tools) -> CorpusLanguages:
    """Detect the languages of all texts of a corpus, or load them from the store."""
    texts = {"contexts": layout.contexts, "responses": layout.responses}

    @functools.cache
    def detect() -> dict[str, Languages]:
        with tools.progress.stage("languages", sum(map(len, texts.values()))) as tick:
            return {side: detect_languages(part, tick) for side, part in texts.items()}

    stored = tools.store.facts(
        LANGUAGES_KEY, lambda: {side: part.names for side, part in detect().items()}
    )

    def load(side: str) -> Languages:
        def compute() -> dict[str, npt.NDArray[Any]]:
            return {"code": detect()[side].code, "script": detect()[side].script}

        key = f"{LANGUAGES_KEY}.{side}"
        arrays = stored_arrays(tools.store, key, ("code", "script"), compute)
        return Languages(arrays["code"], stored[side], arrays["script"])

    return CorpusLanguages(load("contexts"), load("responses"))


def _find_scripts(
    texts: Sequence[str], reporter: ProgressReporter
) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """The main script of each text, the number of its letters, and whether it has kana."""
    script, letters = np.full(len(texts), -1), np.zeros(len(texts), np.int64)
    has_kana = np.zeros(len(texts), np.bool_)
    done = 0
    for block in iter_slices(texts):
        rows = slice(done, done + len(block))
        counts = _count_letters(block)  # (texts, scripts)
        has_kana[rows] = counts[:, KANA] > 0
        counts[:, HAN] += counts[:, KANA]
        counts[:, KANA] = 0
        letters[rows] = counts.max(axis=1)
        script[rows] = np.where(letters[rows] > 0, counts.argmax(axis=1), -1)
        done += len(block)
        reporter.advance_to(0.5 * done / len(texts))
    return script, letters, has_kana


def _count_letters(texts: Sequence[str]) -> Ints:
    """Count the letters of each script in each text, (texts, scripts)."""
    beginnings = [text[:MAX_CHARACTERS] for text in texts]
    data = "".join(beginnings).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(data, "<u4")
    scripts = CHARACTER_SCRIPTS[codes]
    new = codes[scripts == _NEW]
    if len(new):
        for code in set(new.tolist()):
            CHARACTER_SCRIPTS[code] = _find_script(chr(code))
        scripts = CHARACTER_SCRIPTS[codes]
    owner = np.repeat(np.arange(len(texts)), [len(text) for text in beginnings])
    is_letter = scripts != _NO_SCRIPT
    cells = owner[is_letter] * len(SCRIPT_NAMES) + scripts[is_letter]
    counts = np.bincount(cells, minlength=len(texts) * len(SCRIPT_NAMES))
    return counts.reshape(len(texts), len(SCRIPT_NAMES)).astype(np.int64)


def _find_script(char: str) -> int:
    """The index of a letter's script; `_NO_SCRIPT` for other characters and rare scripts."""
    if unicodedata.category(char)[0] != "L":
        return _NO_SCRIPT
    words = unicodedata.name(char, "").split()
    first = next((word for word in words if word not in ("FULLWIDTH", "HALFWIDTH")), "")
    return SCRIPT_NAMES.index(SCRIPTS[first]) if first in SCRIPTS else _NO_SCRIPT


def _separate_japanese(letters: Ints, has_kana: Flags) -> tuple[Ints, list[str]]:
    """The languages of texts in Han and kana: 0 for Japanese, which has kana, then Chinese.

    If the corpus has both, a short text without kana is unknown.
    """
    chinese = ~has_kana & (letters >= MIN_CHINESE_LETTERS)
    if not _is_frequent(int(has_kana.sum()), len(letters)):
        return np.zeros(len(letters), np.int64), ["Chinese"]
    if not _is_frequent(int(chinese.sum()), len(letters)):
        return np.zeros(len(letters), np.int64), ["Japanese"]
    return np.where(has_kana, 0, np.where(chinese, 1, -1)), ["Japanese", "Chinese"]


def _is_frequent(count: int, total: int) -> bool:
    return count >= min(MIN_TEXTS, total) and count >= MIN_SHARE * total


def _detect_in_script(texts: Sequence[str], members: Ints, letters: Ints) -> tuple[Ints, list[str]]:
    """The languages of texts in one script: an index into the names for each, -1 if unknown.

    There is no name if no text of the sample is recognized; all texts then have index 0.
    """
    codes = _list_languages(texts, _choose_sample(texts, members, letters))
    names = [LANGUAGES.get(code, code) for code in codes]
    if len(codes) < 2:
        return np.zeros(len(members), np.int64), names
    detect = _Detector(codes)
    found = (detect(texts[row]) for row in members.tolist())
    local = [codes.index(code) if sure >= MIN_CONFIDENCE else -1 for code, sure in found]
    return np.array(local, np.int64), names


def _choose_sample(texts: Sequence[str], members: Ints, letters: Ints) -> Ints:
    """Choose long texts by their digests, which do not depend on the order of the texts."""
    long = members[letters >= MIN_LETTERS]
    if len(long) < MIN_SAMPLE_TEXTS:
        long = members[letters >= MIN_LETTERS // 2]
    if isinstance(texts, UniqueTexts):
        digests = texts.digests[long]
    else:
        digests = compute_digests(texts[row] for row in long.tolist())
    return np.asarray(long[np.lexsort((digests[:, 1], digests[:, 0]))[:SAMPLE_TEXTS]])


def _list_languages(texts: Sequence[str], sample: Ints) -> list[str]:
    """The codes of the languages in a sample that are frequent enough, in alphabetical order."""
    detect = _Detector()
    found = (detect(texts[row]) for row in sample.tolist())
    counts = Counter(code for code, sure in found if sure >= MIN_SAMPLE_CONFIDENCE)
    total = sum(counts.values())
    return sorted(code for code, count in counts.items() if _is_frequent(count, total))


class _Detector:
    """Detects the language of a text among some languages, or among all."""

    def __init__(self, languages: list[str] | None = None) -> None:
        self.identifier = copy.copy(_load_identifier())
        self.identifier.set_languages(languages)

    def __call__(self, text: str) -> tuple[str, float]:
        """The code of the language, and how sure it is, from 0 to 1."""
        start = next((place for place, char in enumerate(text) if char.isalpha()), 0)
        code, sure = self.identifier.classify(text[start : start + MAX_DETECTED_CHARACTERS])
        return str(code), float(sure)


@functools.lru_cache(maxsize=1)
def _load_identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
