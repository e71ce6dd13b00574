"""How fast a language model is on this machine, measured and kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol, runtime_checkable

from acs_assistant import paths
from acs_assistant.atomic import write_text
from acs_assistant.cancel import CancelToken
from acs_assistant.domain import Task
from acs_assistant.errors import ModelError
from acs_assistant.llm.port import LanguageModel, Message, Sampling
from acs_assistant.prompting.render import messages, tools

_ENOUGH_PIECES = 192
_ENOUGH_SECONDS = 6.0
_LONGEST = 96  # tokens of one answer
_MOST_ANSWERS = 50


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second.

    Attributes:
        prompt: Read of a prompt; None when the model does not count its tokens.
        generation: Written, one answer at a time.
        date: Day of the measurement, ISO 8601.
    """

    prompt: float | None
    generation: float
    date: str


@runtime_checkable
class CountsTokens(Protocol):
    """A model that knows how long its prompts are; one behind an address may not."""

    def prompt_tokens(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> int: ...


def measure_speed(
    model: LanguageModel,
    task: Task,
    cancel: CancelToken,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Reads the first prompt of a session afresh, then lets the model answer it for some seconds.

    Args:
        tell: Is told what goes on, in a few words.

    Raises:
        ModelError: The model fails, or answers nothing.
        CancelledError: The token was cancelled.
    """
    tell("reading a prompt")
    head, *rest = messages(task)
    # no model has this beginning in memory
    chat: list[Message] = [{**head, "content": f"{token_hex(4)} {head['content']}"}, *rest]
    offered = tools(task.circuit)
    reading, writing, pieces = 0.0, 0.0, 0
    for draw in range(_MOST_ANSWERS):
        sampling = Sampling(temperature=1.0, max_tokens=_LONGEST, seed=draw)
        start = clock()
        stream = model.stream(chat, offered, sampling, cancel=cancel)
        if next(stream, None) is None:
            raise ModelError("the model answered nothing.", hint="Try another model.")
        first = clock()
        if draw == 0:
            reading = first - start
            tell("writing")
        pieces += sum(1 for _ in stream)
        writing += clock() - first
        if pieces >= _ENOUGH_PIECES or writing >= _ENOUGH_SECONDS:
            break
    if not pieces or writing <= 0.0:
        raise ModelError("the model's answers are too short to time.", hint="Try another model.")
    length = model.prompt_tokens(chat, offered) if isinstance(model, CountsTokens) else None
    return Speed(
        prompt=length / reading if length is not None and reading > 0.0 else None,
        generation=pieces / writing,
        date=datetime.now().astimezone().date().isoformat(),
    )


def speeds_file() -> Path:
    return paths.data_dir() / "speeds.json"


def load_speeds() -> dict[str, Speed]:
    """What was measured, by the hash of a model's file or by its address.

    A file that cannot be read is as good as none: measuring again takes seconds.
    """
    try:
        kept = json.loads(speeds_file().read_text(encoding="utf-8"))
        return {name: Speed(**speed) for name, speed in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def keep_speed(name: str, speed: Speed) -> None:
    """Keeps a measurement in place of the one before.

    Raises:
        StorageError: The folder cannot be written.
    """
    kept = {**load_speeds(), name: speed}
    write_text(speeds_file(), json.dumps({k: asdict(v) for k, v in kept.items()}, indent=1))
