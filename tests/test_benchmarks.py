import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

FRONTIER = Path(__file__).parents[1] / "benchmarks" / "frontier.py"

MEASURED = {
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


def frontier(*flags: str) -> str:
    command = [sys.executable, str(FRONTIER), *flags]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_frontier_names_its_flags() -> None:
    assert "--lm-rows" in frontier("--help")


def test_the_frontier_shows_numbers_as_tables_and_as_a_picture(tmp_path: Path) -> None:
    found = [
        {
            "corpus": "a < b",
            "method": method,
            "seed": seed,
            "seconds": 1.0,
            "ratio": 1.0,
            "measured": {**MEASURED, "cut": 0.5 + 0.1 * seed},
        }
        for method in ("paper", "ours")
        for seed in (0, 1)
    ]
    numbers, picture = tmp_path / "numbers.json", tmp_path / "picture.svg"
    numbers.write_text(json.dumps({"about": "made by hand", "found": found}), encoding="utf-8")
    shown = frontier("--from", str(numbers), "--chart", str(picture))
    assert shown.startswith("made by hand\n\na < b (10.0 % before)")
    assert "| isaac at its defaults | 5.0 ± 0.0 | 55.0 ± 7.1 |" in shown
    drawn = "".join(ElementTree.fromstring(picture.read_text(encoding="utf-8")).itertext())
    assert "a < b" in drawn
    assert "isaac at its defaults: cut 55.0 ± 7.1 %, relevance 75.0 ± 0.0 %" in drawn
