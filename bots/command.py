"""What every command of the command line begins with."""

from core.log import set_up_logging
from core.settings import Settings, load_settings


def prepared() -> Settings:
    """The settings, with logging set up as they say.

    Raises:
        ConfigurationError: a setting is missing or wrong; the text is the cure.
    """
    settings = load_settings()
    set_up_logging(settings)
    return settings
