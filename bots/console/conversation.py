"""The interactive chat in a terminal: streamed, with a history of what was typed."""

from prompt_toolkit import PromptSession
from prompt_toolkit.history import InMemoryHistory
from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown

from bots.console.client import Reply, Terminal
from core.errors import ConfigurationError, MnemeError

HINT = "Ctrl-D ends. /help shows what I can do."


def converse(terminal: Terminal, *, new: bool) -> None:
    """Talks until the end of input."""
    console = Console()
    # What somebody types stays out of files: the history lives as long as the session.
    session: PromptSession[str] = PromptSession(history=InMemoryHistory())
    console.print(HINT, style="dim")
    while True:
        try:
            text = session.prompt("> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if not text.strip():
            continue
        try:
            reply = _stream(console, terminal, text, new=new)
        except ConfigurationError:
            raise
        except MnemeError as error:
            console.print(str(error), style="red")
            continue
        new = False
        _show_recalled(console, reply)


def _stream(console: Console, terminal: Terminal, text: str, *, new: bool) -> Reply:
    with Live(console=console, refresh_per_second=8, vertical_overflow="visible") as live:
        return terminal.ask(text, new=new, on_text=lambda so_far: live.update(Markdown(so_far)))


def _show_recalled(console: Console, reply: Reply) -> None:
    for memory in reply.memories:
        console.print(f"  remembered: {memory['text']}", style="dim", highlight=False, markup=False)
