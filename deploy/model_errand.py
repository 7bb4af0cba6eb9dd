"""Fetches the local model in a process of its own, so that a fetch of minutes can be broken off.

`python -m deploy.model_errand CHOICE DATA_DIR [--kept]`: a line a step, and at the end the file's `file:`
address. With `--kept` nothing is fetched.
"""

import os
import sys
from pathlib import Path

from core.errors import ConfigurationError
from deploy.local_model import ensure


def main(choice: str, data_dir: Path, *, may_fetch: bool) -> int:
    try:
        file = ensure(choice, data_dir, lambda step: print(step, flush=True), may_fetch=may_fetch)
    except ConfigurationError as error:
        print(error, flush=True)
        return os.EX_CONFIG
    print(file.absolute().as_uri(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), may_fetch="--kept" not in sys.argv[3:]))
