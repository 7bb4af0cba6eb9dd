"""What a person asks by a command of who they are: to link an account, to part one, to be erased."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from core.delivery.turns import Turn
from core.privacy.audience import PRIVATE
from core.reply.leaving import CONFIRM, told
from core.rights.erasure import Erasure
from core.rights.linking import Linking, Match, Refusal
from core.rights.moving import Account
from core.users.people import User

IN_PRIVATE = "Please send me that in private: it is between you and me."
CODE = """\
On your other channel, send me within five minutes:

`/link {code}`

(in Slack `!link {code}`). I then show what will be joined, and ask. The code works once: give it to nobody, \
or they become you."""
ENOUGH_CODES = "You have several codes already. Wait five minutes, and ask for another one."
MATCHED = """\
This joins two accounts into one person:

- there: {there}
- here: {here}

From then on I know on both what you tell me on either. `/unlink` parts them again.

Send `/link {code} yes` to do it."""
LINKED = "Done: {here} and {there} are one person now. `/unlink` parts them again."
REFUSALS = {
    Refusal.WRONG: "That code isn't good, or not any more. `/link` on your other channel gives a new one.",
    Refusal.WAIT: "That were too many wrong codes. Try again in an hour.",
    Refusal.SELF: "That is your own code. Send it from your other channel.",
    Refusal.SAME_CHANNEL: "Both have an account on the same channel, so I couldn't tell them apart any more. "
    "I can't join these two.",
    Refusal.BLOCKED: "I can't join these two.",
}
NOTHING_LINKED = "There is nothing to part: this is your only account here. `/link` joins another."
WHICH = "These accounts are one: {channels}. Send `/unlink {example}` to part one from the others."
PARTING = """\
This parts {channel} from your other accounts. What you said there goes with it, with the memories that rest \
on nothing else; what you said elsewhere stays. What I concluded from both is undone, and my replies so far, \
which may repeat both, go.

Send `/unlink {name} yes` to do it."""
PARTED = "Done: {channel} is somebody of its own now."
NEWS = {
    "linked": "_Your account on {channel} was joined with this one. If that wasn't you, send `/unlink` now._",
    "unlinked": "_Your account on {channel} was parted from this one._",
}


class AccountCommands:
    """Runs `/link`, `/unlink` and `/erase`. Where whose turn it is changes, the reply is composed with it."""

    NAMES = frozenset({"link", "unlink", "erase"})

    def __init__(self, linking: Linking, erasure: Erasure) -> None:
        self._linking = linking
        self._erasure = erasure

    async def run(self, turn: Turn, user: User, name: str, rest: str) -> tuple[Turn, str] | None:
        """The turn as it goes on, and the reply, composed if it is another's turn by then; None: not asked.

        Who isn't let in may still prove by a code that they are somebody who is.
        """
        if name not in self.NAMES or (not user.admitted and (name != "link" or not rest)):
            return None
        if turn.conversation.audience != PRIVATE:
            return turn, IN_PRIVATE
        words = rest.split()
        is_sure = len(words) > 0 and words[-1].casefold() == "yes"
        match name:
            case "erase":
                return await self._erasure.erase_in_turn(turn, told) if is_sure else (turn, CONFIRM)
            case "link" if words:
                return await self._link(turn, words[0], is_sure=is_sure and len(words) > 1)
            case "link":
                code = await self._linking.code(turn.user_id)
                return turn, CODE.format(code=code) if code else ENOUGH_CODES
            case _:
                return await self._unlink(turn, words[:1], is_sure=is_sure and len(words) > 1)

    async def news(self, connection: AsyncConnection, turn: Turn) -> Sequence[str]:
        """What the person is told beside an answer, in private and once."""
        if turn.conversation.audience != PRIVATE:
            return ()
        found = await self._linking.news(connection, turn.user_id, turn.conversation.channel)
        return [NEWS[each.deed].format(channel=_title(each.channel)) for each in found]

    async def _link(self, turn: Turn, code: str, *, is_sure: bool) -> tuple[Turn, str]:
        found = await self._linking.match(turn.user_id, code)
        if isinstance(found, Refusal):
            return turn, REFUSALS[found]
        names = {"there": _side(found, there=True), "here": _side(found, there=False)}
        if not is_sure:
            return turn, MATCHED.format(code=code.upper(), **names)
        channels = {"there": _titles(found.there.channels), "here": _title(turn.conversation.channel)}
        done = await self._linking.link_in_turn(turn, code, LINKED.format(**channels))
        return (turn, REFUSALS[done]) if isinstance(done, Refusal) else done

    async def _unlink(self, turn: Turn, words: Sequence[str], *, is_sure: bool) -> tuple[Turn, str]:
        accounts = await self._linking.accounts(turn.user_id)
        if len(accounts) < 2:
            return turn, NOTHING_LINKED
        named = {_name(account, accounts): account for account in accounts}
        account = named.get(words[0].casefold()) if words else None
        if account is None:
            channels = ", ".join(f"`{name}`" for name in named)
            return turn, WHICH.format(channels=channels, example=list(named)[-1])
        title = _title(account.channel)
        if not is_sure:
            return turn, PARTING.format(channel=title, name=_name(account, accounts))
        reply = PARTED.format(channel=title)
        return await self._linking.unlink_in_turn(turn, account, reply), reply


def _name(account: Account, accounts: Sequence[Account]) -> str:
    """How an account is named in a command: by its channel, and by its workspace too where there are two."""
    alike = [each for each in accounts if each.channel == account.channel]
    return account.channel if len(alike) == 1 else f"{account.channel}/{account.workspace.casefold()}"


def _title(channel: str) -> str:
    return {"web": "the web page", "console": "the terminal"}.get(channel, channel.capitalize())


def _titles(channels: Sequence[str]) -> str:
    return ", ".join(map(_title, channels))


def _side(found: Match, *, there: bool) -> str:
    side = found.there if there else found.here
    return f"{_titles(side.channels)} ({side.messages} messages, {side.memories} memories)"
