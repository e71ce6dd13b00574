"""Any causal LM in Hugging Face's form: its template, adapters, training and export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acs_assistant.domain import Task, Turn
from acs_assistant.errors import ConfigError, InputError
from acs_assistant.library import load_circuit
from acs_assistant.llm.batch import BatchSampler
from acs_assistant.llm.chat_template import ChatTemplate
from acs_assistant.llm.gguf_file import read_header
from acs_assistant.prompting.parse import parse
from acs_assistant.prompting.render import messages, tools
from acs_assistant.training.base import has_adapters, merged_weights, open_trainee
from acs_assistant.training.chat import message_text
from acs_assistant.training.config import LoraTable, RlConfig, SftConfig
from acs_assistant.training.data import write_jsonl
from acs_assistant.training.export_gguf import (
    check_known,
    export_adapter,
    export_gguf,
    export_merged,
)
from acs_assistant.training.language import TemplateLanguage, tools_of
from acs_assistant.training.losses import learned_logits, learned_states
from acs_assistant.training.packing import pack
from acs_assistant.training.rl import train_rl
from acs_assistant.training.samplers import prompt_of
from acs_assistant.training.sft import train_sft
from tests.training import foreign, toy
from tests.training.toy import CIRCUIT, TASK, Formula, OneTask

pytestmark = pytest.mark.timeout(900)
LORA = LoraTable(rank=2, alpha=4)


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return foreign.save(tmp_path_factory.mktemp("foreign") / "qwen")


@pytest.fixture(scope="session")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sessions")
    widths = np.linspace(12e-6, 38e-6, 12)
    chats = [messages(TASK, [toy.turn(1, a), toy.turn(2, 20e-6)]) for a in widths]
    write_jsonl(folder / "toy.jsonl", [{"messages": chat, "train": [4]} for chat in chats])
    return folder


def language(template: str | None = foreign.TEMPLATE) -> TemplateLanguage:
    return TemplateLanguage(foreign.tokenizer(template), "tiny")


# What the model is shown and what it learns


def test_only_the_answer_is_learned_behind_the_history_that_the_app_shows() -> None:
    spoken = language()
    chat = messages(TASK, [toy.turn(1, 30e-6, "Because."), toy.turn(2, 20e-6, "Try less.")])
    first, second = spoken.examples({"messages": chat})
    assert spoken.examples({"messages": chat, "train": [4]})[0].prefix == second.prefix
    template = ChatTemplate(foreign.TEMPLATE, eos_text="<|end|>", control_texts=foreign.SPECIAL)
    for example, index in ((first, 2), (second, 4)):
        shown = [*example.prefix, *example.tokens[~example.learn].tolist()]
        assert tuple(shown) == spoken.tokens(template.render(chat[:index], tools(CIRCUIT)))
        learned = example.tokens[example.learn].tolist()
        assert learned[-1] in spoken.ends and not spoken.ends & set(learned[:-1])
        assert spoken.text(learned) == message_text(chat[index])
        assert parse(spoken.text(learned), CIRCUIT).sizing
    text = spoken.tokenizer.decode([*second.prefix, *second.tokens[~second.learn].tolist()])
    assert "Because." not in text and "30.0u" in text  # as the template has it


def test_what_it_is_asked_in_training_is_what_it_is_asked_in_the_app() -> None:
    spoken = language()
    history = [toy.turn(1, 30e-6)]
    chat = messages(TASK, [*history, toy.turn(2, 20e-6)])
    (example,) = spoken.examples({"messages": chat, "train": [4]})
    asked = spoken.tokens(spoken.prompt(TASK, history))
    assert (*example.prefix, *example.tokens[~example.learn].tolist()) == asked


def test_sessions_of_a_circuit_share_their_prefix(task: Task, turn: Turn) -> None:
    spoken = language()
    chat = messages(task, [turn])
    easier = json.loads(json.dumps(chat))
    specs = chat[1]["content"].rpartition("Specs:\n")
    easier[1]["content"] = specs[0] + specs[1] + "power <= 9.00m W"
    prefixes = {spoken.examples({"messages": c})[0].prefix for c in (chat, easier)}
    assert len(prefixes) == 1 and len(prefixes.pop()) > 50


@pytest.mark.parametrize("name", ["ota_5t", "two_stage_miller", "ldo"])
def test_the_tool_is_read_back_from_the_conversation(name: str) -> None:
    circuit = load_circuit(name)
    assert tools_of(messages(Task(circuit, circuit.specs, circuit.conditions))) == tools(circuit)


def test_a_model_without_template_or_tokenizer_is_refused(qwen: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no chat template"):
        language(None)
    (tmp_path / "config.json").write_bytes((qwen / "config.json").read_bytes())
    with pytest.raises(ConfigError, match=r"no tokenizer\.json"):
        open_trainee(tmp_path)
    with pytest.raises(ConfigError, match="no checkpoint") as caught:
        open_trainee(tmp_path / "nowhere")
    assert "Hugging Face" in caught.value.hint


# Adapters


def test_new_adapters_change_nothing_and_alone_are_trained(qwen: Path) -> None:
    plain, adapted = open_trainee(qwen), open_trainee(qwen, LORA)
    assert has_adapters(adapted.model) and not has_adapters(plain.model)
    trained = [n for n, p in adapted.model.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    ids = torch.arange(5, 40)[None]
    with torch.no_grad():
        ours, theirs = (t.model.eval()(ids).logits for t in (plain, adapted))
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert merged_weights(adapted.model).keys() == plain.model.state_dict().keys()


def test_targets_that_the_model_has_not_are_refused(qwen: Path) -> None:
    with pytest.raises(ConfigError, match=r"'lora\.targets': w_in") as caught:
        open_trainee(qwen, LoraTable(rank=2, targets=["w_in"]))
    assert "q_proj" in caught.value.hint
    only = open_trainee(qwen, LoraTable(rank=2, targets=["q_proj"])).model
    adapted = {n for n, p in only.named_parameters() if p.requires_grad}
    assert len(adapted) == 4 and all("q_proj" in name for name in adapted)


def test_a_whole_row_and_a_shared_prefix_give_the_same_logits(qwen: Path) -> None:
    spoken = language()
    chats = [messages(TASK, [toy.turn(1, w)]) for w in (15e-6, 33.3e-6)]
    batch = pack([spoken.examples({"messages": chat})[0] for chat in chats])
    model = open_trainee(qwen, LORA).model.train()
    with torch.no_grad():
        states, targets = learned_states(model, batch, torch.float32)
        shared = model.lm_head(states)
        model.activation_checkpointing_enable()
        whole, again = learned_logits(model, batch, torch.float32)
    assert torch.equal(targets, again)
    assert torch.allclose(shared, whole, atol=1e-4)


# Training


def sft(base: Path, data: Path, **changes: Any) -> SftConfig:
    settings: dict[str, Any] = {
        "start": str(base), "data": str(data), "seconds": 1e6, "steps": 25, "learning_rate": 2e-2,
        "batch_tokens": 2000, "warmup_steps": 1, "threads": 1, "precision": "f32",
        "optimizer": "adamw", "lora": LORA,
    }  # fmt: skip
    return SftConfig(**{**settings, **changes})


@pytest.fixture(scope="session")
def tuned(qwen: Path, sessions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_sft(sft(qwen, sessions), tmp_path_factory.mktemp("tuned"))


def nll(folder: Path, data: Path) -> float:
    trainee = open_trainee(folder)
    records = [json.loads(line) for line in (data / "toy.jsonl").read_text().splitlines()]
    examples = [e for r in records for e in trainee.language.examples(r)]
    with torch.no_grad():
        logits, targets = learned_logits(trainee.model.eval(), pack(examples), torch.float32)
    return float(torch.nn.functional.cross_entropy(logits, targets))


def test_supervised_adapters_learn_and_are_a_small_checkpoint(
    qwen: Path, sessions: Path, tuned: Path
) -> None:
    assert nll(tuned, sessions) < nll(qwen, sessions) - 0.3
    assert (tuned / "adapter_model.safetensors").is_file()
    assert not (tuned / "model.safetensors").exists()


def test_a_run_with_adapters_goes_on(qwen: Path, sessions: Path, tuned: Path) -> None:
    config = sft(qwen, sessions, steps=27)
    again = train_sft(config, tuned.parent, resume=True)
    assert torch.load(again / "trainer.pt", weights_only=True)["progress"]["step"] == 27
    with pytest.raises(ConfigError, match=r"'lora\.rank' is 8"):
        open_trainee(tuned, LoraTable(rank=8))


def test_too_little_memory_for_a_batch_is_said_with_what_to_lower(
    qwen: Path, sessions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("acs_assistant.training.sft.learned_logits", too_large)
    with pytest.raises(ConfigError, match="more memory") as caught:
        train_sft(sft(qwen, sessions), tmp_path)
    assert "'batch_tokens'" in caught.value.hint and "--resume" in caught.value.hint


def rl(base: Path, **changes: Any) -> RlConfig:
    settings: dict[str, Any] = {
        "start": str(base), "data": "", "circuits": [], "tasks": 1, "group": 2, "turns": 2,
        "steps": 1, "max_tokens": 12, "threads": 1, "precision": "f32", "lora": LORA,
    }  # fmt: skip
    return RlConfig(**{**settings, **changes})


@pytest.mark.parametrize(
    ("method", "rollouts", "held"),
    [("grpo", "torch", "f32"), ("tl-grpo", "llama.cpp", "f32"), ("tl-grpo", "torch", "bf16")],
)
def test_reinforcement_learning_takes_it(
    qwen: Path, tmp_path: Path, method: Any, rollouts: str, held: str
) -> None:
    config = rl(qwen, rollouts=rollouts, kl_weight=0.1, weights=held, precision=held)
    made = train_rl(method, config, Formula(), tmp_path, source=OneTask())
    (line,) = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert line["gradient_norm"] >= 0 and line["invalid"] == 1.0  # random weights say nothing
    assert has_adapters(open_trainee(made).model)


def test_reinforcement_of_adapters_resumed_takes_the_same_step(tuned: Path, tmp_path: Path) -> None:
    def lines(steps: int, out: Path, resume: bool = False) -> list[dict[str, Any]]:
        config = rl(tuned, rollouts="torch", lora=LoraTable(), steps=steps, group=3)
        train_rl("tl-grpo", config, Formula(), out, resume, source=OneTask())
        written = [json.loads(text) for text in (out / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in w.items() if "seconds" not in k} for w in written]

    lines(1, tmp_path / "parts")
    assert lines(2, tmp_path / "parts", resume=True) == lines(2, tmp_path / "whole")


# Export


def logits_of(path: Path, ids: list[int], adapter: Path | None = None) -> Any:
    from acs_assistant.llm.decoding import Context
    from acs_assistant.llm.native import Weights, lib

    weights = Weights(path)
    context = Context(weights, cells=256, sequences=1, threads=1)
    if adapter is not None:
        import ctypes

        loaded = lib.llama_adapter_lora_init(weights.model, str(adapter).encode())
        assert loaded
        adapters = (lib.llama_adapter_lora_p_ctypes * 1)(loaded)
        scales = (ctypes.c_float * 1)(1.0)
        assert lib.llama_set_adapters_lora(context.handle, adapters, 1, scales) == 0
    row = context.prefill(ids)
    address = lib.llama_get_logits_ith(context.handle, row)
    found = np.ctypeslib.as_array(address, (weights.vocab_size,)).copy()
    tokens = weights.tokenize("Größe <|user|> 12.3456u, w_in 20.0u\n\nTurn 1")
    context.close()
    weights.close()
    return found, tokens


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
def test_merged_and_adapter_gguf_say_what_torch_says(
    kind: str, sessions: Path, tmp_path: Path
) -> None:
    base = foreign.save(tmp_path / "base", kind)
    made = train_sft(sft(base, sessions, steps=5), tmp_path / "run")
    trainee = open_trainee(made)
    ids = list(trainee.language.tokens(trainee.language.prompt(TASK, [])))[:200]
    with torch.no_grad():
        ours = trainee.model.eval()(torch.tensor([ids])).logits[0, -1].numpy()
        untuned = open_trainee(base).model.eval()(torch.tensor([ids])).logits[0, -1].numpy()
    merged, tokens = logits_of(export_gguf(made, tmp_path / "a.gguf", "f16", "a", ""), ids)
    assert tokens == list(trainee.language.tokens("Größe <|user|> 12.3456u, w_in 20.0u\n\nTurn 1"))
    assert np.abs(merged - ours).max() < 0.05 < np.abs(untuned - ours).max()
    plain = export_gguf(base, tmp_path / "b.gguf", "f16", "b", "")
    adapter = export_adapter(made, tmp_path / "lora.gguf", "lora")
    beside, _ = logits_of(plain, ids, adapter)
    assert np.abs(beside - ours).max() < 0.05
    with pytest.raises(InputError, match="no adapters"):
        export_adapter(base, tmp_path / "c.gguf", "c")


def test_merged_weights_are_a_model_of_their_own(
    tuned: Path, sessions: Path, tmp_path: Path
) -> None:
    whole = export_merged(tuned, tmp_path / "merged")
    assert not has_adapters(open_trainee(whole).model)
    assert nll(whole, sessions) == pytest.approx(nll(tuned, sessions), abs=1e-4)


def test_an_unknown_architecture_is_told_how_to_convert(tmp_path: Path) -> None:
    base = foreign.save(tmp_path / "moe", "qwen3_moe")
    with pytest.raises(ConfigError, match="'qwen3_moe'") as caught:
        export_gguf(base, tmp_path / "moe.gguf", "f16", "moe", "")
    assert "convert_hf_to_gguf.py" in caught.value.hint
    with pytest.raises(ConfigError, match="'qwen3_moe'"):
        train_rl("grpo", rl(base), Formula(), tmp_path / "run", source=OneTask())
    config = rl(base, rollouts="torch", lora=LoraTable(rank=2, targets=["q_proj", "v_proj"]))
    train_rl("grpo", config, Formula(), tmp_path / "run", source=OneTask())


def test_a_tokenizer_that_llama_cpp_cuts_otherwise_is_refused(qwen: Path) -> None:
    trainee = open_trainee(qwen)
    assert isinstance(trainee.language, TemplateLanguage)
    check_known(trainee.model, trainee.language)
    from tokenizers import pre_tokenizers

    inner = trainee.language.tokenizer.backend_tokenizer
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(ConfigError, match="tokenizer"):
        check_known(trainee.model, trainee.language)


@pytest.mark.parametrize(("kind", "tolerance"), [("bf16", 0.05), ("q8_0", 0.2), ("q4_k_m", 1.5)])
def test_every_quantization_says_nearly_what_torch_says(
    tmp_path: Path, kind: Any, tolerance: float
) -> None:
    base = foreign.save(
        tmp_path / "base", "qwen3", hidden_size=256, intermediate_size=256, head_dim=64
    )
    with torch.no_grad():
        model = open_trainee(base).model.eval()
        ours = model(torch.tensor([list(range(5, 60))])).logits[0, -1].numpy()
    path = export_gguf(base, tmp_path / "a.gguf", kind, "a", "")
    found, _ = logits_of(path, list(range(5, 60)))
    scale = float(ours.std())
    assert 0 < np.abs(found - ours).max() < tolerance * scale
    assert kind.startswith(read_header(path).quantization.lower())


def test_what_does_not_fit_into_blocks_is_refused(qwen: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Q4_K_M packs 256.*rows of 64") as caught:
        export_gguf(qwen, tmp_path / "a.gguf", "q4_k_m", "a", "")
    assert "q8_0" in caught.value.hint and not list(tmp_path.iterdir())


def test_a_foreign_gguf_is_asked_by_its_own_template(qwen: Path, tmp_path: Path) -> None:
    with BatchSampler(export_gguf(qwen, tmp_path / "a.gguf", "f16", "a", "")) as sampler:
        asked = prompt_of(sampler)(TASK, [toy.turn(1, 30e-6)])
    assert asked == open_trainee(qwen).language.prompt(TASK, [toy.turn(1, 30e-6)])
