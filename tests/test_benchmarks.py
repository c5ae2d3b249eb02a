import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

FRONTIER = Path(__file__).parents[1] / "benchmarks" / "frontier.py"

MEASURES = {
    "rows": 0.8,
    "source_before": 0.1,
    "source": 0.04,
    "context": 0.05,
    "judged_before": 0.1,
    "judged": None,
    "answers_before": 0.6,
    "answers": 0.63,
    "relevance_before": 0.4,
    "relevance": 0.3,
    "texts_before": 1000,
    "texts": 700,
    "pairs_before": 0.5,
    "pairs": 0.4,
    "touched": 0.3,
    "safe_touched": 0.25,
    "precision": 0.2,
    "redrawn": 0.1,
    "redrawn_answers": 0.6,
    "safe_wrong": 0.02,
}


def run_frontier(*flags: str) -> str:
    command = [sys.executable, str(FRONTIER), *flags]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_help_of_the_frontier_has_its_flags() -> None:
    assert "--lm-rows" in run_frontier("--help")


def test_the_frontier_formats_results_as_tables_and_draws_a_chart(tmp_path: Path) -> None:
    results = [
        {
            "corpus": "a < b",
            "method": method,
            "seed": seed,
            "seconds": 1.0,
            "measured": {**MEASURES, "context": 0.05 - 0.01 * seed},
        }
        for method in ("paper", "filter-50", "filter-70")
        for seed in (0, 1)
    ]
    source, chart = tmp_path / "results.json", tmp_path / "chart.svg"
    source.write_text(
        json.dumps({"about": "a header", "judges": {"a < b": ["weak"]}, "found": results}),
        encoding="utf-8",
    )
    tables = run_frontier("--from", str(source), "--chart", str(chart))
    assert tables.startswith("a header\n\n### a < b (10.0 % unsafe and 60.0 % answer")
    assert "\n\nJudge: weak.\n\n" in tables
    row = next(line for line in tables.splitlines() if "least typical 50 %" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:7] == ["80.0 ± 0.0", "4.0 ± 0.0", "60.0 ± 0.0", "4.5 ± 0.7", "55.0 ± 7.1", "—"]
    assert cells[7:9] == ["105.0 ± 0.0", "75.0 ± 0.0"]
    brief = run_frontier("--from", str(source), "--brief")
    assert "| isaac, drop the least typical 50 % | 80 / 55 / 105 / 70 |" in brief
    root = ElementTree.fromstring(chart.read_text(encoding="utf-8"))
    chart_text = "".join(root.itertext())
    assert "a < b" in chart_text
    assert "isaac, filter: 45.0 ± 7.1 % at 80.0 ± 0.0 %" in chart_text
    curves = [path for path in root.iter() if path.get("class") == "curve"]
    assert len(curves) == 1  # the two filters are joined; the paper's settings are one point
