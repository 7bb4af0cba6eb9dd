"""The Bot API's methods as the stand-in has them, without the HTTP: what they demand, refuse and do."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from tests.standins.telegram_chats import Chat, Json, Refused, bad_request, checked_text

DEFAULT_UPDATES = (
    *("message", "edited_message", "channel_post", "edited_channel_post", "inline_query"),
    *("callback_query", "poll", "my_chat_member", "chat_join_request"),
)
CHAT_ACTIONS = frozenset({"typing", "upload_photo", "record_voice", "upload_document", "choose_sticker"})
RETRY_SECONDS = 0.05
"""How long until a webhook delivery that failed is tried again; the original takes longer and longer."""


@dataclass(frozen=True)
class Webhook:
    url: str
    secret: str | None


@dataclass
class BotApi:
    """One bot's side of Telegram: its chats, its queue of updates, its webhook."""

    token: str = "123456789:AAStandInTokenStandInTokenStandInTk"
    bot_username: str = "mneme_test_bot"
    allow_http_webhook: bool = True
    """Telegram itself takes HTTPS only; a Bot API server of one's own takes both."""
    chats: dict[int, Chat] = field(default_factory=dict)
    pending: list[Json] = field(default_factory=list)
    """Updates that were neither confirmed by an offset nor taken by a webhook."""
    deliveries: list[tuple[int, int]] = field(default_factory=list)
    """Each webhook delivery: the update's id and the HTTP status, 0 if there was none."""
    commands: list[Json] = field(default_factory=list)
    menu_button: Json = field(default_factory=lambda: {"type": "commands"})
    """What stands beside the field that people write in, in chats without one of their own."""
    webhook: Webhook | None = None

    def __post_init__(self) -> None:
        self.bot_id = int(self.token.partition(":")[0])
        self._next_update_id = 700_000_001
        self._poll = 0
        self._allowed: tuple[str, ...] = DEFAULT_UPDATES
        self._changed = asyncio.Condition()
        self._notices: set[asyncio.Task[None]] = set()
        self._pushing: asyncio.Task[None] | None = None

    def methods(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        """What can be called, by the method's name in small letters: the original doesn't mind the case."""
        return {
            "getme": self._get_me,
            "getupdates": self._get_updates,
            "setwebhook": self._set_webhook,
            "deletewebhook": self._delete_webhook,
            "getwebhookinfo": self._get_webhook_info,
            "setmycommands": self._set_my_commands,
            "setchatmenubutton": self._set_chat_menu_button,
            "sendchataction": self._send_chat_action,
            "sendmessage": self._send_message,
            "editmessagetext": self._edit_message_text,
        }

    def push(self, kind: str, content: Json) -> Json:
        """Makes an update of any kind; like the original, forgets it at once if its kind isn't asked for."""
        update = {"update_id": self._next_update_id, kind: content}
        self._next_update_id += 1
        if kind in self._allowed:
            self.pending.append(update)
            self._notify()
        return update

    async def _get_me(self, params: Json) -> Json:
        return {
            "id": self.bot_id,
            "is_bot": True,
            "first_name": "Mneme",
            "username": self.bot_username,
            "can_join_groups": True,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
        }

    async def _get_updates(self, params: Json) -> list[Json]:
        self._poll += 1
        mine = self._poll
        self._notify()
        limit = _integer(params, "limit", 100)
        offset = _integer(params, "offset", 0)
        if "allowed_updates" in params:
            self._allowed = tuple(params["allowed_updates"]) or DEFAULT_UPDATES
        if offset < 0:
            self.pending = self.pending[offset:]
        self.pending = [update for update in self.pending if update["update_id"] >= offset]
        with suppress(TimeoutError):
            async with asyncio.timeout(_integer(params, "timeout", 0)), self._changed:
                await self._changed.wait_for(lambda: self.pending or self.webhook or self._poll != mine)
        if self.webhook is not None:
            raise Refused(
                409,
                "Conflict: can't use getUpdates method while webhook is active;"
                " use deleteWebhook to delete the webhook first",
            )
        if self._poll != mine:
            raise Refused(
                409,
                "Conflict: terminated by other getUpdates request;"
                " make sure that only one bot instance is running",
            )
        return self.pending[: max(1, min(limit, 100))]

    async def _set_webhook(self, params: Json) -> bool:
        url = str(params.get("url", ""))
        if not url:
            return await self._delete_webhook(params)
        if not url.startswith("https://") and not (self.allow_http_webhook and url.startswith("http://")):
            raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
        secret = params.get("secret_token")
        if secret is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", str(secret)):
            raise bad_request("secret token contains unallowed characters")
        if "allowed_updates" in params:
            self._allowed = tuple(params["allowed_updates"]) or DEFAULT_UPDATES
        await self._drop_webhook(params)
        self.webhook = Webhook(url, str(secret) if secret is not None else None)
        self._pushing = asyncio.create_task(self._push_to(self.webhook))
        self._notify()
        return True

    async def _delete_webhook(self, params: Json) -> bool:
        await self._drop_webhook(params)
        return True

    async def _drop_webhook(self, params: Json) -> None:
        await self._stop_pushing()
        self.webhook = None
        if params.get("drop_pending_updates") in (True, "true", "True"):
            self.pending.clear()

    async def _get_webhook_info(self, params: Json) -> Json:
        url = self.webhook.url if self.webhook else ""
        return {"url": url, "has_custom_certificate": False, "pending_update_count": len(self.pending)}

    async def _set_my_commands(self, params: Json) -> bool:
        commands = params.get("commands")
        if not isinstance(commands, list) or len(commands) > 100:
            raise bad_request("can't parse commands list JSON object")
        for command in commands:
            if not re.fullmatch(r"/?[a-z0-9_]{1,32}", str(command.get("command", ""))):
                raise bad_request("BOT_COMMAND_INVALID")
            if not 1 <= len(str(command.get("description", ""))) <= 256:
                raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
        self.commands = commands
        return True

    async def _set_chat_menu_button(self, params: Json) -> bool:
        if "chat_id" in params:
            raise bad_request("the stand-in knows the default menu button only")
        button = params.get("menu_button", {"type": "default"})
        if not isinstance(button, dict) or button.get("type") not in ("default", "commands", "web_app"):
            raise bad_request("can't parse menu button: menu button has unsupported type")
        if button["type"] == "web_app":
            url = str((button.get("web_app") or {}).get("url", ""))
            if not 1 <= len(str(button.get("text", ""))) <= 64:
                raise bad_request("menu button text must be non-empty")
            if not url.startswith("https://"):
                raise bad_request(f"menu button Web App URL '{url}' is invalid: Only HTTPS links are allowed")
        self.menu_button = {"type": "commands"} if button["type"] == "default" else button
        return True

    async def _send_chat_action(self, params: Json) -> bool:
        self._writable(params)
        if params.get("action") not in CHAT_ACTIONS:
            raise bad_request("wrong parameter action in request")
        return True

    async def _send_message(self, params: Json) -> Json:
        chat = self._writable(params)
        text, entities = _text_of(params)
        raw: Json = {
            "message_id": chat.next_id(),
            "from": {"id": self.bot_id, "is_bot": True, "first_name": "Mneme", "username": self.bot_username},
            "chat": chat.raw(),
            "date": int(time.time()),
            "text": text,
        }
        if entities:
            raw["entities"] = entities
        if (thread := _integer(params, "message_thread_id", 0)) != 0:
            raw |= {"message_thread_id": thread, "is_topic_message": True}
        raw |= _reply(chat, params.get("reply_parameters"))
        chat.add(raw, from_bot=True)
        return raw

    async def _edit_message_text(self, params: Json) -> Json:
        chat = self._writable(params)
        if "message_id" not in params:
            raise bad_request("message identifier is not specified")
        shown = chat.find(_integer(params, "message_id", 0))
        if shown is None:
            raise bad_request("message to edit not found")
        if not shown.from_bot:
            raise bad_request("message can't be edited")
        text, entities = _text_of(params)
        if (text, entities) == (shown.text, shown.entities):
            raise bad_request(
                "message is not modified: specified new message content and reply markup are exactly"
                " the same as a current content and reply markup of the message"
            )
        shown.history.append(shown.text)
        shown.text, shown.entities = text, entities
        shown.raw = {**shown.raw, "text": text, "entities": entities, "edit_date": int(time.time())}
        return shown.raw

    def _writable(self, params: Json) -> Chat:
        if "chat_id" not in params or params["chat_id"] == "":
            raise bad_request("chat_id is empty")
        chat = self.chats.get(_integer(params, "chat_id", 0))
        if chat is None:
            raise bad_request("chat not found")
        if chat.moved_to is not None:
            raise Refused(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                migrate_to_chat_id=chat.moved_to,
            )
        if chat.blocked:
            raise Refused(403, "Forbidden: bot was blocked by the user")
        thread = _integer(params, "message_thread_id", 0)
        if thread != 0 and thread not in chat.topics:
            raise bad_request("message thread not found")
        return chat

    async def _push_to(self, webhook: Webhook) -> None:
        headers = {"X-Telegram-Bot-Api-Secret-Token": webhook.secret} if webhook.secret else {}
        async with ClientSession(timeout=ClientTimeout(total=10)) as session:
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda: bool(self.pending))
                update = self.pending[0]
                status = 0
                with suppress(ClientError, TimeoutError):
                    async with session.post(webhook.url, json=update, headers=headers) as answer:
                        status = answer.status
                self.deliveries.append((update["update_id"], status))
                if 200 <= status < 300:
                    self.pending.remove(update)
                else:
                    await asyncio.sleep(RETRY_SECONDS)

    async def _stop_pushing(self) -> None:
        if self._pushing is not None:
            self._pushing.cancel()
            await asyncio.wait({self._pushing})
            self._pushing = None

    def _notify(self) -> None:
        async def notify() -> None:
            async with self._changed:
                self._changed.notify_all()

        task = asyncio.get_running_loop().create_task(notify())
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)


def _integer(params: Json, name: str, default: int) -> int:
    value = params.get(name, default)
    try:
        return int(value)
    except (TypeError, ValueError):
        raise bad_request(f"{name} must be an integer") from None


def _text_of(params: Json) -> tuple[str, list[Json]]:
    if params.get("parse_mode"):
        raise bad_request("can't parse entities: the stand-in takes entities only")
    return checked_text(str(params.get("text", "")), params.get("entities", []))


def _reply(chat: Chat, asked: Any) -> Json:
    if asked is None:
        return {}
    if not isinstance(asked, dict) or "message_id" not in asked:
        raise bad_request("can't parse reply parameters")
    replied = chat.find(_integer(asked, "message_id", 0))
    if replied is not None:
        return {"reply_to_message": replied.raw}
    if not asked.get("allow_sending_without_reply"):
        raise bad_request("message to be replied not found")
    return {}
