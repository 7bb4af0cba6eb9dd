"""Who may talk to Mneme: whom an open door lets in, who has a code, who was approved, who is blocked."""

from dataclasses import replace
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.messages import Sender
from core.privacy.keys import MasterKey
from core.settings import Settings
from core.storage.database import one_at_a_time
from core.users.audit import Audit
from core.users.codes import Guesses, OperatorCode
from core.users.doors import HOME_CHANNELS, Door, Doors, Mode
from core.users.invites import Invites
from core.users.people import Admission, People, User
from core.users.requests import Request, Requests, RequestState


class Entry(StrEnum):
    """What became of a code that somebody sent who isn't in."""

    CLAIMED = "claimed"
    """It was the operator's, and the door is theirs now."""
    INVITED = "invited"
    """It was an invitation's, and they are in."""
    SPENT = "spent"
    """It is the operator's, but the door has its owner."""
    WRONG = "wrong"
    SHUT = "shut"
    """Nobody new is let in here."""
    WAIT = "wait"
    """So many were wrong that none is looked at for an hour."""


class Access:
    """Lets people in and keeps them out. All calls take part in the caller's transaction.

    `actor` is the user who decides, None the operator on the command line. Each change is noted in the audit.
    """

    def __init__(
        self, settings: Settings, master: MasterKey, people: People, audit: Audit, clock: Clock
    ) -> None:
        self.doors = Doors(Mode(settings.access), clock)
        self.invites = Invites(master, audit, clock)
        self.requests = Requests(people, clock)
        self._code = OperatorCode(master)
        self._guesses = Guesses(clock)
        self._people = people
        self.audit = audit

    @property
    def code(self) -> str:
        """The operator's code, which claims a door as `/start CODE`."""
        return self._code.text

    async def meet(self, connection: AsyncConnection, door: Door, sender: Sender) -> User:
        """The user of the account that stands at the door, let in if it is open for them.

        Whom an open door let in is put out once it shows that they are an outsider. Not so who has linked
        another account: the door that let them in may have been that one's.

        Raises:
            IntegrityError: as `People.meet`.
        """
        user = await self._people.find(connection, door.channel, door.workspace, sender.external_id)
        if user is None:
            by = await self._admission(connection, door, sender)
            user = await self._people.meet(connection, door.channel, door.workspace, sender, admitted=by)
            if user.admitted:
                await self.audit.note(connection, "admit", user_id=user.id, actor=user.id, detail=by)
        elif (
            user.by is Admission.OPEN and sender.outsider and await self._people.is_alone(connection, user.id)
        ):
            await self._people.put_out(connection, user.id)
            await self.audit.note(connection, "put_out", user_id=user.id, actor=user.id, detail="outsider")
            user = replace(user, admitted=False, by=None)
        elif not user.admitted and not user.blocked:
            by = await self._admission(connection, door, sender)
            if by is not None and await self._let_in(connection, user.id, by, actor=user.id):
                user = replace(user, admitted=True, by=by)
        return user

    async def claim(self, connection: AsyncConnection, user_id: str, door: Door, said: str) -> bool:
        """Whether somebody owns the door by the operator's code: from now on, or already."""
        if not self._code.is_right(said):
            return False
        if await self.doors.claim(connection, door, user_id):
            await self._let_in(connection, user_id, Admission.CODE, actor=user_id)
            await self.audit.note(connection, "claim", user_id=user_id, actor=user_id, detail=str(door))
        return await self.doors.owner(connection, door) == user_id

    async def enter(self, connection: AsyncConnection, user_id: str, door: Door, said: str) -> Entry:
        """Tries a code of somebody who isn't in."""
        await one_at_a_time(connection, "access")
        if await self._guesses.are_used_up(connection, user_id):
            return Entry.WAIT
        if await self.claim(connection, user_id, door, said):
            return Entry.CLAIMED
        if self._code.is_right(said):
            return Entry.SPENT
        if await self.doors.mode(connection, door) is Mode.CLOSED:
            return Entry.SHUT
        invite = await self.invites.use(connection, said, door)
        if invite is None:
            await self._guesses.note(connection, user_id)
            return Entry.WRONG
        await self._let_in(connection, user_id, Admission.INVITE, actor=user_id, detail=invite)
        return Entry.INVITED

    async def ask(self, connection: AsyncConnection, user_id: str, door: Door) -> RequestState | None:
        """As `Requests.ask`; to be called where one may ask."""
        await one_at_a_time(connection, "access")
        before = await self.requests.state(connection, user_id)
        after = await self.requests.ask(connection, user_id, door)
        if after is RequestState.WAITING and after is not before:
            await self.audit.note(connection, "ask", user_id=user_id, actor=user_id, detail=str(door))
        return after

    async def may_ask(self, connection: AsyncConnection, door: Door) -> bool:
        """Whether a request can be made: somebody decides on it, and the door isn't closed."""
        return (
            await self.doors.owner(connection, door) is not None
            and await self.doors.mode(connection, door) is not Mode.CLOSED
        )

    async def approve(self, connection: AsyncConnection, number: int, *, actor: str | None) -> Request | None:
        """Lets in who made the request of this number; None where there is none to be approved."""
        request = await self.requests.get(connection, number)
        if request is None or not await self._let_in(
            connection, request.user_id, Admission.APPROVAL, actor=actor, withdraw=False
        ):
            return None
        await self.requests.decide(connection, number, RequestState.APPROVED)
        return request

    async def deny(self, connection: AsyncConnection, number: int, *, actor: str | None) -> Request | None:
        """Declines the request of this number; None where none waits under it."""
        request = await self.requests.get(connection, number)
        if request is None or request.state is not RequestState.WAITING:
            return None
        await self.requests.decide(connection, number, RequestState.DENIED)
        await self.audit.note(connection, "deny", user_id=request.user_id, actor=actor)
        return request

    async def block(self, connection: AsyncConnection, user_id: str, *, actor: str | None) -> bool:
        """Hears no more of somebody; their doors and invitations are nobody's. False if they are blocked."""
        if not await self._people.block(connection, user_id):
            return False
        await self.doors.give_up(connection, door=None, user_id=user_id)
        await self.invites.revoke_all_of(connection, user_id)
        await self.requests.withdraw(connection, user_id)
        await self.audit.note(connection, "block", user_id=user_id, actor=actor)
        return True

    async def unblock(self, connection: AsyncConnection, user_id: str, *, actor: str | None) -> bool:
        """Whoever was in before is in again; False for who isn't blocked."""
        if not await self._people.unblock(connection, user_id):
            return False
        await self.audit.note(connection, "unblock", user_id=user_id, actor=actor)
        return True

    async def set_mode(self, connection: AsyncConnection, door: Door, mode: Mode | None) -> None:
        """Says who is let in at a door, None: as its channel or the settings say. Who is in stays in."""
        await self.doors.set_mode(connection, door, mode)
        await self.audit.note(connection, "set_door", detail=f"{mode or 'default'} {door}")

    async def give_up(self, connection: AsyncConnection, door: Door) -> bool:
        """Takes a door from its owner, who stays in: it can be claimed again. False where it has none."""
        owner = await self.doors.owner(connection, door)
        if owner is None:
            return False
        await self.doors.give_up(connection, door=door, user_id=None)
        await self.audit.note(connection, "give_up", user_id=owner, detail=str(door))
        return True

    async def _admission(self, connection: AsyncConnection, door: Door, sender: Sender) -> Admission | None:
        """What lets this sender in without anything else."""
        if door.channel in HOME_CHANNELS:
            return Admission.HOME
        is_open = not sender.outsider and await self.doors.mode(connection, door) is Mode.OPEN
        return Admission.OPEN if is_open else None

    async def _let_in(
        self,
        connection: AsyncConnection,
        user_id: str,
        by: Admission,
        *,
        actor: str | None,
        detail: str | None = None,
        withdraw: bool = True,
    ) -> bool:
        if not await self._people.admit(connection, user_id, by):
            return False
        await self._guesses.clear(connection, user_id)
        if withdraw:
            await self.requests.withdraw(connection, user_id)
        await self.audit.note(connection, "admit", user_id=user_id, actor=actor, detail=detail or by)
        return True
