"""What a person asks by a command about who may know a memory: places, opening, closing."""

from collections.abc import Mapping, Sequence

from core.delivery.turns import Turn
from core.memory.openings import Openings, Place
from core.messages import ConversationKind
from core.privacy.audience import PRIVATE
from core.storage.database import Database
from core.users.people import User

NO_PLACES = "I know of no group that you have written in."
IN_PRIVATE = "I'd have to say it here to ask which. Write that to me in private."
OPEN_WHICH = (
    "`/memory open 2 1` lets me mention the second of your memories in the first of your groups; "
    "`/memory` lists the ones, `/memory places` the others."
)
CLOSE_WHICH = "That one is open nowhere. `/memory` shows which are; `/memory close 2` closes the second."
OPENED = "From now on I may mention that in this group: {}. `/memory close {}` ends it."
CLOSED = "I keep that between us again. What I have said there already, stands there."
MAX_DIGITS = 6


class OpeningCommands:
    """Runs `/memory places`, `/memory open` and `/memory close`; each gives the reply's text."""

    def __init__(self, database: Database, openings: Openings) -> None:
        self._database = database
        self._openings = openings

    async def places(self, turn: Turn, user: User) -> str:
        """The groups that a memory can be opened to, numbered."""
        if turn.conversation.audience != PRIVATE:
            return IN_PRIVATE
        found = await self._places(user)
        if not found:
            return NO_PLACES
        rows = [f"{number}. {_named(place)}" for number, place in enumerate(found, start=1)]
        return "Groups that you have written in:\n\n" + "\n".join(rows) + f"\n\n{OPEN_WHICH}"

    async def open(self, turn: Turn, user: User, memory_id: str | None, numbers: str) -> str:
        """Opens the memory, which is the first number, to the group that is the second."""
        if turn.conversation.audience != PRIVATE:
            return IN_PRIVATE
        number, _, place = numbers.partition(" ")
        found = await self._places(user)
        at = int(place) - 1 if place.strip().isdecimal() and len(place) <= MAX_DIGITS else -1
        if memory_id is None or not 0 <= at < len(found):
            return OPEN_WHICH
        is_open = await self._openings.open(user.id, memory_id, found[at].conversation_id)
        return OPENED.format(_named(found[at]), number) if is_open else OPEN_WHICH

    async def close(self, turn: Turn, user: User, memory_id: str | None) -> str:
        """Closes the memory everywhere."""
        if turn.conversation.audience != PRIVATE:
            return IN_PRIVATE
        is_closed = memory_id is not None and await self._openings.close(user.id, memory_id)
        return CLOSED if is_closed else CLOSE_WHICH

    async def named(self, user: User) -> Mapping[str, str]:
        """By the ids of the user's memories that are open, where they may be mentioned."""
        async with self._database.read() as connection:
            opened = await self._openings.of_user(connection, user.id)
            if not opened:
                return {}
            places = await self._openings.places(connection, user.id)
        names = {place.conversation_id: _named(place) for place in places}
        return {
            memory_id: "; ".join(sorted(names.get(each, "a group of old") for each in groups))
            for memory_id, groups in opened.items()
        }

    async def _places(self, user: User) -> Sequence[Place]:
        async with self._database.read() as connection:
            return await self._openings.places(connection, user.id)


def _named(place: Place) -> str:
    kind = "thread" if place.kind is ConversationKind.THREAD else "group"
    return f"{place.channel.title()} {kind} (since {place.since:%Y-%m-%d}, you wrote {place.last:%Y-%m-%d})"
