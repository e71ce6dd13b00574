"""The tokenizer section of a GGUF: our own, or a byte-level BPE of Hugging Face's form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gguf
from tokenizers import Tokenizer

from acs_assistant.errors import ConfigError
from acs_assistant.training.gguf_layout import converted
from acs_assistant.training.language import Language, OwnLanguage, TemplateLanguage
from acs_assistant.training.tokenizer import (
    CHAT_TEMPLATE,
    END_OF_TEXT,
    IM_END,
    token_id,
    token_kinds,
)

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {_WORDS % r"\p{N}": "qwen2", _WORDS % r"\p{N}{1,3}": "llama-bpe"}
"""llama.cpp's pre-tokenizers, by the pattern that cuts words in a Hugging Face tokenizer."""


def add_vocabulary(writer: gguf.GGUFWriter, language: Language, size: int) -> None:
    """Tokens, merges, special ids and chat template.

    Args:
        size: Rows of the embedding table; what the tokenizer does not use is filled up.

    Raises:
        ConfigError: llama.cpp has no pre-tokenizer that we know to be the same.
    """
    if isinstance(language, OwnLanguage):
        _add_own(writer, language.tokenizer, size)
    elif isinstance(language, TemplateLanguage):
        _add_foreign(writer, language, size)


def _add_own(writer: gguf.GGUFWriter, tokenizer: Tokenizer, size: int) -> None:
    kinds = token_kinds(tokenizer)
    _add_tokens(writer, tokenizer, size, kinds.control, kinds.user_defined)
    writer.add_tokenizer_pre("smollm")
    writer.add_bos_token_id(token_id(tokenizer, END_OF_TEXT))
    writer.add_eos_token_id(token_id(tokenizer, IM_END))
    writer.add_pad_token_id(token_id(tokenizer, END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _add_foreign(writer: gguf.GGUFWriter, language: TemplateLanguage, size: int) -> None:
    outer = language.tokenizer
    pre = pre_tokenizer(language)
    added = outer.added_tokens_decoder
    control = [i for i, token in added.items() if token.special]
    user = [i for i, token in added.items() if not token.special]
    _add_tokens(writer, outer.backend_tokenizer, size, control, user)
    writer.add_tokenizer_pre(pre)
    end = language.id_of(language.end_text)
    writer.add_eos_token_id(end)
    if outer.eos_token_id not in (None, end):
        writer.add_eot_token_id(int(outer.eos_token_id))
    if outer.bos_token_id is not None:
        writer.add_bos_token_id(int(outer.bos_token_id))
    writer.add_pad_token_id(int(outer.pad_token_id if outer.pad_token_id is not None else end))
    begins = outer("a").input_ids[:1] == [outer.bos_token_id]
    writer.add_add_bos_token(begins)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(language.template_source)


def _add_tokens(
    writer: gguf.GGUFWriter,
    tokenizer: Tokenizer,
    size: int,
    control: Sequence[int],
    user: Sequence[int],
) -> None:
    count = tokenizer.get_vocab_size()
    tokens = [str(tokenizer.id_to_token(i)) for i in range(count)]
    tokens += [f"<|unused_{i}|>" for i in range(count, size)]
    types = [gguf.TokenType.NORMAL] * count + [gguf.TokenType.UNUSED] * (size - count)
    for i in control:
        types[i] = gguf.TokenType.CONTROL
    for i in user:
        types[i] = gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in _document(tokenizer)["model"]["merges"]])


def pre_tokenizer(language: TemplateLanguage) -> str:
    """llama.cpp's name for how the tokenizer cuts text before its merges.

    Raises:
        ConfigError: It is not a byte-level BPE, or cuts in a way of its own.
    """
    document = _document(language.tokenizer.backend_tokenizer)
    outer = document.get("pre_tokenizer") or {}
    parts = outer.get("pretokenizers", [outer])
    kinds = [part.get("type") for part in parts]
    if document["model"].get("type") == "BPE" and kinds[-1:] == ["ByteLevel"]:
        if kinds == ["ByteLevel"] and parts[0].get("use_regex"):
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
            return "smollm"
        if kinds == ["Split", "ByteLevel"]:
            found = _SPLITS.get(parts[0]["pattern"].get("Regex", ""))
            if found:
                return found
    raise ConfigError(
        "our GGUF writer does not know the tokenizer of this model.",
        hint=converted("It knows byte-level BPE as GPT-2, SmolLM, Llama 3 and Qwen cut it"),
    )


def _document(tokenizer: Tokenizer) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(tokenizer.to_str())
    return document
