"""A language model behind an OpenAI-compatible chat-completions server (llama.cpp, vLLM, Ollama).

Servers split an answer into ``reasoning_content``, ``content`` and ``tool_calls``; here they are
put back into the one text that ``prompting.parse`` reads. The grammar stays here: servers refuse
one beside tools, and the parser judges the call.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.errors import ModelError
from acs_assistant.llm.port import Completion, Message, ModelInfo, Rules, Sampling

API_KEY_VARIABLE: Final = "ACS_ASSISTANT_API_KEY"
_PARALLEL: Final = 4
_CONNECT_TIMEOUT: Final = 10.0
_ERROR_LIMIT: Final = 300


@dataclass(frozen=True, slots=True)
class Drawn:
    """A continuation of token ids.

    Attributes:
        text: Without the end token.
        tokens: Ids, the end token included; empty where the server does not tell them.
        log_probabilities: One per token; empty where the server does not tell them.
        finish: "stop" or "length".
    """

    text: str
    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    finish: str


class ServerModel:
    """``LanguageModel`` over HTTP.

    Args:
        url: Base of the API ("http://localhost:8080/v1"); "#name" at its end picks a model,
            otherwise the first that the server lists is used.
        api_key: Sent as a bearer token; ``$ACS_ASSISTANT_API_KEY`` by default.
        timeout: Seconds without a byte after which the server counts as gone.

    Raises:
        ModelError: The URL is malformed, nothing answers there, or it offers no model.
    """

    def __init__(self, url: str, *, api_key: str | None = None, timeout: float = 120.0) -> None:
        address, _, name = url.partition("#")
        self._address = address.rstrip("/").removesuffix("/chat/completions")
        parts = urlsplit(self._address)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise ModelError(
                f"'{url}' is not the address of a server.",
                hint="Write it as http://HOST:PORT/v1 or http://HOST:PORT/v1#MODEL.",
            )
        self._parts = parts
        self._timeout = timeout
        self._key = os.environ.get(API_KEY_VARIABLE, "") if api_key is None else api_key
        self._info = self._describe(name)

    @property
    def info(self) -> ModelInfo:
        return self._info

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        grammar: str | Rules | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[str]:
        """See ``LanguageModel.stream``; ``grammar`` is not sent."""
        body = {**self._body(messages, tools, sampling), "stream": True}
        with self._request("POST", "/chat/completions", body, cancel) as response:
            if "text/event-stream" not in (response.getheader("Content-Type") or ""):
                yield from _texts_of(self._json(response), self._address)[:1]
                return
            assembly = _Assembly()
            finished = False
            for event in self._events(response):
                for choice in event.get("choices") or []:
                    yield from assembly.feed(choice.get("delta") or {})
                    finished = finished or bool(choice.get("finish_reason"))
            if not finished:
                raise ModelError(
                    f"the server at {self._address} broke off in mid-answer.",
                    hint="See the server's log, then try the turn again.",
                )
            yield from assembly.close()

    def sample_group(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        count: int,
        grammar: str | Rules | None = None,
        cancel: CancelToken | None = None,
    ) -> list[Completion]:
        """Asks for ``count`` choices at once; what the server does not give is asked for singly."""
        completions = self._complete(messages, tools, sampling, count, cancel)[:count]
        missing = range(len(completions), count)
        if not missing:
            return completions
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="language-model") as executor:
            singles = [
                executor.submit(
                    self._complete, messages, tools, _reseeded(sampling, index), 1, cancel
                )
                for index in missing
            ]
        return completions + [single.result()[0] for single in singles]

    def draw(
        self, prompt: Sequence[int], count: int, sampling: Sampling, model: str = ""
    ) -> list[Drawn]:
        """Draws ``count`` continuations of token ids, with what the server tells of them.

        Args:
            model: A name that the server knows, of an adapter say; the model's own by default.

        Raises:
            ModelError: The server does not answer, refuses, or gives fewer than asked for.
        """
        body: dict[str, Any] = {
            "model": model or self._info.name,
            "prompt": list(prompt),
            "n": count,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": sampling.seed,
            "logprobs": 1,
            "skip_special_tokens": False,
            "return_token_ids": True,
        }
        if sampling.top_k > 0:
            body["top_k"] = sampling.top_k
        with self._request("POST", "/completions", body, None) as response:
            choices = self._json(response).get("choices") or []
        if len(choices) < count:
            raise ModelError(
                f"the server at {self._address} gave {len(choices)} of {count} texts.",
                hint="Rollouts need a server that takes n > 1, such as vLLM.",
            )
        return [_drawn(choice) for choice in choices[:count]]

    def load_adapter(self, name: str, folder: Path) -> None:
        """Has vLLM load low-rank adapters from a folder that it can read.

        Raises:
            ModelError: It refuses; it may have to be told that adapters come at run time.
        """
        body = {"lora_name": name, "lora_path": str(folder)}
        try:
            with self._request("POST", "/load_lora_adapter", body, None) as response:
                response.read()
        except _RefusedError as error:
            raise ModelError(
                error.message,
                hint="Start vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, --enable-lora and a "
                "--max-lora-rank that is enough.",
            ) from error

    def unload_adapter(self, name: str) -> None:
        with self._request("POST", "/unload_lora_adapter", {"lora_name": name}, None) as response:
            response.read()

    def forget(self) -> None:
        """What a server keeps is its own affair."""

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _complete(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        count: int,
        cancel: CancelToken | None,
    ) -> list[Completion]:
        body = self._body(messages, tools, sampling)
        if count > 1:
            body["n"] = count
        try:
            with self._request("POST", "/chat/completions", body, cancel) as response:
                answer = self._json(response)
        except _RefusedError:
            if count == 1:
                raise
            return []  # some servers refuse n > 1
        texts = _texts_of(answer, self._address)
        generated = (answer.get("usage") or {}).get("completion_tokens") or 0
        return [
            Completion(
                text=text,
                tokens=generated // len(texts),
                finish="length" if choice.get("finish_reason") == "length" else "stop",
            )
            for text, choice in zip(texts, answer["choices"], strict=True)
        ]

    def _body(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        sampling: Sampling,
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._info.name,
            "messages": [dict(message) for message in messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": sampling.seed,
        }
        if tools:
            body["tools"] = [dict(tool) for tool in tools]
        if sampling.top_k > 0:
            body["top_k"] = sampling.top_k
        return body

    def _describe(self, name: str) -> ModelInfo:
        """What ``GET /models`` says; llama.cpp adds size and context under ``meta``."""
        with self._request("GET", "/models", None, None) as response:
            listed = self._json(response).get("data")
        known = [entry for entry in listed or [] if isinstance(entry, dict) and entry.get("id")]
        chosen = next((entry for entry in known if name in ("", entry["id"])), None)
        if chosen is None:
            names = ", ".join(str(entry["id"]) for entry in known) or "none"
            raise ModelError(
                f"the server at {self._address} has no model '{name}'."
                if name
                else f"the server at {self._address} lists no model.",
                hint=f"It offers: {names}. Write #MODEL after the address.",
            )
        meta = chosen.get("meta") or {}
        return ModelInfo(
            name=str(chosen["id"]),
            path=None,
            sha256="",
            architecture=self._parts.hostname or "",
            parameters=int(meta.get("n_params") or 0),
            quantization="",
            context=int(meta.get("n_ctx_train") or chosen.get("max_model_len") or 0),
        )

    @contextlib.contextmanager
    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, cancel: CancelToken | None
    ) -> Iterator[http.client.HTTPResponse]:
        """An answered request. A cancelled token closes the connection at once."""
        if cancel is not None:
            cancel.raise_if_cancelled()
        connection = self._connection()
        headers = {"Accept": "application/json, text/event-stream"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode("utf-8")
        try:
            connection.connect()
            line = connection.sock
            line.settimeout(self._timeout)
            if cancel is not None:
                cancel.on_cancel(lambda: _hang_up(line))
            connection.request(method, f"{self._parts.path}{path}", body=data, headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                raise self._refusal(response)
            yield response
            if cancel is not None:
                cancel.raise_if_cancelled()
        except (OSError, http.client.HTTPException) as error:
            if cancel is not None and cancel.cancelled:
                raise CancelledError from error
            raise self._unreachable(error) from error
        except ModelError:
            if cancel is not None and cancel.cancelled:
                raise CancelledError from None
            raise
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host = self._parts.hostname or ""
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(
                host,
                self._parts.port,
                timeout=_CONNECT_TIMEOUT,
                context=ssl.create_default_context(),
            )
        return http.client.HTTPConnection(host, self._parts.port, timeout=_CONNECT_TIMEOUT)

    def _events(self, response: http.client.HTTPResponse) -> Iterator[Mapping[str, Any]]:
        """Server-sent events up to ``[DONE]`` (WHATWG HTML, 9.2)."""
        for raw in response:
            line = raw.decode("utf-8", errors="replace").strip()
            if not line.startswith("data:"):
                continue
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                return
            event = self._object(data)
            if error := event.get("error"):
                raise ModelError(
                    f"the server at {self._address} failed: {_message_of(error)}",
                    hint="See the server's log, then try the turn again.",
                )
            yield event

    def _json(self, response: http.client.HTTPResponse) -> Mapping[str, Any]:
        return self._object(response.read().decode("utf-8", errors="replace"))

    def _object(self, text: str) -> Mapping[str, Any]:
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if isinstance(value, dict):
            return value
        raise ModelError(
            f"the server at {self._address} gave no JSON: {text[:80]!r}",
            hint="Give the base of an OpenAI-compatible API; it often ends in /v1.",
        )

    def _refusal(self, response: http.client.HTTPResponse) -> ModelError:
        text = response.read().decode("utf-8", errors="replace")
        with contextlib.suppress(ValueError):
            text = _message_of(json.loads(text))
        reason = f"{response.status} {response.reason}: {text[:_ERROR_LIMIT].strip()}"
        hint = "See the server's log."
        if response.status in (401, 403):
            hint = f"Put the server's key into ${API_KEY_VARIABLE}."
        elif response.status == 404:
            hint = "Check the path and the model's name; the address often ends in /v1."
        elif "context" in text.lower():
            hint = "Start a new session from the best sizing, or give the server a larger context."
        elif response.status == 429 or response.status >= 500:
            hint = "The server is overloaded or broken: see its log, and try again."
        return _RefusedError(f"the server at {self._address} refused: {reason}", hint=hint)

    def _unreachable(self, error: Exception) -> ModelError:
        if isinstance(error, TimeoutError):
            return ModelError(
                f"the server at {self._address} does not answer in time.",
                hint="See whether it runs and is still loading the model.",
            )
        return ModelError(
            f"no answer from the server at {self._address}: {error or type(error).__name__}",
            hint="Start the server, or check host, port and http/https.",
        )


def _drawn(choice: Mapping[str, Any]) -> Drawn:
    told = choice.get("logprobs") or {}
    return Drawn(
        text=str(choice.get("text") or ""),
        tokens=tuple(int(token) for token in choice.get("token_ids") or ()),
        log_probabilities=tuple(
            float(value) for value in told.get("token_logprobs") or () if value is not None
        ),
        finish="length" if choice.get("finish_reason") == "length" else "stop",
    )


class _RefusedError(ModelError):
    """The server answered with a status other than 200."""


class _Assembly:
    """Puts the parts of an answer back into one text, piece by piece as they arrive."""

    def __init__(self) -> None:
        self._thinking = False
        self._call: int | None = None
        self._has_arguments = False

    def feed(self, delta: Mapping[str, Any]) -> Iterator[str]:
        if reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
            if not self._thinking:
                self._thinking = True
                yield "<think>\n"
            yield str(reasoning)
        if content := delta.get("content"):
            yield from self._end_part()
            yield str(content)
        for number, call in enumerate(delta.get("tool_calls") or []):
            yield from self._feed_call(int(call.get("index", number)), call.get("function") or {})

    def _feed_call(self, index: int, function: Mapping[str, Any]) -> Iterator[str]:
        if index != self._call:
            yield from self._end_part()
            self._call, self._has_arguments = index, False
            yield f'<tool_call>\n{{"name": {json.dumps(function.get("name") or "")}, "arguments": '
        arguments = function.get("arguments")
        if arguments:
            self._has_arguments = True
            yield arguments if isinstance(arguments, str) else json.dumps(arguments)

    def _end_part(self) -> Iterator[str]:
        if self._thinking:
            self._thinking = False
            yield "\n</think>\n"
        if self._call is not None:
            self._call = None
            yield ("" if self._has_arguments else "{}") + "}\n</tool_call>"

    def close(self) -> Iterator[str]:
        yield from self._end_part()


def _texts_of(answer: Mapping[str, Any], address: str) -> list[str]:
    """The text of each choice of an answer that was not streamed."""
    if error := answer.get("error"):
        raise ModelError(f"the server at {address} failed: {_message_of(error)}")
    texts = []
    for choice in answer.get("choices") or []:
        assembly = _Assembly()
        texts.append("".join([*assembly.feed(choice.get("message") or {}), *assembly.close()]))
    if not texts:
        raise ModelError(f"the server at {address} gave an answer without a choice.")
    return texts


def _message_of(error: Any) -> str:
    """The words in an error object, whichever of the usual shapes it has."""
    while isinstance(error, dict):
        inner = error.get("error", error.get("message", error.get("detail")))
        if inner is None:
            return json.dumps(error)
        error = inner
    return str(error)


def _hang_up(line: socket.socket) -> None:
    """Wakes a thread that waits for the server; ``close`` alone would leave it waiting."""
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def _reseeded(sampling: Sampling, index: int) -> Sampling:
    return replace(sampling, seed=sampling.seed * 1_000_003 + index)
