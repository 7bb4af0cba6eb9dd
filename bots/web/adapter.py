"""The web: the chat, the page of one's memory, and the routes that they ask."""

from collections.abc import Sequence
from functools import partial

from aiohttp import web

from bots.channel import Desk
from bots.screen_outlet import ScreenOutlet
from bots.web.book import Book
from bots.web.chat import Chat
from bots.web.event_stream import EventStreams
from bots.web.gate import Gate
from bots.web.memory_page import MemoryPage
from bots.web.mini_app import MiniApp
from bots.web.pages import MEMORY, Pages
from bots.web.privacy_page import PrivacyPage
from bots.web.recollection import Recollection
from bots.web.rendering import Rendering
from core.app import App
from core.users.sign_in import CHANNEL


class WebChannel(ScreenOutlet):
    """A `Channel` whose platform is the browser."""

    def __init__(self, app: App, desk: Desk) -> None:
        super().__init__(CHANNEL, app.screen)
        self._streams = EventStreams()
        rendering = Rendering()
        self._gate = Gate(app.sign_in, rendering, app.settings.public_url)
        self._pages = Pages(app, self._gate, rendering)
        book = Book(app, rendering)
        self._page = MemoryPage(app, book)
        self._privacy = PrivacyPage(app, self._gate, rendering, book)
        token = app.settings.telegram_bot_token
        self._mini_app = MiniApp(app, self._gate, rendering, token.get_secret_value()) if token else None
        self._chat = Chat(app, desk, self._streams)
        self._recollection = Recollection(app, self._streams)

    def routes(self) -> Sequence[web.RouteDef]:
        gate, pages, chat, memory = self._gate, self._pages, self._chat, self._recollection
        return [
            web.get("/", gate.open(pages.home, as_page=True)),
            web.get("/sign-in", gate.open(pages.offer_sign_in, as_page=True)),
            web.post("/sign-in", gate.open(pages.sign_in, as_page=True)),
            web.post("/sign-out", gate.signed_in(pages.sign_out, as_page=True)),
            web.get("/web/files/{name}", gate.open(pages.file)),
            web.post("/web/messages", gate.signed_in(chat.accept)),
            web.get(r"/web/replies/{inbox:\d{1,18}}", gate.signed_in(chat.reply), allow_head=False),
            web.get("/web/history", gate.signed_in(chat.history)),
            web.get("/web/memories", gate.signed_in(memory.show)),
            web.get("/web/memories/events", gate.signed_in(memory.watch), allow_head=False),
            web.post("/web/memories/{id:[0-9a-f]{32}}/forget", gate.signed_in(memory.forget_memory)),
            web.post("/web/messages/{id:[0-9a-f]{32}}/forget", gate.signed_in(memory.forget_message)),
            *self._memory_routes(),
            *(self._mini_app.routes() if self._mini_app else ()),
        ]

    def _memory_routes(self) -> Sequence[web.RouteDef]:
        page, privacy = self._page, self._privacy
        seen = {
            "": page.topics,
            "/timeline": page.timeline,
            "/words": page.words,
            "/replies": page.replies,
            "/privacy": privacy.show,
        }
        done = {
            "/memories/{id:[0-9a-f]{32}}/forget": page.forget_memory,
            "/messages/{id:[0-9a-f]{32}}/forget": page.forget_message,
            "/memories/{id:[0-9a-f]{32}}/edit": page.edit,
            "/memories/{id:[0-9a-f]{32}}/close": page.close,
            "/memories/{id:[0-9a-f]{32}}/{mark:pin|unpin|mute|unmute}": page.mark,
            "/pause": privacy.pause,
            "/resume": privacy.resume,
            "/consent/give": privacy.agree,
            "/consent/refuse": privacy.refuse,
            "/export": privacy.export,
            "/erase": privacy.erase,
        }
        signed_in = partial(self._gate.signed_in, as_page=True)
        return [
            *(web.get(MEMORY + path, signed_in(handler)) for path, handler in seen.items()),
            *(web.post(MEMORY + path, signed_in(handler)) for path, handler in done.items()),
        ]

    async def start(self) -> None:
        """Nothing to connect to: the routes are all there is."""

    async def stop(self) -> None:
        """Ends the open streams; pages ask again until the service is back."""
        self._streams.close()
