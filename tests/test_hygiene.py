"""What the whole repository keeps to: deferred imports, module size, words, documented commands."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    "PySpice",
    "botorch",
    "llama_cpp",
    "matplotlib",
    "optuna",
    "scipy",
    "textual",
    "torch",
    "transformers",
)
SOURCES = sorted(
    path
    for folder in ("acs_assistant", "training")
    for path in (ROOT / folder).rglob("*.py")
    if path.relative_to(ROOT).parts[1] != "training"
)
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def _modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    "module",
    [
        "acs_assistant.cli",
        "acs_assistant.doctor",
        "acs_assistant.engine",
        "acs_assistant.library",
        "acs_assistant.llm",
        "acs_assistant.optimizers",
        "acs_assistant.sim",
        "acs_assistant.storage",
    ],
)
def test_heavy_packages_are_not_imported_with(module: str) -> None:
    assert not _modules_after(f"import {module}").intersection(HEAVY)


def test_the_app_itself_needs_no_torch() -> None:
    loaded = _modules_after("import acs_assistant.tui.app, acs_assistant.report")
    assert not loaded.intersection({"torch", "transformers", "botorch"})


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_is_short_and_annotated(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 500
    definitions = ast.FunctionDef | ast.ClassDef
    if any(isinstance(node, definitions) for node in ast.parse(text).body):
        assert "from __future__ import annotations" in text


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_no_file_names_a_private_path_or_is_too_large() -> None:
    private = re.compile(r"(?<![\w.])/(?:home|Users|root|work|private)/[\w.]")
    wrong = []
    for path in _tracked():
        if not path.is_file():
            continue
        if path.stat().st_size > 40 * 1024 * 1024:
            wrong.append(f"{path.relative_to(ROOT)} is over 40 MB")
        if path.suffix in {".gguf", ".png", ".svg"} or path.name == Path(__file__).name:
            continue
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            if private.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not wrong


def test_nothing_is_left_unfinished() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if unfinished.search(line)
    ]
    assert not wrong


def _reference() -> ModuleType:
    """``scripts/reference.py``, which writes the reference pages from the code."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _commands() -> dict[str, bool]:
    """Every command such as "circuits show", and whether it is a group."""
    walked = _reference().walk_commands()
    named = {context.command_path.partition(" ")[2]: command for command, context in walked}
    return {name: hasattr(command, "commands") for name, command in named.items() if name}


def test_reference_pages_say_what_the_code_says() -> None:
    check = [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_documents_name_only_what_exists(path: Path) -> None:
    text = path.read_text("utf-8")
    known = _commands()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    wrong = []
    for words in re.findall(r"acs-assistant ((?:[a-z]+[a-z-]*\b ?){1,2})", _code(text)):
        first, *rest = words.split()
        if first not in known or (known[first] and rest and f"{first} {rest[0]}" not in known):
            wrong.append(f"acs-assistant {words.strip()}")
    called = re.findall(r"^[\s`]*make ([a-z-]+)", _code(text), re.M)
    wrong += [f"make {target}" for target in called if target not in targets]
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
        if not (path.parent / target).exists():
            wrong.append(f"link to {target}")
    assert not wrong


def _code(text: str) -> str:
    """The parts of a Markdown text that are code: fenced blocks and spans in backticks."""
    blocks = re.findall(r"^```.*?^```", text, re.M | re.S)
    spans = re.findall(r"`[^`\n]+`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return "\n".join(blocks + spans)
