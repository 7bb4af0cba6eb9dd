"""Every environment variable: typed, documented, checked at start."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import ConfigurationError

LEAST_BUDGET_TOKENS = 20_000
"""A day's budget below that has no room for what the memory's jobs ask for."""


def _default_data_dir() -> Path:
    try:
        return Path("~/.local/share/mneme").expanduser()
    except RuntimeError:
        raise ConfigurationError("There is no home folder here: set MNEME_DATA_DIR.") from None


TRANSCRIPT = "transcript"
RETENTION_KINDS = (
    TRANSCRIPT,
    "identity",
    "preference",
    "relationship",
    "event",
    "goal",
    "routine",
    "instruction",
    "fact",
    "note",
)
"""What a time to keep it for may be set for: what was said, and memories by their kind."""
MOST_DAYS = 36_500


class Settings(BaseSettings):
    """What an operator can set. Empty values count as unset, so a copied `.env.example` works as it is."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    # Telegram
    telegram_bot_token: SecretStr | None = Field(None, description="From @BotFather. Unset: no Telegram.")
    telegram_mode: Literal["polling", "webhook"] = Field(
        "polling", description="webhook serves POST /telegram/webhook."
    )
    telegram_webhook_secret: SecretStr | None = Field(
        None, description="Needed in webhook mode: what Telegram sends back in its secret-token header."
    )
    telegram_api_base_url: str = Field(
        "https://api.telegram.org", description="Another Bot API server, such as one's own."
    )

    # Slack
    slack_bot_token: SecretStr | None = Field(None, description="xoxb-... Unset: no Slack.")
    slack_app_token: SecretStr | None = Field(None, description="xapp-..., needed in socket mode.")
    slack_mode: Literal["socket", "http"] = Field("socket", description="http serves POST /slack/events.")
    slack_signing_secret: SecretStr | None = Field(None, description="Needed in http mode.")
    slack_api_base_url: str = Field("https://slack.com/api/", description="Where Slack's methods are called.")

    platform_timeout_seconds: float = Field(
        20, gt=0, description="How long Telegram or Slack may take to answer one call."
    )

    # The language model
    openai_api_key: SecretStr | None = Field(None, description="With this alone, Mneme talks to OpenAI.")
    openai_base_url: str | None = Field(
        None,
        description="Any compatible server: Ollama, vLLM, llama.cpp, OpenRouter. Unset and no key: local.",
    )
    openai_model: str | None = Field(
        None, description="The model's name. Unset: gpt-5-mini at OpenAI, else the server's first."
    )
    openai_fallback_model: str | None = Field(None, description="Tried when the first model is unavailable.")
    openai_budget_model: str | None = Field(
        None, description="A cheaper one: goes on when a budget is used up. Unset: nobody does."
    )
    local_model: str = Field(
        "auto", description="auto, small (0.5B), medium (1.5B), or the path of a .gguf file of one's own."
    )
    model_connect_seconds: float = Field(
        5, gt=0, description="How long the model's server may take to accept a connection."
    )
    model_timeout_seconds: float = Field(
        90,
        gt=0,
        description="How long one call to the model may take before its first word, all tries together.",
    )
    model_silence_seconds: float = Field(
        90, gt=0, description="How long a model that speaks may pause before it counts as gone."
    )
    model_breaker_failures: int = Field(
        5, ge=1, description="After so many calls in a row that failed, a model is left alone."
    )
    model_breaker_seconds: float = Field(
        10, gt=0, description="For so long at first; twice as long each time it still fails, 300 at most."
    )

    # Embeddings
    embedding_model: str | None = Field(
        None,
        description="An OpenAI-compatible embedding model. Unset: multilingual-e5-small, in the box.",
    )

    # The three stores
    database_url: SecretStr | None = Field(
        None, description="postgresql://... Unset: SQLite in the data directory."
    )
    redis_url: SecretStr | None = Field(None, description="redis://... Unset: `mneme run` starts one.")
    chroma_url: str | None = Field(None, description="http://host:port. Unset: `mneme run` starts one.")
    index_collections: int = Field(
        16,
        ge=1,
        le=4096,
        description="Over how many Chroma collections users are spread; change, then reindex.",
    )
    index_alone_over: int = Field(
        1000,
        ge=1,
        description="Who has more entries gets a collection alone. "
        "Of the others, vectors are held in memory while they talk.",
    )
    at_hand_mb: int = Field(
        256,
        ge=2,
        description="So much memory the words and vectors of those who talk may take in a process.",
    )

    # The service
    http_host: str = Field("127.0.0.1", description="Where the web chat and the webhooks listen.")
    http_port: int = Field(8080, ge=0, le=65535, description="0: any free port.")
    public_url: str | None = Field(
        None, description="How the service is reached from outside (https://...); links and webhooks use it."
    )
    mneme_data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="All that Mneme keeps on this machine. Unset: ~/.local/share/mneme.",
    )
    mneme_master_key: SecretStr | None = Field(
        None, description="32 bytes in base64; seals every person's key. Unset: made in the data directory."
    )
    access: Literal["invite", "open", "closed"] = Field(
        "invite",
        description="Who else is let in on Telegram and Slack: invite, by code or approval; open, everybody; "
        "closed, nobody. `mneme access set` says so for one channel.",
    )
    privacy_mode: Literal["open", "local"] = Field(
        "open",
        description="local refuses every connection but to this machine, and to Telegram and Slack if set.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR."
    )
    log_format: Literal["console", "json"] = Field("console", description="console or json.")

    mneme_on_trial: bool = Field(
        False,
        description="Set by `mneme run`: the model is the small local one.",
        json_schema_extra={"internal": True},
    )

    mneme_ready_file: Path | None = Field(
        None,
        description="Set by `mneme run`: the worker touches it once it is ready.",
        json_schema_extra={"internal": True},
    )

    # Behaviour
    burst_seconds: float = Field(
        0.6, ge=0, le=10, description="Messages closer together than this are answered as one turn."
    )
    lease_seconds: float = Field(
        9,
        ge=2,
        le=120,
        description="After how long a dead process's lane is free; the next sweep takes it over.",
    )
    sweep_seconds: float = Field(4, ge=0.2, description="How often what waits is looked for without a bell.")
    parallel_replies: int = Field(
        8, ge=1, description="How many conversations one process answers at a time."
    )
    prompt_tokens: int = Field(3000, ge=500, description="The prompt's budget: instructions, memory, window.")
    recall_tokens: int = Field(600, ge=0, description="Of which recalled memories may take so many.")
    reply_tokens: int = Field(800, ge=16, description="The longest reply.")
    idle_seconds: float = Field(
        60, ge=0, description="A conversation that rests this long is read for memories."
    )
    extract_messages: int = Field(
        12, ge=1, description="One that never rests is read after so many messages."
    )
    fold_messages: int = Field(30, ge=4, description="A longer window is folded into a summary.")

    consolidate_seconds: float = Field(
        6 * 3600,
        ge=0,
        description="When nothing new was learned of a person for so long, their memories are tidied up. "
        "0: never.",
    )

    special_categories: Literal["ask", "keep"] = Field(
        "ask",
        description="What people tell of their health, belief, origin, politics, union or love is remembered "
        "with their consent (ask), or like all else (keep), as within your own household.",
    )
    privacy_notice: bool = Field(
        True,
        description="On first contact, tell people what is kept, where it is processed, how to say no, and "
        "who needs a parent's consent.",
    )

    retention: str = Field(
        "",
        description="How many days things are kept, by kind, as in transcript=365,event=90: what was said "
        "and no memory cites, and memories since they were last said. What isn't named is kept until its "
        "person forgets it.",
    )

    @field_validator("retention")
    @classmethod
    def _names_kinds(cls, value: str) -> str:
        _days_by_kind(value)
        return value

    @property
    def retention_days(self) -> dict[str, int]:
        """`retention`, read."""
        return _days_by_kind(self.retention)

    # Budgets
    tokens_per_user_day: int = Field(
        0, ge=0, description="The most tokens a person may spend in a day (UTC); 0: no limit."
    )
    tokens_per_day: int = Field(0, ge=0, description="The most for all people together; 0: no limit.")

    @field_validator("tokens_per_user_day", "tokens_per_day")
    @classmethod
    def _holds_some_calls(cls, value: int, info: ValidationInfo) -> int:
        asked = info.data.get("prompt_tokens", 0) + info.data.get("reply_tokens", 0)
        least = max(LEAST_BUDGET_TOKENS, 2 * asked)
        if 0 < value < least:
            raise ValueError(f"too little for a few calls: set 0, or at least {least}")
        return value

    @field_validator("access", mode="before")
    @classmethod
    def _by_its_former_name(cls, value: object) -> object:
        return "invite" if value == "code" else value

    @field_validator("mneme_data_dir")
    @classmethod
    def _without_tilde(cls, value: Path) -> Path:
        try:
            return value.expanduser()
        except RuntimeError:
            raise ValueError("there is no such home folder") from None

    @field_validator("slack_api_base_url")
    @classmethod
    def _ends_in_slash(cls, value: str) -> str:
        return value if value.endswith("/") else value + "/"

    @field_validator("telegram_api_base_url", "chroma_url", "openai_base_url", "public_url")
    @classmethod
    def _without_slash(cls, value: str | None) -> str | None:
        return value.rstrip("/") if value else None


def _days_by_kind(text: str) -> dict[str, int]:
    """Of "kind=days,kind=days".

    Raises:
        ValueError: it isn't that; the text is the cure.
    """
    days: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        kind, _, number = (piece.strip() for piece in part.partition("="))
        if kind not in RETENTION_KINDS:
            raise ValueError(f"name kinds among {', '.join(RETENTION_KINDS)}, as in transcript=365,event=90")
        if not (number.isdecimal() and 0 < int(number) <= MOST_DAYS):
            raise ValueError(f"give each kind its days, from 1 to {MOST_DAYS}, as in transcript=365")
        days[kind] = int(number)
    return days


def load_settings() -> Settings:
    """The settings of this process, from the environment and `.env`.

    Raises:
        ConfigurationError: a value or `.env` can't be used; the text names the variable, never its value.
    """
    try:
        return Settings()  # type: ignore[call-arg]  # pydantic fills them in
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, part['loc'])).upper()}: {part['msg']}"
            for part in error.errors(include_input=False)
        )
        raise ConfigurationError(f"Please mend these settings (environment or .env): {wrong}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The file .env can't be read ({type(error).__name__}).") from None


TITLES = {
    "telegram_bot_token": "Telegram",
    "slack_bot_token": "Slack",
    "openai_api_key": "The language model",
    "embedding_model": "Embeddings",
    "database_url": "The three stores",
    "http_host": "The service",
    "burst_seconds": "Behaviour",
    "tokens_per_user_day": "Budgets",
}


def example() -> str:
    """The text of `.env.example`: every setting with its meaning and its default, all commented out."""
    lines = ["# Mneme works with none of these set. Copy this file to .env and fill in what you need."]
    for name, field in Settings.model_fields.items():
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("internal"):
            continue
        if name in TITLES:
            lines += ["", f"## {TITLES[name]}"]
        default = "" if field.default_factory is not None or field.default is None else field.default
        lines += [f"# {field.description}"] if field.description else []
        lines.append(f"# {name.upper()}={default}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(example(), end="")
