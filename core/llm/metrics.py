"""What the operator sees of the language and embedding models."""

from prometheus_client import Counter, Gauge, Histogram

MODEL_SECONDS = Histogram(
    "mneme_model_seconds",
    "One call to a model, from the request to the last word, retries included.",
    ["model", "purpose", "outcome"],
    buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 240),
)
"""`purpose`: reply, structured, embed.

`outcome`: ok, unavailable, refused, cut, or dropped when the caller stopped.
"""

FIRST_WORD_SECONDS = Histogram(
    "mneme_model_first_word_seconds",
    "From the request to the first word, retries included.",
    ["model"],
    buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120),
)

MODEL_TOKENS = Counter(
    "mneme_model_tokens",
    "Tokens, as the model's server counts them; estimated where it doesn't say.",
    ["kind"],
)
"""`kind`: prompt, completion, embedding."""

MODEL_RETRIES = Counter("mneme_model_retries", "Calls that were tried again.", ["model"])

BREAKER_STATE = Gauge(
    "mneme_model_breaker", "0: every call is let through. 1: one call tries. 2: the model rests.", ["model"]
)

BUDGET_TOKENS = Counter(
    "mneme_budget_tokens",
    "Tokens of calls, by what the day's budgets said; nothing where none is set.",
    ["outcome"],
)
"""`outcome`: within; beyond, where the cheaper model or the embedder went on; refused, as estimated."""
