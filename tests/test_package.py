from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not a source checkout"),
]


def run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_built_package_works_in_a_clean_environment(tmp_path: Path) -> None:
    for package in ("build", "twine"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    run(sys.executable, "-m", "build", "--outdir", tmp_path / "dist", ROOT)
    archives = sorted((tmp_path / "dist").iterdir())
    assert [archive.suffix for archive in archives] == [".whl", ".gz"]
    run(sys.executable, "-m", "twine", "check", "--strict", *archives)
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", archives[0])
    isaac = tmp_path / "env" / "bin" / "isaac"
    out = run(isaac, "demo", "-q", "-o", "demo", cwd=tmp_path)
    assert out.startswith("trust it?  Probably. The method applies.")
    assert (tmp_path / "demo" / "report.html").exists()
    # The hint about a missing extra names the distribution, as there is no clone.
    missing = subprocess.run(
        [isaac, "judge", "fit", tmp_path / "demo" / "labelled.jsonl", "-o", "judge", "--frozen"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert "pip install 'isaac-align[judges]'" in missing.stderr
