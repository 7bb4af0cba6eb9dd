"""What a person can ask for by a command: the door, help, a fresh start, what is remembered, forgetting."""

from dataclasses import dataclass
from textwrap import shorten

from core.delivery.turns import Turn
from core.memory.claims import Memories, Memory
from core.memory.forgetting import Forgetting
from core.memory.summary import Summaries
from core.memory.transcript import Line, Transcript
from core.privacy.audience import PRIVATE, visible_to
from core.storage.database import Database
from core.users.access import Access
from core.users.people import People, User

HELP = """\
I'm **Mneme**, an assistant that remembers what you tell me. Just write to me.

- `/memory` – what I remember about you, each with the message it came from
- `/forget NUMBER` – forget one of these, `/forget everything` – all of it
- `/reset` – begin a fresh conversation; I keep my memory
- `/help` – this

In Slack, write `!` instead of `/`."""

TRIAL_NOTE = (
    "_I'm running on a small model on this machine: good for trying me out, not for facts about the world._"
)
PRIVATE_DOOR = (
    "I'm somebody's personal assistant. If you have the code, send me `/start CODE` (in Slack `!start CODE`)."
)
WRONG_CODE = "That isn't the code. Whoever runs me sees it when I start."
WELCOME = "Hello! I'm Mneme. Tell me about yourself, or ask me something; `/help` shows what I can do."
NOTHING_YET = "I don't remember anything about you yet. Tell me something."
MAX_HEARD = 20
MAX_HEARD_CHARS = 200
MAX_DIGITS = 6
CONFIRM = "This forgets all I know about you, and what we said. Send `/forget everything yes` to do it."


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
        people: People,
        access: Access,
        transcript: Transcript,
        memories: Memories,
        summaries: Summaries,
        forgetting: Forgetting,
        *,
        on_trial: bool,
    ) -> None:
        self._database = database
        self._people = people
        self._access = access
        self._transcript = transcript
        self._memories = memories
        self._summaries = summaries
        self._forgetting = forgetting
        self._on_trial = on_trial

    async def at_the_door(self, turn: Turn) -> str:
        """What somebody hears who isn't admitted: the right code lets them in."""
        command = Command.read(turn.text)
        if command.name != "start" or not command.rest:
            return PRIVATE_DOOR
        if not self._access.opens(command.rest):
            return WRONG_CODE
        async with self._database.write() as connection:
            await self._people.admit(connection, turn.user_id)
        return self._welcome()

    async def run(self, turn: Turn, user: User) -> str:
        """The reply to the command that the turn is."""
        command = Command.read(turn.text)
        match command.name:
            case "start":
                return self._welcome()
            case "help":
                return HELP
            case "reset":
                return await self._reset(turn)
            case "memory":
                return await self._show(turn, user)
            case "forget":
                return await self._forget(turn, user, command.rest)
            case _:
                return f"I don't know the command `/{command.name[:32]}`.\n\n{HELP}"

    def _welcome(self) -> str:
        return f"{WELCOME}\n\n{TRIAL_NOTE}" if self._on_trial else WELCOME

    async def _reset(self, turn: Turn) -> str:
        async with self._database.write() as connection:
            await self._summaries.start_afresh(connection, turn.conversation.id, turn.id)
        return "A fresh start. I still remember what you told me about yourself."

    async def _listed(self, turn: Turn, user: User) -> tuple[list[Memory], list[Line]]:
        """What `/memory` lists and `/forget` counts: memories, then statements that none came of (yet)."""
        shown = visible_to(turn.conversation.audience)
        async with self._database.read() as connection:
            memories = await self._memories.of_user(connection, user.id, audience=shown)
            heard = await self._transcript.statements_without_memory(
                connection, user.id, limit=MAX_HEARD, audience=shown
            )
        return memories, [statement.line for statement in reversed(heard)]

    async def _show(self, turn: Turn, user: User) -> str:
        memories, heard = await self._listed(turn, user)
        parts = []
        if memories:
            rows = [_row(number, memory) for number, memory in enumerate(memories, start=1)]
            parts.append("What I remember about you:\n\n" + "\n".join(rows))
        if heard:
            rows = [
                f"{number}. “{_short(line.text)}”" for number, line in enumerate(heard, len(memories) + 1)
            ]
            parts.append("What you said, word for word:\n\n" + "\n".join(rows))
        if turn.conversation.audience != PRIVATE:
            parts.append("_What you told me elsewhere I show you in private._")
        return "\n\n".join(parts) if memories or heard else "\n\n".join([NOTHING_YET, *parts])

    async def _forget(self, turn: Turn, user: User, what: str) -> str:
        if what.casefold() == "everything":
            return CONFIRM
        if what.casefold() == "everything yes":
            count = await self._forgetting.everything(user.id)
            return f"Done. {count} memories and all our messages are gone."
        memories, heard = await self._listed(turn, user)
        place = int(what) - 1 if what.isdecimal() and len(what) <= MAX_DIGITS else -1
        if not 0 <= place < len(memories) + len(heard):
            return "Tell me which: `/memory` lists what I remember, `/forget 2` forgets the second."
        if place < len(memories):
            await self._forgetting.memory(user.id, memories[place].id)
            return "Forgotten, with the words that it came from."
        await self._forgetting.message(user.id, heard[place - len(memories)].id)
        return "Forgotten."


def _row(number: int, memory: Memory) -> str:
    source = memory.sources[-1]
    return f"{number}. {memory.text}\n   _{source.said_at:%Y-%m-%d}: “{source.quote}”_"


def _short(text: str) -> str:
    return shorten(text, MAX_HEARD_CHARS, placeholder=" …")
