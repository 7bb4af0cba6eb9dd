"""The `mneme` command."""

import asyncio
import getpass
import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from bots.access import access, audit
from bots.command import prepared
from bots.dead import dead
from bots.memory import memory
from bots.privacy import privacy
from bots.user import user
from core.errors import ConfigurationError, MnemeError
from core.settings import Settings, load_settings

app = typer.Typer(
    help="A personal assistant that remembers, on Telegram, Slack, the web and here.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(access, name="access")
app.command()(audit)
app.add_typer(dead, name="dead")
app.add_typer(memory, name="memory")
app.add_typer(privacy, name="privacy")
app.add_typer(user, name="user")
bench = typer.Typer(no_args_is_help=True)
app.add_typer(bench, name="bench")

WORKER_NICENESS = 10
"""Nobody waits for a worker: on a machine that it shares with the service, replies come first. For the same
reason it takes one core to embed."""

Name = Annotated[str | None, typer.Option("--as", help="Who speaks; another name is another person.")]


def main() -> None:
    """Runs the command line; an error of ours is one line, and exit status 1, or 78 for a wrong setting."""
    try:
        app()
    except ConfigurationError as error:
        _fail(error, os.EX_CONFIG)  # a supervisor needn't try again
    except MnemeError as error:
        _fail(error, 1)


def _fail(error: MnemeError, status: int) -> NoReturn:
    print(f"mneme: {error}", file=sys.stderr)
    raise SystemExit(status)


@app.command()
def run() -> None:
    """Start everything on this machine, and stop it again with Ctrl-C."""
    from core.egress import enforce
    from deploy import local

    settings = load_settings()
    enforce(settings)
    raise SystemExit(local.run(settings))


@app.command(name="fetch-model")
def fetch_model() -> None:
    """Fetch the local model, so that later starts need no network."""
    from deploy.local_model import ensure

    settings = prepared()
    may_fetch = settings.privacy_mode == "open"
    print(ensure(settings.local_model, settings.mneme_data_dir, _tell, may_fetch=may_fetch))


def _tell(step: str) -> None:
    print(step, file=sys.stderr)


@app.command()
def serve() -> None:
    """Run the channels, the web chat and the lanes (needs REDIS_URL and CHROMA_URL)."""
    from bots.service import serve as run_service

    asyncio.run(run_service(prepared()))


@app.command()
def worker(
    beat: Annotated[bool, typer.Option("--beat", help="Also run the schedule.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 1,
) -> None:
    """Run the Celery worker that reads conversations for memories."""
    from workers.celery_app import QUEUE, make_celery

    os.nice(WORKER_NICENESS)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the embedder's
    settings = prepared()
    arguments = ["worker", "--loglevel", settings.log_level, "--queues", QUEUE]
    arguments += ["--concurrency", str(concurrency), "--without-gossip", "--without-mingle"]
    if beat:
        arguments += ["--beat", "--schedule", str(_schedule(settings))]
    make_celery(settings).worker_main(arguments)


@app.command()
def beat() -> None:
    """Run the schedule alone, beside workers elsewhere."""
    from workers.celery_app import make_celery

    settings = prepared()
    make_celery(settings).start(
        ["beat", "--loglevel", settings.log_level, "--schedule", str(_schedule(settings)), "--pidfile="]
    )


def _schedule(settings: Settings) -> Path:
    settings.mneme_data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return settings.mneme_data_dir / "beat-schedule"


@app.command()
def migrate() -> None:
    """Bring the database's schema to this version."""
    from core.storage.database import database_url, upgrade

    upgrade(database_url(prepared()))


@app.command()
def reindex() -> None:
    """Bring the index in line with the record, with the embedding model that is set.

    The old index serves meanwhile. Where this is broken off, the next run goes on.
    """
    from bots.errands import reindex as bring

    done = asyncio.run(bring(prepared()))
    print(f"{done.entries} entries indexed, {done.made} of them just now.")
    if not done.serves:
        print("Start Mneme anew, worker and all, to use this index.")


@app.command(name="rotate-key")
def rotate_key(
    out: Annotated[Path | None, typer.Option(help="With MNEME_MASTER_KEY: where the new one goes.")] = None,
) -> None:
    """Put a new master key in the old one's place, with Mneme stopped.

    What was sealed stays as it is, and opens by the new key alone; a copy made before opens by the old one.
    """
    from bots.key_rotation import rotate

    settings = prepared()
    count, path = rotate(settings, out)
    print(f"{count} keys are wrapped with the new master key, which is in {path}.")
    if settings.mneme_master_key is not None:
        print("Set MNEME_MASTER_KEY to what that file holds before you start Mneme, and remove the file.")
    else:
        print("Back it up, apart from the data; the old one opens only what was copied before.")


@app.command(name="sign-in")
def sign_in(name: Name = None) -> None:
    """Print a link that signs in to the web chat, once."""
    from bots.errands import OWNER, sign_in_link

    print(asyncio.run(sign_in_link(prepared(), name or OWNER)))


@app.command()
def code(
    own: Annotated[bool, typer.Option("--own", help="The operator's own in any case.")] = False,
) -> None:
    """Print a code to send as `/start CODE`: the operator's own; once that was used, an invitation."""
    from bots.access import entrance

    print(asyncio.run(entrance(prepared(), own=own)))


@app.command()
def welcome() -> None:
    """Print where to go: the web chat's link, Telegram, Slack, the code."""
    from bots.errands import welcome as lines

    print("\n".join(asyncio.run(lines(prepared()))))


@app.command()
def doctor() -> None:
    """Look at every part and say what is wrong, with its cure."""
    from bots.errands import doctor as examine

    lines, healthy = asyncio.run(examine(prepared()))
    print("\n".join(lines))
    raise SystemExit(0 if healthy else 1)


@bench.callback()
def _measures() -> None:
    """Measure this Mneme on data of your own."""


@bench.command()
def recall(
    data: Annotated[Path, typer.Option(help="Conversations with questions, .json or .json.gz.")],
    out: Annotated[Path | None, typer.Option(help="Where rankings go, a line of JSON a question.")] = None,
) -> None:
    """Tell Mneme whole conversations, ask it about them, and say how much of the evidence it finds.

    The set is a list of {"id", "docs": [{"id", "text", "speaker", "date", "session"}], "questions": [{"id",
    "text", "evidence": [doc id], "category"}]}. It is told to a Mneme of its own, which is gone afterwards.
    """
    from bots.bench_set import read_set

    told = read_set(data)
    from bots.bench import measure  # takes seconds to load, which a set that can't be read needn't wait for

    print("\n".join(measure(prepared(), told, out)))


@app.command()
def chat(
    name: Name = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Say this, print the reply.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin another conversation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object instead of the text.")] = False,
) -> None:
    """Talk with the Mneme that runs on this machine."""
    from bots.address import service_url
    from bots.console.client import Terminal
    from bots.console.conversation import converse

    settings = prepared()
    terminal = Terminal.of(settings, service_url(settings), name or getpass.getuser())
    if message is None:
        converse(terminal, new=new)
        return
    reply = terminal.ask(message, new=new)
    if as_json:
        print(json.dumps(reply.as_json(), ensure_ascii=False))
    else:
        print(reply.text)
    raise SystemExit(1 if reply.failed else 0)


if __name__ == "__main__":
    main()
