"""What is installed, what is missing, and the command that mends it.

Works when things are missing, because that is when it is asked. Nothing that could take the process
down is loaded into it: libngspice and llama.cpp are tried in child processes with a time limit.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from acs_assistant import __version__, paths
from acs_assistant.errors import AcsError

Status = Literal["ok", "warning", "missing", "optional"]
"""``warning`` works but not well, ``missing`` stops the app, ``optional`` only limits it."""

_PROBE_SECONDS = 20
_GIB = 1 << 30

_NGSPICE_PROBE = """
import ctypes, re, sys
said = []
Said = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p)
hear = Said(lambda text, _id, _user: said.append(text.decode(errors="replace")) or 0)
library = ctypes.CDLL(sys.argv[1])
library.ngSpice_Init(hear, None, None, None, None, None, None)
library.ngSpice_Command(b"version -f")
found = re.search(r"ngspice-(\\d+\\S*)", " ".join(said))
print(found.group(1) if found else "of unknown version")
"""

_LLAMA_PROBE = """
import llama_cpp
info = llama_cpp.llama_print_system_info().decode(errors="replace")
print(llama_cpp.__version__, "|", info)
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report.

    Attributes:
        name: What was looked at.
        detail: What was found, with version and place.
        mend: A command or a sentence that mends it; empty when nothing needs mending.
    """

    name: str
    status: Status
    detail: str
    mend: str = ""


def check(*names: str) -> list[Check]:
    """Looks at everything, or only at what is named. Never raises for something missing.

    The slow probes run in parallel.
    """
    looks: tuple[tuple[str, Callable[[], Check]], ...] = (
        ("Python", _python),
        ("ngspice library", _ngspice_library),
        ("ngspice program", _ngspice_program),
        ("llama-cpp-python", _llama),
        ("device models", _device_models),
        ("language models", _language_models),
        ("circuits", _circuits),
        ("data folder", lambda: _folder("data folder", paths.data_dir())),
        ("cache folder", lambda: _folder("cache folder", paths.cache_dir())),
        ("terminal", _terminal),
        ("training", lambda: _extra("training", "train", ("torch", "transformers", "gguf"))),
        ("benchmark", lambda: _extra("benchmark", "bench", ("optuna", "cmaes", "botorch"))),
        ("browser", lambda: _extra("browser", "serve", ("textual-serve",))),
        ("memory", _memory),
        ("processor", _processor),
    )
    wanted = [(name, look) for name, look in looks if not names or name in names]
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda look: _guarded(*look), wanted))


def usable(checks: Iterable[Check]) -> bool:
    """Whether a design session can run at all."""
    return all(item.status != "missing" for item in checks)


def document(checks: Iterable[Check]) -> list[dict[str, str]]:
    """The ``doctor --json`` document."""
    return [asdict(item) for item in checks]


def text(checks: Iterable[Check]) -> str:
    """The report for people: one line per check, the mend indented under it."""
    lines = []
    for item in checks:
        lines.append(f"{item.status:<9} {item.name:<17} {item.detail}".rstrip())
        if item.mend:
            lines.append(f"{'':<27} {item.mend}")
    return "\n".join(lines)


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except Exception as error:  # a check that fails is a finding, not a crash
        return Check(name, "warning", f"could not be checked: {error}")


def _python() -> Check:
    detail = f"{platform.python_version()} at {sys.executable}, acs-assistant {__version__}"
    return Check("Python", "ok", detail)


def _probe(code: str, *arguments: str) -> tuple[bool, str]:
    """Runs ``code`` in a child python; its last line, or why it failed."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"gave no answer in {_PROBE_SECONDS} s"
    if done.returncode < 0:
        return False, f"died of signal {-done.returncode}"
    last = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return done.returncode == 0, last[-1] if last else f"exit status {done.returncode}"


def _system_install(apt: str, dnf: str, brew: str) -> str:
    """The command of the package manager that is here, or all three."""
    commands = {
        "apt-get": f"sudo apt install {apt}",
        "dnf": f"sudo dnf install {dnf}",
        "brew": f"brew install {brew}",
    }
    for tool, command in commands.items():
        if shutil.which(tool):
            return command
    return "; or ".join(commands.values())


def _ngspice_library() -> Check:
    from acs_assistant.sim.ngspice import find_library

    name = "ngspice library"
    mend = _system_install("libngspice0", "libngspice", "libngspice")
    try:
        path = find_library()
    except AcsError as error:
        named = os.environ.get("NGSPICE_LIBRARY_PATH")
        return Check(name, "missing", error.message, error.hint if named else mend)
    fine, answer = _probe(_NGSPICE_PROBE, path)
    if not fine:
        return Check(name, "missing", f"{path} {answer}", mend)
    return Check(name, "ok", f"ngspice {answer} at {path}")


def _ngspice_program() -> Check:
    name = "ngspice program"
    path = shutil.which("ngspice")
    if path is None:
        mend = _system_install("ngspice", "ngspice", "ngspice")
        return Check(name, "optional", "not found; only exported netlists need it", mend)
    return Check(name, "ok", f"{path}, for exported netlists")


def _llama() -> Check:
    name = "llama-cpp-python"
    mend = f"{sys.executable} -m pip install --force-reinstall llama-cpp-python"
    if importlib.util.find_spec("llama_cpp") is None:
        return Check(name, "missing", "not installed", mend)
    fine, answer = _probe(_LLAMA_PROBE)
    if not fine:
        return Check(name, "missing", answer, mend)
    version, _, features = answer.partition("|")
    on = [item.split("=")[0].strip() for item in features.split("|") if item.strip()[-1:] == "1"]
    listed = ", ".join(item.rpartition(":")[2].strip() for item in on)
    return Check(name, "ok", f"{version.strip()} ({listed})" if listed else version.strip())


def _device_models() -> Check:
    from acs_assistant.sim.pdk import find_pdk

    name = "device models"
    try:
        pdk = find_pdk("sky130")
    except AcsError as error:
        ignored = ""
        if os.environ.get("PDK_ROOT"):
            ignored = " PDK_ROOT and PDK are set but hold no sky130.lib.spice."
        return Check(name, "missing", error.message + ignored, error.hint)
    origin = "PDK_ROOT and PDK" if pdk.source == "environment" else pdk.folder
    return Check(name, "ok", f"{pdk.name} {pdk.version} from {origin}")


def _language_models() -> Check:
    name = "language models"
    files = [
        file
        for folder in (paths.bundled_models(), paths.user_models())
        if folder.is_dir()
        for file in sorted(folder.rglob("*.gguf"))
    ]
    if not files:
        return Check(
            name,
            "missing",
            "no GGUF in the package or in your models folder",
            f"Put a GGUF of an instruct model in {paths.user_models()}, or pass --model FILE.",
        )
    listed = ", ".join(f"{file.name} ({file.stat().st_size / 1e6:.0f} MB)" for file in files)
    return Check(name, "ok", listed)


def _circuits() -> Check:
    folders = [
        folder.parent.name
        for place in (paths.bundled_circuits(), paths.user_circuits())
        if place.is_dir()
        for folder in sorted(place.glob("*/circuit.toml"))
    ]
    if not folders:
        return Check(
            "circuits", "missing", "none in the package", "Install the package again: it is broken."
        )
    return Check("circuits", "ok", ", ".join(folders))


def _folder(name: str, folder: Path) -> Check:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(dir=place):
            pass
    except OSError as error:
        return Check(
            name,
            "missing",
            f"{folder} cannot be written: {error.strerror}",
            "Make it writable, or set XDG_DATA_HOME and XDG_CACHE_HOME to folders that are.",
        )
    free = shutil.disk_usage(place).free
    detail = f"{folder}, {free / _GIB:.1f} GiB free"
    if free < _GIB // 4:
        return Check(
            name, "warning", detail, "Free some space: sessions and device models need it."
        )
    return Check(name, "ok", detail)


def _terminal() -> Check:
    name = "terminal"
    stdout = sys.__stdout__  # Textual puts its own in the place of sys.stdout
    if stdout is None or not stdout.isatty():
        return Check(name, "ok", "output is not a terminal; the TUI needs one")
    size = shutil.get_terminal_size()
    depth = os.environ.get("COLORTERM", "")
    colours = "no colour" if os.environ.get("NO_COLOR") else depth or "256 colours or fewer"
    encoding = stdout.encoding or "ascii"
    detail = f"{os.environ.get('TERM', 'dumb')}, {size.columns}x{size.lines}, {colours}, {encoding}"
    if size.columns < 80 or size.lines < 24:
        return Check(name, "warning", detail, "Make the window at least 80x24.")
    if "utf" not in encoding.lower():
        return Check(name, "warning", detail, "export LC_ALL=C.UTF-8")
    return Check(name, "ok", detail)


def _extra(name: str, extra: str, packages: tuple[str, ...]) -> Check:
    found, absent = [], []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            absent.append(package)
    if not absent:
        return Check(name, "ok", ", ".join(found))
    detail = f"without {', '.join(absent)}" + (f"; {', '.join(found)} there" if found else "")
    return Check(name, "optional", detail, f"pip install 'acs-assistant[{extra}]'")


def _memory() -> Check:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return Check("memory", "ok", "size unknown")
    detail = f"{total / _GIB:.1f} GiB"
    if total < 2 * _GIB:
        return Check("memory", "warning", detail, "Less than 2 GiB: keep simulator workers to one.")
    return Check("memory", "ok", detail)


def _processor() -> Check:
    cores = os.cpu_count() or 1
    detail = f"{platform.machine()}, {cores} core{'s' if cores > 1 else ''}"
    try:
        flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].split("\n")[0].split())
    except OSError:
        return Check("processor", "ok", detail)
    known = [flag for flag in ("avx", "avx2", "avx512f", "amx_tile") if flag in flags]
    detail += f" ({', '.join(known)})" if known else ""
    if "amx_tile" in flags:
        detail += "; quantized models are loaded without AMX buffers, which crash llama.cpp"
    if platform.machine() == "x86_64" and "avx2" not in flags:
        return Check("processor", "warning", detail, "Without AVX2 the language model is slow.")
    return Check("processor", "ok", detail)
