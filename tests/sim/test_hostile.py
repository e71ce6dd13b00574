"""Netlists and folders that attack the reader: nothing hangs, nothing outside is read."""

from __future__ import annotations

import _thread
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acs_assistant.errors import AcsError, CircuitError, SimulatorError, UnsafeNetlistError
from acs_assistant.library import find_circuit, load_circuit
from acs_assistant.library.checks import check_circuit
from acs_assistant.library.tables import Document
from acs_assistant.sim.deck import gather
from acs_assistant.sim.pool import Pool
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.textfile import read_text
from tests.sim.circuits import (
    MILLER_BENCH,
    MILLER_METRICS,
    MILLER_SIZING,
    circuit,
    metric,
    miller,
)
from tests.sim.mangling import mangle
from tests.sim.test_faults import ENDLESS, bench, run, works


@pytest.fixture(scope="module")
def one() -> Iterator[Pool]:
    with Pool(1, timeout=4.0, memory=300_000_000) as simulator:
        yield simulator


def nested(depth: int, opening: str, closing: str) -> str:
    return "\n".join([opening.format(n=n) for n in range(depth)] + [closing] * depth)


def doubling(times: int, bottom: str = "R1 a b 1\n") -> str:
    """Each subcircuit holds ten of the next one: ten to the power of ``times`` devices."""
    levels = [
        f".subckt s{i} a b\n" + "".join(f"x{j} a b s{i + 1}\n" for j in range(10)) + ".ends\n"
        for i in range(times)
    ]
    return "".join(levels) + f".subckt s{times} a b\n{bottom}.ends\nx1 in out s0"


GIANTS = {
    "a line of many continuations": "R1 in out 1k\n" + "+ 1\n" * 300_000,
    "blanks between a keyword and nothing": "V9 q 0 pwl" + " " * 3_000_000 + "x",
    "one name of three million letters": f"R1 in {'a' * 3_000_000} 1k",
    "a hundred thousand elements": "R1 1 2 3\n" * 100_000,
    "many headers": ".subckt a\n" * 100_000,
}


@pytest.mark.parametrize("giant", GIANTS)
def test_reading_takes_time_in_proportion_to_the_text(tmp_path: Path, giant: str) -> None:
    """The first reading is done in the app's own process, where nothing limits it."""
    made = bench(tmp_path, GIANTS[giant])
    text = f".subckt test\n.ends\n{GIANTS[giant]}"
    file = Document(tmp_path / "circuit.toml", "", {})
    begun = time.process_time()
    gather(made)
    check_circuit(circuit(tmp_path, {"main": ""}, netlist=text), file)
    assert time.process_time() - begun < 8


BOMBS = {
    "subcircuits of subcircuits": (doubling(25), "more than 20000"),
    "empty subcircuits of subcircuits": (doubling(25, ""), "more than 20000 subcircuits"),
    "subcircuits inside each other": (nested(40, ".subckt s{n} a b", ".ends"), "too deeply"),
    "conditions inside each other": (nested(40, ".if (1)", ".endif"), "too deeply"),
    "functions of functions": (
        ".func f0(x) {x+x}\n"
        + "".join(f".func f{i + 1}(x) {{f{i}(x)+f{i}(x)}}\n" for i in range(25))
        + "R1 in out {f25(1)}",
        "too long an expression",
    ),
    "a chain of parameters": (
        "".join(f".param p{i}={{p{i + 1}}}\n" for i in range(4000))
        + ".param p4000=1\nR1 in out {p0}",
        "nested too deeply",
    ),
    "brackets": (f"R1 in out {{{'(' * 150}1{')' * 150}}}", "nested too deeply"),
    "a sum without end": (f"R1 in out {{{'1+' * 3000}1}}", "too long"),
    "too many elements": ("".join(f"R{i} n{i} n{i + 1} 1\n" for i in range(20_500)), "20000"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_unfolds_without_end_is_a_failed_result(one: Pool, tmp_path: Path, bomb: str) -> None:
    body, words = BOMBS[bomb]
    result = run(one, bench(tmp_path, body))
    assert result.status == "failed"
    assert words in result.error
    works(one, tmp_path)


def test_a_long_sum_is_no_attack(one: Pool, tmp_path: Path) -> None:
    made = bench(tmp_path, f"R1 in out {{{'1+' * 999}1}}\nR2 out 0 1k")
    assert run(one, made).metrics["v"] == pytest.approx(0.5)


def test_a_script_under_the_title_is_refused(one: Pool, tmp_path: Path) -> None:
    """Plain ngspice runs such a file as commands, should somebody give it the testbench."""
    made = circuit(
        tmp_path,
        {"main": "*ng_script\nV1 out 0 1\necho 1 2 3 4 > /tmp/owned\n.op\n.end\n"},
        [metric("v", "op_voltage", node="out")],
    )
    with pytest.raises(UnsafeNetlistError, match=r"tb_main\.spice:1: '\*ng_script' is not allowed"):
        run(one, made)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def giant(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(50_000_000_000)


def a_folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


TRAPS: dict[Callable[[Path], None], str] = {
    pipe: "a pipe or a device",
    giant: "larger than 4 MB",
    a_folder: "Is a directory",
    device: "leaves the circuit's folder",
    link: "leaves the circuit's folder",
}


@pytest.mark.parametrize("trap", TRAPS)
def test_an_include_that_is_no_plain_file(
    one: Pool, tmp_path: Path, trap: Callable[[Path], None]
) -> None:
    trap(tmp_path / "part.inc")
    with pytest.raises(CircuitError, match=TRAPS[trap]) as caught:
        run(one, bench(tmp_path, ".include part.inc"))
    assert "tb_main.spice:4" in caught.value.message
    works(one, tmp_path)


@pytest.mark.parametrize("name", ["circuit.toml", "netlist.spice", "tb_ac.spice"])
@pytest.mark.parametrize("trap", [pipe, giant, link])
def test_a_part_of_a_folder_that_is_no_plain_file(
    tmp_path: Path, name: str, trap: Callable[[Path], None]
) -> None:
    folder = tmp_path / "ota_5t"
    shutil.copytree(find_circuit("ota_5t"), folder)
    load_circuit(folder)
    (folder / name).unlink()
    trap(folder / name)
    with pytest.raises(CircuitError) as caught:
        load_circuit(folder)
    assert name in caught.value.message
    assert "root:" not in caught.value.message


def test_text_files_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("µ\r\nb\rc".encode())
    assert read_text(tmp_path / "a") == "µ\nb\nc"
    (tmp_path / "b").write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "b")
    assert read_text(tmp_path / "b", errors="replace") == "\ufffd"


def test_a_library_of_another_name_is_not_taken_for_the_device_models(
    one: Pool, tmp_path: Path
) -> None:
    """Somebody's own models must not be replaced in silence."""
    body = '.lib "mine.lib" tt\nR1 in out 1k\nR2 out 0 1k'
    with pytest.raises(CircuitError, match=r"tb_main\.spice:4: cannot read 'mine\.lib'"):
        run(one, bench(tmp_path, body))


def test_an_interrupted_simulation_does_not_answer_the_next_one(one: Pool, tmp_path: Path) -> None:
    """Ctrl-C raises in the thread that waits; the worker's late reply must not be read."""
    made = circuit(tmp_path, {"main": ENDLESS}, [metric("f", "oscillation_frequency", node="out")])
    works(one, tmp_path)
    timer = threading.Timer(0.4, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        one.simulate(SimulationRequest(made, {}, made.conditions))
    timer.join()
    works(one, tmp_path)


def test_no_folder_to_run_in_is_an_error_with_a_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with Pool(1) as pool, pytest.raises(SimulatorError) as caught:
        works(pool, tmp_path)
    assert "no folder to run in" in caught.value.message
    assert "TMPDIR" in caught.value.hint


def test_ngspice_start_up_files_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench(tmp_path, "R1 in out 1k\nR2 out 0 1k")
    owned = tmp_path / "owned"
    (tmp_path / ".spiceinit").write_text(f"echo read > {owned}\nset ngbehavior=ltpsa\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SPICE_SCRIPTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with Pool(1) as pool:
        assert run(pool, made).status == "ok"
    assert not owned.exists()


def test_attacks_on_an_import_are_refused_too(tmp_path: Path) -> None:
    from acs_assistant.engine.importing import import_circuit

    pipe(tmp_path / "amp.spice")
    (tmp_path / "tb.spice").write_text("* t\n.include amp.spice\nx1 a amp\n.op\n.end\n")
    with pytest.raises(AcsError, match="a pipe or a device"):
        import_circuit(tmp_path / "amp.spice", [tmp_path / "tb.spice"], tmp_path / "out")


@pytest.mark.parametrize(
    "card",
    [
        ".meas op x param='1 > /tmp/owned'",
        ".meas op x param='1' > /tmp/owned",
        ".meas op x param=1;2 | sh",
        ".meas op x param='1 $home'",
    ],
)
def test_a_formula_is_an_expression(one: Pool, tmp_path: Path, card: str) -> None:
    """In an exported netlist it becomes a command."""
    with pytest.raises(UnsafeNetlistError, match="is not allowed"):
        run(one, bench(tmp_path, card.replace(";", "")))


@pytest.mark.parametrize(
    "text", ["out)\nshell touch /tmp/owned", "out) ; quit", "out > x", "`id`", "$home", "a\u2028b"]
)
def test_an_argument_of_a_measure_is_no_command(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "ota_5t"
    shutil.copytree(find_circuit("ota_5t"), folder)
    file = folder / "circuit.toml"
    escaped = text.replace("\n", "\\n")
    file.write_text(file.read_text().replace('node = "out"', f'node = "{escaped}"', 1))
    with pytest.raises(CircuitError, match="cannot stand in an argument") as caught:
        load_circuit(folder)
    assert "circuit.toml:" in caught.value.message


def test_the_name_of_a_testbench_is_no_command(tmp_path: Path) -> None:
    folder = tmp_path / "ota_5t"
    shutil.copytree(find_circuit("ota_5t"), folder)
    shutil.copy(folder / "tb_ac.spice", folder / "tb_x\nshell touch owned\n.spice")
    with pytest.raises(CircuitError, match="no name for a testbench"):
        load_circuit(folder)


@pytest.mark.usefixtures("sky130")
def test_a_mangled_netlist_is_simulated_fails_or_is_refused(one: Pool, tmp_path: Path) -> None:
    generator = random.Random(4)
    ends = set()
    for _ in range(60):
        parts = {"netlist": miller(), "bench": MILLER_BENCH}
        part = generator.choice(sorted(parts))
        parts[part] = mangle(parts[part], generator)
        made = circuit(tmp_path, {"main": parts["bench"]}, MILLER_METRICS, netlist=parts["netlist"])
        try:
            result = run(one, made, **MILLER_SIZING)
        except CircuitError:
            ends.add("refused")
            continue
        ends.add(result.status)
        assert "exit status" not in result.error, "the worker fell over"
    assert ends == {"ok", "failed", "refused"}
    works(one, tmp_path)
