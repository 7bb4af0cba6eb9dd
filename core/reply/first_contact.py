"""First contact: what a person is told once, before anything is known of them."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.turns import Turn
from core.destinations import destinations
from core.settings import Settings
from core.storage.schema import users

ENGLISH = "en"


class FirstContact:
    """Tells what is kept, where it is processed, how to say no, and who needs a parent's consent."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Raises:
        ConfigurationError: `DATABASE_URL` can't be read.
        """
        self._tells = settings.privacy_notice
        self._clock = clock
        elsewhere = [each for each in destinations(settings) if not each.is_here and not each.is_platform]
        self._hosts = list(dict.fromkeys(each.host for each in elsewhere))

    async def told(self, connection: AsyncConnection, turn: Turn) -> list[str]:
        """The notice, if the turn's person was let in and hasn't had it yet; from now on they have."""
        if not self._tells:
            return []
        let_in = (users.c.admitted_at.is_not(None), users.c.blocked_at.is_(None))
        informed = await connection.execute(
            update(users)
            .where(users.c.id == turn.user_id, *let_in, users.c.informed_at.is_(None))
            .values(informed_at=self._clock.now())
        )
        return [self.notice(turn.messages[0].language)] if informed.rowcount else []

    def notice(self, language: str | None) -> str:
        """The four lines, in the language (as "pt-br") if there are such, else in English."""
        texts = _texts()
        lines = texts.get((language or ENGLISH).casefold()[:2], texts[ENGLISH])
        where = lines["there"].format(hosts=", ".join(self._hosts)) if self._hosts else lines["here"]
        return "\n".join(f"- {line}" for line in (lines["kept"], where, lines["no"], lines["age"]))


@cache
def _texts() -> dict[str, dict[str, Any]]:
    return tomllib.loads((Path(__file__).parent / "first_contact.toml").read_text(encoding="utf-8"))
