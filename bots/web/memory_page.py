"""The page of one's memory: looked through by topic, in time or by words, and mended. It needs no script."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from itertools import groupby

from aiohttp import web

from bots.web.book import DONE, Book, back
from bots.web.gate import Refused, form_body
from bots.web.recollection import tell_index
from core.app import App
from core.errors import InvalidMessage
from core.memory.claims import Kind
from core.memory.corrections import ENOUGH_PINNED, NEEDS_CONSENT, NO_WORDS, TOO_LONG, TOO_LONG_TO_PIN
from core.memory.overview import Held
from core.users.sign_in import Visitor

OF_EACH_TOPIC = 5
ON_A_PAGE = 50
REPLIES = 10
MAX_WORDS_CHARS = 300
MAX_PAGE = 10_000
REFUSALS = {
    NO_WORDS: "no_words",
    TOO_LONG: "too_long",
    TOO_LONG_TO_PIN: "too_long_to_pin",
    ENOUGH_PINNED: "enough_pinned",
    NEEDS_CONSENT: "needs_consent",
}
"""What a correction was refused for, as the texts' table "done" names it."""


class MemoryPage:
    """The routes of the page. Each answers for its visitor alone; what they change, they change by forms."""

    def __init__(self, app: App, book: Book) -> None:
        self._app = app
        self._book = book

    async def topics(self, request: web.Request, visitor: Visitor) -> web.Response:
        """GET /memory: the newest of each kind; ?kind=…: all of one; ?q=…: what a search finds."""
        words = request.query.get("q", "").strip()[:MAX_WORDS_CHARS]
        kind = request.query.get("kind")
        if words:
            found = await self._app.overview.search(visitor.user_id, words)
            return await self._book.page(
                request, visitor, "memory_found.html", "topics", words=words, found=found
            )
        if kind is None:
            topics = await self._app.overview.topics(visitor.user_id, each=OF_EACH_TOPIC)
            return await self._book.page(request, visitor, "memory_topics.html", "topics", topics=topics)
        if kind not in list(Kind):
            raise Refused(404, "no_memory")
        page = _page_number(request)
        leaf = await self._app.overview.of_kind(
            visitor.user_id, Kind(kind), offset=ON_A_PAGE * (page - 1), limit=ON_A_PAGE
        )
        values = {"kind": kind, "leaf": leaf, **_pages(request, leaf.count > ON_A_PAGE * page)}
        return await self._book.page(request, visitor, "memory_kind.html", "topics", **values)

    async def timeline(self, request: web.Request, visitor: Visitor) -> web.Response:
        """GET /memory/timeline: what holds and what held, month by month, newest first."""
        page = _page_number(request)
        leaf = await self._app.overview.timeline(
            visitor.user_id, offset=ON_A_PAGE * (page - 1), limit=ON_A_PAGE
        )
        months = [(month, list(held)) for month, held in groupby(leaf.entries, key=_month)]
        values = {"months": months, **_pages(request, leaf.count > ON_A_PAGE * page)}
        return await self._book.page(request, visitor, "memory_timeline.html", "timeline", **values)

    async def words(self, request: web.Request, visitor: Visitor) -> web.Response:
        """GET /memory/words: statements of which no memory was made."""
        page = _page_number(request)
        async with self._app.database.read() as connection:
            statements = await self._app.transcript.statements_without_memory(
                connection, visitor.user_id, limit=ON_A_PAGE + 1, offset=ON_A_PAGE * (page - 1)
            )
        values = {"statements": statements[:ON_A_PAGE], **_pages(request, len(statements) > ON_A_PAGE)}
        return await self._book.page(request, visitor, "memory_words.html", "words", **values)

    async def replies(self, request: web.Request, visitor: Visitor) -> web.Response:
        """GET /memory/replies: what of the memory was used for the last replies."""
        replies = await self._app.last_replies.of_user(visitor.user_id, limit=REPLIES)
        return await self._book.page(request, visitor, "memory_replies.html", "replies", replies=replies)

    async def forget_memory(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST /memory/memories/ID/forget: the memory goes, and the words that it rests on."""
        return await self._forget(request, visitor, self._app.forgetting.memory)

    async def forget_message(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST /memory/messages/ID/forget: the message goes, and all that rests on it alone."""
        return await self._forget(request, visitor, self._app.forgetting.message)

    async def edit(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST /memory/memories/ID/edit {text}: the person's own words take the place of the memory's.

        What is refused is asked for again, with what they wrote.
        """
        form, id = await form_body(request), request.match_info["id"]
        text = form.get("text", "")
        try:
            is_there = await self._app.corrections.edit(visitor.user_id, id, text)
        except InvalidMessage as error:
            values = {"done": _refusal(error), "id": id, "text": text, "back": form.get("back", "")}
            return await self._book.page(request, visitor, "memory_edit.html", "topics", **values)
        await tell_index(self._app, visitor.user_id)
        return back(form, "edited" if is_there else "gone")

    async def mark(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST /memory/memories/ID/(pin|unpin|mute|unmute): it is in every prompt, in none, or as usual."""
        form, mark = await form_body(request), request.match_info["mark"]
        corrections = self._app.corrections
        calls = {
            "pin": partial(corrections.pin, pinned=True),
            "unpin": partial(corrections.pin, pinned=False),
            "mute": partial(corrections.mute, muted=True),
            "unmute": partial(corrections.mute, muted=False),
        }
        try:
            is_there = await calls[mark](visitor.user_id, request.match_info["id"])
        except InvalidMessage as error:
            return back(form, _refusal(error))
        await tell_index(self._app, visitor.user_id)
        return back(form, mark if is_there else "gone")

    async def close(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST /memory/memories/ID/close: no group that it was opened to may know the memory any more."""
        form = await form_body(request)
        is_done = await self._app.openings.close(visitor.user_id, request.match_info["id"])
        return back(form, "closed" if is_done else "not_done")

    async def _forget(
        self, request: web.Request, visitor: Visitor, forget: Callable[[str, str], Awaitable[bool]]
    ) -> web.Response:
        form = await form_body(request)
        is_done = await forget(visitor.user_id, request.match_info["id"])
        await tell_index(self._app, visitor.user_id)
        return back(form, "forgotten" if is_done else "gone")


def _refusal(error: InvalidMessage) -> str:
    return REFUSALS.get(str(error), "not_done")


def _page_number(request: web.Request) -> int:
    asked = request.query.get("page", "1")
    return min(max(1, int(asked)), MAX_PAGE) if asked.isdecimal() and len(asked) < 9 else 1


def _pages(request: web.Request, has_older: bool) -> Mapping[str, str | None]:
    """The addresses of the pages before and after this one, where there are any."""
    page = _page_number(request)
    plain = request.rel_url.without_query_params(DONE)
    return {
        "newer": str(plain.update_query(page=page - 1)) if page > 1 else None,
        "older": str(plain.update_query(page=page + 1)) if has_older else None,
    }


def _month(held: Held) -> str:
    return f"{held.memory.valid_from:%Y-%m}"
