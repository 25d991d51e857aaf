"""Messages to the standard output, or to the log."""

import io
import logging
import sys

import numpy as np
import pytest

import fastk
from fastk.messages import tell


@pytest.fixture
def not_interactive():
    fastk.utils.disable_interactive_logging()
    yield
    fastk.utils.enable_interactive_logging()


def test_messages_are_printed(capsys):
    assert fastk.utils.is_interactive_logging_enabled()
    tell("one")
    tell("two", end="")
    assert capsys.readouterr().out == "one\ntwo"


def test_or_logged(not_interactive, capsys, caplog):
    assert not fastk.utils.is_interactive_logging_enabled()
    with caplog.at_level(logging.INFO, logger="fastk"):
        tell("\none\n")
    assert caplog.messages == ["one"] and capsys.readouterr().out == ""


def test_training_is_logged_a_line_an_epoch(not_interactive, capsys, caplog):
    model = fastk.Sequential([fastk.Input((2,)), fastk.layers.Dense(1)])
    model.compile("sgd", "mse")
    with caplog.at_level(logging.INFO, logger="fastk"):
        model.fit(np.ones((8, 2)), np.ones((8, 1)), batch_size=2, epochs=2)
    assert capsys.readouterr().out == ""
    lines = [message for message in caplog.messages if "loss" in message]
    assert len(lines) == 2 and all(line.startswith("4/4 - ") for line in lines)


def test_what_the_output_cannot_encode_is_replaced(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1251"))
    tell("━━ €")
    assert raw.getvalue() == b"== \x88\n"
    monkeypatch.setattr(sys, "stdout", None)
    tell("nobody reads this")
