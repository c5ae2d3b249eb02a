"""The folder of a training: what was asked of it, how far it is, and what it yields."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RecipeError, RunError
from ..models.chat.loading import fingerprint
from ..models.chat.rephraser import MARK
from ..runs.run import Run
from ..runtime.atomic_files import alone, json_in, sweep, writing
from ..text import short
from .settings import Kind, Settings

FACTS = "train.json"
"""Written last: a training that has it is finished."""


class Trained(NamedTuple):
    """A finished training: where its model lies, on how many rows, with what loss at the end.

    ``loss`` is the mean of the last tenth of the steps, ``seconds`` those of the last session.
    """

    folder: Path
    kind: str
    rows: int
    steps: int
    loss: float
    seconds: float


class Work:
    """A folder that holds a training, finished or under way.

    ``refused`` counts rows that the model's chat template does not take.

    ``isaac.json`` says from the start what is trained on what; the same training goes on in the
    folder, another is refused.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.mark = self.path / MARK
        self.scratch = self.path / "checkpoints"
        self.rows = self.scratch / "rows.arrow"
        self.refused = 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training here; raise `RunError` if one does."""
        with alone(self.path, "a model's folder", f"trains in {self.path}"):
            sweep(self.path)
            yield

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Note what is asked; raise `RecipeError` if the folder was made for something else."""
        plain = json.loads(json.dumps(asked, default=str))
        if not self.mark.exists():
            if (self.path / "manifest.json").exists() or list(self.path.glob("*.safetensors")):
                raise RunError(f"{self.path} already holds something else; choose another folder")
            self.write(MARK, plain)
            return
        if not self._made():
            self.write(MARK, plain)
            return
        known = json_in(self.mark)
        differs = [
            f"{name}: {short(str(there))} -> {short(str(here))}"
            for name, there, here in _differences(known, plain)
            if name != "max_tokens"
        ]
        if differs:
            raise RecipeError(
                f"{self.path} was begun as another training; what differs: {'; '.join(differs)}. "
                "Repeat that command, or choose another folder"
            )

    def _made(self) -> bool:
        """Say whether anything was trained here that another training would spoil."""
        kinds = ("checkpoints/checkpoint-*", "stages/*", "*.safetensors", FACTS)
        return any(next(self.path.glob(kind), None) is not None for kind in kinds)

    def write(self, name: str, values: Any) -> None:
        """Write a small file as JSON, whole or not at all."""
        with writing(self.path / name) as out:
            out.write(json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def finished(self) -> Trained | None:
        """Return what the training yielded if it is finished."""
        if not (self.path / FACTS).exists():
            return None
        facts = json_in(self.path / FACTS)
        return Trained(
            self.path,
            facts["kind"],
            facts["rows"],
            facts["steps"],
            last_loss(facts["curve"]),
            facts["seconds"],
        )

    def checkpoint(self) -> str | None:
        """Return the last checkpoint that is whole; halves are removed."""
        found = sorted(
            self.scratch.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])
        )
        whole = [path for path in found if _readable(path / "trainer_state.json")]
        for half in set(found) - set(whole):
            shutil.rmtree(half)
        return str(whole[-1]) if whole else None

    def tidy(self) -> None:
        """Remove what only going on would need."""
        shutil.rmtree(self.scratch, ignore_errors=True)


def _readable(file: Path) -> bool:
    """Say whether a file is whole JSON; a stop of the machine may have left half of it."""
    try:
        json_in(file)
    except RunError:
        return False
    return True


def last_loss(curve: list[dict[str, float]]) -> float:
    """Return the mean loss of the last tenth of a curve, its last point at least."""
    losses = [point["loss"] for point in curve]
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail) if tail else float("nan")


def asked_of(kind: Kind, run: Run, model: str, settings: Settings) -> dict[str, Any]:
    """Return what tells one training from another."""
    return {
        "kind": kind,
        "base": str(Path(model)) if Path(model).is_dir() else model,
        "base_files": fingerprint(model),
        "lineage": run.manifest()["sha256"]["lineage.parquet"],
        "settings": settings.dump(),
    }


def _differences(
    known: Mapping[str, Any], asked: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, known and asked value for each value in which the two differ."""
    for name in dict.fromkeys([*known, *asked]):
        there, here = known.get(name), asked.get(name)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            yield from _differences(there, here, f"{above}{name}.")
        elif there != here:
            yield f"{above}{name}", there, here
