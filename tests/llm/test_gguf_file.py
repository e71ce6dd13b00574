"""Damaged, truncated and foreign files are refused before llama.cpp sees them."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from tiny_gguf import write_tiny_gguf

from acs_assistant.errors import ModelError
from acs_assistant.llm.gguf_file import read_header


def test_reads_what_the_writer_wrote(tiny_q8: Path) -> None:
    header = read_header(tiny_q8)
    assert header.architecture == "llama"
    assert header.context == 512
    assert header.quantization == "Q8_0"
    assert header.size == tiny_q8.stat().st_size
    # Embedding and output 2*400*64; per block 4 projections, 3 of the MLP, 2 norms; one last norm.
    assert header.parameters == 2 * 400 * 64 + 2 * (4 * 64 * 64 + 3 * 64 * 128 + 2 * 64) + 64
    assert header.text("general.license") == "Apache-2.0"
    assert header.metadata["tokenizer.ggml.tokens"] is None
    assert header.metadata["tokenizer.ggml.merges"] == ["t h"]


def test_sizes_agree_with_the_gguf_package(tmp_path: Path) -> None:
    from gguf import GGUFReader

    path = write_tiny_gguf(tmp_path / "f32.gguf", quantization="F32")
    tensors = GGUFReader(path).tensors
    header = read_header(path)
    assert header.tensors == len(tensors)
    assert header.parameters == sum(int(t.n_elements) for t in tensors)


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        (b"", "is empty", "again"),
        (b"PK\x03\x04 a zip", "not a GGUF", "GGUF format"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not a GGUF", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "not a GGUF", "web page"),
        (b"GGUF", "truncated", "fetch the file again"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(64), "version 1", "convert"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(64), "no weights", "the model itself"),
        (b"GGUF" + struct.pack("<I", 99) + bytes(64), "version 99", "convert"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(64), "big-endian", "little endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 5), "truncated", "again"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62) + bytes(64), "truncated", "again"),
    ],
)
def test_foreign_files(tmp_path: Path, data: bytes, message: str, hint: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=message) as caught:
        read_header(path)
    assert str(path) in caught.value.message
    assert hint in caught.value.hint


def test_every_cut_is_called_truncated(tiny_q8: Path, tmp_path: Path) -> None:
    data = tiny_q8.read_bytes()
    path = tmp_path / "cut.gguf"
    for length in [5, 20, 100, 1000, 7000, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ModelError, match="truncated"):
            read_header(path)


def test_flipped_bytes_never_escape_as_another_error(tiny_q8: Path, tmp_path: Path) -> None:
    data = tiny_q8.read_bytes()
    path = tmp_path / "flipped.gguf"
    rng = random.Random(4)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data[:9000])
        for _ in range(3):
            damaged[rng.randrange(8, 1200)] = rng.randrange(256)
        path.write_bytes(bytes(damaged))
        try:
            read_header(path)
        except ModelError:
            refused += 1
    assert refused == 300  # the tail is cut off, so none may pass


def test_missing_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_header(tmp_path / "absent.gguf")
    with pytest.raises(ModelError, match="cannot be read"):
        read_header(tmp_path)
