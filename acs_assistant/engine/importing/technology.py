"""Which PDK a file or a device belongs to, and what its rules are."""

from __future__ import annotations

import re

from acs_assistant.sim.pdk import PACKAGES

_FILES = (
    (
        "sky130",
        re.compile(
            r"sky130\w*[/\\](libs\.|latest|combined|models?)|sky130(\.\w+)?\.lib|sky130_fd_pr[/\\]"
            r"|skywater|sky130_pdk",
            re.IGNORECASE,
        ),
    ),
    (
        "gf180mcu",
        re.compile(
            r"gf180mcu\w?[/\\]libs\.|180mcu_models|sm141064|(^|[/\\])design\.ngspice$"
            r"|gf180mcu\.lib",
            re.IGNORECASE,
        ),
    ),
    ("generic", re.compile(r"(^|[/\\])generic\.lib\.spice$", re.IGNORECASE)),
)
_ANY_PDK = re.compile(r"libs\.tech|libs\.ref|\$(::)?\{?pdk", re.IGNORECASE)
_DEVICES = (
    ("sky130", re.compile(r"sky130_fd_pr__\w+")),
    (
        "gf180mcu",
        re.compile(
            r"[np]fet_0[36]v[03](_nvt|_dss)?|cap_(mim|nmos|pmos)_\w+|(n|p)(plus|polyf)_\w+"
            r"|(npn|pnp)_\d\w+|nwell|[rt]m\d+k?"
        ),
    ),
    ("generic", re.compile(r"[np]fet|res_poly|cap_mim")),
)
_PASSIVE = re.compile(r"cap|res|poly|plus_|nwell|[rt]m\d")
_GF_MIM = re.compile(r"cap_mim_(1f0|1f5|2f0)(_m\d\w*)?")
_CORNER = re.compile(r"(?:^|[/\\_.])(tt|ff|ss|fs|sf|typical)(?=$|[/\\_.])", re.IGNORECASE)


def pdk_of_file(name: str) -> str | None:
    """The PDK whose library a file card names: "" for one that its path does not tell, None for a
    file that is no PDK's."""
    for pdk, pattern in _FILES:
        if pattern.search(name):
            return pdk
    return "" if _ANY_PDK.search(name) else None


def pdk_of_device(model: str) -> str:
    """The PDK that has a device of this name; "" for none."""
    return next((pdk for pdk, pattern in _DEVICES if pattern.fullmatch(model)), "")


def renamed(model: str) -> str:
    """What the installed library calls a device that newer releases have under another name."""
    match = _GF_MIM.fullmatch(model)
    return f"cap_mim_{match[1]}ff" if match else model


def corner_of(text: str) -> str:
    """Corner in a section's or a file's name; "" when it has none."""
    match = _CORNER.search(text)
    return "" if match is None else match[1].lower().replace("typical", "tt")


def is_passive(model: str) -> bool:
    """A resistor or a capacitor of a PDK, by its name."""
    kind = model.removeprefix("sky130_fd_pr__")
    return bool(pdk_of_device(model)) and bool(_PASSIVE.search(kind))


def in_micrometres(model: str) -> bool:
    """The device's subcircuit reads its sizes as bare micrometres."""
    return pdk_of_device(model) == "sky130"


def least_size(model: str, kind: str) -> float | None:
    """Least width or length of a transistor, metres; None when no rule is known."""
    pdk = pdk_of_device(model)
    rule = PACKAGES[pdk].rules.get(model) if pdk else None
    if rule is None or kind not in ("width", "length"):
        return None
    return rule[0 if kind == "width" else 1]


def library_card(pdk: str, corner: str) -> str:
    """The ``.lib`` line of a testbench; "" without a PDK."""
    return f'.lib "{PACKAGES[pdk].library}" {corner or "tt"}' if pdk in PACKAGES else ""
