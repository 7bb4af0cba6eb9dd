"""What Mneme is measured against: bots that repeat what they hear, written as their libraries' pages show.

    python -m tests.benchmarks.echo telegram|slack --port PORT --api URL --token TOKEN --secret SECRET

No record, no memory, no model: a message that comes while the process dies is lost.
"""

import argparse
import asyncio

from aiohttp import web
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.context.say.async_say import AsyncSay
from slack_sdk.web.async_client import AsyncWebClient
from telegram import Update
from telegram.ext import Application, ContextTypes, MessageHandler, filters

HOST = "127.0.0.1"


async def _repeat(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    if update.message is not None and update.message.text is not None:
        await update.message.reply_text(update.message.text)


async def telegram(port: int, api: str, token: str, secret: str) -> None:
    """python-telegram-bot's `Application` behind a web server of one's own: its "custom webhook bot"."""
    application = Application.builder().token(token).base_url(f"{api}/bot").updater(None).build()
    application.add_handler(MessageHandler(filters.TEXT & ~filters.COMMAND, _repeat))

    async def webhook(request: web.Request) -> web.Response:
        if request.headers.get("X-Telegram-Bot-Api-Secret-Token") != secret:
            return web.Response(status=401)
        await application.update_queue.put(Update.de_json(await request.json(), application.bot))
        return web.Response()

    server = web.Application()
    server.router.add_post("/telegram/webhook", webhook)
    async with application:
        await application.start()
        runner = web.AppRunner(server, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, port).start()
        await asyncio.Event().wait()


def slack(port: int, api: str, token: str, secret: str) -> None:
    """Bolt's `AsyncApp` with its own server."""
    app = AsyncApp(signing_secret=secret, client=AsyncWebClient(token=token, base_url=api))

    @app.event("message")
    async def repeat(event: dict[str, str], say: AsyncSay) -> None:
        if event.get("subtype") is None:
            await say(event["text"])

    app.server(port=port, host=HOST).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("platform", choices=["telegram", "slack"])
    parser.add_argument("--port", type=int, required=True)
    for name in ("--api", "--token", "--secret"):
        parser.add_argument(name, required=True)
    given = parser.parse_args()
    if given.platform == "telegram":
        asyncio.run(telegram(given.port, given.api, given.token, given.secret))
    else:
        slack(given.port, given.api, given.token, given.secret)


if __name__ == "__main__":
    main()
