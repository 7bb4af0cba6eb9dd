"""Special categories of data (GDPR, Article 9): remembered only with consent, if that is asked for.

What is told of health, belief, origin, politics, unions or love stands in the conversation like all that is
said; without consent it becomes no memory, isn't indexed, and is recalled in no other conversation.
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.memory.cues import cue
from core.storage.schema import users


def is_special(text: str) -> bool:
    """Whether the text may tell of one: by cues, which rather find too much."""
    return bool(cue("special").search(text))


class SpecialCategories:
    """Knows who agreed. `asks`: whether anybody has to; else such things are remembered like all others."""

    def __init__(self, *, asks: bool) -> None:
        self._asks = asks

    async def may_keep(self, connection: AsyncConnection, user_id: str, text: str) -> bool:
        """Whether what the text says may be remembered of the user."""
        if not self._asks or not is_special(text):
            return True
        consent = select(users.c.special_consent).where(users.c.id == user_id)
        return await connection.scalar(consent) is True
