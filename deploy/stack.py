"""All parts of a Mneme on this machine: which are started, which are used as given, in what order."""

import asyncio
import os
import secrets
import sys
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from core.errors import ConfigurationError
from core.settings import Settings
from deploy.data_directory import DataDirectory, Running, RunState
from deploy.parts import ChromaPart, ModelPart, Part, RedisPart, ServicePart, WorkerPart
from deploy.ports import Port
from deploy.probes import OLLAMA_URL, ask_chroma, ask_models, ask_redis, ollama_models, place
from deploy.processes import end_leftover, errand
from deploy.screen import Screen
from deploy.supervision import Supervised

OPENAI_URL = "https://api.openai.com/v1"
LEFTOVER_GRACE_SECONDS = 5.0
OLLAMA_MODELS_SHOWN = 3


def given(settings: Settings) -> set[str]:
    """The parts that the operator names by URL (or key): they are used, not started."""
    urls = {
        "redis": settings.redis_url,
        "chroma": settings.chroma_url,
        "model": settings.openai_api_key or settings.openai_base_url,
    }
    return {name for name, url in urls.items() if url}


class Stack:
    """The parts of one data directory, whose lock the caller holds. `program` is the `mneme` command.
    When `hurry` is set, what is being stopped is killed at once.

    Each part is kept alive by a task in the group `watch`, which fails (Unavailable, ConfigurationError)
    when one can't be; without a group nobody looks after them once they serve.
    """

    def __init__(
        self,
        settings: Settings,
        data: DataDirectory,
        screen: Screen,
        hurry: asyncio.Event,
        program: Sequence[str] = (),
        watch: asyncio.TaskGroup | None = None,
    ) -> None:
        self.settings = settings
        self._data = data
        self._screen = screen
        self._hurry = hurry
        self._program = program
        self._watch = watch
        self._supervised: list[Supervised] = []
        self.state = RunState(os.getpid())
        """What was started, as it stands in the data directory."""
        self._environment = {"MNEME_DATA_DIR": str(data.path), **_without_proxy()}

    async def clear(self, leftover: RunState | None) -> None:
        """Ends what a supervisor that was killed left running: two servers on one folder would ruin it."""
        for child in reversed(leftover.processes if leftover else ()):
            if await end_leftover(child.pid, child.created_at, LEFTOVER_GRACE_SECONDS):
                self._screen.say(child.name, "an earlier start left it running; ended it")

    async def open(self, names: Iterable[str]) -> None:
        """Starts these of redis, chroma and model, side by side, or looks after the ones given by URL.

        Raises:
            ConfigurationError, Unavailable: one of them can't be had; the text is the cure.
        """
        ways = {"redis": self._redis, "chroma": self._chroma, "model": self._model}
        await together(*(ways[name]() for name in names))

    async def work(self) -> None:
        """Starts the worker on what `open` opened."""
        await self._start(WorkerPart(self._program, self._environment, self._data))

    async def serve(self, port: Port) -> None:
        """Starts the service on what `open` opened."""
        service = ServicePart(self._program, self._environment, self._data, port)
        await self._start(service)
        self._environment["HTTP_PORT"] = str(port.number)
        self._note(url=service.url)

    async def migrate(self) -> None:
        """Brings the database's schema up to date.

        Raises:
            ConfigurationError: it can't be; the text says why.
        """
        began, log, last = time.monotonic(), self._data.turn_log("database"), ""

        def keep(line: str) -> None:
            nonlocal last
            last = line or last
            with log.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

        self._screen.say("database", "bringing its schema up to date")
        if await errand([*self._program, "migrate"], self._environment, self._hurry, keep):
            raise ConfigurationError(f"The database can't be made ready: {last or log}")
        self._screen.done("database", f"ready after {time.monotonic() - began:.1f} s")

    async def welcome(self) -> None:
        """Prints where to go, in the service's own words."""
        self._screen.line()
        if await errand([*self._program, "welcome"], self._environment, self._hurry, self._screen.line):
            self._screen.line(f"Mneme is running: {self.state.url}")
        self._screen.line()

    async def stop(self) -> None:
        """Stops all that was started, the last first. Nothing is left running."""
        for supervised in reversed(self._supervised):
            if supervised.process is not None and supervised.process.code is None:
                self._screen.say(supervised.part.name, "stopping")
            await supervised.stop()

    async def _redis(self) -> None:
        if self.settings.redis_url is not None:
            url = self.settings.redis_url.get_secret_value()
            self._say_given("redis", place(url), await ask_redis(url), "REDIS_URL")
            return
        part = RedisPart(self._data)
        await self._start(part)
        self._environment["REDIS_URL"] = part.url
        self._note(redis_url=part.url)

    async def _chroma(self) -> None:
        if (url := self.settings.chroma_url) is not None:
            self._say_given("chroma", place(url), await ask_chroma(url, local=False), "CHROMA_URL")
            return
        part = ChromaPart(self._data)
        await self._start(part)
        self._environment["CHROMA_URL"] = part.url
        self._note(chroma_url=part.url)

    async def _model(self) -> None:
        if "model" in given(self.settings):
            url, key = self.settings.openai_base_url or OPENAI_URL, self.settings.openai_api_key
            state = await ask_models(url, key.get_secret_value() if key else None, local=False)
            self._say_given("model", place(url), state, "OPENAI_BASE_URL and OPENAI_API_KEY")
            return
        if models := await ollama_models():
            self._screen.say(
                "model",
                f"Ollama is running with {', '.join(models[:OLLAMA_MODELS_SHOWN])}: set"
                f" OPENAI_BASE_URL={OLLAMA_URL}/v1 OPENAI_MODEL={models[0]} to use it",
            )
        local_key = secrets.token_hex(16)
        part = ModelPart(await self._model_file(), local_key)
        await self._start(part)
        self._environment |= {
            "OPENAI_BASE_URL": part.url,
            "OPENAI_API_KEY": local_key,
            "MNEME_ON_TRIAL": "true",
        }
        self._note(openai_base_url=part.url, openai_api_key=local_key)

    async def _model_file(self) -> Path:
        """Where the local model lies; it is fetched when it isn't there yet."""
        last = ""

        def tell(line: str) -> None:
            nonlocal last
            last = line or last
            if line and not line.startswith("file:"):
                self._screen.say("model", line)

        may_fetch = self.settings.privacy_mode == "open"
        command = [
            sys.executable,
            "-m",
            "deploy.model_errand",
            self.settings.local_model,
            str(self._data.path),
            *([] if may_fetch else ["--kept"]),
        ]
        if await errand(command, self._environment, self._hurry, tell, connects=may_fetch):
            raise ConfigurationError(last or "The local model can't be had: set OPENAI_API_KEY")
        return Path(unquote(urlsplit(last).path))

    async def _start(self, part: Part) -> None:
        log = self._data.turn_log(part.name)
        supervised = Supervised(part, log, self._screen, self._hurry, self._note)
        self._supervised.append(supervised)
        await supervised.start()
        if self._watch is not None:
            self._watch.create_task(supervised.keep(), name=f"keep {part.name}")

    def _note(self, **found: str) -> None:
        """Writes down what runs where: for the other commands, and for the start after a kill."""
        processes = tuple(
            Running(supervised.part.name, supervised.process.pid, supervised.process.created_at)
            for supervised in self._supervised
            if supervised.process is not None
        )
        self.state = replace(self.state, **found, processes=processes)  # type: ignore[arg-type]
        try:
            self._data.write_state(self.state)
        except OSError as error:  # a full disk is no reason to end what runs
            self._screen.say("mneme", f"run.json can't be written ({error.strerror})")

    def _say_given(self, name: str, where: str, state: str | None, setting: str) -> None:
        if state is None:
            self._screen.done(name, f"{where} is reachable")
        else:
            self._screen.done(name, f"{where} isn't usable now ({state}): check it, or {setting}; going on")


def joined(settings: Settings, state: RunState) -> Settings:
    """The settings with the addresses of what runs, where the operator named none."""
    found: dict[str, object] = {}
    if settings.redis_url is None and state.redis_url:
        found["redis_url"] = SecretStr(state.redis_url)
    if settings.chroma_url is None and state.chroma_url:
        found["chroma_url"] = state.chroma_url
    if "model" not in given(settings) and state.openai_base_url and state.openai_api_key:
        found |= {"openai_base_url": state.openai_base_url, "openai_api_key": SecretStr(state.openai_api_key)}
    return settings.model_copy(update=found)


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Does these side by side; when one fails, the others are broken off."""
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)


def _without_proxy() -> dict[str, str]:
    """A proxy that the environment names is not for what runs on this machine."""
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    direct = f"{named},127.0.0.1,localhost" if named else "127.0.0.1,localhost"
    return {"NO_PROXY": direct, "no_proxy": direct}
