"""What a person switches by a command: whether anything is kept of what they say, and what of it."""

from core.delivery.turns import Turn
from core.messages import ConversationKind
from core.rights.consent import Consent
from core.rights.switches import REST, Mode, Switches
from core.users.people import User

_MINUTES = REST.total_seconds() / 60
AT_HAND = (
    "So that we can talk I have the last messages at hand; they are destroyed when you end it, or when we "
    f"haven't talked for {_MINUTES:.0f} minutes."
)
PAUSED = (
    "Paused. From now on I keep and learn nothing of what you say, anywhere, until you send `/resume`. "
    f"What I know already I still use. {AT_HAND}"
)
RESUMED = "From now on I keep again what you tell me. What you said while I was paused is destroyed."
NOT_PAUSED = "I'm not paused: I keep what you tell me."
INCOGNITO = (
    "This conversation is incognito now: I use nothing that I know about you, and keep nothing of what we "
    f"say here, until you send `/incognito off`. {AT_HAND}"
)
NOT_INCOGNITO = (
    "No longer incognito: I know you again, and keep what you tell me. What we said meanwhile is destroyed."
)
STILL_PAUSED = (
    "No longer incognito, and what we said meanwhile is destroyed. You paused me, so I still keep nothing."
)
NOT_HERE = (
    "Others read this conversation, so it can't be incognito: write to me in private. `/pause` has me keep "
    "nothing of what you say, here as well."
)
SPECIAL = "your health, belief, origin, politics, union or love"
CONSENT_QUESTION = (
    f"_You may have told me something about {SPECIAL}. I remember such things only if you agree: "
    "`/consent yes`, and this is remembered, too; `/consent no`, and I make no memory of any._"
)
AGREED = f"Thank you. I remember from now on what you tell me about {SPECIAL}. `/consent no` takes that back."
AGREED_TO = (
    "Thank you. I remember what you tell me about {}, with {} of your last messages. "
    "`/consent no` takes that back."
)
REFUSED = f"I make no memory of what you tell me about {SPECIAL}. `/consent yes` changes that."
SURE_TO_REFUSE = "That forgets {} memories and messages that may tell of {}. Send `/consent no yes` to do it."
REFUSED_WITH = "Done: {} memories and messages are forgotten. From now on I make no memory of such things."
CONSENT_WHICH = "`/consent yes` lets me remember what you tell me about {}, `/consent no` doesn't. {}"
ANSWERS = {True: "You agreed.", False: "You didn't agree.", None: "You haven't said yet, so I don't."}
MARKS = {
    Mode.PAUSED: "_Paused: I keep nothing of this. `/resume` ends that._",
    Mode.INCOGNITO: "_Incognito: I recall nothing and keep nothing of this. `/incognito off` ends that._",
}
"""Under every reply while it is so."""


class SwitchCommands:
    """Runs `/pause`, `/resume`, `/incognito` and `/consent`; each gives the reply's text."""

    def __init__(self, switches: Switches, consent: Consent) -> None:
        self._switches = switches
        self._consent = consent

    async def pause(self, user: User) -> str:
        await self._switches.pause(user.id)
        return PAUSED

    async def resume(self, user: User) -> str:
        if not await self._switches.is_paused(user.id):
            return NOT_PAUSED
        await self._switches.resume(user.id)
        return RESUMED

    async def incognito(self, turn: Turn, user: User, rest: str) -> str:
        """`/incognito`, `/incognito off`."""
        if turn.conversation.kind is not ConversationKind.DIRECT:
            return NOT_HERE
        on = rest.strip().casefold() != "off"
        await self._switches.set_incognito(user.id, turn.conversation.id, on)
        if on:
            return INCOGNITO
        return STILL_PAUSED if await self._switches.is_paused(user.id) else NOT_INCOGNITO

    async def consent(self, user: User, rest: str) -> str:
        """`/consent yes`, `/consent no`, and `/consent no yes` where something is to be forgotten."""
        match rest.casefold().split():
            case ["yes"]:
                count = await self._consent.give(user.id)
                return AGREED_TO.format(SPECIAL, count) if count else AGREED
            case ["no"]:
                concerned = await self._consent.concerned(user.id)
                if concerned:
                    return SURE_TO_REFUSE.format(len(concerned), SPECIAL)
                await self._consent.refuse(user.id)
                return REFUSED
            case ["no", "yes"]:
                return REFUSED_WITH.format(await self._consent.refuse(user.id))
            case _:
                return CONSENT_WHICH.format(SPECIAL, ANSWERS[await self._consent.given(user.id)])
