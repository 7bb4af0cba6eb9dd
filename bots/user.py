"""`mneme user`: who is known here, and what may be asked of their data."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bots.command import prepared
from bots.memory import AsJson, Who, opened, write_private
from core.errors import ConfigurationError, UnknownReceipt
from core.settings import Settings

if TYPE_CHECKING:
    from core.app import App
    from core.rights.erasure import Remains
    from core.rights.erasure_list import Receipt
    from core.rights.importing import Imported
    from core.rights.roll import Entry

user = typer.Typer(
    help="List people, show one, export, import or erase what is theirs, and prove an erasure.",
    no_args_is_help=True,
)
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]


@user.command(name="list")
def show_all(as_json: AsJson = False) -> None:
    """List who is known here, a line each, without a word of what they said."""
    entries = asyncio.run(_everybody(prepared()))
    if as_json:
        print(json.dumps([_plain(each) for each in entries], ensure_ascii=False))
    else:
        print("\n".join(map(_line, entries)) or "Nobody is known yet.")


@user.command()
def show(name: Who, as_json: AsJson = False) -> None:
    """Show one person's accounts, and how much there is of them."""
    entry = asyncio.run(_one(prepared(), name))
    if as_json:
        print(json.dumps(_plain(entry), ensure_ascii=False))
        return
    print(_line(entry))
    for account in entry.accounts:
        print(f"  {account.channel}/{account.workspace}  {account.name}")


@user.command()
def export(
    name: Who,
    out: Annotated[Path, typer.Option(help="The .zip to write, readable by you alone.")],
) -> None:
    """Write all that is kept of a person into one archive: data, its schema, and a page to read."""
    write_private(out, asyncio.run(_exported(prepared(), name)))
    print(f"Written to {out}.")


@user.command(name="import")
def bring(
    name: Who,
    file: Annotated[Path, typer.Argument(help="An export of Mneme, of ChatGPT or of Mem0 (.zip or .json).")],
    as_json: AsJson = False,
) -> None:
    """Add an archive to what is known of a person. The same one twice adds nothing the second time."""
    settings = prepared()
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} can't be read ({error.strerror}).") from error
    came = asyncio.run(_imported(settings, name, data))
    if as_json:
        print(json.dumps(asdict(came)))
    else:
        print(f"{came.messages} messages and {came.memories} memories came in.")


@user.command()
def erase(name: Who, yes: Yes = False, as_json: AsJson = False) -> None:
    """Erase all of a person: rows, vectors and key. Prints the receipt."""
    settings = prepared()
    if not yes:
        entry = asyncio.run(_one(settings, name))
        print(_line(entry))
        typer.confirm("Erase all of this person, for good?", abort=True)
    _print_receipt(asyncio.run(_erased(settings, name)), as_json)


@user.command()
def receipt(
    number: Annotated[str, typer.Argument(metavar="RECEIPT", help="As an erasure gave it: MN-....")],
    as_json: AsJson = False,
) -> None:
    """Prove an erasure: show its receipt, and look through every table and the index for what is left."""
    found, remains = asyncio.run(_proof(prepared(), number))
    if as_json:
        print(json.dumps(found.as_json() | {"remains": asdict(remains)}))
    else:
        _print_receipt(found, as_json=False)
        print(_found(remains))
    raise SystemExit(0 if remains.is_nothing else 1)


def _print_receipt(found: "Receipt", as_json: bool) -> None:
    if as_json:
        print(json.dumps(found.as_json()))
        return
    print(f"Receipt {found.id}: erased on {found.erased_at:%Y-%m-%d %H:%M} UTC")
    for what, count in found.counts.items():
        print(f"  {what:<14} {count:>8,}")


def _found(remains: "Remains") -> str:
    rows = ", ".join(f"{count} in {table}" for table, count in remains.rows.items()) or "none"
    vectors = "not known, the index doesn't answer" if remains.vectors is None else remains.vectors or "none"
    return f"Left of them now: rows {rows}; vectors {vectors}."


def _line(entry: "Entry") -> str:
    name = entry.accounts[0].name if entry.accounts else "(no account)"
    last = f"{entry.last_said_at:%Y-%m-%d}" if entry.last_said_at else "never"
    door = "; blocked" if entry.blocked else "" if entry.admitted else "; not let in"
    return (
        f"{entry.id}  {name}  ({', '.join(entry.channels)}; since {entry.known_since:%Y-%m-%d}; "
        f"{entry.messages} messages, the last {last}; {entry.memories} memories{door})"
    )


def _plain(entry: "Entry") -> dict[str, Any]:
    return asdict(entry) | {
        "known_since": entry.known_since.isoformat(),
        "last_said_at": entry.last_said_at and entry.last_said_at.isoformat(),
    }


@asynccontextmanager
async def _mind(settings: Settings) -> AsyncIterator["App"]:
    from bots.errands import mind

    async with mind(settings) as app:
        yield app


async def _everybody(settings: Settings) -> "list[Entry]":
    async with _mind(settings) as app, app.database.read() as connection:
        return list(await app.roll.everybody(connection))


async def _one(settings: Settings, name: str) -> "Entry":
    async with opened(settings, name) as (app, user_id), app.database.read() as connection:
        return await app.roll.entry(connection, user_id)


async def _erased(settings: Settings, name: str) -> "Receipt":
    async with opened(settings, name) as (app, user_id):
        return await app.erasure.erase(user_id)


async def _exported(settings: Settings, name: str) -> bytes:
    async with opened(settings, name) as (app, user_id):
        return await app.export.packed(user_id)


async def _imported(settings: Settings, name: str, data: bytes) -> "Imported":
    from core.rights.foreign import read_archive

    async with opened(settings, name) as (app, user_id):
        came = await app.importing.bring(user_id, await asyncio.to_thread(read_archive, data))
        await app.indexer.flush(user_id)
    return came


async def _proof(settings: Settings, number: str) -> "tuple[Receipt, Remains]":
    async with _mind(settings) as app:
        found = await app.erasure.find(number)
        if found is None:
            raise UnknownReceipt("No erasure here has that number.")
        return found, await app.erasure.remains(found)
