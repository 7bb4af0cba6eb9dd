"""The record of processing activities that a controller keeps (GDPR, Art. 30)."""

from collections.abc import Iterator

from core.destinations import Destination, destinations
from core.rights.data_map import TABLES, Activity, Kept, retention
from core.rights.document import Blank, Code, Document, Fragment, Text
from core.settings import Settings

PURPOSES = {
    Activity.TALK: "replying to messages on the channels that are set up, each once",
    Activity.REMEMBER: "recalling, in later replies, what the same person told before",
    Activity.ACCESS: "telling people apart, letting in who may come in, showing each their own page",
    Activity.RUN: "doing slow work, keeping to budgets, being able to account for what was done",
}
"""What each activity is for."""

MEASURES = (
    "What people said, their names and addresses are encrypted on disk: AES-256-GCM under a key of each "
    "person's own, wrapped by a master key. Lookups go by keyed digests (HMAC), so a copy of the database "
    "without the master key names nobody.",
    "The index holds no text; its vectors are turned by a rotation that is secret to each person.",
    "Every query names the user whose data it reads; what is found is read from that user's rows alone.",
    "What was said in private is never put in front of a group.",
    "A memory needs a quote from a message that its person wrote; forwarded or quoted text makes none.",
    "Nobody on Telegram or Slack is served before being let in; links to the web page work once and expire.",
    "Logs and metrics hold ids and numbers, nobody's words.",
    "A message is written down before it is acknowledged, and answered once; what fails is shown.",
)
"""What the code does for security (Art. 32)."""


def add_record(report: Document, settings: Settings) -> None:
    """The record, an activity after the other.

    Raises:
        ConfigurationError: `DATABASE_URL` can't be read.
    """
    report.heading(2, "Record of processing activities (GDPR, Art. 30)")
    report.say(
        "Who runs Mneme purely for themselves and their household may not fall under the GDPR (Art. "
        "2(2)(c)); who runs it for a team, a club or customers does."
    )
    report.table(
        ("Who", "Name and contact"),
        [
            ("Controller", Blank("name, address, e-mail")),
            ("Joint controller, representative", Blank("if there is one")),
            ("Data protection officer", Blank("if there is one")),
        ],
    )
    kept = retention(settings)
    recipients = [each for each in destinations(settings) if not each.is_here]
    for activity in Activity:
        _activity(report, activity, recipients, kept)
    report.heading(3, "Technical and organisational measures (Art. 32)")
    report.items(MEASURES)
    report.say(
        "Organisational measures: ",
        Blank("who has access to the machine and the master key, how it is backed up"),
    )


def _activity(
    report: Document, activity: Activity, recipients: list[Destination], kept: dict[Kept, str]
) -> None:
    held = {name: told for name, told in TABLES.items() if told.activity is activity}
    report.heading(3, activity.value)
    rules = {told.kept: kept[told.kept] for told in held.values()}
    report.table(
        ("Entry", "Content"),
        [
            ("Purpose (1b)", PURPOSES[activity]),
            ("Legal basis", _basis(activity)),
            ("Data subjects (1c)", "people who write to Mneme; people whom they write about"),
            ("Data (1c)", "; ".join(f"{name}: {told.holds}" for name, told in held.items())),
            ("Recipients (1d)", tuple(_recipients(activity, recipients))),
            ("Transfers to third countries (1e)", _transfers(activity, recipients)),
            ("Time limits (1f)", "; ".join(f"{rule.value}: {text}" for rule, text in rules.items())),
        ],
    )


def _basis(activity: Activity) -> Text:
    asked = Blank("consent, contract or legitimate interest (Art. 6), and why")
    if activity is not Activity.REMEMBER:
        return asked
    return (asked, " For special categories: explicit consent (Art. 9(2)(a)), asked for apart.")


def _goes(activity: Activity, each: Destination) -> bool:
    """Whether what is processed for this goes there: platforms are only talked on, models only asked."""
    if each.is_platform:
        return activity is Activity.TALK
    return activity in (Activity.TALK, Activity.REMEMBER) or each.setting == "DATABASE_URL"


def _recipients(activity: Activity, recipients: list[Destination]) -> Iterator[Fragment]:
    found = [each for each in recipients if _goes(activity, each)]
    if not found:
        yield "none beyond whoever runs this machine"
    for number, each in enumerate(found):
        yield f"{'; ' if number else ''}{each.what} at "
        yield Code(each.host)


def _transfers(activity: Activity, recipients: list[Destination]) -> Text:
    if not any(_goes(activity, each) for each in recipients):
        return "none"
    return Blank("the country of each of these hosts, and what makes the transfer lawful (Art. 44 to 49)")
