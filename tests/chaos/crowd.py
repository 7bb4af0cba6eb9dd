"""The people: each goes on writing in one place, whatever happens to the bots."""

import asyncio
import random

from tests.chaos.platforms import PLACES, Place, Platforms
from tests.chaos.words import new_token

DIRECT_PAUSE_SECONDS = 1.5
GROUP_PAUSE_SECONDS = 9.0
"""Twenty writes a minute are all that Telegram takes in a group, and a reply takes two or more."""
PATIENT_SHARE = 0.7
"""Of the messages whose writer sees them arrive before writing on."""


class Crowd:
    """Everybody in every place, writing until told to end."""

    def __init__(self, platforms: Platforms, seed: str) -> None:
        self._platforms = platforms
        self._seed = seed

    async def write(self, seconds: float) -> None:
        """Returns once all that they wrote was taken by a bot."""
        async with asyncio.TaskGroup() as group:
            for place in PLACES:
                for who in place.people:
                    group.create_task(self._one(place, who, seconds))

    async def say_goodbye(self) -> None:
        """A last message in each place: every lane has to be alive, every conversation is read to its end."""
        chance = random.Random(f"{self._seed} goodbye")
        async with asyncio.TaskGroup() as group:
            for place in PLACES:
                group.create_task(self._platforms.say(place, place.people[0], new_token(chance)))

    async def _one(self, place: Place, who: str, seconds: float) -> None:
        chance = random.Random(f"{self._seed} {place.chat} {who}")
        pause = DIRECT_PAUSE_SECONDS if place.is_direct else GROUP_PAUSE_SECONDS
        end = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as sending:
            while True:
                rest = min(chance.expovariate(1 / pause), 4 * pause)
                if asyncio.get_running_loop().time() + rest >= end:
                    return
                await asyncio.sleep(rest)
                message = sending.create_task(self._platforms.say(place, who, new_token(chance)))
                if chance.random() < PATIENT_SHARE:
                    await message
