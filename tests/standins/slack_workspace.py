"""A Slack workspace's people, channels and messages, and the methods that read and write them."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.standins.slack_rules import (
    POST_TEXT_CHARS,
    UPDATE_TEXT_CHARS,
    Refused,
    check_content,
    check_metadata,
    text_argument,
    words_of,
)

Event = dict[str, Any]


@dataclass(slots=True)
class Posted:
    """A message that the workspace shows. `history` holds every state it was in, the present one last."""

    channel: str
    ts: str
    user: str
    text: str
    blocks: list[dict[str, Any]]
    thread_ts: str | None
    metadata: dict[str, Any] | None = None
    history: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """What a person reads: the blocks where there are any, else the text."""
        return "".join(map(words_of, self.blocks)) or self.text

    def show(self, text: str, blocks: list[dict[str, Any]]) -> None:
        self.text, self.blocks = text, blocks
        self.history.append(self.shown)


class SlackWorkspace:
    """One workspace with one app in it, a member of every channel. Channels exist once somebody spoke there.

    Ids: C... a channel, D... a direct message, G... a group message. `publish` takes the app's events,
    `ticket` gives the address of a new Socket Mode connection.
    """

    def __init__(self, publish: Callable[[Event], None], ticket: Callable[[], str]) -> None:
        self.team_id = "T0TEAM"
        self.bot_user_id = "UMNEME"
        self.bot_id = "BMNEME"
        self.mention = f"<@{self.bot_user_id}>"
        self.users: dict[str, dict[str, Any]] = {"UANA": _user("Ana", "pt-PT"), "UBEN": _user("Ben", "en-US")}
        self.closed_channels: dict[str, str] = {}
        self.messages: dict[str, Posted] = {}
        self._publish = publish
        self._ticket = ticket
        self._count = 0

    def say(self, channel: str, text: str, *, user: str = "UANA", **fields: Any) -> str:
        """A person writes (in Slack's markup); `fields` join the event, such as thread_ts or files."""
        ts = self._next_ts()
        posted = Posted(channel, ts, user, text, [], fields.get("thread_ts"), history=[text])
        self.messages[f"{channel}:{ts}"] = posted
        event = {"type": "message", "user": user, "text": text, "ts": ts, "team": self.team_id, **fields}
        self._publish({**event, "channel": channel, "event_ts": ts, "channel_type": _kind(channel)})
        self._publish_mention(event, channel, text, ts)
        return ts

    def edit(self, channel: str, ts: str, text: str) -> None:
        """A person edits what they wrote."""
        posted = self.messages[f"{channel}:{ts}"]
        before = {"type": "message", "user": posted.user, "text": posted.text, "ts": ts}
        if posted.thread_ts:
            before["thread_ts"] = posted.thread_ts
        now = self._next_ts()
        after = {**before, "text": text, "edited": {"user": posted.user, "ts": now}}
        posted.show(text, [])
        self._publish_change(channel, after, before, now)
        self._publish_mention(after, channel, text, now)

    def from_bot(self, channel: str, thread_ts: str | None = None) -> list[Posted]:
        """What the bot shows in a channel, or in one of its threads, oldest first."""
        return [
            posted
            for posted in self.messages.values()
            if posted.channel == channel and posted.user == self.bot_user_id and posted.thread_ts == thread_ts
        ]

    def method(self, name: str) -> Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]:
        """The method of this name; raises Refused, here or when it is called."""
        methods = {
            "auth.test": self._auth_test,
            "apps.connections.open": self._connections_open,
            "users.info": self._users_info,
            "conversations.info": self._conversations_info,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "chat.postMessage": self._post_message,
            "chat.update": self._update,
            "assistant.threads.setStatus": self._set_status,
        }
        if name not in methods:
            raise Refused("unknown_method")
        return methods[name]

    async def _auth_test(self, given: dict[str, Any]) -> dict[str, Any]:
        return {
            "url": "https://stand-in.slack.com/",
            "team": "Stand-in",
            "user": "mneme",
            "team_id": self.team_id,
            "user_id": self.bot_user_id,
            "bot_id": self.bot_id,
        }

    async def _connections_open(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"url": self._ticket()}

    async def _users_info(self, given: dict[str, Any]) -> dict[str, Any]:
        user = self.users.get(text_argument(given, "user"))
        if user is None:
            raise Refused("user_not_found")
        shown = dict(user)
        if given.get("include_locale") not in ("1", "true", True):
            del shown["locale"]
        return {"user": {"id": given["user"], "team_id": self.team_id, **shown}}

    async def _conversations_info(self, given: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(given)
        return {"channel": {"id": channel, f"is_{_kind(channel)}": True}}

    async def _history(self, given: dict[str, Any]) -> dict[str, Any]:
        """A channel's own messages, the newest first; replies in threads aren't among them."""
        channel = self._channel(given)
        mine = [m for m in self.messages.values() if m.channel == channel and m.thread_ts is None]
        return self._page(list(reversed(mine)), given)

    async def _replies(self, given: dict[str, Any]) -> dict[str, Any]:
        """A thread's messages, its first one among them, the oldest first."""
        channel, ts = self._channel(given), text_argument(given, "ts")
        if f"{channel}:{ts}" not in self.messages:
            raise Refused("thread_not_found")
        mine = [m for m in self.messages.values() if m.channel == channel and ts in (m.ts, m.thread_ts)]
        return self._page(mine, given)

    def _page(self, messages: list[Posted], given: dict[str, Any]) -> dict[str, Any]:
        oldest, limit = float(given.get("oldest") or 0), int(given.get("limit") or 100)
        start = int(given.get("cursor") or 0)
        if not 1 <= limit < 1000:
            raise Refused("invalid_limit")
        found = [m for m in messages if float(m.ts) > oldest]
        with_metadata = given.get("include_all_metadata") in ("1", "true", True)
        shown = [
            {**self._said(m), **({"metadata": m.metadata} if with_metadata and m.metadata else {})}
            for m in found[start : start + limit]
        ]
        more = start + limit < len(found)
        cursor = str(start + limit) if more else ""
        return {"messages": shown, "has_more": more, "response_metadata": {"next_cursor": cursor}}

    def _said(self, posted: Posted) -> dict[str, Any]:
        said = {"type": "message", "user": posted.user, "text": posted.text, "ts": posted.ts}
        return {**said, "thread_ts": posted.thread_ts} if posted.thread_ts else said

    async def _post_message(self, given: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(given)
        text, blocks = check_content(given, POST_TEXT_CHARS)
        metadata = check_metadata(given)
        thread_ts = given.get("thread_ts")
        if thread_ts is not None and f"{channel}:{thread_ts}" not in self.messages:
            raise Refused("thread_not_found")
        posted = Posted(channel, self._next_ts(), self.bot_user_id, "", [], thread_ts, metadata)
        posted.show(text, blocks)
        self.messages[f"{channel}:{posted.ts}"] = posted
        event = self._bot_event(posted)
        self._publish({**event, "channel": channel, "event_ts": posted.ts, "channel_type": _kind(channel)})
        return {"channel": channel, "ts": posted.ts, "message": event}

    async def _update(self, given: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(given)
        posted = self.messages.get(f"{channel}:{text_argument(given, 'ts', 'message_not_found')}")
        if posted is None:
            raise Refused("message_not_found")
        if posted.user != self.bot_user_id:
            raise Refused("cant_update_message")
        text, blocks = check_content(given, UPDATE_TEXT_CHARS)
        before = self._bot_event(posted)
        posted.show(text, blocks)
        now = self._next_ts()
        after = {**self._bot_event(posted), "edited": {"user": self.bot_user_id, "ts": now}}
        self._publish_change(channel, after, before, now)
        return {"channel": channel, "ts": posted.ts, "text": text, "message": after}

    async def _set_status(self, given: dict[str, Any]) -> dict[str, Any]:
        channel = text_argument(given, "channel_id")
        if f"{channel}:{text_argument(given, 'thread_ts')}" not in self.messages:
            raise Refused("thread_not_found")
        if not isinstance(given.get("status"), str):
            raise Refused("invalid_arguments")
        return {}

    def _channel(self, given: dict[str, Any]) -> str:
        channel = text_argument(given, "channel", "channel_not_found")
        if refusal := self.closed_channels.get(channel):
            raise Refused(refusal)
        if not any(posted.channel == channel for posted in self.messages.values()):
            raise Refused("channel_not_found")
        return channel

    def _bot_event(self, posted: Posted) -> dict[str, Any]:
        event = {
            "type": "message",
            "user": self.bot_user_id,
            "bot_id": self.bot_id,
            "text": posted.text,
            "ts": posted.ts,
        }
        return {**event, "thread_ts": posted.thread_ts} if posted.thread_ts else event

    def _publish_mention(self, event: dict[str, Any], channel: str, text: str, event_ts: str) -> None:
        if self.mention in text and _kind(channel) != "im":
            self._publish({**event, "type": "app_mention", "channel": channel, "event_ts": event_ts})

    def _publish_change(
        self, channel: str, after: dict[str, Any], before: dict[str, Any], event_ts: str
    ) -> None:
        self._publish(
            {
                "type": "message",
                "subtype": "message_changed",
                "hidden": True,
                "channel": channel,
                "channel_type": _kind(channel),
                "ts": event_ts,
                "event_ts": event_ts,
                "message": after,
                "previous_message": before,
            }
        )

    def _next_ts(self) -> str:
        self._count += 1
        return f"{int(time.time())}.{self._count:06d}"


def _user(name: str, locale: str) -> dict[str, Any]:
    profile = {"display_name": name, "real_name": name}
    return {"name": name.lower(), "locale": locale, "tz_offset": 13 * 3600, "profile": profile}


def _kind(channel: str) -> str:
    return {"D": "im", "G": "mpim"}.get(channel[:1], "channel")
