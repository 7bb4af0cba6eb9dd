"""Logs for the operator: events with ids, never what people say."""

import logging
import sys

import structlog
from structlog.typing import Processor

from core.settings import Settings

TALKATIVE = tuple(
    "httpx httpx2 httpcore telegram slack_bolt slack_sdk openai chromadb alembic aiosqlite aiohttp.access "
    "celery.beat celery.worker.strategy celery.worker.request celery.app.trace".split()
)
"""Libraries that log addresses with tokens in them, or every request, statement and sweep."""


def set_up_logging(settings: Settings) -> None:
    """Sends structlog and the libraries' logs to standard error, as readable lines or as JSON."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.log_level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(renderer, foreign_pre_chain=shared))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
