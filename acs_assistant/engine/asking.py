"""Asks the model about one turn, in words. Whatever it answers, the session stays as it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Turn
from acs_assistant.engine.account import account
from acs_assistant.errors import InputError
from acs_assistant.events import Answered, TextDelta
from acs_assistant.llm.port import Sampling
from acs_assistant.storage.records import Exchange

if TYPE_CHECKING:
    from acs_assistant.engine.services import Services
    from acs_assistant.engine.session import Session

QUESTION = "Why these sizes? What do they trade, and what is the risk?"
_IN_WORDS = "Answer in a few sentences. Do not call the tool."
_NOT_YET = "not simulated yet: the engineer asks about it first."


def ask(
    services: Services, session: Session, turn: int, question: str, cancel: CancelToken
) -> Iterator[TextDelta | Answered]:
    """Yields the answer while it comes and ends with ``Answered``, which is stored with the turn.

    The model is given what it was given in that turn, what it proposed, what was measured, what was
    asked of it before, and the question. It is offered no tool; one that calls it all the same has
    its sizes told and nothing more. A model that was taught our sentences has no words for an
    answer: it is given from the record instead.

    Raises:
        InputError: The session has no such turn.
        ModelError: The model cannot be opened or fails.
        CancelledError: The token was cancelled; nothing is stored.
    """
    from acs_assistant.prompting.parse import StreamSplitter, parse

    found = next((t for t in session.turns() if t.id == turn), None)
    if found is None:
        raise InputError(f"session {session.id} has no turn with id {turn}.")
    started = time.monotonic()
    settings = services.settings.model
    sampling = Sampling(
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        seed=turn,
    )
    model = services.model(session.record.model)
    if model.info.wording:
        specs = found.specs or session.task.specs
        words = account(session.task.circuit, specs, _path(session, found))
        yield TextDelta("text", words)
        yield _kept(services, session, turn, Exchange(question, words, {}), started)
        return
    said: dict[str, list[str]] = {"reasoning": [], "text": [], "call": []}
    pieces: list[str] = []
    splitter = StreamSplitter()
    for piece in model.stream(_messages(services, session, found, question), (), sampling,
                              cancel=cancel):  # fmt: skip
        pieces.append(piece)
        for channel, text in splitter.feed(piece):
            if channel == "text" and text.strip() and said["reasoning"] and not said["text"]:
                yield TextDelta("text", "\n\n")
            if text.strip() or said[channel]:
                said[channel].append(text)
                if channel != "call":
                    yield TextDelta(channel, text)
    for channel, text in splitter.flush():
        said[channel].append(text)
        if channel != "call":
            yield TextDelta(channel, text)
    cancel.raise_if_cancelled()
    called = parse("".join(pieces), session.task.circuit).sizing or {}
    words = "".join(said["text"]).strip() or "".join(said["reasoning"]).strip()
    yield _kept(services, session, turn, Exchange(question, words, called), started)


def _path(session: Session, turn: Turn) -> list[Turn]:
    turns = {t.id: t for t in session.turns()}
    path = [turn]
    while path[-1].parent is not None:
        path.append(turns[path[-1].parent])
    return path[::-1]


def _kept(
    services: Services, session: Session, turn: int, exchange: Exchange, started: float
) -> Answered:
    services.store.add_exchange(session.id, turn, exchange)
    seconds = time.monotonic() - started
    return Answered(turn, exchange.question, exchange.answer, exchange.sizing, seconds)


def _messages(
    services: Services, session: Session, turn: Turn, question: str
) -> list[dict[str, Any]]:
    from acs_assistant.prompting import render

    task = replace(session.task, specs=turn.specs or session.task.specs)
    messages = services.store.messages(turn.id) or render.messages(task)
    told = render.messages(task, [turn])[2:]
    if not told:
        call = render.call_message(
            task.circuit, turn.proposal.sizing, turn.proposal.reasoning, turn.index
        )
        waits = f"Turn {turn.index}: {_NOT_YET}"
        told = [call, {"role": "tool", "tool_call_id": f"call_{turn.index}", "content": waits}]
    asked: list[dict[str, Any]] = []
    for exchange in services.store.exchanges(session.id).get(turn.id, []):
        asked += [
            {"role": "user", "content": exchange.question},
            {"role": "assistant", "content": exchange.answer},
        ]
    return [*messages, *told, *asked, {"role": "user", "content": f"{question} {_IN_WORDS}"}]
