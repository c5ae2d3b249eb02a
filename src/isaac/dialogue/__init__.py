"""Task-oriented dialogue: booking and support assistants whose turns carry acts and values."""

from .acts import act_string
from .database import Database, read_database
from .fields import ReadingError
from .goals import booked_in
from .lexicon import Lexicon
from .polluted import PollutedShare, polluted_share
from .pollution import Injection, Polluted, clean, pollute, read_truth, truth_rows
from .predictions import Prediction, predictions_in, read_predictions
from .readers import READERS, Reader, recognized, records_in
from .round_trip import RoundTrip, round_trip
from .scores import Gold, Scores, gold_of, score
from .slot_errors import SlotErrors, slot_errors
from .turns import Act, Dialogue, Span, Template, Turn
from .values import delexicalize, lexicalize, slots_of
from .variety import Variety, variety_of

__all__ = [
    "READERS",
    "Act",
    "Database",
    "Dialogue",
    "Gold",
    "Injection",
    "Lexicon",
    "Polluted",
    "PollutedShare",
    "Prediction",
    "Reader",
    "ReadingError",
    "RoundTrip",
    "Scores",
    "SlotErrors",
    "Span",
    "Template",
    "Turn",
    "Variety",
    "act_string",
    "booked_in",
    "clean",
    "delexicalize",
    "gold_of",
    "lexicalize",
    "pollute",
    "polluted_share",
    "predictions_in",
    "read_database",
    "read_predictions",
    "read_truth",
    "recognized",
    "records_in",
    "round_trip",
    "score",
    "slot_errors",
    "slots_of",
    "truth_rows",
    "variety_of",
]
