"""Becomes another program, which ends when its parent does, however the parent ended.

`python child.py PARENT [--answering] COMMAND...`: a file of its own and not code between fork and exec, where
a process with threads may do next to nothing. One that is only `--answering` can't connect to anybody.
"""

import ctypes
import errno
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
CONNECT = {"x86_64": (0xC000003E, 42), "aarch64": (0xC00000B7, 203)}
"""By machine: what the kernel calls it, and the number of connect(2)."""
OPEN_FILES = 8192
"""Chroma keeps four files open a collection; the usual limit is 1,024 in all."""
EX_NOTFOUND = 127


class _Step(ctypes.Structure):
    """One instruction of a filter (struct sock_filter)."""

    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class _Filter(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_Step)))


def only_answer() -> bool:
    """Keeps this process, and all that it becomes or starts, from connecting; False where that can't be."""
    if sys.platform != "linux" or os.uname().machine not in CONNECT:
        return False
    machine, connect = CONNECT[os.uname().machine]
    load, equals, give = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EACCES
    steps = (
        (load, 0, 0, 4),  # the machine
        (equals, 0, 3, machine),
        (load, 0, 0, 0),  # the call's number
        (equals, 0, 1, connect),
        (give, 0, 0, refuse),
        (give, 0, 0, allow),
    )
    program = _Filter(len(steps), (_Step * len(steps))(*(_Step(*step) for step in steps)))
    kernel = ctypes.CDLL(None)
    # The kernel takes a filter only from who can't become somebody else.
    if kernel.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    taken: int = kernel.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
    return taken == 0


def main(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before it could be tied to
        sys.exit(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < OPEN_FILES:
        most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    if command[0] == "--answering":
        command = command[1:]
        if not only_answer():
            print("this kernel can't keep it from connecting", file=sys.stderr)
    try:
        os.execvp(command[0], command)  # noqa: S606  # no shell is wanted
    except OSError as error:
        print(f"{command[0]} can't be started: {error.strerror}", file=sys.stderr)
        sys.exit(EX_NOTFOUND)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
