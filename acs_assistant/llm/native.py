"""llama.cpp's weights and vocabulary, loaded so that no processor and no terminal suffers.

Four measures against llama-cpp-python's defaults, each with its cause beside it: repacked weight
buffers are off, waiting threads sleep, log lines never reach the terminal, and cancelling
needs no Python inside the compute threads.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from acs_assistant.errors import ModelError
from acs_assistant.llm.gguf_file import GgufHeader, read_header


@contextlib.contextmanager
def _sleeping_threads() -> Iterator[None]:
    """Read by OpenMP when it is loaded; for llama.cpp alone.

    By default a thread that waits for the others spins: with ngspice on the other core, two
    threads then take a hundred times as long as one.
    """
    before = os.environ.get("OMP_WAIT_POLICY")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_WAIT_POLICY"]


with _sleeping_threads():
    import llama_cpp.llama_cpp as lib

__all__ = ["Interrupt", "Weights", "complaint", "forget_log", "lib"]

_LOG: Final[collections.deque[str]] = collections.deque(maxlen=40)
_ERROR: Final = 4  # GGML_LOG_LEVEL_ERROR


@lib.llama_log_callback  # type: ignore[untyped-decorator,unused-ignore]
def _keep_log(level: int, text: bytes, _user_data: int | None) -> None:
    if level == _ERROR:
        _LOG.append(text.decode("utf-8", errors="replace").strip())


@functools.cache
def start_backend() -> None:
    """Once per process. The log goes to a list: Textual draws on file descriptor 2."""
    lib.llama_log_set(_keep_log, ctypes.c_void_p(0))
    lib.llama_backend_init()


def forget_log() -> None:
    """Before a call whose complaint will be asked for."""
    _LOG.clear()


def complaint() -> str:
    """What llama.cpp complained of first: the later lines only say that it gave up."""
    return next((line for line in _LOG if line.strip(" .")), "llama.cpp gave no reason")


class Interrupt:
    """A flag that llama.cpp polls between the nodes of its graph.

    llama.cpp calls ``bool callback(void *data)`` hundreds of times per token from a compute
    thread. A Python function there would wait for the interpreter lock each time; ``strlen`` of a
    two-byte buffer answers 0 or 1 without it.
    """

    callback: Final = ctypes.cast(ctypes.CDLL(None).strlen, lib.ggml_abort_callback)

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(2)
        self.address = ctypes.c_void_p(ctypes.addressof(self._buffer))

    def set(self) -> None:
        self._buffer[0] = b"\x01"

    @property
    def is_set(self) -> bool:
        return self._buffer[0] != b"\x00"


class Weights:
    """A loaded GGUF and its vocabulary. Safe to read from several threads.

    Raises:
        ModelError: The file is refused by ``gguf_file.read_header`` or by llama.cpp.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: GgufHeader = read_header(path)
        start_backend()
        parameters = lib.llama_model_default_params()
        # The AMX buffer type crashes on any quantized weight (gcc 12 builds stop at ldtilecfg).
        parameters.use_extra_bufts = False
        parameters.n_gpu_layers = 999
        forget_log()
        self.model: Any = lib.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.model:
            raise ModelError(
                f"llama.cpp cannot load it: {complaint()}",
                hint=f"Its architecture is '{self.header.architecture}'. Use an architecture that "
                "llama-cpp-python knows (Llama and Qwen3 work), or a newer llama-cpp-python.",
                file=path,
            )
        self.vocab: Any = lib.llama_model_get_vocab(self.model)
        self.vocab_size = int(lib.llama_vocab_n_tokens(self.vocab))
        self._pieces: dict[int, bytes] = {}
        if self.vocab_size == 0 or not lib.llama_model_has_decoder(self.model):
            self.close()
            raise ModelError(
                "holds no model that can write text.", hint="Give a chat model.", file=path
            )
        self.end_tokens = frozenset(
            token for token in range(self.vocab_size) if lib.llama_vocab_is_eog(self.vocab, token)
        )

    @property
    def trained_context(self) -> int:
        return int(lib.llama_model_n_ctx_train(self.model))

    @property
    def chat_template(self) -> str:
        """The Jinja template that the GGUF carries; "" when it has none."""
        template = lib.llama_model_chat_template(self.model, None)
        return template.decode("utf-8", errors="replace") if template else ""

    @functools.cached_property
    def control_texts(self) -> tuple[str, ...]:
        """Text of each control token (``<|im_end|>``), which a message must not smuggle in."""
        return tuple(
            self.piece(token).decode("utf-8", errors="replace")
            for token in range(self.vocab_size)
            if lib.llama_vocab_is_control(self.vocab, token) and self.piece(token)
        )

    def token_text(self, token: int) -> str:
        """Text of a special token, "" for the null token."""
        return self.piece(token).decode("utf-8", errors="replace") if token >= 0 else ""

    @property
    def bos_text(self) -> str:
        return self.token_text(lib.llama_vocab_bos(self.vocab))

    @property
    def eos_text(self) -> str:
        return self.token_text(lib.llama_vocab_eos(self.vocab))

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a rendered prompt: markers become control tokens.

        The beginning-of-text token is put first if the vocabulary wants one and ``text`` does not
        begin with it already.
        """
        data = text.encode("utf-8")
        bos = self.bos_text
        add_special = not (bos and text.startswith(bos))
        room = len(data) + 8
        ids = (lib.llama_token * room)()
        count = lib.llama_tokenize(self.vocab, data, len(data), ids, room, add_special, True)
        if count < 0:
            raise ModelError("the model's tokenizer cannot read the prompt.", file=self.path)
        return list(ids[:count])

    def piece(self, token: int) -> bytes:
        """Bytes that ``token`` stands for, markers included; may end inside a UTF-8 character."""
        known = self._pieces.get(token)
        if known is not None:
            return known
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            size = lib.llama_token_to_piece(self.vocab, token, buffer, room, 0, True)
            if size >= 0:
                break
            room = -size
        self._pieces[token] = buffer.raw[:size]
        return self._pieces[token]

    def text(self, tokens: list[int] | tuple[int, ...]) -> str:
        """The text of generated tokens without the end marker."""
        data = b"".join(self.piece(token) for token in tokens if token not in self.end_tokens)
        return data.decode("utf-8", errors="replace")

    def close(self) -> None:
        if self.model:
            lib.llama_model_free(self.model)
            self.model = None
