"""Task-oriented dialogue: layouts, dialogue acts, values and the placeholders that replace them."""

from .acts import act_string
from .delexicalization import delexicalize, lexicalize, slots_of
from .goals import booked_in
from .predictions import Prediction, predictions_in, read_predictions
from .readers import READERS, Reader, recognized, records_in
from .schema import Act, Dialogue, Span, Template, Turn
from .validation import ReadingError
from .value_lexicon import Lexicon

__all__ = [
    "READERS",
    "Act",
    "Dialogue",
    "Lexicon",
    "Prediction",
    "Reader",
    "ReadingError",
    "Span",
    "Template",
    "Turn",
    "act_string",
    "booked_in",
    "delexicalize",
    "lexicalize",
    "predictions_in",
    "read_predictions",
    "recognized",
    "records_in",
    "slots_of",
]
