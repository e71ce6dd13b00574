"""Bad input: one clear message on stderr, exit status 2, nothing on stdout, nothing lost."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from acs_assistant import cli, paths
from tests.cli.conftest import Command

MILLER = "two_stage_miller"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["solv"], ["no command 'solv'", "Did you mean 'solve'"]),
        (["circuits", "lst"], ["Did you mean 'list'"]),
        (["solve"], ["needs either a circuit or --resume ID"]),
        (["solve", "--resume", "7"], ["no session 7"]),
        (["solve", MILLER, "--resume", "7"], ["either"]),
        (["solve", "--resume", "7", "--spec", "gbw>=1"], ["the session's own specs"]),
        (["circuits", "show"], ["Missing argument 'NAME'", "acs-assistant circuits show --help"]),
        (["solve", MILLER, "--budgt", "3"], ["--budget"]),
        (["solve", MILLER, "--budget", "0"], ["--budget"]),
        (["solve", "two_stage_miler"], ["two_stage_miler", "Did you mean 'two_stage_miller'"]),
        (["solve", MILLER, "--spec", "gbv>=20meg"], ["'gbv'", "Did you mean 'gbw'"]),
        (["solve", MILLER, "--spec", "gbw>20meg"], ["'>' is not a relation", "gbw>=20meg"]),
        (["solve", MILLER, "--spec", "gbw"], ["'gbw' is not a spec", "gbw>=20meg"]),
        (["solve", MILLER, "--spec", "gbw>=fast"], ["'fast' is not a number", "2.5meg"]),
        (["solve", MILLER, "--spec", "gbw>=20megV"], ["'V' is not the unit", "Hz"]),
        (["solve", MILLER, "--spec", "gbw>=20MHz"], ["20 milliHz", "20megHz"]),
        (["solve", MILLER, "--spec", "offset==0"], ["no tolerance", "+-5m"]),
        (["solve", MILLER, "--spec", "gbw>=1", "--spec", "gbw>=2"], ["given twice"]),
        (["solve", MILLER, "--proposer", "tpee"], ["'tpee'", "Did you mean 'tpe'"]),
        (["solve", MILLER, "--proposer", "tpe", "--corner", "sss"], ["'sss'", "ss"]),
        (["solve", MILLER, "--supply", "-1"], ["supply"]),
        (["solve", MILLER, "--supply", "1.8W"], ["'W' is not the unit", "in V"]),
        (["solve", MILLER, "--model", "no.gguf"], ["no.gguf"]),
        (["simulate", MILLER, "--set", "w_inn=20u"], ["'w_inn'", "Did you mean 'w_in'"]),
        (["simulate", MILLER, "--set", "w_in=2"], ["w_in = 2 is out of bounds", "from"]),
        (["simulate", MILLER, "--set", "w_in=20x"], ["'x' is not the unit"]),
        (["simulate", MILLER, "--set", "w_in"], ["sets nothing", "w_in=20u"]),
        (["simulate", MILLER, "--set", "w_in=2u", "--set", "w_in=3u"], ["set twice"]),
        (["sessions", "show", "7"], ["no session 7", "sessions list"]),
        (["sessions", "export", "7", "--format", "pdf"], ["'pdf'", "'spice'"]),
        (["sessions", "show", "x"], ["'x'"]),
        (["models", "show", "nothing"], ["nothing"]),
        (["pdk", "install", "sky131"], ["Did you mean 'sky130'"]),
        (["circuits", "check", "nowhere"], ["nowhere"]),
        (["bench"], ["needs tasks", "--tasks FILE.json"]),
        (
            ["bench", "--tasks", "no.json", "--proposers", "tpe", "--out", "out"],
            ["no.json"],
        ),
        (["train", "sft", "--config", "no.toml"], ["no.toml"]),
        (["train", "export", "nowhere", "--out", "x.gguf"], ["nowhere", "config.json"]),
        ([], ["needs a terminal", "--help"]),
    ],
)
def test_each_is_refused_with_the_mend(
    command: Command, arguments: list[str], words: list[str]
) -> None:
    done = command(*arguments)
    assert done.status == 2, done.err
    assert done.out == ""
    for word in words:
        assert word in done.err
    assert "Traceback" not in done.err


def test_a_broken_circuit_names_file_and_line(command: Command, home: Path) -> None:
    import shutil

    shutil.copytree(paths.bundled_circuits() / "ota_5t", home / "mine")
    file = home / "mine" / "circuit.toml"
    lines = file.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if line.startswith("grid"))
    lines[number] = lines[number].replace("grid", "gird")
    file.write_text("\n".join(lines))
    done = command("circuits", "check", str(home / "mine"))
    assert done.status == 2
    assert f"{file}:" in done.err and "'gird'" in done.err and "grid" in done.err


def test_a_file_that_is_not_a_model_is_named(command: Command, home: Path) -> None:
    (home / "text.gguf").write_text("hello")
    done = command("solve", "ota_5t", "--model", str(home / "text.gguf"), "--budget", "1")
    assert done.status == 2 and "text.gguf" in done.err
    assert done.out == ""
    assert command("sessions", "list", "--json").document == [], "no empty session is left"


def test_a_wrong_setting_names_file_and_line(command: Command, home: Path) -> None:
    file = home / "config" / "acs-assistant" / "settings.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[session]\nbugdet = 3\n")
    done = command("solve", "ota_5t", "--proposer", "random")
    assert done.status == 2
    assert f"{file}:2: unknown key 'bugdet'" in done.err and "Did you mean 'budget'" in done.err


def test_a_newer_database_is_refused(command: Command, home: Path) -> None:
    assert command("sessions", "list").status == 0
    with sqlite3.connect(paths.database()) as db:
        db.execute("pragma user_version = 99")
    done = command("sessions", "list", "--json")
    assert done.status == 2 and done.out == ""
    assert str(paths.database()) in done.err and "version 99" in done.err


def test_missing_device_models_name_the_command(
    command: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.pdk_dir().unlink()
    monkeypatch.delenv("PDK_ROOT", raising=False)
    done = command("simulate", "ota_5t")
    assert done.status == 2
    assert "acs-assistant pdk install sky130" in done.err


def test_terminal_escapes_in_what_is_echoed_are_stripped(command: Command) -> None:
    done = command("solve", "\x1b[31mred\x1b]0;title\x07\u202e")
    assert done.status == 2
    assert "\x1b" not in done.err and "title" not in done.err and "\u202e" not in done.err
    assert "red" in done.err


def test_a_fault_of_ours_has_status_1_and_keeps_its_traceback(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("bug \x1b[2J")

    monkeypatch.setattr("acs_assistant.library.list_circuits", broken)
    done = command("circuits", "list", "--json")
    assert (done.status, done.out) == (1, "")
    assert "RuntimeError: bug" in done.err and "\x1b" not in done.err
    assert "Traceback" not in done.err
    assert "broken" in (paths.cache_dir() / "crash.log").read_text()


def test_the_exit_status_reaches_the_system(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["nonsense"])
    assert left.value.code == 2
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0
