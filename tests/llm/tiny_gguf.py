"""Writes small Llama GGUFs with random weights, shaped as the shipped model is.

Byte-level vocabulary, chat markers as control tokens, ``n000`` ... as user-defined tokens that
stand for whole numbers, no space put before the text.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from gguf.quants import quantize

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
    "{%- for call in message.tool_calls or [] -%}"
    '<tool_call>{"name": "{{ call.function.name }}", '
    '"arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{%- endfor -%}"
    "<|im_end|>\n"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant\n{%- endif -%}"
)
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKUP = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
END = "<|im_end|>"


def byte_alphabet() -> list[str]:
    """The 256 printable stand-ins that byte-level BPE writes bytes as, in byte order."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(256, 512))
    return [chr(byte if byte in plain else next(spare)) for byte in range(256)]


def vocabulary(size: int) -> tuple[list[str], list[TokenType]]:
    tokens = [*CONTROL, *byte_alphabet(), "th", *MARKUP]
    kinds = [TokenType.CONTROL] * 3 + [TokenType.NORMAL] * 257 + [TokenType.USER_DEFINED] * 4
    numbers = [f"n{index:03d}" for index in range(size - len(tokens))]
    return tokens + numbers, kinds + [TokenType.USER_DEFINED] * len(numbers)


def write_tiny_gguf(
    path: Path,
    *,
    quantization: str = "F16",
    vocab: int = 400,
    dim: int = 64,
    layers: int = 2,
    heads: int = 2,
    hidden: int = 128,
    context: int = 512,
    template: str | None = CHAT_TEMPLATE,
    seed: int = 1,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A Llama with random weights. ``quantization`` is "F16", "F32" or "Q8_0"."""
    rng = np.random.default_rng(seed)
    tokens, kinds = vocabulary(vocab)
    writer = GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_context_length(context)
    writer.add_embedding_length(dim)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(dim // heads)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(tokens.index(END))
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    if template is not None:
        writer.add_chat_template(template)
    for key, value in (metadata or {}).items():
        writer.add_string(key, value)

    def add(name: str, rows: int, columns: int, scale: float) -> None:
        values = rng.normal(0.0, scale, (rows, columns)).astype(np.float32)
        kind = GGMLQuantizationType[quantization]
        data = quantize(values, kind) if kind != GGMLQuantizationType.F32 else values
        writer.add_tensor(name, data, raw_dtype=kind)

    width = dim**-0.5
    add("token_embd.weight", vocab, dim, 1.0)
    add("output.weight", vocab, dim, width)
    writer.add_tensor("output_norm.weight", np.ones(dim, np.float32))
    for layer in range(layers):
        block = f"blk.{layer}"
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}.{name}.weight", np.ones(dim, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"{block}.{name}.weight", dim, dim, width)
        add(f"{block}.ffn_gate.weight", hidden, dim, width)
        add(f"{block}.ffn_up.weight", hidden, dim, width)
        add(f"{block}.ffn_down.weight", dim, hidden, hidden**-0.5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
