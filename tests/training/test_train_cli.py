"""``acs-assistant train``: what it refuses, and its commands from end to end on a toy circuit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from acs_assistant import llm, paths
from acs_assistant.domain import Decision
from acs_assistant.storage.store import Store
from acs_assistant.training import rl
from acs_assistant.training.archive import simulate_positions
from acs_assistant.training.base import open_trainee
from acs_assistant.training.config import LoraTable
from acs_assistant.training.export_gguf import write_gguf
from acs_assistant.training.sft import Progress, save_checkpoint
from tests.cli.conftest import Command, command, home
from tests.training import foreign
from tests.training.test_from_sessions import add, new_session
from tests.training.toy import CIRCUIT, Formula

__all__ = ["command", "home"]
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Formula:
    """The simulator that the commands are given; the toy circuit is found by any name."""
    monkeypatch.setattr("acs_assistant.library.load_circuit", lambda name: CIRCUIT)
    monkeypatch.setattr(rl, "load_circuit", lambda name: CIRCUIT)
    return Formula()


@pytest.fixture
def gguf(toy_speaker: tuple[LlamaForCausalLM, Tokenizer], tmp_path: Path) -> Path:
    path = tmp_path / "toy.gguf"
    write_gguf(*toy_speaker, path, "q8_0", "toy")
    return path


def recipe(folder: Path, **values: object) -> str:
    path = folder / "recipe.toml"
    path.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items()))
    return str(path)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("grpo", 'grup = 8\nstart = "a"\ndata = "b"', ["unknown key 'grup'", "mean 'group'"]),
        ("tl-grpo", 'data = "b"', ["'start'", "required"]),
        (
            "tl-grpo",
            'start = "a"\ndata = "b"\ngroup = 1',
            ["'group'", "or equal to 2"],
        ),
        ("tl-grpo", 'start = "a"\ndata = "b"\ncontinue_with = "worst"', ["continue_with", "best"]),
        ("sft", "[model]\nwidht = 256", ["unknown key 'model.widht'", "mean 'width'"]),
        ("sft", "seconds = soon", ["is not TOML", "line 1"]),
        ("from-sessions", "rl_second = 3", ["unknown key 'rl_second'", "mean 'rl_seconds'"]),
    ],
)
def test_a_wrong_recipe_is_refused_with_key_and_mend(
    command: Command, tmp_path: Path, kind: str, text: str, words: list[str]
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    done = command("train", kind, "--config", str(path))
    assert done.status == 2 and not done.out
    assert "recipe.toml" in done.err
    for word in words:
        assert word in done.err


@pytest.mark.parametrize("kind", ["grpo", "tl-grpo"])
def test_what_cannot_be_gone_on_with_is_refused(
    command: Command, tmp_path: Path, kind: str
) -> None:
    config = recipe(tmp_path, start="a", data="b")
    done = command("train", kind, "--config", config, "--resume", str(tmp_path))
    assert done.status == 2 and "--out folder" in done.err


@pytest.mark.parametrize("kind", ["grpo", "tl-grpo"])
def test_a_run_is_made_and_gone_on_with(
    command: Command, pool: Formula, toy_base: Path, tmp_path: Path, kind: str
) -> None:
    positions = np.linspace(0, 1, 20)[:, None]
    simulate_positions(CIRCUIT, positions, pool).save(tmp_path / "data" / "toy.npz")
    settings = {
        "start": str(toy_base), "data": str(tmp_path / "data"), "circuits": ["toy"], "tasks": 1,
        "group": 2, "turns": 2, "max_tokens": 40, "threads": 1, "precision": "f32",
    }  # fmt: skip
    out = str(tmp_path / "out")
    first = command("train", kind, "--config", recipe(tmp_path, steps=1, **settings), "--out", out)
    assert first.status == 0 and "checkpoint" in first.out
    again = recipe(tmp_path, steps=2, **settings)
    assert command("train", kind, "--config", again, "--resume", out).status == 0
    written = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in written] == [1, 2]
    exported = tmp_path / "made.gguf"
    done = command("train", "export", f"{out}/checkpoint", "--out", str(exported))
    assert done.status == 0 and exported.stat().st_size > 0


def test_evaluate_prints_its_figures(
    command: Command, pool: Formula, gguf: Path, tmp_path: Path
) -> None:
    tasks = tmp_path / "tasks.json"
    spec = {"metric": "match", "relation": ">=", "target": 0.05}
    tasks.write_text(json.dumps([{"id": "a", "circuit": "toy", "specs": [spec]}]))
    arguments = ("train", "evaluate", str(gguf), "--tasks", str(tasks), "--budget", "2")
    document = command(*arguments, "--independent", "2", "--json").document
    assert document["tasks"] == 1 and document["model"] == "toy"
    assert set(document["met_at"]) == set(document["independent_at"]) == {"1", "2"}
    assert {"sign_right", "relative_error", "named_sizes_kept"} <= document.keys()
    assert document["sign_right"] is None  # it predicts nothing
    text = command(*arguments).out
    assert "met within 2" in text and "none to judge" in text
    assert command("train", "evaluate", "nothing", "--tasks", str(tasks)).status == 2


def test_from_sessions_by_command(command: Command, gguf: Path, tmp_path: Path) -> None:
    llm.adopt(str(gguf))
    nothing = command("train", "from-sessions")
    assert nothing.status == 2 and "no saved sessions" in nothing.err
    store = Store(paths.database())
    session = new_session(store)
    add(store, session, 20e-6, Decision("accepted", {"w_in": 20e-6}, "", "engineer"))
    store.close()
    config = recipe(
        tmp_path, perturbations=8, sft_seconds=0.2, rl_steps=1, tasks=1, group=2, turns=1,
        max_tokens=40, held_out=1, budget=1, threads=1, precision="f32",
    )  # fmt: skip
    arguments = ("train", "from-sessions", "--session", str(session), "--config", config)
    document = command(*arguments, "--no-adopt", "--json").document
    assert document["right"] == 1 and document["adopted"] == ""
    assert Path(document["model"]).is_relative_to(paths.data_dir())
    said = command(*arguments).out
    assert "held-out draws" in said
    assert ("The default model is now" in said) is document["not_worse"]


def test_for_a_circuit_by_command(
    command: Command, pool: Formula, gguf: Path, tmp_path: Path
) -> None:
    llm.adopt(str(gguf))
    path = tmp_path / "recipe.toml"
    path.write_text(
        "rl_steps = 1\ntasks = 1\ngroup = 2\nturns = 1\nmax_tokens = 64\nheld_out = 1\n"
        'budget = 1\nthreads = 1\nprecision = "f32"\n'
        "[circuit]\nsobol = 128\nlocal = 64\ntasks = 12\nsft_seconds = 0.3\n"
    )
    arguments = ("train", "from-sessions", "--circuit", "toy", "--config", str(path))
    done = command(*arguments, "--no-adopt", "--json")
    assert done.err.startswith("About ") and "simulations" in done.err
    assert done.document["adopted"] == "" and done.document["draws"] == 1
    both = command(*arguments, "--session", "1")
    assert both.status == 2 and "exclude" in both.err


def test_export_of_adapters_and_of_merged_weights(command: Command, tmp_path: Path) -> None:
    base = foreign.save(tmp_path / "base")
    trainee = open_trainee(base, LoraTable(rank=2))
    made = tmp_path / "checkpoint"
    save_checkpoint(made, trainee.model, trainee.language, None, Progress())
    gguf, folder = tmp_path / "a.gguf", tmp_path / "merged"
    assert command("train", "export", str(made), "--adapter", "--out", str(gguf)).status == 0
    assert command("train", "export", str(made), "--merged", "--out", str(folder)).status == 0
    assert gguf.stat().st_size and (folder / "model.safetensors").is_file()
    for kind in ("bf16", "q8_0"):
        done = command("train", "export", str(made), "--quantize", kind, "--out", str(gguf))
        assert done.status == 0
    refused = command("train", "export", str(made), "--quantize", "q4_k_m", "--out", str(gguf))
    assert refused.status == 2 and "256" in refused.err
    both = command("train", "export", str(made), "--adapter", "--merged", "--out", str(gguf))
    assert both.status == 2 and "exclude" in both.err
