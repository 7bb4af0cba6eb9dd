"""A running service and its visitors' browsers, as far as HTTP shows them."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from bots.service import Service
from core.app import App
from core.storage.database import new_id
from tests.standins.model import read_claim

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
TIMEOUT_SECONDS = 30.0
SECRET = "I'm allergic to peanuts"


def reads_the_secret(body: dict[str, Any]) -> str:
    """A model that reads one claim, where it was said."""
    said = SECRET in body["messages"][-1]["content"]
    claim = read_claim(1, SECRET, "Is allergic to peanuts")
    return json.dumps({"memories": [claim] if said else []})


@dataclass(frozen=True)
class Visit:
    """One signed-in browser."""

    client: httpx.AsyncClient

    async def post(self, path: str, body: Any) -> httpx.Response:
        return await self.client.post(path, json=body)

    async def send(self, text: str, conversation: str = "first", event: str | None = None) -> int:
        body = {"text": text, "conversation": conversation, "event": event or new_id()}
        answer = await self.post("/web/messages", body)
        assert answer.status_code == 200, answer.text
        inbox: int = answer.json()["inbox"]
        return inbox

    async def say(self, text: str, conversation: str = "first") -> dict[str, Any]:
        """Sends, and waits for the last event of the reply."""
        inbox = await self.send(text, conversation)
        last = [event async for event in self.events(f"/web/replies/{inbox}")][-1]
        assert last["ended"]
        return last

    async def events(self, path: str) -> AsyncGenerator[dict[str, Any], None]:
        async with self.client.stream("GET", path) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    async def history(self, conversation: str | None = None) -> list[tuple[str, str]]:
        params = {"conversation": conversation} if conversation else {}
        answer = await self.client.get("/web/history", params=params)
        return [(message["role"], message["text"]) for message in answer.json()["messages"]]

    async def memories(self) -> dict[str, Any]:
        answer = await self.client.get("/web/memories")
        remembered: dict[str, Any] = answer.json()
        return remembered


class WebService:
    """The service over an app, reached at `url`."""

    def __init__(self, app: App, url: str) -> None:
        self.app = app
        self.url = url

    @asynccontextmanager
    async def stranger(self, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
        """A browser without a session, on one of our pages."""
        async with httpx.AsyncClient(
            base_url=self.url, headers=SAME_ORIGIN | headers, timeout=TIMEOUT_SECONDS
        ) as client:
            yield client

    @asynccontextmanager
    async def visit(self, name: str) -> AsyncIterator[Visit]:
        async with self.stranger() as client:
            token = await self.app.sign_in.link_token(name)
            answer = await client.post("/sign-in", data={"token": token})
            assert answer.status_code == 303
            yield Visit(client)

    async def read_for_memories(self) -> None:
        """Does the memory's jobs, as a worker would."""
        while due := await self.app.jobs.due():
            for job_id in due:
                await self.app.job_runner.run(job_id)


@asynccontextmanager
async def running_service(app: App) -> AsyncIterator[WebService]:
    service = Service(app)
    port = await service.start()
    try:
        yield WebService(app, f"http://127.0.0.1:{port}")
    finally:
        await service.stop()
