import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from deploy.processes import Process, end_leftover, errand, how_it_ended

PIPE = asyncio.subprocess.PIPE
FAMILY = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[1] == "stubborn" else signal.SIG_DFL)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
PARENT = """
import asyncio, sys
from deploy.processes import Process
async def main():
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = await Process.start(sleeper, {}, asyncio.subprocess.DEVNULL)
    print(child.pid, flush=True)
    await child.wait()
asyncio.run(main())
"""


ANSWERING = """
import socket, subprocess, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    server.accept()[0].sendall(b"hello")
    connecting = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
    tried = subprocess.run([sys.executable, "-c", connecting], capture_output=True, text=True)
    print(tried.stderr.splitlines()[-1] if tried.returncode else "connected", flush=True)
"""


async def family(nature: str) -> tuple[Process, int]:
    process = await Process.start([sys.executable, "-c", FAMILY, nature], {}, PIPE)
    return process, int(await process.lines.readline())


async def gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.05)


async def test_a_stopped_child_takes_its_own_children_along() -> None:
    process, grandchild = await family("obedient")
    await process.stop(20, asyncio.Event())
    assert process.code == -signal.SIGTERM
    await gone(grandchild)


async def test_a_child_that_wont_end_is_killed_after_its_grace() -> None:
    process, grandchild = await family("stubborn")
    await process.stop(0.2, asyncio.Event())
    assert process.code == -signal.SIGKILL
    await gone(grandchild)


async def test_a_hurry_cuts_the_grace_short() -> None:
    process, _ = await family("stubborn")
    hurry = asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(process.stop(600, hurry))
        await asyncio.sleep(0.1)
        hurry.set()
    assert process.code == -signal.SIGKILL


async def test_stopping_twice_is_no_error() -> None:
    process, _ = await family("obedient")
    await process.stop(20, asyncio.Event())
    await process.stop(20, asyncio.Event())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child's life to its parent's")
async def test_children_end_when_their_parent_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    await gone(child)


async def test_a_child_has_its_own_session_and_makes_private_files(tmp_path: Path) -> None:
    made = tmp_path / "made"
    script = f"import os; open({str(made)!r}, 'w').close(); print(os.getsid(0), os.environ['COLOUR'])"
    process = await Process.start([sys.executable, "-c", script], {"COLOUR": "blue"}, PIPE)
    assert (await process.lines.read()).decode().split() == [str(process.pid), "blue"]
    await process.wait()
    assert made.stat().st_mode & 0o777 == 0o600


async def test_an_errand_hands_on_each_line_and_its_status() -> None:
    lines: list[str] = []
    script = "import sys; print('one'); print('two', file=sys.stderr, flush=True); sys.exit(3)"
    command = [sys.executable, "-u", "-c", script]
    assert await errand(command, {}, asyncio.Event(), lines.append) == 3
    assert lines == ["one", "two"]


async def test_a_program_that_isnt_there_says_so() -> None:
    lines: list[str] = []
    assert await errand(["no-such-program"], {}, asyncio.Event(), lines.append) == 127
    assert lines == ["no-such-program can't be started: No such file or directory"]


async def test_an_errand_that_is_broken_off_leaves_nothing() -> None:
    pids: asyncio.Queue[int] = asyncio.Queue()
    command = [sys.executable, "-c", FAMILY, "obedient"]
    task = asyncio.ensure_future(
        errand(command, {}, asyncio.Event(), lambda line: pids.put_nowait(int(line)))
    )
    grandchild = await pids.get()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(grandchild)


async def test_a_leftover_is_ended_but_never_another_process_with_its_id() -> None:
    process, grandchild = await family("obedient")
    assert not await end_leftover(process.pid, process.created_at - 100, 1)
    assert process.code is None
    assert await end_leftover(process.pid, process.created_at, 20)
    await process.wait()
    await gone(grandchild)
    assert not await end_leftover(process.pid, process.created_at, 1)


def test_how_a_process_ended_is_said_in_words() -> None:
    assert how_it_ended(-signal.SIGKILL) == "ended by SIGKILL"
    assert how_it_ended(os.EX_CONFIG) == "ended with exit status 78"
    assert how_it_ended(0) == "ended"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux filters a process's calls")
@pytest.mark.parametrize(
    ("connects", "said"), [(True, "connected"), (False, "PermissionError: [Errno 13] Permission denied")]
)
async def test_what_only_answers_can_t_connect_nor_can_what_it_starts(connects: bool, said: str) -> None:
    process = await Process.start([sys.executable, "-c", ANSWERING], {}, PIPE, connects=connects)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(await process.lines.readline()))
    assert await reader.read() == b"hello"
    writer.close()
    assert (await process.lines.readline()).decode().strip() == said
    assert await process.wait() == 0
