"""Reads the header of a GGUF file: metadata and tensor sizes, never the weights.

Every GGUF passes through here before llama.cpp sees it, because llama.cpp reports a damaged file
as "failed to load" at best. Format: ggml ``docs/gguf.md``, versions 2 and 3, little endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from acs_assistant.errors import ModelError

Value = str | int | float | bool | list["Value"] | None
"""A metadata value. An array longer than ``_ARRAY_LIMIT`` is kept as None."""

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_ARRAY_LIMIT: Final = 64
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS: Final[Mapping[int, str]] = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q",
    11: "<q", 12: "<d",
}  # fmt: skip

# ggml type number: (name, weights in a block, bytes of a block). From ggml-common.h.
_TENSOR_TYPES: Final[Mapping[int, tuple[str, int, int]]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip


WORDING_KEY = "general.acs_wording"
"""Under which a GGUF says whose sentences it thinks in (``ModelInfo.wording``)."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF says about itself.

    Attributes:
        parameters: Number of weights over all tensors.
        quantization: Type of most of the weights ("Q8_0", "F16").
        metadata: Key to value; an array of more than 64 entries is None.
        size: Bytes of the file.
    """

    path: Path
    version: int
    metadata: Mapping[str, Value]
    tensors: int
    parameters: int
    quantization: str
    size: int

    def text(self, key: str) -> str:
        """A string value, or "" when the file has none under ``key``."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    @property
    def architecture(self) -> str:
        return self.text("general.architecture")

    @property
    def context(self) -> int:
        """Tokens that the model was trained to read; 0 when the file does not say."""
        value = self.metadata.get(f"{self.architecture}.context_length")
        return value if isinstance(value, int) else 0


def read_header(path: Path) -> GgufHeader:
    """Reads and checks ``path``.

    Raises:
        ModelError: The file cannot be read, is not a GGUF, is of a version that is not read here,
            is damaged, holds no weights, or is shorter than its own table of tensors says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            return _Reader(path, stream, size).header()
    except OSError as error:
        raise ModelError(
            f"cannot be read: {error.strerror or error}.",
            hint="Check the path and its permissions; `acs-assistant models list` names models.",
            file=path,
        ) from error


class _Reader:
    """Walks one file front to back, never past its end."""

    def __init__(self, path: Path, stream: BinaryIO, size: int) -> None:
        self._path = path
        self._stream = stream
        self._size = size

    def header(self) -> GgufHeader:
        self._check_magic()
        version = self._version()
        with self._cut_short_is_truncated():
            tensors, entries = self._number("<Q"), self._number("<Q")
            # The smallest entry is 13 bytes and the smallest tensor 24: more cannot fit.
            if entries * 13 + tensors * 24 > self._size:
                raise EOFError
            metadata = {self._string(): self._value(self._number("<I")) for _ in range(entries)}
            alignment = metadata.get("general.alignment", 32)
            if not isinstance(alignment, int) or alignment <= 0:
                raise self._damaged("its alignment is not a positive number")
            table = [self._tensor() for _ in range(tensors)]
        if not table:
            raise ModelError(
                "holds no weights, only a vocabulary or metadata.",
                hint="Give the GGUF that has the model itself.",
                file=self._path,
            )
        start = math.ceil(self._stream.tell() / alignment) * alignment
        needed = start + max(offset + size for _, _, offset, size in table)
        if needed > self._size:
            raise self._truncated(needed)
        weights: dict[str, int] = {}
        for kind, count, _, _ in table:
            weights[kind] = weights.get(kind, 0) + count
        return GgufHeader(
            path=self._path,
            version=version,
            metadata=metadata,
            tensors=tensors,
            parameters=sum(weights.values()),
            quantization=max(weights, key=lambda kind: weights[kind], default=""),
            size=self._size,
        )

    def _check_magic(self) -> None:
        magic = self._stream.read(4)
        if magic == _MAGIC:
            return
        if not magic:
            raise ModelError("is empty.", hint="Download or copy the model again.", file=self._path)
        hint = "Give a file in llama.cpp's GGUF format (its first four bytes are 'GGUF')."
        if magic.startswith(b"vers"):
            hint = "This is a Git LFS pointer, not the model: run `git lfs pull`."
        elif magic.startswith((b"<!DO", b"<htm", b"<HTM")):
            hint = "This is a web page: download the file itself, not the page that shows it."
        raise ModelError("is not a GGUF model.", hint=hint, file=self._path)

    def _version(self) -> int:
        with self._cut_short_is_truncated():
            version = self._number("<I")
        if version in _VERSIONS:
            return version
        big_endian = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
        raise ModelError(
            "is a big-endian GGUF." if big_endian else f"has GGUF version {version}.",
            hint="Versions 2 and 3, little endian, are read: convert the model again with a "
            "current llama.cpp.",
            file=self._path,
        )

    @contextmanager
    def _cut_short_is_truncated(self) -> Iterator[None]:
        try:
            yield
        except EOFError:
            raise self._truncated(None) from None

    def _truncated(self, needed: int | None) -> ModelError:
        wanted = "more than that" if needed is None else f"{needed} bytes"
        return ModelError(
            f"is truncated: it has {self._size} bytes and its header asks for {wanted}.",
            hint="The download or copy did not finish: fetch the file again.",
            file=self._path,
        )

    def _damaged(self, what: str) -> ModelError:
        return ModelError(
            f"is a damaged GGUF: {what}.", hint="Fetch the file again.", file=self._path
        )

    def _take(self, count: int) -> bytes:
        if count > self._size - self._stream.tell():
            raise EOFError
        return self._stream.read(count)

    def _skip(self, count: int) -> None:
        if count > self._size - self._stream.tell():
            raise EOFError
        self._stream.seek(count, 1)

    def _number(self, layout: str) -> int:
        return int(struct.unpack(layout, self._take(struct.calcsize(layout)))[0])

    def _string(self) -> str:
        return self._take(self._number("<Q")).decode("utf-8", errors="replace")

    def _value(self, kind: int, depth: int = 0) -> Value:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array(depth)
        layout = _SCALARS.get(kind)
        if layout is None:
            raise self._damaged(f"it has a metadata value of the unknown type {kind}")
        number: int | float = struct.unpack(layout, self._take(struct.calcsize(layout)))[0]
        return bool(number) if kind == _BOOL else number

    def _array(self, depth: int) -> Value:
        kind, count = self._number("<I"), self._number("<Q")
        if depth > 4 or count > self._size:
            raise self._damaged("it has an array that cannot fit into the file")
        if count <= _ARRAY_LIMIT:
            return [self._value(kind, depth + 1) for _ in range(count)]
        layout = _SCALARS.get(kind)
        if layout is not None:
            self._skip(count * struct.calcsize(layout))
        elif kind == _STRING:
            for _ in range(count):
                self._skip(self._number("<Q"))
        else:
            for _ in range(count):
                self._value(kind, depth + 1)
        return None

    def _tensor(self) -> tuple[str, int, int, int]:
        """Type, number of weights, offset into the data, bytes (0 for a type not known here)."""
        name = self._string()
        dimensions = self._number("<I")
        if dimensions > 4:
            raise self._damaged(f"tensor '{name}' has {dimensions} dimensions")
        count = math.prod(self._number("<Q") for _ in range(dimensions))
        kind, offset = self._number("<I"), self._number("<Q")
        type_name, block, size = _TENSOR_TYPES.get(kind, (f"type {kind}", 1, 0))
        return type_name, count, offset, math.ceil(count / block) * size
