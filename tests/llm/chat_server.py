"""A small OpenAI-compatible server with faults on demand, from the standard library."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class ChatServer:
    """Answers every chat completion with ``message``; what came in is in ``bodies``.

    Attributes:
        message: The assistant's message, as OpenAI writes it.
        choices: How many choices it gives at most, whatever ``n`` asks for.
        refuse: (status, body) instead of an answer to a completion.
        refuse_many: Answers 400 when ``n`` is above 1.
        break_after: Events after which a stream is cut.
        stall: Set it free to let a stream go on after its first event.
        raw: Sent instead of JSON.
    """

    def __init__(self) -> None:
        self.message: dict[str, Any] = {"role": "assistant", "content": "Hello there, designer."}
        self.models: list[dict[str, Any]] = [
            {"id": "first", "meta": {"n_params": 1234, "n_ctx_train": 4096}},
            {"id": "second", "max_model_len": 2048},
        ]
        self.choices = 100
        self.refuse: tuple[int, str] | None = None
        self.refuse_many = False
        self.break_after: int | None = None
        self.stall: threading.Event | None = None
        self.raw: bytes | None = None
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.hung_up = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                owner.headers.append(dict(self.headers))
                if owner.raw is not None:
                    self._send(200, owner.raw, "text/html")
                else:
                    self._json(200, {"data": owner.models})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.bodies.append(body)
                if owner.refuse is not None:
                    status, text = owner.refuse
                    self._send(status, text.encode(), "application/json")
                elif owner.refuse_many and body.get("n", 1) > 1:
                    self._json(400, {"error": {"message": "n > 1 is not supported"}})
                elif body.get("stream"):
                    try:
                        self._stream()
                    except OSError:
                        owner.hung_up.set()
                else:
                    self._complete(min(body.get("n", 1), owner.choices))

            def _complete(self, count: int) -> None:
                choices = [
                    {"index": i, "message": owner.message, "finish_reason": "stop"}
                    for i in range(count)
                ]
                usage = {"completion_tokens": 5 * count}
                self._json(200, {"choices": choices, "usage": usage})

            def _stream(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                for number, delta in enumerate(deltas(owner.message)):
                    if owner.break_after == number:
                        return
                    self._event({"choices": [{"index": 0, "delta": delta}]})
                    if number == 0 and owner.stall is not None:
                        owner.stall.wait(20)
                self._event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
                self.wfile.write(b"data: [DONE]\n\n")

            def _event(self, event: dict[str, Any]) -> None:
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()

            def _json(self, status: int, value: dict[str, Any]) -> None:
                self._send(status, json.dumps(value).encode(), "application/json")

            def _send(self, status: int, data: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.stall is not None:
            self.stall.set()
        self._server.shutdown()
        self._server.server_close()


def deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The message cut into pieces of a few characters, as servers stream it."""
    pieces: list[dict[str, Any]] = [{"role": "assistant"}]
    for key in ("reasoning_content", "content"):
        text = message.get(key) or ""
        pieces += [{key: text[i : i + 7]} for i in range(0, len(text), 7)]
    for index, call in enumerate(message.get("tool_calls", [])):
        function = call["function"]
        head = {"index": index, "id": call["id"], "function": {"name": function["name"]}}
        pieces.append({"tool_calls": [head]})
        text = function["arguments"]
        pieces += [
            {"tool_calls": [{"index": index, "function": {"arguments": text[i : i + 5]}}]}
            for i in range(0, len(text), 5)
        ]
    return pieces
