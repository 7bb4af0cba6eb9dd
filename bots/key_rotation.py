"""`mneme rotate-key`: a new master key in the old one's place."""

import asyncio
import os
from pathlib import Path

import httpx

from bots.address import service_url
from bots.errands import TIMEOUT_SECONDS, record
from core.errors import AlreadyRunning, ConfigurationError
from core.privacy.keys import KEY_FILE, MasterKey, load_master_key, read_master_key, sync_folder, write_once
from core.privacy.vault import Vault
from core.settings import Settings
from deploy.data_directory import DataDirectory


def rotate(settings: Settings, out: Path | None) -> tuple[int, Path]:
    """Wraps all data keys with a new master key; returns how many, and the file that holds it.

    The new key is on the disk before anything is wrapped with it; what was broken off the next call ends.

    Raises:
        ConfigurationError: Mneme runs, or the new key can't be written; nothing was changed.
    """
    kept = settings.mneme_data_dir / KEY_FILE
    is_named = settings.mneme_master_key is not None
    if is_named != (out is not None):
        raise ConfigurationError(
            "The key is in MNEME_MASTER_KEY, where I can't change it: name a file for the new one by --out."
            if is_named
            else f"The key is in {kept}, where I change it: leave --out away."
        )
    if _answers(settings):
        raise AlreadyRunning("Stop Mneme first: what runs would go on with the old key.")
    path = out or kept.with_name(f"{KEY_FILE}.next")
    with DataDirectory.of(settings).held():
        old = load_master_key(settings, make=False)
        try:
            write_once(path, old.renewed())  # one that is there already is from a call that was broken off
            new = read_master_key(path.read_text("latin-1"), str(path))
            count = asyncio.run(_rewrapped(settings, old, new))
            if not is_named:
                os.replace(path, kept)
                sync_folder(kept.parent)
        except OSError as error:
            raise ConfigurationError(
                f"{path} can't be written or put into place ({error.strerror}): mend that, and run it again."
            ) from error
    return count, path if is_named else kept


def _answers(settings: Settings) -> bool:
    try:
        httpx.get(f"{service_url(settings)}/healthz", timeout=TIMEOUT_SECONDS)
    except httpx.HTTPError:
        return False
    return True


async def _rewrapped(settings: Settings, old: MasterKey, new: MasterKey) -> int:
    async with record(settings) as database:
        async with database.write() as connection:
            count = await Vault(old).rewrap(connection, new)
        await database.scrub()
    return count
