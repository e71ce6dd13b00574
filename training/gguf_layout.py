"""Which Hugging Face weights become which tensors of a GGUF, for the architectures we write.

Names and orders are llama.cpp's (``gguf-py`` constants; its conversion script for the rotary order
of Llama's projections). Dense Llama, Qwen2 and Qwen3 are known; of any other, ``known`` says how to
convert it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from transformers import PretrainedConfig

from acs_assistant.errors import ConfigError

_ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
_FIXED = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_BLOCK = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}

Weights = NDArray[np.float32]


def converted(what: str) -> str:
    """How a model that our writer does not know becomes a GGUF."""
    return (
        f"{what}. llama.cpp's own script knows more: write the merged weights with "
        "`acs-assistant train export CHECKPOINT --merged --out DIR`, then in a copy of llama.cpp "
        "run `python convert_hf_to_gguf.py DIR --outfile FILE.gguf` and "
        "`llama-quantize FILE.gguf OUT.gguf Q4_K_M`."
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """One model's shape, as a GGUF tells it.

    Attributes:
        rotated: Whether query and key rows are stored in llama.cpp's rotary order.
        tied: Whether the output layer is the embedding table.
    """

    architecture: str
    heads: int
    kv_heads: int
    head_size: int
    rotated: bool
    tied: bool

    def tensor(self, key: str) -> str:
        """Raises ConfigError for a weight that the architecture does not have."""
        layer, _, kind = key.rpartition(".")
        name = _FIXED.get(layer)
        if name is None and layer.startswith("model.layers."):
            _, _, block, rest = layer.split(".", 3)
            name = f"blk.{block}.{_BLOCK[rest]}" if rest in _BLOCK else None
        if name is None:
            raise ConfigError(
                f"weight '{key}' has no place in a GGUF of architecture {self.architecture}.",
                hint=converted("It is another kind of model"),
            )
        return f"{name}.{kind}"

    def ordered(self, key: str, data: Weights) -> Weights:
        """Rows of ``data``, a weight or the out-part of an adapter on it, as llama.cpp has them."""
        if self.rotated and "q_proj" in key:
            return _permuted(data, self.heads)
        if self.rotated and "k_proj" in key:
            return _permuted(data, self.kv_heads)
        return data


def known(config: PretrainedConfig) -> Layout:
    """The layout of a model.

    Raises:
        ConfigError: Its architecture, or something about it, is not ours to write.
    """
    architecture = _ARCHITECTURES.get(config.model_type)
    if architecture is None:
        raise ConfigError(
            f"our GGUF writer does not know the architecture '{config.model_type}'.",
            hint=converted(f"It knows {', '.join(_ARCHITECTURES)}"),
        )
    rope: dict[str, Any] = dict(config.rope_parameters or {})
    kinds = getattr(config, "layer_types", None) or []
    if rope.get("rope_type", "default") != "default" or "sliding_attention" in kinds:
        raise ConfigError(
            "our GGUF writer knows neither stretched rotary embeddings nor sliding windows.",
            hint=converted("This model has one of them"),
        )
    heads = int(config.num_attention_heads)
    return Layout(
        architecture=architecture,
        heads=heads,
        kv_heads=int(config.num_key_value_heads or heads),
        head_size=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        rotated=architecture == "llama",
        tied=bool(config.tie_word_embeddings),
    )


def add_shape(writer: gguf.GGUFWriter, config: PretrainedConfig, layout: Layout) -> None:
    """Everything in the header that llama.cpp needs to build the network."""
    rope: dict[str, Any] = dict(config.rope_parameters or {})
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(layout.heads)
    writer.add_head_count_kv(layout.kv_heads)
    writer.add_key_length(layout.head_size)
    writer.add_value_length(layout.head_size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_rope_dimension_count(layout.head_size)
    writer.add_vocab_size(config.vocab_size)


def _permuted(weight: Weights, heads: int) -> Weights:
    """Rows of a query or key projection in llama.cpp's rotary order."""
    split = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return split.swapaxes(1, 2).reshape(weight.shape)
