"""Who may talk to Mneme: those whose door needs no code, and those who sent it."""

import base64
import hmac

from core.privacy.keys import MasterKey
from core.settings import Settings

HOME_CHANNELS = frozenset({"web", "console"})
"""Reached only with a link or a key from this machine: who is there was let in already."""

CODE_BYTES = 10


class Access:
    """The door. Its code follows from the master key, so every process knows the same one."""

    def __init__(self, settings: Settings, master: MasterKey) -> None:
        self._open = settings.access == "open"
        self._code = base64.b32encode(master.derive("access code")[:CODE_BYTES]).decode()

    @property
    def code(self) -> str:
        """What a person sends as `/start CODE`: 16 letters and digits, 80 bits."""
        return self._code

    @property
    def is_open(self) -> bool:
        return self._open

    def admits(self, channel: str) -> bool:
        """Whether newcomers on this channel need no code."""
        return self._open or channel in HOME_CHANNELS

    def opens(self, code: str) -> bool:
        """Whether this is the code; compared in constant time."""
        said = code.strip().upper().encode("utf-8", "surrogatepass")
        return hmac.compare_digest(said, self._code.encode())
