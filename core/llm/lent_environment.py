"""The environment, lent to libraries that take their settings from it while they load."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def lent_environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Sets these variables within the block; afterwards all are as they were, or as absent."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
