"""Endpoints that speak as OpenAI's do, of what a test wants them to say."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

ServerAnswer = tuple[int, Any]
"""A status, and what is said: bytes as they are, anything else as JSON."""


class Server(NamedTuple):
    """An endpoint that says what a function makes of the requests, which it keeps."""

    url: str
    asked: list[dict[str, Any]]


StartServer = Callable[[Callable[[dict[str, Any], int], ServerAnswer]], Server]


@contextmanager
def server_starter() -> Iterator[StartServer]:
    """Yield a function that starts an endpoint; what makes the answers also gets their number."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[dict[str, Any], int], ServerAnswer]) -> Server:
        asked: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked.append({"path": self.path, **body})
                status, found = answer(body, len(asked))
                sent = found if isinstance(found, bytes) else json.dumps(found).encode()
                try:
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("retry-after-ms", "1")
                    self.end_headers()
                    self.wfile.write(sent)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client did not wait

            def log_message(self, *_args: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return Server(f"http://127.0.0.1:{server.server_port}/v1", asked)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def chat_completion(content: Any, **message: Any) -> dict[str, Any]:
    """Return a chat completion with this content, JSON if it is no text."""
    text = content if isinstance(content, str | None) else json.dumps(content)
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text, **message},
    }
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
