"""Who may read what: what was said in private is never put in front of a group."""

from dataclasses import dataclass

from core.messages import ConversationKind

PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose words something is (a user's id; a group's, for its summary), and which audience heard them.

    `is_opening`: it didn't, but their owner lets it know.
    """

    owner: str
    audience: str
    is_opening: bool = False


def audience_of(kind: ConversationKind, conversation_id: str) -> str:
    """The audience of what is said in a conversation: "private", or the group conversation itself."""
    return PRIVATE if kind is ConversationKind.DIRECT else conversation_id


def visible_to(audience: str) -> str | None:
    """Which memories may be shown to this audience: None (all) to the person alone, else its own."""
    return None if audience == PRIVATE else audience


def may_read(origin: Origin, user_id: str, audience: str) -> bool:
    """Whether it may stand before the audience while this user talks there.

    In private a person's own words, wherever they were said; in a group what was said in that group.
    """
    return origin.owner == user_id if audience == PRIVATE else origin.audience == audience
