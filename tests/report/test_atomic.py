"""Files are whole or untouched, and a disk that refuses is explained."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from acs_assistant import atomic
from acs_assistant.errors import InputError, StorageError


def test_writes_and_replaces(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "deck.spice"
    atomic.write_text(target, "old\n")
    target.chmod(0o640)
    atomic.write_text(target, "ohm Ω\n")
    assert target.read_bytes() == "ohm Ω\n".encode()
    assert target.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in target.parent.iterdir()] == ["deck.spice"]


def test_follows_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    atomic.write_text(link, "new")
    assert link.is_symlink() and real.read_text() == "new"


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_full_disk_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    target = tmp_path / "chat.jsonl"
    target.write_text("old")

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "write":
        monkeypatch.setattr(os, "fdopen", full)
    elif call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        atomic.write_text(target, "new")
    assert caught.value.hint
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["chat.jsonl"]


def test_full_device_is_explained() -> None:
    with pytest.raises(StorageError, match="'/dev/full' was not written"):
        atomic.write_text(Path("/dev/full"), "text")


def test_read_only_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match="Read-only file system"):
        atomic.write_text(tmp_path / "f", "text")


def test_a_folder_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        atomic.write_text(tmp_path, "text")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        atomic.write_text(tmp_path / "file" / "below", "text")
