"""What the core install weighs and how long it takes, in a fresh virtual environment.

Run: python benchmarks/install.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import format_header, format_table

ROOT = Path(__file__).resolve().parents[1]
IMPORT_SCRIPT = "import time; t = time.perf_counter(); import isaac; print(time.perf_counter() - t)"


def count_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def install() -> tuple[float, float, int, float, dict[str, float]]:
    """Return seconds, MiB, packages, seconds of ``import isaac``, and MiB of the largest."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder, "bin", "python")
        packages = next(Path(folder, "lib").glob("python*/site-packages"))
        before, there = count_bytes(packages), {path.name for path in packages.iterdir()}
        start = time.perf_counter()
        line = [str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir", str(ROOT)]
        subprocess.run(line, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        new = [path for path in packages.iterdir() if path.name not in there]
        count = sum(path.name.endswith(".dist-info") for path in new)
        weight = {path.name: count_bytes(path) / 2**20 for path in new if path.is_dir()}
        largest = dict(sorted(weight.items(), key=lambda pair: -pair[1])[:5])
        loads = [
            float(
                subprocess.run(
                    [python, "-c", IMPORT_SCRIPT], check=True, capture_output=True
                ).stdout
            )
            for _ in range(3)
        ]
        return seconds, (count_bytes(packages) - before) / 2**20, count, min(loads), largest


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    found = [install() for _ in range(given.repeats)]
    seconds = [one[0] for one in found]
    _, weight, count, loading, largest = found[-1]
    rows = [
        ("install from a clone, no cache: seconds", f"{min(seconds):.0f} to {max(seconds):.0f}"),
        ("weight: MiB", f"{weight:.0f}"),
        ("packages, isaac included", f"{count}"),
        ("`import isaac`: seconds", f"{loading:.2f}"),
        ("heaviest: MiB", ", ".join(f"{name} {mib:.0f}" for name, mib in largest.items())),
    ]
    print(
        f"{format_header('benchmarks/install.py', [])}\n\n{format_table(('what', 'measured'), rows)}"
    )


if __name__ == "__main__":
    main()
