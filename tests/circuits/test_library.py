"""Circuit folders: what is found, what is refused, and what the refusal says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acs_assistant import library, paths
from acs_assistant.domain import Circuit
from acs_assistant.errors import CircuitError
from acs_assistant.library import find_circuit, list_circuits, load_circuit, write_reference
from acs_assistant.library.tables import Document

Edit = Callable[[str], str]


def replace(old: str, new: str, count: int = 1) -> Edit:
    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new, count)

    return edit


def change(path: Path, edit: Edit) -> None:
    path.write_text(edit(path.read_text()))


def line_of(path: Path, text: str) -> int:
    """The first line that contains ``text``, counted from 1."""
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def test_every_bundled_circuit_loads_and_is_listed() -> None:
    folders = {p.parent.name for p in paths.bundled_circuits().glob("*/circuit.toml")}
    assert {"ota_5t", "two_stage_miller"} <= folders
    listed = {summary.name: summary for summary in list_circuits()}
    for name in folders:
        circuit = load_circuit(name)
        assert circuit.name == name
        assert listed[name].parameters == len(circuit.parameters)
        assert 8 <= len(circuit.parameters) <= 16


@pytest.mark.parametrize("summary", list_circuits(), ids=lambda s: s.name)
def test_bundled_circuits_are_complete(summary: library.CircuitSummary) -> None:
    circuit = load_circuit(summary.path)
    assert circuit.reference and circuit.reference_metrics
    assert circuit.schematic and (circuit.path / "schematic.svg").is_file()
    assert (circuit.path / "README.md").is_file()
    assert set(circuit.reference_metrics) == {metric.name for metric in circuit.metrics}
    assert all(spec.range is not None for spec in circuit.specs)
    assert set(circuit.condition_ranges) == {"supply", "temperature", "load"}
    for parameter in circuit.parameters:
        assert parameter.role and parameter.devices
        for device in parameter.devices:
            pattern = rf"^X?{device}\b.*?(?=^[^+])"
            card = re.search(pattern, circuit.netlist, re.MULTILINE | re.DOTALL | re.IGNORECASE)
            assert card, f"{device} is not in the netlist"
            assert re.search(rf"\b{parameter.name}\b", card[0]), f"{parameter.name} in {device}"


def test_a_path_comes_before_a_name(folder: Path) -> None:
    assert find_circuit(folder) == folder.resolve()
    assert find_circuit(folder / "circuit.toml") == folder.resolve()
    assert find_circuit("ota_5t") == paths.bundled_circuits() / "ota_5t"


def test_the_users_circuits_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = folder.parent / "mine"
    own.mkdir()
    target = folder.rename(own / "my_ota")
    for file in target.iterdir():
        if file.suffix in (".toml", ".spice"):
            change(file, lambda text: re.sub(r"\bota_5t\b", "my_ota", text))
    monkeypatch.setattr(paths, "user_circuits", lambda: own)
    assert load_circuit("my_ota").title == "Five-transistor OTA"
    assert "my_ota" in {summary.name for summary in list_circuits()}


def test_unknown_circuit_names_the_nearest() -> None:
    with pytest.raises(CircuitError, match="no circuit 'two_stage_miler'") as caught:
        load_circuit("two_stage_miler")
    assert caught.value.hint == "Did you mean 'two_stage_miller'?"


def test_a_folder_without_circuit_toml_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(CircuitError, match=r"has no circuit\.toml"):
        load_circuit(tmp_path)
    with pytest.raises(CircuitError, match="is not a folder"):
        load_circuit(tmp_path / "nowhere")


BROKEN: list[tuple[str, Edit, str, str, str]] = [
    (
        "unknown key",
        replace("[circuit]", '[circuit]\nnmae = "x"'),
        "unknown key 'nmae'",
        "nmae",
        "name",
    ),
    (
        "unknown table",
        replace("[objective]", "[objektive]"),
        "unknown key 'objektive'",
        "[objektive]",
        "objective",
    ),
    (
        "unknown key in an array",
        replace('grid = "10n"', 'gird = "10n"', 1),
        "unknown key 'gird'",
        "gird",
        "grid",
    ),
    (
        "bad relation",
        replace('relation = "<="', 'relation = "=<"', 1),
        "relation = '=<'",
        '"=<"',
        "<=",
    ),
    ("bad unit", replace('unit = "A"', 'unit = "mA"'), "unit = 'mA'", '"mA"', "A"),
    (
        "bad quantity",
        replace('max = "100u"', 'max = "100 x2"', 1),
        "'100 x2' is not a number",
        "100 x2",
        "",
    ),
    (
        "min above max",
        replace('min = "1u"', 'min = "1m"', 1),
        "w_in: min must be less than max",
        '"1m"',
        "",
    ),
    (
        "off the grid",
        replace('min = "150n"', 'min = "153n"', 1),
        "l_in: min = 153n is not on the grid",
        "153n",
        "",
    ),
    (
        "zero on a log scale",
        replace('min = "500n"', "min = 0"),
        "needs min above 0",
        "min = 0",
        "linear",
    ),
    (
        "no such testbench",
        replace('testbench = "tran"', 'testbench = "trna"'),
        r"tb_trna\.spice",
        '"trna"',
        "tran",
    ),
    (
        "spec of no metric",
        replace('metric = "gbw"', 'metric = "gwb"'),
        "spec on 'gwb'",
        '"gwb"',
        "gbw",
    ),
    (
        "objective of no metric",
        replace('[objective]\nmetric = "power"', '[objective]\nmetric = "pover"'),
        "objective on 'pover'",
        '"pover"',
        "power",
    ),
    (
        "parameter twice",
        replace('name = "l_in"', 'name = "w_in"'),
        "parameter 'w_in' is there twice",
        "",
        "",
    ),
    (
        "range backwards",
        replace("range = [32, 46]", "range = [46, 32]"),
        "range is written",
        "[46, 32]",
        "",
    ),
    (
        "condition out of its range",
        replace("supply = 1.8", "supply = 3.3"),
        "outside its own range",
        "ranges =",
        "",
    ),
    ("not TOML", replace("[circuit]", "[circuit"), "Expected", "[circuit", ""),
    (
        "equality without tolerance",
        replace('relation = ">="', 'relation = "=="', 1),
        "needs a tolerance",
        '"=="',
        "tolerance",
    ),
    ("a name with a space", replace('name = "w_in"', 'name = "w in"'), "name:", '"w in"', ""),
]


@pytest.mark.parametrize(
    ("edit", "message", "at", "hint"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN]
)
def test_a_broken_circuit_file_names_line_and_mend(
    folder: Path, edit: Edit, message: str, at: str, hint: str
) -> None:
    path = folder / "circuit.toml"
    change(path, edit)
    with pytest.raises(CircuitError, match=message) as caught:
        load_circuit(folder)
    error = caught.value
    assert Path(str(error.file)).name == "circuit.toml"
    assert error.line is not None
    if at:
        assert error.line == line_of(path, at)
    assert hint in error.hint


def test_the_load_has_a_unit(folder: Path) -> None:
    assert load_circuit(folder).load_unit == "F"
    assert load_circuit("ldo").load_unit == "A"
    change(folder / "circuit.toml", replace('load = "2p"', 'load = "2p"\nload_unit = "W"'))
    with pytest.raises(CircuitError, match="load_unit = 'W' is not known"):
        load_circuit(folder)


def test_a_missing_key_names_its_table(folder: Path) -> None:
    path = folder / "circuit.toml"
    line = line_of(path, 'name = "w_load"')
    change(path, lambda t: re.sub(r'(name = "w_load"\nunit = "m"\n)min = "1u"\n', r"\1", t))
    with pytest.raises(CircuitError, match=r"the key 'min' is missing in \[parameter\]") as caught:
        load_circuit(folder)
    assert caught.value.line == line - 1


def test_the_netlist_must_declare_every_parameter(folder: Path) -> None:
    change(folder / "netlist.spice", replace("l_bias=1u ", "", 1))
    with pytest.raises(CircuitError, match="does not declare the parameter 'l_bias'") as caught:
        load_circuit(folder)
    assert caught.value.line == line_of(folder / "netlist.spice", ".subckt")


def test_the_netlist_may_declare_nothing_else(folder: Path) -> None:
    change(folder / "netlist.spice", replace("l_bias=1u", "l_bias=1u w_extra=1u"))
    with pytest.raises(CircuitError, match="declares 'w_extra', which is not a parameter"):
        load_circuit(folder)


def test_the_netlist_must_hold_the_circuit(folder: Path) -> None:
    change(folder / "netlist.spice", lambda text: text.replace(".subckt ota_5t", ".subckt ota_t5"))
    with pytest.raises(CircuitError, match=r"no \.subckt ota_5t") as caught:
        load_circuit(folder)
    assert caught.value.hint == "Did you mean 'ota_t5'?"


@pytest.mark.parametrize("name", ["circuit.toml", "netlist.spice"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CircuitError, match=name):
        load_circuit(folder)


def test_no_testbench(folder: Path) -> None:
    for path in folder.glob("tb_*.spice"):
        path.unlink()
    with pytest.raises(CircuitError, match="no testbench"):
        load_circuit(folder)


def test_a_binary_netlist_is_refused(folder: Path) -> None:
    (folder / "netlist.spice").write_bytes(b"\xff\xfe\x00subckt")
    with pytest.raises(CircuitError, match="not UTF-8"):
        load_circuit(folder)


REFERENCES: list[tuple[str, str, str, str]] = [
    ("out of bounds", 'w_in = "900u"', "out of bounds", "from 1u to 100u"),
    ("off the grid", 'w_in = "20.003u"', "not on its grid", "20u"),
    ("misspelt", 'w_inn = "20u"', "no parameter 'w_inn'", "w_in"),
    ("left out", "", "parameter 'w_in' has no value", ""),
]


@pytest.mark.parametrize(
    ("entry", "message", "hint"), [r[1:] for r in REFERENCES], ids=[r[0] for r in REFERENCES]
)
def test_a_reference_that_does_not_fit(folder: Path, entry: str, message: str, hint: str) -> None:
    path = folder / "reference.toml"
    change(path, lambda text: re.sub(r"^w_in = .*$", entry, text, flags=re.MULTILINE))
    with pytest.raises(CircuitError, match=message) as caught:
        load_circuit(folder)
    assert "reference.toml" in caught.value.message
    assert hint in caught.value.hint
    if entry:
        assert caught.value.line == line_of(path, entry.split(" =")[0])


def test_a_folder_without_reference_is_fine(folder: Path) -> None:
    (folder / "reference.toml").unlink()
    assert load_circuit(folder).reference == {}


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_written_reference_reads_back_to_the_grid(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    source = load_circuit("two_stage_miller")
    folder = tmp_path_factory.mktemp("circuit")
    for file in source.path.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    positions = st.floats(0, 1, allow_nan=False)
    sizing = {p.name: p.from_unit(data.draw(positions)) for p in source.parameters}
    metrics = {m.name: data.draw(st.floats(1e-12, 1e9)) for m in source.metrics}
    write_reference(folder, sizing, metrics, {"ss": metrics})
    again = load_circuit(folder)
    assert again.reference == sizing
    assert again.reference_metrics == pytest.approx(metrics, rel=1e-5)
    assert not list(folder.glob(".reference-*"))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_stray_key_is_found_on_its_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Wherever an unknown key is put in circuit.toml, the error names that line."""
    text = (load_circuit("ota_5t").path / "circuit.toml").read_text()
    lines = text.splitlines()
    places = [i for i, line in enumerate(lines) if re.match(r"\[|\w+ =", line)]
    at = data.draw(st.sampled_from(places))
    lines.insert(at + 1, "zz_stray = 1")
    path = tmp_path_factory.mktemp("stray") / "circuit.toml"
    path.write_text("\n".join(lines))
    tomllib.loads(path.read_text())
    with pytest.raises(CircuitError, match="zz_stray") as caught:
        Document.read(path).validate(library.CircuitFile)
    assert caught.value.line == at + 2


def test_quantities_may_be_numbers(folder: Path) -> None:
    def plain(text: str) -> str:
        return text.replace('min = "1u"', "min = 1e-6").replace('load = "2p"', "load = 2e-12")

    before = load_circuit(folder)
    change(folder / "circuit.toml", plain)
    after: Circuit = load_circuit(folder)
    assert after.parameters == before.parameters
    assert after.conditions == before.conditions
