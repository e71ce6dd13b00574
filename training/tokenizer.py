"""The small model's own tokenizer: every value of the conversation's grid is one token.

Byte-level BPE behind individually split digits, which llama.cpp knows as the pre-tokenizer
``smollm``; on top, user-defined tokens for values, parameter and metric names and the call's
scaffolding. Text with none of these still tokenizes, byte by byte at worst, so unknown circuits and
values stay expressible.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from acs_assistant.prompting.numbers import all_values

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL = (END_OF_TEXT, IM_START, IM_END)
SCAFFOLD = (
    "<think>\n",
    "\n</think>\n",
    '<tool_call>\n{"name": "simulate", "arguments": {"',
    '"}}\n</tool_call>',
    '": "',
    '", "',
)

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' -}}"
    "{%- if message.role == 'assistant' -%}"
    "{%- if message.reasoning_content -%}"
    "{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n' -}}{%- endif -%}"
    "{{- message.content or '' -}}"
    "{%- for call in message.tool_calls or [] -%}"
    "{%- set f = call.function -%}"
    '{{- \'<tool_call>\\n{"name": "\' + f.name + \'", "arguments": \' -}}'
    "{{- f.arguments if f.arguments is string else f.arguments | tojson -}}"
    "{{- '}\\n</tool_call>' -}}{%- endfor -%}"
    "{%- else -%}{{- message.content -}}{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


@dataclass(frozen=True, slots=True)
class TokenKinds:
    """Which ids are what, for the GGUF and for the embeddings."""

    control: tuple[int, ...]
    user_defined: tuple[int, ...]
    values: tuple[int, ...]


def train_tokenizer(corpus: Iterable[str], names: Sequence[str], vocabulary: int) -> Tokenizer:
    """Learns the merges from ``corpus`` and adds values, names and scaffolding as whole tokens.

    Args:
        corpus: Conversations as text; numbers may stay in them.
        names: Parameter and metric names that deserve a token of their own.
        vocabulary: Size of the BPE part; the whole is larger by the added tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    whole = [*SCAFFOLD, *dict.fromkeys(n for n in names if len(n) > 1), *all_values()]
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in dict.fromkeys(whole)])
    return tokenizer


def token_kinds(tokenizer: Tokenizer) -> TokenKinds:
    """Sorts the vocabulary into control, user-defined and value tokens."""
    added = tokenizer.get_added_tokens_decoder()
    control = tuple(i for i, t in sorted(added.items()) if t.content in CONTROL)
    values = tuple(_known(tokenizer, text) for text in all_values())
    user = tuple(i for i, t in sorted(added.items()) if t.content not in CONTROL)
    return TokenKinds(control, user, values)


def token_id(tokenizer: Tokenizer, text: str) -> int:
    return _known(tokenizer, text)


def _known(tokenizer: Tokenizer, text: str) -> int:
    found = tokenizer.token_to_id(text)
    if found is None:
        raise KeyError(f"the tokenizer has no token {text!r}")
    return int(found)


def load_tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))
