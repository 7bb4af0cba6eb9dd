"""What a person can ask for by a command: the door, help, a fresh start, their memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from core.delivery.turns import Turn
from core.memory.summary import Summaries
from core.messages import ConversationKind
from core.reply.door_commands import ALREADY_IN, DoorCommands
from core.reply.memory_commands import MemoryCommands
from core.reply.page_link import PAGE_TO_EXPORT, PageLink
from core.reply.switch_commands import MARKS, SwitchCommands
from core.rights.switches import Mode, Switches
from core.storage.database import Database
from core.users.people import User

HELP = """\
I'm **Mneme**, an assistant that remembers what you tell me. Just write to me.

- `/memory` – what I remember about you, each with the message it came from
- `/memory why NUMBER` – why I think so; without a number, what my last answer rests on
- `/memory timeline WHAT` – what you told me about it, and when it changed
- `/memory edit NUMBER NEW TEXT` – put it right in your own words
- `/memory pin NUMBER` – keep it in mind at all times; `unpin` takes that back
- `/memory mute NUMBER` – keep it, but don't use it; `unmute` takes that back
- `/memory open NUMBER PLACE` – let a group know it (`/memory places`); `close` takes that back
- `/forget NUMBER` – forget one of these, `/forget everything` – all of it
- `/undo` – forget what you last asked me to remember here
- `/pause` – keep nothing of what you say from now on; `/resume` ends that
- `/consent` – whether I remember what you tell me of your health, belief, origin, politics or love
- `/incognito` – the same for this conversation, in which I recall nothing either; `/incognito off` ends it
- `/link` – make your accounts on two channels one, `/unlink` – part them again
- `/erase` – erase all of you here, with a receipt
- `/export` – take all that I keep of you along
- `/page` – all of this as a page, to search and correct; sent in private only
- `/reset` – begin a fresh conversation; I keep my memory
- `/help` – this

In Slack, write `!` instead of `/`."""

TRIAL_NOTE = (
    "_I'm running on a small model on this machine: good for trying me out, not for facts about the world._"
)
WELCOME = "Hello! I'm Mneme. Tell me about yourself, or ask me something; `/help` shows what I can do."


def is_command(text: str) -> bool:
    """Whether the message asks for something by its first word, rather than saying something."""
    return text.startswith("/")


@dataclass(frozen=True, slots=True)
class Command:
    """A command and the rest of its line."""

    name: str
    rest: str

    @classmethod
    def read(cls, text: str) -> "Command":
        """The command that a message is; one without a name when it is none."""
        words = text[1:].split(maxsplit=1) if is_command(text) else []
        name, rest = [*words, "", ""][:2]
        return cls(name.lower(), rest)


class Commands:
    """Runs commands; each gives the reply's text."""

    def __init__(
        self,
        database: Database,
        summaries: Summaries,
        door: DoorCommands,
        memory: MemoryCommands,
        page_link: PageLink,
        switch: SwitchCommands,
        switches: Switches,
        *,
        on_trial: bool,
    ) -> None:
        self._database = database
        self._summaries = summaries
        self._door = door
        self._memory = memory
        self._page_link = page_link
        self._switch = switch
        self._switches = switches
        self._on_trial = on_trial

    async def at_the_door(self, turn: Turn, user: User) -> str:
        """What somebody hears who isn't admitted."""
        command = Command.read(turn.text)
        return await self._door.at_the_door(turn, user, command.name, command.rest, welcome=self._welcome())

    async def run(self, turn: Turn, user: User, mode: Mode) -> str:
        """The reply to the command that the turn is."""
        command = Command.read(turn.text)
        match command.name:
            case "start":
                return await self._door.start(turn, user, command.rest, welcome=self._welcome())
            case "help":
                return await self._door.help(user, HELP)
            case "ask":
                return ALREADY_IN
            case "invite":
                return await self._door.invite(turn, user, command.rest)
            case "requests":
                return await self._door.requests(turn, user)
            case "approve" | "deny" | "block":
                return await self._door.decide(turn, user, command.name, command.rest)
            case "reset":
                return await self._reset(turn)
            case "memory":
                told = await self._memory.memory(turn, user, command.rest)
                return told if mode.keeps else f"{told}\n\n{MARKS[mode]}"
            case "page":
                return await self._page_link.offer(turn, user)
            case "export":
                return await self._page_link.offer(turn, user, PAGE_TO_EXPORT)
            case "pause":
                return await self._switch.pause(user)
            case "resume":
                return await self._switch.resume(user)
            case "incognito":
                return await self._switch.incognito(turn, user, command.rest)
            case "consent":
                return await self._switch.consent(user, command.rest)
            case "undo":
                return await self._memory.undo(turn, user)
            case "forget":
                return await self._memory.forget(turn, user, command.rest)
            case _:
                return f"I don't know the command `/{command.name[:32]}`.\n\n{HELP}"

    async def news(self, connection: AsyncConnection, turn: Turn) -> Sequence[str]:
        """What the person is told beside an answer, in private and once: as `DoorCommands.news`."""
        is_private = turn.conversation.kind is ConversationKind.DIRECT
        return await self._door.news(connection, turn.user_id) if is_private else ()

    def _welcome(self) -> str:
        return f"{WELCOME}\n\n{TRIAL_NOTE}" if self._on_trial else WELCOME

    async def _reset(self, turn: Turn) -> str:
        async with self._database.write() as connection:
            await self._summaries.start_afresh(connection, turn.conversation.id, turn.id)
            await self._switches.forget_unkept(connection, turn.user_id, turn.conversation.id)
        return "A fresh start. I still remember what you told me about yourself."
