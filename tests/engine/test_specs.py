from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acs_assistant.domain import Measurement, Spec
from acs_assistant.engine.check import check_circuit
from acs_assistant.engine.specs import parse_size, parse_spec, parse_specs, parse_value
from acs_assistant.errors import InputError
from acs_assistant.library import load_circuit
from acs_assistant.sim.port import SimulationRequest
from acs_assistant.units import format_quantity
from tests.engine.parts import CIRCUIT, ToySimulator


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("gbw>=20meg", Spec("gbw", ">=", 20e6)),
        (" gbw ≥ 20 megHz ", Spec("gbw", ">=", 20e6)),
        ("power<=300uW", Spec("power", "<=", 300e-6)),
        ("offset==0+-5m", Spec("offset", "==", 0.0, tolerance=5e-3)),
        ("offset == 1mV ± 0.5mV", Spec("offset", "==", 1e-3, tolerance=5e-4)),
        ("offset<=-2m", Spec("offset", "<=", -2e-3)),
    ],
)
def test_specs_as_people_type_them(text: str, spec: Spec) -> None:
    assert parse_spec(text, CIRCUIT) == spec


def test_a_typed_target_keeps_the_weight_of_the_circuits_own_spec() -> None:
    own = Spec("gbw", ">=", 1e7, weight=3.0, range=(1e6, 1e8))
    circuit = replace(CIRCUIT, specs=(own,))
    assert parse_spec("gbw>=20meg", circuit) == replace(own, target=20e6)
    assert parse_spec("gbw<=20meg", circuit) == Spec("gbw", "<=", 20e6)


def test_typed_specs_replace_the_circuits_own() -> None:
    assert parse_specs([], CIRCUIT) == CIRCUIT.specs
    assert parse_specs(["offset==0+-1m"], CIRCUIT) == (Spec("offset", "==", 0.0, tolerance=1e-3),)
    with pytest.raises(InputError, match="no specs of its own"):
        parse_specs([], replace(CIRCUIT, specs=()))


@given(st.floats(1e3, 1e12), st.sampled_from(["", "Hz", "hz"]))
def test_a_written_quantity_reads_back(value: float, unit: str) -> None:
    text = format_quantity(value, digits=6)
    assert parse_value(text + unit, "Hz") == pytest.approx(value, rel=1e-5)


@given(st.text(max_size=12))
def test_any_text_is_a_spec_or_bad_input(text: str) -> None:
    for read in (parse_spec, parse_size):
        try:
            read(text, CIRCUIT)
        except InputError as error:
            assert error.message


def test_sizes_are_held_to_their_bounds() -> None:
    assert parse_size("w_in = 20um", CIRCUIT) == ("w_in", 20e-6)
    with pytest.raises(InputError, match="out of bounds"):
        parse_size("w_in=1", CIRCUIT)


def measured(**metrics: float) -> ToySimulator:
    """A simulator that gives these figures."""

    class Fixed(ToySimulator):
        def simulate(self, request: SimulationRequest, cancel: object = None) -> Measurement:
            return Measurement("ok", metrics, conditions=request.conditions)

    return Fixed()


SOUND = replace(
    CIRCUIT,
    metrics=tuple(replace(metric, measure="area", arguments={}) for metric in CIRCUIT.metrics),
    reference_metrics={"gbw": 14e6},
)


def test_a_sound_circuit_passes() -> None:
    result = check_circuit(SOUND, measured(gbw=14e6, power=1e-6, offset=0.0))
    assert result.problems == () and result.evaluation is not None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"unity_gain_frequency"', '"unity_gain_freq"', "there is no built-in measure"),
        ('{ node = "out_d" }', '{ nodes = "out_d" }', "has no argument 'nodes'"),
    ],
)
def test_a_wrong_measure_is_found_on_its_line(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    source = load_circuit("ota_5t").path
    for file in source.iterdir():
        if file.suffix in (".toml", ".spice"):
            (tmp_path / file.name).write_text(file.read_text().replace(old, new, 1))
    lines = (tmp_path / "circuit.toml").read_text().splitlines()
    line = 1 + next(i for i, text in enumerate(lines) if new in text)
    result = check_circuit(load_circuit(tmp_path), measured())
    assert any(p.startswith(f"line {line}: ") and words in p for p in result.problems)


@pytest.mark.parametrize(
    ("circuit", "metrics", "problem"),
    [
        (SOUND, {"gbw": 1e6, "power": 1e-6, "offset": 0.0}, "misses its spec 'gbw >= 10meg'"),
        (SOUND, {"gbw": 15e6, "power": 1e-6, "offset": 0.0}, "reference.toml says 14meg"),
        (
            replace(SOUND, reference_metrics={"gbw": 14e6, "offset": 0.0}),
            {"gbw": 14e6, "power": 1e-6},
            "'offset' could not be measured",
        ),
        (replace(SOUND, reference={}), {}, "no reference sizing"),
        (replace(SOUND, specs=()), {}, "no [[spec]]"),
        (CIRCUIT, {}, "measure"),
    ],
)
def test_what_is_wrong_is_said(circuit: object, metrics: dict[str, float], problem: str) -> None:
    result = check_circuit(circuit, measured(**metrics))  # type: ignore[arg-type]
    assert any(problem in text for text in result.problems), result.problems
