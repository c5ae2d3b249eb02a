"""The results of training: the facts in ``train.json``, the HTML report and the model card."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .._version import __version__
from ..models.chat import smollm2
from ..runs.reports.rendering import render_template
from ..runs.reports.svg import (
    MARK_COLOR,
    Scale,
    percent,
    svg_chart,
    svg_element,
    svg_line,
    svg_text,
)
from ..runtime.atomic_files import atomic_write
from ..text import make_printable, shorten
from .folder import TrainingFolder, compute_final_loss

REPORTED_LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
"""Libraries whose versions are reported."""


def collect_training_facts(trainer: Any, folder: TrainingFolder, seconds: float) -> dict[str, Any]:
    """Collect what the training used and how it went, as plain values.

    ``rows`` counts the rows used, ``too_long`` those left out because no token of the response is
    within the maximum length (0 if rows are packed, because it is unknown then), and ``refused``
    those that the model's chat template rejects. ``seconds`` covers only the last session.
    """
    import datasets

    # DPO adds a frozen copy of the adapter, named ".ref.", which is not part of the model.
    parameters = [
        parameter for name, parameter in trainer.model.named_parameters() if ".ref." not in name
    ]
    rows, packed = len(trainer.train_dataset), getattr(trainer.args, "packing", False)
    return {
        "rows": rows,
        "too_long": 0 if packed else len(datasets.Dataset.from_file(str(folder.rows_file))) - rows,
        "refused": folder.refused,
        "steps": trainer.state.global_step,
        "epochs": round(float(trainer.state.epoch or 0), 4),
        "curve": extract_loss_curve(trainer.state.log_history),
        "parameters": {
            "trained": sum(weights.numel() for weights in parameters if weights.requires_grad),
            "all": sum(weights.numel() for weights in parameters),
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
    """Extract the logged numbers at every step with a loss."""
    return [
        {name: value for name, value in point.items() if isinstance(value, int | float)}
        for point in history
        if "loss" in point
    ]


def draw_loss_chart(curve: Sequence[Mapping[str, float]]) -> str:
    """Draw the loss by step as an SVG line chart."""
    steps, losses = [point["step"] for point in curve], [point["loss"] for point in curve]
    low, high = min(losses), max(losses)
    margin = 0.1 * (high - low) or 0.1
    x = Scale(min(steps), max(steps[-1], steps[0] + 1), 60, 600)
    y = Scale(low - margin, high + margin, 240, 24)
    points = " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in zip(steps, losses, strict=True))
    path = svg_element("polyline", points=points, fill="none", stroke=MARK_COLOR, stroke_width=1.6)
    parts = [path, svg_line(60, 240, 600, 240), svg_text("loss", 2, 12, anchor="start")]
    parts += [svg_text(f"{tick:.4g}", 54, y(tick) + 4) for tick in y.ticks(5)]
    parts += [svg_text(f"{tick:g}", x(tick), 258, anchor="middle") for tick in x.ticks(8)]
    parts.append(svg_text("step", 330, 278, anchor="middle"))
    caption = (
        f"From {losses[0]:.4g} at step {steps[0]:g} to {losses[-1]:.4g} at step {steps[-1]:g}."
    )
    return svg_chart((620, 284), "Loss by step", caption, parts)


def write_html_report(folder: TrainingFolder, facts: dict[str, Any]) -> None:
    """Write the report, a self-contained HTML page without scripts."""
    _write_rendered(folder, "report.html", "train.html.jinja", facts, autoescape=True)


def write_model_card(
    folder: TrainingFolder, facts: dict[str, Any], summary: dict[str, Any]
) -> None:
    """Write the model card: the corpus, the recipe, figures of the run, and training facts."""
    names = [make_printable(Path(source["name"]).name) for source in summary["inputs"]]
    # A model on the Hub is named in full; of a local folder, the card shows only the name.
    base = facts["base"]
    public = facts["base_files"] is None and base != smollm2.MODEL_NAME
    values = {
        **facts,
        "summary": summary,
        "names": names,
        "public": public,
        "base": base if public else Path(base).name,
    }
    _write_rendered(folder, "README.md", "model.md.jinja", values, autoescape=False)


def _write_rendered(
    folder: TrainingFolder, name: str, template: str, values: dict[str, Any], *, autoescape: bool
) -> None:
    curve = values["curve"]
    values = {
        **values,
        "chart": draw_loss_chart(curve),
        "final": compute_final_loss(curve),
        "percent": percent,
        "short": shorten,
    }
    with atomic_write(folder.path / name) as out:
        out.write(render_template(template, values, autoescape=autoescape))
