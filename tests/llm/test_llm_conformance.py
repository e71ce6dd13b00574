"""What every language model must do, held against all three adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chat_server import ChatServer

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.llm import open_model
from acs_assistant.llm.port import LanguageModel, Sampling
from acs_assistant.llm.scripted import ScriptedModel
from acs_assistant.llm.server import ServerModel

Maker = Callable[[], LanguageModel]
MESSAGES = [
    {"role": "system", "content": "You size circuits."},
    {"role": "user", "content": "Size the n010 n011 amplifier."},
    {
        "role": "assistant",
        "content": "",
        "reasoning_content": "The input pair is small.",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "simulate", "arguments": '{"w_in": "20u"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "gbw 10meg"},
]
TOOLS = [{"type": "function", "function": {"name": "simulate", "parameters": {}}}]
SAMPLING = Sampling(temperature=0.8, max_tokens=24, seed=3)


@pytest.fixture(params=["llama_cpp-f16", "llama_cpp-q8_0", "server", "scripted"])
def model(request: pytest.FixtureRequest, home: Path) -> Iterator[LanguageModel]:
    if request.param == "server":
        server: ChatServer = request.getfixturevalue("chat_server")
        made: LanguageModel = ServerModel(server.url)
    elif request.param == "scripted":
        made = ScriptedModel(*["one two three four five"] * 20)
    else:
        kind = "tiny_f16" if request.param.endswith("f16") else "tiny_q8"
        made = open_model(str(request.getfixturevalue(kind)))
    yield made
    made.close()


def text_of(model: LanguageModel, sampling: Sampling = SAMPLING) -> str:
    return "".join(model.stream(MESSAGES, TOOLS, sampling))


def test_info_names_the_model(model: LanguageModel) -> None:
    assert model.info.name
    assert model.info.path is None or model.info.path.is_file()


def test_stream_yields_several_pieces_of_text(model: LanguageModel) -> None:
    pieces = list(model.stream(MESSAGES, TOOLS, SAMPLING))
    assert len(pieces) > 1
    assert all(isinstance(piece, str) and piece for piece in pieces)


def test_same_seed_gives_same_text(model: LanguageModel) -> None:
    assert text_of(model) == text_of(model)


def test_group_has_as_many_texts_as_asked(model: LanguageModel) -> None:
    group = model.sample_group(MESSAGES, TOOLS, SAMPLING, 5)
    assert len(group) == 5
    for completion in group:
        assert completion.text
        assert completion.finish in ("stop", "length")
        assert 0 < completion.tokens <= SAMPLING.max_tokens


def test_cancelled_token_refuses_to_begin(model: LanguageModel) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(model.stream(MESSAGES, TOOLS, SAMPLING, cancel=cancel))
    with pytest.raises(CancelledError):
        model.sample_group(MESSAGES, TOOLS, SAMPLING, 2, cancel=cancel)


def test_cancel_in_mid_stream(model: LanguageModel, request: pytest.FixtureRequest) -> None:
    if isinstance(model, ServerModel):
        pytest.skip("test_llm_server holds a stream open for this")
    cancel = CancelToken()
    pieces = model.stream(MESSAGES, TOOLS, Sampling(max_tokens=300, seed=1), cancel=cancel)
    next(pieces)
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(pieces)
    assert text_of(model)


def test_a_closed_stream_leaves_the_model_usable(model: LanguageModel) -> None:
    pieces = model.stream(MESSAGES, TOOLS, Sampling(max_tokens=300, seed=1))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert text_of(model)
