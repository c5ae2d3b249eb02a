"""What a training did: its facts, its loss curve on a page, and the card of its model."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .._version import __version__
from ..models.chat import smollm2
from ..runs.reports.charts import (
    MARK_COLOR,
    Scale,
    percent,
    svg_chart,
    svg_element,
    svg_line,
    svg_text,
)
from ..runs.reports.rendering import render_template
from ..runtime.atomic_files import atomic_write
from ..text import make_printable, shorten
from .folder import TrainingFolder, compute_final_loss

REPORTED_LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


def collect_training_facts(trainer: Any, work: TrainingFolder, seconds: float) -> dict[str, Any]:
    """Return what a training used and how it went, as plain values.

    ``rows`` are those trained on, ``too_long`` those left out because no token of their response
    was within the greatest length (unknown of rows that are packed), ``refused`` those that the
    model's chat template does not take; ``seconds`` are those of the last session.
    """
    import datasets

    named = trainer.model.named_parameters()
    parameters = [one for name, one in named if ".ref." not in name]  # DPO's copy of an adapter
    rows, packed = len(trainer.train_dataset), getattr(trainer.args, "packing", False)
    return {
        "rows": rows,
        "too_long": 0 if packed else len(datasets.Dataset.from_file(str(work.rows))) - rows,
        "refused": work.refused,
        "steps": trainer.state.global_step,
        "epochs": round(float(trainer.state.epoch or 0), 4),
        "curve": extract_loss_curve(trainer.state.log_history),
        "parameters": {
            "trained": sum(one.numel() for one in parameters if one.requires_grad),
            "all": sum(one.numel() for one in parameters),
        },
        "learning_rate": trainer.args.learning_rate,
        "device": str(trainer.args.device),
        "versions": {
            "isaac": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in REPORTED_LIBRARIES},
        },
        "seconds": round(seconds, 1),
    }


def extract_loss_curve(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Return the logged numbers of every point that has a loss, or of the whole if none has."""
    plain = [
        {name: value for name, value in point.items() if isinstance(value, int | float)}
        for point in history
    ]
    means = [{**point, "loss": point["train_loss"]} for point in plain if "train_loss" in point]
    return [point for point in plain if "loss" in point] or means[-1:]


def draw_loss_chart(curve: Sequence[Mapping[str, float]]) -> str:
    """Return a line of the loss by step, as SVG."""
    steps, losses = [point["step"] for point in curve], [point["loss"] for point in curve]
    low, high = min(losses), max(losses)
    room = 0.1 * (high - low) or 0.1
    x = Scale(min(steps), max(steps[-1], steps[0] + 1), 60, 600)
    y = Scale(low - room, high + room, 240, 24)
    points = " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in zip(steps, losses, strict=True))
    path = svg_element("polyline", points=points, fill="none", stroke=MARK_COLOR, stroke_width=1.6)
    parts = [path, svg_line(60, 240, 600, 240), svg_text("loss", 2, 12, anchor="start")]
    parts += [svg_text(f"{tick:.4g}", 54, y(tick) + 4) for tick in y.ticks(5)]
    parts += [svg_text(f"{tick:g}", x(tick), 258, anchor="middle") for tick in x.ticks(8)]
    parts.append(svg_text("step", 330, 278, anchor="middle"))
    told = f"From {losses[0]:.4g} at step {steps[0]:g} to {losses[-1]:.4g} at step {steps[-1]:g}."
    return svg_chart((620, 284), "Loss by step", told, parts)


def write_html_report(work: TrainingFolder, facts: dict[str, Any]) -> None:
    """Write the report, a page that loads nothing from elsewhere and runs no script."""
    _write_rendered(work, "report.html", "train.html.jinja", facts, autoescape=True)


def write_model_card(work: TrainingFolder, facts: dict[str, Any], summary: dict[str, Any]) -> None:
    """Write the model card: corpus, recipe, the run's figures, and how the model was trained."""
    names = [make_printable(Path(given["name"]).name) for given in summary["inputs"]]
    base = facts["base"]
    public = facts["base_files"] is None and base != smollm2.MODEL_NAME
    known = {"summary": summary, "names": names, "public": public}
    called = base if public else Path(base).name
    _write_rendered(
        work, "README.md", "model.md.jinja", {**facts, **known, "base": called}, autoescape=False
    )


def _write_rendered(
    work: TrainingFolder, name: str, template: str, values: dict[str, Any], *, autoescape: bool
) -> None:
    curve = values["curve"]
    more = {"chart": draw_loss_chart(curve), "final": compute_final_loss(curve), "percent": percent}
    with atomic_write(work.path / name) as out:
        out.write(
            render_template(template, {**values, **more, "short": shorten}, autoescape=autoescape)
        )
