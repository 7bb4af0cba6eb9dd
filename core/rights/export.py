"""Exporting a person: one archive with all that is kept of them, for machines and for eyes."""

import io
import json
import zipfile
from collections.abc import Iterable
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.memory.claims import Memories, Memory
from core.memory.transcript import TEXT, there
from core.privacy.vault import Box, Vault
from core.rights.archive import Account, Archive, Cited, Message, Person, Remembered, Talk
from core.rights.document import Document
from core.rights.roll import Roll
from core.storage.database import Database
from core.storage.schema import conversations, messages, turns, users

JSON_FILE = "mneme-export.json"
SCHEMA_FILE = "mneme-export.schema.json"
PAGE_FILE = "mneme-export.html"
ME, MNEME = "you", "Mneme"


class Export:
    """Gathers what is kept of one user, on all channels."""

    def __init__(
        self, database: Database, vault: Vault, memories: Memories, roll: Roll, clock: Clock
    ) -> None:
        self._database = database
        self._vault = vault
        self._memories = memories
        self._roll = roll
        self._clock = clock

    async def archive(self, user_id: str) -> Archive:
        """All that is kept of the user, as it stands now.

        Raises:
            Undecryptable: the user was erased.
        """
        async with self._database.read() as connection:
            box = await self._vault.box(connection, user_id)
            entry = await self._roll.entry(connection, user_id)
            held = await self._memories.of_user(connection, user_id, retired=True)
            talks = await self._talks(connection, user_id, box)
            asked = select(users.c.special_consent).where(users.c.id == user_id)
            agreed: bool | None = await connection.scalar(asked)
        return Archive(
            exported_at=self._clock.now(),
            person=Person(
                id=user_id,
                known_since=entry.known_since,
                special_consent=agreed,
                accounts=tuple(
                    Account(channel=a.channel, workspace=a.workspace, name=a.name) for a in entry.accounts
                ),
            ),
            talks=tuple(talks),
            memories=tuple(map(_remembered, held)),
        )

    async def packed(self, user_id: str) -> bytes:
        """The archive as a zip file: the data, the schema that says what it means, and a page to read."""
        return packed(await self.archive(user_id))

    async def _talks(self, connection: AsyncConnection, user_id: str, box: Box) -> list[Talk]:
        theirs = (
            select(messages, conversations.c.channel, conversations.c.kind)
            .join(conversations, conversations.c.id == messages.c.conversation_id)
            .join(turns, turns.c.id == messages.c.turn_id)
            .where(messages.c.user_id == user_id, turns.c.kept)
            .order_by(messages.c.conversation_id, messages.c.turn_id, messages.c.position)
        )
        rows = (await connection.execute(theirs)).all()
        return [
            Talk(
                id=id,
                channel=channel,
                kind=kind,
                messages=tuple(
                    Message(
                        id=row.id,
                        turn=row.turn_id,
                        role=row.role,
                        text=box.open(row.text_sealed, TEXT),
                        said_at=there(row.said_at, row.utc_offset),
                        remembered=row.remembered,
                    )
                    for row in said
                ),
            )
            for (id, channel, kind), said in groupby(
                rows, key=lambda row: (row.conversation_id, row.channel, row.kind)
            )
        ]


def packed(archive: Archive) -> bytes:
    """The archive as a zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packing:
        packing.writestr(JSON_FILE, archive.model_dump_json(indent=1))
        packing.writestr(SCHEMA_FILE, json.dumps(Archive.model_json_schema(), indent=1))
        packing.writestr(PAGE_FILE, _page(archive))
    return file.getvalue()


def _remembered(memory: Memory) -> Remembered:
    return Remembered(
        id=memory.id,
        kind=memory.kind,
        text=memory.text,
        subject=memory.subject,
        audience=memory.audience,
        valid_from=memory.valid_from,
        valid_until=memory.valid_until,
        recorded_at=memory.recorded_at,
        retired_at=memory.retired_at,
        replaced_by=memory.replaced_by,
        derivation=memory.derivation,
        confidence=memory.confidence,
        salience=memory.salience,
        uses=memory.uses,
        correction=memory.is_correction,
        pinned=memory.is_pinned,
        muted=memory.is_muted,
        sources=tuple(
            Cited(message=s.message_id, start=s.start, quote=s.quote, certainty=s.certainty)
            for s in memory.sources
        ),
    )


def _page(archive: Archive) -> str:
    page = Document("What Mneme keeps of you")
    page.say(
        f"Made on {archive.exported_at:%Y-%m-%d %H:%M} UTC. The same, for machines, is in {JSON_FILE}; "
        f"{SCHEMA_FILE} says what it means. Another Mneme can read it."
    )
    page.heading(2, "Your accounts")
    page.table(
        ("Channel", "Workspace", "Name"), [(a.channel, a.workspace, a.name) for a in archive.person.accounts]
    )
    holds = [memory for memory in archive.memories if memory.retired_at is None]
    over = [memory for memory in archive.memories if memory.retired_at is not None]
    page.heading(2, "What is remembered")
    _table(page, holds)
    if over:
        page.heading(2, "What held before")
        _table(page, over)
    page.heading(2, "What was said")
    for talk in archive.talks:
        began = talk.messages[0].said_at if talk.messages else archive.exported_at
        page.heading(3, talk.title or f"{talk.channel}, {talk.kind}, since {began:%Y-%m-%d}")
        page.table(
            ("When", "Who", "What"),
            [
                (f"{m.said_at:%Y-%m-%d %H:%M}", ME if m.role == "user" else MNEME, m.text)
                for m in talk.messages
            ],
        )
    return page.html()


def _table(page: Document, memories: Iterable[Remembered]) -> None:
    rows = [
        (
            memory.text,
            memory.kind,
            f"{memory.valid_from:%Y-%m-%d}",
            f"{memory.valid_until:%Y-%m-%d}" if memory.valid_until else "",
            "; ".join(f"“{source.quote}”" for source in memory.sources),
        )
        for memory in reversed(list(memories))
    ]
    if rows:
        page.table(("Memory", "Kind", "From", "Until", "Because you said"), rows)
    else:
        page.say("Nothing.")
