"""How Slack brings an event to an app: signed HTTP requests, or envelopes over a WebSocket."""

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from aiohttp import web

ACK_SECONDS = 3.0
"""Slack counts an app that takes longer as having failed."""


@dataclass(slots=True)
class Delivery:
    """One event on its way: what every attempt came to, and whether it was acknowledged in the end."""

    event_id: str
    event: dict[str, Any]
    attempts: list[str] = field(default_factory=list)
    acknowledged: bool = False


class Carrier(Protocol):
    """Brings an event to the app, again and again until it is acknowledged."""

    async def deliver(self, delivery: Delivery, payload: dict[str, Any]) -> None: ...


def signed_headers(secret: str, body: bytes, *, at_seconds: float | None = None) -> dict[str, str]:
    """The headers that Slack would send with this body."""
    timestamp = str(int(time.time() if at_seconds is None else at_seconds))
    base = b"v0:" + timestamp.encode() + b":" + body
    digest = hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": f"v0={digest}",
    }


class HttpDelivery:
    """Posts events to a request URL until it answers 2xx."""

    def __init__(self, url: str, secret: str, *, retry_seconds: float) -> None:
        self._url = url
        self._secret = secret
        self._retry_seconds = retry_seconds
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ACK_SECONDS))

    async def deliver(self, delivery: Delivery, payload: dict[str, Any]) -> None:
        body = json.dumps(payload).encode()
        while True:
            headers = signed_headers(self._secret, body)
            if delivery.attempts:
                headers["X-Slack-Retry-Num"] = str(len(delivery.attempts))
                headers["X-Slack-Retry-Reason"] = delivery.attempts[-1]
            outcome, final = await self._post(body, headers)
            delivery.attempts.append(outcome)
            delivery.acknowledged = outcome == "ok"
            if final:
                return
            await asyncio.sleep(self._retry_seconds)

    async def _post(self, body: bytes, headers: dict[str, str]) -> tuple[str, bool]:
        try:
            async with self._session.post(self._url, data=body, headers=headers) as answer:
                if 200 <= answer.status < 300:
                    return "ok", True
                return "http_error", answer.headers.get("X-Slack-No-Retry") == "1"
        except TimeoutError:
            return "http_timeout", False
        except aiohttp.ClientError:
            return "connection_failed", False

    async def close(self) -> None:
        await self._session.close()


class SocketDelivery:
    """The WebSocket side of Socket Mode: one-time tickets, hello, envelopes until acknowledged, refresh."""

    def __init__(self, *, retry_seconds: float) -> None:
        self._retry_seconds = retry_seconds
        self._tickets: set[str] = set()
        self._sockets: list[web.WebSocketResponse] = []
        self._waiting: dict[str, asyncio.Event] = {}
        self._arrived = asyncio.Event()
        self.connections = 0

    def ticket(self) -> str:
        """A ticket that opens one connection."""
        ticket = secrets.token_hex(8)
        self._tickets.add(ticket)
        return ticket

    async def link(self, request: web.Request) -> web.StreamResponse:
        """The WebSocket endpoint."""
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=403)
        self._tickets.discard(ticket)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        await socket.send_json(
            {"type": "hello", "num_connections": len(self._sockets) + 1, "connection_info": {"app_id": "A0"}}
        )
        self._sockets.append(socket)
        self._arrived.set()
        try:
            async for frame in socket:
                if frame.type is aiohttp.WSMsgType.TEXT:
                    self._acknowledge(json.loads(frame.data))
        finally:
            self._sockets.remove(socket)
            if not self._sockets:
                self._arrived.clear()
        return socket

    def _acknowledge(self, frame: dict[str, Any]) -> None:
        if waiting := self._waiting.get(frame.get("envelope_id", "")):
            waiting.set()

    async def deliver(self, delivery: Delivery, payload: dict[str, Any]) -> None:
        while not delivery.acknowledged:
            await self._arrived.wait()
            envelope_id = secrets.token_hex(12)
            acknowledged = self._waiting[envelope_id] = asyncio.Event()
            envelope = {
                "envelope_id": envelope_id,
                "type": "events_api",
                "payload": payload,
                "accepts_response_payload": False,
                "retry_attempt": len(delivery.attempts),
                "retry_reason": delivery.attempts[-1] if delivery.attempts else "",
            }
            try:
                await self._sockets[-1].send_json(envelope)
                await asyncio.wait_for(acknowledged.wait(), self._retry_seconds)
                delivery.attempts.append("ok")
                delivery.acknowledged = True
            except (TimeoutError, ConnectionError):
                delivery.attempts.append("timeout")
            finally:
                del self._waiting[envelope_id]

    async def refresh(self) -> None:
        """Asks every connection to be replaced, as Slack does every hour or so."""
        for socket in list(self._sockets):
            await socket.send_json({"type": "disconnect", "reason": "refresh_requested", "debug_info": {}})

    async def drop(self) -> None:
        """Breaks every connection without a word."""
        for socket in list(self._sockets):
            await socket.close()

    async def close(self) -> None:
        await self.drop()
