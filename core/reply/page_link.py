"""`/page`: a link to the page of one's memory, for whoever may be sent one where they write."""

from core.delivery.turns import Turn
from core.privacy.audience import PRIVATE
from core.settings import Settings
from core.users.doors import HOME_CHANNELS
from core.users.people import User
from core.users.sign_in import SignIn

PAGE = (
    "Your memory, to look through, search and correct:\n\n<{address}>\n\n"
    "_The link works once, within ten minutes, and lets in whoever has it: keep it to yourself._"
)
PAGE_TO_EXPORT = (
    "All that I keep of you, from every channel, in one archive. You find it there under “Take it along”:\n\n"
    "<{address}>\n\n"
    "_The link works once, within ten minutes, and lets in whoever has it: keep it to yourself._"
)
IN_PRIVATE = "That link opens all I know about you, so I send it only in private: ask me there."
NO_ADDRESS = (
    "I can't send you a link: I don't know how I am reached from where you are. "
    "Whoever runs me can tell me by setting PUBLIC_URL."
)


class PageLink:
    """Gives the command's reply."""

    def __init__(self, sign_in: SignIn, settings: Settings) -> None:
        self._sign_in = sign_in
        self._public = settings.public_url
        self._local = f"http://{settings.http_host}:{settings.http_port}"

    async def offer(self, turn: Turn, user: User, said: str = PAGE) -> str:
        """A one-time link, as it is `said`, or why there is none."""
        if turn.conversation.audience != PRIVATE:
            return IN_PRIVATE
        # Who writes from this machine reaches it by an address that means nothing elsewhere.
        base = self._public or (self._local if turn.conversation.channel in HOME_CHANNELS else None)
        if base is None:
            return NO_ADDRESS
        token = await self._sign_in.page_token(user.id)
        return said.format(address=f"{base}/sign-in?token={token}")
