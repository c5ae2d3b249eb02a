"""Evaluation of task-oriented dialogue: Inform, Success, BLEU, slot errors, variety, pollution."""

from .database import Database, read_database
from .polluted_share import PollutedShare, compute_polluted_share
from .pollution import (
    Injection,
    PollutedCorpus,
    PollutionSettings,
    parse_truth,
    pollute,
    remove_injected_text,
    truth_rows,
)
from .pollution_files import PollutionResult, pollute_corpus, read_truth_file
from .round_trip import RoundTrip, measure_round_trip
from .scores import DialogueScores, Gold, build_gold, score_predictions
from .scoring import ScoringResult, score_corpus
from .slot_errors import SlotErrors, count_slot_errors
from .variety import Variety, measure_variety

__all__ = [
    "Database",
    "DialogueScores",
    "Gold",
    "Injection",
    "PollutedCorpus",
    "PollutedShare",
    "PollutionResult",
    "PollutionSettings",
    "RoundTrip",
    "ScoringResult",
    "SlotErrors",
    "Variety",
    "build_gold",
    "compute_polluted_share",
    "count_slot_errors",
    "measure_round_trip",
    "measure_variety",
    "parse_truth",
    "pollute",
    "pollute_corpus",
    "read_database",
    "read_truth_file",
    "remove_injected_text",
    "score_corpus",
    "score_predictions",
    "truth_rows",
]
