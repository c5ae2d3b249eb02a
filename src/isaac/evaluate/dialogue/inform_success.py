"""Inform and Success: whether a system offered what the goal asks for, and gave the details.

The definitions are those of the standardized evaluation of MultiWOZ (Nekvinda and Dušek 2021,
arXiv 2106.05555), including the decisions in its released code:

- A response makes an *offer* in a domain if it contains a placeholder for a name (in the train
  domain: for a train id) and the domain is active. The offer is the set of all entities in the
  database that match the system's belief state at that turn. An earlier offer remains in place as
  long as it is a subset of the new one.
- A domain is *informed* if the final offer is not empty and all its entities match the goal. These
  domains are informed without an offer: taxi, police and hospital; a domain whose goal names the
  venue; and train, if the goal does not request a train id.
- A dialogue is informed if all domains of its goal are.
- A domain *succeeds* if its dialogue is informed and if each slot that the goal requests, among
  address, phone, postcode, reference and train id, appeared in a response while the domain was
  active. A reference counts only if the corpus's annotations say that the domain is booked.
- A dialogue succeeds if all domains of its goal do.
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
    """What a system turn is judged by: the response's slots, the state and the active domains.

    ``booked`` has the domains whose reference numbers count.
    """

    slots: frozenset[str]
    state: BeliefState
    domains: Collection[str]
    booked: Collection[str]


def build_judged_turns(
    predictions: Sequence[Prediction],
    states: Sequence[BeliefState],
    booked: Sequence[Collection[str]] | None = None,
    *,
    by_placeholder: bool = False,
) -> list[JudgedTurn]:
    """Prepare the turns of a dialogue for judging.

    ``states`` are the belief states to judge by, one per turn. If a prediction does not give the
    active domains, the states suggest one (see `infer_active_domains`), or ``by_placeholder`` its
    placeholders, if they name any (``[hotel_phone]``). If ``booked`` is None, every domain counts
    as booked.
    """
    turns = []
    inferred = infer_active_domains(states)
    for index, (prediction, state) in enumerate(zip(predictions, states, strict=True)):
        placeholders = find_placeholders(prediction.response)
        named = {placeholder.domain for placeholder in placeholders if placeholder.domain}
        domains: Collection[str] = (by_placeholder and named) or inferred[index]
        if prediction.domains is not None:
            domains = prediction.domains
        slots = frozenset(placeholder.slot for placeholder in placeholders)
        turns.append(
            JudgedTurn(slots, state, domains, domains if booked is None else booked[index])
        )
    return turns


def infer_active_domains(states: Sequence[BeliefState]) -> list[tuple[str, ...]]:
    """Infer the active domain of each turn from the changes in the belief states.

    The active domain is the one where a slot got a new value. If several changed, the current
    domain stays active if it is among them; otherwise the one with the most slots becomes active.
    If the next turn changes nothing, the first of the others becomes active. A turn before any
    change has no active domain. The standardized evaluation finds them in the same way.
    """
    current = ""
    previous: BeliefState = {}
    waiting: list[str] = []
    domains: list[tuple[str, ...]] = []
    for state in states:
        changed = list(_changed_domains(previous, state))
        if changed:
            if current not in changed:
                current = max(changed, key=lambda domain: len(state[domain]))
            waiting = [domain for domain in changed if domain != current]
        else:
            current = next((domain for domain in waiting if domain in state), current)
            waiting = []
        previous = state
        domains.append((current,) if current else ())
    return domains


def _changed_domains(previous: BeliefState, state: BeliefState) -> Iterator[str]:
    for domain, slots in state.items():
        if slots.items() - previous.get(domain, {}).items():
            yield domain


def judge_dialogue(
    goal: Mapping[str, DomainGoal], turns: Sequence[JudgedTurn], database: Database
) -> DialogueOutcome:
    """Decide which domains of a goal were informed and which succeeded."""
    informed = {
        domain: _is_informed(domain, domain_goal, turns, database)
        for domain, domain_goal in goal.items()
    }
    provided = {
        domain: domain_goal.requested <= _provided_slots(domain, turns)
        for domain, domain_goal in goal.items()
    }
    all_informed = all(informed.values())
    return DialogueOutcome(informed, {domain: all_informed and provided[domain] for domain in goal})


def _is_informed(
    domain: str, goal: DomainGoal, turns: Sequence[JudgedTurn], database: Database
) -> bool:
    if domain not in DATABASE_DOMAINS or "name" in goal.constraints:
        return True
    offer = _final_offer(domain, turns, database)
    if not offer:
        return domain == "train" and "trainid" not in goal.requested
    return offer <= database.query(domain, goal.constraints)


def _final_offer(domain: str, turns: Sequence[JudgedTurn], database: Database) -> frozenset[str]:
    """Find the ids of the entities on offer at the end of a dialogue."""
    marker = "trainid" if domain == "train" else "name"
    offer: frozenset[str] = frozenset()
    for turn in turns:
        if domain in turn.domains and marker in turn.slots:
            constraints = turn.state.get(domain)
            matching = database.query(domain, constraints) if constraints else frozenset()
            if not offer or not offer <= matching:
                offer = matching
    return offer


def _provided_slots(domain: str, turns: Sequence[JudgedTurn]) -> frozenset[str]:
    """Find the requestable slots whose values the responses gave in a domain."""
    provided: set[str] = set()
    for turn in turns:
        if domain in turn.domains:
            excluded = set() if domain in turn.booked else {"reference"}
            provided |= (turn.slots & REQUESTABLE_SLOTS) - excluded
    return frozenset(provided)
