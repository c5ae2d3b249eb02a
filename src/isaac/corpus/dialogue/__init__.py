"""Task-oriented dialogue: corpus formats, dialogue acts, slot values and placeholders."""

from .acts import act_string
from .delexicalization import delexicalize, lexicalize, template_slots
from .goals import find_booked_domains
from .predictions import Prediction, parse_predictions, read_predictions
from .readers import READERS, DialogueReader, detect_reader, iter_records
from .schema import Act, Dialogue, DialogueTurn, Span, Template
from .validation import ReadingError
from .value_lexicon import Lexicon

__all__ = [
    "READERS",
    "Act",
    "Dialogue",
    "DialogueReader",
    "DialogueTurn",
    "Lexicon",
    "Prediction",
    "ReadingError",
    "Span",
    "Template",
    "act_string",
    "delexicalize",
    "detect_reader",
    "find_booked_domains",
    "iter_records",
    "lexicalize",
    "parse_predictions",
    "read_predictions",
    "template_slots",
]
