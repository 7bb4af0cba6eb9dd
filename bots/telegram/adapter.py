"""Telegram as a channel: messages in by long polling or webhook, replies out by sending once and editing."""

import asyncio
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import structlog
from aiohttp import web
from telegram import (
    BotCommand,
    LinkPreviewOptions,
    MenuButtonWebApp,
    Message,
    ReplyParameters,
    WebAppInfo,
)
from telegram.constants import ChatAction
from telegram.error import BadRequest, ChatMigrated, InvalidToken, TelegramError

from bots.channel import Desk
from bots.telegram.client import (
    ALLOWED_UPDATES,
    Client,
    delivery_error,
    is_about_entities,
    is_unchanged,
    keep_secrets_out_of_logs,
    reason,
    retry_after_seconds,
)
from bots.telegram.intake import Intake, Pause
from bots.telegram.mapping import CHANNEL, CHAT_ID, BotAccount, is_group, thread_of
from bots.telegram.rendering import Rendered, render, split
from core.delivery.outlet import Pace
from core.errors import ConfigurationError, DeliveryUnknown, StoreUnavailable
from core.settings import Settings
from core.storage.pacer import Limit

WEBHOOK_PATH = "/telegram/webhook"
MINI_APP_PATH = "/telegram/app"
MAX_WEBHOOK_BYTES = 1024 * 1024
POLL_SECONDS = 25
FIRST_PAUSE_SECONDS = 0.5
EDIT_INTERVAL_SECONDS = 1.0
GATHER_SECONDS = 0.7
OVERALL = Limit("telegram", 30, 1.0)
"""What Telegram takes of one bot, edits among them; in a chat one a second, in a group 20 a minute."""
IN_A_SECOND = 1
IN_A_GROUPS_MINUTE = 20
LIVE_SHARE = 0.6
"""How much of this live edits may take; the rest is left for replies that begin or end."""
LIVE_GROUP_EDIT_SECONDS = 3.0

COMMANDS = (
    BotCommand("start", "Begin, or sign in with a code"),
    BotCommand("help", "What I can do"),
    BotCommand("memory", "What I remember about you"),
    BotCommand("page", "The same as a page, to search and correct"),
    BotCommand("forget", "Forget something"),
    BotCommand("undo", "Forget what you last asked me to remember"),
    BotCommand("reset", "Begin a new conversation"),
)

_TOKEN = re.compile(r"[\w:-]+", re.ASCII)
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")
_SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - the header's name
_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)

_Result = TypeVar("_Result")
_log = structlog.get_logger()


class TelegramChannel:
    """One bot on Telegram.

    It can write from the moment it is made, and receives between `start` and `stop`. `first_pause_seconds`
    is the first back-off after a failure, which doubles.

    Raises:
        ConfigurationError: there is no token, or it can't be one.
    """

    def __init__(
        self,
        settings: Settings,
        desk: Desk,
        *,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        token = settings.telegram_bot_token.get_secret_value() if settings.telegram_bot_token else ""
        if not _TOKEN.fullmatch(token):
            raise ConfigurationError("TELEGRAM_BOT_TOKEN is missing or garbled: copy it from @BotFather.")
        keep_secrets_out_of_logs()
        secret = settings.telegram_webhook_secret
        self._secret = secret.get_secret_value() if secret else ""
        self._is_webhook = settings.telegram_mode == "webhook"
        self._public_url = settings.public_url
        self._client = Client(
            token, settings.telegram_api_base_url, request_seconds=settings.platform_timeout_seconds
        )
        self._intake = Intake(desk, self._client, first_pause_seconds)
        self._first_pause_seconds = first_pause_seconds
        self._connected = False
        self._receiving: asyncio.Task[None] | None = None
        self._stopping = False

    # What the core needs to know

    @property
    def name(self) -> str:
        return CHANNEL

    @property
    def pace(self) -> Pace:
        return Pace(EDIT_INTERVAL_SECONDS, GATHER_SECONDS)

    def limits(self, address: Mapping[str, str], *, live: bool) -> Sequence[Limit]:
        chat = f"{CHANNEL}:{address[CHAT_ID]}"
        share = LIVE_SHARE if live else 1.0
        limits = [Limit(chat, IN_A_SECOND, 1.0), replace(OVERALL, count=int(OVERALL.count * share))]
        if is_group(address[CHAT_ID]):
            limits.append(Limit(chat, int(IN_A_GROUPS_MINUTE * share), 60.0))
            if live:
                limits.append(Limit(chat, 1, LIVE_GROUP_EDIT_SECONDS))
        return limits

    def split(self, text: str) -> list[str]:
        return split(text)

    # The way out

    async def show_thinking(self, address: Mapping[str, str]) -> None:
        try:
            await self._client.send_chat_action(
                int(address[CHAT_ID]), ChatAction.TYPING, message_thread_id=thread_of(address)
            )
        except TelegramError as error:
            _log.info("telegram_typing_failed", reason=reason(error))

    async def open(
        self, address: Mapping[str, str], text: str, *, reply_to: str | None, delivery_id: int, final: bool
    ) -> str:
        quoted = (
            ReplyParameters(int(reply_to), allow_sending_without_reply=True)
            if reply_to is not None and is_group(address[CHAT_ID])
            else None
        )

        async def send(chat_id: int, shown: Rendered) -> Message:
            return await self._client.send_message(
                chat_id,
                shown.text,
                entities=shown.entities,
                message_thread_id=thread_of(address),
                reply_parameters=quoted,
                link_preview_options=_NO_PREVIEW,
            )

        try:
            message = await _show(send, address, text)
        except TelegramError as error:
            _log.warning("telegram_send_failed", delivery_id=delivery_id, reason=reason(error))
            raise delivery_error(error, repeatable=False) from error
        return str(message.message_id)

    async def edit(
        self, address: Mapping[str, str], platform_id: str, text: str, *, delivery_id: int, final: bool
    ) -> None:
        async def change(chat_id: int, shown: Rendered) -> Message | bool:
            return await self._client.edit_message_text(
                shown.text,
                chat_id,
                int(platform_id),
                entities=shown.entities,
                link_preview_options=_NO_PREVIEW,
            )

        try:
            await _show(change, address, text)
        except TelegramError as error:
            if not is_unchanged(error):
                _log.warning("telegram_edit_failed", delivery_id=delivery_id, reason=reason(error))
                raise delivery_error(error, repeatable=True) from error

    async def find(self, address: Mapping[str, str], delivery_id: int, sent_at: datetime) -> str | None:
        raise DeliveryUnknown("Telegram can't be asked for a message")

    # The way in

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post(WEBHOOK_PATH, self._on_webhook)] if self._is_webhook else []

    async def start(self) -> None:
        if self._is_webhook and not _SECRET.fullmatch(self._secret):
            raise ConfigurationError(
                "TELEGRAM_WEBHOOK_SECRET is needed when TELEGRAM_MODE=webhook:"
                " 1 to 256 letters (A-Z, a-z), digits, _ and -."
            )
        try:
            await self._connect()
        except TelegramError as error:
            if isinstance(error, InvalidToken | BadRequest):
                await self._client.close_connections()
                raise _cure(error) from None
            _log.warning("telegram_unreachable", reason=reason(error))
        if not (self._connected and self._is_webhook):
            self._receiving = asyncio.create_task(self._receive(), name="telegram-receive")
            self._receiving.add_done_callback(_report_end)

    async def stop(self) -> None:
        self._stopping = True
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.wait({self._receiving})
        await self._intake.finish()
        await self._client.close_connections()

    async def _connect(self) -> None:
        await self._client.initialize()
        self._intake.me = BotAccount(self._client.id, self._client.username)
        if not self._is_webhook:
            await self._client.delete_webhook(drop_pending_updates=False)
        elif self._public_url is not None:
            await self._client.set_webhook(
                self._public_url + WEBHOOK_PATH,
                allowed_updates=ALLOWED_UPDATES,
                drop_pending_updates=False,
                secret_token=self._secret,
            )
        try:
            await self._client.set_my_commands(COMMANDS)
        except TelegramError as error:
            _log.info("telegram_commands_not_set", reason=reason(error))
        await self._offer_memory()
        self._connected = True
        _log.info(
            "telegram_connected", bot=self._client.id, mode="webhook" if self._is_webhook else "polling"
        )

    async def _offer_memory(self) -> None:
        """Puts the page of one's memory beside the field that people write in; Telegram opens https alone."""
        if self._public_url is None or not self._public_url.startswith("https://"):
            return
        page = MenuButtonWebApp("Memory", WebAppInfo(self._public_url + MINI_APP_PATH))
        try:
            await self._client.set_chat_menu_button(menu_button=page)
        except TelegramError as error:
            _log.info("telegram_menu_not_set", reason=reason(error))

    async def _receive(self) -> None:
        """Connects if that is still to be done; then, unless there is a webhook, polls until cancelled."""
        pause = Pause(self._first_pause_seconds)
        offset = 0
        while True:
            try:
                if not self._connected:
                    await self._connect()
                if self._is_webhook:
                    return
                updates = await self._client.fetch_updates(offset, wait_seconds=POLL_SECONDS)
            except TelegramError as error:
                seconds = pause.after_failure(retry_after_seconds(error))
                _log.warning("telegram_receiving_failed", reason=reason(error), pause_seconds=seconds)
                await asyncio.sleep(seconds)
                continue
            pause.reset()
            if updates:
                await self._intake.take_in_the_end(updates)
                # Only what is written down is confirmed by the next call.
                offset = updates[-1]["update_id"] + 1

    async def _on_webhook(self, request: web.Request) -> web.Response:
        presented = request.headers.get(_SECRET_HEADER, "").encode("utf-8", "surrogateescape")
        if not self._secret or not hmac.compare_digest(presented, self._secret.encode()):
            return web.Response(status=401)
        if self._stopping:
            return web.Response(status=503)
        body = await _body(request)
        if body is None:
            return web.Response(status=413)
        try:
            update = json.loads(body)
        except (ValueError, RecursionError):
            return web.Response(status=400)
        if not isinstance(update, dict) or not isinstance(update.get("update_id"), int):
            return web.Response(status=400)
        try:
            await self._intake.take(update)
        except StoreUnavailable:
            return web.Response(status=503)
        return web.Response()


async def _show(
    call: Callable[[int, Rendered], Awaitable[_Result]], address: Mapping[str, str], text: str
) -> _Result:
    """Makes the call with the rendered text; if need be, without entities, or where the group moved to."""
    shown, chat_id = render(text), int(address[CHAT_ID])
    for _ in range(2):
        try:
            return await call(chat_id, shown)
        except ChatMigrated as error:
            chat_id = error.new_chat_id
        except BadRequest as error:
            if not is_about_entities(error):
                raise
            shown = Rendered(shown.text)
    return await call(chat_id, shown)


async def _body(request: web.Request) -> bytes | None:
    """The request's body, or None when it is larger than any update."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_WEBHOOK_BYTES:
            return None
    return bytes(body)


def _report_end(receiving: asyncio.Task[None]) -> None:
    if not receiving.cancelled() and (error := receiving.exception()) is not None:
        _log.error("telegram_receiving_ended", error=type(error).__name__)


def _cure(error: TelegramError) -> ConfigurationError:
    if isinstance(error, InvalidToken):
        return ConfigurationError(
            "Telegram refuses TELEGRAM_BOT_TOKEN: copy it again from @BotFather"
            " (and look at TELEGRAM_API_BASE_URL, if you set it)."
        )
    return ConfigurationError(f"Telegram doesn't take the webhook at PUBLIC_URL: {reason(error)}.")
