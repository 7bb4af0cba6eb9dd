"""The door in chat: what strangers hear there, and how whoever owns it lets people in."""

from collections.abc import Sequence
from textwrap import shorten

from sqlalchemy.ext.asyncio import AsyncConnection

from core.delivery.turns import Turn
from core.messages import ConversationKind
from core.storage.database import Database
from core.users.access import Access, Entry
from core.users.doors import Door, Mode
from core.users.invites import DAYS
from core.users.people import User
from core.users.requests import News, Request, RequestState

PRIVATE_DOOR = (
    "I'm somebody's personal assistant. If you have the code, send me `/start CODE` (in Slack `!start CODE`)."
)
OR_ASK = "If you have none, `/ask` tells them that you would like to be let in."
GROUP_DOOR = "I don't know you yet. Write to me in private, and I'll tell you how to be let in."
CLOSED_DOOR = "I'm somebody's personal assistant, and nobody new is let in at the moment."
BLOCKED = "I'm sorry, I don't answer you here. Whoever runs me has decided so."
ASKED = (
    "I have noted that you would like to be let in. Once that is decided, I'll say so when you write to me."
)
ALREADY_IN = "You are let in already. Just write to me."
DENIED = "You asked to be let in, and that was declined. With an invitation, `/start CODE` still lets you in."
TOO_MANY_ASK = "I can't note that at the moment. Please ask whoever runs me for an invitation."

WRONG_CODE = "That isn't the code. Whoever runs me sees it when I start."
SPENT_CODE = (
    "That code has done its work: somebody has claimed me with it already. Please ask them for an invitation."
)
WAIT = "Those were too many wrong codes. Please try again in an hour."

YOURS = (
    "From now on you decide who else may talk to me: `/invite` makes a code for somebody, "
    "`/requests` shows who asks to be let in."
)
OWNER_HELP = """\
You decide who may talk to me:

- `/invite` – a code that lets one person in; `/invite 5` – one for five people
- `/requests` – who asks to be let in; `/approve NUMBER`, `/deny NUMBER`, or `/block NUMBER`"""

NOT_YOURS = "Only whoever claimed me can do that."
IN_PRIVATE = "Please ask me that in private: others read along here."
INVITATION = (
    "Whoever sends me this is let in:\n\n`/start {code}`\n\n_{whom}, within {days} days. In Slack, with `!` "
    "instead of `/`._"
)
HOW_MANY = "`/invite` makes a code for one person, `/invite 5` for five; a hundred at most."
MOST_INVITED = 100
HOW_TO_DECIDE = "`/approve NUMBER`, `/deny NUMBER`, or `/block NUMBER`"
NOBODY_ASKS = "Nobody asks to be let in."
WHICH_REQUEST = "Tell me which: `/requests` lists them, `/{name} 3` is about the third."
DECIDED = {
    "approve": "{who} is let in, and hears of it with their next message.",
    "deny": "{who} isn't let in, and hears of it with their next message.",
    "block": "{who} is blocked: I don't read what they write.",
}
NEWS = {
    News.LET_IN: "_You have been let in. `/help` shows what I can do._",
    News.ASKED: "_Somebody asks to be let in: `/requests` shows who._",
}
MAX_DIGITS = 9
MAX_NAME_CHARS = 64
TIME = "%Y-%m-%d"


class DoorCommands:
    """Runs `/start` and `/ask` of those outside, and an owner's commands; each gives the reply's text."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    async def at_the_door(self, turn: Turn, user: User, name: str, rest: str, *, welcome: str) -> str:
        """What somebody hears who isn't admitted: with the right code, the welcome.

        `name` and `rest` are the command that the turn is. Codes aren't read in groups.
        """
        if user.blocked:
            return BLOCKED
        if turn.conversation.kind is not ConversationKind.DIRECT:
            return GROUP_DOOR
        if name == "start" and rest:
            return await self._enter(turn, rest, welcome)
        if name == "ask":
            return await self._ask(turn)
        return await self._door(turn)

    async def start(self, turn: Turn, user: User, rest: str, *, welcome: str) -> str:
        """`/start` of who is in already; the operator's code makes the door theirs."""
        if not rest:
            return welcome
        async with self._database.write() as connection:
            claimed = await self._access.claim(connection, user.id, _door_of(turn), rest)
        return f"{welcome}\n\n{YOURS}" if claimed else welcome

    async def help(self, user: User, text: str) -> str:
        """The help, with what else an owner can do."""
        return "\n\n".join([text, OWNER_HELP]) if await self._decides(user) else text

    async def invite(self, turn: Turn, user: User, rest: str) -> str:
        """`/invite [HOW MANY]`."""
        if (refusal := await self._refusal(turn, user)) is not None:
            return refusal
        uses = _number(rest or "1")
        if not 1 <= uses <= MOST_INVITED:
            return HOW_MANY
        async with self._database.write() as connection:
            code = await self._access.invites.make(connection, made_by=user.id, uses=uses)
        whom = "It works once" if uses == 1 else f"It works for {uses} people"
        return INVITATION.format(code=code, whom=whom, days=DAYS)

    async def requests(self, turn: Turn, user: User) -> str:
        """`/requests`: who waits to be let in."""
        if (refusal := await self._refusal(turn, user)) is not None:
            return refusal
        async with self._database.read() as connection:
            waiting = await self._access.requests.waiting(connection)
        if not waiting:
            return NOBODY_ASKS
        rows = [f"- {each.id}: {_who(each)}, {each.asked_at:{TIME}}" for each in waiting]
        return "\n".join(["These ask to be let in:", "", *rows, "", HOW_TO_DECIDE])

    async def decide(self, turn: Turn, user: User, name: str, rest: str) -> str:
        """`/approve NUMBER`, `/deny NUMBER`, `/block NUMBER`."""
        if (refusal := await self._refusal(turn, user)) is not None:
            return refusal
        async with self._database.write() as connection:
            request = await self._decide(connection, user, name, _number(rest))
        return WHICH_REQUEST.format(name=name) if request is None else DECIDED[name].format(who=_who(request))

    async def news(self, connection: AsyncConnection, user_id: str) -> Sequence[str]:
        """What somebody is told beside an answer, once: that they were let in, that somebody asks to be."""
        return [NEWS[each] for each in await self._access.requests.news(connection, user_id)]

    async def _decide(
        self, connection: AsyncConnection, user: User, name: str, number: int
    ) -> Request | None:
        if name == "approve":
            return await self._access.approve(connection, number, actor=user.id)
        if name == "deny":
            return await self._access.deny(connection, number, actor=user.id)
        request = await self._access.requests.get(connection, number)
        if request is not None:
            await self._access.block(connection, request.user_id, actor=user.id)
        return request

    async def _enter(self, turn: Turn, code: str, welcome: str) -> str:
        async with self._database.write() as connection:
            entry = await self._access.enter(connection, turn.user_id, _door_of(turn), code)
        said = {
            Entry.WRONG: WRONG_CODE,
            Entry.SPENT: SPENT_CODE,
            Entry.SHUT: CLOSED_DOOR,
            Entry.WAIT: WAIT,
            Entry.INVITED: welcome,
            Entry.CLAIMED: f"{welcome}\n\n{YOURS}",
        }
        return said[entry]

    async def _ask(self, turn: Turn) -> str:
        door = _door_of(turn)
        async with self._database.write() as connection:
            may_ask = await self._access.may_ask(connection, door)
            state = await self._access.ask(connection, turn.user_id, door) if may_ask else None
        if not may_ask:
            return await self._door(turn)
        if state is None:
            return TOO_MANY_ASK
        return DENIED if state is RequestState.DENIED else ASKED

    async def _door(self, turn: Turn) -> str:
        door = _door_of(turn)
        async with self._database.read() as connection:
            state = await self._access.requests.state(connection, turn.user_id)
            mode = await self._access.doors.mode(connection, door)
            may_ask = await self._access.may_ask(connection, door)
        if mode is Mode.CLOSED:
            return CLOSED_DOOR
        if state is RequestState.WAITING:
            return ASKED
        if state is RequestState.DENIED:
            return DENIED
        return f"{PRIVATE_DOOR} {OR_ASK}" if may_ask else PRIVATE_DOOR

    async def _decides(self, user: User) -> bool:
        async with self._database.read() as connection:
            return await self._access.doors.owns_any(connection, user.id)

    async def _refusal(self, turn: Turn, user: User) -> str | None:
        if not await self._decides(user):
            return NOT_YOURS
        return None if turn.conversation.kind is ConversationKind.DIRECT else IN_PRIVATE


def _door_of(turn: Turn) -> Door:
    return Door(turn.conversation.channel, turn.conversation.workspace)


def _number(what: str) -> int:
    return int(what) if what.isdecimal() and len(what) <= MAX_DIGITS else 0


def _who(request: Request) -> str:
    """A name is a stranger's own text: set as code, it is no link and no markup."""
    name = shorten(request.name.replace("`", "'"), MAX_NAME_CHARS, placeholder=" …")
    return f"`{name or '?'}` ({request.door.channel.capitalize()})"
