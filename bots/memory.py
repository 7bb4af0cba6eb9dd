"""`mneme memory`: what is remembered of a person, for whoever runs Mneme."""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bots.command import prepared
from core.errors import ConfigurationError, UnknownUser
from core.settings import Settings

if TYPE_CHECKING:
    from core.app import App
    from core.memory.claims import Memory
    from core.memory.consolidation import Step
    from core.memory.recall import LeftOut, Recalled
    from core.memory.transcript import Statement

FORMAT = "mneme-memory/1"
STATEMENTS = 100_000

memory = typer.Typer(
    help="Show, search, explain or export what is remembered of a person. It prints their words.",
    no_args_is_help=True,
)
Who = Annotated[str, typer.Argument(metavar="USER", help="Their id, or an account of theirs.")]
Out = Annotated[Path | None, typer.Option(help="Write it here, readable by you alone.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one object instead of the text.")]


@memory.command()
def show(user: Who, as_json: AsJson = False) -> None:
    """List what is remembered, with what was so before; then what was said and not read for memories."""
    found = asyncio.run(_everything(prepared(), user))
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    held = [each for each in found["memories"] if each["retired_at"] is None]
    over = [each for each in found["memories"] if each["retired_at"] is not None]
    print("\n".join([*_listed("Holds now", held), *_listed("Held before", over)]) or "Nothing is remembered.")
    if found["statements"]:
        print(f"{len(found['statements'])} statements that no memory cites; --json lists them.")


@memory.command()
def search(
    user: Who,
    words: Annotated[list[str], typer.Argument(help="What to look for.")],
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 10,
) -> None:
    """List the entries that bear most on the words, best first."""
    for each in asyncio.run(_ranked(prepared(), user, " ".join(words), limit)):
        print(_row(each))


@memory.command()
def explain(
    user: Who,
    words: Annotated[list[str], typer.Argument(metavar="QUESTION...", help="What the person might write.")],
    as_json: AsJson = False,
) -> None:
    """Tell what would be recalled for a message, by which signals, and why the rest would be left out."""
    recalled, left_out = asyncio.run(_recall(prepared(), user, " ".join(words)))
    if as_json:
        rows = [{**_signals(each), "reason": None} for each in recalled]
        rows += [{**_signals(each.recalled), "reason": each.reason} for each in left_out]
        print(json.dumps(rows, ensure_ascii=False))
        return
    print("Recalled:" if recalled else "Nothing would be recalled.")
    for each in recalled:
        print(_row(each))
    if left_out:
        print("Left out:")
    for left in left_out:
        print(f"{_row(left.recalled)}  [{left.reason}]")


@memory.command()
def consolidate(
    user: Who,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Merge what says the same, conclude, retire what has expired; print each change."""
    steps = asyncio.run(_consolidated(prepared(), user, dry_run=dry_run))
    if as_json:
        print(json.dumps([_changed(step) for step in steps], ensure_ascii=False))
        return
    print("\n".join(map(_change, steps)) or "Nothing to do.")


@memory.command()
def undo(user: Who) -> None:
    """Take back what the newest consolidation did; it isn't done again."""
    changes = asyncio.run(_undone(prepared(), user))
    print("There is no consolidation to undo." if changes is None else f"{changes} changes undone.")


@memory.command()
def export(user: Who, out: Out = None) -> None:
    """Write everything that is remembered as JSON: memories with history and sources, and statements."""
    text = json.dumps(asyncio.run(_everything(prepared(), user)), ensure_ascii=False, indent=2)
    if out is None:
        print(text)
        return
    write_private(out, (text + "\n").encode())
    print(f"Written to {out}.")


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that nobody else may read, whole or not at all.

    Raises:
        ConfigurationError: it can't be written.
    """
    try:
        # One of its own first: one that is there already may be open to others.
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as draft:
            try:
                draft.write(content)
                draft.flush()
                os.replace(draft.name, path)
            except BaseException:
                os.unlink(draft.name)
                raise
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be written ({error.strerror}): choose another --out."
        ) from error


@asynccontextmanager
async def opened(settings: Settings, name: str) -> AsyncIterator[tuple["App", str]]:
    """The mind, and the id of the user who goes by the name."""
    from bots.errands import mind

    async with mind(settings) as app:
        async with app.database.read() as connection:
            found = await app.people.called(connection, name)
        if len(found) != 1:
            raise UnknownUser(len(found))
        yield app, found[0]


async def _everything(settings: Settings, name: str) -> dict[str, Any]:
    async with opened(settings, name) as (app, user_id), app.database.read() as connection:
        memories = await app.memories.of_user(connection, user_id, retired=True)
        statements = await app.transcript.statements_without_memory(connection, user_id, limit=STATEMENTS)
    return {
        "format": FORMAT,
        "user": user_id,
        "exported_at": datetime.now(UTC).isoformat(),
        "memories": [_told(each) for each in memories],
        "statements": [_statement(each) for each in statements],
    }


async def _ranked(settings: Settings, name: str, words: str, limit: int) -> "Sequence[Recalled]":
    from core.privacy.audience import PRIVATE

    async with opened(settings, name) as (app, user_id):
        now = datetime.now().astimezone()
        return await app.recaller.ranked(user_id, words, PRIVATE, limit=limit, now=now)


async def _recall(
    settings: Settings, name: str, question: str
) -> "tuple[Sequence[Recalled], Sequence[LeftOut]]":
    from core.privacy.audience import PRIVATE

    async with opened(settings, name) as (app, user_id):
        found = await app.recaller.find(user_id, question, PRIVATE, known=(), now=datetime.now().astimezone())
    return found.memories, found.left_out


async def _consolidated(settings: Settings, name: str, *, dry_run: bool) -> "Sequence[Step]":
    async with opened(settings, name) as (app, user_id):
        steps: Sequence[Step] = await app.consolidation.plan(user_id)
        if not dry_run:
            async with app.database.write() as connection:
                steps = await app.consolidation.carry_out(connection, user_id, steps)
    return steps


async def _undone(settings: Settings, name: str) -> int | None:
    async with opened(settings, name) as (app, user_id):
        return await app.consolidation.undo(user_id)


def _change(step: "Step") -> str:
    """A change as a difference: what goes, what comes, and what that rests on."""
    goes = [f"- {each.text}" for each in step.retires]
    comes = [f"+ {step.draft.text}"] if step.draft else []
    kept = [f"    {each.text}" for each in step.group if each not in step.retires]
    return "\n".join([f"{step.deed}:", *goes, *comes, *kept])


def _changed(step: "Step") -> dict[str, Any]:
    return {
        "deed": step.deed,
        "retires": [each.id for each in step.retires],
        "makes": step.draft and _plain(asdict(step.draft)),
        "from": [{"id": each.id, "text": each.text} for each in step.group],
    }


def _told(each: "Memory") -> dict[str, Any]:
    told = asdict(each) | {"confidence": round(each.confidence, 3), "evidence": len(each.sources)}
    return {name: _plain(value) for name, value in told.items()}


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return {name: _plain(each) for name, each in value.items()} if isinstance(value, dict) else value


def _statement(each: "Statement") -> dict[str, Any]:
    line = each.line
    return {"message_id": line.id, "text": line.text, "said_at": line.said_at.isoformat(), "read": each.read}


def _listed(title: str, memories: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{title}:", *map(_line, memories)] if memories else []


def _line(each: dict[str, Any]) -> str:
    until = f" until {each['valid_until'][:10]}" if each["valid_until"] else ""
    about = f", about {each['subject']}" if each["subject"] else ""
    made = f", {each['derivation']}" if each["derivation"] else ""
    facts = (
        f"{each['kind']}{about}{made}; {each['confidence']:.2f} from {each['evidence']}; {each['audience']}"
    )
    return f"  {each['valid_from'][:10]}{until}  {each['text']}  ({facts})"


def _row(each: "Recalled") -> str:
    signals = ", ".join(f"{name} {value:.3f}" for name, value in each.signals.items() if value is not None)
    over = f", no longer so since {each.until:%Y-%m-%d}" if each.until else ""
    return f"  {each.score:.3f}  {each.text}  ({each.kind}, {each.said_at:%Y-%m-%d}{over}; {signals})"


def _signals(each: "Recalled") -> dict[str, Any]:
    return {
        "id": each.id,
        "kind": each.kind,
        "text": each.text,
        "said_at": each.said_at.isoformat(),
        "until": _plain(each.until),
        "score": each.score,
        "signals": dict(each.signals),
    }
