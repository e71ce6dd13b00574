"""Which language models there are, what they are, and which one is used by default.

A model is bundled with the package, in the user's data folder, any GGUF file, or a server's URL.
Cards are read from the GGUF's header and from the ``<model>.md`` and ``<model>.json`` beside it;
the weights are not loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from acs_assistant import paths
from acs_assistant.atomic import write_text
from acs_assistant.errors import AcsError, ModelError, nearest
from acs_assistant.llm.gguf_file import WORDING_KEY, GgufHeader, read_header
from acs_assistant.llm.port import LanguageModel, ModelInfo

Origin = Literal["bundled", "user", "file"]

_STATE: Final = ".adopted.json"
_HASHES: Final = "model-hashes.json"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One GGUF, as a list of models shows it.

    Attributes:
        size: Bytes of the file.
        context: Tokens that the model was trained to read; 0 when the file does not say.
        card: Text of ``<model>.md`` beside the file; may be empty.
        facts: What ``<model>.json`` beside the file holds: scores, training data.
        metadata: The GGUF's ``general.*`` keys without that prefix.
        default: Whether it is used when no model is named.
        error: Why the file cannot be used; empty when it can.
    """

    name: str
    origin: Origin
    path: Path
    size: int = 0
    sha256: str = ""
    architecture: str = ""
    parameters: int = 0
    quantization: str = ""
    context: int = 0
    licence: str = ""
    description: str = ""
    card: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    default: bool = False
    error: str = ""

    @property
    def info(self) -> ModelInfo:
        """What is recorded with each turn."""
        return ModelInfo(
            name=self.name,
            path=self.path,
            sha256=self.sha256,
            architecture=self.architecture,
            parameters=self.parameters,
            quantization=self.quantization,
            context=self.context,
            wording=str(self.metadata.get(WORDING_KEY.removeprefix("general."), "")),
        )

    def as_json(self) -> dict[str, Any]:
        """The card as ``acs-assistant models list --json`` prints it; plain values only."""
        return {
            "name": self.name,
            "origin": self.origin,
            "path": str(self.path),
            "default": self.default,
            "size": self.size,
            "sha256": self.sha256,
            "architecture": self.architecture,
            "parameters": self.parameters,
            "quantization": self.quantization,
            "context": self.context,
            "licence": self.licence,
            "description": self.description,
            "facts": dict(self.facts),
            "metadata": dict(self.metadata),
            "error": self.error,
        }


def list_models() -> list[ModelCard]:
    """The user's models, then the bundled ones; a damaged file is listed with its error.

    A user's model hides a bundled one of the same name.
    """
    chosen = _default_path()
    return [_card(path, origin, chosen) for path, origin in _installed().values()]


def show_model(reference: str) -> ModelCard:
    """The card of an installed model or of a file.

    Raises:
        ModelError: There is no such model, or its file is damaged.
    """
    path, origin = _find(reference)
    read_header(path)
    return _card(path, origin, _default_path())


def default_model() -> ModelCard:
    """What is used when no model is named: the adopted one, else a bundled one, else a user's.

    Raises:
        ModelError: No model is installed.
    """
    path = _default_path()
    if path is None:
        raise ModelError(
            "no model is installed.",
            hint=f"Name one with --model FILE.gguf or --model URL, or put a GGUF into "
            f"{paths.user_models()}.",
        )
    return show_model(str(path))


def open_model(
    reference: str = "",
    *,
    context: int | None = None,
    threads: int | None = None,
    api_key: str | None = None,
) -> LanguageModel:
    """Loads a model, or connects to a server.

    Args:
        reference: Name of an installed model, a GGUF file, or a server's URL
            ("http://localhost:8080/v1#qwen3"); empty for the default model.
        context: Tokens of prompt and answer; the model's own limit, at most 8192, by default.
        threads: Cores that a local model uses; all by default.
        api_key: For a server; ``$ACS_ASSISTANT_API_KEY`` by default.

    Raises:
        ModelError: No such model, a damaged file, a server that does not answer.
    """
    if _is_url(reference):
        from acs_assistant.llm.server import ServerModel

        return ServerModel(reference, api_key=api_key)
    card = show_model(reference) if reference else default_model()
    try:
        from acs_assistant.llm.llama_cpp import LlamaCppModel
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(
            f"llama-cpp-python cannot be loaded: {error}",
            hint="Run `make setup`; it needs a C++ compiler. A server's URL works without it.",
        ) from error
    return LlamaCppModel(card.info, card.path, context=context, threads=threads)


def adopt(reference: str, name: str = "") -> ModelCard:
    """Makes a model the default; a file from elsewhere is copied into the user's models first.

    Args:
        name: What the copy is called; the file's own name by default.

    Raises:
        ModelError: No such model, a damaged file, or ``name`` is taken by another file.
        StorageError: The user's folder cannot be written.
    """
    path, origin = _find(reference)
    read_header(path)
    if origin == "file":
        path = _install(path, name or path.stem)
    current = _default_path()
    history = [entry for entry in _state()["previous"] if Path(entry).is_file()]
    if current is not None and current != path:
        history.append(str(current))
    _write_state(str(path), history)
    return show_model(str(path))


def rollback() -> ModelCard:
    """Makes the model that was used before the last ``adopt`` the default again.

    Raises:
        ModelError: There is none, or its file is gone.
    """
    history = [entry for entry in _state()["previous"] if Path(entry).is_file()]
    if not history:
        raise ModelError(
            "there is no earlier model to go back to.",
            hint="`acs-assistant models list` names the models; adopt one of them.",
        )
    path = history.pop()
    _write_state(path, history)
    return show_model(path)


def sha256(path: Path) -> str:
    """Hash of a file in hexadecimal, remembered as long as size and time stay the same."""
    status = path.stat()
    stamp = [status.st_size, status.st_mtime_ns]
    store = paths.cache_dir() / _HASHES
    known = _read_json(store)
    entry = known.get(str(path))
    if isinstance(entry, list) and entry[:2] == stamp and len(entry) == 3:
        return str(entry[2])
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    known[str(path)] = [*stamp, digest.hexdigest()]
    with contextlib.suppress(AcsError):  # a read-only cache costs time, nothing else
        write_text(store, json.dumps(known))
    return digest.hexdigest()


def _installed() -> dict[str, tuple[Path, Origin]]:
    """By name: the user's files before the bundled ones."""
    found: dict[str, tuple[Path, Origin]] = {}
    folders: tuple[tuple[Path, Origin], ...] = (
        (paths.user_models(), "user"),
        (paths.bundled_models(), "bundled"),
    )
    for folder, origin in folders:
        for path in sorted(folder.glob("*.gguf")):
            found.setdefault(path.stem, (path, origin))
    return found


def _find(reference: str) -> tuple[Path, Origin]:
    if _is_url(reference):
        raise ModelError(
            f"'{reference}' is a server, not a file.", hint="Name an installed model or a GGUF."
        )
    installed = _installed()
    if reference in installed:
        return installed[reference]
    path = Path(reference).expanduser()
    if path.is_file():
        path = path.resolve()
        origins = {known.resolve(): origin for known, origin in installed.values()}
        return path, origins.get(path, "file")
    if path.is_dir():
        raise ModelError("is a folder.", hint="Name a GGUF file in it.", file=path)
    if path.suffix == ".gguf" or len(path.parts) > 1:
        raise ModelError(
            "there is no such file.",
            hint="Check the path; `acs-assistant models list` names the installed models.",
            file=path,
        )
    raise ModelError(
        f"there is no model '{reference}'.",
        hint=nearest(reference, installed)
        or f"None is installed: give a GGUF file or a URL, or put one into {paths.user_models()}.",
    )


def _is_url(reference: str) -> bool:
    return reference.startswith(("http://", "https://"))


def _card(path: Path, origin: Origin, default: Path | None) -> ModelCard:
    chosen = default is not None and path.resolve() == default.resolve()
    try:
        header = read_header(path)
        digest = sha256(path)
    except (ModelError, OSError) as error:
        reason = error.message if isinstance(error, ModelError) else str(error)
        return ModelCard(name=path.stem, origin=origin, path=path, default=chosen, error=reason)
    facts = _read_json(path.with_suffix(".json"))
    return ModelCard(
        name=path.stem,
        origin=origin,
        path=path,
        size=header.size,
        sha256=digest,
        architecture=header.architecture,
        parameters=header.parameters,
        quantization=header.quantization,
        context=header.context,
        licence=header.text("general.license"),
        description=header.text("general.description"),
        card=_read_text(path.with_suffix(".md")),
        facts=facts,
        metadata=_general(header),
        default=chosen,
    )


def _general(header: GgufHeader) -> dict[str, Any]:
    prefix = "general."
    return {
        key.removeprefix(prefix): value
        for key, value in header.metadata.items()
        if key.startswith(prefix)
    }


def _default_path() -> Path | None:
    """The adopted model while its file exists, else the first bundled, else the first user's."""
    adopted = _state()["current"]
    if adopted and Path(adopted).is_file():
        return Path(adopted)
    installed = list(_installed().values())
    bundled = [path for path, origin in installed if origin == "bundled"]
    return next(iter(bundled or [path for path, _ in installed]), None)


def _install(source: Path, name: str) -> Path:
    target = paths.user_models() / f"{name}.gguf"
    if target.exists() and sha256(target) != sha256(source):
        raise ModelError(
            f"the user's models have another file of the name '{name}'.",
            hint="Give the model another name, or remove that file first.",
            file=target,
        )
    if not target.exists():
        beside = target.with_suffix(".part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, beside)
            beside.replace(target)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise ModelError(
                f"cannot be copied: {error.strerror or error}.",
                hint=f"Free some space, or make {target.parent} writable.",
                file=source,
            ) from error
    for suffix in (".md", ".json"):
        if (beside_source := source.with_suffix(suffix)).is_file():
            write_text(target.with_suffix(suffix), _read_text(beside_source))
    return target


def _state() -> dict[str, Any]:
    """``current`` and ``previous``; a missing or damaged file counts as nothing adopted."""
    stored = _read_json(paths.user_models() / _STATE)
    previous = stored.get("previous")
    return {
        "current": str(stored.get("current") or ""),
        "previous": [str(entry) for entry in previous] if isinstance(previous, list) else [],
    }


def _write_state(current: str, previous: list[str]) -> None:
    state = {"current": current, "previous": previous}
    write_text(paths.user_models() / _STATE, json.dumps(state, indent=2) + "\n")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_read_text(path))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
