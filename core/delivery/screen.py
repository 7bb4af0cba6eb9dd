"""What the web chat and the terminal show: their platform is the record itself, read as it changes."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, select, update

from core.delivery.inbox import OPEN_STATES
from core.delivery.turns import TurnState
from core.privacy.vault import Vault
from core.storage.bell import Bell
from core.storage.database import Database
from core.storage.schema import deliveries, inbox, messages, turns

SHOWN = "deliveries.shown"
ACCOUNT = "turns.account"
LOOK_SECONDS = 1.0
"""How often a reader looks though no bell rang: Redis may be away."""
FIRST_LOOK_SECONDS = 0.05
"""How soon a reader looks again for a reply that isn't begun; the pauses grow."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A turn's reply so far. When `ended`, `account` says what was recalled and how long things took."""

    turn: int
    text: str
    ended: bool
    failed: bool = False
    account: dict[str, Any] = field(default_factory=dict)


def _topic(turn_id: int) -> str:
    return f"screen:{turn_id}"


class Screen:
    """Shows replies to their readers, in whatever process these are."""

    def __init__(self, database: Database, vault: Vault, bell: Bell) -> None:
        self._database = database
        self._vault = vault
        self._bell = bell

    async def show(self, delivery_id: int, text: str) -> None:
        """Makes a delivery read `text`, and tells who reads along."""
        async with self._database.write() as connection:
            turn = (
                await connection.execute(
                    select(turns.c.id, turns.c.user_id).join(deliveries).where(deliveries.c.id == delivery_id)
                )
            ).one()
            box = await self._vault.box(connection, turn.user_id)
            await connection.execute(
                update(deliveries)
                .where(deliveries.c.id == delivery_id)
                .values(shown_sealed=box.seal(text, SHOWN))
            )
        await self._bell.ring(_topic(turn.id))

    async def ended(self, turn_id: int) -> None:
        """Tells who reads along that the turn is over."""
        await self._bell.ring(_topic(turn_id))

    async def follow(self, inbox_id: int, user_id: str) -> AsyncGenerator[Progress, None]:
        """The reply to one of the user's messages as it grows; the last one has `ended`.

        Raises:
            LookupError: the user has no such message, or it was forgotten meanwhile.
        """
        pause = FIRST_LOOK_SECONDS
        turn_id = await self._turn(inbox_id, inbox.c.user_id == user_id)
        while turn_id is None:
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, LOOK_SECONDS)
            # Whose it was is known by now; who is erased meanwhile may still read the receipt.
            turn_id = await self._turn(inbox_id)
        shown: Progress | None = None
        async with self._bell.hearing(_topic(turn_id)) as rung:
            while shown is None or not shown.ended:
                progress = await self._progress(turn_id)
                if progress != shown:
                    yield progress
                shown = progress
                if not shown.ended:
                    await self._bell.wait(rung, LOOK_SECONDS)

    async def last_account(self, conversation_id: str, user_id: str) -> dict[str, Any]:
        """The account of the newest reply by the model that the user got here; {} where there is none."""
        newest = (
            select(turns.c.account_sealed)
            .join(messages, messages.c.turn_id == turns.c.id)
            .where(
                turns.c.conversation_id == conversation_id,
                turns.c.user_id == user_id,
                messages.c.role == "assistant",
            )
            .order_by(turns.c.id.desc())
            .limit(1)
        )
        async with self._database.read() as connection:
            sealed: bytes | None = await connection.scalar(newest)
            if sealed is None:
                return {}
            account: dict[str, Any] = (await self._vault.box(connection, user_id)).open_json(sealed, ACCOUNT)
        return account

    async def _turn(self, inbox_id: int, *where: ColumnElement[bool]) -> int | None:
        async with self._database.read() as connection:
            row = (
                await connection.execute(
                    select(inbox.c.turn_id, inbox.c.state).where(inbox.c.id == inbox_id, *where)
                )
            ).one_or_none()
        if row is None or (row.turn_id is None and row.state not in OPEN_STATES):
            raise LookupError("no such message")
        turn_id: int | None = row.turn_id
        return turn_id

    async def _progress(self, turn_id: int) -> Progress:
        async with self._database.read() as connection:
            turn = (await connection.execute(select(turns).where(turns.c.id == turn_id))).one_or_none()
            if turn is None:
                raise LookupError("no such turn")
            parts = (
                await connection.scalars(
                    select(deliveries.c.shown_sealed)
                    .where(deliveries.c.turn_id == turn_id, deliveries.c.shown_sealed.is_not(None))
                    .order_by(deliveries.c.part)
                )
            ).all()
            box = await self._vault.box(connection, turn.user_id)
        text = "".join(box.open(part, SHOWN) for part in parts if part is not None)
        account = box.open_json(turn.account_sealed, ACCOUNT) if turn.account_sealed else {}
        return Progress(turn_id, text, turn.state != TurnState.OPEN, turn.state == TurnState.DEAD, account)
