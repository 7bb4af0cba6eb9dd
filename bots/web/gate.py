"""The gate of the web chat: who may ask for what, from where, and with which face an error is shown."""

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from core.errors import StoreUnavailable, Undecryptable
from core.users.sign_in import SESSION_LIFE, SignIn, Visitor

COOKIE = "mneme_session"
MAX_BODY_BYTES = 256 * 1024
RETRY_SECONDS = 2

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    # An address with a one-time token is sent to nobody. "no-referrer" would go further and make forms
    # send "Origin: null", by which a forged one couldn't be told.
    "Referrer-Policy": "strict-origin",
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
VisitorHandler = Callable[[web.Request, Visitor], Awaitable[web.StreamResponse]]

log = structlog.get_logger()


class Refused(Exception):
    """A request that can't be answered; the text is for the person."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Gate:
    """Wraps handlers: checks origins and sessions, adds headers, turns errors into honest JSON."""

    def __init__(self, sign_in: SignIn, public_url: str | None) -> None:
        self._sign_in = sign_in
        self._public = urlsplit(public_url or "")

    def open(self, handler: Handler) -> Handler:
        """For everybody; a request that changes something must come from our own pages."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                ours = (request.host, self._public.netloc)
                if request.method not in ("GET", "HEAD") and not comes_from(request.headers, ours):
                    raise Refused(403, "That request didn't come from this page. Please reload it.")
                response = await handler(request)
            except Refused as refusal:
                response = _error(refusal.status, str(refusal))
            except StoreUnavailable as error:
                log.warning("web_store_unavailable", reason=str(error))
                response = _error(503, "My store is busy or full. Nothing was lost; please try again.")
                response.headers["Retry-After"] = str(RETRY_SECONDS)
            if not response.prepared:
                for name, value in HEADERS.items():
                    response.headers.setdefault(name, value)
            return response

        return guarded

    def signed_in(self, handler: VisitorHandler) -> Handler:
        """For visitors; others get 401."""

        async def for_visitor(request: web.Request) -> web.StreamResponse:
            visitor = await self.visitor(request)
            if visitor is None:
                raise Refused(401, "You are signed out. `mneme sign-in` prints a new link.")
            return await handler(request, visitor)

        return self.open(for_visitor)

    async def visitor(self, request: web.Request) -> Visitor | None:
        """Who asks, by the session cookie."""
        token = request.cookies.get(COOKIE)
        try:
            return await self._sign_in.visitor(token) if token else None
        except Undecryptable:
            log.info("session_of_nobody")
            return None

    def set_session(self, response: web.StreamResponse, token: str) -> None:
        response.set_cookie(
            COOKIE,
            token,
            max_age=int(SESSION_LIFE.total_seconds()),
            httponly=True,
            samesite="Lax",
            secure=self._public.scheme == "https",
            path="/",
        )


def comes_from(headers: Mapping[str, str], hosts: Collection[str]) -> bool:
    """Whether a browser sent the request from a page of one of these hosts (with their ports)."""
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    # Browsers leave Sec-Fetch-Site out on plain HTTP beyond this machine.
    try:
        host = urlsplit(headers.get("Origin", "")).netloc
    except ValueError:
        return False
    return host != "" and host in hosts


async def body_bytes(request: web.Request) -> bytes:
    """The request's body.

    Raises:
        Refused: it is too large.
    """
    body = bytearray()
    if (request.content_length or 0) <= MAX_BODY_BYTES:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                break
        else:
            return bytes(body)
    raise Refused(413, "That message is far too long for me. Please send it in smaller pieces.")


async def json_body(request: web.Request) -> dict[str, Any]:
    """The request's body as a JSON object.

    Raises:
        Refused: it is none, or too large.
    """
    if request.content_type != "application/json":
        raise Refused(415, "Please send JSON.")
    raw = await body_bytes(request)
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "Please send a JSON object.")
    return body


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)
