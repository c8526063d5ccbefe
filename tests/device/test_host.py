from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.device import host

ALLOWED = len(os.sched_getaffinity(0))


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "41 32 0:36 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:18 - cgroup cgroup rw,cpu,cpuacct\n"


def test_no_cgroups_leave_the_affinity(tmp_path: Path) -> None:
    assert host.available_cores(root=tmp_path) == ALLOWED


def test_affinity_limits_the_cores() -> None:
    one = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {one})
    try:
        assert host.available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """An affinity of eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.parametrize(("quota", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("30000 100000", 1), ("1 100000", 1), ("210000 70000", 3)])
def test_a_v2_quota_limits_the_cores_rounded_up(eight: None, tmp_path: Path, quota: str, cores: int) -> None:
    root = tree(
        tmp_path,
        {"proc/self/cgroup": "0::/app\n", "proc/self/mountinfo": V2_MOUNT, "sys/fs/cgroup/app/cpu.max": quota, "sys/fs/cgroup/cpu.max": "max 100000"},
    )
    assert host.available_cores(root=root) == cores


def test_a_quota_above_counts_too(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/outer/inner\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/outer/cpu.max": "100000 100000",
            "sys/fs/cgroup/outer/inner/cpu.max": "max 100000",
        },
    )
    assert host.available_cores(root=root) == 1


def test_a_generous_quota_changes_nothing(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2_MOUNT, "sys/fs/cgroup/cpu.max": "6400000 100000"})
    assert host.available_cores(root=root) == ALLOWED


@pytest.mark.parametrize(("quota", "cores"), [("100000", 1), ("-1", ALLOWED)])
def test_a_v1_quota(tmp_path: Path, quota: str, cores: int) -> None:
    files = {
        "proc/self/cgroup": "5:memory:/app\n4:cpu,cpuacct:/app\n",
        "proc/self/mountinfo": V1_MOUNT,
        "sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us": quota,
        "sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us": "100000",
    }
    assert host.available_cores(root=tree(tmp_path, files)) == cores


def test_in_a_container_the_group_is_what_is_mounted(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:cpu:/docker/abc\n",
        "proc/self/mountinfo": "41 32 0:36 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    assert host.available_cores(root=tree(tmp_path, files)) == 1


V1_CPUSET = "42 32 0:37 / /sys/fs/cgroup/cpuset rw,nosuid - cgroup cgroup rw,cpuset\n"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/app\n", "proc/self/mountinfo": V2_MOUNT, "sys/fs/cgroup/app/cpuset.cpus.effective": "2-4,7,90\n"}, 4),
        ({"proc/self/cgroup": "0::/app\n", "proc/self/mountinfo": V2_MOUNT, "sys/fs/cgroup/app/cpuset.cpus.effective": "\n"}, 8),
        ({"proc/self/cgroup": "3:cpuset:/app\n", "proc/self/mountinfo": V1_CPUSET, "sys/fs/cgroup/cpuset/app/cpuset.effective_cpus": "0,3\n"}, 2),
        ({"proc/self/cgroup": "3:cpuset:/app\n", "proc/self/mountinfo": V1_CPUSET, "sys/fs/cgroup/cpuset/cpuset.cpus": "0-0\n"}, 1),
        ({"proc/self/cgroup": "3:cpuset:/app\n", "proc/self/mountinfo": V1_CPUSET}, 8),
    ],
)
def test_a_cpuset_limits_the_cores(eight: None, tmp_path: Path, files: dict[str, str], cores: int) -> None:
    assert host.available_cores(root=tree(tmp_path, files)) == cores


def test_of_cpuset_and_quota_the_tighter_counts(eight: None, tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2_MOUNT, "sys/fs/cgroup/cpuset.cpus.effective": "0-3"}
    assert host.available_cores(root=tree(tmp_path, {**files, "sys/fs/cgroup/cpu.max": "250000 100000"})) == 3
    assert host.available_cores(root=tree(tmp_path, {**files, "sys/fs/cgroup/cpu.max": "700000 100000"})) == 4


@pytest.mark.parametrize(
    ("text", "cores"), [("0", {0}), ("0-2,5\n", {0, 1, 2, 5}), ("", set()), ("3-1", set()), ("-1", set()), ("0-99999999999", set())]
)
def test_a_list_of_cores(text: str, cores: set[int]) -> None:
    assert host.cpu_list(text) == cores


@pytest.mark.parametrize(
    ("group", "mount", "folder"),
    [
        ("/docker/abcdef", "/docker/abc /sys/fs/cgroup", "sys/fs/cgroup"),  # another group, whose name begins alike
        ("/../other", "/ /sys/fs/cgroup", "sys/fs/cgroup"),  # from a namespace that the group is outside of
        ("/docker/abc/app", "/docker/abc /sys/fs/cgroup", "sys/fs/cgroup/app"),
        ("/app", "/ /run/my\\040groups", "run/my groups/app"),
    ],
)
def test_the_group_is_found_where_it_is_mounted(eight: None, tmp_path: Path, group: str, mount: str, folder: str) -> None:
    where = {"proc/self/cgroup": f"0::{group}\n", "proc/self/mountinfo": f"30 23 0:26 {mount} rw - cgroup2 cgroup2 rw\n"}
    root = tree(tmp_path, {**where, f"{folder}/cpu.max": "200000 100000", f"{folder}/memory.max": "70000000"})
    assert (host.available_cores(root=root), host.memory_bytes(root=root)) == (2, 70_000_000)


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=30))
def test_nonsense_in_the_kernel_s_files_leaves_the_affinity_or_less(
    tmp_path_factory: pytest.TempPathFactory, group: str, mounts: str, quota: str
) -> None:
    encode = {"errors": "replace"}
    root = tmp_path_factory.mktemp("root")
    for name, text in (("proc/self/cgroup", "0::/\n" + group), ("proc/self/mountinfo", V2_MOUNT + mounts), ("sys/fs/cgroup/cpu.max", quota)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode(**encode))
    assert 1 <= host.available_cores(root=root) <= ALLOWED


X86 = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu sse2 {flags}\n\nprocessor\t: 1\n"


@pytest.mark.parametrize(("flags", "vnni"), [("avx2", False), ("avx2 avx512_vnni", True), ("avx2 avx_vnni", True)])
def test_vnni_is_read_from_cpuinfo(tmp_path: Path, flags: str, vnni: bool) -> None:
    root = tree(tmp_path, {"proc/cpuinfo": X86.format(flags=flags)})
    assert host.has_vnni(root=root) is vnni
    assert "avx2" in host.isa(root=root)


def test_arm_names_its_features_otherwise(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd0b\n"})
    assert host.isa(root=root) == ("asimd", "asimddp")
    assert not host.has_vnni(root=root)


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("model name\t: Some CPU @ 2 GHz\n", "Some CPU @ 2 GHz"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd08\n", "Cortex-A72"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xD0B\n", "Cortex-A76"),
        ("CPU implementer\t: 0x51\nCPU part\t: 0xd0b\n", None),  # the number means another core there
        ("CPU implementer\t: 0x41\nCPU part\t: 0xfff\n", None),
        ("model name\t: ARMv7 Processor rev 4 (v7l)\nCPU implementer\t: 0x41\nCPU part\t: 0xd03\n", "ARMv7 Processor rev 4 (v7l)"),
        ("", None),
    ],
)
def test_a_processor_is_named_by_its_name_or_an_arm_core_s_number(tmp_path: Path, lines: str, name: str | None) -> None:
    assert host.processor(root=tree(tmp_path, {"proc/cpuinfo": "processor\t: 0\n" + lines})) == name


@pytest.mark.parametrize(("x86", "vnni", "may"), [(True, False, True), (True, True, False), (False, False, False)])
def test_int8_may_saturate_on_x86_without_vnni_only(monkeypatch: pytest.MonkeyPatch, x86: bool, vnni: bool, may: bool) -> None:
    monkeypatch.setattr(host, "is_x86", lambda: x86)
    monkeypatch.setattr(host, "has_vnni", lambda: vnni)
    assert host.may_saturate() is may


def test_a_machine_that_tells_nothing_has_no_extensions(tmp_path: Path) -> None:
    assert host.isa(root=tmp_path) == ()
    assert host.memory_bytes(root=tmp_path) is None
    assert host.temperature_c(root=tmp_path) is None


def test_memory_is_the_tighter_of_machine_and_cgroup(tmp_path: Path) -> None:
    files = {"proc/meminfo": "MemTotal:        4096 kB\nMemFree: 1 kB\n", "proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2_MOUNT}
    assert host.memory_bytes(root=tree(tmp_path, files)) == 4096 * 1024
    tree(tmp_path, {"sys/fs/cgroup/memory.max": "1000000\n"})
    assert host.memory_bytes(root=tmp_path) == 1_000_000


V1_MEMORY = "43 32 0:38 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("limit", "said"), [("64000000\n", 64_000_000), ("9223372036854771712\n", 4096 * 1024 * 1024), ("garbage", 4096 * 1024 * 1024)]
)
def test_a_v1_limit_of_the_group_or_one_above(tmp_path: Path, limit: str, said: int) -> None:
    files = {"proc/meminfo": f"MemTotal: {4096 * 1024} kB\n", "proc/self/cgroup": "7:memory:/outer/app\n", "proc/self/mountinfo": V1_MEMORY}
    tree(tmp_path, {**files, "sys/fs/cgroup/memory/outer/app/memory.limit_in_bytes": "9223372036854771712\n"})
    assert host.memory_bytes(root=tree(tmp_path, {"sys/fs/cgroup/memory/outer/memory.limit_in_bytes": limit})) == said


def test_without_proc_meminfo_no_limit_is_no_memory(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "7:memory:/\n",
        "proc/self/mountinfo": V1_MEMORY,
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    }
    assert host.memory_bytes(root=tree(tmp_path, files)) is None


def test_without_sys_the_affinity_and_the_machine_count(eight: None, tmp_path: Path) -> None:
    """As where /sys isn't mounted, though /proc tells of groups."""
    files = {"proc/meminfo": "MemTotal: 4096 kB\n", "proc/self/cgroup": "0::/app\n2:cpu,memory:/app\n", "proc/self/mountinfo": V2_MOUNT + V1_MOUNT}
    root = tree(tmp_path, files)
    assert (host.available_cores(root=root), host.memory_bytes(root=root), host.temperature_c(root=root)) == (8, 4096 * 1024, None)


def test_the_hottest_sensor_counts(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone{}/temp"
    assert host.temperature_c(root=tree(tmp_path, {zone.format(0): "41000\n", zone.format(1): "55500\n", zone.format(2): "N/A"})) == 55.5


def test_describe_tells_of_this_machine() -> None:
    facts = host.describe()
    assert (facts.system, facts.machine) == (os.uname().sysname, os.uname().machine)
    assert 1 <= facts.cores <= facts.cores_online
    assert facts.memory_bytes is not None
    assert facts.memory_bytes > 1 << 20
