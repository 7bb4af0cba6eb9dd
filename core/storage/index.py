"""The index: users' vectors in Chroma, asked for one user at a time. It holds no text and may be lost."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
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

STAMP_COLLECTION = "mneme-index"
CALL_TIMEOUT_SECONDS = 10.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IndexStamp:
    """What an index was made with; vectors of another make can't be compared with it."""

    embedding_model: str
    dimensions: int
    collections: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One vector (d,), rotated, under an opaque id; `audience` says who may be shown what it stands for."""

    id: str
    vector: NDArray[np.float32]
    audience: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry near a query; `similarity` is the cosine, from -1 to 1."""

    id: str
    similarity: float


class MemoryIndex:
    """Chroma over HTTP. Every call names the user, and only here are its queries built.

    Users share collections; whoever is `alone` has one of their own, which is searched without a filter.

    All calls raise `IndexUnavailable` when Chroma is slow or gone, `IndexMismatch` when they come upon an
    index that was made anew with another stamp, and what finding out our stamp raises.
    """

    def __init__(self, url: str, stamp: Callable[[], Awaitable[IndexStamp]]) -> None:
        self._host, self._port, self._ssl = _address(url)
        self.stamp = stamp
        self._connected: AsyncClientAPI | None = None
        self._connecting = asyncio.Lock()
        self._collections: dict[str, AsyncCollection] = {}

    async def check(self) -> bool:
        """Compares the index's stamp with ours; an index that has none gets ours.

        Returns whether the index is new, so that what the record holds has to be put into it.

        Raises:
            IndexMismatch: another embedding model, or another number of collections, made it.
        """
        if await self._is_stamped():
            return False
        ours, client = await self.stamp(), await self._client()
        made = client.get_or_create_collection(
            STAMP_COLLECTION, metadata=asdict(ours), embedding_function=None
        )
        _compare((await _call(made)).metadata, ours)  # others may have made it a moment before us
        return True

    async def clear(self) -> None:
        """Removes every vector and stamps the index anew."""
        client = await self._client()
        for collection in await _call(client.list_collections()):
            if collection.name.startswith("mneme-"):
                with suppress(_CollectionGone):
                    await _call(client.delete_collection(collection.name))
        self._collections.clear()
        await self.check()

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
                metadatas=[{"user": user, "audience": entry.audience} for entry in entries],
            ),
        )

    async def remove(self, user: str, ids: Sequence[str], *, alone: bool = False) -> None:
        """Removes those of the ids that are this user's; unknown ones are no error."""
        if ids:
            await self._on_collection(
                user, alone, lambda collection: collection.delete(ids=list(ids), where={"user": user})
            )

    async def leave(self, user: str, *, alone: bool = False) -> None:
        """Removes all that is the user's from the collection."""
        await self._on_collection(user, alone, lambda collection: collection.delete(where={"user": user}))

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

    async def vectors(
        self, user: str, ids: Sequence[str], *, alone: bool = False
    ) -> dict[str, NDArray[np.float32]]:
        """The vectors (d,) of those of the ids that stand in the index and are this user's."""
        if not ids:
            return {}
        found = await self._on_collection(
            user,
            alone,
            lambda collection: collection.get(ids=list(ids), include=["embeddings", "metadatas"]),
        )
        rows = zip(found["ids"], found["embeddings"], found["metadatas"], strict=True)
        return {
            id: np.asarray(vector, dtype=np.float32)
            for id, vector, metadata in rows
            if metadata["user"] == user
        }

    async def ping(self) -> None:
        """Raises `IndexUnavailable` when Chroma doesn't answer."""
        await _call((await self._client()).heartbeat())

    async def _on_collection(self, user: str, alone: bool, call: Any) -> Any:
        name = f"mneme-u{user}"
        if not alone:
            spread = (await self.stamp()).collections
            name = f"mneme-{int.from_bytes(hashlib.sha256(user.encode()).digest()[:8]) % spread}"
        try:
            return await _call(call(await self._collection(name)))
        except _CollectionGone:
            # Somebody made the index anew: what we know of its collections is old.
            self._collections.clear()
            return await _call(call(await self._collection(name)))

    async def _is_stamped(self) -> bool:
        ours, client = await self.stamp(), await self._client()
        try:
            known = await _call(client.get_collection(STAMP_COLLECTION, embedding_function=None))
        except _CollectionGone:
            return False
        _compare(known.metadata, ours)
        return True

    async def _collection(self, name: str) -> AsyncCollection:
        if name not in self._collections:
            await self._is_stamped()  # with another make, since we last looked, if somebody made it anew
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
            return self._connected or await chromadb.AsyncHttpClient(
                self._host, self._port, ssl=self._ssl, settings=ChromaSettings(anonymized_telemetry=False)
            )


class _CollectionGone(IndexUnavailable):
    """Another process removed the collection."""


def _compare(theirs: Mapping[str, Any] | None, stamp: IndexStamp) -> None:
    theirs, ours = theirs or {}, asdict(stamp)
    different = [name for name, value in ours.items() if theirs.get(name) != value]
    if different:
        raise IndexMismatch(
            "The index was made with "
            + ", ".join(f"{name}={theirs.get(name)}, not {ours[name]}" for name in different)
            + ": run `mneme reindex`, or set EMBEDDING_MODEL and INDEX_COLLECTIONS back."
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
