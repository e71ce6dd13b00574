"""What a netlist may not ask for. A refusal names the file, the line and the word."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from acs_assistant.errors import UnsafeNetlistError
from acs_assistant.sim.expressions import ExpressionError, compile_expression
from acs_assistant.sim.formulas import read_formula
from acs_assistant.sim.spice import Line

_COMMANDS = frozenset(
    {
        "shell", "system", "source", "write", "wrdata", "wrs2p", "codemodel", "pre_osdi", "osdi",
        "hardcopy", "snload", "snsave", "quit", "exit", "exec", "popen", "aspice", "rspice", "jobs",
        "xgraph", "gnuplot", "inventory", "rawfile", "history", "alias", "iplot", "plot",
        "asciiplot", "wrnodev", "circbyline", "bg_run", "altermod",
    }
)  # fmt: skip
_SHORT_COMMANDS = frozenset({"cd", "load", "edit", "echo", "set", "setcs", "let", "use", "alter"})
_REFUSED_CARDS = frozenset(
    {
        ".control", ".endc", ".exec", ".osdi", ".pre_osdi", ".codemodel", ".hdl", ".verilog", ".va",
        ".load", ".probe", ".data",
    }
)  # fmt: skip
_ALLOWED_CARDS = frozenset(
    {
        ".op", ".ac", ".dc", ".tran", ".noise", ".tf", ".pz", ".meas", ".measure", ".param",
        ".parameter", ".csparam", ".subckt", ".ends", ".macro", ".eom", ".model", ".include",
        ".inc", ".lib", ".endl", ".end", ".temp", ".option", ".options", ".opt", ".global", ".ic",
        ".nodeset", ".save", ".print", ".plot", ".four", ".width", ".title", ".sens", ".disto",
        ".sp", ".func", ".if", ".elseif", ".else", ".endif",
    }
)  # fmt: skip
_FILE_WORD = re.compile(
    r"\b(file|filesource|d_source|d_state|d_process|d_cosim|input_file|state_file|process_file"
    r"|table2d|table3d)\b"
)
_HIDDEN = re.compile(r"^[ \t]*\*#|\A\s*\*ng_script", re.MULTILINE | re.IGNORECASE)
_MAX_TEXT = 4_000_000


def check_lines(lines: list[Line]) -> None:
    """Refuses commands, code models and anything that reads or writes files.

    Works on logical lines, so case and continuations hide nothing.

    Raises:
        UnsafeNetlistError: With the file, the line and the word.
    """
    for line in lines:
        words = line.text.split()
        first = words[0].lower()
        if first in _REFUSED_CARDS:
            raise _refusal(line, first, "Remove it: only analyses and .meas lines are run.")
        if first == ".let":
            read_formula(line)
        elif first.startswith(".") and first.partition("(")[0] not in _ALLOWED_CARDS:
            raise _refusal(line, first, "It is not a card that the simulator runs.")
        if first == "a" or (first[0] == "a" and not first.startswith(".")):
            raise _refusal(line, first, "Code models (A elements) can open files.")
        if first in _COMMANDS or (first in _SHORT_COMMANDS and len(words) < 4):
            raise _refusal(line, first, "Commands are not part of a netlist.")
        if first == ".model" and _FILE_WORD.search(line.text):
            raise _refusal(line, "file=", "Models that read files are not allowed.")
        if first.startswith(".opt") and _OPTIONS.search(line.text.lower()):
            raise _refusal(line, ".option", "This option can read or write files.")
        if first in _COMMAND_CARDS:
            text = _without_formula(line) if first.startswith(".meas") else line.text
            word = _REDIRECTION.search(_EVALUATED.sub("", text))
            if word:
                raise _refusal(line, word[0], "A command could write a file with it.")
        if "`" in line.text:
            raise _refusal(line, "`", "Back quotes run commands in a shell.")
        if first[0] in "vib" and _FILE_SOURCE.search(" ".join(words)):
            raise _refusal(line, "file", "Sources that read files are not allowed.")


_OPTIONS = re.compile(r"\b(opts|acct_file|rawfile|post|savecurrents_file|seed_file)\b")
_COMMAND_CARDS = frozenset(
    {".op", ".ac", ".dc", ".tran", ".noise", ".tf", ".pz", ".meas", ".measure"}
)
_EVALUATED = re.compile(r"\{[^{}]*\}|'[^']*'")  # what becomes a number before ngspice sees it
_FORMULA = re.compile(r"\bparam\s*=(.*)")
_REDIRECTION = re.compile(r"[<>|&$;!]")
_FILE_SOURCE = re.compile(r"\b(?:pwlfile|file) ?=|\bpwl ?\(? ?file\b")


def _without_formula(line: Line) -> str:
    """A ``.meas`` line without what follows ``param=``, if that is an expression."""
    formula = _FORMULA.search(line.text)
    if formula is None:
        return line.text
    try:
        compile_expression(formula[1].strip())
    except ExpressionError:
        return line.text.replace("'", " ")
    return line.text[: formula.start()]


def _refusal(line: Line, word: str, hint: str) -> UnsafeNetlistError:
    return UnsafeNetlistError(
        f"'{word}' is not allowed in a netlist.", hint=hint, file=line.file, line=line.number
    )


def check_text(text: str, file: str) -> None:
    """Refuses text that no reader should be given: too long, with null bytes, or with commands in
    comments (``*#``, ``*ng_script``), which plain ngspice runs.

    Raises:
        UnsafeNetlistError: With the file.
    """
    if len(text) > _MAX_TEXT:
        raise UnsafeNetlistError("the file is larger than 4 MB.", file=file)
    if "\0" in text:
        raise UnsafeNetlistError("the file holds null bytes.", file=file)
    hidden = _HIDDEN.search(text)
    if hidden:
        raise UnsafeNetlistError(
            f"'{hidden[0].strip()}' is not allowed in a netlist.",
            hint="ngspice runs what follows it as commands.",
            file=file,
            line=text.count("\n", 0, hidden.start()) + 1,
        )


def inside(folder: Path, name: str, line: Line) -> Path:
    """The file that an include names, if it lies in the circuit's own folder.

    Raises:
        UnsafeNetlistError: It leaves the folder, also through a symbolic link.
    """
    pure = PurePosixPath(name.replace("\\", "/"))
    path = (folder / pure).resolve()
    if pure.is_absolute() or not path.is_relative_to(folder.resolve()):
        raise UnsafeNetlistError(
            f"the path '{name}' leaves the circuit's folder.",
            hint="Copy the file into the folder and name it without a path.",
            file=line.file,
            line=line.number,
        )
    return path
