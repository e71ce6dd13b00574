"""The set-up script, without letting it install anything: what it names, and its quick way out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = (
    "bash", "cat", "cksum", "cp", "dirname", "getconf", "grep", "id", "mkdir", "readlink", "rm",
    "sleep", "tail", "tr", "uname", "wc",
)  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the script reads, and a PATH with plain tools, no compiler, no apt-get."""
    folder = tmp_path / "checkout"
    for name in ("scripts/setup.sh", "pyproject.toml", "acs_assistant/__init__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        if found:
            (folder / "bin" / tool).symlink_to(found)
    return folder


def _setup(checkout: Path, mode: str = "run", **extra: str) -> subprocess.CompletedProcess[str]:
    library = checkout / "libngspice.so.0"
    library.touch()
    environment = {
        "PATH": str(checkout / "bin"),
        "HOME": str(checkout / "home"),
        "NGSPICE_LIBRARY_PATH": str(library),
        **extra,
    }
    return subprocess.run(
        [checkout / "bin" / "bash", checkout / "scripts" / "setup.sh", mode],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_no_python_is_named_with_the_command_for_each_system(checkout: Path) -> None:
    done = _setup(checkout)
    assert done.returncode == 1
    for words in ("Python 3.11", "sudo apt install python3", "sudo dnf install", "brew install"):
        assert words in done.stderr
    assert not (checkout / ".venv").exists()


def test_missing_compiler_is_named_before_anything_is_built(checkout: Path) -> None:
    done = _setup(checkout, PYTHON=os.path.realpath(sys.executable))
    assert done.returncode == 1
    assert "a C++ compiler" in done.stdout
    for package in ("build-essential", "gcc-c++", "sudo dnf install", "brew install"):
        assert package in done.stderr
    assert "libngspice0" not in done.stderr, "the library is there"
    assert not (checkout / ".venv").exists()


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_root_has_it_installed_with_apt_after_an_update_when_lists_are_empty(
    checkout: Path,
) -> None:
    tools = checkout / "bin"
    (tools / "id").unlink()
    _script(tools / "id", "echo 0")
    log = checkout / "apt.log"
    _script(tools / "apt-get", f'echo "$@" >>{log}\ngrep -q update {log}')
    real = os.path.realpath(sys.executable)
    _script(tools / "python", f'[ "$1" = -m ] && exit 9\nexec {real} "$@"')

    done = _setup(checkout, PYTHON=str(tools / "python"))

    asked = log.read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["install", "update", "install"]
    assert asked[0] == asked[2] == "install -y --no-install-recommends build-essential"
    assert "[2/5] virtual environment" in done.stdout, "it went on"
    assert done.returncode == 9, "and stopped where this python does"


def test_tests_also_want_the_ngspice_program(checkout: Path) -> None:
    done = _setup(checkout, "test", PYTHON=os.path.realpath(sys.executable))
    assert done.returncode == 1
    assert re.search(r"sudo apt install .*\bngspice\b", done.stderr)


def test_an_old_python_is_not_taken(checkout: Path) -> None:
    old = checkout / "bin" / "python3"
    _script(old, "exit 1")
    assert "no Python 3.11 or newer" in _setup(checkout).stderr


def test_a_finished_set_up_is_not_repeated_until_something_changes(checkout: Path) -> None:
    venv = checkout / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    (venv / "bin" / "acs-assistant").touch(mode=0o755)
    models = checkout / "home" / ".local/share/acs-assistant/pdk/sky130"
    models.mkdir(parents=True)
    (models / "sky130.lib.spice").touch()
    (venv / ".acs-run").write_text(_setup(checkout, "key").stdout)
    if sys.platform == "darwin":
        pytest.skip("the data folder is elsewhere")

    done = _setup(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert "[1/5]" in _setup(checkout).stdout


def test_an_unknown_mode_is_refused(checkout: Path) -> None:
    done = _setup(checkout, "everything")
    assert done.returncode == 2
    assert "run|test" in done.stderr
