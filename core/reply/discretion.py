"""Discretion: what a group's members told elsewhere isn't repeated before the group.

Other walls keep such words out of the prompt; this one looks at the reply, whatever its model knows.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import Undecryptable
from core.llm.language import language_of
from core.memory.changes import MEMORY, MESSAGE
from core.memory.claims import Memories
from core.memory.lexicon import Lexicon
from core.memory.lexicons import Lexicons
from core.memory.transcript import Transcript
from core.reply.likeness import SPECIAL_BITS, TELLING_BITS, tells, weighed, words_of
from core.storage.database import Database

LEAST_BITS = 19.0
"""How much of what somebody told must stand in a reply: four telling words. What people say is full of
phrases that all say; and whoever guessed what another told would learn that it is so by what is held back."""
SPEAKERS_LEAST_BITS = 7.5
"""How much of a memory of the person who is answered: two telling words."""


@dataclass(frozen=True, slots=True)
class Company:
    """Those before whom a reply is given: the group, who is answered, whose messages stand in the window, and
    what was said among them."""

    audience: str
    speaker: str
    members: Collection[str]
    heard: Sequence[str]


class Discretion:
    """Compares replies with what the company's members told elsewhere."""

    def __init__(
        self, database: Database, lexicons: Lexicons, transcript: Transcript, memories: Memories
    ) -> None:
        self._database = database
        self._lexicons = lexicons
        self._transcript = transcript
        self._memories = memories

    async def is_betrayed(self, reply: str, company: Company) -> bool:
        """Whether the reply says near to verbatim what one of them told elsewhere and the group doesn't know.

        Raises:
            StoreUnavailable: it can't be told.
        """
        held = await self._lexicons_of(company)
        language = language_of(reply)
        weights = dict(weighed(reply, language))
        words = words_of(reply, language)
        heard = {word for text in company.heard for word in words_of(text, language)}
        new = set(words) - heard
        for lexicon in held.values():
            new -= lexicon.words_told_to(company.audience, new)
        heard |= set(words) - new
        telling = {word for word in new if weights[word] >= TELLING_BITS}
        if not telling:
            return False
        for user_id, lexicon in held.items():
            entries = lexicon.told_elsewhere(company.audience, weights, heard, telling)
            least = SPEAKERS_LEAST_BITS if user_id == company.speaker else LEAST_BITS
            for told, least_bits in await self._told(user_id, entries, least):
                if tells(words, told, language, heard, least_bits=least_bits):
                    return True
        return False

    async def _lexicons_of(self, company: Company) -> dict[str, Lexicon]:
        held = {}
        for user_id in {company.speaker, *company.members}:
            try:
                held[user_id] = await self._lexicons.of_user(user_id)
            except Undecryptable:
                continue  # erased meanwhile: nobody can know their words any more
        return held

    async def _told(
        self, user_id: str, entries: Mapping[str, float], least: float
    ) -> list[tuple[str, float]]:
        """The texts of those entries that weigh enough, and how much that is."""
        enough = {MEMORY: least, MESSAGE: LEAST_BITS}
        likely = [id for id, weight in entries.items() if weight >= enough[id[0]] - SPECIAL_BITS]
        ids = {kind: [id[1:] for id in likely if id[0] == kind] for kind in enough}

        async def read(connection: AsyncConnection) -> list[tuple[str, float]]:
            said = await self._transcript.of_user(connection, user_id, ids[MESSAGE])
            claims = await self._memories.of_user(connection, user_id, ids=ids[MEMORY])
            told = [(line.text, enough[MESSAGE]) for line in said.values()]
            return told + [(claim.text, enough[MEMORY]) for claim in claims]

        return await self._database.look(read) if likely else []
