"""All scores of a system's responses: Inform, Success, BLEU, slots, variety and pollution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from ...corpus.dialogue.goals import parse_goal
from ...corpus.dialogue.predictions import Prediction, Predictions, normalize_id, parse_state
from ...corpus.dialogue.schema import BeliefState, Dialogue, system_turns
from ...errors import CorpusError
from .bleu import compute_bleu
from .database import Database
from .inform_success import DialogueOutcome, build_judged_turns, judge_dialogue
from .polluted_share import PollutedShare, compute_polluted_share
from .pollution import Injection, TurnKey
from .slot_errors import SlotErrors, count_slot_errors
from .variety import Variety, measure_variety

Item = TypeVar("Item")

OTHER_LENGTH = "not one response for each system turn of gold"
"""The reason why a dialogue is not scored if it has more or fewer responses than gold has turns."""


@dataclass(frozen=True)
class Gold:
    """What responses are scored against, by the id from `normalize_id`.

    Any part may lack some dialogues. ``goals`` are in MultiWOZ's format (see `parse_goal`).
    ``states``, ``references`` (delexicalized responses) and ``booked`` domains have one entry per
    system turn. For a dialogue without ``booked``, every reference number counts. ``texts`` are the
    system turns with their values, by index in the record.
    """

    goals: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, Sequence[BeliefState]] = field(default_factory=dict)
    references: Mapping[str, Sequence[str]] = field(default_factory=dict)
    booked: Mapping[str, Sequence[Collection[str]]] = field(default_factory=dict)
    texts: Mapping[str, Mapping[int, str]] = field(default_factory=dict)


def build_gold(
    dialogues: Iterable[Dialogue],
    references: Mapping[str, Sequence[str]] | None = None,
    booked: Mapping[str, Sequence[Collection[str]]] | None = None,
) -> Gold:
    """Collect what to score against from dialogues with goals and states.

    ``references`` are the delexicalized system turns and ``booked`` the domains that are booked
    after each (see `find_booked_domains`), both by dialogue.
    """
    goals: dict[str, Any] = {}
    states: dict[str, list[BeliefState]] = {}
    texts: dict[str, dict[int, str]] = {}
    for dialogue in dialogues:
        key = normalize_id(dialogue.id)
        if key in goals:
            raise CorpusError(
                f"duplicate dialogue id {dialogue.id}; give each dialogue a different id"
            )
        turns = system_turns(dialogue)
        goals[key] = dialogue.goal
        texts[key] = {turn.index: turn.text for turn in turns}
        states[key] = [
            parse_state(turn.state, f"dialogue {dialogue.id}, turn {turn.index}") for turn in turns
        ]
        if not any(states[key]):
            del states[key]
    return Gold(goals, states, _normalize_ids(references), _normalize_ids(booked), texts)


def _normalize_ids(by_id: Mapping[str, Item] | None) -> dict[str, Item]:
    return {normalize_id(name): value for name, value in (by_id or {}).items()}


class InformSuccessRate(NamedTuple):
    """How many dialogues were informed and how many succeeded, overall or in one domain."""

    dialogues: int
    informed: int
    succeeded: int

    @property
    def inform(self) -> float | None:
        """Inform in percent; None if there are no dialogues."""
        return 100 * self.informed / self.dialogues if self.dialogues else None

    @property
    def success(self) -> float | None:
        """Success in percent; None if there are no dialogues."""
        return 100 * self.succeeded / self.dialogues if self.dialogues else None

    def as_json(self) -> dict[str, Any]:
        """The counts and the rates as JSON values."""
        return {**self._asdict(), "inform": self.inform, "success": self.success}


@dataclass(frozen=True)
class DialogueScores:
    """The scores of a system's responses; None where something could not be scored.

    ``overall`` and ``domains`` have Inform and Success; a domain counts as succeeded only if all
    domains of its dialogue are informed. ``gold_states`` counts the dialogues judged by gold's
    belief states instead of the system's. ``unscored`` counts what was not scored, by reason.
    """

    dialogues: int
    responses: int
    overall: InformSuccessRate
    domains: Mapping[str, InformSuccessRate]
    gold_states: int
    bleu: float | None
    slots: SlotErrors
    variety: Variety
    by_truth: PollutedShare | None
    by_words: PollutedShare | None
    unscored: Mapping[str, int]

    @property
    def combined(self) -> float | None:
        """The combined score: BLEU plus the mean of Inform and Success."""
        inform, success = self.overall.inform, self.overall.success
        if self.bleu is None or inform is None or success is None:
            return None
        return self.bleu + (inform + success) / 2

    def as_json(self) -> dict[str, Any]:
        """The scores as JSON values, in a fixed order."""
        return {
            "dialogues": self.dialogues,
            "responses": self.responses,
            "inform": self.overall.inform,
            "success": self.overall.success,
            "bleu": self.bleu,
            "combined": self.combined,
            "overall": self.overall.as_json(),
            "domains": {name: rate.as_json() for name, rate in self.domains.items()},
            "gold_states": self.gold_states,
            "slots": {
                **self.slots._asdict(),
                "missing": self.slots.missing,
                "superfluous": self.slots.superfluous,
                "rate": self.slots.rate,
                "precision": self.slots.precision,
                "recall": self.slots.recall,
            },
            "variety": self.variety._asdict(),
            "polluted": {
                name: None if share is None else _polluted_share_json(share)
                for name, share in (("truth", self.by_truth), ("words", self.by_words))
            },
            "unscored": dict(self.unscored),
        }

    def lines(self) -> list[str]:
        """The scores as lines of text for a terminal."""
        return [
            f"{self.dialogues:,} dialogues, {self.responses:,} responses",
            f"{_format_rates(self.overall)}, BLEU {_format_score(self.bleu)}, "
            f"combined {_format_score(self.combined)} "
            f"({self.overall.dialogues:,} dialogues with a goal)",
            *(
                f"  {name}: {_format_rates(rate)} ({rate.dialogues:,} dialogues)"
                for name, rate in self.domains.items()
            ),
            *self._format_slot_errors(),
            *_format_variety(self.variety),
            *_format_polluted_share("truth file", self.by_truth),
            *_format_polluted_share("word list", self.by_words),
            *(
                [f"dialogues judged by gold states: {self.gold_states:,}"]
                if self.gold_states
                else []
            ),
            *(
                f"not scored, {reason}: {count:,}"
                for reason, count in self.unscored.items()
                if count
            ),
        ]

    def _format_slot_errors(self) -> list[str]:
        slots = self.slots
        if not slots.wanted and not slots.given:
            return []
        lines = [
            f"slot error rate {_format_share(slots.rate)}: {slots.missing:,} missing and "
            f"{slots.superfluous:,} superfluous of {slots.wanted:,} placeholders; "
            f"precision {_format_share(slots.precision)}, recall {_format_share(slots.recall)}"
        ]
        if slots.synonyms:
            lines.append(
                f"  right under another name, such as [time] for [leave]: {slots.synonyms:,}"
            )
        return lines


def _format_score(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}"


def _format_rates(rate: InformSuccessRate) -> str:
    return f"Inform {_format_score(rate.inform)}, Success {_format_score(rate.success)}"


def _format_share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def _format_variety(variety: Variety) -> list[str]:
    if variety.entropy is None or variety.length is None:
        return []
    msttr = "" if variety.msttr is None else f", MSTTR {variety.msttr:.3f}"
    return [
        f"variety: {variety.vocabulary:,} different words, {variety.pairs:,} pairs, "
        f"{variety.triples:,} triples; {variety.length:.1f} words a response, "
        f"bigram entropy {variety.entropy:.2f} bits{msttr}"
    ]


def _format_polluted_share(source: str, share: PollutedShare | None) -> list[str]:
    if share is None:
        return []
    lines = [
        f"polluted according to the {source}: {share.responses:,} of {share.of_responses:,} "
        f"responses ({_format_share(share.by_response)}), {share.dialogues:,} of "
        f"{share.of_dialogues:,} dialogues ({_format_share(share.by_dialogue)})"
    ]
    if share.carried:
        lines.append(f"  only with text injected into another response: {share.carried:,}")
    if share.absent:
        lines.append(f"  polluted turns of the truth file without a response: {share.absent:,}")
    return lines


def _polluted_share_json(share: PollutedShare) -> dict[str, Any]:
    return {
        **share._asdict(),
        "by_response": share.by_response,
        "by_dialogue": share.by_dialogue,
    }


def score_predictions(
    predictions: Predictions,
    gold: Gold,
    database: Database | None = None,
    *,
    truth: Collection[Injection] | None = None,
    words: Collection[str] = (),
    by_placeholder: bool = False,
) -> DialogueScores:
    """Compute all scores of a system's responses for which the data is available.

    A dialogue is judged by the system's own belief states if each of its turns has one, otherwise
    by gold's. Inform and Success need a database; the slot error rate and BLEU need references, and
    BLEU also the extra ``evaluate``. ``truth`` is what was injected into a polluted corpus; a
    response equal to gold's counts as clean. ``by_placeholder`` finds active domains that the
    predictions do not give by their placeholders first (see `build_judged_turns`).

    A dialogue with more or fewer responses than gold has turns is counted and not scored. Raises
    `CorpusError` if that holds for all, or if a dialogue is polluted and its turn indices are
    unknown.
    """
    all_by_id = {normalize_id(name): list(turns) for name, turns in predictions.items()}
    by_id = _select_complete(all_by_id, gold)
    responses = {name: [turn.response for turn in turns] for name, turns in by_id.items()}
    pairs = _pair_references(responses, gold.references)
    outcomes, unscored, by_gold = _judge_dialogues(
        by_id, gold, database, by_placeholder=by_placeholder
    )
    unscored["no reference"] = len(by_id.keys() - gold.references.keys())
    unscored["no prediction for a dialogue with a goal"] = sum(
        bool(parse_goal(goal, name)) for name, goal in gold.goals.items() if name not in all_by_id
    )
    unscored[OTHER_LENGTH] = len(all_by_id) - len(by_id)
    overall, domains = _compute_rates(outcomes)
    texts = _index_texts(by_id, gold, {normalize_id(row.dialogue) for row in truth or ()})
    clean = () if truth is None else _find_unchanged(gold, by_id, texts)
    return DialogueScores(
        dialogues=len(by_id),
        responses=sum(map(len, responses.values())),
        overall=overall,
        domains=domains,
        gold_states=by_gold,
        bleu=compute_bleu(pairs) if pairs else None,
        slots=count_slot_errors(pairs),
        variety=measure_variety(text for texts in responses.values() for text in texts),
        by_truth=None if truth is None else compute_polluted_share(texts, truth=truth, clean=clean),
        by_words=compute_polluted_share(texts, words=words) if words else None,
        unscored=unscored,
    )


def _index_texts(
    predictions: Mapping[str, Sequence[Prediction]], gold: Gold, polluted: Collection[str]
) -> dict[str, dict[int, str]]:
    """Index the texts of the responses by dialogue and by the turn's index in its record.

    If predictions have no index, it comes from gold. If gold lacks the dialogue, they are numbered
    from 0, unless the dialogue is ``polluted``: then the indices matter.
    """
    indexed = {}
    for name, turns in predictions.items():
        indices = [turn.turn for turn in turns if turn.turn is not None]
        if len(indices) < len(turns):
            if name not in gold.texts and name in polluted:
                raise CorpusError(
                    f"dialogue {name} is in the truth but not in gold, so the turns of its "
                    "responses are unknown; add the dialogue to gold"
                )
            indices = list(gold.texts.get(name, range(len(turns))))
        texts = (turn.response if turn.text is None else turn.text for turn in turns)
        indexed[name] = dict(zip(indices, texts, strict=True))
    return indexed


def _find_unchanged(
    gold: Gold,
    predictions: Mapping[str, Sequence[Prediction]],
    texts: Mapping[str, Mapping[int, str]],
) -> set[TurnKey]:
    """Find the responses that equal gold's, compared with their values if these are known."""
    unchanged = set()
    for name, turns in predictions.items():
        gold_texts, references = gold.texts.get(name, {}), gold.references.get(name, [])
        for number, (turn, index) in enumerate(zip(turns, texts[name], strict=True)):
            if turn.text is not None:
                is_equal = turn.text == gold_texts.get(index)
            else:
                is_equal = number < len(references) and turn.response == references[number]
            if is_equal:
                unchanged.add((name, index))
    return unchanged


def _pair_references(
    responses: Mapping[str, Sequence[str]], references: Mapping[str, Sequence[str]]
) -> list[tuple[str, str]]:
    """Pair each response with its reference, in the dialogues that have references."""
    pairs: list[tuple[str, str]] = []
    for name, texts in responses.items():
        if name in references:
            pairs += zip(texts, references[name], strict=True)
    return pairs


def _judge_dialogues(
    predictions: Mapping[str, Sequence[Prediction]],
    gold: Gold,
    database: Database | None,
    *,
    by_placeholder: bool,
) -> tuple[list[DialogueOutcome], dict[str, int], int]:
    """Judge the dialogues.

    Also returns the number of dialogues not judged, by reason, and of those judged by gold states.
    """
    outcomes, by_gold = [], 0
    unscored = dict.fromkeys(("no goal", "no state", "no database"), 0)
    for name, turns in predictions.items():
        goal = parse_goal(gold.goals.get(name), name)
        own_states = [turn.state for turn in turns if turn.state is not None]
        states = own_states if len(own_states) == len(turns) else gold.states.get(name)
        if not goal:
            unscored["no goal"] += 1
        elif database is None:
            unscored["no database"] += 1
        elif states is None:
            unscored["no state"] += 1
        else:
            by_gold += states is not own_states
            booked = gold.booked.get(name)
            judged = build_judged_turns(turns, states, booked, by_placeholder=by_placeholder)
            outcomes.append(judge_dialogue(goal, judged, database))
    return outcomes, unscored, by_gold


def _select_complete(
    predictions: Mapping[str, list[Prediction]], gold: Gold
) -> dict[str, list[Prediction]]:
    """Select the dialogues with one response per system turn, as far as gold has them.

    Raises `CorpusError` if no dialogue has.
    """
    by_turn: tuple[Mapping[str, Sized], ...] = (gold.references, gold.states, gold.booked)
    complete: dict[str, list[Prediction]] = {}
    wrong: list[str] = []
    for name, turns in predictions.items():
        parts = [part[name] for part in by_turn if name in part]
        if any(turn.turn is None for turn in turns) and name in gold.texts:
            parts.append(gold.texts[name])
        other = [len(part) for part in parts if len(part) != len(turns)]
        if other:
            wrong.append(f"{name}, has {len(turns)} responses for {other[0]} turns")
        else:
            complete[name] = turns
    if predictions and not complete:
        raise CorpusError(
            f"no dialogue has one response per system turn of gold; the first, {wrong[0]}. Add an "
            "empty response for each turn without one"
        )
    return complete


def _compute_rates(
    outcomes: Sequence[DialogueOutcome],
) -> tuple[InformSuccessRate, dict[str, InformSuccessRate]]:
    count: Counter[str] = Counter(name for outcome in outcomes for name in outcome.informed)
    informed = Counter(
        name for outcome in outcomes for name, achieved in outcome.informed.items() if achieved
    )
    succeeded = Counter(
        name for outcome in outcomes for name, achieved in outcome.succeeded.items() if achieved
    )
    overall = InformSuccessRate(
        len(outcomes),
        sum(outcome.inform for outcome in outcomes),
        sum(outcome.success for outcome in outcomes),
    )
    names = sorted(count)
    return overall, {
        name: InformSuccessRate(count[name], informed[name], succeeded[name]) for name in names
    }
