"""Who may read what: what was said in private is never put in front of a group."""

from core.messages import ConversationKind

PRIVATE = "private"


def audience_of(kind: ConversationKind, conversation_id: str) -> str:
    """The audience of what is said in a conversation: "private", or the group conversation itself."""
    return PRIVATE if kind is ConversationKind.DIRECT else conversation_id


def visible_to(audience: str) -> str | None:
    """Which memories may be shown to this audience: None (all) to the person alone, else its own."""
    return None if audience == PRIVATE else audience
