"""Progress in a few phases that a user knows, instead of in every stage of the work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .progress import Progress, Tick

PHASES = ("reading", "comparing", "choosing", "writing")

PHASE_BY_STAGE: Mapping[str, int] = {
    "values": 0,
    "read": 0,
    "canonical order": 0,
    "match": 2,
    "draw": 2,
    "prices": 2,
    "lineage": 2,
    "relevance targets": 2,
    "report": 3,
    "write": 3,
}
"""The phase of each stage; all others compare texts."""


class PhaseProgress(Progress):
    """Shows the phase of each stage to another `Progress`, and how long each phase took.

    A phase never comes back: what a later stage does belongs to the latest phase.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.phase = -1
        self.start = 0.0

    def notify(self, text: str, /) -> None:
        """Pass the message on."""
        self.progress.notify(text)

    @contextmanager
    def stage(self, name: str, total: int | None = None, /) -> Iterator[Tick]:
        """Run the stage under the name of its phase."""
        phase = max(PHASE_BY_STAGE.get(name, 1), self.phase)
        if phase != self.phase:
            self.finish()
            self.phase, self.start = phase, time.monotonic()
        with self.progress.stage(f"{self._title()} ({name})", total) as tick:
            yield tick

    def finish(self) -> None:
        """Say how long the phase took."""
        if self.phase >= 0:
            self.notify(f"{self._title()}: {time.monotonic() - self.start:,.1f} s")

    def _title(self) -> str:
        return f"{self.phase + 1}/{len(PHASES)} {PHASES[self.phase]}"
