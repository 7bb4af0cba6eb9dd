"""The archive of a person: its schema, which is what an export holds and an import reads."""

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

FORMAT: Final = "mneme-export/1"
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    # What a later Mneme adds is passed over, so that its archives can be read here.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Account(_Part):
    """Where the person writes from, and the name they go by there."""

    channel: str
    workspace: str
    name: str


class Person(_Part):
    """Whose archive it is; the id is a random number of the Mneme that made it.

    `special_consent`: whether they let be remembered what the law protects especially; null: not asked.
    """

    id: str
    known_since: AwareDatetime
    special_consent: bool | None = None
    accounts: tuple[Account, ...] = ()


class Message(_Part):
    """What was said; `said_at` in the zone of where it was. Those of one `turn` belong together.

    `remembered`: it says something, and is recalled as it stands.
    """

    id: str
    turn: int
    role: Literal["user", "assistant"]
    text: str
    said_at: AwareDatetime
    remembered: bool = False


class Talk(_Part):
    """One conversation: all of it, or of a group the person's own messages and the replies to them."""

    id: str
    channel: str
    kind: Literal["direct", "group", "thread"]
    title: str = ""
    messages: tuple[Message, ...]


class Cited(_Part):
    """The characters of a message that a memory rests on, and how surely they say it."""

    message: str
    start: Annotated[int, Field(ge=0)]
    quote: str
    certainty: Share = 1.0


class Remembered(_Part):
    """One memory: since when it holds and until when it held, what it rests on, what came in its place.

    `audience`: "private", or the id of the talk whose members may hear it. `derivation`: how a consolidation
    made it; null for what the person said. A `correction` is what they put in another's place themselves;
    what is `pinned` is in every prompt, what is `muted` in none.
    """

    id: str
    kind: str
    text: str
    subject: str | None = None
    audience: str = "private"
    valid_from: AwareDatetime
    valid_until: AwareDatetime | None = None
    recorded_at: AwareDatetime
    retired_at: AwareDatetime | None = None
    replaced_by: str | None = None
    derivation: str | None = None
    confidence: Share = 1.0
    salience: Share = 0.5
    uses: Annotated[int, Field(ge=0)] = 0
    correction: bool = False
    pinned: bool = False
    muted: bool = False
    sources: tuple[Cited, ...]


class Archive(_Part):
    """All that a Mneme keeps of one person."""

    format: Literal["mneme-export/1"] = FORMAT
    exported_at: AwareDatetime
    person: Person
    talks: tuple[Talk, ...] = ()
    memories: tuple[Remembered, ...] = ()
