"""What a person asks of their memory by a command: what is there, why, since when, and that it goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from textwrap import shorten
from typing import Any

from core.delivery.screen import Screen
from core.delivery.turns import Turn
from core.errors import InvalidMessage, MnemeError
from core.memory.claims import Derivation, Memories, Memory
from core.memory.corrections import Corrections, Said
from core.memory.forgetting import Forgetting
from core.memory.recall import Recaller
from core.memory.transcript import Line, Transcript
from core.privacy.audience import PRIVATE, visible_to
from core.reply.opening_commands import OpeningCommands
from core.storage.database import Database
from core.users.people import User

NOTHING_YET = "I don't remember anything about you yet. Tell me something."
MAX_HEARD = 20
MAX_HEARD_CHARS = 200
MAX_DIGITS = 6
CONFIRM = "This forgets all I know about you, and what we said. Send `/forget everything yes` to do it."
WHICH = "Tell me which: `/memory` lists what I remember, `/forget 2` forgets the second."
WHY_WHICH = "`/memory why 2` tells why I think the second; `/memory why` what my last answer rests on."
NO_REASON = "My last answer here rests on nothing that I remember about you."
NO_HISTORY = "You haven't told me anything about that."
NO_CHANGES = "Nothing that you told me has changed so far."
NOTHING_NOTED = "There is nothing here that you asked me to remember. `/forget` takes back anything else."
EDIT_WHICH = (
    "`/memory edit 2 I live in Porto` puts these words in the place of the second that `/memory` lists."
)
CORRECTED = (
    "Corrected: “{}”. What it was before stands in its history: `/memory why` shows it, `/forget` takes both."
)
MARK_WHICH = (
    "Tell me which: `/memory pin 2` has me keep the second in mind at all times, `/memory mute 2` keeps it, "
    "but I don't use it; `unpin` and `unmute` take that back."
)
MARKED = {
    "pin": "Pinned: I have it in mind at all times.",
    "unpin": "Unpinned. I still remember it.",
    "mute": "Muted: I keep it and show it to you, but I don't use it, nor the message that it came from.",
    "unmute": "I use it again.",
}
RESTING = "My memory is resting at the moment. Please ask again in a little while."


@dataclass(frozen=True, slots=True)
class _Listed:
    """What `/memory` lists and numbers: memories, then statements that none came of (yet)."""

    memories: Sequence[Memory]
    heard: Sequence[Line]


class MemoryCommands:
    """Runs `/memory`, `/forget` and `/undo`; each gives the reply's text."""

    def __init__(
        self,
        database: Database,
        screen: Screen,
        transcript: Transcript,
        memories: Memories,
        forgetting: Forgetting,
        recaller: Recaller,
        corrections: Corrections,
        opening: OpeningCommands,
    ) -> None:
        self._database = database
        self._screen = screen
        self._transcript = transcript
        self._memories = memories
        self._forgetting = forgetting
        self._recaller = recaller
        self._corrections = corrections
        self._opening = opening

    async def memory(self, turn: Turn, user: User, rest: str) -> str:
        """`/memory`, `/memory why [NUMBER]`, `timeline [WHAT]`, `edit NUMBER TEXT`, `pin|mute NUMBER`.

        `/memory places`, `open NUMBER PLACE`, `close NUMBER`.
        """
        wanted, _, about = rest.partition(" ")
        match wanted.casefold():
            case "why":
                return await self._why(turn, user, about.strip())
            case "timeline":
                return await self._timeline(turn, user, about.strip())
            case "edit":
                return await self._edit(turn, user, about)
            case "places":
                return await self._opening.places(turn, user)
            case "open":
                id = await self._numbered(turn, user, about.partition(" ")[0])
                return await self._opening.open(turn, user, id, about.strip())
            case "close":
                return await self._opening.close(turn, user, await self._numbered(turn, user, about.strip()))
            case "pin" | "unpin" | "mute" | "unmute" as mark:
                return await self._mark(turn, user, mark, about.strip())
            case _:
                return await self._show(turn, user)

    async def _edit(self, turn: Turn, user: User, what: str) -> str:
        number, text = [*what.split(maxsplit=1), "", ""][:2]
        id = await self._numbered(turn, user, number)
        message = turn.messages[0]
        said = Said(turn.conversation.audience, message.sent_at, message.edits or message.event_digest)
        try:
            done = await self._corrections.edit(user.id, id or "", text, said)
        except InvalidMessage as error:
            return str(error)
        return CORRECTED.format(_short(text)) if done else EDIT_WHICH

    async def _mark(self, turn: Turn, user: User, mark: str, number: str) -> str:
        """Pins or mutes what `/memory` lists under the number, or takes that back."""
        id = await self._numbered(turn, user, number)
        if id is None:
            return MARK_WHICH
        make = self._corrections.pin if mark.endswith("pin") else self._corrections.mute
        try:
            await make(user.id, id, not mark.startswith("un"))
        except InvalidMessage as error:
            return str(error)
        return MARKED[mark]

    async def _numbered(self, turn: Turn, user: User, number: str) -> str | None:
        """The id of the memory, or of the message, that `/memory` lists under the number."""
        listed = await self._listed(turn, user)
        ids = [memory.id for memory in listed.memories] + [line.id for line in listed.heard]
        place = _place(number)
        return ids[place] if 0 <= place < len(ids) else None

    async def forget(self, turn: Turn, user: User, what: str) -> str:
        """`/forget NUMBER`, `/forget everything`."""
        if what.casefold() == "everything":
            return CONFIRM
        if what.casefold() == "everything yes":
            count = await self._forgetting.everything(user.id)
            return f"Done. {count} memories and all our messages are gone."
        listed = await self._listed(turn, user)
        place = _place(what)
        if not 0 <= place < len(listed.memories) + len(listed.heard):
            return WHICH
        if place < len(listed.memories):
            memory = listed.memories[place]
            await self._forgetting.memory(user.id, memory.id)
            if memory.derivation is Derivation.CONCLUDED:
                return "Forgotten. What I concluded it from stays, and I won't conclude it again."
            return "Forgotten, with the words that it came from."
        await self._forgetting.message(user.id, listed.heard[place - len(listed.memories)].id)
        return "Forgotten."

    async def undo(self, turn: Turn, user: User) -> str:
        """`/undo`: the newest note in this conversation is forgotten."""
        async with self._database.read() as connection:
            note = await self._memories.last_note(connection, user.id, turn.conversation.id)
        if note is None or not await self._forgetting.memory(user.id, note):
            return NOTHING_NOTED
        return "Forgotten."

    async def _listed(self, turn: Turn, user: User) -> _Listed:
        shown = visible_to(turn.conversation.audience)
        async with self._database.read() as connection:
            memories = await self._memories.of_user(connection, user.id, audience=shown)
            heard = await self._transcript.statements_without_memory(
                connection, user.id, limit=MAX_HEARD, audience=shown
            )
        return _Listed(memories, [statement.line for statement in reversed(heard)])

    async def _show(self, turn: Turn, user: User) -> str:
        listed = await self._listed(turn, user)
        parts = []
        opened = await self._opening.named(user) if turn.conversation.audience == PRIVATE else {}
        if listed.memories:
            rows = [
                _row(number, memory, opened.get(memory.id))
                for number, memory in enumerate(listed.memories, start=1)
            ]
            parts.append("What I remember about you:\n\n" + "\n".join(rows))
        if listed.heard:
            rows = [
                f"{number}. “{_short(line.text)}”"
                for number, line in enumerate(listed.heard, len(listed.memories) + 1)
            ]
            parts.append("What you said, word for word:\n\n" + "\n".join(rows))
        if turn.conversation.audience != PRIVATE:
            parts.append("_What you told me elsewhere I show you in private._")
        return "\n\n".join(parts) if listed.memories or listed.heard else "\n\n".join([NOTHING_YET, *parts])

    async def _why(self, turn: Turn, user: User, which: str) -> str:
        if not which:
            return await self._why_the_last_answer(turn, user)
        listed = await self._listed(turn, user)
        place = _place(which)
        if not 0 <= place < len(listed.memories):
            return WHY_WHICH
        memory = listed.memories[place]
        async with self._database.read() as connection:
            before = await self._memories.replaced_by(connection, user.id, [memory.id])
        since = f"_({_kind(memory)}, since {_day(memory.valid_from)})_"
        parts = [f"**{memory.text}** {since}", _sources(memory)]
        if not memory.is_believed:
            parts.append("_You weren't sure. I don't use it before you say it again._")
        if before:
            parts.append("Before that:\n\n" + "\n".join(map(_entry, before)))
        return "\n\n".join(parts)

    async def _why_the_last_answer(self, turn: Turn, user: User) -> str:
        """What was recalled for it, as its account has it, and where that comes from."""
        account = await self._screen.last_account(turn.conversation.id, user.id)
        used = account.get("memories", [])
        if not used:
            return NO_REASON
        rows = [_used(each) for each in used]
        return "For my last answer here I remembered:\n\n" + "\n".join(rows)

    async def _timeline(self, turn: Turn, user: User, about: str) -> str:
        try:
            told = await self._recaller.history(user.id, about, turn.conversation.audience)
        except MnemeError:
            return RESTING
        if not told:
            return NO_HISTORY if about else NO_CHANGES
        title = f"What you told me about “{_short(about)}”" if about else "What has changed"
        return f"{title}, oldest first:\n\n" + "\n".join(_entry(each) for each in told)


def _place(what: str) -> int:
    return int(what) - 1 if what.isdecimal() and len(what) <= MAX_DIGITS else -1


def _row(number: int, memory: Memory, opened_to: str | None) -> str:
    notes = {
        f"may be mentioned in: {opened_to}": opened_to is not None,
        "pinned": memory.is_pinned,
        "muted: I don't use it": memory.is_muted,
        "you weren't sure": not memory.is_believed,
        "my own conclusion": memory.derivation is Derivation.CONCLUDED,
    }
    marks = "".join(f" _({note})_" for note, applies in notes.items() if applies)
    return f"{number}. {memory.text}{marks}\n   {_cited(memory)}"


def _entry(told: Memory | Line) -> str:
    if isinstance(told, Line):
        return f"- {_day(told.said_at)}: “{_short(told.text)}”"
    ended = told.valid_until if told.valid_until and told.valid_until > told.valid_from else None
    until = f" until {_day(ended)}" if ended else ""
    return f"- {_day(told.valid_from)}{until}: {told.text}\n  {_cited(told)}"


def _cited(memory: Memory) -> str:
    source = memory.sources[-1]
    return f"_{_day(source.said_at)}: “{_short(source.quote)}”_"


def _used(recalled: Mapping[str, Any]) -> str:
    """A memory of a reply's account."""
    source = recalled["source"]
    return f"- {_short(recalled['text'])}\n  _{source['said_at'][:10]}: “{_short(source['quote'])}”_"


def _sources(memory: Memory) -> str:
    rows = [f"- {_day(source.said_at)}: “{_short(source.quote)}”" for source in memory.sources]
    title = "You corrected it to this yourself:" if memory.is_correction else "You told me so:"
    if memory.derivation is Derivation.CONCLUDED:
        title = "You didn't say so; I concluded it from this:"
    return f"{title}\n\n" + "\n".join(rows)


def _kind(memory: Memory) -> str:
    return f"{memory.kind}, about {memory.subject}" if memory.subject else str(memory.kind)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _short(text: str) -> str:
    return shorten(text, MAX_HEARD_CHARS, placeholder=" …")
