"""What is left of an answer where disk or store fail while others are under way (test_faults.py fills a disk)."""

import errno

import pytest

from fino1.evaluate.journal import open_journal
from fino1.evaluate.store import StoreLost


class Lost:
    """A store that is away."""

    puts = 0

    def put(self, key, lines):
        self.puts += 1
        raise StoreLost("away")


def full(number):
    """A file's `write` that finds half a page's room at the number-th call, and room again once the reserve is gone."""
    from fino1.evaluate import journal

    calls, write = [], journal.os.write

    def limited(handle, data):
        calls.append(data)
        if len(calls) == number:
            write(handle, bytes(data)[:3])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data)

    return limited


def test_answers_under_way_go_into_the_room_that_was_reserved(tmp_path, monkeypatch):
    monkeypatch.setattr("fino1.evaluate.journal.os.write", full(2))
    path = tmp_path / "samples.jsonl"
    with pytest.raises(OSError, match="No space left"), open_journal(path, None, 9000) as journal:
        assert (tmp_path / ".samples.jsonl.reserve").stat().st_size == 9000
        journal.append(b"first\n")
        assert journal.failure is None
        journal.append(b"second\n")
        assert journal.failure is not None
        journal.append(b"under way\n")
    assert path.read_bytes() == b"first\nsecond\nunder way\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_second_full_disk_is_raised_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("fino1.evaluate.journal.os.write", full(1))
    with pytest.raises(OSError, match="No space left"), open_journal(tmp_path / "samples.jsonl", None) as journal:
        (tmp_path / ".samples.jsonl.reserve").unlink()
        journal.append(b"first\n")


def test_a_disk_without_the_room_is_told_before_anything_is_bought(tmp_path, monkeypatch):
    def fallocate(handle, offset, size):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr("fino1.evaluate.journal.os.posix_fallocate", fallocate)
    with pytest.raises(OSError, match="quota"), open_journal(tmp_path / "samples.jsonl", None):
        pytest.fail("opened")


def test_answers_that_the_store_does_not_get_are_on_the_disk(tmp_path):
    lost = Lost()
    with pytest.raises(StoreLost), open_journal(tmp_path / "samples.jsonl", lost) as journal:
        journal.append(b"first\n")
        journal.settle()
        assert isinstance(journal.failure, StoreLost)
        journal.append(b"under way\n")
    assert (tmp_path / "samples.jsonl").read_bytes() == b"first\nunder way\n"
    assert lost.puts == 1
