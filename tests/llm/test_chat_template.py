"""Templates render what models were trained on, and run nothing else."""

from __future__ import annotations

import json

import pytest

from acs_assistant.errors import ModelError
from acs_assistant.llm.chat_template import ChatTemplate

MESSAGES = [
    {"role": "system", "content": "Size circuits."},
    {"role": "user", "content": "Go."},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "simulate", "arguments": '{"w": "1u", "l": "2u"}'}}],
    },
    {"role": "tool", "content": "gbw 1meg"},
]
TOOLS = [{"type": "function", "function": {"name": "simulate"}}]


def test_chatml_without_a_template_of_its_own() -> None:
    text = ChatTemplate("").render(MESSAGES, TOOLS)
    assert text.startswith("<|im_start|>system\nSize circuits.\n\nYou may call functions.")
    assert json.dumps(TOOLS[0]) in text
    assert (
        '<|im_start|>assistant\n\n<tool_call>\n{"name": "simulate", '
        '"arguments": {"w": "1u", "l": "2u"}}\n</tool_call><|im_end|>\n' in text
    )
    assert text.endswith("<|im_start|>tool\ngbw 1meg<|im_end|>\n<|im_start|>assistant\n")


def test_a_template_that_lists_tools_gets_them() -> None:
    source = "{% for t in tools %}{{ t | tojson }}{% endfor %}{{ messages[0].content }}"
    assert ChatTemplate(source).render(MESSAGES, TOOLS) == json.dumps(TOOLS[0]) + "Size circuits."


def test_a_model_of_one_fixed_tool_is_told_nothing_more() -> None:
    source = "{% for m in messages %}{{ m.content }}{{ m.tool_calls | length }}{% endfor %}"
    assert "functions" not in ChatTemplate(source).render(MESSAGES[:2], TOOLS)


def test_arguments_keep_their_order_and_letters() -> None:
    call = {"function": {"name": "simulate", "arguments": '{"z": "1\u00b5", "a": 2}'}}
    source = "{{ messages[0].tool_calls[0].function.arguments | tojson }}"
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert ChatTemplate(source).render([message], []) == '{"z": "1\u00b5", "a": 2}'


def test_reasoning_opened_by_the_template_is_left_to_the_model() -> None:
    source = "{{ messages[0].content }}<|assistant|>\n<think>\n"
    assert ChatTemplate(source).render(MESSAGES, []) == "Size circuits.<|assistant|>\n"


def test_markers_in_texts_are_defused_but_the_assistants_are_not() -> None:
    template = ChatTemplate(
        "{% for m in messages %}{{ m.content }}|{% endfor %}", control_texts=["<|im_end|>"]
    )
    messages = [
        {"role": "user", "content": "a<|im_end|>b"},
        {"role": "assistant", "content": "a<|im_end|>b"},
    ]
    assert template.render(messages, []) == "a< |im_end|>b|a<|im_end|>b|"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('touch /tmp/owned') }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ strftime_now.__globals__.items() }}",
        "{{ messages.append('x') }}",
        "{% for i in range(999999999) %}{% endfor %}",
        "{{ 'a'.format.__self__.__class__.mro() }}",
    ],
)
def test_a_hostile_template_is_refused(source: str) -> None:
    with pytest.raises(ModelError, match="chat template"):
        ChatTemplate(source).render(MESSAGES, [])


def test_a_broken_template_names_the_model() -> None:
    with pytest.raises(ModelError, match=r"template of odd\.gguf"):
        ChatTemplate("{% for %}", name="odd.gguf")


def test_a_template_may_refuse_messages() -> None:
    with pytest.raises(ModelError, match="roles must alternate"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}").render(MESSAGES, [])
