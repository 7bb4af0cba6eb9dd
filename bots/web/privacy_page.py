"""The part of the page for what a person may ask for: a pause, a copy of all, and to be erased."""

import asyncio

from aiohttp import web

from bots.web.book import Book, back
from bots.web.gate import Gate, Refused, form_body
from bots.web.recollection import tell_index
from bots.web.rendering import Rendering
from core.app import App
from core.rights.export import packed
from core.users.sign_in import Visitor


class PrivacyPage:
    """The routes of this part. Each answers for its visitor alone."""

    def __init__(self, app: App, gate: Gate, rendering: Rendering, book: Book) -> None:
        self._app = app
        self._gate = gate
        self._rendering = rendering
        self._book = book

    async def show(self, request: web.Request, visitor: Visitor) -> web.Response:
        """GET /memory/privacy."""
        values: dict[str, object] = {"asks_consent": self._app.settings.special_categories == "ask"}
        if values["asks_consent"]:
            values["consent"] = await self._app.consent.given(visitor.user_id)
            values["concerned"] = len(await self._app.consent.concerned(visitor.user_id))
        return await self._book.page(request, visitor, "memory_privacy.html", "privacy", **values)

    async def pause(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST /memory/pause: nothing of what the visitor says is kept, anywhere."""
        await self._app.switches.pause(visitor.user_id)
        return back(await form_body(request), "paused")

    async def resume(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST /memory/resume: it is kept again; what they said meanwhile is destroyed."""
        await self._app.switches.resume(visitor.user_id)
        return back(await form_body(request), "resumed")

    async def agree(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST /memory/consent/give: what the law protects especially is remembered, too."""
        form = await form_body(request)
        await self._app.consent.give(visitor.user_id)
        await tell_index(self._app, visitor.user_id)
        return back(form, "agreed")

    async def refuse(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST /memory/consent/refuse: it isn't, and what is remembered of it goes."""
        form = await form_body(request)
        await self._app.consent.refuse(visitor.user_id)
        await tell_index(self._app, visitor.user_id)
        return back(form, "refused")

    async def export(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST /memory/export: all that is kept of the visitor, as a zip file to save."""
        archive = await self._app.export.archive(visitor.user_id)
        body = await asyncio.to_thread(packed, archive)
        name = f"mneme-{archive.exported_at:%Y-%m-%d}.zip"
        return web.Response(
            body=body,
            content_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    async def erase(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST /memory/erase {word}: erases who typed the word, shows the receipt and signs out."""
        form = await form_body(request)
        wanted = self._rendering.catalogue.of(request)["privacy"]["erase_word"]
        if form.get("word", "").strip().casefold() != wanted.casefold():
            return back(form, "not_erased")
        try:
            receipt = await self._app.erasure.erase(visitor.user_id)
        except LookupError:
            raise Refused(401, "signed_out") from None
        response = self._rendering.page(request, "erased.html", {"receipt": receipt})
        self._gate.forget_session(response)
        response.headers["Clear-Site-Data"] = '"storage"'
        return response
