"""The doctor must tell the truth most of all when things are missing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from acs_assistant import doctor, paths
from acs_assistant.doctor import Check


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; nothing of the environment names device models or a library."""
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("PDK_ROOT", "PDK", "NGSPICE_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def _check(name: str) -> Check:
    [found] = doctor.check(name)
    return found


def test_what_is_here_is_found_with_its_version() -> None:
    checks = {item.name: item for item in doctor.check()}
    assert checks["ngspice library"].status == "ok"
    assert "ngspice 3" in checks["ngspice library"].detail or (
        "ngspice 4" in checks["ngspice library"].detail
    )
    assert checks["llama-cpp-python"].status == "ok"
    assert checks["circuits"].status == "ok"
    assert "two_stage_miller" in checks["circuits"].detail


def test_nothing_is_loaded_into_this_process_and_it_is_quick() -> None:
    loaded = {"PySpice", "llama_cpp"}.intersection(sys.modules)
    started = time.process_time()
    doctor.check()
    assert {"PySpice", "llama_cpp"}.intersection(sys.modules) == loaded
    assert time.process_time() - started < 2.0, "processor time of this process alone"


def test_missing_device_models_stop_a_session_and_name_the_command() -> None:
    found = _check("device models")
    assert found.status == "missing"
    assert found.mend == "acs-assistant pdk install sky130"
    assert not doctor.usable([found])


def test_device_models_of_another_installation(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDK_ROOT", str(home / "nowhere"))
    assert _check("device models").status == "missing"
    assert "PDK_ROOT" in _check("device models").detail


def test_a_wrong_ngspice_library_is_not_believed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = home / "libngspice.so.0"
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", str(fake))
    assert "does not exist" in _check("ngspice library").detail
    fake.write_bytes(b"not a library")
    found = _check("ngspice library")
    assert found.status == "missing"
    assert found.mend


def test_a_data_folder_that_cannot_be_made_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_text("in the way")
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "file"))
    found = _check("data folder")
    assert found.status == "missing"
    assert str(paths.data_dir()) in found.detail
    assert "XDG_DATA_HOME" in found.mend


def test_a_check_that_crashes_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> int:
        raise RuntimeError("no such thing here")

    monkeypatch.setattr("os.cpu_count", broken)
    found = _check("processor")
    assert found.status == "warning"
    assert "no such thing here" in found.detail


def test_document_and_text_say_the_same() -> None:
    checks = [Check("one", "ok", "fine"), Check("two", "missing", "gone", "fetch two")]
    assert doctor.document(checks)[1] == {
        "name": "two",
        "status": "missing",
        "detail": "gone",
        "mend": "fetch two",
    }
    text = doctor.text(checks)
    assert "missing" in text
    assert text.splitlines()[2].strip() == "fetch two"
