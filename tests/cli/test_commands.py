"""The commands with their real parts: ngspice on SKY130, Optuna, the database."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acs_assistant import paths
from acs_assistant.cli.output import draw_bar
from acs_assistant.llm.port import LanguageModel
from acs_assistant.sim.pool import Pool
from acs_assistant.sim.store import SimulationStore
from acs_assistant.storage.store import Store
from tests.cli.conftest import Command
from tests.engine.parts import ScriptedModel, call

TURN = {"turn", "sizing", "metrics", "score", "met", "status"}
SOLVE = {
    "session", "circuit", "proposer", "model", "seed", "budget", "simulations", "met",
    "first_met_at", "best", "turns", "seconds",
}  # fmt: skip
SIMULATE = {
    "circuit", "corner", "temperature", "status", "error", "sizing", "metrics", "score", "met",
    "specs", "devices", "seconds",
}  # fmt: skip


def test_circuits_list_and_show(command: Command) -> None:
    found = {entry["name"]: entry for entry in command("circuits", "list", "--json").document}
    assert {"ota_5t", "two_stage_miller"} <= set(found)
    assert set(found["ota_5t"]) == {"name", "title", "category", "pdk", "parameters", "path"}
    shown = command("circuits", "show", "ota_5t", "--json").document
    assert set(found["ota_5t"]) <= set(shown)
    assert len(shown["parameters"]) == found["ota_5t"]["parameters"]
    assert {"w_in", "i_bias"} <= {p["name"] for p in shown["parameters"]}
    assert "ota_5t" in command("circuits", "list").out
    assert "w_in" in command("circuits", "show", "ota_5t").out


def test_circuits_check_simulates_the_reference(command: Command) -> None:
    checked = command("circuits", "check", str(paths.bundled_circuits() / "ota_5t"), "--json")
    assert checked.document["ok"] is True
    assert checked.document["reference"]["met"] is True


def test_simulate_document(command: Command) -> None:
    done = command("simulate", "two_stage_miller", "--json").document
    assert set(done) >= SIMULATE
    assert (done["circuit"], done["corner"], done["temperature"]) == ("two_stage_miller", "tt", 27)
    assert done["status"] == "ok" and done["met"] is True and done["score"] == 1.0
    assert set(done["specs"][0]) >= {"metric", "relation", "target", "value", "margin", "met"}
    device = next(d for d in done["devices"] if d["name"].upper() == "M6")
    assert set(device) == {"name", "region", "id", "gm", "gds", "vds", "vdsat", "gm_over_id"}
    assert device["gm_over_id"] == pytest.approx(device["gm"] / device["id"])
    hot = command(
        "simulate", "two_stage_miller", "--json", "--corner", "SS", "--temp", "125",
        "--set", "c_c=3p", "--spec", "gbw>=1g",
    ).document  # fmt: skip
    assert (hot["corner"], hot["temperature"], hot["sizing"]["c_c"]) == ("ss", 125, 3e-12)
    assert hot["met"] is False and len(hot["specs"]) == 1
    assert hot["metrics"]["gbw"] < done["metrics"]["gbw"]


def test_simulate_for_people(command: Command) -> None:
    out = command("simulate", "ota_5t").out
    assert "phase_margin" in out and "saturation" in out and "met at tt" in out
    assert "margin  gm/Id" in out and "Out of saturation: none." in out
    starved = command("simulate", "ota_5t", "--supply", "0.9").out
    assert re.search(r"Out of saturation: M\d \((linear|off)\)", starved)


def test_a_repeated_simulation_says_that_it_was_not_made_again(
    command: Command, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_store", SimulationStore(tmp_path / "simulations.db"))
    sized = ("simulate", "ota_5t", "--set", "i_bias=23u")
    assert command(*sized, "--json").document["cached"] is False
    assert command(*sized, "--json").document["cached"] is True
    assert "simulated before (cached)" in command(*sized).out


def test_the_table_of_sensitivities_is_a_heat_map(command: Command) -> None:
    out = command("simulate", "ota_5t", "--sensitivities").out
    rows = {line.split()[0]: line for line in out.splitlines() if line.split()}
    assert "█" in rows["i_bias"]
    assert re.search(r"█ [+-]", rows["i_bias"])


def test_monte_carlo_repeats_from_its_seed(command: Command) -> None:
    draw = ("simulate", "ota_5t", "--monte-carlo", "6", "--json", "--seed")
    first, again, other = (command(*draw, seed).document for seed in ("3", "3", "4"))
    assert first["monte_carlo"] == again["monte_carlo"]
    assert first["monte_carlo"]["metrics"] != other["monte_carlo"]["metrics"]
    spread = first["monte_carlo"]
    assert spread["samples"] == 6 and spread["failed"] == 0
    low, high = spread["yield_interval"]
    assert 0 <= low <= spread["yield"] <= high <= 1
    assert spread["metrics"]["offset"]["std"] > 0


def test_pvt_and_sensitivities(command: Command) -> None:
    done = command("simulate", "ota_5t", "--pvt", "--sensitivities", "--json").document
    points, worst = done["pvt"]["points"], {w["metric"]: w for w in done["pvt"]["worst"]}
    assert len(points) == 45 and {p["corner"] for p in points} == {"tt", "ff", "ss", "fs", "sf"}
    lowest = min(p["metrics"]["gbw"] for p in points if "gbw" in p["metrics"])
    assert worst["gbw"]["value"] is None or worst["gbw"]["value"] == lowest
    relative = done["sensitivities"]["relative"]
    assert relative["power"]["i_bias"] == pytest.approx(1.0, abs=0.2)
    assert relative["gbw"]["i_bias"] > 0


def test_gmid_charts(command: Command) -> None:
    assert "sky130_fd_pr__nfet_01v8" in command("gmid", "--json").document
    done = command("gmid", "nfet_01v8", "--length", "500n", "--gm-id", "10", "--gm-id", "18",
                   "--json").document  # fmt: skip
    strong, weak = done["points"]
    assert strong["current_density"] > 3 * weak["current_density"]
    assert strong["transit_frequency"] > weak["transit_frequency"]
    assert "gm/gds" in command("gmid", "nfet_01v8", "--length", "1u").out
    elsewhere = command("gmid", "nfet", "--length", "500n", "--gm-id", "15", "--json").document
    assert (elsewhere["pdk"], elsewhere["vds"]) == ("generic", 0.9)
    refused = command("gmid", "nfet_01v9")
    assert refused.status == 2 and "Did you mean" in refused.err


def test_solve_document_and_the_session_it_leaves(command: Command) -> None:
    done = command(
        "solve", "ota_5t", "--proposer", "tpe", "--budget", "4", "--seed", "5", "--json",
        "--spec", "dc_gain>=90", "--spec", "power<=1m",
    ).document  # fmt: skip
    assert set(done) == SOLVE
    assert (done["proposer"], done["model"], done["seed"]) == ("tpe", None, 5)
    assert done["met"] is False and done["first_met_at"] is None
    assert done["simulations"] == done["budget"] == len(done["turns"]) == 4
    assert [turn["turn"] for turn in done["turns"]] == [1, 2, 3, 4]
    assert all(set(turn) == TURN for turn in done["turns"])
    assert set(done["best"]) == {"turn", "score", "sizing", "metrics"}
    assert done["best"]["score"] == max(turn["score"] for turn in done["turns"])
    assert set(done["seconds"]) == {"model", "simulate", "total"}
    assert done["seconds"]["total"] >= done["seconds"]["simulate"] > 0

    listed = command("sessions", "list", "--json").document
    assert [s["id"] for s in listed] == [done["session"]]
    shown = command("sessions", "show", str(done["session"]), "--json").document
    assert shown["best"] == done["best"]
    assert [s["metric"] for s in shown["specs"]] == ["dc_gain", "power"]
    assert "tpe" in command("sessions", "show", str(done["session"])).out


def test_solve_repeats_from_its_seed(command: Command) -> None:
    run = ("solve", "ota_5t", "--proposer", "random", "--budget", "3", "--json", "--seed")
    first, again, other = (command(*run, seed).document for seed in ("1", "1", "2"))
    assert first["turns"] == again["turns"]
    assert first["turns"] != other["turns"]


def test_solve_with_a_model_stops_when_met(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = command("circuits", "show", "ota_5t", "--json").document["reference"]["sizing"]
    sizes = {name: repr(value) for name, value in reference.items()}
    short = {**sizes, "i_bias": "1u"}
    model = ScriptedModel(["nonsense", call(short), call(sizes)])

    def open_model(name: str, threads: int) -> LanguageModel:
        return model

    monkeypatch.setattr("acs_assistant.cli.compose._open_model", open_model)
    run = ("solve", "ota_5t", "--proposer", "model-alone", "--budget", "9", "--json")
    done = command(*run).document
    assert (done["proposer"], done["model"], done["met"]) == ("model-alone", "scripted", True)
    assert done["first_met_at"] == done["simulations"] == 2
    assert done["best"]["turn"] == 2 and done["turns"][1]["met"]
    assert model.closed

    text = command("sessions", "export", str(done["session"]), "--format", "jsonl").out
    chat = json.loads(text)["messages"]
    assert [m["role"] for m in chat] == ["system", "user", "assistant", "tool", "assistant", "tool"]


def test_optimize_goes_on_after_the_specs_are_met(command: Command) -> None:
    done = command(
        "solve", "ota_5t", "--proposer", "random", "--budget", "3", "--json", "--optimize",
        "--spec", "power<=1",
    ).document  # fmt: skip
    assert done["met"] and done["first_met_at"] == 1 and done["simulations"] == 3
    assert done["best"]["metrics"]["power"] == min(t["metrics"]["power"] for t in done["turns"])


def test_worst_corner_decides(command: Command) -> None:
    done = command(
        "solve", "ota_5t", "--proposer", "random", "--budget", "1", "--json",
        "--corner", "tt", "--corner", "ss",
    ).document  # fmt: skip
    assert done["simulations"] == 1


def test_export_to_a_file_and_to_stdout_agree(command: Command, home: Path) -> None:
    command("solve", "ota_5t", "--proposer", "random", "--budget", "2", "--spec", "power<=1n")
    for format_ in ("csv", "jsonl", "report"):
        out = home / f"out.{format_}"
        written = command("sessions", "export", "1", "--format", format_, "--out", str(out))
        assert written.status == 0, written.err
        printed = command("sessions", "export", "1", "--format", format_).out
        assert out.read_bytes().decode() == printed
        refused = command("sessions", "export", "1", "--format", format_, "--out", str(home))
        assert refused.status == 2 and str(home) in refused.err


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="the ngspice program is not installed")
def test_the_exported_netlist_measures_the_same_in_plain_ngspice(
    command: Command, home: Path
) -> None:
    solved = command("solve", "two_stage_miller", "--proposer", "tpe", "--budget", "2", "--json",
                     "--spec", "power<=1n").document  # fmt: skip
    assert command("sessions", "export", "1", "--format", "spice", "--out", "x.spice").status == 0
    done = subprocess.run(
        ["ngspice", "-b", "x.spice"], capture_output=True, text=True, timeout=120, check=False
    )
    printed = dict(re.findall(r"^(\w+) = (\S+)$", done.stdout, re.MULTILINE))
    metrics = solved["best"]["metrics"]
    assert len(metrics) >= 8
    for name, value in metrics.items():
        assert float(printed[name]) == pytest.approx(value, rel=1e-3), name


def test_sessions_are_renamed_archived_and_copied(command: Command) -> None:
    command("solve", "ota_5t", "--proposer", "random", "--budget", "1", "--title", "first")
    assert command("sessions", "duplicate", "1").out == "Session 2\n"
    command("sessions", "rename", "2", "second")
    command("sessions", "archive", "1")
    assert [s["title"] for s in command("sessions", "list", "--json").document] == ["second"]
    archived = command("sessions", "list", "--archived", "--json").document
    assert [s["title"] for s in archived] == ["first"]
    assert command("sessions", "list", "--search", "SEC", "--json").document
    assert command("sessions", "list", "--search", "zzz", "--json").document == []


def test_lists_of_models_device_models_and_findings(command: Command) -> None:
    assert isinstance(command("models", "list", "--json").document, list)
    assert {p["name"] for p in command("pdk", "list", "--json").document} >= {"sky130"}


def test_quick_commands_import_nothing_heavy(home: Path) -> None:
    code = (
        "import sys; from acs_assistant import cli; cli._run(sys.argv[1:]);"
        "print(sorted(set(sys.modules) & {'numpy', 'torch', 'textual', 'llama_cpp', 'optuna',"
        " 'PySpice', 'matplotlib', 'pydantic', 'sqlite_utils'}), file=sys.stderr)"
    )
    for arguments, allowed in ((["--help"], "[]"), (["circuits", "list"], "['pydantic']")):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
        )
        assert done.stderr.strip() == allowed
        assert done.stdout


@pytest.fixture
def endless(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in another process that has made two turns and would go on for ever."""
    arguments = ["solve", "ota_5t", "--proposer", "random", "--budget", "100000", "--json",
                 "--spec", "power<=1n"]  # fmt: skip
    run = subprocess.Popen(
        [sys.executable, "-m", "acs_assistant", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not (paths.database().exists() and _simulations() >= 2):
        assert time.monotonic() < end
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    yield run
    run.kill()
    run.communicate()


def _simulations() -> int:
    store = Store(paths.database())
    found = store.sessions()
    store.close()
    return found[0].simulations if found else 0


def test_ctrl_c_stops_a_run_and_keeps_its_session(endless: subprocess.Popen[str]) -> None:
    assert Store(paths.database()).summary(1).running
    endless.send_signal(signal.SIGINT)
    out, _ = endless.communicate(timeout=30)
    assert endless.returncode == 130
    document = json.loads(out)
    summary = Store(paths.database()).summary(document["session"])
    assert summary.simulations == document["simulations"] >= 2
    assert not summary.running


def test_a_killed_run_goes_on_where_it_was(
    endless: subprocess.Popen[str], command: Command
) -> None:
    refused = command("solve", "--resume", "1")
    assert refused.status == 2 and "session 1 is open in process" in refused.err
    endless.kill()
    endless.communicate()
    spent = _simulations()
    whole = command("sessions", "show", "1", "--json").document
    done = command("solve", "--resume", "1", "--budget", str(spent + 2), "--json").document
    assert done["simulations"] == spent + 2 and done["session"] == 1
    kept = [turn["sizing"] for turn in whole["turns"]]
    assert [turn["sizing"] for turn in done["turns"]][: len(kept)] == kept


def test_bench_writes_results_summary_and_figures(command: Command, home: Path) -> None:
    specs = [{"metric": "power", "relation": "<=", "target": 1e-9}]
    tasks = [{"id": "one", "circuit": "ota_5t", "specs": specs}]
    (home / "tasks.json").write_text(json.dumps(tasks))
    run = ("bench", "--tasks", "tasks.json", "--proposers", "random,sobol", "--budget", "2",
           "--out", "out", "--workers", "1")  # fmt: skip
    summary = command(*run, "--json").document
    assert summary["budget"] == 2
    lines = [json.loads(line) for line in (home / "out" / "results.jsonl").open()]
    assert [(line["task"], line["proposer"]) for line in lines] == [
        ("one", "random"),
        ("one", "sobol"),
    ]
    assert all(set(line) >= SOLVE for line in lines)
    assert json.loads((home / "out" / "summary.json").read_text()) == summary
    assert list((home / "out").glob("*.svg"))
    assert not paths.database().exists(), "a benchmark leaves the person's sessions alone"
    done = command(*run)
    assert done.status == 0 and "random" in done.out


def test_a_bar_tells_how_far_many_simulations_are(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, shown in ((Terminal(), "3 of 3 draws\n"), (io.StringIO(), "")):
        monkeypatch.setattr(sys, "stderr", stream)
        for done in (1, 2, 3):
            draw_bar(done, 3, "draws")
        assert stream.getvalue().endswith(shown)
        assert stream.getvalue().count("\r") == (3 if shown else 0)
        assert ("[##########--------------------] 1 of 3" in stream.getvalue()) == bool(shown)
