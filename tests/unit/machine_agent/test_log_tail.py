"""Reading an executor's log while it is written."""

from __future__ import annotations

from pathlib import Path

from machine_agent.log_tail import LogTail


def test_only_what_is_added_is_read_in_whole_lines(tmp_path: Path) -> None:
    """What stood there is left out; a line is told once it is whole, or when there will be no more."""
    path = tmp_path / "log.txt"
    path.write_text("before\n")
    tail = LogTail(path)
    with path.open("a") as file:
        file.write("one\ntw")
        file.flush()
        assert tail.read() == ["one"]
        file.write("o\nthree")
        file.flush()
        assert tail.read() == ["two"]
        assert tail.read() == []
        assert tail.last() == ["three"]
    assert tail.last() == []


def test_a_file_that_took_the_place_of_the_first_is_read_from_its_beginning(tmp_path: Path) -> None:
    """A restarted executor may begin a new file."""
    path = tmp_path / "log.txt"
    path.write_text("a long line of the first file\n")
    tail = LogTail(path)
    path.write_text("new\n")
    assert tail.read() == ["new"]


def test_what_a_terminal_would_do_is_taken_out(tmp_path: Path) -> None:
    """Progress bars, colours, NUL and broken text become plain text of a bounded length."""
    path = tmp_path / "log.txt"
    tail = LogTail(path)
    path.write_bytes(b"10%\r50%\r100%\r\n\x1b[31mred\x1b[0m\x00\n\xff\xfe\n" + b"x" * 5000 + b"\n")
    lines = tail.read()
    assert lines[:3] == ["100%", "red", "\ufffd\ufffd"]
    assert len(lines[3]) == 2000


def test_there_is_no_file(tmp_path: Path) -> None:
    """A log that does not exist yet reads as empty."""
    assert LogTail(tmp_path / "none").last() == []
