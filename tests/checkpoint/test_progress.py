"""What is seen on a terminal while bytes are written, and elsewhere: nothing."""

from __future__ import annotations

import io
import os
import sys
import threading

import pytest

from isometry import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Where standard error goes from now on. (Set in a fixture, it would be pytest's again by then.)"""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setitem(os.environ, "TERM", "xterm")
    monkeypatch.setitem(os.environ, "COLUMNS", "120")
    return screen


def test_bytes_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    with progress.transferring("writing llama", 4_000_000_000) as advance:
        threads = [threading.Thread(target=advance, args=(500_000_000,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    shown = screen.getvalue()
    assert "writing llama" in shown
    assert "50%" in shown
    assert "2.0/4.0 GB" in shown
    assert "B/s" in shown


def test_a_second_passes_before_anything_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    with progress.transferring("writing", 10) as advance:
        advance(10)
    assert screen.getvalue() == ""


def test_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    with progress.transferring("writing", 10) as advance:
        advance(5)
    assert list(progress.track([("a", 1), ("b", 2)], "doing", 3)) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_the_share_that_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    assert list(progress.track([("a", 1), ("b", 3)], "initialising net", 4)) == ["a", "b"]
    assert "initialising net" in screen.getvalue()
    assert "100%" in screen.getvalue()
