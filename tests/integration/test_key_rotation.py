"""`mneme rotate-key`, run as an operator runs it: all is found and opens as before, by the new key alone."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.app import open_app
from core.errors import ConfigurationError
from core.privacy.keys import KEY_FILE, load_master_key, read_master_key
from core.privacy.vault import Vault
from core.settings import Settings
from core.storage.database import Database
from tests.integration.remembering import ONE_DATABASE, people_of, reader
from tests.processes import a_mneme
from tests.standins.model import ModelStandIn

PORTO = ("I live in Porto", "Lives in Porto.")


@pytest.fixture
def in_a_file(open_settings: Settings) -> Settings:
    return open_settings.model_copy(update={"mneme_master_key": None})


async def lives(settings: Settings, model: ModelStandIn) -> str:
    """Whose memory it is, and what it says."""
    model.extract = reader(PORTO)
    async with people_of(settings, model) as people:
        return f"{await people.id()} {await people.texts()}"


async def begin(settings: Settings, model: ModelStandIn) -> str:
    model.extract = reader(PORTO)
    async with people_of(settings, model) as people:
        await people.say("I live in Porto.")
        await people.work()
    return await lives(settings, model)


async def test_a_new_key_opens_all_and_the_old_one_nothing(
    in_a_file: Settings, model: ModelStandIn, tmp_path: Path
) -> None:
    before = await begin(in_a_file, model)
    path = in_a_file.mneme_data_dir / KEY_FILE
    old = path.read_text()
    (tmp_path / "logs").mkdir()
    async with a_mneme(in_a_file, tmp_path / "logs") as mneme:
        done = await mneme.command("rotate-key")
    assert done.returncode == 0, done.stderr
    assert "2 keys" in done.stdout or "1 keys" in done.stdout
    assert path.read_text() != old
    assert path.stat().st_mode & 0o077 == 0
    assert old.strip() not in done.stdout
    assert path.read_text().strip() not in done.stdout
    assert [each.name for each in path.parent.iterdir() if "next" in each.name] == []
    assert await lives(in_a_file, model) == before
    with_old = in_a_file.model_copy(update={"mneme_master_key": SecretStr(old)})
    with pytest.raises(ConfigurationError, match="rotate-key"):
        async with open_app(with_old):
            pass


@ONE_DATABASE
async def test_what_was_broken_off_is_ended_by_the_next_call(
    in_a_file: Settings, model: ModelStandIn, tmp_path: Path
) -> None:
    """Its process died when the record had the new key, and the file not yet."""
    before = await begin(in_a_file, model)
    path = in_a_file.mneme_data_dir / KEY_FILE
    old = load_master_key(in_a_file)
    new = old.renewed()
    following = path.with_name(f"{KEY_FILE}.next")
    following.write_text(new.text)
    os.chmod(following, 0o600)
    database = Database.from_settings(in_a_file)
    async with database.write() as connection:
        await Vault(old).rewrap(connection, new)
    await database.close()
    with pytest.raises(ConfigurationError, match="rotate-key"):
        async with open_app(in_a_file):
            pass
    (tmp_path / "logs").mkdir()
    async with a_mneme(in_a_file, tmp_path / "logs") as mneme:
        done = await mneme.command("rotate-key")
    assert done.returncode == 0, done.stderr
    assert path.read_text().strip() == new.text
    assert await lives(in_a_file, model) == before


@ONE_DATABASE
async def test_a_key_of_the_environment_goes_to_a_file_and_nothing_runs_meanwhile(
    open_settings: Settings, model: ModelStandIn, tmp_path: Path
) -> None:
    before = await begin(open_settings, model)
    (tmp_path / "logs").mkdir()
    out = tmp_path / "new.key"
    async with a_mneme(open_settings, tmp_path / "logs") as mneme:
        assert "--out" in (await mneme.command("rotate-key")).stderr
        await mneme.serve()
        refused = await mneme.command("rotate-key", "--out", str(out))
        assert "Stop Mneme first" in refused.stderr
        assert not out.exists()
    async with a_mneme(open_settings, tmp_path / "logs") as mneme:
        done = await mneme.command("rotate-key", "--out", str(out))
    assert done.returncode == 0, done.stderr
    read_master_key(out.read_text(), "x")
    renewed = open_settings.model_copy(update={"mneme_master_key": SecretStr(out.read_text())})
    assert await lives(renewed, model) == before
