from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the train extra")

from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from acs_assistant.training.config import ModelConfig
from acs_assistant.training.model import new_model
from acs_assistant.training.tokenizer import train_tokenizer
from tests.prompting.conftest import amplifier, task, turn

__all__ = ["amplifier", "task", "turn"]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return [
        "<|im_start|>user\nCircuit amp: Amplifier (sky130).\nParameters:\nw_in 420n to 100u m: "
        "width of the input pair\nSpecs:\ngbw >= 10.0meg Hz<|im_end|>\n<|im_start|>assistant\n"
        "<think>\nNothing is measured yet. Take w_in 20.0u. Expect gbw 12.0meg.\n</think>\n"
        '<tool_call>\n{"name": "simulate", "arguments": {"w_in": "20.0u", "c_c": "1.00p"}}\n'
        "</tool_call><|im_end|>\n"
    ] * 60


@pytest.fixture(scope="session")
def tokenizer(texts: list[str]) -> Tokenizer:
    return train_tokenizer(texts, ["w_in", "c_c", "fingers", "gbw", "power"], 400)


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer) -> LlamaForCausalLM:
    config = ModelConfig(width=64, layers=2, heads=2, feed_forward=96, context=1024)
    return new_model(config, tokenizer, seed=0)


@pytest.fixture(scope="session")
def toy_speaker() -> tuple[LlamaForCausalLM, Tokenizer]:
    """A model that talks of the toy circuit in the right form, with sizes at random."""
    from tests.training.toy import speaker

    return speaker()


@pytest.fixture(scope="session")
def toy_base(
    toy_speaker: tuple[LlamaForCausalLM, Tokenizer], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Its checkpoint."""
    from acs_assistant.training.sft import Progress, save_checkpoint

    folder = tmp_path_factory.mktemp("toy") / "checkpoint"
    save_checkpoint(folder, *toy_speaker, None, Progress())
    return folder
