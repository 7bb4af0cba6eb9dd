"""`mneme dead`: what was given up, and what becomes of it."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bots.command import prepared
from core.errors import NotDead, Undecryptable
from core.settings import Settings

if TYPE_CHECKING:
    from bots.errands import Keeper
    from core.delivery.dead_letters import Circumstances, DeadLetter, Words

    Act = Callable[[Keeper, int], Awaitable[None]]

ID = re.compile(r"([mj])([1-9]\d{0,8})", re.ASCII)
TIME = "%Y-%m-%d %H:%M:%S UTC"

dead = typer.Typer(
    help="Look at messages and jobs that were given up; have them tried again, or drop them.",
    no_args_is_help=True,
)
Id = Annotated[str, typer.Argument(metavar="ID", help="As `mneme dead list` shows it: m12, j7.")]
OptionalId = Annotated[str | None, typer.Argument(metavar="ID", help="As `mneme dead list` shows it.")]
Every = Annotated[bool, typer.Option("--all", help="All of them, instead of one.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]


@dead.command(name="list")
def show_all(
    as_json: Annotated[bool, typer.Option("--json", help="Print an array of objects.")] = False,
) -> None:
    """List what was given up, a line each, without anybody's words."""
    letters = asyncio.run(_all(prepared()))
    if as_json:
        facts = [asdict(letter) | {"since": letter.since.isoformat()} for letter in letters]
        print(json.dumps(facts))
    elif letters:
        print("\n".join(map(_line, letters)))
    else:
        print("Nothing was given up.")


@dead.command()
def show(
    id: Id, words: Annotated[bool, typer.Option("--words", help="Also what the person wrote.")] = False
) -> None:
    """Show all that is known of one; what the person wrote only when asked for."""
    print("\n".join(asyncio.run(_examine(prepared(), id, words))))


@dead.command()
def retry(
    id: OptionalId = None,
    every: Every = False,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="With --all: also those that may have been answered.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Have one tried again, or all that certainly weren't answered."""
    settings = prepared()
    ids = _named(settings, id, every, with_unknown=unknown)
    _confirm(f"Try {len(ids)} again?", asked=every and bool(ids) and not yes)
    for done in asyncio.run(_each(settings, ids, lambda keeper, n: keeper.retry(n), lenient=every)):
        print(f"{done} waits to be tried again.")
    if ids:
        print(
            "No bell was rung: a running Mneme finds it when it next looks around "
            f"(every {settings.sweep_seconds:g} s)."
        )


@dead.command()
def drop(id: OptionalId = None, every: Every = False, yes: Yes = False) -> None:
    """Give one up for good, or all: their words are destroyed."""
    settings = prepared()
    ids = _named(settings, id, every, with_unknown=True)
    _confirm(f"Drop {len(ids)} for good?", asked=every and bool(ids) and not yes)
    for done in asyncio.run(_each(settings, ids, lambda keeper, n: keeper.drop(n), lenient=every)):
        print(f"{done} is dropped.")


def _named(settings: Settings, id: str | None, every: bool, *, with_unknown: bool) -> list[str]:
    """The ids that the command is about."""
    if (id is None) is not every:
        raise typer.BadParameter("name one ID, or say --all")
    if id is not None:
        return [id]
    from core.delivery.inbox import InboxState

    letters = asyncio.run(_all(settings))
    chosen = [each.id for each in letters if with_unknown or each.state != InboxState.UNKNOWN]
    if not chosen:
        print("Nothing to do.")
    if len(chosen) < len(letters):
        left = len(letters) - len(chosen)
        print(f"{left} may have been answered, and would be answered twice: add --unknown to try them too.")
    return chosen


def _confirm(question: str, *, asked: bool) -> None:
    if asked:
        typer.confirm(question, abort=True)


async def _all(settings: Settings) -> "list[DeadLetter]":
    from bots.errands import dead_letters

    async with dead_letters(settings) as keepers:
        return [letter for keeper in keepers.values() for letter in await keeper.all()]


async def _examine(settings: Settings, id: str, with_words: bool) -> list[str]:
    from bots.errands import dead_letters

    async with dead_letters(settings) as keepers:
        keeper, number = _find(keepers, id)
        lines = _facts(await keeper.examine(number))
        if with_words:
            try:
                lines += _spoken(await keeper.words(number))
            except Undecryptable as error:
                lines.append(f"words         can't be read: {error}")
    return lines


async def _each(settings: Settings, ids: Sequence[str], act: "Act", *, lenient: bool) -> list[str]:
    """Does it to each of them; returns those that it was done to. Of many, some may be dead no more."""
    from bots.errands import dead_letters

    done = []
    async with dead_letters(settings) as keepers:
        for id in ids:
            keeper, number = _find(keepers, id)
            with suppress(*((NotDead,) if lenient else ())):
                await act(keeper, number)
                done.append(id)
    return done


def _find(keepers: "Mapping[str, Keeper]", id: str) -> "tuple[Keeper, int]":
    named = ID.fullmatch(id)
    if named is None:
        raise NotDead("Dead letters are called like m12 or j7: see `mneme dead list`.")
    return keepers[named[1]], int(named[2])


def _line(letter: "DeadLetter") -> str:
    tried = f"{letter.attempts} attempt{'' if letter.attempts == 1 else 's'}"
    return (
        f"{letter.id:<8}{letter.since:{TIME}}  {letter.channel or '-':<9} {letter.state:<8} "
        f"{tried:<12} {letter.reason or ''}"
    ).rstrip()


def _facts(known: "Circumstances") -> list[str]:
    letter = known.letter
    facts = [
        (letter.kind, letter.id),
        ("state", letter.state.value),
        ("since", f"{letter.since:{TIME}}"),
        ("reason", letter.reason),
        ("attempts", letter.attempts),
        ("channel", letter.channel),
        ("conversation", letter.conversation_id),
        ("user", letter.user_id),
        ("turn", known.turn_id),
        *(("received", f"m{number}  {at:{TIME}}") for number, at in known.messages),
        *(
            ("delivery", f"{_part(part.part)}  {part.state}  {part.updated_at:{TIME}}  {part.reason or ''}")
            for part in known.parts
        ),
    ]
    return [f"{name:<13} {value}".rstrip() for name, value in facts if value is not None]


def _part(number: int | None) -> str:
    return "line" if number is None else f"part {number + 1}"


def _spoken(words: "Words") -> list[str]:
    lines = [f"{'words':<13} {text or '(none of their own)'}" for text in words.said]
    return lines if words.reply is None else [*lines, f"{'reply':<13} {words.reply}"]
