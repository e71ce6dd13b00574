"""A tiny causal LM in Hugging Face's form, with a tokenizer and a template unlike ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3MoeConfig,
)

from acs_assistant.prompting.render import messages
from acs_assistant.training.gguf_vocabulary import _WORDS
from tests.training.toy import TASK, turn

SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]
TEMPLATE = (
    "{%- if tools %}<|system|>Tools: {{ tools | tojson }}<|end|>{% endif %}"
    "{%- for m in messages %}<|{{ m.role }}|>{{ m.content or '' }}"
    "{%- for call in m.tool_calls or [] %}[{{ call.function.arguments | tojson }}]{% endfor %}"
    "<|end|>{% endfor %}"
    "{%- if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""It drops the reasoning of earlier turns, as several templates do."""


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS % r"\p{N}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    texts = [str(m) for w in (11e-6, 23e-6, 37e-6) for m in messages(TASK, [turn(1, w)])]
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts * 3, trainer)
    outer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>")
    outer.chat_template = template
    return outer


def save(folder: Path, kind: str = "qwen3", seed: int = 0, **changes: Any) -> Path:
    """Writes a model with random weights: "llama", "qwen3" or "qwen3_moe"."""
    torch.manual_seed(seed)
    spoken = tokenizer()
    shape: dict[str, Any] = {
        "vocab_size": len(spoken), "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "max_position_embeddings": 1024, "tie_word_embeddings": False,
        "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0, **changes,
    }  # fmt: skip
    made: dict[str, type[PretrainedConfig]] = {
        "llama": LlamaConfig, "qwen3": Qwen3Config, "qwen3_moe": Qwen3MoeConfig
    }  # fmt: skip
    if kind == "qwen3_moe":
        shape |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    model = AutoModelForCausalLM.from_config(made[kind](**shape))
    model.save_pretrained(folder)
    spoken.save_pretrained(folder)
    return folder
