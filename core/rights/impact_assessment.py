"""The skeleton of a data protection impact assessment (GDPR, Art. 35)."""

from core.destinations import destinations
from core.rights.document import Blank, Code, Document, Text
from core.settings import Settings

RISKS = (
    (
        "One person's words reach another",
        "a user's id in every query, ids resolved in that user's rows only, separate keys; private memories "
        "stay out of groups",
    ),
    (
        "Somebody gets the disk or a backup",
        "encryption under keys per person; the master key is kept apart from the data",
    ),
    (
        "Whoever runs Mneme reads along",
        "contents are shown by explicit commands only; but who has the master key can read everything",
    ),
    (
        "Something wrong is remembered or concluded",
        "each memory cites its source, can be forgotten, keeps its history; conclusions are marked as such",
    ),
    (
        "Special categories (health, belief, politics, origin, love) are remembered",
        "only with their person's consent, which is asked for apart; no conclusions are drawn about them",
    ),
    (
        "Third persons are talked about without knowing it",
        "what is said of others is kept as the speaker's own memory and never used for anybody else",
    ),
    ("Text from elsewhere gives orders", "it is marked as data in the prompt and never becomes a memory"),
    (
        "Too much is kept for too long",
        "a person can forget single memories or everything, pause, or talk incognito at any time",
    ),
)
"""What may go wrong for people, and what the code does about it."""


def add_assessment(report: Document, settings: Settings) -> None:
    """The assessment, as far as the code and the settings know it.

    Raises:
        ConfigurationError: `DATABASE_URL` can't be read.
    """
    report.heading(2, "Data protection impact assessment (GDPR, Art. 35): a skeleton")
    report.heading(3, "Is one needed?")
    report.items(
        [
            (
                "Memories may hold special categories (Art. 9), whatever people choose to tell. On a large "
                "scale that calls for an assessment (Art. 35(3)(b)). People here: ",
                Blank("how many, and who they are"),
            ),
            ("Children among them: ", Blank("yes or no, and how their parents agreed (Art. 8)")),
            ("Conclusion: ", Blank("needed or not, and why")),
        ]
    )
    report.heading(3, "What is processed, and what for (Art. 35(7)(a))")
    report.say(
        "A person writes on a channel; the message is kept sealed; a language model gets it with recent "
        "messages, a summary and what was recalled, and answers; later, messages are read for claims, which "
        "are kept with their sources. No decision about anybody is made by it (Art. 22). The data map above "
        "says what lies where, the record of processing what for."
    )
    report.heading(3, "Necessity and proportionality (Art. 35(7)(b))")
    report.items(
        [
            "Only what somebody asserts is remembered: no questions, jokes, quotations or forwarded text.",
            "A reply gets a bounded part of it: "
            f"{settings.prompt_tokens} tokens, of them {settings.recall_tokens} recalled.",
            ("Why a memory is needed for your purpose: ", Blank("your reasons")),
            _model(settings),
        ]
    )
    report.heading(3, "Risks and measures (Art. 35(7)(c) and (d))")
    asked = Blank("likelihood and severity for your people")
    rows: list[tuple[Text, ...]] = [(risk, measure, asked) for risk, measure in RISKS]
    report.table(("Risk", "What Mneme does about it", "What remains"), rows)
    report.say("Further risks: ", Blank("of your surroundings, and what you do about them"))
    report.heading(3, "Advice, review, sign-off")
    report.items(
        [
            ("Advice of the data protection officer (Art. 35(2)): ", Blank("date and content")),
            ("Views of the people concerned (Art. 35(9)): ", Blank("how they were asked, what they said")),
            ("Prior consultation of the authority (Art. 36): ", Blank("needed if a high risk remains")),
            ("Reviewed (Art. 35(11)): ", Blank("when, by whom, and when next")),
        ]
    )


def _model(settings: Settings) -> Text:
    models = {
        each.host for each in destinations(settings) if each.what.endswith("model") and not each.is_here
    }
    if not models:
        return "The language model runs on this machine: no other company reads along."
    named = ", ".join(sorted(models))
    asked = Blank("the contract (Art. 28), what it keeps, whether it trains on it")
    return ("The language model is asked at ", Code(named), ", whose operator is a processor: ", asked)
