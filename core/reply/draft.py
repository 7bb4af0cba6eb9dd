"""A reply while it is being made, and what of it may be shown."""

from core.reply.links import without_links


class Draft:
    """Grows by pieces, as the model speaks. `given`: the addresses that may be links (see `addresses_in`)."""

    def __init__(self, given: frozenset[str]) -> None:
        self._given = given
        self._said = ""

    def add(self, piece: str) -> None:
        self._said += piece

    async def shown(self) -> str:
        """What may be shown of it by now, as Markdown; "" for nothing."""
        return without_links(self._said.strip(), self._given)
