"""A reply while it is being made, and what of it may be shown."""

import re
from collections.abc import Awaitable, Callable

from core.reply.links import without_links

HELD_BACK = "I held back something that was told to me in private. Whoever told me can ask me there."
"""In the place of the whole reply, which may say more about it; the same whoever told it."""

_SENTENCES = re.compile(r".*(?:[.!?…][\"'”’)*_]*\s|[。！？\n])", re.DOTALL)


class Draft:
    """Grows by pieces, as the model speaks.

    `given`: the addresses that may be links (see `addresses_in`). `is_betrayed`, in a group: whether a text
    tells what was told elsewhere.
    """

    def __init__(
        self, given: frozenset[str], is_betrayed: Callable[[str], Awaitable[bool]] | None = None
    ) -> None:
        self._given = given
        self._is_betrayed = is_betrayed
        self._said = ""
        self.is_held_back = False

    def add(self, piece: str) -> None:
        self._said += piece

    async def so_far(self) -> str:
        """What may be shown of it by now, as Markdown; "" for nothing.

        To a group whole sentences only: of one that is to be held back not even the beginning is shown.
        """
        if self._is_betrayed is None:
            return await self._shown(self._said)
        sentences = _SENTENCES.match(self._said)
        return await self._shown(sentences[0]) if sentences else ""

    async def whole(self) -> str:
        """What is to be shown in the end; "" if nothing was said."""
        return await self._shown(self._said)

    async def _shown(self, text: str) -> str:
        if self._is_betrayed and not self.is_held_back:
            self.is_held_back = await self._is_betrayed(text)
        return HELD_BACK if self.is_held_back else without_links(text.strip(), self._given)
