"""The number of threads and their waiting: limits of cgroups, the user's own settings, spinning beside others."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from unstir import threads
from unstir.threads import (
    NUMBER_VARIABLES,
    WAITING_VARIABLES,
    IdleTeams,
    busy_seconds,
    chosen_waiting,
    configure_threads,
    cpu_quota,
)

UNSET = dict.fromkeys((*NUMBER_VARIABLES, *WAITING_VARIABLES))
several_cores = pytest.mark.skipif(len(threads.usable_cpus()) < 2, reason="one core")
linux = pytest.mark.skipif(not threads.SYSTEM_LOAD.exists(), reason="the system does not say how busy it is")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def run(code, *arguments, timeout=120, **variables):
    """The lines that a fresh interpreter prints. variables: None is unset."""
    environment = {name: value for name, value in (os.environ | UNSET | variables).items() if value is not None}
    call = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


# Limits of control groups


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/user/app\n", {"user/cpu.max": "400000 100000", "user/app/cpu.max": "max 100000"}, 4),
        ("0::/user/app\n", {"user/cpu.max": "400000 100000", "user/app/cpu.max": "200000 100000"}, 2),
        ("0::/../../other\n", {"cpu.max": "300000 100000"}, 3),
        ("1:name=systemd:/\n0::/a:b\n", {"unified/a:b/cpu.max": "100000 50000"}, 2),
        ("3:cpu,io:/\n", {"cpu,io/cpu.cfs_quota_us": "250000\n", "cpu,io/cpu.cfs_period_us": "100000"}, 2.5),
        ("3:cpu:/docker/4f\n", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ("3:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, None),
        ("3:cpuset:/a\n", {"cpuset/a/cpu.cfs_quota_us": "100000", "cpuset/a/cpu.cfs_period_us": "100000"}, None),
        ("0::/\n", {"cpu.max": ""}, None),
        ("0::/\n", {"cpu.max": "100000 0"}, None),
        ("0::/\n", {"cpu.max": "much more"}, None),
        ("nonsense\n\n", {}, None),
    ],
)  # fmt: skip
def test_the_quota_of_control_groups(tmp_path, groups, files, quota):
    for name, text in files.items():
        write(tmp_path / "fs" / name, text)
    assert cpu_quota(write(tmp_path / "cgroup", groups), tmp_path / "fs") == quota


def test_without_control_groups(tmp_path):
    assert cpu_quota(tmp_path / "missing", tmp_path) is None


# The number of threads

NUMBER = """
import os, sys
from pathlib import Path
from unstir.threads import configure_threads
cgroups, mounts = map(Path, sys.argv[1:])
configure_threads(cgroups, mounts, Path("no such file"))
print(os.environ.get("OMP_NUM_THREADS"))
"""
THREADS = "import torch; print(torch.get_num_threads())"


@pytest.fixture
def one_core(tmp_path):
    """Files that allow the process half a core more than one: where they lie, and where groups are mounted."""
    write(tmp_path / "fs" / "cpu.max", "150000 100000")
    return write(tmp_path / "cgroup", "0::/\n"), tmp_path / "fs"


@several_cores
def test_no_more_threads_than_the_cgroup_allows(one_core):
    assert run(NUMBER + THREADS, *one_core) == ["1", "1"]


def test_a_wide_limit_changes_nothing(tmp_path):
    write(tmp_path / "fs" / "cpu.max", "100000000 100000")
    assert run(NUMBER, write(tmp_path / "cgroup", "0::/\n"), tmp_path / "fs") == ["None"]


@several_cores
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_the_number_that_the_user_has_chosen(one_core, name):
    assert run(NUMBER, *one_core, **{name: "2"}) == ["2" if name == "OMP_NUM_THREADS" else "None"]


@several_cores
def test_torch_is_imported_already(one_core, monkeypatch):
    """Then somebody else's program runs: no variable is set, and only threads beyond the quota go."""
    for name in NUMBER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    cgroups, mounts = one_core
    before, environment, running = torch.get_num_threads(), dict(os.environ), threading.enumerate()
    try:
        torch.set_num_threads(2)
        write(mounts / "cpu.max", "max 100000")
        configure_threads(cgroups, mounts)
        assert torch.get_num_threads() == 2
        write(mounts / "cpu.max", "150000 100000")
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        configure_threads(cgroups, mounts)
        assert torch.get_num_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS")
        configure_threads(cgroups, mounts)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert {name: value for name, value in os.environ.items() if name not in NUMBER_VARIABLES} == {
        name: value for name, value in environment.items() if name not in NUMBER_VARIABLES
    }
    assert threading.enumerate() == running


# How threads wait


@pytest.mark.parametrize(
    ("environment", "chosen"),
    [
        ({"OMP_WAIT_POLICY": "passive"}, ["OMP_WAIT_POLICY"]),
        ({"GOMP_SPINCOUNT": "0"}, ["GOMP_SPINCOUNT"]),
        ({"KMP_BLOCKTIME": "1", "PATH": "/bin"}, ["KMP_BLOCKTIME"]),
        ({"KMP_AFFINITY": "compact", "KMP_DUPLICATE_LIB_OK": "TRUE", "GOMP_CPU_AFFINITY": "0 1"}, []),
        ({"OMP_WAIT_POLICY": "", "OMP_NUM_THREADS": "4", "PATH": "/bin", "MY_GOMP_CPU": "1"}, []),
    ],
)
def test_the_waiting_that_the_user_has_chosen(environment, chosen):
    assert chosen_waiting(environment) == chosen


def test_time_that_the_cpus_were_busy(tmp_path):
    tick = 1 / os.sysconf("SC_CLK_TCK")
    stat = write(
        tmp_path / "stat",
        "cpu  30 0 0 900 0 0 0 0 0 0\ncpu0 1 2 4 8 16 32 64 128 256 512\ncpu1 1000 0 0 50 0 0 0 0 0 0\n"
        "cpu10 5 0 0 0 0 0 0 0 0 0\nintr 55 1 2\nctxt 99\n",
    )
    assert busy_seconds(stat, {0}) == pytest.approx((1 + 2 + 4 + 32 + 64 + 128) * tick)
    assert busy_seconds(stat, range(2)) == pytest.approx((231 + 1000) * tick)
    assert busy_seconds(stat, {10}) == pytest.approx(5 * tick)
    assert busy_seconds(write(tmp_path / "other", "cpu0 what is this"), {0}) == 0
    assert busy_seconds(tmp_path / "missing", {0}) == 0


@linux
@several_cores
def test_idle_teams_come_and_go():
    def native():
        return len(list(Path("/proc/self/task").iterdir()))

    torch_threads = torch.get_num_threads()
    teams = IdleTeams()
    try:
        torch.set_num_threads(2)
        torch.zeros(1 << 17).add_(1)  # the first computation of a process starts what torch needs otherwise
        before = native()
        teams.start(threads=2, cores=2)
        assert teams.running
        deadline = time.monotonic() + 30
        while native() < before + 2 and time.monotonic() < deadline:  # its owner, and a second thread
            time.sleep(0.01)
        assert native() == before + 2
    finally:
        teams.stop()
        torch.set_num_threads(torch_threads)
    assert not teams.running
    deadline = time.monotonic() + 30
    while native() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert native() == before


def test_one_thread_needs_no_teams():
    teams = IdleTeams()
    teams.start(threads=1, cores=2)
    assert not teams.running


WAITING = """
import sys, threading, time
from pathlib import Path
from unstir import threads
load, busy = Path(sys.argv[1]), 0

def elapse(share):
    "Write what the system says after others have used this share of every core for a while."
    global busy
    for _ in range(20):
        time.sleep(0.05)
        busy += share * 5
        write()

def write():
    lines = [f"cpu{cpu} {round(10_000 + own() + busy)} 0 0 0 0 0 0 0" for cpu in cores]
    beside = load.with_name("new")
    beside.write_text("\\n".join(lines))
    beside.replace(load)

def own():
    return time.process_time() * 100 / len(cores)

def spun():
    "Processor time of a short wait after each of twenty parallel computations, in milliseconds."
    before = time.process_time()
    for _ in range(20):
        x.add_(1)
        time.sleep(0.01)
    return (time.process_time() - before) * 1000

cores = threads.usable_cpus()
write()
threads.configure_threads(load=load)
import torch
x = torch.zeros(40_000)
for share in (0, 1, 0):
    elapse(share)
    print(round(spun()))
    print(*sorted(thread.name.split("-")[0] for thread in threading.enumerate()))
"""


@linux
@several_cores
def test_threads_spin_on_an_idle_machine_and_sleep_beside_others(tmp_path):
    idle, _, beside, names, again, _ = run(WAITING, tmp_path / "stat")
    assert "unstir" in names
    assert int(beside) < 0.5 * int(idle)
    assert int(again) > 2 * int(beside)


NAMES = """
import threading, unstir.threads
unstir.threads.configure_threads()
print(*sorted(thread.name for thread in threading.enumerate()))
"""


@linux
@several_cores
def test_nothing_watches_where_the_user_has_chosen():
    assert run(NAMES) == ["MainThread unstir-threads"]
    assert run(NAMES, OMP_WAIT_POLICY="passive") == ["MainThread"]
    assert run(NAMES, GOMP_SPINCOUNT="0") == ["MainThread"]


def test_the_results_are_the_same_bits_either_way():
    """Teams that idle change how threads wait, and not which part of a sum is whose."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(300, 300, generator=generator) for _ in range(2))
    x = torch.randn(400_000, generator=generator)

    def results():
        return a @ b, x.sum(), torch.nn.functional.layer_norm(a, [300])

    teams, torch_threads = IdleTeams(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        before = results()
        teams.start(threads=2, cores=2)
        after = results()
    finally:
        teams.stop()
        torch.set_num_threads(torch_threads)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_importing_and_configuring_imports_no_torch():
    code = (
        "import sys, unstir.threads as t; t.configure_threads(); print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    assert run(code) == ["False False"]
