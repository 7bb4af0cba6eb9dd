"""Where the running service is, for commands on the same machine."""

from core.settings import Settings
from deploy.data_directory import DataDirectory


def service_url(settings: Settings) -> str:
    """Where the service of this data directory, else of these settings, is reached from this machine."""
    running = DataDirectory.of(settings).state()
    if running is not None and running.url:
        return running.url
    host = "127.0.0.1" if settings.http_host in ("0.0.0.0", "::") else settings.http_host  # noqa: S104
    return f"http://{host}:{settings.http_port}"
