"""Checkpoint to GGUF: llama architecture, our tokenizer, our chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from acs_assistant.training.sft import load_checkpoint
from acs_assistant.training.tokenizer import (
    CHAT_TEMPLATE,
    END_OF_TEXT,
    IM_END,
    token_id,
    token_kinds,
)

_TYPES = {"f16": gguf.GGMLQuantizationType.F16, "q8_0": gguf.GGMLQuantizationType.Q8_0}
_FILE_TYPES = {"f16": gguf.LlamaFileType.MOSTLY_F16, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}


def export_gguf(
    checkpoint: Path, out: Path, quantization: Literal["f16", "q8_0"], name: str, description: str
) -> Path:
    """Writes ``out`` beside and renames it. Norms stay in F32, everything else is quantized."""
    model, tokenizer = load_checkpoint(checkpoint)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(out.name + ".part")
    write_gguf(model, tokenizer, beside, quantization, name, description)
    beside.replace(out)
    return out


def write_gguf(
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    path: Path,
    quantization: Literal["f16", "q8_0"],
    name: str,
    description: str = "",
) -> None:
    config = model.config
    heads = config.num_attention_heads
    kv_heads = config.num_key_value_heads or heads
    rope: dict[str, Any] = dict(config.rope_parameters or {})
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_description(description)
    writer.add_license("GPL-3.0-or-later")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_rope_dimension_count(config.hidden_size // heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(_FILE_TYPES[quantization])
    _add_tokenizer(writer, tokenizer, config.vocab_size)
    kind = _TYPES[quantization]
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        target = tensor_name(key)
        data = tensor.detach().to(torch.float32).numpy()
        if "q_proj" in key:
            data = _permuted(data, heads)
        elif "k_proj" in key:
            data = _permuted(data, kv_heads)
        if data.ndim == 1:
            writer.add_tensor(target, data)
        else:
            writer.add_tensor(target, gguf.quants.quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer, size: int) -> None:
    kinds = token_kinds(tokenizer)
    vocabulary = tokenizer.get_vocab_size()
    tokens = [str(tokenizer.id_to_token(i)) for i in range(vocabulary)]
    tokens += [f"<|unused_{i}|>" for i in range(vocabulary, size)]
    types = [gguf.TokenType.NORMAL] * vocabulary + [gguf.TokenType.UNUSED] * (size - vocabulary)
    for i in kinds.control:
        types[i] = gguf.TokenType.CONTROL
    for i in kinds.user_defined:
        types[i] = gguf.TokenType.USER_DEFINED
    merges = [" ".join(pair) for pair in _merges(tokenizer)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(token_id(tokenizer, END_OF_TEXT))
    writer.add_eos_token_id(token_id(tokenizer, IM_END))
    writer.add_pad_token_id(token_id(tokenizer, END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _merges(tokenizer: Tokenizer) -> list[list[str]]:
    import json

    merges: list[list[str]] = json.loads(tokenizer.to_str())["model"]["merges"]
    return merges


def _permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection in llama.cpp's rotary order."""
    rows, width = weight.shape
    split = weight.reshape(heads, 2, rows // heads // 2, width)
    return split.swapaxes(1, 2).reshape(rows, width)


def tensor_name(key: str) -> str:
    fixed = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if key in fixed:
        return fixed[key]
    _, _, block, rest = key.split(".", 3)
    names = {
        "self_attn.q_proj.weight": "attn_q.weight",
        "self_attn.k_proj.weight": "attn_k.weight",
        "self_attn.v_proj.weight": "attn_v.weight",
        "self_attn.o_proj.weight": "attn_output.weight",
        "mlp.gate_proj.weight": "ffn_gate.weight",
        "mlp.up_proj.weight": "ffn_up.weight",
        "mlp.down_proj.weight": "ffn_down.weight",
        "input_layernorm.weight": "attn_norm.weight",
        "post_attention_layernorm.weight": "ffn_norm.weight",
    }
    return f"blk.{block}.{names[rest]}"
