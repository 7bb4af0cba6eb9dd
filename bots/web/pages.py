"""The pages: the chat, the way in, and the files that they are made of."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from bots.web.gate import COOKIE, HEADERS, Gate, Refused, body_bytes, json_body
from core.app import App
from core.reply.commands import TRIAL_NOTE
from core.users.sign_in import Visitor

STATIC = Path(__file__).parent / "static"
FILE_TYPES = {
    "mneme.css": "text/css; charset=utf-8",
    "chat.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "memory.js": "text/javascript; charset=utf-8",
    "sign_in.js": "text/javascript; charset=utf-8",
    "theme.js": "text/javascript; charset=utf-8",
    "mark.svg": "image/svg+xml",
}
MAX_TOKEN_CHARS = 200
EXAMPLES = (
    "I'm vegetarian, and I like long walks by the sea.",
    "My sister Inês turns thirty on 14 March. Help me find a gift.",
    "What do you remember about me?",
)


class Pages:
    """What a browser is shown."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate
        self._templates = Environment(
            loader=PackageLoader("bots.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    async def home(self, request: web.Request) -> web.Response:
        """GET /: the chat, or how to get in."""
        visitor = await self._gate.visitor(request)
        if visitor is None:
            return self._page("welcome.html", {})
        trial_note = TRIAL_NOTE.strip("_") if self._app.settings.mneme_on_trial else None
        return self._page("chat.html", {"name": visitor.name, "note": trial_note, "examples": EXAMPLES})

    async def offer_sign_in(self, request: web.Request) -> web.Response:
        """GET /sign-in?token=…: a page that posts the token, for a preview of the link must not use it up."""
        return self._page("sign_in.html", {"token": request.query.get("token", "")[:MAX_TOKEN_CHARS]})

    async def sign_in(self, request: web.Request) -> web.Response:
        """POST /sign-in: trades the link's token for a session."""
        form = parse_qs((await body_bytes(request)).decode(errors="replace"))
        token = form.get("token", [""])[0]
        session = await self._app.sign_in.open_session(token) if token else None
        if session is None and await self._gate.visitor(request) is None:
            return self._page("used_link.html", {}, status=403)
        response = _to_home()
        if session is not None:
            await self._end_session(request)
            self._gate.set_session(response, session)
        return response

    async def sign_out(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST /sign-out: the session ends here and in the record."""
        await json_body(request)
        await self._end_session(request)
        response = web.json_response({"signed_out": True})
        response.del_cookie(COOKIE, path="/")
        return response

    async def file(self, request: web.Request) -> web.StreamResponse:
        """GET /web/files/NAME: a style sheet, a script or a picture of ours."""
        name = request.match_info["name"]
        if name not in FILE_TYPES:
            raise Refused(404, "There is no such file.")
        headers = {**HEADERS, "Cache-Control": "no-cache", "Content-Type": FILE_TYPES[name]}
        return web.FileResponse(STATIC / name, headers=headers)

    async def _end_session(self, request: web.Request) -> None:
        if token := request.cookies.get(COOKIE):
            await self._app.sign_in.close_session(token)

    def _page(self, template: str, values: Mapping[str, object], *, status: int = 200) -> web.Response:
        html = self._templates.get_template(template).render(values)
        return web.Response(text=html, content_type="text/html", status=status)


def _to_home() -> web.Response:
    return web.Response(status=303, headers={"Location": "/"})
