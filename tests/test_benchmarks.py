import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

FRONTIER = Path(__file__).parents[1] / "benchmarks" / "frontier.py"

MEASURES = {
    "before": 0.1,
    "after": 0.05,
    "cut": 0.5,
    "rows": 1.0,
    "relevance": 0.75,
    "gain_before": None,
    "gain": None,
    "distinct": 0.3,
    "distinct_of_sample": 0.6,
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
            "ratio": 1.0,
            "measured": {**MEASURES, "cut": 0.5 + 0.1 * seed},
        }
        for method in ("paper", "ours")
        for seed in (0, 1)
    ]
    source, chart = tmp_path / "results.json", tmp_path / "chart.svg"
    source.write_text(json.dumps({"about": "a header", "found": results}), encoding="utf-8")
    tables = run_frontier("--from", str(source), "--chart", str(chart))
    assert tables.startswith("a header\n\na < b (10.0 % before)")
    assert "| isaac, default settings | 5.0 ± 0.0 | 55.0 ± 7.1 |" in tables
    chart_text = "".join(ElementTree.fromstring(chart.read_text(encoding="utf-8")).itertext())
    assert "a < b" in chart_text
    assert "isaac, default settings: cut 55.0 ± 7.1 %, relevance 75.0 ± 0.0 %" in chart_text
