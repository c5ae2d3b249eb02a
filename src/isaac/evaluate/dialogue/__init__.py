"""Task-oriented dialogue, measured: Inform, Success, BLEU, slot errors, variety and pollution."""

from .database import Database, read_database
from .polluted_share import PollutedShare, compute_polluted_share
from .pollution import (
    Injection,
    PollutedCorpus,
    parse_truth,
    pollute,
    remove_injected_text,
    truth_rows,
)
from .round_trip import RoundTrip, measure_round_trip
from .scores import DialogueScores, Gold, build_gold, score_predictions
from .slot_errors import SlotErrors, count_slot_errors
from .variety import Variety, measure_variety

__all__ = [
    "Database",
    "DialogueScores",
    "Gold",
    "Injection",
    "PollutedCorpus",
    "PollutedShare",
    "RoundTrip",
    "SlotErrors",
    "Variety",
    "build_gold",
    "compute_polluted_share",
    "count_slot_errors",
    "measure_round_trip",
    "measure_variety",
    "parse_truth",
    "pollute",
    "read_database",
    "remove_injected_text",
    "score_predictions",
    "truth_rows",
]
