"""What the command line does beside talking and serving: links, reindexing, the doctor, dead letters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import httpx
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from bots.address import service_url
from core.clock import SystemClock
from core.delivery.dead_letters import Circumstances, DeadLetter, DeadLetters, Words
from core.destinations import leaving
from core.errors import MnemeError
from core.memory.dead_jobs import DeadJobs
from core.privacy.keys import load_master_key
from core.privacy.vault import Vault
from core.settings import Settings
from core.storage.database import Database, require_newest_schema
from core.users.access import Access
from core.users.audit import Audit
from core.users.doors import Mode
from core.users.people import People
from core.users.sign_in import SignIn

if TYPE_CHECKING:
    from core.app import App
    from core.memory.reindexing import Reindexed

TIMEOUT_SECONDS = 5.0
OWNER = "owner"
NOBODY = "http://127.0.0.1:9/v1"
CHANNELS = ("telegram", "slack")
OTHERS = {
    Mode.INVITE: "by invitation: `mneme access invite` prints a code for somebody else",
    Mode.OPEN: "open: everybody on Telegram and Slack is let in",
    Mode.CLOSED: "closed: nobody else is let in",
}


class Keeper(Protocol):
    """Keeps dead letters of one kind; a call that names one raises `NotDead` when it is none."""

    async def all(self) -> list[DeadLetter]: ...

    async def count(self) -> int: ...

    async def examine(self, number: int) -> Circumstances: ...

    async def words(self, number: int) -> Words: ...

    async def retry(self, number: int) -> None: ...

    async def drop(self, number: int) -> None: ...


@asynccontextmanager
async def record(settings: Settings) -> AsyncIterator[Database]:
    database = Database.from_settings(settings)
    try:
        await require_newest_schema(database)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def doorkeeper(settings: Settings) -> AsyncIterator[tuple[Database, Access, People]]:
    """Who lets people in, over the record alone."""
    master = load_master_key(settings)
    clock = SystemClock()
    people = People(Vault(master), master, clock)
    async with record(settings) as database:
        yield database, Access(settings, master, people, Audit(clock), clock), people


@asynccontextmanager
async def dead_letters(settings: Settings) -> AsyncIterator[dict[str, Keeper]]:
    """Who keeps what was given up, by the letter that its ids begin with; asks the record alone."""
    master = load_master_key(settings)
    async with record(settings) as database:
        clock = SystemClock()
        yield {"m": DeadLetters(database, Vault(master), clock), "j": DeadJobs(database, clock)}


async def sign_in_link(settings: Settings, name: str) -> str:
    """A link that signs in to the web chat as this name, once."""
    master = load_master_key(settings)
    clock = SystemClock()
    async with record(settings) as database:
        people = People(Vault(master), master, clock)
        token = await SignIn(database, people, master, clock).link_token(name)
    return f"{settings.public_url or service_url(settings)}/sign-in?token={token}"


async def welcome(settings: Settings) -> list[str]:
    """Where to go, a line each."""
    parts = (await _ready(settings) or {"parts": {}})["parts"]
    lines = [
        f"Web chat   {await sign_in_link(settings, OWNER)}",
        "           (this link works once; `mneme sign-in` prints another)",
        "Terminal   mneme chat",
        *(f"{name.capitalize():<10} {parts.get(name, 'not seen')}" for name in CHANNELS),
    ]
    lines += await _access(settings)
    if settings.privacy_mode == "local":
        lines.append(f"Privacy    local: {leaving(settings)}")
    if settings.mneme_on_trial:
        lines.append(
            "Model      the small one on this machine: for trying out, not for facts about the world"
        )
    return lines


async def _access(settings: Settings) -> list[str]:
    """Who is let in, and how whoever runs this claims what isn't claimed yet."""
    async with doorkeeper(settings) as (database, access, _), database.read() as connection:
        claimed = [state.door.channel for state in await access.doors.all(connection) if state.owner_id]
    signs = {"telegram": "/", "slack": "!"}
    ways = ", ".join(
        f"{signs[name]}start {access.code} on {name.capitalize()}" for name in CHANNELS if name not in claimed
    )
    mode = Mode(settings.access)
    lines = [OTHERS[mode]] if claimed or mode is not Mode.INVITE else []
    if ways:
        lines.append(f"to decide on it in chat, send {ways}" if lines else f"first send {ways}")
    return [f"{'' if number else 'Access':<10} {line}" for number, line in enumerate(lines)]


def speechless(settings: Settings) -> Settings:
    """For work that asks no language model: none has to be named."""
    named = settings.openai_api_key or settings.openai_base_url or settings.embedding_model
    return settings if named else settings.model_copy(update={"openai_base_url": NOBODY})


@asynccontextmanager
async def mind(settings: Settings) -> AsyncIterator["App"]:
    """Everything wired, for what asks no language model; the stores are started where they don't run."""
    from core.app import open_app
    from deploy import local

    async with local.parts_for(settings, {"redis", "chroma"}) as whole, open_app(speechless(whole)) as app:
        yield app


async def reindex(settings: Settings) -> "Reindexed":
    """Brings the index in line with the record, and shows how far it is."""
    console = Console(stderr=True)
    async with mind(settings) as app:
        console.print(f"Indexing with {(await app.index.stamp()).embedding_model}", highlight=False)
        with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console) as shown:
            task = shown.add_task("", total=None)
            return await app.reindexing.run(
                lambda seen, total: shown.update(task, completed=seen, total=total)
            )


async def doctor(settings: Settings) -> tuple[list[str], bool]:
    """A line for every part, and whether all is well."""
    findings: list[tuple[str, str | None]] = []
    dead = [0]
    try:
        async with dead_letters(settings) as keepers:
            findings.append(("data and database", None))
            dead = [await keeper.count() for keeper in keepers.values()]
    except MnemeError as error:
        findings.append(("data and database", str(error)))
    ready = await _ready(settings)
    if ready is None:
        findings.append(("service", f"doesn't answer at {service_url(settings)}: start it with `mneme run`"))
    else:
        for name, state in ready["parts"].items():
            off = state not in ("ready",) and not state.startswith("not configured")
            findings.append((name, state if off else None))
    findings.append(("language model", await _model_trouble(settings)))
    findings.append(_privacy(settings, ready))
    lines = [
        f"{'ok' if trouble is None else 'NOT OK':<7} {name}" + (f": {trouble}" if trouble else "")
        for name, trouble in findings
    ]
    if any(dead):
        messages, jobs = dead
        lines.append(f"{'LOOK':<7} dead letters: messages {messages}, jobs {jobs}; see `mneme dead list`")
    return lines, all(trouble is None for _, trouble in findings)


async def _ready(settings: Settings) -> dict[str, Any] | None:
    """What the service says of itself; None when it doesn't answer."""
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            answer = await client.get(f"{service_url(settings)}/readyz")
            told = answer.json()
            return {"parts": told["parts"], "privacy_mode": told["privacy_mode"]}
    except (httpx.HTTPError, ValueError, KeyError):
        return None


def _privacy(settings: Settings, ready: dict[str, Any] | None) -> tuple[str, str | None]:
    mode = settings.privacy_mode
    try:
        finding = f"privacy mode {mode}, {leaving(settings)}"
    except MnemeError as error:
        return f"privacy mode {mode}", str(error)
    serves = mode if ready is None else ready["privacy_mode"]
    return finding, None if serves == mode else f"the service runs with PRIVACY_MODE={serves}: start it anew"


async def _model_trouble(settings: Settings) -> str | None:
    if settings.openai_api_key is None and settings.openai_base_url is None:
        return None  # the local model: its supervisor watches it
    from core.clock import SystemClock
    from core.llm.model import ChatMessage
    from core.llm.openai_model import build_model
    from core.llm.tries import Tries

    model = build_model(settings, Tries.from_settings(settings, SystemClock()))
    try:
        async for _ in model.stream([ChatMessage("user", "Say yes.")], max_tokens=16):
            break
    except MnemeError as error:
        return str(error)
    finally:
        await model.aclose()
    return None
