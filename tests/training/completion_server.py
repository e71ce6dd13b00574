"""A stand-in for vLLM: token ids in, token ids and log-probabilities out, adapters by name."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

Draw = Callable[[list[int], int], dict[str, Any]]
"""Prompt and number of the choice to one choice of a completion."""


class CompletionServer:
    """Answers ``/completions`` by ``draw``; what came in is in ``bodies``.

    Attributes:
        loaded: Adapters that are loaded, with the files that were in their folder.
        log: Every adapter that came and went.
        refuse: Whether adapters are refused.
    """

    def __init__(self, draw: Draw) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.loaded: dict[str, list[str]] = {}
        self.log: list[str] = []
        self.refuse = False
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self._send(200, {"data": [{"id": "base", "max_model_len": 1024}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                what = self.path.removeprefix("/v1/")
                if what == "load_lora_adapter" and not owner.refuse:
                    files = sorted(p.name for p in Path(body["lora_path"]).iterdir())
                    owner.loaded[body["lora_name"]] = files
                    owner.log.append(f"+{body['lora_name']}")
                    self._send(200, {})
                elif what == "unload_lora_adapter":
                    del owner.loaded[body["lora_name"]]
                    owner.log.append(f"-{body['lora_name']}")
                    self._send(200, {})
                elif what == "completions" and body["model"] in ("base", *owner.loaded):
                    owner.bodies.append(body)
                    choices = [draw(body["prompt"], number) for number in range(body["n"])]
                    self._send(200, {"choices": choices})
                else:
                    self._send(400, {"error": {"message": f"{what} is not to be had"}})

            def _send(self, status: int, value: dict[str, Any]) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
