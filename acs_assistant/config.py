"""Settings: one typed, documented TOML file, ``settings.toml`` in ``paths.config_dir()``.

A missing file means the defaults. Unknown keys are refused with the nearest known one, so that a
misspelt setting is never silently ignored. Writing keeps the comments and is atomic.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from acs_assistant import paths
from acs_assistant.atomic import write_text
from acs_assistant.domain import SHOWN
from acs_assistant.errors import ConfigError, nearest


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Section):
    """The language model and how it is sampled."""

    name: str = Field(
        default="", description="Installed model, GGUF file or server URL; empty: built in."
    )
    temperature: float = Field(
        default=0.6,
        ge=0.0,
        le=2.0,
        description="Sampling temperature after the first, greedy proposal.",
    )
    top_p: float = Field(
        default=0.95, gt=0.0, le=1.0, description="Nucleus of the sampled distribution."
    )
    max_tokens: int = Field(
        default=1024, ge=32, description="Longest answer of the model in one turn."
    )
    resamples: int = Field(
        default=2, ge=0, le=10, description="Fresh draws when a proposal repeats an earlier one."
    )
    history: int = Field(
        default=SHOWN,
        ge=0,
        description="Turns that the model is shown, the best and the latest; 0: all.",
    )
    candidates: int = Field(
        default=8,
        ge=0,
        le=64,
        description="Draws among which a circuit's critic chooses; 0: no critic.",
    )
    threads: int = Field(default=0, ge=0, description="Threads of the model; 0: as many as cores.")


class SessionSettings(_Section):
    """What a new session starts with."""

    budget: int = Field(default=20, ge=1, description="Simulations that a new session may spend.")
    seed: int = Field(default=1, ge=0, description="Seed of a new session.")
    proposer: str = Field(
        default="model", description="Who proposes: model, or an optimizer's name."
    )
    stop_when_met: bool = Field(default=True, description="Stop as soon as every spec is met.")
    max_failures: int = Field(
        default=8,
        ge=1,
        description="Invalid proposals or failed simulations in a row that stop auto mode.",
    )


class SimulatorSettings(_Section):
    """ngspice workers."""

    workers: int = Field(default=0, ge=0, description="Worker processes; 0: as many as cores.")
    timeout: float = Field(
        default=30.0, gt=0.0, description="Seconds that one simulation may take."
    )


class InterfaceSettings(_Section):
    """The terminal interface."""

    theme: str = Field(default="", description="Name of a Textual theme; empty: the app's own.")
    fold_reasoning: bool = Field(
        default=True, description="Fold the reasoning once its turn is over."
    )
    approval_delay: float = Field(
        default=0.5,
        ge=0.0,
        le=5.0,
        description="Seconds in which a fresh proposal cannot be approved.",
    )
    images: Literal["auto", "never", "kitty", "iterm2", "sixel"] = Field(
        default="auto",
        description="Plots as pictures: auto asks the terminal; never; or one protocol, kitty, "
        "iterm2 or sixel, whatever it says. Never in a browser.",
    )
    auto_turns: int = Field(
        default=5, ge=1, description="Turns that auto mode runs when it is switched on."
    )


class Settings(_Section):
    """Everything that a person can set."""

    model: ModelSettings = Field(default_factory=ModelSettings)
    session: SessionSettings = Field(default_factory=SessionSettings)
    simulator: SimulatorSettings = Field(default_factory=SimulatorSettings)
    interface: InterfaceSettings = Field(default_factory=InterfaceSettings)
    keys: dict[str, str] = Field(
        default_factory=dict, description="Key bindings: the id of a key, and the key to use."
    )


def settings_file() -> Path:
    return paths.config_dir() / "settings.toml"


def load_settings(path: Path | None = None) -> Settings:
    """Reads the settings; the defaults when there is no file.

    Raises:
        ConfigError: Not TOML, an unknown key, or a value of the wrong kind; names file and line.
    """
    import tomllib

    path = path or settings_file()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", file=path) from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise ConfigError(
            f"not TOML: {error}.", file=path, line=int(found[1]) if found else None
        ) from error
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise _explain(error, path, text) from error


def save_settings(settings: Settings, path: Path | None = None) -> None:
    """Writes atomically; comments and order of an existing file stay as they are.

    Raises:
        StorageError, InputError: The file cannot be written.
    """
    import tomlkit

    path = path or settings_file()
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        document = tomlkit.parse(_documented_defaults())
    for section, values in settings.model_dump().items():
        table = document.setdefault(section, tomlkit.table())
        for key, value in values.items():
            if key not in table or table[key] != value:
                table[key] = value
    write_text(path, tomlkit.dumps(document))


def _documented_defaults() -> str:
    lines: list[str] = []
    for name, field in Settings.model_fields.items():
        section = getattr(Settings(), name)
        if not isinstance(section, _Section):
            lines += [f"# {field.description}", f"[{name}]"]
            continue
        lines += [f"# {(type(section).__doc__ or '').strip()}", f"[{name}]"]
        for key, field in type(section).model_fields.items():
            value = getattr(section, key)
            written = str(value).lower() if isinstance(value, bool) else value
            written = f'"{value}"' if isinstance(value, str) else written
            lines += [f"# {field.description}", f"{key} = {written}"]
        lines.append("")
    return "\n".join(lines)


def _explain(error: ValidationError, path: Path, text: str) -> ConfigError:
    """The first fault in words, with the line that it stands on."""
    fault = error.errors()[0]
    place = [str(part) for part in fault["loc"]]
    line = _line_of(place, text)
    if fault["type"] == "extra_forbidden":
        kind: Literal["section", "key"] = "section" if len(place) == 1 else "key"
        known: dict[str, Any] = dict(Settings.model_fields)
        if kind == "key":
            known = dict(type(getattr(Settings(), place[0])).model_fields)
        return ConfigError(
            f"unknown {kind} '{place[-1]}'.", hint=nearest(place[-1], known), file=path, line=line
        )
    return ConfigError(
        f"{'.'.join(place)}: {fault['msg']}.",
        hint=f"It reads {fault['input']!r}.",
        file=path,
        line=line,
    )


def _line_of(place: list[str], text: str) -> int | None:
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*([\w.-]+)\s*\]", line)
        if header:
            section = header[1]
            if place == [section]:
                return number
        key = re.match(r"\s*([\w-]+)\s*=", line)
        if key and [part for part in (section, key[1]) if part] == place[:2]:
            return number
    return None
