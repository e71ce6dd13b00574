"""Renders chat messages with a model's own Jinja template, in a sandbox.

The template comes out of a file that may be a stranger's: ``ImmutableSandboxedEnvironment`` gives
it no attribute that leads to Python's internals, and it can change nothing that it is given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from acs_assistant.errors import ModelError
from acs_assistant.llm.port import Message

_TOOL_GUIDE: Final = """\
You may call functions. Their signatures, as JSON inside <tools></tools>:
<tools>
{tools}
</tools>
For each call return its name and arguments inside <tool_call></tool_call>:
<tool_call>
{{"name": "<name>", "arguments": {{...}}}}
</tool_call>"""

CHATML: Final = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') -}}
{%- for call in message.tool_calls or [] -%}
{%- set function = {'name': call.function.name, 'arguments': call.function.arguments} -%}
{{- '\\n<tool_call>\\n' + (function | tojson) + '\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
"""What is used for a GGUF that carries no template."""


class ChatTemplate:
    """One compiled template.

    Args:
        source: Jinja text; empty for ChatML.
        control_texts: Markers such as ``<|im_end|>`` that a message's text must not contain.

    Raises:
        ModelError: The template does not compile.
    """

    def __init__(
        self,
        source: str,
        *,
        bos_text: str = "",
        eos_text: str = "",
        control_texts: Sequence[str] = (),
        name: str = "the model",
    ) -> None:
        self._name = name
        self._constants = {"bos_token": bos_text, "eos_token": eos_text}
        self._control = sorted((t for t in control_texts if len(t) > 1), key=len, reverse=True)
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda layout: datetime.now().strftime(layout)
        # A template that speaks of tools either lists them or belongs to a model that was trained
        # on one fixed tool; any other model has to be told.
        self._guide = "tool" not in source
        try:
            self._template = environment.from_string(source or CHATML)
        except jinja2.TemplateError as error:
            raise self._error(error) from error

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        answer: bool = True,
    ) -> str:
        """The prompt, up to and including the header of the assistant's next message.

        Args:
            answer: False leaves that header out: the conversation as it stands.

        Raises:
            ModelError: The template fails on these messages.
        """
        plain = [self._plain(message) for message in messages]
        if tools and self._guide:
            plain = _with_tool_guide(plain, tools)
        try:
            text = self._template.render(
                messages=plain,
                tools=[dict(tool) for tool in tools] or None,
                add_generation_prompt=answer,
                **self._constants,
            )
        except (jinja2.TemplateError, TypeError, ValueError, OverflowError) as error:
            raise self._error(error) from error
        # Some templates open the reasoning themselves; the assistant's text has to hold all of it.
        body = text.rstrip()
        return body.removesuffix("<think>") if body.endswith("<think>") else text

    def _plain(self, message: Message) -> dict[str, Any]:
        """A copy with arguments as mappings and, unless the assistant wrote it, markers defused."""
        plain = dict(message)
        if calls := plain.get("tool_calls"):
            plain["tool_calls"] = [_with_mapping_arguments(call) for call in calls]
        if plain.get("role") != "assistant" and isinstance(plain.get("content"), str):
            plain["content"] = self._defused(plain["content"])
        return plain

    def _defused(self, text: str) -> str:
        for marker in self._control:
            if marker in text:
                text = text.replace(marker, f"{marker[0]} {marker[1:]}")
        return text

    def _error(self, error: Exception) -> ModelError:
        return ModelError(
            f"the chat template of {self._name} fails: {error}",
            hint="Use a GGUF whose template takes system, user, assistant and tool messages.",
        )


def _with_mapping_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's shape has the arguments as JSON text; templates expect what it stands for."""
    function = dict(call.get("function", {}))
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            function["arguments"] = json.loads(arguments)
        except ValueError:
            function["arguments"] = {}
    return {**call, "function": function}


def _with_tool_guide(
    messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    guide = _TOOL_GUIDE.format(tools="\n".join(_to_json(tool) for tool in tools))
    if messages and messages[0].get("role") == "system":
        first = {**messages[0], "content": f"{messages[0].get('content') or ''}\n\n{guide}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": guide}, *messages]


def _to_json(value: Any, indent: int | None = None, **_options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
