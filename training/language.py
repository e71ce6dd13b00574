"""How conversations become tokens: our own tokenizer's way, or a Hugging Face model's.

A foreign model reads the history as its own chat template writes it, and answers as the app's
grammar makes every model answer: reasoning in ``<think>``, then one Hermes call. The template is
rendered by the class that the app renders it with, so training and use see the same tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from acs_assistant.domain import Task, Turn
from acs_assistant.errors import ConfigError
from acs_assistant.llm.chat_template import ChatTemplate
from acs_assistant.prompting.render import (
    PARAMETERS,
    PROMPT_VERSION,
    SPECS,
    messages,
    tool_schema,
    tools,
)
from acs_assistant.prompting.wording import FIRST_WORDS
from acs_assistant.training.chat import Encoder, Example, chat_text, message_text
from acs_assistant.training.model import value_neighbours
from acs_assistant.training.tokenizer import IM_END, token_id

_PARAMETER = re.compile(r"(\w+) ([^\s:]+ to [^\s:]+(?: [^\s:]+)?): (.*)")
_DEVICES = re.compile(r", [A-Z]\w*(?: [A-Z]\w*)*$")
_PROBE = "Eighty-seven."


class Language(Protocol):
    """What training needs of a tokenizer and a chat template."""

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end an answer."""
        ...

    @property
    def end_text(self) -> str:
        """What training puts behind an answer."""
        ...

    def examples(self, record: Mapping[str, Any], results: bool = False) -> list[Example]:
        """A line of chat JSONL as texts to learn from (``Encoder.encode``)."""
        ...

    def prompt(self, task: Task, turns: Sequence[Turn]) -> str:
        """What the model is shown before its next answer."""
        ...

    def tokens(self, text: str) -> tuple[int, ...]: ...

    def text(self, tokens: Sequence[int]) -> str:
        """The text of an answer, without what ended it."""
        ...

    def soft_targets(self, size: int, spread: float) -> tuple[Tensor, Tensor]:
        """Per token of a vocabulary of ``size``: ids and weights that share its loss."""
        ...

    def save(self, path: str) -> None:
        """Writes ``tokenizer.json`` to ``path``, and beside it what else belongs to it."""
        ...


class OwnLanguage:
    """The small model's: one token per value, soft targets, the template in ``chat``.

    Attributes:
        wording: As in ``llm.port.ModelInfo``: a tokenizer made from our sentences knows how they
            begin.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        taught = tokenizer.token_to_id(FIRST_WORDS) is not None
        self.wording = PROMPT_VERSION if taught else ""
        self.end_text = IM_END
        self.ends = frozenset({token_id(tokenizer, IM_END)})
        self._encoder = Encoder(tokenizer)

    def examples(self, record: Mapping[str, Any], results: bool = False) -> list[Example]:
        return [self._encoder.encode(record, results)]

    def prompt(self, task: Task, turns: Sequence[Turn]) -> str:
        return chat_text(messages(task, turns), add_generation_prompt=True)

    def tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def text(self, tokens: Sequence[int]) -> str:
        kept = [token for token in tokens if token not in self.ends]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False))

    def soft_targets(self, size: int, spread: float) -> tuple[Tensor, Tensor]:
        return value_neighbours(self.tokenizer, reach=4, spread=spread)

    def save(self, path: str) -> None:
        self.tokenizer.save(path)


class TemplateLanguage:
    """A Hugging Face tokenizer and its chat template.

    Args:
        tokenizer: A fast one with a chat template.
        name: What messages call the model.

    Raises:
        ConfigError: It is not a fast one, has no chat template, or never ends a turn.
        ModelError: The template does not compile or fails on a plain conversation.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        template = tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("tool_use", template.get("default"))
        if not tokenizer.is_fast or not template:
            lacks = "chat template" if tokenizer.is_fast else "fast tokenizer"
            raise ConfigError(
                f"'start': {name} has no {lacks}.",
                hint="Take the instruct version of the model: its tokenizer has both.",
            )
        self.tokenizer = tokenizer
        self.template_source = str(template)
        special = [str(token) for token in tokenizer.all_special_tokens]
        added = tokenizer.added_tokens_decoder.values()
        special += [token.content for token in added if token.special]
        self._special = tuple(dict.fromkeys(special))
        self._template = ChatTemplate(
            self.template_source,
            bos_text=str(tokenizer.bos_token or ""),
            eos_text=str(tokenizer.eos_token or ""),
            control_texts=self._special,
            name=name,
        )
        self.end_text = self._end_of_turn(name)
        ends = {self.end_text, str(tokenizer.eos_token or self.end_text)}
        self.ends = frozenset(self.id_of(end) for end in ends)

    def id_of(self, token: str) -> int:
        found = self.tokenizer.convert_tokens_to_ids(token)
        assert isinstance(found, int)
        return found

    def _end_of_turn(self, name: str) -> str:
        """The marker that the template puts behind an assistant's words."""
        chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
        tail = self._template.render(chat, [], answer=False).rpartition(_PROBE)[2]
        places = {tail.find(marker): marker for marker in self._special if marker in tail}
        if not places and not self.tokenizer.eos_token:
            raise ConfigError(
                f"'start': nothing in the chat template of {name} ends the assistant's turn.",
                hint="Give its tokenizer an eos_token.",
            )
        return places[min(places)] if places else str(self.tokenizer.eos_token)

    def examples(self, record: Mapping[str, Any], results: bool = False) -> list[Example]:
        """One text per answer to be learned, behind the history as the app will show it.

        What a simulation answered is never a target here: ``results`` has no effect.
        """
        chat = record["messages"]
        learned = record.get("train")
        offered = record.get("tools") or tools_of(chat)
        made = []
        for index, message in enumerate(chat):
            if message["role"] != "assistant" or (learned is not None and index not in learned):
                continue
            head = self._render(chat[:index], offered)
            prompt = self.tokens(head)
            answer = self.tokens(message_text(message) + self.end_text)
            # The last token of the prompt predicts the first of the answer.
            cut = min(self._shared(head, prompt), len(prompt) - 1)
            tokens = np.array([*prompt[cut:], *answer], dtype=np.int32)
            mask = np.arange(len(tokens)) >= len(prompt) - cut
            made.append(Example(prompt[:cut], tokens, mask))
        return made

    def _shared(self, head: str, prompt: Sequence[int]) -> int:
        """How many tokens of the prompt every session of its circuit begins with."""
        before, marker, _ = head.partition(f"\n{SPECS}\n")
        start = self.tokens(before + marker) if marker else ()
        same = 0
        while same < min(len(start), len(prompt)) and start[same] == prompt[same]:
            same += 1
        return max(same, 1)

    def prompt(self, task: Task, turns: Sequence[Turn]) -> str:
        return self._render(messages(task, turns), tools(task.circuit))

    def _render(self, chat: Sequence[Mapping[str, Any]], offered: Sequence[Any]) -> str:
        return self._template.render(chat, offered)

    def tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def text(self, tokens: Sequence[int]) -> str:
        kept = [token for token in tokens if token not in self.ends]
        text = self.tokenizer.decode(
            kept, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(text)

    def soft_targets(self, size: int, spread: float) -> tuple[Tensor, Tensor]:
        """Every token stands for itself alone."""
        return torch.arange(size)[:, None], torch.ones(size, 1)

    def save(self, path: str) -> None:
        self.tokenizer.save_pretrained(Path(path).parent)


def template_language(folder: Path) -> TemplateLanguage:
    """The language of a Hugging Face folder.

    Raises:
        ConfigError: It cannot be read, or has no chat template.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"its tokenizer cannot be read: {str(error).splitlines()[0]}",
            hint="Give the whole folder of the model, tokenizer files included.",
            file=folder,
        ) from error
    return TemplateLanguage(tokenizer, folder.name)


def tools_of(chat: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """``render.tools``, read back from the parameters that the user's message lists."""
    text = next((str(m["content"]) for m in chat if m["role"] == "user"), "")
    listed = text.partition(f"\n{PARAMETERS}\n")[2].partition(f"\n{SPECS}\n")[0]
    found = [match.groups() for line in listed.splitlines() if (match := _PARAMETER.match(line))]
    described = {name: f"{_DEVICES.sub('', role)}, {bounds}" for name, bounds, role in found}
    return tool_schema(described) if described else []
