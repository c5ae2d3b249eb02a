"""Task-oriented dialogue: booking and support assistants whose turns carry acts and values."""

from ...corpus.dialogue.acts import act_string
from ...corpus.dialogue.delexicalization import delexicalize, lexicalize, slots_of
from ...corpus.dialogue.goals import booked_in
from ...corpus.dialogue.predictions import Prediction, predictions_in, read_predictions
from ...corpus.dialogue.readers import READERS, Reader, recognized, records_in
from ...corpus.dialogue.schema import Act, Dialogue, Span, Template, Turn
from ...corpus.dialogue.validation import ReadingError
from ...corpus.dialogue.value_lexicon import Lexicon
from .database import Database, read_database
from .polluted_share import PollutedShare, polluted_share
from .pollution import Injection, Polluted, clean, pollute, read_truth, truth_rows
from .round_trip import RoundTrip, round_trip
from .scores import Gold, Scores, gold_of, score
from .slot_errors import SlotErrors, slot_errors
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
