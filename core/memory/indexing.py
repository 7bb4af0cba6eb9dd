"""Bringing the index up to date with the record, and asking it, behind each user's secret rotation."""

import hmac
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from weakref import WeakKeyDictionary

import numpy as np
import structlog
from sqlalchemy import Row, and_, delete, false, func, or_, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import ModelError, Undecryptable
from core.llm.embedder import Embedder, Vectors
from core.memory.at_hand import AtHand
from core.memory.changes import MEMORY, MESSAGE, memory_entry, message_entry, queue_change, queue_changes
from core.memory.claims import Memories
from core.memory.lexicon import Lexicon
from core.memory.transcript import Transcript
from core.privacy.keys import MasterKey
from core.privacy.rotation import Rotation
from core.privacy.vault import Box, Vault
from core.storage.bell import Bell
from core.storage.database import Database
from core.storage.index import Entry, MemoryIndex, Neighbour, State
from core.storage.schema import index_changes, memories, messages, users

BATCH = 64
FEW = 4
"""So much is embedded at once after a reply: what a person says in one go, but not what somebody floods."""
COPIED = 500
"""So many vectors at a time are moved to a collection alone."""
CACHED_ROTATIONS = 2_000
DIGEST = "index entry"
DIGEST_BYTES = 12

EVERY = union_all(
    select(messages.c.user_id, (MESSAGE + messages.c.id).label("entry_id")).where(messages.c.remembered),
    select(memories.c.user_id, MEMORY + memories.c.id).where(
        memories.c.retired_at.is_(None), memories.c.muted_at.is_(None)
    ),
).subquery()
"""All that the index holds, or ought to."""

log = structlog.get_logger()


def memory_topic(user_id: str) -> str:
    """What the bell rings when a user's memory has changed."""
    return f"memory:{user_id}"


class Place(StrEnum):
    """Where the index has a user's entries."""

    SHARED = "shared"
    """In a collection with those of others."""
    MOVING = "moving"
    """There, and copies on their way to a collection alone."""
    ALONE = "alone"


@dataclass(frozen=True, slots=True)
class _Told:
    """What an entry of the index stands for."""

    text: str
    audience: str

    def digest(self, key: bytes) -> str:
        return hmac.digest(key, f"{self.audience}\0{self.text}".encode(), "sha256")[:DIGEST_BYTES].hex()


class Indexer:
    """The only way to the index. Raises `IndexUnavailable` or `ModelUnavailable`; what waits stays."""

    def __init__(
        self,
        database: Database,
        index: MemoryIndex,
        embedder: Embedder,
        vault: Vault,
        master: MasterKey,
        transcript: Transcript,
        memories: Memories,
        bell: Bell,
        *,
        alone_over: int,
        at_hand_bytes: int,
    ) -> None:
        self._database = database
        self._index = index
        self._embedder = embedder
        self._vault = vault
        self._master = master
        self._transcript = transcript
        self._memories = memories
        self._bell = bell
        self._alone_over = alone_over
        self._at_hand = AtHand(index, kept_bytes=at_hand_bytes)
        # Who has a lexicon has their key, and for as long as it lives the same one.
        self._rotation_by_lexicon: WeakKeyDictionary[Lexicon, Rotation] = WeakKeyDictionary()
        self._rotations: OrderedDict[bytes, Rotation] = OrderedDict()
        self._checked = False

    async def check(self) -> State | None:
        """Makes sure that our embedding model made the index; has a new index filled from the record.

        Returns how far it is; None where it is new.

        Raises:
            IndexMismatch: another one made it, or it isn't complete.
        """
        self._checked = False
        state = await self._index.check()
        if state is None:
            await self.queue_all()
        self._checked = True
        return state

    async def question(self, text: str) -> Vectors:
        """What to look for, (d,), not rotated yet; its length weighs the cosines."""
        await self._check_once()
        return await self._embedder.embed_query(text)

    def _near_at_hand(
        self, user_id: str, question: Vectors, lexicon: Lexicon, *, limit: int, audience: str | None
    ) -> list[Neighbour] | None:
        """As `near`; None where the record or the index have to be asked."""
        rotation = self._rotation_by_lexicon.get(lexicon)
        if rotation is None or len(lexicon) > self._alone_over:
            return None
        query = rotation.apply(question)
        return self._at_hand.near(self.pseudonym(user_id), query, lexicon, audience=audience, limit=limit)

    async def near(
        self,
        user_id: str,
        question: Vectors,
        *,
        limit: int,
        audience: str | None,
        among: Lexicon | None = None,
    ) -> list[Neighbour]:
        """The user's entries nearest in meaning to the question, best first.

        `among`: the user's lexicon, if it is known. Where it is small, the vectors are fetched and held.
        """
        if among is not None:
            at_hand = self._near_at_hand(user_id, question, among, limit=limit, audience=audience)
            if at_hand is not None:
                return at_hand

        async def read(connection: AsyncConnection) -> tuple[Box, bool, Sequence[str]]:
            box = await self._vault.box(connection, user_id)
            alone = await self.place(connection, user_id) is Place.ALONE
            waiting = select(index_changes.c.entry_id).where(index_changes.c.user_id == user_id)
            return box, alone, (await connection.scalars(waiting)).all()

        box, alone, unsettled = await self._database.look(read)
        rotation = await self._rotation(box)
        pseudonym = self.pseudonym(user_id)
        if among is not None and len(among) <= self._alone_over:
            await self._at_hand.fetch(pseudonym, among, unsettled, dimensions=len(question), alone=alone)
            self._rotation_by_lexicon[among] = rotation
            at_hand = self._near_at_hand(user_id, question, among, limit=limit, audience=audience)
            if at_hand is not None:
                return at_hand
        query = rotation.apply(question)
        near = await self._index.near(pseudonym, query, limit=limit, audience=audience, alone=alone)
        length = float(np.linalg.norm(question))
        return [Neighbour(each.id, each.similarity * length) for each in near]

    async def flush(self, user_id: str | None = None) -> int:
        """Tells the index what it has yet to hear, of one user or of all; returns how many changes."""
        await self._check_once()
        if user_id is not None:
            return await self._flush_one(user_id)
        async with self._database.read() as connection:
            owners = (await connection.scalars(select(index_changes.c.user_id).distinct())).all()
        told = 0
        refused: ModelError | None = None
        for owner in owners:
            try:
                told += await self._flush_one(owner)
                await self._part(owner)
            except ModelError as error:
                refused = error  # it is about this one's texts: others needn't wait behind them
        if refused is not None:
            raise refused
        return told

    async def _part(self, user_id: str) -> None:
        """Gives a user with many entries a collection alone, if they haven't one: it needs no filter.

        While they are moving, what is taken back is removed from both, so that no copy of it stays behind.
        """
        async with self._database.read() as connection:
            before = (await connection.execute(select(users).where(users.c.id == user_id))).one_or_none()
            if before is None or before.index_place == Place.ALONE:
                return
            if await self._count(connection, user_id) <= self._alone_over:
                return
        async with self._database.write() as connection:
            mine = users.c.id == user_id
            elsewhere = mine & (users.c.index_place != Place.ALONE)
            begun = await connection.execute(update(users).where(elsewhere).values(index_place=Place.MOVING))
            if not begun.rowcount:
                return
            ids = await self.entries(connection, user_id)
        pseudonym = self.pseudonym(user_id)
        await self._index.leave(pseudonym, alone=True)  # whoever was moving them before may have died
        for at in range(0, len(ids), COPIED):
            copies = await self._index.entries(pseudonym, ids[at : at + COPIED])
            await self._index.put(pseudonym, copies, alone=True)
        async with self._database.write() as connection:
            # What was edited or taken back meanwhile was copied as it was: the next flush tries again.
            unchanged = mine & (users.c.memory_revision == before.memory_revision)
            moving = unchanged & (users.c.index_place == Place.MOVING)
            moved = await connection.execute(update(users).where(moving).values(index_place=Place.ALONE))
            if not moved.rowcount and await self.place(connection, user_id) is Place.ALONE:
                for entry_id in ids:  # another process was faster, and our copies may be older than its
                    await queue_change(connection, user_id, entry_id)
        if not moved.rowcount:
            return
        copied = set(await self._index.ids_alone(pseudonym))
        async with self._database.write() as connection:
            for entry_id in copied ^ set(await self.entries(connection, user_id)):
                await queue_change(connection, user_id, entry_id)
        await self._index.leave(pseudonym)

    async def _count(self, connection: AsyncConnection, user_id: str) -> int:
        every = select(func.count()).select_from(EVERY).where(EVERY.c.user_id == user_id)
        return (await connection.scalar(every)) or 0

    async def entries(self, connection: AsyncConnection, user_id: str) -> Sequence[str]:
        """All that the index holds of a user, or ought to."""
        return (await connection.scalars(select(EVERY.c.entry_id).where(EVERY.c.user_id == user_id))).all()

    async def erase(self, user_id: str) -> None:
        """Removes all that the index has of somebody, whatever it was made with."""
        await self._index.erase(self.pseudonym(user_id))

    async def leave(self, user_id: str, entry_ids: Sequence[str]) -> None:
        """Removes entries that are somebody else's by now."""
        for alone in (False, True):
            await self._index.remove(self.pseudonym(user_id), entry_ids, alone=alone)

    async def count_of(self, user_id: str) -> int:
        """How many entries the index has of somebody."""
        return await self._index.count_of(self.pseudonym(user_id))

    async def flush_few(self, user_id: str) -> None:
        """Tells the index of the user's newest changes, as far as that is quick; a worker does the rest."""
        await self._check_once()
        await self._flush_batch(user_id, FEW)

    async def _flush_one(self, user_id: str) -> int:
        told = 0
        more = True
        while more:
            batch, changed = await self._flush_batch(user_id, BATCH)
            told += batch
            more = changed or batch == BATCH
        return told

    async def _flush_batch(self, user_id: str, most: int) -> tuple[int, bool]:
        """How many changes were told, the newest first; whether one of them changed again meanwhile."""
        newest = select(index_changes).where(index_changes.c.user_id == user_id)
        async with self._database.read() as connection:
            changes = (
                await connection.execute(newest.order_by(index_changes.c.entry_id.desc()).limit(most))
            ).all()
        if not changes:
            return 0, False
        changed = await self.tell(user_id, [change.entry_id for change in changes], changes)
        await self._bell.ring(memory_topic(user_id))
        return len(changes), changed

    async def behind(self) -> int:
        """How many changes the index has yet to hear of."""
        async with self._database.read() as connection:
            return (await connection.scalar(select(func.count()).select_from(index_changes))) or 0

    async def queue_all(self) -> None:
        """Has everything that is remembered put into the index again."""
        async with self._database.write() as connection:
            await queue_changes(connection, select(EVERY.c.user_id, EVERY.c.entry_id))

    async def _check_once(self) -> None:
        if not self._checked:
            await self.check()

    async def tell(
        self, user_id: str, entry_ids: Sequence[str], changes: Sequence[Row[tuple[str, str, str]]] = ()
    ) -> bool:
        """Puts those of the entries that stand in the record into the index, and removes the others.

        The `changes` that this brings there wait no longer. Returns whether an entry changed meanwhile; then
        it waits.
        """
        if not entry_ids:
            return False
        async with self._database.read() as connection:
            texts = await self._texts(connection, user_id, entry_ids)
            box = await self._vault.box(connection, user_id) if texts else None
            place = await self.place(connection, user_id)
        pseudonym = self.pseudonym(user_id)
        if box is not None:
            rotation, key = await self._rotation(box), box.derive(DIGEST)
            vectors = rotation.apply(await self._embedder.embed_passages([t.text for t in texts.values()]))
            entries = [
                Entry(id, vector, told.audience, told.digest(key))
                for (id, told), vector in zip(texts.items(), vectors, strict=True)
            ]
            await self._index.put(pseudonym, entries, alone=place is Place.ALONE)
            self._at_hand.put(pseudonym, entries)
        gone = [id for id in entry_ids if id not in texts]
        await self._index.remove(pseudonym, gone)
        if place is not Place.SHARED:
            await self._index.remove(pseudonym, gone, alone=True)
        async with self._database.write() as connection:
            if await self.place(connection, user_id) is not place:
                return True  # it was told in the wrong place
            now = await self._texts(connection, user_id, list(texts))
            changed = [id for id in texts if now.get(id) != texts[id]]
            for id in changed:
                # Changed while it was embedded: another process may have told the index already.
                await queue_change(connection, user_id, id)
            heard = [
                and_(index_changes.c.entry_id == c.entry_id, index_changes.c.stamp == c.stamp)
                for c in changes
            ]
            await connection.execute(delete(index_changes).where(or_(false(), *heard)))
        return bool(changed)

    async def digests(self, user_id: str, entry_ids: Sequence[str]) -> dict[str, str]:
        """What the index ought to hold of the entries: the digests of those that stand in the record."""
        async with self._database.read() as connection:
            texts = await self._texts(connection, user_id, entry_ids)
            if not texts:
                return {}
            key = (await self._vault.box(connection, user_id)).derive(DIGEST)
        return {id: told.digest(key) for id, told in texts.items()}

    async def _texts(
        self, connection: AsyncConnection, user_id: str, entry_ids: Sequence[str]
    ) -> dict[str, "_Told"]:
        """Those of the entries that stand in the record, by id; none of a user whose key is destroyed."""
        of = {kind: [e[1:] for e in entry_ids if e[0] == kind] for kind in (MESSAGE, MEMORY)}
        try:
            lines = await self._transcript.of_user(connection, user_id, of[MESSAGE], remembered=True)
            claims = await self._memories.of_user(connection, user_id, ids=of[MEMORY])
        except Undecryptable:
            return {}
        said = {message_entry(line.id): _Told(line.text, line.audience) for line in lines.values()}
        return said | {
            memory_entry(claim.id): _Told(claim.text, claim.audience) for claim in claims if claim.is_usable
        }

    async def _rotation(self, box: Box) -> Rotation:
        key = box.derive("rotation")
        if key not in self._rotations:
            if len(self._rotations) >= CACHED_ROTATIONS:
                self._rotations.popitem(last=False)
            self._rotations[key] = Rotation.from_key(key, await self._embedder.dimensions())
        return self._rotations[key]

    async def place(self, connection: AsyncConnection, user_id: str) -> Place:
        """Where the index has the user's entries."""
        place = await connection.scalar(select(users.c.index_place).where(users.c.id == user_id))
        return Place(place or Place.SHARED)

    def pseudonym(self, user_id: str) -> str:
        """What the index calls the user."""
        return self._master.digest("index user", user_id)[:32]
