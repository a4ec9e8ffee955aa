"""Faults that the system itself makes: a full disk, files that may not grow, calls that fail, lost power."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults import resumed
from jobs import ELSEWHERE, Job, end, forked, problems, side_by_side, start
from outcomes import files

import lookahead_data as la

pytestmark = pytest.mark.skipif(ELSEWHERE, reason="has namespaces, limits and strace of Linux")


def refused(job: Job, out: Path) -> list[str]:
    """What is wrong with how a job tells that it cannot write; nothing if it comes to its end."""
    job.tuning.apply()
    try:
        job.run(out)
    except la.OutputError as error:
        told = str(error)
        return [] if "cannot be written: " in told and str(out) in told else [f"it says: {told}"]
    except Exception as error:
        return [f"it says: {error!r}"]
    return []


# ------------------------------------------------------------------------------------- full disks

_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000


def own_mounts() -> None:
    """Give this process mounts of its own, as `unshare -rm` does.

    Raises:
        OSError: that is not permitted.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWNS) != 0:
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "no mounts of its own")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    mount("/", None, _MS_REC | _MS_PRIVATE)


def mount(target: str, kind: str | None, flags: int = 0, options: str = "") -> None:
    """Mount something; OSError where that is not permitted."""
    libc = ctypes.CDLL(None, use_errno=True)
    name = kind.encode() if kind else None
    if libc.mount(b"none", target.encode(), name, flags, options.encode() or None) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount {kind} at {target}")


def may_mount(folder: Path) -> bool:
    own_mounts()
    mount(str(folder), "tmpfs", 0, "size=1m")
    return True


def on_full_disks(job: Job, golden: Path, disk: Path, options: list[str]) -> list[str]:
    """What is wrong with jobs that write to small disks, and go on with room made.

    Args:
        disk: an empty folder, where the disks are mounted.
        options: of each disk.
    """
    own_mounts()
    found: list[str] = []
    failed = 0
    for option in options:
        mount(str(disk), "tmpfs", 0, option)
        out = disk / "out"
        with contextlib.suppress(OSError):
            (disk / "filler").write_bytes(bytes(1 << 20))
        wrong = refused(job, out)
        failed += not (out / "manifest.json").exists()
        mount(str(disk), None, 0x20, "size=4m,nr_inodes=1000")  # 0x20 is MS_REMOUNT
        (disk / "filler").unlink(missing_ok=True)
        wrong += resumed(job, out, golden) if out.exists() else []
        found += [f"{option}: {problem}" for problem in wrong]
        ctypes.CDLL(None).umount2(str(disk).encode(), 2)
    print(f"{failed} of {len(options)} disks were too small")
    return found if failed >= len(options) * 3 // 4 else [*found, f"only {failed} disks were too small"]


def test_a_full_disk_is_told_and_gone_on_from_when_there_is_room(
    job: Job, golden: Path, tmp_path: Path
) -> None:
    ended = forked(may_mount, tmp_path)
    if ended.status != 0:
        pytest.skip(f"mounting is not permitted here: {ended.error.splitlines()[-1]}")
    page = os.sysconf("SC_PAGE_SIZE")
    spaces = [f"size={pages * page}" for pages in range(1, 16, 2)]
    inodes = [f"size=4m,nr_inodes={number}" for number in range(2, 16, 3)]
    ended = forked(on_full_disks, job, golden, tmp_path, spaces + inodes)
    assert problems(ended) == []


def with_small_files(job: Job, golden: Path, out: Path, size: int) -> list[str]:
    """What is wrong with a job whose files may have no more than so many bytes, and then may."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    wrong = refused(job, out)
    if (out / "manifest.json").exists():
        wrong.append("it came to its end")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return wrong + resumed(job, out, golden)


def test_files_that_may_not_grow_are_told(job: Job, golden: Path, tmp_path: Path) -> None:
    largest = max(path.stat().st_size for path in golden.rglob("*") if path.is_file())
    sizes = range(100, largest, largest // 12)
    found = side_by_side(
        lambda size: problems(forked(with_small_files, job, golden, tmp_path / str(size), size)), sizes
    )
    assert found == [[]] * len(sizes)


# ----------------------------------------------------------------------- calls that the system fails


def stopped(job: Job, out: Path) -> None:
    """Do a job once somebody says to go on."""
    job.tuning.apply()
    os.kill(os.getpid(), signal.SIGSTOP)
    job.run(out)


@contextlib.contextmanager
def traced(pid: int, call: str, what: str) -> Iterator[None]:
    """Let `strace` put a fault into a stopped process, which then goes on."""
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", os.devnull, "-p", str(pid), "-e", f"trace={call}", "-e", f"inject={call}:{what}"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        wait_until(lambda: status(pid, "TracerPid") not in ("0", "") or tracer.poll() is not None)
        os.kill(pid, signal.SIGCONT)
        yield
    finally:
        tracer.terminate()
        tracer.communicate()


def status(pid: int, name: str) -> str:
    """What the system says of a process; empty if it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return line.split()[1]
    return ""


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    late = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < late, "waited in vain"
        time.sleep(0.002)


def run_traced(job: Job, golden: Path, out: Path, call: str, what: str) -> tuple[bool, list[str]]:
    """Whether a fault stopped a job, and what is wrong with what it left."""
    process, answer = start(stopped, job, out)
    wait_until(lambda: status(process.pid, "State") == "T")
    with traced(process.pid, call, what):
        ended = end(process, answer)
    wrong = ["status 0, and not finished"] if ended.status == 0 and files(out) != files(golden) else []
    if ended.status == 1 and not ended.named:
        wrong.append(ended.error)
    elif ended.status not in (0, 1) and ended.signal != signal.SIGKILL:
        wrong.append(f"status {ended.status}")
    wrong += problems(forked(resumed, job, out, golden))
    shutil.rmtree(out, ignore_errors=True)
    return ended.status != 0, [f"{call}:{what}: {problem}" for problem in wrong]


def can_trace() -> bool:
    """Whether `strace` is here, and may look at other processes."""
    if shutil.which("strace") is None:
        return False
    process, answer = start(time.sleep, 5)
    tracer = subprocess.run(
        ["timeout", "1", "strace", "-qq", "-p", str(process.pid)], capture_output=True, check=False
    )
    process.kill()
    end(process, answer)
    return b"attach" not in tracer.stderr


@pytest.mark.slow
def test_calls_that_the_system_fails(job: Job, golden: Path, tmp_path: Path) -> None:
    if not can_trace():
        pytest.skip("strace is not installed, or not permitted")
    places = {
        "fsync": range(1, 24, 2),
        "rename": range(1, 11),
        "write": range(1, 40, 3),
        "mkdir": range(1, 6),
    }
    faults = [
        (call, f"{what}:when={at}")
        for call, times in places.items()
        for at in times
        for what in ("error=ENOSPC" if at % 2 else "error=EIO", "signal=SIGKILL")
    ]
    ran = side_by_side(
        lambda fault: run_traced(job, golden, tmp_path / "-".join(fault).replace(":", "-"), *fault), faults
    )
    wrong = [problem for _, found in ran for problem in found]
    fired = sum(failed for failed, _ in ran)
    print(f"{fired} of {len(faults)} faults stopped the job")
    assert not wrong, "\n".join(wrong)
    assert fired > len(faults) // 2
