"""The size of the core install and the time it takes, in a fresh virtual environment.

Run: python benchmarks/install.py [--repeats 3]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from common import format_header, format_table, make_parser

ROOT = Path(__file__).resolve().parents[1]
IMPORT_SCRIPT = "import time; t = time.perf_counter(); import isaac; print(time.perf_counter() - t)"


class Installation(NamedTuple):
    """An install in a fresh environment: times in seconds, sizes in MiB.

    ``import_seconds`` is the fastest of three imports, ``largest`` the five largest packages.
    """

    seconds: float
    mib: float
    packages: int
    import_seconds: float
    largest: dict[str, float]


def count_bytes(folder: Path) -> int:
    """Add up the sizes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def install() -> Installation:
    """Install isaac from this clone, without pip's cache, and measure it."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder, "bin", "python")
        packages = next(Path(folder, "lib").glob("python*/site-packages"))
        bytes_before, names_before = count_bytes(packages), {p.name for p in packages.iterdir()}
        start = time.perf_counter()
        command = [str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir", str(ROOT)]
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        new = [path for path in packages.iterdir() if path.name not in names_before]
        count = sum(path.name.endswith(".dist-info") for path in new)
        sizes = {path.name: count_bytes(path) / 2**20 for path in new if path.is_dir()}
        largest = dict(sorted(sizes.items(), key=lambda pair: -pair[1])[:5])
        mib = (count_bytes(packages) - bytes_before) / 2**20
        return Installation(
            seconds, mib, count, min(time_import(python) for _ in range(3)), largest
        )


def time_import(python: Path) -> float:
    """Seconds that ``import isaac`` takes in a new process."""
    done = subprocess.run([python, "-c", IMPORT_SCRIPT], check=True, capture_output=True)
    return float(done.stdout)


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="number of installs")
    installs = [install() for _ in range(parser.parse_args().repeats)]
    seconds, last = [one.seconds for one in installs], installs[-1]
    rows = [
        ("install from a clone, no cache: seconds", f"{min(seconds):.0f} to {max(seconds):.0f}"),
        ("size: MiB", f"{last.mib:.0f}"),
        ("packages, including isaac", f"{last.packages}"),
        ("`import isaac`: seconds", f"{last.import_seconds:.2f}"),
        ("largest: MiB", ", ".join(f"{name} {mib:.0f}" for name, mib in last.largest.items())),
    ]
    print(format_header("benchmarks/install.py", []) + "\n")
    print(format_table(("what", "measured"), rows))


if __name__ == "__main__":
    main()
