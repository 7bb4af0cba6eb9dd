"""`mneme access` and `mneme code`, run as an operator runs them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.reply.commands import WELCOME
from core.reply.door_commands import ASKED, BLOCKED, SPENT_CODE
from core.settings import Settings
from core.storage.schema import audit
from tests.integration.remembering import ONE_DATABASE, People, people_of
from tests.processes import Mneme, a_mneme
from tests.standins.model import ModelStandIn

pytestmark = ONE_DATABASE


@pytest.fixture
async def people(settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    async with people_of(settings, model) as made:
        yield made


@pytest.fixture
async def operator(settings: Settings, tmp_path: Path) -> AsyncIterator[Mneme]:
    (tmp_path / "logs").mkdir()
    async with a_mneme(settings, tmp_path / "logs") as made:
        yield made


async def said(operator: Mneme, *arguments: str) -> str:
    done = await operator.command(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def refused(operator: Mneme, *arguments: str) -> str:
    done = await operator.command(*arguments)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


async def test_the_code_claims_and_then_invites(people: People, operator: Mneme) -> None:
    code = await said(operator, "code")
    assert code == people.app.access.code
    assert f"first send /start {code} on Telegram, !start {code} on Slack" in await said(operator, "welcome")
    assert (await people.say(f"/start {code}")).startswith(WELCOME)
    assert await people.say(f"/start {code}", person="ben") == SPENT_CODE
    assert await people.say(f"/start {await said(operator, 'code')}", person="ben") == WELCOME
    assert await said(operator, "code", "--own") == code
    assert "`mneme access invite` prints a code" in await said(operator, "welcome")


async def test_the_operator_invites_decides_and_blocks(people: People, operator: Mneme) -> None:
    await people.say(f"/start {people.app.access.code}")
    code = await said(operator, "access", "invite", "--uses", "2", "--days", "1")
    assert await people.say(f"/start {code}", person="ben") == WELCOME
    assert await people.say("/ask", person="cleo") == ASKED
    assert await people.say("/ask", person="dora") == ASKED
    asked = json.loads(await said(operator, "access", "requests", "--json"))
    assert [(each["number"], each["name"]) for each in asked] == [(1, "Cleo"), (2, "Dora")]
    assert "'Cleo'" in await said(operator, "access", "requests")
    assert "approved" in await said(operator, "access", "approve", "1")
    assert "denied" in await said(operator, "access", "deny", "2")
    assert "No request of that number" in await refused(operator, "access", "approve", "9")
    assert "Hello" in await people.say("Hello", person="cleo")

    assert await said(operator, "access", "block", "ben") == "They are blocked."
    assert await people.say("Hello", person="ben") == BLOCKED
    assert "Nobody goes by that name" in await refused(operator, "access", "block", "nobody")
    found = json.loads(await said(operator, "access", "show", "--json"))
    assert found["default"] == "invite"
    assert [door["owner"] for door in found["doors"]] == [await people.id()]
    assert [(each["uses_left"], each["door"]) for each in found["invites"]] == [(1, None)]
    assert (found["requests"], found["blocked"]) == (0, [await people.id("ben")])
    shown = await said(operator, "access", "show")
    assert code not in shown
    assert "for 1 more" in shown
    assert "opens nothing" in await said(operator, "access", "revoke", str(found["invites"][0]["id"]))
    assert await said(operator, "access", "unblock", "ben") == "They aren't blocked any more."
    assert "Hello" in await people.say("Hello", person="ben")
    noted = await people.house.rows(audit, audit.c.actor.is_(None))
    assert [row.deed for row in noted] == ["invite", "admit", "deny", "block", "revoke", "unblock"]
    bens = (await said(operator, "audit", "ben")).splitlines()
    assert [line.split()[3] for line in bens] == ["admit", "block", "unblock"]
    assert bens[0].endswith("by themselves  invite 1")
    assert bens[1].endswith("by the operator")
    newest = json.loads(await said(operator, "audit", "--limit", "1", "--json"))
    assert [(each["deed"], each["user_id"]) for each in newest] == [("unblock", await people.id("ben"))]


async def test_the_operator_opens_and_shuts_doors(people: People, operator: Mneme) -> None:
    assert await said(operator, "access", "set", "telegram/123", "open") == "telegram/123: open"
    assert await said(operator, "access", "set", "slack", "closed") == "slack: closed"
    shown = await said(operator, "access", "show")
    assert "telegram/123" in shown
    assert "slack" in shown
    for where, why in (
        ("web", "by a link or a key alone"),
        ("icq", "a channel is one of"),
        ("slack/a b", "a workspace is an id"),
    ):
        assert why in " ".join((await refused(operator, "access", "set", where, "open")).split())
    assert "say invite, open, closed" in await refused(operator, "access", "set", "slack", "ajar")
    assert "Nobody has claimed" in await refused(operator, "access", "unclaim", "telegram/123")
