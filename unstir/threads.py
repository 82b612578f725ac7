"""CPU threads: how many of them torch starts, and whether they spin or sleep while they wait for each other.

The number. torch starts one thread a core that the process may run on, and knows nothing of the CPU time that a
container is allowed. Where a cgroup allows fewer cores than that, the number is set to what it allows; else it is left
alone, because the last bits of pictures and weights depend on it.

The waiting. A network on the CPU is thousands of short parallel regions a second. GNU OpenMP, which the Linux wheels of
torch bring, lets a thread without work spin for some milliseconds before it sleeps. On an idle machine that is right:
waking a sleeping thread takes longer than many a region. Beside other busy processes it is wrong: the spinning thread
uses up its share of the core, and is then not running when its work comes. No fixed spin count is good for both
(`benchmarks/threads.py` measures it), and a training of hours sees both. So a thread looks at the load four times a
second. While others need the cores it starts further teams of threads, which do nothing: GNU OpenMP shortens the
spinning (300,000 rounds to 100) as long as a process has more threads than cores. The number of threads that compute
stays the same, and so do all results.

Settings of the user come first: OMP_NUM_THREADS, MKL_NUM_THREADS and OMP_THREAD_LIMIT for the number, OMP_WAIT_POLICY,
GOMP_SPINCOUNT, KMP_BLOCKTIME and KMP_LIBRARY for the waiting. Where the system does not say how busy it is (macOS,
Windows), waiting is left alone.
"""

import atexit
import math
import os
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

NUMBER_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT")
"""Who sets one of these has chosen the number of threads."""

WAITING_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Who sets one of these has chosen how threads wait. Their neighbours (KMP_AFFINITY, GOMP_CPU_AFFINITY, ...) choose
other things."""

PROCESS_CGROUPS = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")
SYSTEM_LOAD = Path("/proc/stat")

INTERVAL = 0.25
"""Seconds between two looks at the load."""

SLEEP_ABOVE, SPIN_BELOW = 0.5, 0.25
"""Cores that are missing: threads of ours, and what others use, beyond those there are. Two bounds, so that the waiting
does not change to and fro."""


def configure_threads(cgroups: Path = PROCESS_CGROUPS, mounts: Path = CGROUPS, load: Path = SYSTEM_LOAD) -> None:
    """Choose the number of threads and how they wait. To be called before torch is imported; calling again is free.

    Where torch is imported already, somebody else's program is running: its environment and its threads stay as they
    are, except that more threads than a cgroup allows cores become as many, because they would only take the time from
    each other.

    cgroups, mounts, load: files of Linux; where they are missing nothing is limited, and waiting is left alone.
    """
    quota = cpu_quota(cgroups, mounts)
    allowed = None if quota is None else max(1, math.floor(quota))
    if any(os.environ.get(name) for name in NUMBER_VARIABLES):
        allowed = None
    if "torch" in sys.modules:
        import torch

        if allowed is not None and torch.get_num_threads() > allowed:
            torch.set_num_threads(allowed)
        return
    cores = usable_cpus()
    if allowed is not None and allowed < len(cores):
        os.environ["OMP_NUM_THREADS"] = str(allowed)
    if len(cores) > 1 and not chosen_waiting(os.environ) and load.exists():
        _start_watching(load)


def chosen_waiting(environment: Mapping[str, str]) -> list[str]:
    """The variables by which the user has chosen how threads wait."""
    return [name for name in WAITING_VARIABLES if environment.get(name)]


# How many


def usable_cpus() -> Collection[int]:
    """The numbers of the CPUs that this process may run on; all, where the system has no such restriction."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def cpu_quota(cgroups: Path = PROCESS_CGROUPS, mounts: Path = CGROUPS) -> float | None:
    """How many cores' worth of time the control groups of this process allow; None for no limit.

    cgroups: lists the groups, one "number:controllers:path" a line.
    mounts: where the groups are folders; version 1 has one for each controller, version 2 one for all.
    A group is limited by those above it too. Inside a container the path may be that of the host, and the container's
    own limits lie at the top.
    """
    try:
        lines = cgroups.read_text().splitlines()
    except OSError:
        return None
    quotas: list[float | None] = []
    for line in lines:
        match line.split(":", 2):
            case [_, "", path]:
                quotas += map(_quota_v2, _folders((mounts, mounts / "unified"), path))
            case [_, controllers, path] if "cpu" in controllers.split(","):
                quotas += map(_quota_v1, _folders((mounts / controllers, mounts / "cpu"), path))
    return min((quota for quota in quotas if quota is not None), default=None)


def _folders(tops: Sequence[Path], path: str) -> list[Path]:
    """The folder of a group, and of all above it, wherever it is mounted."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [top.joinpath(*parts[:depth]) for top in tops for depth in range(len(parts) + 1)]


def _quota_v2(folder: Path) -> float | None:
    """cpu.max: microseconds in a period and the period, or "max" for no limit."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period) if quota != "max" and int(period) > 0 else None
    except (OSError, ValueError):
        return None


def _quota_v1(folder: Path) -> float | None:
    """cpu.cfs_quota_us and cpu.cfs_period_us; a quota of -1 is no limit."""
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 and period > 0 else None
    except (OSError, ValueError):
        return None


# How they wait


@cache
def _start_watching(load: Path) -> None:
    """Start the thread that looks at the load; once a process."""
    leave = threading.Event()
    watch = threading.Thread(target=watch_load, args=(leave, load), name="unstir-threads", daemon=True)
    watch.start()

    def end() -> None:
        leave.set()
        watch.join()

    # A thread that is inside torch while the interpreter goes away can take the process down with it.
    atexit.register(end)


def watch_load(leave: threading.Event, load: Path = SYSTEM_LOAD, interval: float = INTERVAL) -> None:
    """Shorten the spinning of OpenMP threads while other processes need the cores, until `leave` is set."""
    cores, idle = usable_cpus(), IdleTeams()
    before = busy_seconds(load, cores), time.process_time(), time.monotonic()
    while not leave.wait(interval):
        now = busy_seconds(load, cores), time.process_time(), time.monotonic()
        busy, ours, elapsed = (b - a for a, b in zip(before, now, strict=True))
        before = now
        if "torch" not in sys.modules:
            continue
        try:
            import torch  # where another thread is importing it, this waits for the end
        except ImportError:
            return
        missing = torch.get_num_threads() + (busy - ours) / elapsed - len(cores)
        if not idle.running and missing > SLEEP_ABOVE:
            idle.start(torch.get_num_threads(), len(cores))
        elif idle.running and missing < SPIN_BELOW:
            idle.stop()
    idle.stop()


def busy_seconds(load: Path, cores: Collection[int]) -> float:
    """Time that these CPUs have spent on anything since the system started, together.

    load: in the format of /proc/stat: "cpuN" and ticks for user, nice, system, idle, waiting for disks, two kinds of
    interrupts, and what a host has taken away. 0 where it cannot be read.
    """
    ticks = 0
    try:
        for line in load.read_text().splitlines():
            name, *counts = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
                user, nice, system, _idle, _waiting, *rest = map(int, counts[:8])
                ticks += user + nice + system + sum(rest)
    except (OSError, ValueError):
        return 0.0
    return ticks / os.sysconf("SC_CLK_TCK")


class IdleTeams:
    """OpenMP threads without work: as many teams as make the threads of this process more than its cores.

    Each team belongs to a thread of Python that has computed something once and waits; when that thread ends, so do
    its team's.
    """

    def __init__(self) -> None:
        self._end = threading.Event()
        self._owners: list[threading.Thread] = []

    @property
    def running(self) -> bool:
        return bool(self._owners)

    def start(self, threads: int, cores: int) -> None:
        """threads: of one team.  cores: to be exceeded, together with the team that computes."""
        if threads < 2:
            return  # alone, a thread waits for none
        self._end.clear()
        count = max(1, math.ceil((cores + 1 - threads) / (threads - 1)))
        self._owners = [threading.Thread(target=self._own, daemon=True) for _ in range(count)]
        for owner in self._owners:
            owner.start()

    def stop(self) -> None:
        self._end.set()
        for owner in self._owners:
            owner.join()
        self._owners = []

    def _own(self) -> None:
        import torch

        torch.zeros(1 << 17, dtype=torch.uint8).add_(1)  # large enough that torch shares it among a team
        self._end.wait()
