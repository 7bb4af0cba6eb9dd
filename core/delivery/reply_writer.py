"""Writing a reply: it grows at the platform as the model speaks, and its last word always arrives."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import structlog

from core.delivery.outbox import AFTERWORD, LONGEST_PAUSE_SECONDS, Outbox, Part
from core.delivery.turns import Turn
from core.errors import DeliveryError, DeliveryUnknown, LeaseLost, NotDelivered

FINAL_TRIES = 6
FIRST_PAUSE_SECONDS = 0.5
LEFTOVER = "…"
"""What a part shows that an earlier attempt opened and the reply in the end doesn't need."""

log = structlog.get_logger()


class ReplyWriter:
    """Shows a growing text at the platform, no faster than it likes; its last word always arrives."""

    def __init__(self, outbox: Outbox, turn: Turn) -> None:
        self._outbox = outbox
        self._turn = turn
        self._outlet = outbox.outlet(turn)
        self._parts: list[Part] = []
        self._text: Callable[[], Awaitable[str]] = _nothing
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._fate: DeliveryError | None = None

    @classmethod
    async def begin(cls, outbox: Outbox, turn: Turn) -> "ReplyWriter":
        """The writer for a turn's reply; it goes on where an earlier attempt ended.

        Raises: as `Outbox.outlet` and `Outbox.stored`.
        """
        writer = cls(outbox, turn)
        await writer.resume()
        return writer

    async def resume(self) -> None:
        self._parts = await self._outbox.stored(self._turn, self._outlet)
        self._fate = None

    def show(self, text: Callable[[], Awaitable[str]]) -> None:
        """Says that there is more; `stream` asks for the text so far when it brings it to the platform."""
        self._text = text
        self._changed.set()

    async def stream(self) -> None:
        """Until cancelled, shows the text as it grows. A platform that can't keep up is left in peace."""
        await self._changed.wait()
        if not self._parts:
            await asyncio.sleep(self._outlet.pace.gather_seconds)
        while True:
            await self._changed.wait()
            self._changed.clear()
            pause = self._outlet.pace.edit_interval_seconds
            text = await self._text()
            # Cancelled between send and store, a message's fate would be lost: let it end.
            bringing = asyncio.create_task(self._bring(text, final=False))
            bringing.add_done_callback(lambda task: task.cancelled() or task.exception())
            try:
                await asyncio.shield(bringing)
            except NotDelivered as error:
                pause = max(pause, error.retry_after or 0)
            except DeliveryError as error:
                log.info("live_edit_failed", turn=self._turn.id, reason=type(error).__name__)
                return
            await asyncio.sleep(pause)

    async def think(self) -> None:
        """Until cancelled, shows that a reply is on its way, as long as none of it can be seen."""
        while not self._parts:
            await self._outlet.show_thinking(self._turn.conversation.address)
            await asyncio.sleep(4)

    async def finish(self, text: str) -> None:
        """Shows the whole text, for as many tries as it takes within reason.

        Raises:
            NotDelivered: the platform still doesn't take it; the turn may be tried again later.
            DeliveryUnknown: it may have arrived; it must not be sent again.
            Undeliverable: refused for good.
        """
        await self._see_through(partial(self._bring, text, final=True))

    async def add(self, line: str) -> None:
        """Sends a line of its own behind a reply of unknown fate, once in a turn. Raises as `finish`."""
        await self._see_through(partial(self._open, AFTERWORD, line, final=True, urgent=True))

    async def _see_through(self, bring: Callable[[], Awaitable[None]]) -> None:
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, FINAL_TRIES + 1):
            try:
                return await bring()
            except DeliveryUnknown:
                await self.resume()  # where the platform can be asked; else it stays so
            except NotDelivered as error:
                if attempt == FINAL_TRIES or (error.retry_after or 0) > LONGEST_PAUSE_SECONDS:
                    raise
                await asyncio.sleep(error.retry_after or pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return None

    async def _bring(self, text: str, *, final: bool) -> None:
        async with self._one_at_a_time:
            for part in self._parts:
                if not part.stored:
                    await self._store(part)
            await self._put_up(self._outlet.split(text), final=final)

    async def _put_up(self, pieces: list[str], *, final: bool) -> None:
        for number, piece in enumerate(pieces):
            done = final or number < len(pieces) - 1
            if number >= len(self._parts):
                await self._open(number, piece, final=done, urgent=final)
            elif self._parts[number].shown != piece or self._parts[number].final != done:
                await self._edit(self._parts[number], piece, final=done, urgent=final)
        for part in self._parts[len(pieces) :] if final else ():
            await self._edit(part, LEFTOVER, final=True, urgent=True)

    async def _open(self, number: int, text: str, *, final: bool, urgent: bool) -> None:
        if self._fate is not None:
            raise self._fate
        await self._outbox.make_room(self._turn, self._outlet, live=False, urgent=urgent)
        delivery_id = await self._outbox.begin_part(self._turn, number)
        self._outbox.require_hold(self._turn)
        try:
            platform_id = await self._outlet.open(
                self._turn.conversation.address,
                text,
                reply_to=self._turn.reply_to if number in (0, AFTERWORD) else None,
                delivery_id=delivery_id,
                final=final,
            )
        except DeliveryError as error:
            if not isinstance(error, NotDelivered):
                self._fate = error
            await self._outbox.not_opened(self._turn, delivery_id, error)
            await self._heed(error)
            raise
        self._parts.append(Part(delivery_id, platform_id, text, final, stored=False))
        await self._store(self._parts[-1])

    async def _store(self, part: Part) -> None:
        await self._outbox.opened(part.delivery_id, part.platform_id)
        part.stored = True

    async def _edit(self, part: Part, text: str, *, final: bool, urgent: bool) -> None:
        await self._outbox.make_room(self._turn, self._outlet, live=not urgent, urgent=urgent)
        self._outbox.require_hold(self._turn)
        try:
            await self._edit_there(part, text, final=final)
        except DeliveryError as error:
            await self._heed(error)
            raise
        part.shown, part.final = text, final
        try:
            self._outbox.require_hold(self._turn)
        except LeaseLost:
            await self._mend(part)
            raise

    async def _edit_there(self, part: Part, text: str, *, final: bool) -> None:
        address = self._turn.conversation.address
        await self._outlet.edit(address, part.platform_id, text, delivery_id=part.delivery_id, final=final)

    async def _mend(self, part: Part) -> None:
        """Shows the whole reply again where a late edit of ours may have covered it."""
        whole = await self._outbox.whole(self._turn)
        if whole is not None:
            pieces = [*self._outlet.split(whole), *(LEFTOVER for _ in self._parts)]
            with suppress(DeliveryError):
                await self._edit_there(part, pieces[self._parts.index(part)], final=True)

    async def _heed(self, error: DeliveryError) -> None:
        """Lets no other reply, in whatever process, disturb a rest that the platform asks for."""
        if isinstance(error, NotDelivered) and error.retry_after:
            await self._outbox.rest(self._turn, self._outlet, error.retry_after)


async def _nothing() -> str:
    return ""
