"""The server adapter: streaming, parts put back together, faults."""

from __future__ import annotations

import socket
import threading

import pytest
from chat_server import ChatServer

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.errors import ModelError
from acs_assistant.llm import open_model
from acs_assistant.llm.port import Sampling
from acs_assistant.llm.server import API_KEY_VARIABLE, ServerModel

USER = [{"role": "user", "content": "Size it."}]
TOOL = [{"type": "function", "function": {"name": "simulate"}}]
CALL = {
    "role": "assistant",
    "content": "Going wider.",
    "reasoning_content": "The pair needs more gm.",
    "tool_calls": [
        {"id": "a", "function": {"name": "simulate", "arguments": '{"w_in": "20u", "l": "1u"}'}}
    ],
}
CALL_TEXT = (
    "<think>\nThe pair needs more gm.\n</think>\nGoing wider."
    '<tool_call>\n{"name": "simulate", "arguments": {"w_in": "20u", "l": "1u"}}\n</tool_call>'
)


def test_reasoning_and_tool_calls_become_one_text(chat_server: ChatServer) -> None:
    chat_server.message = CALL
    model = ServerModel(chat_server.url)
    assert "".join(model.stream(USER, TOOL, Sampling())) == CALL_TEXT
    assert model.sample_group(USER, TOOL, Sampling(), 1)[0].text == CALL_TEXT


def test_two_calls_and_arguments_that_are_no_text(chat_server: ChatServer) -> None:
    chat_server.message = {
        "tool_calls": [
            {"id": "a", "function": {"name": "simulate", "arguments": {"w": "1u"}}},
            {"id": "b", "function": {"name": "stop", "arguments": ""}},
        ]
    }
    model = ServerModel(chat_server.url)
    assert model.sample_group(USER, TOOL, Sampling(), 1)[0].text == (
        '<tool_call>\n{"name": "simulate", "arguments": {"w": "1u"}}\n</tool_call>'
        '<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>'
    )


def test_request_carries_sampling_and_tools(chat_server: ChatServer) -> None:
    model = ServerModel(chat_server.url + "#second")
    sampling = Sampling(temperature=0.3, top_p=0.9, top_k=40, max_tokens=77, seed=5)
    list(model.stream(USER, TOOL, sampling, grammar="root ::= 'x'"))
    [body] = chat_server.bodies
    assert body["model"] == "second"
    assert (body["temperature"], body["top_p"], body["top_k"]) == (0.3, 0.9, 40)
    assert (body["max_tokens"], body["seed"]) == (77, 5)
    assert body["messages"] == USER
    assert body["tools"] == TOOL
    assert "grammar" not in body


def test_first_model_and_its_figures(chat_server: ChatServer) -> None:
    info = open_model(chat_server.url).info
    assert (info.name, info.parameters, info.context) == ("first", 1234, 4096)
    assert ServerModel(chat_server.url + "#second").info.context == 2048


def test_unknown_model_names_those_that_are_there(chat_server: ChatServer) -> None:
    with pytest.raises(ModelError, match="first, second"):
        ServerModel(chat_server.url + "#third")


def test_group_in_one_request(chat_server: ChatServer) -> None:
    group = ServerModel(chat_server.url).sample_group(USER, TOOL, Sampling(), 4)
    assert [c.text for c in group] == ["Hello there, designer."] * 4
    assert [c.tokens for c in group] == [5] * 4
    assert [body.get("n") for body in chat_server.bodies] == [4]


@pytest.mark.parametrize("way", ["ignores n", "refuses n"])
def test_group_from_a_server_without_n(chat_server: ChatServer, way: str) -> None:
    chat_server.choices = 1
    chat_server.refuse_many = way == "refuses n"
    group = ServerModel(chat_server.url).sample_group(USER, TOOL, Sampling(seed=2), 3)
    assert len(group) == 3
    seeds = [body["seed"] for body in chat_server.bodies if "n" not in body]
    assert len(set(seeds)) == len(seeds) == (3 if way == "refuses n" else 2)


def test_api_key(chat_server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "secret")
    ServerModel(chat_server.url)
    assert chat_server.headers[-1]["Authorization"] == "Bearer secret"
    monkeypatch.delenv(API_KEY_VARIABLE)
    ServerModel(chat_server.url)
    assert "Authorization" not in chat_server.headers[-1]


def test_cancel_while_the_server_is_silent(chat_server: ChatServer) -> None:
    chat_server.stall = threading.Event()
    chat_server.message = CALL
    cancel = CancelToken()
    model = ServerModel(chat_server.url)
    timer = threading.Timer(0.2, cancel.cancel)
    timer.start()
    with pytest.raises(CancelledError):
        list(model.stream(USER, TOOL, Sampling(), cancel=cancel))
    timer.join()


def test_closing_the_stream_hangs_up(chat_server: ChatServer) -> None:
    chat_server.stall = threading.Event()
    chat_server.message = {"content": "words " * 20_000}
    pieces = ServerModel(chat_server.url).stream(USER, TOOL, Sampling())
    chat_server.stall.set()
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert chat_server.hung_up.wait(10)


def test_a_stream_that_breaks_off(chat_server: ChatServer) -> None:
    chat_server.message = CALL
    chat_server.break_after = 3
    with pytest.raises(ModelError, match="broke off"):
        list(ServerModel(chat_server.url).stream(USER, TOOL, Sampling()))


@pytest.mark.parametrize(
    ("status", "body", "message", "hint"),
    [
        (401, '{"error": {"message": "bad key"}}', "401.*bad key", API_KEY_VARIABLE),
        (404, "not here", "404.*not here", "/v1"),
        (400, '{"error": "exceeds the context size"}', "context size", "new session"),
        (503, '{"detail": "loading"}', "503.*loading", "try again"),
    ],
)
def test_refusals(chat_server: ChatServer, status: int, body: str, message: str, hint: str) -> None:
    model = ServerModel(chat_server.url)
    chat_server.refuse = (status, body)
    with pytest.raises(ModelError, match=message) as caught:
        list(model.stream(USER, TOOL, Sampling()))
    assert hint in caught.value.hint
    with pytest.raises(ModelError, match=message):
        model.sample_group(USER, TOOL, Sampling(), 2)


def test_an_address_that_is_no_api(chat_server: ChatServer) -> None:
    chat_server.raw = b"<html>hello</html>"
    with pytest.raises(ModelError, match="no JSON") as caught:
        ServerModel(chat_server.url)
    assert "/v1" in caught.value.hint


def test_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModelError, match="no answer") as caught:
        open_model(f"http://127.0.0.1:{port}/v1")
    assert "Start the server" in caught.value.hint


@pytest.mark.parametrize("url", ["http://", "http://host:port/v1", "ftp://host/v1"])
def test_malformed_address(url: str) -> None:
    with pytest.raises(ModelError, match="not the address of a server"):
        ServerModel(url)


def test_a_silent_server_times_out(chat_server: ChatServer) -> None:
    model = ServerModel(chat_server.url, timeout=0.2)
    chat_server.stall = threading.Event()
    with pytest.raises(ModelError, match="in time"):
        list(model.stream(USER, TOOL, Sampling()))
