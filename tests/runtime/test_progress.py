"""What progress prints, and where."""

from __future__ import annotations

import io

import pytest

from isaac.runtime.progress import BarProgress, LineProgress, Progress, terminal_progress


def run(progress: Progress, total: int | None = 10) -> None:
    with progress.stage("embed", total) as tick:
        tick(4)
        tick(6)


def test_progress_prints_nothing_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    run(Progress())
    assert capsys.readouterr() == ("", "")


def test_lines_are_plain_and_a_stage_ends_with_one() -> None:
    stream = io.StringIO()
    run(LineProgress(stream))
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("embed: 10/10 (")
    assert line.isascii()
    assert line.isprintable()


def test_lines_show_the_time_left() -> None:
    stream = io.StringIO()
    run(LineProgress(stream, every=0))
    first, last = stream.getvalue().splitlines()
    assert first.startswith("embed: 4/10 (")
    assert first.endswith(" s left)")
    assert last.startswith("embed: 10/10 (")
    assert "left" not in last


def test_lines_show_seconds_per_item_if_items_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 3.0, 9.0, 9.0])
    monkeypatch.setattr("isaac.runtime.progress.time.monotonic", lambda: next(times))
    stream = io.StringIO()
    with LineProgress(stream, every=0).stage("train", 3) as tick:
        tick(1)
        tick(2)
    assert stream.getvalue() == "train: 1/3 (3.0 s each, 6 s left)\ntrain: 3/3 (3.0 s each)\n"


def test_the_last_item_is_shown_however_soon_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 3.0, 3.1, 3.1])
    monkeypatch.setattr("isaac.runtime.progress.time.monotonic", lambda: next(times))
    stream = io.StringIO()
    with LineProgress(stream).stage("train", 2) as tick:
        tick(1)
        tick(1)
    assert stream.getvalue() == "train: 1/2 (3.0 s each, 3 s left)\ntrain: 2/2 (1.6 s each)\n"


def test_lines_need_no_total() -> None:
    stream = io.StringIO()
    run(LineProgress(stream), total=None)
    assert stream.getvalue().startswith("embed: 10 (")


def test_an_error_passes_through_and_the_stage_is_not_shown_as_done() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyError), LineProgress(stream).stage("embed"):
        raise KeyError
    assert stream.getvalue() == ""


@pytest.mark.parametrize("total", [None, 0, 10])
def test_bars_go_to_standard_error(total: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    run(BarProgress(), total)
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_bars_and_any_other_stream_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    assert isinstance(terminal_progress(), BarProgress)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(terminal_progress(), LineProgress)
