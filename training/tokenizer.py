"""The small model's own tokenizer: every value of the conversation's grid is one token.

Byte-level BPE behind individually split digits, which llama.cpp knows as the pre-tokenizer
``smollm``; on top, user-defined tokens for values, for parameter and metric names, and for the
phrases that keep standing between them. Text with none of these still tokenizes, byte by byte at
worst, so unknown circuits and values stay expressible.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from acs_assistant.prompting.numbers import all_values
from acs_assistant.prompting.render import PARAMETERS, SPECS, SYSTEM

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL = (END_OF_TEXT, IM_START, IM_END)
SCAFFOLD = (SYSTEM, f".\n{PARAMETERS}\n", f"\n{SPECS}\n", "<think>\n", "\n</think>\n")
_MOST_PHRASES = 400
_WHOLE = re.compile(r"(?:[^A-Za-z]|[A-Z][a-z ]{7}).{0,80}[^A-Za-z]", re.DOTALL)
"""Phrases that cannot be the middle of a word: they would cut other words in two."""

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


def train_tokenizer(corpus: Sequence[str], names: Sequence[str], vocabulary: int) -> Tokenizer:
    """Learns the merges from ``corpus`` and adds values, names and phrases as whole tokens.

    Args:
        corpus: Conversations as text; numbers may stay in them.
        names: Parameter and metric names that deserve a token of their own.
        vocabulary: Size of the BPE part; the whole is larger by the added tokens.
    """
    spelled = [form for n in names if len(n) > 1 for form in (n, f"{n} ", f'", "{n}": "')]
    whole = [*SCAFFOLD, *frequent_phrases(corpus, names), *spelled, *all_values()]
    cut = re.compile("|".join(map(re.escape, sorted(whole, key=len, reverse=True))))
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
    tokenizer.train_from_iterator((part for text in corpus for part in cut.split(text)), trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in dict.fromkeys(whole)])
    return tokenizer


def frequent_phrases(corpus: Sequence[str], names: Sequence[str]) -> list[str]:
    """What stands between numbers, names and markers in at least one conversation in fifty.

    The description of the circuit is left out: its words have to be learned as words, or another
    circuit's would mean nothing.
    """
    spelled = (form for name in names for form in (name, f"{name} "))
    known = sorted((*spelled, *CONTROL, *SCAFFOLD), key=len, reverse=True)
    cut = re.compile("|".join([r"\d[\d.]*(?:meg|[fpnumkg])?", *map(re.escape, known)]))
    counts: Counter[str] = Counter()
    for text in corpus:
        counts.update(set(cut.split(text.partition(f"\n{SPECS}\n")[2])))
    often = [phrase for phrase, n in counts.most_common(_MOST_PHRASES) if n * 50 >= len(corpus)]
    return sorted(filter(_WHOLE.fullmatch, often))


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
