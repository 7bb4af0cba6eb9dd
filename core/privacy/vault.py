"""Sealing what people say, each person's under a key of their own."""

import json
import os
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import ConfigurationError, Undecryptable
from core.privacy.keys import KEY_BYTES, MasterKey, seal, unseal
from core.storage.schema import keys

CACHED_KEYS = 10_000


class Vault:
    """Seals and opens texts for an owner: a user, or a group conversation for what is nobody's alone.

    `context` names the column, so that a sealed value can't be moved into another one.
    """

    def __init__(self, master: MasterKey) -> None:
        self._master = master
        self._keys: dict[str, bytes] = {}

    async def check(self, connection: AsyncConnection, owner: str | None = None) -> None:
        """Makes sure that our master key is the one that this record's keys, or one's, were wrapped with.

        Raises:
            ConfigurationError: it is another one.
        """
        some = select(keys) if owner is None else select(keys).where(keys.c.owner == owner)
        row = (await connection.execute(some.limit(1))).one_or_none()
        try:
            if row is not None:
                self._master.unwrap(row.owner, row.wrapped)
        except Undecryptable:
            raise ConfigurationError(
                "MNEME_MASTER_KEY, or master.key in the data directory, isn't the key that this database "
                "was sealed with: put the right one back. If `mneme rotate-key` was broken off, run it again."
            ) from None

    async def rewrap(self, connection: AsyncConnection, new: MasterKey) -> int:
        """Wraps every data key with a new master key, unless it is already. Returns how many there are.

        Raises:
            ConfigurationError: a key opens with neither.
        """
        rows = (await connection.execute(select(keys))).all()
        for row in rows:
            try:
                data_key = self._master.unwrap(row.owner, row.wrapped)
            except Undecryptable:
                await Vault(new).check(connection, row.owner)
                continue
            wrapped = new.wrap(row.owner, data_key)
            await connection.execute(update(keys).where(keys.c.owner == row.owner).values(wrapped=wrapped))
        return len(rows)

    async def create(self, connection: AsyncConnection, owner: str) -> None:
        """Makes the owner's data key. It counts from the commit of the connection's transaction."""
        wrapped = self._master.wrap(owner, os.urandom(KEY_BYTES))
        await connection.execute(insert(keys).values(owner=owner, wrapped=wrapped))

    async def destroy(self, connection: AsyncConnection, owner: str) -> None:
        """Deletes the owner's key: whatever was sealed with it is gone for good."""
        await connection.execute(delete(keys).where(keys.c.owner == owner))
        self._keys.pop(owner, None)

    async def box(self, connection: AsyncConnection, owner: str) -> "Box":
        """The owner's key, ready for use.

        Raises:
            Undecryptable: the owner was forgotten, or the master key is another one.
        """
        return self.box_of(
            owner, await connection.scalar(select(keys.c.wrapped).where(keys.c.owner == owner))
        )

    def box_of(self, owner: str, wrapped: bytes | None) -> "Box":
        """As `box`, with what the record has of the owner's key just now, None if that is nothing."""
        if wrapped is None:
            self._keys.pop(owner, None)
            raise Undecryptable("there is no key for this owner")
        key = self._keys.get(owner)
        if key is None:
            if len(self._keys) >= CACHED_KEYS:
                self._keys.clear()
            key = self._keys[owner] = self._master.unwrap(owner, wrapped)
        return Box(key)


class Box:
    """One owner's key at work."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, text: str, context: str) -> bytes:
        return seal(self._key, text.encode(), context)

    def open(self, sealed: bytes, context: str) -> str:
        return unseal(self._key, sealed, context).decode()

    def derive(self, purpose: str) -> bytes:
        """32 bytes that only this owner's key gives for the purpose, gone when the key is."""
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"mneme:" + purpose.encode()).derive(self._key)

    def seal_json(self, value: Mapping[str, Any], context: str) -> bytes:
        return self.seal(json.dumps(value, ensure_ascii=False), context)

    def open_json(self, sealed: bytes, context: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.open(sealed, context))
        return value
