"""The pages: the chat, the way in, and the files that they are made of."""

from pathlib import Path

from aiohttp import web

from bots.web.gate import HEADERS, Gate, Refused, form_body
from bots.web.rendering import Rendering
from core.app import App
from core.users.sign_in import Visitor

STATIC = Path(__file__).parent / "static"
FILE_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MAX_TOKEN_CHARS = 200
HOME, MEMORY = "/", "/memory"


class Pages:
    """What a browser is shown."""

    def __init__(self, app: App, gate: Gate, rendering: Rendering) -> None:
        self._app = app
        self._gate = gate
        self._rendering = rendering
        self._files = {
            path.name: f"{FILE_TYPES[path.suffix]}; charset=utf-8"
            for path in STATIC.iterdir()
            if path.suffix in FILE_TYPES
        }

    async def home(self, request: web.Request) -> web.Response:
        """GET /: the chat, or how to get in; who has no account here came for their memory."""
        visitor = await self._gate.visitor(request)
        if visitor is None:
            return self._rendering.page(request, "welcome.html", {})
        if visitor.account is None:
            return see(MEMORY)
        values = {
            "name": visitor.account,
            "is_on_trial": self._app.settings.mneme_on_trial,
            "is_paused": await self._app.switches.is_paused(visitor.user_id),
        }
        return self._rendering.page(request, "chat.html", values)

    async def offer_sign_in(self, request: web.Request) -> web.Response:
        """GET /sign-in?token=…: a page that posts the token, for a preview of the link must not use it up.

        Who is signed in is asked: a stranger's link mustn't make them somebody else unawares.
        """
        visitor = await self._gate.visitor(request)
        token = request.query.get("token", "")[:MAX_TOKEN_CHARS]
        return self._rendering.page(
            request, "sign_in.html", {"token": token, "name": visitor.name if visitor else None}
        )

    async def sign_in(self, request: web.Request) -> web.Response:
        """POST /sign-in: trades the link's token for a session."""
        token = (await form_body(request)).get("token", "")
        session = await self._app.sign_in.open_session(token) if token else None
        if session is None and await self._gate.visitor(request) is None:
            return self._rendering.page(request, "used_link.html", {}, status=403)
        response = see(MEMORY if session and session.for_memory else HOME)
        if session is not None:
            await self._gate.end_session(request)
            self._gate.set_session(response, session)
        return response

    async def sign_out(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST /sign-out: the session ends here and in the record."""
        await self._gate.end_session(request)
        response = see(HOME)
        self._gate.forget_session(response)
        return response

    async def file(self, request: web.Request) -> web.StreamResponse:
        """GET /web/files/NAME: a style sheet, a script or a picture of ours."""
        name = request.match_info["name"]
        if name not in self._files:
            raise Refused(404, "no_file")
        headers = {**HEADERS, "Cache-Control": "no-cache", "Content-Type": self._files[name]}
        return web.FileResponse(STATIC / name, headers=headers)


def see(address: str) -> web.Response:
    """Sends the browser on by a GET."""
    return web.Response(status=303, headers={"Location": address})
