"""The gate of the web chat: who may ask for what, from where, and with which face an error is shown."""

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import structlog
from aiohttp import web

from bots.web.rendering import Rendering
from bots.web.texts import COOKIE as LANGUAGE_COOKIE
from bots.web.texts import LANGUAGES, PARAMETER
from core.errors import StoreUnavailable, Undecryptable
from core.users.sign_in import Session, SignIn, Visitor

COOKIE = "mneme_session"
APP_COOKIE = "mneme_app_session"
IN_APP = web.RequestKey("in_app", bool)
MAX_BODY_BYTES = 256 * 1024
RETRY_SECONDS = 2
LANGUAGE_LIFE = timedelta(days=365)

UNFRAMED = "frame-ancestors 'none'"
TELEGRAM = "https://web.telegram.org"
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'self'; base-uri 'none'; form-action 'self'; {UNFRAMED}; object-src 'none'"
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
    """A request that can't be answered. `reason` is a key of the texts' table "refused", or a text itself."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Gate:
    """Wraps handlers: checks origins and sessions, adds headers, turns errors into honest words."""

    def __init__(self, sign_in: SignIn, rendering: Rendering, public_url: str | None) -> None:
        self._sign_in = sign_in
        self._rendering = rendering
        self._public = urlsplit(public_url or "")

    def open(self, handler: Handler, *, as_page: bool = False) -> Handler:
        """For everybody; a request that changes something must come from our own pages.

        Errors are told in JSON or, for what is shown in the browser's window, `as_page`.
        """

        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                ours = (request.host, self._public.netloc)
                if request.method not in ("GET", "HEAD") and not comes_from(request.headers, ours):
                    raise Refused(403, "foreign")
                response = await handler(request)
            except Refused as refusal:
                response = self._error(request, refusal, as_page=as_page)
            except StoreUnavailable as error:
                log.warning("web_store_unavailable", reason=str(error))
                response = self._error(request, Refused(503, "store"), as_page=as_page)
                response.headers["Retry-After"] = str(RETRY_SECONDS)
            if not response.prepared:
                for name, value in (framed_headers() if request.get(IN_APP) else HEADERS).items():
                    response.headers.setdefault(name, value)
                if (chosen := request.query.get(PARAMETER)) in LANGUAGES:
                    self._set_cookie(response, LANGUAGE_COOKIE, chosen, LANGUAGE_LIFE)
            return response

        return guarded

    def signed_in(self, handler: VisitorHandler, *, as_page: bool = False) -> Handler:
        """For visitors; others get 401."""

        async def for_visitor(request: web.Request) -> web.StreamResponse:
            visitor = await self.visitor(request)
            if visitor is None:
                raise Refused(401, "signed_out")
            return await handler(request, visitor)

        return self.open(for_visitor, as_page=as_page)

    async def visitor(self, request: web.Request) -> Visitor | None:
        """Who asks, by the session's cookie; that of a Mini App counts where no other does."""
        for cookie in (COOKIE, APP_COOKIE):
            token = request.cookies.get(cookie)
            # Whose session in an app has ended is told so there, in its frame.
            request[IN_APP] = cookie == APP_COOKIE and token is not None
            try:
                visitor = await self._sign_in.visitor(token) if token else None
            except Undecryptable:
                log.info("session_of_nobody")
                continue
            if visitor is not None:
                request[IN_APP] = visitor.in_app
                return visitor
        return None

    def set_session(self, response: web.StreamResponse, session: Session) -> None:
        self._set_cookie(response, COOKIE, session.token, session.life)

    def set_app_session(self, response: web.StreamResponse, session: Session) -> None:
        """For a page that may be in a frame of Telegram's, where only such cookies come back."""
        response.headers.add("Set-Cookie", self._app_cookie(APP_COOKIE, session.token, session.life))

    def suggest_language(self, request: web.Request, response: web.StreamResponse, code: str) -> None:
        """For who hasn't chosen any."""
        if LANGUAGE_COOKIE not in request.cookies:
            response.headers.add("Set-Cookie", self._app_cookie(LANGUAGE_COOKIE, code, LANGUAGE_LIFE))

    async def end_session(self, request: web.Request) -> None:
        """Ends in the record what the browser came with."""
        for cookie in (COOKIE, APP_COOKIE):
            if token := request.cookies.get(cookie):
                await self._sign_in.close_session(token)

    def forget_session(self, response: web.StreamResponse) -> None:
        """Takes the cookies out of the browser."""
        response.del_cookie(COOKIE, path="/")
        response.headers.add("Set-Cookie", self._app_cookie(APP_COOKIE, "", timedelta()))

    def _app_cookie(self, name: str, value: str, life: timedelta) -> str:
        # By hand: the standard library knows "Partitioned" from Python 3.14 on only.
        is_https = self._public.scheme == "https"
        site = "SameSite=None; Secure; Partitioned" if is_https else "SameSite=Lax"
        return f"{name}={value}; Max-Age={int(life.total_seconds())}; Path=/; HttpOnly; {site}"

    def _set_cookie(self, response: web.StreamResponse, name: str, value: str, life: timedelta) -> None:
        response.set_cookie(
            name,
            value,
            max_age=int(life.total_seconds()),
            httponly=True,
            samesite="Lax",
            secure=self._public.scheme == "https",
            path="/",
        )

    def _error(self, request: web.Request, refusal: Refused, *, as_page: bool) -> web.Response:
        text = self._rendering.catalogue.of(request)["refused"].get(refusal.reason, refusal.reason)
        if as_page and refusal.status == 401:
            return self._rendering.page(request, "welcome.html", {}, status=401)
        if as_page:
            return self._rendering.page(request, "problem.html", {"problem": text}, status=refusal.status)
        return web.json_response({"error": text}, status=refusal.status)


def framed_headers() -> Mapping[str, str]:
    """As `HEADERS`, for a page that Telegram's web client may show in a frame; nobody else may."""
    policy = HEADERS["Content-Security-Policy"]
    return {**HEADERS, "Content-Security-Policy": policy.replace(UNFRAMED, f"frame-ancestors {TELEGRAM}")}


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
    raise Refused(413, "too_large")


async def form_body(request: web.Request) -> Mapping[str, str]:
    """The fields of a form, each by its first value.

    Raises:
        Refused: the body is too large.
    """
    fields = parse_qs((await body_bytes(request)).decode(errors="replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


async def json_body(request: web.Request) -> dict[str, Any]:
    """The request's body as a JSON object.

    Raises:
        Refused: it is none, or too large.
    """
    if request.content_type != "application/json":
        raise Refused(415, "no_json")
    raw = await body_bytes(request)
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "no_object")
    return body
