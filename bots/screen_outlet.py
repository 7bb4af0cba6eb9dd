"""The way out that the web chat and the terminal share: they read the record, nothing is sent."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from core.delivery.outlet import Pace
from core.delivery.screen import Screen
from core.storage.pacer import Limit

LIVE_SECONDS = 0.12
"""Eight times a second looks like flowing text, and is as often as the record should be written."""


class ScreenOutlet:
    """An `Outlet` onto the `Screen`; one message holds any reply."""

    def __init__(self, name: str, screen: Screen) -> None:
        self._name = name
        self._screen = screen

    @property
    def name(self) -> str:
        return self._name

    @property
    def pace(self) -> Pace:
        return Pace(edit_interval_seconds=LIVE_SECONDS)

    def limits(self, address: Mapping[str, str], *, live: bool) -> Sequence[Limit]:
        return []

    def split(self, text: str) -> list[str]:
        return [text] if text.strip() else []

    async def show_thinking(self, address: Mapping[str, str]) -> None:
        """Nothing to do: readers see that the reply hasn't begun."""

    async def open(
        self, address: Mapping[str, str], text: str, *, reply_to: str | None, delivery_id: int, final: bool
    ) -> str:
        await self._screen.show(delivery_id, text)
        return str(delivery_id)

    async def edit(
        self, address: Mapping[str, str], platform_id: str, text: str, *, delivery_id: int, final: bool
    ) -> None:
        await self._screen.show(delivery_id, text)

    async def find(self, address: Mapping[str, str], delivery_id: int, sent_at: datetime) -> str | None:
        """The delivery itself is the message: it is always there to be shown."""
        return str(delivery_id)
