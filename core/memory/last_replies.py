"""The last replies: what of somebody's memory was put in front of the model for each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import exists, select

from core.delivery.screen import ACCOUNT
from core.memory.transcript import Line, Transcript
from core.privacy.vault import Vault
from core.storage.database import Database
from core.storage.schema import messages, turns


@dataclass(frozen=True, slots=True)
class LastReply:
    """One reply by the model: to which of the user's messages, and its account's recalled memories."""

    asked: Sequence[Line]
    finished_at: datetime | None
    memories: Sequence[Mapping[str, Any]]


class LastReplies:
    """Reads the accounts of one user's replies."""

    def __init__(self, database: Database, vault: Vault, transcript: Transcript) -> None:
        self._database = database
        self._vault = vault
        self._transcript = transcript

    async def of_user(self, user_id: str, *, limit: int) -> list[LastReply]:
        """The newest replies in all of the user's conversations, newest first.

        Those from before something was forgotten aren't among them: forgetting takes their accounts along.
        """
        answered = exists().where(messages.c.turn_id == turns.c.id, messages.c.role == "assistant")
        newest = (
            select(turns.c.id, turns.c.finished_at, turns.c.account_sealed)
            .where(turns.c.user_id == user_id, turns.c.kept, turns.c.account_sealed.is_not(None), answered)
            .order_by(turns.c.id.desc())
            .limit(limit)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(newest)).all()
            if not rows:
                return []
            box = await self._vault.box(connection, user_id)
            said = select(messages.c.id).where(
                messages.c.turn_id.in_([row.id for row in rows]), messages.c.role == "user"
            )
            ids = (await connection.scalars(said.order_by(messages.c.position))).all()
            lines = await self._transcript.of_user(connection, user_id, ids)
        return [
            LastReply(
                asked=[lines[id] for id in ids if id in lines and lines[id].turn_id == row.id],
                finished_at=row.finished_at,
                memories=box.open_json(row.account_sealed, ACCOUNT).get("memories", []),
            )
            for row in rows
        ]
