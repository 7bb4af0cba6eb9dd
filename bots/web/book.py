"""What the parts of the page of one's memory share: their frame, and the way back from a form."""

from collections.abc import Mapping

from aiohttp import web

from bots.web.pages import MEMORY, see
from bots.web.rendering import Rendering
from core.app import App
from core.memory.corrections import MAX_CHARS
from core.privacy.audience import PRIVATE
from core.users.sign_in import Visitor

PARTS = {
    "topics": MEMORY,
    "timeline": f"{MEMORY}/timeline",
    "words": f"{MEMORY}/words",
    "replies": f"{MEMORY}/replies",
    "privacy": f"{MEMORY}/privacy",
}
DONE = "done"


class Book:
    """Shows one of the parts, named as the texts' table "memory" has it, to its visitor."""

    def __init__(self, app: App, rendering: Rendering) -> None:
        self._app = app
        self._rendering = rendering

    async def page(
        self, request: web.Request, visitor: Visitor, template: str, part: str, **values: object
    ) -> web.Response:
        """The template filled in. What was done or refused, `done`, stands in the address or in `values`."""
        done = str(values.pop("done", request.query.get(DONE, "")))
        texts = self._rendering.catalogue.of(request)
        frame = {
            "name": visitor.name,
            "is_paused": await self._app.switches.is_paused(visitor.user_id),
            "has_chat": visitor.account is not None,
            "parts_of_it": PARTS,
            "part": part,
            "words": "",
            "here": request.rel_url.path_qs,
            "private": PRIVATE,
            "max_chars": MAX_CHARS,
            "done": texts["done"].get(done),
        }
        return self._rendering.page(request, template, {**frame, **values})


def back(form: Mapping[str, str], done: str) -> web.Response:
    """To where the form stood, if that is on this page, with word of what was done."""
    path, _, query = form.get("back", MEMORY).partition("?")
    if path not in PARTS.values():
        path, query = MEMORY, ""
    kept = [each for each in query.split("&") if each and not each.startswith(f"{DONE}=")]
    return see(f"{path}?{'&'.join([*kept, f'{DONE}={done}'])}")
