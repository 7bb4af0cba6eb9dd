"""Who the people of a workspace are, as far as Slack tells."""

import asyncio
import math
from collections import OrderedDict
from datetime import timedelta
from typing import Any

from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.refusals import TROUBLE
from core.clock import Clock
from core.messages import Sender, clean, zone_of

_KEPT = 5_000
_KNOWN_SECONDS = 24 * 3600.0
_UNKNOWN_SECONDS = 300.0
_PATIENCE_SECONDS = 1.0
"""Slack waits three seconds for the acknowledgement, and the message must be committed within them."""


class People:
    """Names, languages and time zones by user id, asked once a day. Best effort: a person may stay an id."""

    def __init__(self, web: AsyncWebClient, clock: Clock) -> None:
        self._web = web
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Sender]] = OrderedDict()

    async def sender(self, user_id: str) -> Sender:
        """The person, by name where Slack tells it in time (needs the scope users:read)."""
        until, person = self._known.get(user_id, (-math.inf, Sender(user_id, user_id)))
        if self._clock.monotonic() < until:
            return person
        try:
            answer = await asyncio.wait_for(
                self._web.users_info(user=user_id, include_locale=True), _PATIENCE_SECONDS
            )
            person, kept_seconds = _person(user_id, answer.get("user") or {}), _KNOWN_SECONDS
        except TROUBLE:
            kept_seconds = _UNKNOWN_SECONDS
        self._known[user_id] = (self._clock.monotonic() + kept_seconds, person)
        self._known.move_to_end(user_id)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return person


def _person(user_id: str, user: dict[str, Any]) -> Sender:
    profile = user.get("profile") or {}
    names = (profile.get("display_name"), profile.get("real_name"), user.get("real_name"), user.get("name"))
    named = next((clean(name) for name in names if isinstance(name, str) and clean(name)), user_id)
    locale, zone = user.get("locale"), zone_of(user.get("tz_offset"), timedelta(seconds=1))
    return Sender(user_id, named, locale if isinstance(locale, str) and locale else None, zone)
