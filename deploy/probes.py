"""Asking a server whether it serves: None means yes, a text says what stands in the way."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

PROBE_TIMEOUT_SECONDS = 3.0
OLLAMA_URL = "http://127.0.0.1:11434"
OLLAMA_TIMEOUT_SECONDS = 0.5


def place(url: str) -> str:
    """Host and port of a URL: what may be shown of one that holds a password."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.hostname or url}{port}"
    except ValueError:
        return "the given address"


async def ask_redis(url: str) -> str | None:
    try:
        client = Redis.from_url(
            url, socket_connect_timeout=PROBE_TIMEOUT_SECONDS, socket_timeout=PROBE_TIMEOUT_SECONDS
        )
    except ValueError:
        return "the address must begin with redis://, rediss:// or unix://"
    try:
        await client.ping()
    except AuthenticationError:
        return "it asks for another password"
    except BusyLoadingError:
        return "it is loading its data"
    except (RedisError, OSError) as error:
        return _short(error)
    finally:
        await client.aclose()
    return None


async def ask_http(url: str, headers: Mapping[str, str] | None = None, *, local: bool = True) -> str | None:
    """GET `url`; a `local` server is asked directly, whatever proxy the environment names."""
    try:
        async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_SECONDS, trust_env=not local) as client:
            answer = await client.get(url, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _short(error)
    return None if answer.is_success else f"HTTP {answer.status_code}: {' '.join(answer.text.split())[:200]}"


async def ask_chroma(url: str, *, local: bool = True) -> str | None:
    return await ask_http(f"{url}/api/v2/heartbeat", local=local)


async def ask_models(base_url: str, key: str | None, *, local: bool = True) -> str | None:
    """Whether the OpenAI-compatible server at `base_url` takes the key and lists its models."""
    headers = {"Authorization": f"Bearer {key}"} if key else None
    state = await ask_http(f"{base_url}/models", headers, local=local)
    if state is not None and state.startswith(("HTTP 401", "HTTP 403")):
        return "it refuses the key: check OPENAI_API_KEY"
    return state


async def ollama_models(url: str = OLLAMA_URL) -> list[str]:
    """The models of an Ollama that runs on this machine; [] when none does."""
    try:
        async with httpx.AsyncClient(timeout=OLLAMA_TIMEOUT_SECONDS, trust_env=False) as client:
            told = (await client.get(f"{url}/api/tags")).raise_for_status().json()
        return [str(model["name"]) for model in told["models"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return []


def _short(error: Exception) -> str:
    """One line without addresses: those hold passwords."""
    unreachable = isinstance(error, httpx.ConnectError | RedisConnectionError | OSError)
    return "no answer" if unreachable else type(error).__name__
