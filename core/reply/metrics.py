"""What the operator sees of messages and replies."""

from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter(
    "mneme_messages",
    "Messages by what became of them: accepted, duplicate, unheard, answered, edited, dead, unknown.",
    ["channel", "outcome"],
)
REPLY_SECONDS = Histogram(
    "mneme_reply_seconds",
    "From taking a turn to its end.",
    ["channel"],
    buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120),
)
LANE_WAIT_SECONDS = Histogram(
    "mneme_lane_wait_seconds",
    "From accepting a message to taking it up.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 15, 60, 300),
)
QUEUE_AGE_SECONDS = Gauge(
    "mneme_queue_age_seconds", "How long the oldest message has waited; 0 when none does."
)
INDEX_BEHIND = Gauge("mneme_index_behind", "Changes that the index has yet to hear of.")
DEAD = Gauge("mneme_dead", "Dead letters: what was given up and not yet retried or dropped.", ["kind"])
"""`kind`: message (a person's burst of them, of unknown fate as well), job."""
KEPT_OUT = Counter(
    "mneme_kept_out",
    "What was gathered for a prompt, or said in a reply, though not all who read along may know it: a fault.",
    ["part"],
)
"""`part`: summary, window, card or recall of a prompt, or the reply."""
