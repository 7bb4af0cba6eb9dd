"""The list of erasures, beside the record: a backup that is put back must not bring anybody back."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from core.errors import StoreUnavailable

FILE = "erasures.jsonl"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure took away. `id` proves it later; `counts` says how many of each went.

    `user_id` is a random number that nothing belongs to any more: by it, a backup is searched.
    """

    id: str
    user_id: str
    erased_at: datetime
    counts: Mapping[str, int]

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"erased_at": self.erased_at.isoformat()}


class ErasureList:
    """A file of receipts, a line of JSON each, readable by its owner alone."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def add(self, receipt: Receipt) -> None:
        """Appends a receipt; once this returns, it outlives a power cut. Blocks.

        Raises:
            StoreUnavailable: the file can't be written.
        """
        line = json.dumps(receipt.as_json()) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, line.encode())
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise StoreUnavailable(f"the list of erasures can't be written ({error.strerror})") from error

    def read(self) -> list[Receipt]:
        """All receipts; a last line that was cut off counts as not written. Blocks.

        Raises:
            StoreUnavailable: the file can't be read.
        """
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreUnavailable(f"the list of erasures can't be read ({error.strerror})") from error
        return [_receipt(line) for line in text.split("\n")[:-1] if line]


def _receipt(line: str) -> Receipt:
    try:
        read = json.loads(line)
        return Receipt(
            read["id"], read["user_id"], datetime.fromisoformat(read["erased_at"]), dict(read["counts"])
        )
    except (ValueError, KeyError, TypeError):
        raise StoreUnavailable(
            f"{FILE} has a line that can't be read: mend or remove it, or what a backup brings back stays"
        ) from None
