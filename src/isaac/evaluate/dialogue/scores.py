"""All scores of a system's responses in one: Inform, Success, BLEU, slots, variety, pollution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from ...corpus.dialogue.goals import parse_goal
from ...corpus.dialogue.predictions import Prediction, Predictions, normalize_id, parse_state
from ...corpus.dialogue.schema import BeliefState, Dialogue
from ...errors import CorpusError
from .bleu import compute_bleu
from .database import Database
from .inform_success import DialogueOutcome, build_judged_turns, judge_dialogue
from .polluted_share import PollutedShare, compute_polluted_share
from .pollution import Injection, TurnKey
from .slot_errors import SlotErrors, count_slot_errors
from .variety import Variety, measure_variety

Item = TypeVar("Item")


@dataclass(frozen=True)
class Gold:
    """What responses are scored against, each part by `normalize_id` and only as far as there is any.

    ``goals`` are in MultiWOZ's layout (see `parse_goal`); ``states``, ``references`` (delexicalised)
    and ``booked`` domains are one a system turn. Without ``booked`` of a dialogue, each reference
    number that is given counts. ``texts`` are the system's turns with their values, by their index
    in the record.
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
    """Return what to score against, from dialogues with their goals and states.

    ``references`` are the delexicalised system turns and ``booked`` the domains that are booked
    after each (see `booked_in`), by dialogue.
    """
    goals: dict[str, Any] = {}
    states: dict[str, list[BeliefState]] = {}
    texts: dict[str, dict[int, str]] = {}
    for dialogue in dialogues:
        key = normalize_id(dialogue.id)
        if key in goals:
            raise CorpusError(f"dialogue {dialogue.id} is there twice")
        turns = [turn for turn in dialogue.turns if turn.role == "assistant"]
        goals[key] = dialogue.goal
        texts[key] = {turn.index: turn.text for turn in turns}
        states[key] = [
            parse_state(turn.state, f"dialogue {dialogue.id}, turn {turn.index}") for turn in turns
        ]
        if not any(states[key]):
            del states[key]
    return Gold(goals, states, _normalize_ids(references), _normalize_ids(booked), texts)


def _normalize_ids(given: Mapping[str, Item] | None) -> dict[str, Item]:
    return {normalize_id(name): value for name, value in (given or {}).items()}


class InformSuccessRate(NamedTuple):
    """How many dialogues were informed and succeeded, of those with a goal (in a domain)."""

    dialogues: int
    informed: int
    succeeded: int

    @property
    def inform(self) -> float | None:
        """Inform in per cent; None without dialogues."""
        return 100 * self.informed / self.dialogues if self.dialogues else None

    @property
    def success(self) -> float | None:
        """Success in per cent; None without dialogues."""
        return 100 * self.succeeded / self.dialogues if self.dialogues else None

    def as_json(self) -> dict[str, Any]:
        """Return the counts and the rates."""
        return {**self._asdict(), "inform": self.inform, "success": self.success}


@dataclass(frozen=True)
class DialogueScores:
    """Scores of responses; None where nothing could be scored.

    ``overall`` and ``domains`` hold Inform and Success; in a domain, a dialogue succeeds only if
    all its domains are informed. ``unscored`` counts what was left out, by reason.
    ``gold_states`` counts the dialogues that were judged by the gold states.
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
        """BLEU and the mean of Inform and Success, added."""
        inform, success = self.overall.inform, self.overall.success
        if self.bleu is None or inform is None or success is None:
            return None
        return self.bleu + (inform + success) / 2

    def as_json(self) -> dict[str, Any]:
        """Return the scores as JSON values, in an order that does not change."""
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
                name: None if found is None else _polluted_share_json(found)
                for name, found in (("truth", self.by_truth), ("words", self.by_words))
            },
            "unscored": dict(self.unscored),
        }

    def lines(self) -> list[str]:
        """Return the scores as lines to be read."""
        return [
            f"{self.dialogues:,} dialogues, {self.responses:,} responses",
            f"Inform {_format_score(self.overall.inform)}, Success {_format_score(self.overall.success)}, "
            f"BLEU {_format_score(self.bleu)}, combined {_format_score(self.combined)} "
            f"({self.overall.dialogues:,} dialogues with a goal)",
            *(
                f"  {name}: Inform {_format_score(rate.inform)}, Success {_format_score(rate.success)} "
                f"({rate.dialogues:,} dialogues)"
                for name, rate in self.domains.items()
            ),
            *self._format_slot_errors(),
            *_format_variety(self.variety),
            *_format_polluted_share("by the truth", self.by_truth),
            *_format_polluted_share("by the word list", self.by_words),
            *([f"judged by gold states: {self.gold_states:,}"] if self.gold_states else []),
            *(f"not scored, {why}: {count:,}" for why, count in self.unscored.items() if count),
        ]

    def _format_slot_errors(self) -> list[str]:
        slots = self.slots
        if not slots.wanted and not slots.given:
            return []
        return [
            f"slot error rate {_format_share(slots.rate)}: {slots.missing:,} missing and "
            f"{slots.superfluous:,} superfluous of {slots.wanted:,} placeholders; "
            f"precision {_format_share(slots.precision)}, recall {_format_share(slots.recall)}"
        ]


def _format_score(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}"


def _format_share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def _format_variety(variety: Variety) -> list[str]:
    if variety.entropy is None or variety.length is None:
        return []
    mean = "" if variety.msttr is None else f", MSTTR {variety.msttr:.3f}"
    return [
        f"variety: {variety.vocabulary:,} different words, {variety.pairs:,} pairs, "
        f"{variety.triples:,} triples; {variety.length:.1f} words a response, "
        f"bigram entropy {variety.entropy:.2f} bits{mean}"
    ]


def _format_polluted_share(how: str, found: PollutedShare | None) -> list[str]:
    if found is None:
        return []
    return [
        f"polluted {how}: {found.responses:,} of {found.of_responses:,} responses "
        f"({_format_share(found.by_response)}), {found.dialogues:,} of {found.of_dialogues:,} dialogues "
        f"({_format_share(found.by_dialogue)})",
        *([f"  by what was put into another: {found.carried:,}"] if found.carried else []),
        *([f"  in the truth, and not given: {found.absent:,}"] if found.absent else []),
    ]


def _polluted_share_json(found: PollutedShare) -> dict[str, Any]:
    return {
        **found._asdict(),
        "by_response": found.by_response,
        "by_dialogue": found.by_dialogue,
    }


def score_predictions(
    predictions: Predictions,
    gold: Gold,
    database: Database | None = None,
    *,
    truth: Collection[Injection] | None = None,
    words: Collection[str] = (),
) -> DialogueScores:
    """Return the scores of a system's responses, as far as what they are scored against is there.

    A dialogue is judged by the system's own states if each of its turns has one, else by the gold
    states. Without a database there is no Inform and Success; without references no BLEU (which
    needs the extra ``evaluate``) and no slot errors. By the ``truth`` of a pollution, a response
    that is as gold has it is clean. Raises `CorpusError` naming the dialogue and the turn where the
    turns of one do not match, and where the truth is of a turn that cannot be told.
    """
    said = {normalize_id(name): list(turns) for name, turns in predictions.items()}
    responses = {name: [turn.response for turn in turns] for name, turns in said.items()}
    pairs = _pair_references(responses, gold.references)
    outcomes, unscored, by_gold = _judge_dialogues(said, gold, database)
    unscored["no reference"] = len(said.keys() - gold.references.keys())
    unscored["no prediction for a dialogue with a goal"] = sum(
        bool(parse_goal(goal, name)) for name, goal in gold.goals.items() if name not in said
    )
    overall, domains = _compute_rates(outcomes)
    texts = _index_texts(said, gold, {normalize_id(row.dialogue) for row in truth or ()})
    clean = () if truth is None else _find_unchanged(gold, said, texts)
    return DialogueScores(
        dialogues=len(said),
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
    said: Mapping[str, Sequence[Prediction]], gold: Gold, polluted: Collection[str]
) -> dict[str, dict[int, str]]:
    """Return what was said by dialogue and by the index of its turn, which gold may have to tell.

    Only in dialogues that were ``polluted`` does it matter which index it is.
    """
    found = {}
    for name, turns in said.items():
        places = [one.turn for one in turns if one.turn is not None]
        if len(places) < len(turns):
            if name not in gold.texts and name in polluted:
                raise CorpusError(
                    f"dialogue {name} is in the truth, but which turns of it the responses are "
                    "cannot be told: gold has no such dialogue"
                )
            places = list(gold.texts.get(name, range(len(turns))))
            _check_turn_counts(name, len(turns), len(places), "system turns in gold")
        spoken = (one.response if one.text is None else one.text for one in turns)
        found[name] = dict(zip(places, spoken, strict=True))
    return found


def _find_unchanged(
    gold: Gold,
    said: Mapping[str, Sequence[Prediction]],
    texts: Mapping[str, Mapping[int, str]],
) -> set[TurnKey]:
    """Return which responses are as gold has them: with values where known, else without."""
    same = set()
    for name, turns in said.items():
        known, bare = gold.texts.get(name, {}), gold.references.get(name, [])
        for place, (turn, index) in enumerate(zip(turns, texts[name], strict=True)):
            if turn.text is not None:
                alike = turn.text == known.get(index)
            else:
                alike = place < len(bare) and turn.response == bare[place]
            if alike:
                same.add((name, index))
    return same


def _pair_references(
    responses: Mapping[str, Sequence[str]], references: Mapping[str, Sequence[str]]
) -> list[tuple[str, str]]:
    """Return each response with its reference, where there is one."""
    pairs: list[tuple[str, str]] = []
    for name, texts in responses.items():
        if name in references:
            _check_turn_counts(name, len(texts), len(references[name]), "references")
            pairs += zip(texts, references[name], strict=True)
    return pairs


def _judge_dialogues(
    said: Mapping[str, Sequence[Prediction]], gold: Gold, database: Database | None
) -> tuple[list[DialogueOutcome], dict[str, int], int]:
    """Return how each dialogue went, how many were not judged and why, and by gold states."""
    outcomes, by_gold = [], 0
    unscored = dict.fromkeys(("no goal", "no state", "no database"), 0)
    for name, turns in said.items():
        aims = parse_goal(gold.goals.get(name), name)
        own = [turn.state for turn in turns if turn.state is not None]
        states = own if len(own) == len(turns) else gold.states.get(name)
        if not aims:
            unscored["no goal"] += 1
        elif database is None:
            unscored["no database"] += 1
        elif states is None:
            unscored["no state"] += 1
        else:
            by_gold += states is not own
            booked = gold.booked.get(name)
            _check_turn_counts(name, len(turns), len(states), "gold states")
            if booked is not None:
                _check_turn_counts(name, len(turns), len(booked), "turns with bookings")
            outcomes.append(
                judge_dialogue(aims, build_judged_turns(turns, states, booked), database)
            )
    return outcomes, unscored, by_gold


def _check_turn_counts(name: str, here: int, there: int, what: str) -> None:
    if here != there:
        raise CorpusError(
            f"dialogue {name}: {here} responses, but {there} {what}; they part at turn "
            f"{min(here, there)}. Give one response a system turn, empty where there is none"
        )


def _compute_rates(
    outcomes: Sequence[DialogueOutcome],
) -> tuple[InformSuccessRate, dict[str, InformSuccessRate]]:
    count: Counter[str] = Counter(name for one in outcomes for name in one.informed)
    informed = Counter(name for one in outcomes for name, yes in one.informed.items() if yes)
    succeeded = Counter(name for one in outcomes for name, yes in one.succeeded.items() if yes)
    overall = InformSuccessRate(
        len(outcomes), sum(one.inform for one in outcomes), sum(one.success for one in outcomes)
    )
    names = sorted(count)
    return overall, {
        name: InformSuccessRate(count[name], informed[name], succeeded[name]) for name in names
    }
