"""Groups of system turns: turns can replace each other only if they share what they state."""

from __future__ import annotations

from typing import NamedTuple

from .placeholders import NON_DOMAINS

INDUCED_ACT_PREFIX = "~"
"""The prefix of an induced act, such as ``~7``, which a turn without annotated acts gets."""

SEPARATOR = " | "
"""The separator between acts and slots when a group is written as text."""


class DialogueGroup(NamedTuple):
    """The acts of a system turn, the slots in its text, and the values that the text implies.

    ``acts`` is the act string of the turn, an induced act, or empty; ``slots`` are the slots of the
    placeholders in its text, sorted; ``implied`` are values without a placeholder, such as
    ``hotel-pets=yes``. ``str`` and `parse` convert it to and from the text in files, such as
    ``hotel-inform-name+hotel-inform-pets | hotel_name hotel-pets=yes``.
    """

    acts: str
    slots: tuple[str, ...] = ()
    implied: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.acts}{SEPARATOR}{' '.join([*self.slots, *self.implied])}"

    @classmethod
    def parse(cls, text: str) -> DialogueGroup:
        """Parse a group from its text."""
        acts, _, slots = text.rpartition(SEPARATOR)
        names = slots.split()
        return cls(
            acts,
            tuple(name for name in names if "=" not in name),
            tuple(name for name in names if "=" in name),
        )

    @property
    def induced_act(self) -> int | None:
        """The number of the induced act; None if the group has none."""
        number = self.acts.removeprefix(INDUCED_ACT_PREFIX)
        induced = self.acts.startswith(INDUCED_ACT_PREFIX) and number.isdecimal()
        return int(number) if induced else None

    @property
    def has_known_acts(self) -> bool:
        """Whether the group's acts come from the corpus's annotations and are not induced."""
        return bool(self.acts) and self.induced_act is None

    @property
    def domains(self) -> frozenset[str]:
        """The domains of the annotated acts; empty if there are none."""
        if not self.has_known_acts:
            return frozenset()
        domains = {act.partition("-")[0] for act in self.acts.split("+")}
        return frozenset(domains - NON_DOMAINS - {""})

    def with_induced_act(self, number: int) -> DialogueGroup:
        """The group with an induced act instead of its acts."""
        return self._replace(acts=f"{INDUCED_ACT_PREFIX}{number}")
