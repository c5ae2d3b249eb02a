"""Inform and Success: whether a system offered what fits the goal, and told what was asked.

The definitions are those of the standardised evaluation of MultiWOZ (Nekvinda and Dušek 2021,
arXiv 2106.05555) with the decisions of its released evaluation:

- A response *offers* where a name (of a train: its id) stands among its placeholders and the domain
  is active. On offer is then everything in the database that fits the system's belief state of that
  turn; an earlier offer stands as long as it is part of that.
- A domain is *informed* if something is on offer at the end and all of it fits the goal. Informed
  without an offer are taxi, police and hospital; a domain whose goal names the venue; and a train
  of which none was offered where its id is not requested.
- A dialogue is informed if all domains of its goal are.
- A domain is *told* if each of address, phone, postcode, reference and train id that its goal
  requests stood in a response while the domain was active; a reference counts only where the
  domain is booked by the corpus's annotations. A dialogue succeeds if it is informed and all its
  domains are told; in one that is not informed, no domain succeeds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from ...corpus.dialogue.goals import REQUESTABLE_SLOTS, DomainGoal
from ...corpus.dialogue.placeholders import find_placeholders
from ...corpus.dialogue.predictions import Prediction
from ...corpus.dialogue.schema import BeliefState
from .database import DATABASE_DOMAINS, Database


class DialogueOutcome(NamedTuple):
    """Which domains of a dialogue's goal were informed, and which succeeded."""

    informed: Mapping[str, bool]
    succeeded: Mapping[str, bool]

    @property
    def inform(self) -> bool:
        """Whether all domains were informed."""
        return all(self.informed.values())

    @property
    def success(self) -> bool:
        """Whether all domains succeeded."""
        return all(self.succeeded.values())


class JudgedTurn(NamedTuple):
    """A system turn as it is judged: the slots in its response, its state, and its domains.

    ``booked`` holds the domains of which a reference can be given.
    """

    slots: frozenset[str]
    state: BeliefState
    domains: Collection[str]
    booked: Collection[str]


def build_judged_turns(
    predictions: Sequence[Prediction],
    states: Sequence[BeliefState],
    booked: Sequence[Collection[str]] | None = None,
) -> list[JudgedTurn]:
    """Return the turns of a dialogue as they are judged.

    ``states`` are those to judge by, one a turn. Where a prediction has no domains, they are those
    that its placeholders name (``[hotel_phone]``), and where none is named, the one that the states
    say is talked about. Without ``booked``, every domain counts as booked.
    """
    found = []
    talked_about = infer_active_domains(states)
    for place, (prediction, state) in enumerate(zip(predictions, states, strict=True)):
        there = find_placeholders(prediction.response)
        named = {one.domain for one in there if one.domain}
        domains: Collection[str] = named or talked_about[place]
        if prediction.domains is not None:
            domains = prediction.domains
        sure = domains if booked is None else booked[place]
        found.append(JudgedTurn(frozenset(one.slot for one in there), state, domains, sure))
    return found


def infer_active_domains(states: Sequence[BeliefState]) -> list[tuple[str, ...]]:
    """Return the domain that is talked about in each turn, by what changes in the states.

    It is the domain where a slot got a new value; of several the one that was talked about
    already, else the one with the most slots. Where nothing changes it stays, unless several had
    changed just before: then it is the turn of another of those.
    """
    current = ""
    before: BeliefState = {}
    waiting: list[str] = []
    found: list[tuple[str, ...]] = []
    for state in states:
        changed = list(_changed_domains(before, state))
        if changed:
            if current not in changed:
                current = max(changed, key=lambda domain: len(state[domain]))
            waiting = [domain for domain in changed if domain != current]
        elif waiting:
            current = waiting.pop(0)
        before = state
        found.append((current,) if current else ())
    return found


def _changed_domains(before: BeliefState, state: BeliefState) -> Iterator[str]:
    for domain, slots in state.items():
        if slots.items() - before.get(domain, {}).items():
            yield domain


def judge_dialogue(
    aims: Mapping[str, DomainGoal], said: Sequence[JudgedTurn], database: Database
) -> DialogueOutcome:
    """Return which domains of a goal were informed and which succeeded."""
    informed = {domain: _is_informed(domain, aims[domain], said, database) for domain in aims}
    told = {domain: aims[domain].requested <= _provided_slots(domain, said) for domain in aims}
    whole = all(informed.values())
    return DialogueOutcome(informed, {domain: whole and told[domain] for domain in aims})


def _is_informed(
    domain: str, aim: DomainGoal, said: Sequence[JudgedTurn], database: Database
) -> bool:
    if domain not in DATABASE_DOMAINS or "name" in aim.constraints:
        return True
    offer = _final_offer(domain, said, database)
    if not offer:
        return domain == "train" and "trainid" not in aim.requested
    return offer <= database.query(domain, aim.constraints)


def _final_offer(domain: str, said: Sequence[JudgedTurn], database: Database) -> frozenset[str]:
    """Return what is on offer at the end of a dialogue."""
    marker = "trainid" if domain == "train" else "name"
    offer: frozenset[str] = frozenset()
    for turn in said:
        if domain in turn.domains and marker in turn.slots:
            known = turn.state.get(domain)
            fitting = database.query(domain, known) if known else frozenset()
            if not offer or not offer <= fitting:
                offer = fitting
    return offer


def _provided_slots(domain: str, said: Sequence[JudgedTurn]) -> frozenset[str]:
    """Return what was told of a domain among what counts."""
    told: set[str] = set()
    for turn in said:
        if domain in turn.domains:
            unsure = set() if domain in turn.booked else {"reference"}
            told |= (turn.slots & REQUESTABLE_SLOTS) - unsure
    return frozenset(told)
