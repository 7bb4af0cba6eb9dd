"""Updates on their way to the front desk: read, taken, and counted by what became of them."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import structlog
from prometheus_client import Counter
from telegram import Update

from bots.channel import Desk
from bots.telegram.client import Client
from bots.telegram.mapping import BotAccount, to_incoming
from core.errors import StoreUnavailable
from core.messages import Accepted, IncomingMessage

LONGEST_PAUSE_SECONDS = 60.0
UNEXPECTED_TRIES = 3
"""How often an update that makes the desk fail in a way it doesn't declare is offered to it."""

_UPDATES = Counter("mneme_telegram_updates", "Telegram's updates, by what became of them.", ["outcome"])

_log = structlog.get_logger()


class Pause:
    """Back-off: doubles from failure to failure, with some chance in it; never shorter than Telegram asks."""

    def __init__(self, first_seconds: float) -> None:
        self._first_seconds = first_seconds
        self._next_seconds = first_seconds

    def reset(self) -> None:
        self._next_seconds = self._first_seconds

    def after_failure(self, asked_seconds: float | None = None) -> float:
        """How many seconds to wait now."""
        seconds = self._next_seconds * random.uniform(0.75, 1.25)  # noqa: S311 - not a secret
        self._next_seconds = min(self._next_seconds * 2, LONGEST_PAUSE_SECONDS)
        return max(seconds, asked_seconds or 0.0)


class Intake:
    """Hands updates, as Telegram's own JSON, to the desk; `me` is set once Telegram said who the bot is."""

    def __init__(self, desk: Desk, client: Client, first_pause_seconds: float) -> None:
        self.me: BotAccount | None = None
        self._desk = desk
        self._client = client
        self._first_pause_seconds = first_pause_seconds
        self._taking: set[asyncio.Task[Sequence[Accepted]]] = set()

    async def take(self, *updates: dict[str, Any]) -> None:
        """Takes updates, all or none; when it returns, they need no second delivery.

        Raises:
            StoreUnavailable: nothing was written; they must come again.
        """
        messages = [message for update in updates if (message := self._read(update)) is not None]
        _UPDATES.labels("skipped").inc(len(updates) - len(messages))
        if not messages:
            return
        taking = asyncio.ensure_future(self._desk.take(messages))
        self._taking.add(taking)
        taking.add_done_callback(self._taking.discard)
        # A stop, or a platform that hangs up, doesn't break off what is being written down.
        for accepted in await asyncio.shield(taking):
            _UPDATES.labels("duplicate" if accepted.duplicate else "accepted").inc()

    async def take_in_the_end(self, updates: Sequence[dict[str, Any]]) -> None:
        """Takes updates, however long the store is away; until then Telegram keeps them and what follows."""
        if len(updates) > 1:
            try:
                return await self.take(*updates)
            except Exception as error:  # noqa: BLE001 - which of them it is shows when each goes alone
                _log.info("telegram_updates_go_singly", error=type(error).__name__)
        for update in updates:
            await self._take_one_in_the_end(update)
        return None

    async def _take_one_in_the_end(self, update: dict[str, Any]) -> None:
        pause = Pause(self._first_pause_seconds)
        update_id, tries = update["update_id"], 0
        while True:
            try:
                return await self.take(update)
            except StoreUnavailable:
                _log.warning("telegram_update_waits", update_id=update_id)
            except Exception as error:  # noqa: BLE001 - one update must not keep all others from coming in
                tries += 1
                _log.error("telegram_update_failed", update_id=update_id, error=type(error).__name__)
                if tries >= UNEXPECTED_TRIES:
                    _UPDATES.labels("failed").inc()
                    return None
            await asyncio.sleep(pause.after_failure())

    async def finish(self) -> None:
        """Waits for what is being written down."""
        await asyncio.gather(*self._taking, return_exceptions=True)

    def _read(self, update: dict[str, Any]) -> IncomingMessage | None:
        if self.me is None:
            raise StoreUnavailable("Telegram hasn't said yet who the bot is")
        try:
            return to_incoming(Update.de_json(update, self._client), self.me)
        except Exception as error:  # noqa: BLE001 - whatever its shape: delivered again, it is no more readable
            kind = type(error).__name__
            _log.warning("telegram_update_unreadable", update_id=update["update_id"], error=kind)
            return None
