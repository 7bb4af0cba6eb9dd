"""The index: users' vectors in Chroma, asked for one user at a time. It holds no text and may be lost."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from itertools import count
from typing import Any, TypeVar
from urllib.parse import urlsplit

import chromadb
import httpx
import numpy as np
from chromadb.api.async_api import AsyncClientAPI
from chromadb.api.models.AsyncCollection import AsyncCollection
from chromadb.config import Settings as ChromaSettings
from chromadb.errors import ChromaError, NotFoundError
from numpy.typing import NDArray

from core.errors import ConfigurationError, IndexMismatch, IndexUnavailable

PREFIX = "mneme-"
CALL_TIMEOUT_SECONDS = 10.0
PAGE = 1_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IndexStamp:
    """What an index was made with; vectors of another make can't be compared with it."""

    embedding_model: str
    dimensions: int
    collections: int

    @property
    def name(self) -> str:
        """What Chroma calls the index of this make, and what the names of its collections begin with."""
        make = f"{self.embedding_model}\0{self.dimensions}\0{self.collections}"
        return PREFIX + hashlib.sha256(make.encode()).hexdigest()[:12]


class State(StrEnum):
    """How far an index of one make is. Those of different makes stand side by side."""

    FILLING = "filling"
    """It is made while another one serves."""
    FILLED = "filled"
    """All was put into it; what has changed since was told to another one."""
    SERVING = "serving"


@dataclass(frozen=True, slots=True)
class Entry:
    """One vector (d,), rotated, under an opaque id; `audience` says who may be shown what it stands for.

    `digest` tells whether it is still that of the text in the record; "" where that isn't known.
    """

    id: str
    vector: NDArray[np.float32]
    audience: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry near a query; `similarity` is the cosine, from -1 to 1."""

    id: str
    similarity: float


class MemoryIndex:
    """Chroma over HTTP. Every call names the user, and only here are its queries built.

    Users share collections; whoever is `alone` has one of their own, which is searched without a filter.

    All calls raise `IndexUnavailable` when Chroma is slow or gone, `IndexMismatch` when there is only an
    index with another stamp, and what finding out our stamp raises.
    """

    def __init__(self, url: str, stamp: Callable[[], Awaitable[IndexStamp]]) -> None:
        self._host, self._port, self._ssl = _address(url)
        self.stamp = stamp
        self._connected: AsyncClientAPI | None = None
        self._connecting = asyncio.Lock()
        self._collections: dict[str, AsyncCollection] = {}

    async def check(self) -> State | None:
        """Makes sure that there is an index of our make; None if it is new, and all has to be put into it.

        Raises:
            IndexMismatch: there is only one of another make, or ours isn't complete.
        """
        state = await self._state()
        if state is State.FILLING:
            raise IndexMismatch("The index isn't complete: run `mneme reindex`, which goes on where it was.")
        if state is None:
            await self._mark(State.SERVING)
        return state

    async def begin(self) -> State:
        """Has an index of our make be there, to be filled; beside one of another make, which serves on."""
        ours = await self.stamp()
        found = await self._every()
        if ours.name in found:
            return State(found[ours.name].metadata["state"])
        state = State.FILLING if found else State.SERVING
        await self._mark(state)
        return state

    async def settle(self, state: State) -> None:
        """Notes how far the index of our make is."""
        await _call((await self._mark(state)).modify(metadata=_marks(await self.stamp(), state)))

    async def leave_others(self) -> None:
        """Removes what is of another make."""
        ours = (await self.stamp()).name
        client = await self._client()
        for name in await self._every():
            if not name.startswith(ours):
                with suppress(_CollectionGone):
                    await _call(client.delete_collection(name))

    async def put(self, user: str, entries: Sequence[Entry], *, alone: bool = False) -> None:
        """Adds the user's entries, replacing those with the same ids. Vectors have shape (d,)."""
        if not entries:
            return
        await self._on_collection(
            user,
            alone,
            lambda collection: collection.upsert(
                ids=[entry.id for entry in entries],
                embeddings=[entry.vector for entry in entries],
                metadatas=[
                    {"user": user, "audience": entry.audience, "digest": entry.digest} for entry in entries
                ],
            ),
        )

    async def remove(self, user: str, ids: Sequence[str], *, alone: bool = False) -> None:
        """Removes those of the ids that are this user's; unknown ones are no error.

        Also from an index of another make: nothing that was taken back may stay in it.
        """
        if not ids:
            return

        def gone(collection: AsyncCollection) -> Awaitable[Any]:
            return collection.delete(ids=list(ids), where={"user": user})

        await self._on_collection(user, alone, gone)
        ours, found = await self.stamp(), await self._every()
        for mark in filter(_is_mark, found.values()):
            name = _collection_of(user, mark.name, mark.metadata["collections"], alone=alone)
            if mark.name != ours.name and name in found:
                with suppress(_CollectionGone):
                    await _call(gone(found[name]))

    async def leave(self, user: str, *, alone: bool = False) -> None:
        """Removes all that is the user's from the collection."""
        await self._on_collection(user, alone, partial(_without, user=user))

    async def erase(self, user: str) -> None:
        """Removes all that is the user's from every index, of whatever make."""
        client = await self._client()
        for collection, alone in await self._holding(user):
            with suppress(_CollectionGone):
                gone = client.delete_collection(collection.name) if alone else _without(collection, user)
                await _call(gone)
        self._collections.clear()

    async def count_of(self, user: str) -> int:
        """How many entries of the user stand in any index."""
        counts = 0
        for collection, _ in await self._holding(user):
            found = await _call(collection.get(where={"user": user}, include=[]))
            counts += len(found["ids"])
        return counts

    async def _holding(self, user: str) -> list[tuple[AsyncCollection, bool]]:
        """The collections that may have entries of the user, and whether these have no others'."""
        found = await self._every()
        names = [
            (_collection_of(user, mark.name, mark.metadata["collections"], alone=alone), alone)
            for mark in filter(_is_mark, found.values())
            for alone in (False, True)
        ]
        return [(found[name], alone) for name, alone in names if name in found]

    async def ids_alone(self, user: str) -> list[str]:
        """The ids that stand in the user's collection alone."""
        found = await self._on_collection(user, True, lambda collection: collection.get(include=[]))
        return list(found["ids"])

    async def near(
        self,
        user: str,
        vector: NDArray[np.float32],
        *,
        limit: int,
        audience: str | None = None,
        alone: bool = False,
    ) -> list[Neighbour]:
        """This user's entries nearest to the vector (d,), best first; with `audience`, of that one alone."""
        # Alone, it is all there is: a filter would cost many times the search.
        wanted: list[dict[str, Any]] = [] if alone else [{"user": user}]
        if audience is not None:
            wanted.append({"audience": audience})
        where = {"$and": wanted} if len(wanted) > 1 else next(iter(wanted), None)
        found = await self._on_collection(
            user,
            alone,
            lambda collection: collection.query(
                query_embeddings=[vector], n_results=limit, where=where, include=["distances"]
            ),
        )
        distances = (found["distances"] or [[]])[0]
        return [Neighbour(id, 1.0 - d) for id, d in zip(found["ids"][0], distances, strict=True)]

    async def digests(self, user: str, *, alone: bool = False) -> dict[str, str]:
        """The digests of all that is this user's, by id."""
        found: dict[str, str] = {}
        for start in count(0, PAGE):
            page = await self._on_collection(user, alone, partial(_digests, user=user, start=start))
            found |= {
                id: data.get("digest", "") for id, data in zip(page["ids"], page["metadatas"], strict=True)
            }
            if len(page["ids"]) < PAGE:
                break
        return found

    async def entries(self, user: str, ids: Sequence[str], *, alone: bool = False) -> list[Entry]:
        """Those of the ids that stand in the index and are this user's."""
        if not ids:
            return []
        found = await self._on_collection(
            user,
            alone,
            lambda collection: collection.get(ids=list(ids), include=["embeddings", "metadatas"]),
        )
        rows = zip(found["ids"], found["embeddings"], found["metadatas"], strict=True)
        return [
            Entry(id, np.asarray(vector, dtype=np.float32), data["audience"], data.get("digest", ""))
            for id, vector, data in rows
            if data["user"] == user
        ]

    async def ping(self) -> None:
        """Raises `IndexUnavailable` when Chroma doesn't answer."""
        await _call((await self._client()).heartbeat())

    async def _on_collection(self, user: str, alone: bool, call: Any) -> Any:
        ours = await self.stamp()
        name = _collection_of(user, ours.name, ours.collections, alone=alone)
        try:
            return await _call(call(await self._collection(name)))
        except _CollectionGone:
            # Somebody made the index anew: what we know of its collections is old.
            self._collections.clear()
            return await _call(call(await self._collection(name)))

    async def _state(self) -> State | None:
        """How far the index of our make is; None if there is none of any make.

        Raises:
            IndexMismatch: there is only one of another make.
        """
        ours, client = await self.stamp(), await self._client()
        try:
            mark = await _call(client.get_collection(ours.name, embedding_function=None))
        except _CollectionGone:
            marks = {name: each for name, each in (await self._every()).items() if _is_mark(each)}
            if not marks:
                return None
            if ours.name not in marks:
                raise _mismatch(next(iter(marks.values())).metadata, ours) from None
            mark = marks[ours.name]  # made a moment ago
        return State(mark.metadata["state"])

    async def _mark(self, state: State) -> AsyncCollection:
        ours, client = await self.stamp(), await self._client()
        made = client.get_or_create_collection(
            ours.name, metadata=_marks(ours, state), embedding_function=None
        )
        return await _call(made)

    async def _every(self) -> dict[str, AsyncCollection]:
        """All collections of all makes, by name."""
        client = await self._client()
        found = await _call(client.list_collections())
        return {each.name: each for each in found if each.name.startswith(PREFIX)}

    async def _collection(self, name: str) -> AsyncCollection:
        if name not in self._collections:
            await self._state()  # another make may have taken its place since we last looked
            client = await self._client()
            self._collections[name] = await _call(
                client.get_or_create_collection(
                    name, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
                )
            )
        return self._collections[name]

    async def _client(self) -> AsyncClientAPI:
        if self._connected is None:
            self._connected = await _call(self._connect())
        return self._connected

    async def _connect(self) -> AsyncClientAPI:
        # In here, so that waiting for whoever connects already is part of the call's time.
        async with self._connecting:
            # Otherwise it would take a collector of traces from the environment.
            quiet = ChromaSettings(anonymized_telemetry=False, chroma_otel_collection_endpoint="")
            return self._connected or await chromadb.AsyncHttpClient(
                self._host, self._port, ssl=self._ssl, settings=quiet
            )


class _CollectionGone(IndexUnavailable):
    """Another process removed the collection."""


def _collection_of(user: str, index: str, collections: int, *, alone: bool) -> str:
    """The collection that has the user's entries, in the index of that name."""
    if alone:
        return f"{index}-u{user}"
    return f"{index}-{int.from_bytes(hashlib.sha256(user.encode()).digest()[:8]) % collections}"


def _without(collection: AsyncCollection, user: str) -> Awaitable[Any]:
    return collection.delete(where={"user": user})


def _digests(collection: AsyncCollection, *, user: str, start: int) -> Awaitable[Any]:
    return collection.get(where={"user": user}, include=["metadatas"], limit=PAGE, offset=start)


def _is_mark(collection: AsyncCollection) -> bool:
    """Whether it holds no vectors, but says what made an index."""
    return "collections" in (collection.metadata or {})


def _marks(stamp: IndexStamp, state: State) -> dict[str, Any]:
    return {**asdict(stamp), "state": state.value}


def _mismatch(theirs: Mapping[str, Any], stamp: IndexStamp) -> IndexMismatch:
    different = [
        f"{name}={theirs.get(name)}, not {value}"
        for name, value in asdict(stamp).items()
        if theirs.get(name) != value
    ]
    return IndexMismatch(
        f"The index was made with {', '.join(different) or 'an earlier Mneme'}"
        ": run `mneme reindex`, or set EMBEDDING_MODEL and INDEX_COLLECTIONS back."
    )


def _address(url: str) -> tuple[str, int, bool]:
    """Host, port, and whether by TLS."""
    try:
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        port = parts.port or (443 if is_tls else 8000)
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("CHROMA_URL must look like http://host:8000.")
    return parts.hostname, port, is_tls


async def _call(call: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
            return await call
    except NotFoundError as error:
        raise _CollectionGone(type(error).__name__) from error
    except (httpx.HTTPError, TimeoutError, ChromaError, ValueError) as error:
        # chromadb wraps an unreachable server into a ValueError when it connects.
        raise IndexUnavailable(type(error).__name__) from error
