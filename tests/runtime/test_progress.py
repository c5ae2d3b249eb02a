from __future__ import annotations

import io

import pytest

from isaac.runtime.progress import BarProgress, LineProgress, Progress, terminal_progress


def run(shown: Progress, total: int | None = 10) -> None:
    with shown.stage("embed", total) as tick:
        tick(4)
        tick(6)


def test_progress_says_nothing_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    run(Progress())
    assert capsys.readouterr() == ("", "")


def test_lines_are_plain_and_one_ends_the_stage() -> None:
    stream = io.StringIO()
    run(LineProgress(stream))
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("embed: 10/10 (")
    assert line.isascii()
    assert line.isprintable()


def test_lines_tell_how_long_is_left() -> None:
    stream = io.StringIO()
    run(LineProgress(stream, every=0))
    first, last = stream.getvalue().splitlines()
    assert first.startswith("embed: 4/10 (")
    assert first.endswith(" s left)")
    assert last.startswith("embed: 10/10 (")
    assert "left" not in last


def test_lines_tell_what_a_slow_item_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 3.0, 9.0, 9.0])
    monkeypatch.setattr("isaac.runtime.progress.time.monotonic", lambda: next(times))
    stream = io.StringIO()
    with LineProgress(stream, every=0).stage("train", 3) as tick:
        tick(1)
        tick(2)
    assert stream.getvalue() == "train: 1/3 (3.0 s each, 6 s left)\ntrain: 3/3 (3.0 s each)\n"


def test_the_last_item_is_told_however_soon_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_lines_let_an_error_through_and_do_not_call_the_stage_done() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyError), LineProgress(stream).stage("embed"):
        raise KeyError
    assert stream.getvalue() == ""


@pytest.mark.parametrize("total", [None, 0, 10])
def test_bars_go_to_standard_error(total: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    run(BarProgress(), total)
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_bars_and_anything_else_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    assert isinstance(terminal_progress(), BarProgress)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(terminal_progress(), LineProgress)
