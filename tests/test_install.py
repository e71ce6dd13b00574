"""The wheel, as a user has it: installed in an environment of its own, run from an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = ("acs_assistant", "circuits", "models", "training")
ROOT_FILES = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "NOTICE")


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment with nothing but the wheel; its dependencies come from the tests' own."""

    folder: Path
    wheel: Path
    sdist: Path

    @property
    def packages(self) -> Path:
        return next((self.folder / "env" / "lib").glob("python*/site-packages"))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        empty = self.folder / "empty"
        empty.mkdir(exist_ok=True)
        return subprocess.run(
            [self.folder / "env" / "bin" / "acs-assistant", *arguments],
            cwd=empty,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("install")
    source = folder / "source"
    source.mkdir()
    for name in SHIPPED:
        ignored = shutil.ignore_patterns("__pycache__", "runs")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ROOT_FILES:
        shutil.copy(ROOT / name, source / name)
    build = (
        "import sys; from setuptools import build_meta; out = sys.argv[1];"
        "build_meta.build_sdist(out); build_meta.build_wheel(out)"
    )
    made = folder / "dist"
    _quiet(sys.executable, "-c", build, str(made), cwd=source)
    wheel, sdist = next(made.glob("*.whl")), next(made.glob("*.tar.gz"))

    _quiet(sys.executable, "-m", "venv", "--without-pip", str(folder / "env"))
    result = Installed(folder, wheel, sdist)
    borrowed = sysconfig.get_paths()["purelib"]
    (result.packages / "borrowed.pth").write_text(borrowed + "\n")
    pip = (sys.executable, "-m", "pip", "--python", str(folder / "env" / "bin" / "python"))
    _quiet(*pip, "install", "--no-deps", "--no-index", "--ignore-installed", str(wheel))
    shutil.rmtree(source)
    return result


def _quiet(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_circuits_are_found_in_the_installed_package(installed: Installed) -> None:
    done = installed.run("circuits", "list", "--json")
    assert done.returncode == 0, done.stderr
    listed = {entry["name"]: Path(entry["path"]) for entry in json.loads(done.stdout)}
    assert {"ota_5t", "two_stage_miller"} <= set(listed)
    for path in listed.values():
        assert path.is_relative_to(installed.packages)
        assert list(path.glob("tb_*.spice"))
        assert (path / "netlist.spice").is_file()


def test_the_installed_program_simulates(installed: Installed) -> None:
    done = installed.run("simulate", "ota_5t", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["status"] == "ok", document["error"]
    assert document["met"], "the reference sizing meets the default specs"


def test_the_model_is_installed(installed: Installed) -> None:
    done = installed.run("models", "list", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout), "a wheel without a model cannot size anything"
    assert list((installed.packages / "acs_assistant" / "models").rglob("*.gguf"))


def test_every_data_file_of_the_tree_is_in_the_wheel(installed: Installed) -> None:
    inside = set(zipfile.ZipFile(installed.wheel).namelist())
    data = {
        ".toml",
        ".spice",
        ".md",
        ".svg",
        ".txt",
        ".tcss",
        ".gguf",
        ".json",
        ".html",
        ".j2",
        ".npz",
    }
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "acs_assistant").rglob("*")
        if path.suffix in data and path.is_file()
    } | {
        f"acs_assistant/{path.relative_to(ROOT)}"
        for name in SHIPPED[1:]
        for path in (ROOT / name).rglob("*")
        if path.suffix in data and path.is_file() and "runs" not in path.parts
    }
    assert wanted
    assert not sorted(wanted - inside)


def test_nothing_else_lands_in_site_packages(installed: Installed) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(installed.wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"acs_assistant"}
    names = zipfile.ZipFile(installed.wheel).namelist()
    assert len(names) == len(set(names))
    assert not [name for name in names if "/tests/" in name or name.endswith(".pyc")]


def test_the_source_archive_holds_each_file_once_and_no_tests(installed: Installed) -> None:
    with tarfile.open(installed.sdist) as archive:
        members = [m.name.split("/", 1)[1] for m in archive.getmembers() if m.isfile()]
    assert "pyproject.toml" in members
    assert "LICENSE" in members
    tops = {name.split("/")[0] for name in members if "/" in name}
    assert tops <= {"acs_assistant", "acs_assistant.egg-info"}
