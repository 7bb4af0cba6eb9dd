"""The master key, and what is derived from it."""

import base64
import binascii
import hashlib
import hmac
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.errors import ConfigurationError, Undecryptable
from core.settings import Settings

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_FILE = "master.key"


def seal(key: bytes, plain: bytes, context: str) -> bytes:
    """AES-256-GCM: nonce, ciphertext and tag. `context` must be the same again to open it."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, context.encode())


def unseal(key: bytes, sealed: bytes, context: str) -> bytes:
    """What `seal` sealed.

    Raises:
        Undecryptable: another key or context, or a changed value.
    """
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError):  # the latter when there isn't even a whole nonce
        raise Undecryptable(f"a sealed {context.split(':')[0]} doesn't open with this key") from None


class MasterKey:
    """Derives a key for each purpose (HKDF-SHA256, RFC 5869); is itself never used on data."""

    def __init__(self, secret: bytes, digesting: bytes | None = None) -> None:
        """`digesting` is the first master key's: by it, what was written down before is still found."""
        self._secret = secret
        self._wrapping = self.derive("wrap data keys")
        self._digesting = digesting or self.derive("digest identifiers")

    def renewed(self) -> "MasterKey":
        """A new one in this one's place, which finds what this one finds."""
        return MasterKey(os.urandom(KEY_BYTES), self._digesting)

    @property
    def text(self) -> str:
        """What `MNEME_MASTER_KEY` and the key's file hold: the secret, and once renewed the digesting key."""
        parts = [self._secret]
        if self._digesting != self.derive("digest identifiers"):
            parts.append(self._digesting)
        return ".".join(base64.b64encode(part).decode() for part in parts)

    def derive(self, purpose: str) -> bytes:
        """32 bytes that belong to this purpose alone."""
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"mneme:" + purpose.encode()).derive(self._secret)

    def wrap(self, owner: str, data_key: bytes) -> bytes:
        return seal(self._wrapping, data_key, f"key:{owner}")

    def unwrap(self, owner: str, wrapped: bytes) -> bytes:
        """The data key of this owner.

        Raises:
            Undecryptable: it was wrapped by another master key.
        """
        return unseal(self._wrapping, wrapped, f"key:{owner}")

    def digest(self, *parts: str) -> str:
        """A keyed digest (HMAC-SHA256, 64 hex characters) under which an identifier is found again."""
        # A cookie or an account's name may hold lone surrogates: it is found or not, like any other.
        coded = [part.encode("utf-8", "surrogatepass") for part in parts]
        joined = b"".join(len(part).to_bytes(4) + part for part in coded)
        return hmac.new(self._digesting, joined, hashlib.sha256).hexdigest()


def load_master_key(settings: Settings, *, make: bool = True) -> MasterKey:
    """`MNEME_MASTER_KEY`, else the data directory's key, which the first call makes (mode 0600).

    Raises:
        ConfigurationError: it isn't 32 bytes in base64, or the file can't be read or written; or there is
            none, and with `make=False` none is made.
    """
    if settings.mneme_master_key is not None:
        return read_master_key(settings.mneme_master_key.get_secret_value(), "MNEME_MASTER_KEY")
    path = settings.mneme_data_dir / KEY_FILE
    if not make and not path.exists():
        raise ConfigurationError(
            f"no Mneme has been started on {settings.mneme_data_dir}: run `mneme run`, or set MNEME_DATA_DIR"
        )
    try:
        _make_once(path)
        return read_master_key(path.read_text("latin-1"), str(path))
    except OSError as error:
        raise ConfigurationError(f"The master key {path} can't be used: {error.strerror}.") from error


def read_master_key(text: str, where: str) -> MasterKey:
    """The key that such a text stands for.

    Raises:
        ConfigurationError: none; `where` it comes from is named, it isn't.
    """
    try:
        parts = [base64.b64decode(part, validate=True) for part in text.strip().split(".")]
    except (binascii.Error, ValueError):
        parts = []
    if len(parts) not in (1, 2) or any(len(part) != KEY_BYTES for part in parts):
        raise ConfigurationError(f"{where} must be 32 bytes in base64: `openssl rand -base64 32` makes one.")
    return MasterKey(*parts)


def _make_once(path: Path) -> None:
    """Two first starts at once must end with one key."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_once(path, MasterKey(os.urandom(KEY_BYTES)))


def write_once(path: Path, key: MasterKey) -> None:
    """The file (mode 0600) appears whole, and only if none is there.

    Raises:
        OSError: it can't be written.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.") as draft:  # mode 0600
        draft.write(key.text.encode() + b"\n")
        draft.flush()
        os.fsync(draft.fileno())
        with suppress(FileExistsError):
            os.link(draft.name, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Without its key all that is sealed is lost: the file's name, too, has to outlive a power cut."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
