"""What the terminal and the service agree on."""

from core.privacy.keys import MasterKey

PATH = "/console/messages"
LAST, NEW = "last", "new"
"""The conversation to go on with: the latest one, or another; else its id."""


def console_key(master: MasterKey) -> str:
    """What the command line shows the service: who can read the master key may speak as anybody."""
    return master.derive("console key").hex()
