"""What training starts from: a checkpoint of ours, or any causal LM in Hugging Face's form.

With low-rank adapters a checkpoint holds the adapters alone and names the folder of the weights
that they stand on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from acs_assistant.errors import ConfigError
from acs_assistant.training.config import LoraTable
from acs_assistant.training.language import Language, OwnLanguage, template_language
from acs_assistant.training.tokenizer import load_tokenizer

_ADAPTER = "adapter_config.json"
_FOREIGN = "tokenizer_config.json"  # ours keep tokenizer.json alone


@dataclass(frozen=True, slots=True)
class Trainee:
    """A model and how it is spoken to."""

    model: PreTrainedModel
    language: Language

    @property
    def own(self) -> bool:
        return isinstance(self.language, OwnLanguage)


def open_trainee(
    folder: Path, lora: LoraTable | None = None, weights: Literal["f32", "bf16"] = "f32"
) -> Trainee:
    """Reads a model; with ``lora`` only new adapters on it are trainable.

    Adapters that the folder holds are trained further.

    Raises:
        ConfigError: There is no model, its kind is unknown, or it does not fit ``lora``.
    """
    whole = _whole(folder)
    language: Language
    if (whole / _FOREIGN).is_file():
        language = template_language(whole)
        dtype = torch.bfloat16 if weights == "bf16" else torch.float32
        attention = "sdpa"
    else:
        language = OwnLanguage(load_tokenizer(whole / "tokenizer.json"))
        dtype, attention = torch.float32, "eager"
    rank = lora.rank if lora is not None else 0
    if (whole / _ADAPTER).is_file():
        from peft import LoraConfig

        adapter = LoraConfig.from_pretrained(str(whole))
        if rank not in (0, adapter.r):
            raise ConfigError(
                f"'lora.rank' is {rank}, and the adapters there have rank {adapter.r}.",
                hint="Leave it out to go on with those.",
                file=whole,
            )
        model = _weights(Path(str(adapter.base_model_name_or_path)), dtype, attention)
        model.load_adapter(str(whole), is_trainable=True)
        return Trainee(model, language)
    model = _weights(whole, dtype, attention)
    if lora is not None and rank:
        _add_adapters(model, whole, lora)
    return Trainee(model, language)


def _whole(folder: Path) -> Path:
    """The folder, or its predecessor when a kill in mid-swap left only that."""
    for candidate in (folder, folder.with_name(folder.name + ".old")):
        if (candidate / "config.json").is_file() and (candidate / "tokenizer.json").is_file():
            return candidate
    if (folder / "config.json").is_file():
        raise ConfigError(
            "holds no tokenizer.json.",
            hint="Save its tokenizer there in the fast form: "
            "AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)",
            file=folder,
        )
    raise ConfigError(
        "holds no checkpoint.",
        hint="Train one (acs-assistant train sft), or give a local folder of a Hugging Face model.",
        file=folder,
    )


def _weights(folder: Path, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"holds no causal language model that transformers reads: {str(error).splitlines()[0]}",
            hint="Give a folder with config.json and safetensors, or a newer transformers.",
            file=folder,
        ) from error
    return model


def _add_adapters(model: PreTrainedModel, folder: Path, lora: LoraTable) -> None:
    from peft import LoraConfig

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets or linear_layers(model),
        task_type="CAUSAL_LM",
        base_model_name_or_path=str(folder.resolve()),
    )
    try:
        model.add_adapter(config)
    except ValueError as error:
        known = ", ".join(linear_layers(model))
        raise ConfigError(
            f"'lora.targets': {', '.join(lora.targets)} names no layer of the model.",
            hint=f"Its linear layers are {known}.",
            file=folder,
        ) from error


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Names of the linear layers inside the blocks, the output layer left out."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        }
    )


def has_adapters(model: PreTrainedModel) -> bool:
    return any(hasattr(module, "lora_A") for module in model.modules())


def weight_shapes(model: PreTrainedModel) -> dict[str, torch.Size]:
    """Names and shapes of ``merged_weights``, which merges nothing."""
    return {
        key.replace(".base_layer", ""): value.shape
        for key, value in model.state_dict().items()
        if ".lora_" not in key
    }


def merged_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The state dict with adapters added to what they adapt; the model stays as it is."""
    state: dict[str, Any] = dict(model.state_dict())
    if not has_adapters(model):
        return state
    merged = {
        key.replace(".base_layer", ""): value for key, value in state.items() if ".lora_" not in key
    }
    with torch.no_grad():
        for name, module in model.named_modules():
            if hasattr(module, "lora_A"):
                key = f"{name}.weight"
                delta = module.get_delta_weight(module.active_adapters[0])
                merged[key] = merged[key] + delta.to(merged[key].dtype)
    return merged
