"""Traps: each kills the process that comes to one exact point of its work, once it is set."""

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.chaos.charge import Charge
from tests.chaos.house import House
from tests.chaos.platforms import Platforms
from tests.chaos.words import memory

MID_STREAM_SECONDS = 1.2
OPENS = frozenset({"sendmessage", "chat.postmessage"})
EDITS = frozenset({"editmessagetext", "chat.update"})


@dataclass
class Traps:
    """Listens at every stand-in; `setting` is the point whose next comer is killed, "" once it was.

    A job is killed only for what was said last, which is the `token`: not every time that it is tried again.
    """

    house: House
    platforms: Platforms
    setting: str = ""
    token: str = ""
    kills: int = 0

    def set_up(self) -> None:
        assert self.platforms.postman is not None
        self.platforms.postman.taken = self._taken
        self.platforms.model.weather = self._at_the_model
        self.platforms.telegram.weather = self.platforms.slack.weather = self._before_write
        self.platforms.telegram.witness = self.platforms.slack.witness = self._after_write

    def _taken(self, door: str) -> None:
        if self.setting == "after accept":
            self._kill(self.house.bots[self.house.doors.index(door)])

    def _at_the_model(self, request: web.Request, body: dict[str, Any]) -> None:
        if self.setting in ("after lease", "mid-stream") and _asks_for_reply(body):
            asker, is_amid = self._asker(request), self.setting == "mid-stream"
            self.setting = ""
            if is_amid:
                asyncio.get_running_loop().call_later(MID_STREAM_SECONDS, self._kill, asker)
            else:
                self._kill(asker)
        elif self._is_at_job(body):
            self._kill(self._asker(request))

    def _before_write(self, request: web.Request, given: dict[str, Any]) -> None:
        if self.setting == "after store" and _method(request) in EDITS:
            self._kill(self._asker(request))

    def _after_write(self, request: web.Request, given: dict[str, Any]) -> None:
        self.platforms.see(request, given)
        if self.setting == "after platform accept, before store" and _method(request) in OPENS:
            self._kill(self._asker(request))

    def _asker(self, request: web.Request) -> Charge | None:
        if request.transport is None:
            return None
        return self.house.owner_of(request.transport.get_extra_info("peername")[1])

    def _is_at_job(self, body: dict[str, Any]) -> bool:
        """Whether a job asks for what it reads, or tells the index what it has just stored."""
        if "response_format" in body:
            page = body["messages"][-1]["content"]
            return self.setting == "in a job, before its commit" and self.token in page
        return self.setting == "in a job, after its commit" and memory(self.token) in body.get("input", ())

    def _kill(self, charge: Charge | None) -> None:
        if charge is not None and charge.kill():
            self.kills += 1
            self.setting = ""


def _method(request: web.Request) -> str:
    return request.match_info["method"].lower()


def _asks_for_reply(body: dict[str, Any]) -> bool:
    return "messages" in body and "response_format" not in body


POINTS = (
    "after accept",
    "after lease",
    "mid-stream",
    "after platform accept, before store",
    "after store",
    "in a job, before its commit",
    "in a job, after its commit",
)
JOB_POINTS = POINTS[-2:]
