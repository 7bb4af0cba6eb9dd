"""What Slack's libraries log, without what they would put into it: messages, bodies, one-time addresses."""

import logging


def library_logger() -> logging.Logger:
    """A logger for slack_sdk and slack_bolt that passes on where something failed, and its type."""
    logger = logging.getLogger("mneme.slack.library")
    # never below: at NOTSET the SDK writes every request and answer
    logger.setLevel(logging.ERROR)
    if not logger.filters:
        logger.addFilter(_bare)
    return logger


def _bare(record: logging.LogRecord) -> bool:
    failure = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else "failure"
    record.msg, record.args = "slack_library_%s in %s", (failure, record.funcName)
    record.exc_info = record.exc_text = record.stack_info = None
    return True
