"""What is said to somebody who wants to be gone: the question before, and the receipt."""

from core.rights.erasure_list import Receipt

CONFIRM = """\
This erases **all** of you here, on every channel: your memories, our messages, your accounts, and the key \
that all of it is sealed with. Nobody can bring it back, me included. If you want a copy first, send \
`/export`.

Send `/erase yes` to do it."""
TOLD = """\
Done. You are erased, and what I had of you can't be read by anybody any more.

{counts}

Receipt **{id}**, {at} UTC. It doesn't say who you were. Whoever runs me can show with it that nothing is \
left: `mneme user receipt {id}`. A backup that is put back forgets you again.

If you write to me again, we have never met."""


def told(receipt: Receipt) -> str:
    """The receipt as the person reads it."""
    gone = [f"- {name}: {count:,}" for name, count in receipt.counts.items() if count]
    return TOLD.format(counts="\n".join(gone), id=receipt.id, at=f"{receipt.erased_at:%Y-%m-%d %H:%M}")
