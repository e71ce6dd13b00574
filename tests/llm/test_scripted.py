"""The queueable fake: what other areas' tests lean on."""

from __future__ import annotations

import threading
import time

import pytest

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.errors import ModelError
from acs_assistant.llm.port import Sampling
from acs_assistant.llm.scripted import Request, ScriptedModel

USER = [{"role": "user", "content": "Go."}]


def test_replies_come_in_order_and_whole() -> None:
    text = "<think>\nwider  pair\n</think>\n\n<tool_call>\n{}\n</tool_call>\n"
    model = ScriptedModel(text, " lead and trail ")
    model.queue("last")
    replies = ["".join(model.stream(USER, [], Sampling())) for _ in range(3)]
    assert replies == [text, " lead and trail ", "last"]


def test_requests_are_kept() -> None:
    model = ScriptedModel("a", "b")
    list(model.stream(USER, [{"type": "function"}], Sampling(seed=7), "root ::= 'a'"))
    [request] = model.requests
    assert request == Request((USER[0],), ({"type": "function"},), Sampling(seed=7), "root ::= 'a'")


def test_functions_and_exceptions() -> None:
    model = ScriptedModel(lambda request: f"seed {request.sampling.seed}", ModelError("broken"))
    assert "".join(model.stream(USER, [], Sampling(seed=9))) == "seed 9"
    with pytest.raises(ModelError, match="broken"):
        list(model.stream(USER, [], Sampling()))


def test_an_empty_queue_is_an_error() -> None:
    with pytest.raises(ModelError, match="no reply left for request 1"):
        list(ScriptedModel().stream(USER, [], Sampling()))


def test_a_group_takes_a_reply_each() -> None:
    group = ScriptedModel("one", "two words", "x").sample_group(USER, [], Sampling(), 2)
    assert [(c.text, c.tokens, c.finish) for c in group] == [
        ("one", 1, "stop"),
        ("two words", 2, "stop"),
    ]


def test_max_tokens_counts_pieces() -> None:
    [completion] = ScriptedModel("a b c d").sample_group(USER, [], Sampling(max_tokens=2), 1)
    assert (completion.text, completion.finish) == ("a b", "length")


def test_cancel_ends_a_long_delay_at_once() -> None:
    cancel = CancelToken()
    timer = threading.Timer(0.05, cancel.cancel)
    timer.start()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        list(ScriptedModel("slow", delay=60).stream(USER, [], Sampling(), cancel=cancel))
    assert time.monotonic() - began < 30
