"""GGUF to checkpoint, the way back of ``export_gguf``: fine-tuning begins at the model in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from acs_assistant.errors import ModelError
from acs_assistant.training.gguf_layout import known
from acs_assistant.training.tokenizer import CONTROL, token_kinds

_HINT = "Only models that `acs-assistant train` made can be trained further."


def import_gguf(path: Path) -> tuple[LlamaForCausalLM, Tokenizer]:
    """Reads weights (dequantized to F32), shape and tokenizer back.

    Raises:
        ModelError: Not a GGUF, or not one that ``export_gguf`` wrote.
    """
    try:
        reader = gguf.GGUFReader(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read: {error}", file=path) from error

    def field(key: str) -> Any:
        found = reader.get_field(key)
        if found is None:
            raise ModelError(f"has no key '{key}'.", hint=_HINT, file=path)
        return found.contents()

    if field("general.architecture") != "llama" or field("tokenizer.ggml.pre") != "smollm":
        raise ModelError("is not a model of our own kind.", hint=_HINT, file=path)
    tokenizer = _tokenizer(
        list(field("tokenizer.ggml.tokens")),
        list(field("tokenizer.ggml.token_type")),
        list(field("tokenizer.ggml.merges")),
    )
    try:
        token_kinds(tokenizer)
    except KeyError as error:
        raise ModelError(
            "its vocabulary has no tokens for values.", hint=_HINT, file=path
        ) from error
    stored = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(stored["token_embd.weight"]),
            hidden_size=int(field("llama.embedding_length")),
            intermediate_size=int(field("llama.feed_forward_length")),
            num_hidden_layers=int(field("llama.block_count")),
            num_attention_heads=int(field("llama.attention.head_count")),
            num_key_value_heads=int(field("llama.attention.head_count_kv")),
            max_position_embeddings=int(field("llama.context_length")),
            rms_norm_eps=float(field("llama.attention.layer_norm_rms_epsilon")),
            rope_parameters={
                "rope_type": "default",
                "rope_theta": float(field("llama.rope.freq_base")),
            },
            tie_word_embeddings="output.weight" not in stored,
            bos_token_id=int(field("tokenizer.ggml.bos_token_id")),
            eos_token_id=int(field("tokenizer.ggml.eos_token_id")),
            pad_token_id=int(field("tokenizer.ggml.padding_token_id")),
        )
    )
    model.load_state_dict(_weights(model, stored))
    return model, tokenizer


def _weights(model: LlamaForCausalLM, stored: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    count = model.config.num_attention_heads
    heads = {"q_proj": count, "k_proj": model.config.num_key_value_heads or count}
    layout = known(model.config)
    weights = {}
    for key in model.state_dict():
        tied = key == "lm_head.weight" and model.config.tie_word_embeddings
        data = stored["token_embd.weight" if tied else layout.tensor(key)]
        for projection, heads_of_it in heads.items():
            if projection in key:
                data = _unpermuted(data, heads_of_it)
        weights[key] = torch.from_numpy(np.array(data, dtype=np.float32))
    return weights


def _unpermuted(weight: np.ndarray, heads: int) -> np.ndarray:
    rows, width = weight.shape
    split = weight.reshape(heads, rows // heads // 2, 2, width)
    return split.swapaxes(1, 2).reshape(rows, width)


def _tokenizer(tokens: list[str], types: list[int], merges: list[str]) -> Tokenizer:
    """The BPE part ends with the last learned token; whole tokens were added behind it."""
    normal = [i for i, kind in enumerate(types) if kind == gguf.TokenType.NORMAL]
    vocabulary = {token: i for i, token in enumerate(tokens[: max(normal, default=-1) + 1])}
    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in CONTROL])
    whole = [
        t for t, kind in zip(tokens, types, strict=True) if kind == gguf.TokenType.USER_DEFINED
    ]
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in whole])
    return tokenizer
