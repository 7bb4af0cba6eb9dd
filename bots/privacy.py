"""`mneme privacy`: what an operator can tell others about what Mneme does with their data."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from bots.command import prepared
from bots.user import user
from core.errors import ConfigurationError

privacy = typer.Typer(
    help="Tell what is kept of people, where, how long, and who gets it.", no_args_is_help=True
)


@privacy.callback()
def _told() -> None:
    """Keeps `report` a command of its own while it is the only one."""


@privacy.command()
def report(
    out: Annotated[
        Path | None, typer.Option(help="Write report.md and report.html into this folder instead.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace those that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object instead of the text.")] = False,
) -> None:
    """Print the data map, a record of processing and the skeleton of an impact assessment, as Markdown.

    It is made from the code and the settings, needs no running Mneme, and holds nothing that anybody said.
    """
    from core.reply.commands import HELP
    from core.rights import privacy_report

    settings, now = prepared(), datetime.now(UTC)
    commands = _commands(HELP)
    if as_json:
        print(json.dumps(privacy_report.as_json(settings, commands, now), ensure_ascii=False, indent=2))
        return
    made = privacy_report.write(settings, commands, now)
    if out is None:
        print(made.markdown(), end="")
        return
    _put(out, {"report.md": made.markdown(), "report.html": made.html()}, replace=replace)
    print(f"Written to {out / 'report.md'} and report.html beside it.")


def _commands(help_text: str) -> set[str]:
    """What there is: as a person reads it in the help, and as an operator finds it here."""
    said = re.findall(r"`((/[a-z]+)(?: [a-z]+)?)", help_text)
    ours = {"user": user, "privacy": privacy}
    run = {
        f"mneme {group} {each.name or (each.callback and each.callback.__name__)}"
        for group, commands in ours.items()
        for each in commands.registered_commands
    }
    return {text for pair in said for text in pair} | run


def _put(folder: Path, files: dict[str, str], *, replace: bool) -> None:
    """Writes files whole or not at all; what somebody filled in isn't overwritten unasked."""
    there = [name for name in files if (folder / name).exists()]
    if there and not replace:
        raise ConfigurationError(
            f"{folder} has {' and '.join(there)} already, perhaps with what you filled in: choose another "
            "--out, or add --replace."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            draft = folder / f".{name}.new"
            draft.write_text(text, "utf-8")
            draft.replace(folder / name)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} can't be written ({error.strerror}): choose another --out."
        ) from error
