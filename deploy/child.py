"""Becomes another program, which ends when its parent does, however the parent ended.

`python child.py PARENT COMMAND...`: a file of its own and not code between fork and exec, where a process
with threads may do next to nothing.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
OPEN_FILES = 8192
"""Chroma keeps four files open a collection; the usual limit is 1,024 in all."""
EX_NOTFOUND = 127


def main(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before it could be tied to
        sys.exit(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < OPEN_FILES:
        most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        os.execvp(command[0], command)  # noqa: S606  # no shell is wanted
    except OSError as error:
        print(f"{command[0]} can't be started: {error.strerror}", file=sys.stderr)
        sys.exit(EX_NOTFOUND)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
