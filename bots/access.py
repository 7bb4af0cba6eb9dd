"""`mneme access`: who may talk to Mneme on Telegram and Slack, for whoever runs it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from bots.command import prepared
from core.errors import NotAsked, UnknownUser
from core.settings import Settings
from core.users.doors import HOME_CHANNELS, Door, Mode
from core.users.invites import DAYS, MOST_DAYS, MOST_USES

if TYPE_CHECKING:
    from core.users.access import Access
    from core.users.audit import Noted
    from core.users.people import People
    from core.users.requests import Request

CHANNELS = ("telegram", "slack")
WORKSPACE = re.compile(r"[A-Za-z0-9_-]{1,30}")
TIME = "%Y-%m-%d %H:%M UTC"

access = typer.Typer(
    help="Say who may talk to Mneme on Telegram and Slack: by invitation, approval, or everybody.",
    no_args_is_help=True,
)


def _door(text: str) -> Door:
    channel, _, workspace = text.partition("/")
    if channel.lower() in HOME_CHANNELS:
        raise typer.BadParameter("the web and the terminal are reached by a link or a key alone")
    if channel.lower() not in CHANNELS:
        raise typer.BadParameter(f"a channel is one of: {', '.join(CHANNELS)}")
    if workspace and not WORKSPACE.fullmatch(workspace):
        raise typer.BadParameter("a workspace is an id such as T0123 (Slack) or the bot's number (Telegram)")
    return Door(channel.lower(), workspace)


Where = Annotated[
    Door,
    typer.Argument(parser=_door, metavar="CHANNEL[/WORKSPACE]", help="As `mneme access show` names it."),
]
MAX_NUMBER = 2**31 - 1
Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, max=MAX_NUMBER)]
Who = Annotated[str, typer.Argument(metavar="USER", help="Their id, or an account of theirs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one object instead of the text.")]


@access.command()
def show(as_json: AsJson = False) -> None:
    """Show the doors and their owners, invitations, how many ask to be let in, and who is blocked."""
    found = asyncio.run(_everything(prepared()))
    if as_json:
        print(json.dumps(found))
        return
    print(f"{'where nothing else was set':<32} {found['default']}")
    for door in found["doors"]:
        owner = f"claimed by {door['owner']}" if door["owner"] else ""
        print(f"{door['door']:<32} {door['mode'] or 'default':<8} {owner}".rstrip())
    for invite in found["invites"]:
        where = invite["door"] or "anywhere"
        left = f"for {invite['uses_left']} more, until {invite['expires_at']}"
        print(f"invitation {invite['id']}: {where}, {left}")
    if found["requests"]:
        print(f"{found['requests']} ask to be let in: see `mneme access requests`")
    for user_id in found["blocked"]:
        print(f"blocked: {user_id}")


@access.command(name="set")
def set_mode(
    where: Where,
    mode: Annotated[str, typer.Argument(metavar="invite|open|closed|default", help="Who is let in there.")],
) -> None:
    """Say who is let in at a channel or one workspace of it. Who is in stays in."""
    if mode not in (*Mode, "default"):
        raise typer.BadParameter("say invite, open, closed or default")
    asyncio.run(_set_mode(prepared(), where, None if mode == "default" else Mode(mode)))
    print(f"{where}: {mode}")


@access.command()
def invite(
    channel: Annotated[
        Door | None,
        typer.Option(parser=_door, metavar="CHANNEL[/WORKSPACE]", help="Where it lets in; else anywhere."),
    ] = None,
    uses: Annotated[int, typer.Option(min=1, max=MOST_USES, help="How many people.")] = 1,
    days: Annotated[int, typer.Option(min=1, max=MOST_DAYS, help="For how long.")] = DAYS,
) -> None:
    """Print a code that lets somebody in who sends it as `/start CODE`; it can't be shown again."""
    print(asyncio.run(_invite(prepared(), channel, uses, days)))


@access.command()
def revoke(number: Number) -> None:
    """Take back an invitation, by its number in `mneme access show`."""
    if not asyncio.run(_revoke(prepared(), number)):
        raise NotAsked("There is no invitation of that number: see `mneme access show`.")
    print(f"Invitation {number} opens nothing any more.")


@access.command()
def requests(as_json: AsJson = False) -> None:
    """List who asks to be let in, by number and name."""
    waiting = asyncio.run(_requests(prepared()))
    if as_json:
        print(json.dumps([_facts(each) for each in waiting], ensure_ascii=False))
    elif waiting:
        print("\n".join(map(_line, waiting)))
    else:
        print("Nobody asks to be let in.")


@access.command()
def approve(number: Number) -> None:
    """Let in who made a request, also one that was denied."""
    asyncio.run(_decide(prepared(), number, approved=True))
    print(f"Request {number} is approved; they hear of it with their next message.")


@access.command()
def deny(number: Number) -> None:
    """Decline a request; with an invitation they can still come in."""
    asyncio.run(_decide(prepared(), number, approved=False))
    print(f"Request {number} is denied; they hear of it with their next message.")


@access.command()
def block(user: Who) -> None:
    """Hear no more of somebody: nothing that they write is kept, and they get one polite line a day."""
    done = asyncio.run(_block(prepared(), user, blocked=True))
    print("They are blocked." if done else "They are blocked already.")


@access.command()
def unblock(user: Who) -> None:
    """Hear of somebody again; whoever was let in before is in again."""
    done = asyncio.run(_block(prepared(), user, blocked=False))
    print("They aren't blocked any more." if done else "They aren't blocked.")


@access.command()
def unclaim(where: Where) -> None:
    """Take a workspace from its owner, who stays in: `mneme code --own` prints what claims it anew."""
    if not asyncio.run(_unclaim(prepared(), where)):
        raise NotAsked(f"Nobody has claimed {where}: see `mneme access show`.")
    print(f"{where} can be claimed again.")


def audit(
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="Only what is about them.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_NUMBER, help="How many at most.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print an array of objects.")] = False,
) -> None:
    """Show who did what to whose access and data, the newest last; nobody's words are in it."""
    noted = asyncio.run(_noted(prepared(), user, limit))
    if as_json:
        print(json.dumps([asdict(each) | {"at": each.at.isoformat()} for each in noted]))
        return
    for each in noted:
        whom = f"{each.user_id or '-':<32}"
        by = "the operator" if each.actor is None else each.actor
        by = "themselves" if each.actor is not None and each.actor == each.user_id else by
        print(f"{each.at:{TIME}}  {each.deed:<10} {whom}  by {by}  {each.detail or ''}".rstrip())


async def entrance(settings: Settings, *, own: bool) -> str:
    """The code for whoever comes next: the operator's own, if `own`, or until it has claimed something."""
    async with _kept(settings) as (connection, keeper, _):
        states = await keeper.doors.all(connection)
        if own or not any(state.owner_id for state in states):
            return keeper.code
        return await keeper.invites.make(connection, made_by=None)


@asynccontextmanager
async def _kept(settings: Settings) -> AsyncIterator[tuple[AsyncConnection, "Access", "People"]]:
    """The doorkeeper, within a transaction."""
    from bots.errands import doorkeeper

    async with doorkeeper(settings) as (database, keeper, people), database.write() as connection:
        yield connection, keeper, people


async def _everything(settings: Settings) -> dict[str, Any]:
    async with _kept(settings) as (connection, keeper, people):
        return {
            "default": keeper.doors.default,
            "doors": [
                {"door": str(state.door), "mode": state.mode, "owner": state.owner_id}
                for state in await keeper.doors.all(connection)
            ],
            "invites": [
                {
                    "id": each.id,
                    "door": each.door and str(each.door),
                    "uses_left": each.uses_left,
                    "expires_at": each.expires_at.isoformat(timespec="minutes"),
                    "made_by": each.made_by,
                }
                for each in await keeper.invites.open(connection)
            ],
            "requests": len(await keeper.requests.waiting(connection)),
            "blocked": await people.blocked(connection),
        }


async def _set_mode(settings: Settings, where: Door, mode: Mode | None) -> None:
    async with _kept(settings) as (connection, keeper, _):
        await keeper.set_mode(connection, where, mode)


async def _invite(settings: Settings, where: Door | None, uses: int, days: int) -> str:
    async with _kept(settings) as (connection, keeper, _):
        return await keeper.invites.make(connection, made_by=None, door=where, uses=uses, days=days)


async def _revoke(settings: Settings, number: int) -> bool:
    async with _kept(settings) as (connection, keeper, _):
        return await keeper.invites.revoke(connection, number)


async def _requests(settings: Settings) -> "Sequence[Request]":
    async with _kept(settings) as (connection, keeper, _):
        return await keeper.requests.waiting(connection)


async def _decide(settings: Settings, number: int, *, approved: bool) -> None:
    async with _kept(settings) as (connection, keeper, _):
        decide = keeper.approve if approved else keeper.deny
        if await decide(connection, number, actor=None) is None:
            raise NotAsked("No request of that number is to be decided: see `mneme access requests`.")


async def _block(settings: Settings, name: str, *, blocked: bool) -> bool:
    async with _kept(settings) as (connection, keeper, people):
        found = await people.called(connection, name)
        if len(found) != 1:
            raise UnknownUser(len(found))
        change = keeper.block if blocked else keeper.unblock
        return await change(connection, found[0], actor=None)


async def _noted(settings: Settings, name: str | None, limit: int) -> "Sequence[Noted]":
    async with _kept(settings) as (connection, keeper, people):
        # Who was erased has no account any more, but their number.
        found = await people.called(connection, name) or [name] if name else [None]
        if len(found) != 1:
            raise UnknownUser(len(found))
        return await keeper.audit.newest(connection, limit=limit, about=found[0])


async def _unclaim(settings: Settings, where: Door) -> bool:
    async with _kept(settings) as (connection, keeper, _):
        return await keeper.give_up(connection, where)


def _line(request: "Request") -> str:
    return f"{request.id:<6} {request.asked_at:{TIME}}  {request.door}  {request.name!r}"


def _facts(request: "Request") -> dict[str, Any]:
    return {
        "number": request.id,
        "user": request.user_id,
        "name": request.name,
        "door": str(request.door),
        "asked_at": request.asked_at.isoformat(),
    }
