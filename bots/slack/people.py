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
_GUESTS = ("is_restricted", "is_ultra_restricted", "is_stranger")
_PATIENCE_SECONDS = 1.0
"""Slack waits three seconds for the acknowledgement, and the message must be committed within them."""


class People:
    """Names, languages and time zones by user id, asked once a day. Best effort: a person may stay an id.

    `workspace` is the app's own: whoever Slack says is of another one, or a guest, is an outsider.
    """

    def __init__(self, web: AsyncWebClient, clock: Clock) -> None:
        self.workspace: str | None = None
        self._web = web
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Sender | None]] = OrderedDict()

    async def sender(self, user_id: str) -> Sender | None:
        """The person, by name where Slack tells it in time (needs the scope users:read); None for an app."""
        until, person = self._known.get(user_id, (-math.inf, Sender(user_id, user_id)))
        if self._clock.monotonic() < until:
            return person
        try:
            answer = await asyncio.wait_for(
                self._web.users_info(user=user_id, include_locale=True), _PATIENCE_SECONDS
            )
            user = answer.get("user") or {}
            person = None if _is_app(user) else _person(user_id, user, self.workspace)
            kept_seconds = _KNOWN_SECONDS
        except TROUBLE:
            kept_seconds = _UNKNOWN_SECONDS
        self._known[user_id] = (self._clock.monotonic() + kept_seconds, person)
        self._known.move_to_end(user_id)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return person


def _is_app(user: dict[str, Any]) -> bool:
    """Whether an app or a workflow stands behind the id, which many people may share."""
    return user.get("is_bot") is True or user.get("is_workflow_bot") is True


def _is_outsider(user: dict[str, Any], workspace: str | None) -> bool:
    """Whether Slack says that this is a guest, or somebody of another workspace."""
    team = user.get("team_id")
    is_elsewhere = isinstance(team, str) and bool(team) and workspace is not None and team != workspace
    return is_elsewhere or any(user.get(flag) is True for flag in _GUESTS)


def _person(user_id: str, user: dict[str, Any], workspace: str | None) -> Sender:
    profile = user.get("profile") or {}
    names = (profile.get("display_name"), profile.get("real_name"), user.get("real_name"), user.get("name"))
    named = next((clean(name) for name in names if isinstance(name, str) and clean(name)), user_id)
    locale, zone = user.get("locale"), zone_of(user.get("tz_offset"), timedelta(seconds=1))
    language = locale if isinstance(locale, str) and locale else None
    return Sender(user_id, named, language, zone, outsider=_is_outsider(user, workspace))
