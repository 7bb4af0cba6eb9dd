"""The Telegram Mini App: the same page of one's memory, signed in by what Telegram says of who opened it."""

from collections.abc import Sequence
from datetime import timedelta

import structlog
from aiohttp import web

from bots.telegram.adapter import MINI_APP_PATH
from bots.telegram.init_data import FRESH, InitData, Unproven, read
from bots.telegram.mapping import CHANNEL
from bots.web.gate import Gate, Refused, form_body, framed_headers
from bots.web.rendering import Rendering
from bots.web.texts import preferred
from core.app import App
from core.users.people import User

SPARE = timedelta(minutes=1)

log = structlog.get_logger()


class MiniApp:
    """Two routes: the page that Telegram opens, and the sign-in that its script asks for."""

    def __init__(self, app: App, gate: Gate, rendering: Rendering, token: str) -> None:
        self._app = app
        self._gate = gate
        self._rendering = rendering
        self._token = token
        self._bot = token.partition(":")[0]

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.get(MINI_APP_PATH, self._gate.open(self.open, as_page=True)),
            web.post(f"{MINI_APP_PATH}/sign-in", self._gate.open(self.sign_in)),
        ]

    async def open(self, request: web.Request) -> web.Response:
        """GET: a page whose script finds the init data in the address's fragment."""
        response = self._rendering.page(request, "mini_app.html", {})
        response.headers.update(framed_headers())
        return response

    async def sign_in(self, request: web.Request) -> web.Response:
        """POST {init_data}: a short session for who opened the app, once for each time it is opened."""
        data = await self._proven(request)
        async with self._app.database.read() as connection:
            user = await self._app.people.find(connection, CHANNEL, self._bot, data.account)
        if user is None or not user.admitted:
            raise Refused(403, "app_unknown")
        response = web.json_response({"signed_in": True})
        await self._begin(request, response, user, data)
        if data.language is not None:
            self._gate.suggest_language(request, response, preferred(data.language))
        return response

    async def _proven(self, request: web.Request) -> InitData:
        text = (await form_body(request)).get("init_data", "")
        try:
            return read(text, self._token, self._app.clock.now())
        except Unproven as error:
            log.info("init_data_refused", reason=str(error))
            raise Refused(403, "app_refused") from None

    async def _begin(self, request: web.Request, response: web.Response, user: User, data: InitData) -> None:
        before = await self._gate.visitor(request)
        until = data.signed_at + FRESH + SPARE
        session = await self._app.sign_in.open_app_session(user.id, data.proof, until)
        if session is not None:
            await self._gate.end_session(request)
            self._gate.set_app_session(response, session)
        elif before is None or before.user_id != user.id:
            log.info("init_data_refused", reason="used before")
            raise Refused(403, "app_refused")
