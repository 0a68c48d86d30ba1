"""The cache and atomic writes: whole or absent, damage is found, nothing half-written stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from hwquant import atomic, cache
from hwquant.errors import CacheError, InputError
from hwquant.formats import parse


def test_key_depends_on_every_part_and_its_boundaries():
    assert cache.content_key("ab", "c") != cache.content_key("a", "bc")
    assert cache.content_key(b"x") != cache.content_key("x")
    assert cache.content_key({"a": 1, "b": 2}) == cache.content_key({"b": 2, "a": 1})
    assert cache.content_key(parse("e2m1")) == cache.content_key("e2m1")


def test_store_and_load(private_cache):
    assert cache.load_json("synthesis", "k") is None
    cache.store_json("synthesis", "k", {"lut_sites": 23})
    assert cache.load_json("synthesis", "k") == {"lut_sites": 23}
    assert cache.root() == private_cache


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw.replace(b"23", b"24"),
        lambda _: b"[]",
        lambda _: b"\xff\xfe",
        lambda _: b"",
    ],
    ids=["truncated", "changed", "other", "binary", "empty"],
)
@pytest.mark.usefixtures("private_cache")
def test_damage_is_reported_with_the_remedy(damage):
    cache.store_json("synthesis", "k", {"lut_sites": 23})
    path = cache.entry_path("synthesis", "k")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CacheError, match="delete it and run again"):
        cache.load_json("synthesis", "k")


def test_unwritable_cache_says_which_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("HWQUANT_CACHE", str(tmp_path / "file"))
    with pytest.raises(CacheError, match="HWQUANT_CACHE"):
        cache.store_json("synthesis", "k", 1)


def test_a_failing_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "model.onnx"
    atomic.write_text(target, "old")
    with pytest.raises(UnicodeEncodeError), atomic.atomic_file(target) as temporary:
        temporary.write_text("half" * 100_000 + "\udc80", encoding="utf-8")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    target = tmp_path / "rtl"
    for text in ("one", "two"):
        with atomic.atomic_folder(target) as temporary:
            (temporary / "a.sv").write_text(text)
    with pytest.raises(IsADirectoryError), atomic.atomic_folder(target) as temporary:
        temporary.write_text("a folder cannot be written as a file")
    assert (target / "a.sv").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["rtl"]


def test_a_killed_writer_leaves_no_target(tmp_path):
    program = (
        "import time\nfrom hwquant import atomic\n"
        f"with atomic.atomic_file({str(tmp_path / 'big.csv')!r}) as t:\n"
        "    t.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "big.csv").exists()


def test_unwritable_targets_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        atomic.write_text(tmp_path / "file" / "x.csv", "")
    with pytest.raises(InputError, match="it is a folder"):
        atomic.write_text(tmp_path, "")
    with (
        pytest.raises(InputError, match="a file of that name"),
        atomic.atomic_folder(tmp_path / "file"),
    ):
        pass
