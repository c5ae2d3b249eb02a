"""Task-oriented dialogue, measured: Inform, Success, BLEU, slot errors, variety and pollution."""

from .database import Database, read_database
from .polluted_share import PollutedShare, polluted_share
from .pollution import Injection, Polluted, clean, pollute, read_truth, truth_rows
from .round_trip import RoundTrip, round_trip
from .scores import Gold, Scores, gold_of, score
from .slot_errors import SlotErrors, slot_errors
from .variety import Variety, variety_of

__all__ = [
    "Database",
    "Gold",
    "Injection",
    "Polluted",
    "PollutedShare",
    "RoundTrip",
    "Scores",
    "SlotErrors",
    "Variety",
    "clean",
    "gold_of",
    "pollute",
    "polluted_share",
    "read_database",
    "read_truth",
    "round_trip",
    "score",
    "slot_errors",
    "truth_rows",
    "variety_of",
]
