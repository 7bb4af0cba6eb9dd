"""A platform on paper: an outlet that keeps what it is told to show, and fails when a test says so."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo

from core.delivery.outlet import Pace
from core.errors import DeliveryUnknown
from core.messages import ConversationKind, ConversationRef, IncomingMessage, Sender
from core.storage.database import new_id
from core.storage.pacer import Limit

CHANNEL = "paper"
WORKSPACE = "desk"


@dataclass
class Sheet:
    """One message at the platform: `texts` are what it showed over time."""

    delivery_id: int
    address: Mapping[str, str]
    texts: list[str]
    reply_to: str | None
    final: bool

    @property
    def shown(self) -> str:
        return self.texts[-1]


@dataclass
class Paper:
    """An `Outlet`. What stands in `open_faults` and `edit_faults` is raised by the next calls, one each.

    `lost` faults are raised after the message was put up, as when a platform's answer doesn't arrive.
    """

    name: str = CHANNEL
    part_chars: int = 100_000
    sheets: list[Sheet] = field(default_factory=list)
    open_faults: deque[BaseException] = field(default_factory=deque)
    lost_faults: deque[BaseException] = field(default_factory=deque)
    edit_faults: deque[BaseException] = field(default_factory=deque)
    hold: asyncio.Event | None = None
    """Sending waits for it."""
    hold_edit: asyncio.Event | None = None
    """The next edit waits for it."""
    opening: asyncio.Event = field(default_factory=asyncio.Event)
    thinking: int = 0
    gather_seconds: float = 0.0
    written: list[float] = field(default_factory=list)
    """When it was written to, in monotonic seconds."""
    limit: Limit = field(default_factory=lambda: Limit("", 1_000, 1.0))
    """How often each address may be written to; `live` writes leave one of its writes over."""
    tells: bool = False
    """Whether it can be asked for a message by its delivery."""

    @property
    def pace(self) -> Pace:
        return Pace(edit_interval_seconds=0.01, gather_seconds=self.gather_seconds)

    @property
    def shown(self) -> list[str]:
        return [sheet.shown for sheet in self.sheets]

    def limits(self, address: Mapping[str, str], *, live: bool) -> Sequence[Limit]:
        return [replace(self.limit, key=f"{self.name}:{address['to']}", count=self.limit.count - live)]

    def split(self, text: str) -> list[str]:
        text = text.strip()
        return [text[at : at + self.part_chars] for at in range(0, len(text), self.part_chars)]

    async def show_thinking(self, address: Mapping[str, str]) -> None:
        self.thinking += 1

    async def open(
        self, address: Mapping[str, str], text: str, *, reply_to: str | None, delivery_id: int, final: bool
    ) -> str:
        self.opening.set()
        if self.open_faults:
            raise self.open_faults.popleft()
        if self.hold is not None:
            await self.hold.wait()
        self.written.append(time.monotonic())
        self.sheets.append(Sheet(delivery_id, address, [text], reply_to, final))
        if self.lost_faults:
            raise self.lost_faults.popleft()
        return str(len(self.sheets))

    async def edit(
        self, address: Mapping[str, str], platform_id: str, text: str, *, delivery_id: int, final: bool
    ) -> None:
        if self.edit_faults:
            raise self.edit_faults.popleft()
        hold, self.hold_edit = self.hold_edit, None
        if hold is not None:
            await hold.wait()
        self.written.append(time.monotonic())
        sheet = self.sheets[int(platform_id) - 1]
        sheet.texts.append(text)
        sheet.final = final

    async def find(self, address: Mapping[str, str], delivery_id: int, sent_at: datetime) -> str | None:
        if not self.tells:
            raise DeliveryUnknown("paper can't tell")
        here = (n for n, sheet in enumerate(self.sheets, start=1) if sheet.delivery_id == delivery_id)
        return next(map(str, here), None)


def letter(
    text: str,
    *,
    person: str = "ana",
    conversation: str | None = None,
    kind: ConversationKind = ConversationKind.DIRECT,
    event: str | None = None,
    replaces: str | None = None,
    reply_to: str | None = None,
    to: str | None = None,
    sent_at: datetime | None = None,
    zone: tzinfo | None = None,
    workspace: str = WORKSPACE,
    outsider: bool = False,
    addressed: bool = True,
) -> IncomingMessage:
    """A message as the paper channel's adapter would make it; each is an event of its own.

    `to` is the chat that the conversation is in; it is sent now, unless `sent_at` says otherwise.
    """
    reference = conversation or person
    return IncomingMessage(
        channel=CHANNEL,
        workspace=workspace,
        event=event or new_id(),
        sender=Sender(person, person.title(), zone=zone, outsider=outsider),
        conversation=ConversationRef(reference, kind, {"to": to or reference}),
        text=text,
        sent_at=sent_at or datetime.now(UTC),
        reply_to=reply_to,
        replaces=replaces,
        addressed=addressed,
    )
