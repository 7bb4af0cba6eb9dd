"""What a person asks to be remembered: kept at once, in their own words, without a model."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from core.memory.asserted import asked_to_remember
from core.memory.claims import Claim, Kind, Memories
from core.memory.transcript import Line

SURE = 1.0
"""They said so, and that it counts."""


class Notes:
    """Keeps notes within the caller's transaction."""

    def __init__(self, memories: Memories) -> None:
        self._memories = memories

    @staticmethod
    def asked(texts: Sequence[str]) -> list[str]:
        """What the messages ask to be remembered."""
        return [text[slice(*span)] for text in texts for span in asked_to_remember(text)]

    async def keep(self, connection: AsyncConnection, user_id: str, lines: Sequence[Line]) -> None:
        """Makes a memory of whatever these messages ask to be remembered."""
        for line in lines:
            for start, end in asked_to_remember(line.text):
                fact = line.text[start:end]
                claim = Claim(
                    Kind.NOTE,
                    fact[:1].upper() + fact[1:],
                    None,
                    line,
                    start,
                    end,
                    certainty=SURE,
                    valid_from=line.said_at,
                )
                await self._memories.learn(connection, user_id, claim)
