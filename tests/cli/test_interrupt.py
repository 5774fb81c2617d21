"""Ctrl-C: the first one finishes what is under way, another one leaves; what the parent ignores stays ignored."""

import os
import signal
import threading

import pytest

from sertool.cli import interrupt
from sertool.cli.interrupt import interruptible


def send(number=signal.SIGINT):
    os.kill(os.getpid(), number)


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(interrupt, "_TWICE_S", 0.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_for_a_stop_and_says_so_once(number, capsys):
    stop, outside = threading.Event(), signal.signal(number, signal.SIG_DFL)  # the tests may run under nohup
    try:
        with interruptible(stop, "stopping"):
            send(number)
            assert stop.is_set()
            send(number)  # a wrapper that sends it twice
        assert capsys.readouterr().err == "stopping\n"
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, outside)


def test_another_signal_leaves(at_once):
    stop, left = threading.Event(), []
    with interruptible(stop, leave=lambda: left.append(1)):
        send()
        assert not left
        with pytest.raises(KeyboardInterrupt):
            send()
    assert left == [1]


def test_what_the_parent_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = threading.Event()
        with interruptible(stop):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            send(signal.SIGHUP)
        assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)
