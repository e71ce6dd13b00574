"""Checkpoint to GGUF: merged or as an adapter, in F16, BF16, Q8_0 or Q4_K_M."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Literal

import gguf
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel

from acs_assistant.errors import ConfigError, InputError, StorageError
from acs_assistant.llm.gguf_file import WORDING_KEY
from acs_assistant.training.base import has_adapters, merged_weights, open_trainee, weight_shapes
from acs_assistant.training.gguf_layout import Layout, Weights, add_shape, known
from acs_assistant.training.gguf_vocabulary import add_vocabulary, pre_tokenizer
from acs_assistant.training.language import Language, OwnLanguage, TemplateLanguage

Quantization = Literal["f16", "bf16", "q8_0", "q4_k_m"]

_TYPES = {
    "f16": gguf.GGMLQuantizationType.F16,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}
_FILE_TYPES = {
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
_BLOCKS = {"f16": 1, "bf16": 1, "q8_0": 32, "q4_k_m": 256}
"""Weights that are quantized together: a row has to be a multiple."""


def export_gguf(
    checkpoint: Path, out: Path, quantization: Quantization, name: str, description: str
) -> Path:
    """Writes ``out`` beside and renames it. Norms stay in F32, everything else is quantized.

    Adapters are merged into the weights.

    Raises:
        ConfigError: Architecture or tokenizer is unknown to our writer, or a row does not fit the
            quantization.
    """
    trainee = open_trainee(checkpoint)
    _check_rows(trainee.model, quantization)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(out.name + ".part")
    whole = out.with_name(out.name + ".f16.part")
    try:
        if quantization == "q4_k_m":
            write_gguf(trainee.model, trainee.language, whole, "f16", name, description)
            _mixed(whole, beside)
        else:
            write_gguf(trainee.model, trainee.language, beside, quantization, name, description)
        beside.replace(out)
    finally:
        whole.unlink(missing_ok=True)
        beside.unlink(missing_ok=True)
    return out


def write_gguf(
    model: PreTrainedModel,
    language: Language | Tokenizer,
    path: Path,
    quantization: Literal["f16", "bf16", "q8_0"],
    name: str,
    description: str = "",
) -> None:
    """Writes the weights as they are now, adapters merged in.

    Args:
        language: Of the model; a tokenizer stands for one of ours.
    """
    if isinstance(language, Tokenizer):
        language = OwnLanguage(language)
    layout = known(model.config)
    writer = gguf.GGUFWriter(path, layout.architecture)
    writer.add_name(name)
    writer.add_description(description)
    if isinstance(language, OwnLanguage):
        writer.add_license("GPL-3.0-or-later")
        if language.wording:
            writer.add_string(WORDING_KEY, language.wording)
    add_shape(writer, model.config, layout)
    writer.add_file_type(_FILE_TYPES[quantization])
    add_vocabulary(writer, language, model.config.vocab_size)
    kind = _TYPES[quantization]
    for key, tensor in merged_weights(model).items():
        if key == "lm_head.weight" and layout.tied:
            continue
        data = layout.ordered(key, _array(tensor))
        if data.ndim == 1:
            writer.add_tensor(layout.tensor(key), data)
        else:
            packed = gguf.quants.quantize(data, kind)
            writer.add_tensor(layout.tensor(key), packed, raw_dtype=kind)
    _finish(writer)


def export_adapter(checkpoint: Path, out: Path, name: str) -> Path:
    """Writes the low-rank adapters alone, for llama.cpp's ``--lora`` beside the base model's GGUF.

    Raises:
        InputError: The checkpoint holds no adapters.
        ConfigError: Architecture is unknown to our writer.
    """
    model = open_trainee(checkpoint).model
    if not has_adapters(model):
        raise InputError(
            "holds no adapters: every weight was trained.",
            hint="Export it without --adapter.",
            file=checkpoint,
        )
    layout = known(model.config)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(out.name + ".part")
    writer = gguf.GGUFWriter(beside, layout.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(name)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    alphas = set()
    for key, module in model.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        active = module.active_adapters[0]
        alphas.add(float(module.lora_alpha[active]))
        target = layout.tensor(f"{key}.weight")
        # llama.cpp scales by alpha over the rank, as peft does.
        writer.add_tensor(f"{target}.lora_a", _array(module.lora_A[active].weight))
        turned = layout.ordered(key, _array(module.lora_B[active].weight))
        writer.add_tensor(f"{target}.lora_b", turned)
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alphas.pop())
    _finish(writer)
    beside.replace(out)
    return out


def export_merged(checkpoint: Path, out: Path) -> Path:
    """Writes a Hugging Face folder with adapters merged in: what other programs convert and run."""
    trainee = open_trainee(checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    model = trainee.model
    weights = merged_weights(model)
    with torch.device("meta"):
        plain = type(model)(model.config)
    plain.load_state_dict(weights, assign=True)
    plain.save_pretrained(out)
    trainee.language.save(str(out / "tokenizer.json"))
    return out


def check_known(model: PreTrainedModel, language: Language) -> None:
    """Refuses a model that ``write_gguf`` could not write.

    Raises:
        ConfigError: What about it is unknown, and how it is converted.
    """
    layout = known(model.config)
    for key in weight_shapes(model):
        layout.tensor(key)
    if isinstance(language, TemplateLanguage):
        pre_tokenizer(language)


def _check_rows(model: PreTrainedModel, quantization: Quantization) -> None:
    layout: Layout = known(model.config)
    block = _BLOCKS[quantization]
    for key, shape in weight_shapes(model).items():
        if len(shape) > 1 and shape[-1] % block:
            raise ConfigError(
                f"{quantization.upper()} packs {block} weights of a row together, and "
                f"'{layout.tensor(key)}' has rows of {shape[-1]}.",
                hint="Use --quantize q8_0."
                if block > 32
                else f"Use --quantize f16, or train with widths that are multiples of {block}.",
            )


def _mixed(source: Path, target: Path) -> None:
    """Q4_K_M by llama.cpp itself, which decides tensor by tensor what gets more bits."""
    from acs_assistant.llm.native import complaint, forget_log, lib, start_backend

    start_backend()
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype = int(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    forget_log()
    paths = (str(source).encode(), str(target).encode())
    if lib.llama_model_quantize(*paths, ctypes.byref(parameters)):
        raise StorageError(
            f"llama.cpp cannot quantize it: {complaint()}",
            hint="Make room on the disk, or use --quantize q8_0.",
            file=target,
        )


def _array(tensor: Tensor) -> Weights:
    return tensor.detach().to("cpu", torch.float32).numpy()


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
