"""Tiny real models, made once per run, and a data folder of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import ChatServer
from tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def tiny_f16(tiny_folder: Path) -> Path:
    return write_tiny_gguf(tiny_folder / "tiny-f16.gguf", quantization="F16")


@pytest.fixture(scope="session")
def tiny_q8(tiny_folder: Path) -> Path:
    """Quantized: the kind of weights that crashes llama-cpp-python's default on AMX."""
    return write_tiny_gguf(
        tiny_folder / "tiny-q8.gguf",
        quantization="Q8_0",
        metadata={"general.license": "Apache-2.0", "general.description": "Random weights."},
    )


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data, configuration and cache in ``tmp_path``, and no bundled model."""
    for kind in ("DATA", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.setattr("acs_assistant.paths.bundled_models", lambda: tmp_path / "bundled")
    return tmp_path
