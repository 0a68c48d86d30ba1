# SPDX-License-Identifier: Apache-2.0
"""``hwquant verify`` on a bad day: the right answer or a clear error, never a stale green.

Every command here is the installed one, in a process of its own, on a cache of its own.  A run on
a sound kernel may end with exit code 0 and the right counts, or with 2 and one message; a run on a
kernel with a fault may end with 1 or 2, never with 0.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hw.generate import generate
from hwquant.mac import MacSpec
from sim import build, farm_top, toolchain

pytestmark = pytest.mark.sim

SPEC = MacSpec("e2m1", "int4", 2, 32, 9, "saturate")
PRODUCTS = 16 * 16
HWQUANT = Path(sys.executable).with_name("hwquant")


def command(target):
    return [str(HWQUANT), "verify", str(target), "--steps", "1024", "--json"]


def verify(target, cache, *, wrapper=(), preexec_fn=None, **environment):
    """Run the installed command on a folder, with its files below ``cache``."""
    return subprocess.run(
        [*map(str, wrapper), *command(target)],
        cwd=cache.parent,
        capture_output=True,
        text=True,
        preexec_fn=preexec_fn,
        env=os.environ | {"HWQUANT_CACHE": str(cache)} | environment,
    )


def green(done) -> bool:
    """Return whether a run passed; a pass must have compared everything, a failure be clear."""
    if done.returncode == 0:
        result = json.loads(done.stdout)
        assert (result["kernels"], result["products"], result["mismatches"]) == (1, PRODUCTS, 0)
        assert result["product_checks"] == 2 * PRODUCTS
        assert result["mac_steps"] >= 1024
        return True
    if done.returncode == 1:
        assert done.stdout, done.stderr
        assert json.loads(done.stdout)["mismatches"] > 0
    else:
        assert done.returncode == 2, done.stderr
        assert "hwquant: error: " in done.stderr
        assert done.stdout == ""
    return False


def break_rail(folder):
    """Put a fault into a generated kernel: the lower rail is -1."""
    path = folder / "hq_acc.sv"
    text = path.read_text()
    right = "{AccBits - 1{~wide[WideBits-1]}}"
    assert text.count(right) == 1
    path.write_text(text.replace(right, "{AccBits - 1{1'b1}}"))


@pytest.fixture
def rtl(tmp_path):
    return generate(SPEC, tmp_path / "rtl").folder


@pytest.fixture
def faulty(tmp_path):
    folder = generate(SPEC, tmp_path / "faulty").folder
    break_rail(folder)
    return folder


@pytest.fixture
def cache(tmp_path):
    """A cache that holds Verilator's compiled runtime and nothing else."""
    runtime = build._runtime(toolchain.find(), trace=False)
    folder = tmp_path / "cache"
    target = folder / runtime.parent.name / runtime.name
    target.mkdir(parents=True)
    for path in runtime.iterdir():  # links: nothing here writes into an entry
        os.link(path, target / path.name)
    return folder


def entry(cache) -> Path:
    (folder,) = (cache / "farm").iterdir()
    return folder


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


DAMAGE = {
    "program truncated": lambda e: os.truncate(e / farm_top.TOP, 10_000),
    "program emptied": lambda e: os.truncate(e / farm_top.TOP, 0),
    "one bit of the program": lambda e: flip(e / farm_top.TOP),
    "program missing": lambda e: (e / farm_top.TOP).unlink(),
    "seal emptied": lambda e: (e / build.SEAL).write_bytes(b""),
    "seal is binary": lambda e: (e / build.SEAL).write_bytes(b"\xff\xfe"),
    "a file too many": lambda e: (e / "extra").write_text(""),
    "a folder too many": lambda e: (e / "extra").mkdir(),
    "a file in place of the entry": lambda e: (shutil.rmtree(e), e.write_text("")),
    "a dead link in place of the entry": lambda e: (shutil.rmtree(e), e.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.usefixtures("private_cache")
def test_a_damaged_build_is_never_used_and_is_repaired(damage, capsys):
    def make(folder):
        (folder / farm_top.TOP).write_bytes(bytes(range(256)) * 64)

    folder = build._entry("farm", "key", make)
    for _ in range(2):  # the repaired one can break and be repaired as well
        DAMAGE[damage](folder)
        assert not build._intact(folder)
        assert build._entry("farm", "key", make) == folder
        assert "is damaged; building it again" in capsys.readouterr().err
        assert (folder / farm_top.TOP).read_bytes() == bytes(range(256)) * 64
        assert sorted(p.name for p in folder.iterdir()) == [farm_top.TOP, build.SEAL]
        assert list(folder.parent.iterdir()) == [folder]
    build._entry("farm", "key", make)
    assert capsys.readouterr().err == ""


def test_a_damaged_simulator_is_built_again(cache, rtl):
    assert green(verify(rtl, cache))
    flip(entry(cache) / farm_top.TOP)
    done = verify(rtl, cache)
    assert green(done)
    assert "is damaged; building it again" in done.stderr


def test_a_damaged_runtime_is_compiled_again(cache, rtl):
    (runtime,) = (cache / "verilator-runtime").iterdir()
    for path in runtime.iterdir():  # files of its own, not links
        raw = path.read_bytes()
        path.unlink()
        path.write_bytes(raw)
    flip(runtime / "libruntime.a")
    os.truncate(runtime / f"{build.HEADER}.gch", 1000)
    done = verify(rtl, cache)
    assert green(done)
    assert "is damaged; building it again" in done.stderr


def test_an_entry_of_another_kernel_cannot_pass_for_this_one(cache, rtl, faulty):
    """A sound simulator copied over a faulty one, its seal included, is not believed."""
    assert green(verify(rtl, cache))
    sound = entry(cache)
    assert verify(faulty, cache).returncode == 1
    (other,) = [e for e in (cache / "farm").iterdir() if e != sound]
    shutil.copy(sound / farm_top.TOP, other / farm_top.TOP)
    assert verify(faulty, cache).returncode == 1


def test_a_build_killed_at_any_time_leaves_the_next_run_right(cache, rtl, faulty):
    for wait in ("farm", "model", "unity.cc"):
        process = subprocess.Popen(
            command(rtl),
            cwd=cache.parent,
            env=os.environ | {"HWQUANT_CACHE": str(cache)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and not list(cache.rglob(wait)):
            time.sleep(0.002)
        assert process.poll() is None, "it ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not [e for e in (cache / "farm").glob("*") if not e.name.startswith(".")]
    left = list((cache / "farm").glob(".*"))
    assert left  # what a killed build leaves is never taken for a build
    assert green(verify(rtl, cache))
    for path in left:
        os.utime(path, (0, 0))
    assert verify(faulty, cache).returncode == 1
    assert not list((cache / "farm").glob(".*"))  # and is swept up after a day


def test_two_commands_at_once_on_an_empty_cache(tmp_path, rtl):
    cache = tmp_path / "empty"
    environment = os.environ | {"HWQUANT_CACHE": str(cache)}
    started = [
        subprocess.Popen(
            command(target),
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for target in (rtl, rtl)
    ]
    done = []
    for process in started:
        out, err = process.communicate()
        done.append(subprocess.CompletedProcess((), process.returncode, out, err))
    assert all(green(one) for one in done), [one.stderr for one in done]
    assert len(list((cache / "farm").iterdir())) == 1
    assert len(list((cache / "verilator-runtime").iterdir())) == 1


def without_superpowers():
    """Make file permissions count for root too: drop CAP_DAC_OVERRIDE for good."""
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, 1, 0, 0, 0):
        raise OSError("this root cannot drop its capabilities")


def make_read_only(cache):
    for path in [cache, *cache.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else path.stat().st_mode & 0o555)


def test_a_read_only_cache(cache, rtl, faulty):
    assert green(verify(rtl, cache))
    make_read_only(cache)
    probe = subprocess.run(["touch", cache / "x"], preexec_fn=without_superpowers)
    assert probe.returncode != 0  # it is read-only indeed
    try:
        assert green(verify(rtl, cache, preexec_fn=without_superpowers))  # what it holds is used
        done = verify(faulty, cache, preexec_fn=without_superpowers)
        assert done.returncode == 2
        assert "cannot be written" in done.stderr
        assert "HWQUANT_CACHE" in done.stderr
        assert not green(done)
    finally:
        for path in [cache, *cache.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
    assert verify(faulty, cache).returncode == 1


def test_a_file_where_the_cache_should_be(tmp_path, rtl):
    (tmp_path / "file").write_text("")
    done = verify(rtl, tmp_path / "file")
    assert done.returncode == 2
    assert "HWQUANT_CACHE" in done.stderr
    assert not green(done)


@pytest.mark.parametrize("kilobytes", [200, 20_000])
def test_files_that_cannot_grow(cache, rtl, faulty, kilobytes):
    """The kernel refuses to let any file grow beyond a size, as a disk quota does."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))

    done = verify(rtl, cache, preexec_fn=limit)
    assert green(done) == (kilobytes == 20_000), done.stderr
    assert not green(verify(faulty, cache, preexec_fn=limit))
    if kilobytes == 200:
        assert green(verify(rtl, cache))
        assert verify(faulty, cache).returncode == 1


def small_disk(folder, kilobytes, script=""):
    """Return a command prefix that mounts a disk of its own, of some size, on ``folder``."""
    folder.mkdir()
    mount = f"mount -t tmpfs -o size={kilobytes + 4}k tmpfs {folder}"
    wrapper = ("unshare", "-rm", "sh", "-c", f'{mount} {script} && exec "$@"', "sh")
    probe = subprocess.run([*wrapper, "true"], capture_output=True, text=True)
    assert probe.returncode == 0, f"a small disk cannot be mounted here: {probe.stderr}"
    return wrapper


@pytest.mark.parametrize("kilobytes", [0, 400, 100_000])
def test_a_full_disk_while_building(tmp_path, cache, rtl, faulty, kilobytes):
    disk = tmp_path / "disk"
    link = f"&& ln -s {cache}/verilator-runtime {disk}/verilator-runtime"
    wrapper = small_disk(disk, kilobytes, link)
    done = verify(rtl, cache, wrapper=wrapper, HWQUANT_CACHE=str(disk))
    assert green(done) or kilobytes < 100_000, done.stderr
    assert not green(done) or kilobytes > 0
    assert not green(verify(faulty, cache, wrapper=wrapper, HWQUANT_CACHE=str(disk)))


def test_a_full_disk_while_simulating(tmp_path, cache, rtl, faulty):
    """The simulators are there, but job, log and results have little room."""
    assert green(verify(rtl, cache))
    assert verify(faulty, cache).returncode == 1
    for kilobytes in (0, 8, 10_000):
        disk = tmp_path / f"disk{kilobytes}"
        wrapper = small_disk(disk, kilobytes)
        done = verify(rtl, cache, wrapper=wrapper, TMPDIR=str(disk))
        assert green(done) or kilobytes < 10_000, done.stderr
        assert not green(done) or kilobytes > 0
        assert not green(verify(faulty, cache, wrapper=wrapper, TMPDIR=str(disk)))


def test_an_edit_after_a_green_run_is_verified_again(cache, rtl):
    assert green(verify(rtl, cache))
    before = (rtl / "hq_acc.sv").read_text()
    stamp = (rtl / "hq_acc.sv").stat()
    break_rail(rtl)
    os.utime(rtl / "hq_acc.sv", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # times say nothing
    assert verify(rtl, cache).returncode == 1
    (rtl / "hq_acc.sv").write_text(before)
    assert green(verify(rtl, cache))


def test_another_spec_after_a_green_run_is_verified_again(cache, rtl):
    assert green(verify(rtl, cache))
    manifest = rtl / "manifest.json"
    record = json.loads(manifest.read_text())
    record["spec"]["overflow"] = "wrap"
    manifest.write_text(json.dumps(record))
    done = verify(rtl, cache)
    assert done.returncode == 1
    assert "was changed" in done.stderr


def test_another_reference_after_a_green_run_is_verified_again(cache, rtl, tmp_path):
    """The same cache and RTL, but a reference that saturates one too low."""
    assert green(verify(rtl, cache))
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "from hwquant.fixed import Fixed\n"
        "Fixed.max_int = property(lambda self: (1 << self.width - 1) - 2)\n"
    )
    assert verify(rtl, cache, PYTHONPATH=str(site)).returncode == 1
    assert green(verify(rtl, cache))


def keys_of(monkeypatch) -> list[str]:
    """Return the keys under which the runtime and one simulator would be looked up."""
    keys = []

    def look_up(kind, key, make):  # noqa: ARG001
        keys.append((kind, key))
        return Path()

    with monkeypatch.context() as patch:
        patch.setattr(build, "_entry", look_up)
        patch.setattr(build, "_RUNTIMES", {})
        toolchain._identity.cache_clear()
        build._runtime(toolchain.find(), trace=False)
        build.simulator({"a.sv": "module a; endmodule"}, "a", visible="")
    toolchain._identity.cache_clear()
    return keys


def test_another_compiler_or_verilator_or_cocotb_never_meets_an_old_build(monkeypatch, tmp_path):
    """The versions of the tools are part of every key."""
    before = keys_of(monkeypatch)
    assert [kind for kind, _ in before] == ["verilator-runtime", "farm"]
    assert keys_of(monkeypatch) == before
    upgraded = tmp_path / "g++-next"
    upgraded.write_text('#!/bin/sh\necho "g++ 99.1"\n')
    upgraded.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("CXX", str(upgraded))
        assert not set(keys_of(patch)) & set(before)
    for package in ("verilator", "cocotb"):
        with monkeypatch.context() as patch:
            installed = toolchain.version
            patch.setattr(
                toolchain, "version", lambda n, p=package, v=installed: v(n) + "x" * (n == p)
            )
            assert not set(keys_of(patch)) & set(before)
