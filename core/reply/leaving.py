"""What is said to somebody who wants to be gone: the question before, and the receipt."""

from core.delivery.turns import Turn
from core.privacy.audience import PRIVATE
from core.rights.erasure_list import Receipt

CONFIRM = """\
This erases **all** of you here, on every channel: your memories, our messages, your accounts, and the key \
that all of it is sealed with. Nobody can bring it back, me included. If you want a copy first, send \
`/export`.

Send `/erase yes` to do it."""
IN_PRIVATE = "Please send me that in private: it is between you and me."
TOLD = """\
Done. You are erased, and what I had of you can't be read by anybody any more.

{counts}

Receipt **{id}**, {at} UTC. It doesn't say who you were. Whoever runs me can show with it that nothing is \
left: `mneme user receipt {id}`. A backup that is put back forgets you again.

If you write to me again, we have never met."""


def confirms_erasure(turn: Turn) -> bool:
    """Whether the person says yes to being erased, where nobody else hears it."""
    words = turn.text.casefold().split()
    return words == ["/erase", "yes"] and turn.conversation.audience == PRIVATE


def asked_to_erase(turn: Turn) -> str:
    """The reply to `/erase`: it asks once."""
    return CONFIRM if turn.conversation.audience == PRIVATE else IN_PRIVATE


def told(receipt: Receipt) -> str:
    """The receipt as the person reads it."""
    gone = [f"- {name}: {count:,}" for name, count in receipt.counts.items() if count]
    return TOLD.format(counts="\n".join(gone), id=receipt.id, at=f"{receipt.erased_at:%Y-%m-%d %H:%M}")
