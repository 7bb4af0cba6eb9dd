"""A server that speaks OpenAI's API as strictly as OpenAI, says what a test wants, and fails on demand.

By hand: `python -m tests.standins.model --port 9000`.
"""

import argparse
import asyncio
import hashlib
import json
import math
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal

from aiohttp import web

from tests.standins.model_rules import Refusal, check_chat, check_embeddings, minimal_value

Fault = Literal[
    "busy",
    "broken",
    "hang",
    "cut",
    "no_finish",
    "malformed_chunk",
    "malformed_json",
    "too_long",
    "dropped",
    "elsewhere",
]
"""What a request may meet.

busy: 429 with Retry-After. broken: 500. too_long: 400, the prompt exceeds the context.
hang: no answer until the server stops. dropped: the connection ends unanswered.
elsewhere: 307, to another machine.
cut: the connection ends amid the stream. malformed_chunk: a chunk amid the stream is no JSON.
no_finish: the stream ends, as if well, without a finish_reason.
malformed_json: a structured answer is no JSON.
"""

ELSEWHERE = "198.51.100.1"
"""An address that is nobody's (RFC 5737)."""
EMBEDDING_DIMENSIONS = 64
_WORD = re.compile(r"\w+")
_FAULT_STATUS = {
    "busy": (429, "rate_limit_exceeded", "requests", {"Retry-After": "0"}),
    "broken": (500, None, "server_error", {}),
    "too_long": (400, "context_length_exceeded", "invalid_request_error", {}),
}


def say_back(messages: list[dict[str, Any]]) -> str:
    """The default answer: the person's last words."""
    last = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
    return f"You said: {last}"


def fair(request: web.Request, body: dict[str, Any]) -> Fault | None:
    """The default weather: whatever isn't told to fail works."""
    return None


def least(body: dict[str, Any]) -> str:
    """The default structured answer: the least JSON that fits the schema."""
    return json.dumps(minimal_value(body["response_format"]["json_schema"]["schema"]))


def read_claim(message: int, quote: str, text: str, **said: Any) -> dict[str, Any]:
    """One claim as a model reads it out of a page; `said` are the fields that aren't as usual."""
    usual = {"kind": "fact", "about": "me", "when": "", "change": "new", "known": 0}
    return {"message": message, "quote": quote, "text": text, **usual, **said}


class ModelStandIn:
    """The server.

    `calls` holds the body of each accepted chat request, `embedded` the texts of each embeddings request.
    """

    def __init__(self) -> None:
        self.key = f"sk-test-{secrets.token_hex(8)}"
        self.model = "stand-in"
        self.embedding_model = "stand-in-embeddings"
        self.models = [self.model, "stand-in-2", self.embedding_model]
        self.answer: Callable[[list[dict[str, Any]]], str] = say_back
        self.extract: Callable[[dict[str, Any]], str] = least
        self.weather: Callable[[web.Request, dict[str, Any]], Fault | None] = fair
        """What a request meets that `fail_next` says nothing about."""
        self.piece_seconds = 0.0
        self.calls: list[dict[str, Any]] = []
        self.embedded: list[list[str]] = []
        self.abandoned = 0
        """Streams whose reader left before the end."""
        self.base_url = ""
        self._faults: deque[tuple[Fault, str | None]] = deque()
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    def fail_next(self, *faults: Fault, times: int = 1, retry_after: str | None = None) -> None:
        """Lets the next requests fail, one fault each, in this order, `times` over."""
        self._faults.extend((fault, retry_after) for fault in faults * times)

    async def start(self, port: int = 0) -> None:
        """Listens on loopback; `base_url` is then set."""
        app = web.Application(client_max_size=16 * 2**20, middlewares=[self._guard])
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        self._stopping.clear()
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        host, bound = self._runner.addresses[0][:2]
        self.base_url = f"http://{host}:{bound}/v1"

    async def stop(self) -> None:
        """Ends every connection; `start` may follow, with the same port."""
        self._stopping.set()
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _guard(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return _error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
        try:
            response: web.StreamResponse = await handler(request)
        except Refusal as refusal:
            return _error(refusal.status, str(refusal), "invalid_request_error", refusal.code, refusal.param)
        except web.HTTPException as error:
            return _error(error.status, error.reason, "invalid_request_error", None)
        return response

    async def _list_models(self, request: web.Request) -> web.StreamResponse:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "tests"} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    async def _body(self, request: web.Request) -> dict[str, Any]:
        try:
            body = await request.json()
        except ValueError:
            raise Refusal("We could not parse the JSON body of your request.") from None
        if not isinstance(body, dict):
            raise Refusal("The body must be an object.")
        if body.get("model") not in self.models:
            raise Refusal("The model does not exist.", status=404, code="model_not_found", param="model")
        return body

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        check_chat(body)
        self.calls.append(body)
        fault, retry_after = self._faults.popleft() if self._faults else (self.weather(request, body), None)
        if (refusal := await self._fail_at_once(request, fault, retry_after)) is not None:
            return refusal
        text = self._words(body)
        if fault == "malformed_json" and "response_format" in body:
            text = text[:-1] + ", oops"
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        pieces = re.findall(r"\s*\S+|\s+$", text)
        finish = "length" if limit and len(pieces) > limit else "stop"
        pieces = pieces[:limit]
        usage = _usage(sum(len(message["content"].split()) for message in body["messages"]), len(pieces))
        if body.get("stream"):
            return await self._stream(request, body, pieces, finish, usage, fault)
        message = {"role": "assistant", "content": "".join(pieces), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        return web.json_response(_completion(body, "chat.completion", [choice], usage))

    def _words(self, body: dict[str, Any]) -> str:
        if body.get("response_format", {}).get("type") == "json_schema":
            return self.extract(body)
        return self.answer(body["messages"])

    async def _fail_at_once(
        self, request: web.Request, fault: Fault | None, retry_after: str | None
    ) -> web.StreamResponse | None:
        if fault == "hang":
            await self._stopping.wait()
        if fault in ("hang", "dropped"):
            if request.transport:
                request.transport.abort()
            return web.Response()
        if fault == "elsewhere":
            return web.Response(status=307, headers={"Location": f"http://{ELSEWHERE}{request.path}"})
        if fault is None or fault not in _FAULT_STATUS:
            return None
        status, code, kind, headers = _FAULT_STATUS[fault]
        if headers and retry_after is not None:
            headers = {"Retry-After": retry_after}
        return _error(status, "The stand-in was told to fail.", kind, code, headers=headers)

    async def _stream(
        self,
        request: web.Request,
        body: dict[str, Any],
        pieces: list[str],
        finish: str,
        usage: dict[str, int],
        fault: Fault | None,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        middle = (len(pieces) + 1) // 2
        try:
            for number, chunk in enumerate(_chunks(body, pieces, finish, usage)):
                # The first chunk carries the role alone, so the middle is one later.
                if number == middle + 1 and fault == "cut" and request.transport:
                    request.transport.abort()
                    return response
                if number == middle + 1 and fault == "malformed_chunk":
                    await response.write(b'data: {"choices": [{"delta": \n\n')
                if number > len(pieces) and fault == "no_finish":
                    break
                await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                await asyncio.sleep(self.piece_seconds)
            if fault != "no_finish":
                await response.write(b"data: [DONE]\n\n")
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            self.abandoned += 1
            raise
        return response

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        texts = check_embeddings(body)
        self.embedded.append(texts)
        fault, retry_after = self._faults.popleft() if self._faults else (self.weather(request, body), None)
        if (refusal := await self._fail_at_once(request, fault, retry_after)) is not None:
            return refusal
        data = [
            {"object": "embedding", "index": index, "embedding": bag_of_words(text)}
            for index, text in enumerate(texts)
        ]
        count = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": count, "total_tokens": count}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})


def bag_of_words(text: str) -> list[float]:
    """A vector of length 1 in which texts that share words are near: each word's hash adds to one place."""
    vector = [0.0] * EMBEDDING_DIMENSIONS
    for word in _WORD.findall(text.lower()) or [""]:
        digest = hashlib.sha256(word.encode()).digest()
        vector[digest[0] % EMBEDDING_DIMENSIONS] += 1.0
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _completion(
    body: dict[str, Any], kind: str, choices: list[dict[str, Any]], usage: dict[str, int] | None
) -> dict[str, Any]:
    return {
        "id": "chatcmpl-test",
        "object": kind,
        "created": int(time.time()),
        "model": body["model"],
        "choices": choices,
        "usage": usage,
    }


def _chunks(
    body: dict[str, Any], pieces: list[str], finish: str, usage: dict[str, int]
) -> Iterator[dict[str, Any]]:
    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return _completion(body, "chat.completion.chunk", [choice], None)

    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces:
        yield chunk({"content": piece})
    yield chunk({}, finish)
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _completion(body, "chat.completion.chunk", [], usage)


def _error(
    status: int,
    message: str,
    kind: str,
    code: str | None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> web.Response:
    error = {"message": message, "type": kind, "param": param, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


async def _serve(port: int) -> None:
    server = ModelStandIn()
    server.key = "sk-test"
    await server.start(port)
    print(f"OPENAI_BASE_URL={server.base_url} OPENAI_API_KEY={server.key}", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="OpenAI's API, for trying things out.")
    parser.add_argument("--port", type=int, default=9000)
    asyncio.run(_serve(parser.parse_args().port))
