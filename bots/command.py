"""What every command of the command line begins with."""

import ctypes
from contextlib import suppress

from core.log import set_up_logging
from core.settings import Settings, load_settings

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE_BYTES = 256 * 1024


def prepared() -> Settings:
    """The settings, with logging set up and connections kept to what they say.

    Raises:
        ConfigurationError: a setting is missing or wrong; the text is the cure.
    """
    _give_back_memory()
    settings = load_settings()
    set_up_logging(settings)
    if settings.privacy_mode == "local":
        from core.egress import enforce

        enforce(settings)
    return settings


def _give_back_memory() -> None:
    """Keeps glibc from raising its thresholds with each big block that is freed (mallopt(3)).

    It would no longer give such blocks back to the system: what the embedder takes and frees for every text
    fell to pieces, and the process grew by 30 MB an hour.
    """
    with suppress(OSError, AttributeError):  # another libc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)
