"""What the person in front of the terminal reads: a line a step, the same on a terminal and in a file."""

import contextlib
import sys
import time
from typing import TextIO

FIRST_WORD_SECONDS = 2.0
LONGEST_SILENCE_SECONDS = 30.0


class Screen:
    """Prints lines. A terminal that went away must not keep Mneme from stopping in order."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._done: set[str] = set()
        self._expected = 0

    def expect(self, steps: int) -> None:
        """How many steps a start has."""
        self._expected = steps

    def done(self, who: str, what: str) -> None:
        """One step more is done; a part that is ready once again is no new step."""
        if who in self._done:
            self.say(who, what)
            return
        self._done.add(who)
        self.say(who, f"{what} [{len(self._done)} of {self._expected}]")

    def say(self, who: str, what: str) -> None:
        self.line(f"{who:>9}  {what}")

    def line(self, text: str = "") -> None:
        with contextlib.suppress(OSError, ValueError):
            print(text, file=self._out, flush=True)


class Patience:
    """Says what is waited for, and for how long by now: soon at first, then ever less often."""

    def __init__(self, screen: Screen, who: str) -> None:
        self._screen = screen
        self._who = who
        self._began = time.monotonic()
        self._next_word = FIRST_WORD_SECONDS

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def wait_for(self, what: str) -> None:
        if self.seconds >= self._next_word:
            self._next_word += min(self._next_word, LONGEST_SILENCE_SECONDS)
            self._screen.say(self._who, f"waiting, {self.seconds:.0f} s so far: {what}")
