"""Atomic writes, JSON files, hashes and run records."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tension_lens.artifacts.files import atomic_write, read_json, require_writable, sha256_of_files, write_json
from tension_lens.artifacts.record import RunRecord, git_state, package_versions, plain
from tension_lens.errors import RequestError

CHECKOUT = Path(__file__).parents[2]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- atomic writes ---


def test_the_target_appears_whole_and_alone_when_the_body_ends(tmp_path):
    target = tmp_path / "new" / "folder" / "out.txt"
    with atomic_write(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(".tmp")
    assert target.read_text() == "half"
    assert names(target.parent) == ["out.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_body_that_raises_leaves_the_folder_as_it_was(error, old, tmp_path):
    target = tmp_path / "out.txt"
    if old is not None:
        target.write_text(old)
    with pytest.raises(error), atomic_write(target) as temporary:
        temporary.write_text("half of the new")
        raise error
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == ({} if old is None else {"out.txt": old})


def test_a_result_has_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "plain.txt").write_text("")
    with atomic_write(tmp_path / "out.txt") as temporary:
        temporary.write_text("")
    assert (tmp_path / "out.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


@pytest.mark.parametrize("old", [None, "the old result"])
def test_a_process_killed_while_it_writes_leaves_no_half_file_under_the_final_name(old, tmp_path):
    target = tmp_path / "scores.json"
    if old is not None:
        target.write_text(old)
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tension_lens.artifacts.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as temporary, open(temporary, 'w') as stream:\n"
        "    stream.write('half of the new')\n"
        "    stream.flush()\n"
        "    print('half written', flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "half written\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    process.stdout.close()
    assert (target.read_text() if target.exists() else None) == old
    leftovers = [path for path in tmp_path.iterdir() if path != target]
    assert [path.read_text() for path in leftovers] == ["half of the new"]
    # What a killed process leaves is hidden and not in the way of the next.
    write_json(target, {"a": 1})
    assert json.loads(target.read_text()) == {"a": 1}


def test_json_keeps_its_order_and_letters_and_reads_back(tmp_path):
    content = {"z": [1, None, 0.1], "a": "é ☃ \u2028", "m": {"deep": True}}
    write_json(tmp_path / "out.json", content)
    assert list(json.loads((tmp_path / "out.json").read_text("utf-8"))) == ["z", "a", "m"]
    assert read_json(tmp_path / "out.json", "thing") == content
    assert "é ☃" in (tmp_path / "out.json").read_text("utf-8")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_never_holds_what_is_no_json_number(number, tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "out.json", {"loss": number})
    assert names(tmp_path) == []


# --- reading ---


def test_json_that_is_missing_is_named_with_what_it_should_be(tmp_path):
    with pytest.raises(RequestError, match=r"neuron set .*nowhere\.json cannot be read: No such file"):
        read_json(tmp_path / "nowhere.json", "neuron set")
    with pytest.raises(RequestError, match="cannot be read: Is a directory"):
        read_json(tmp_path, "neuron set")


@pytest.mark.parametrize(("content", "where"), [(b'{\n"a": 1,\n"b" 2}', "line 3"), (b'{"a": "\xff"}', "not JSON")])
def test_invalid_json_is_named_with_its_line(content, where, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RequestError, match=rf"card .*a\.json.*{where}"):
        read_json(tmp_path / "a.json", "card")


def test_looking_whether_a_folder_is_writable_makes_nothing(tmp_path):
    require_writable(tmp_path / "a" / "b")
    assert names(tmp_path) == []


@pytest.mark.parametrize("under", ["", "folder", "a/b/c"])
def test_a_file_in_the_way_of_the_output_folder_is_found_beforehand(under, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RequestError, match=r"output folder .*file.* is not writable"):
        require_writable(tmp_path / "file" / under)
    assert (tmp_path / "file").read_text() == "mine"


# --- provenance ---


def test_the_hash_of_files_is_that_of_their_content_in_the_order_of_their_names(tmp_path):
    large = os.urandom((1 << 22) + 5)
    (tmp_path / "b.bin").write_bytes(large)
    (tmp_path / "a.bin").write_bytes(b"first")
    expected = hashlib.sha256(b"first" + large).hexdigest()
    assert sha256_of_files([tmp_path / "b.bin", tmp_path / "a.bin"]) == expected
    assert sha256_of_files([tmp_path / "a.bin", tmp_path / "b.bin"]) == expected


def test_the_git_state_is_that_of_this_checkout():
    def ask(*arguments):
        return subprocess.run(["git", "-C", str(CHECKOUT), *arguments], capture_output=True, text=True, check=False)

    if ask("ls-files", "--error-unmatch", "tension_lens/artifacts/record.py").returncode:
        assert git_state() == {"commit": None, "dirty": None}
    else:
        state = git_state()
        assert state["commit"] == ask("rev-parse", "HEAD").stdout.strip()
        assert state["dirty"] is bool(ask("status", "--porcelain").stdout.strip())


# --- run records ---


@dataclass(frozen=True)
class SomeConfig:
    out: Path
    top: float = 10.0
    base: str | None = None


def some_record(**changes):
    settings = {
        "command": "tension_lens.score",
        "config": plain(SomeConfig(Path("a/b"))),
        "resolved": {"device": "cpu"},
        "weights_sha256": "w",
        "data_sha256": "d",
        "template": "{prompt}{response}",
        "pooled_token": "last",
        "counts": {"kept": 3},
        "parity": 1e-7,
        "seconds": 1.5,
        "tokens_per_second": 20.0,
    }
    return RunRecord(**{**settings, **changes})


def test_a_record_holds_what_was_asked_read_and_run(tmp_path):
    some_record().save(tmp_path / "run.json")
    found = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert found["config"] == {"out": "a/b", "top": 10.0, "base": None}
    assert found["counts"] == {"kept": 3}
    assert found["versions"] == package_versions()
    assert set(found["git"]) == {"commit", "dirty"}
