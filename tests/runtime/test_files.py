"""What may be written over: files, and those that symbolic links point to."""

import os

import pytest

from litestereo.errors import InputError
from litestereo.runtime.files import require_writable, write_atomic


def test_what_a_link_points_to_is_written(tmp_path):
    link, target = tmp_path / "latest", tmp_path / "elsewhere" / "a.txt"
    link.symlink_to(target)
    for content in (b"new", b"newer"):  # the target need not be there
        require_writable(link)
        assert write_atomic(link, content) == link
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_what_is_no_file_is_not_replaced(tmp_path):
    pipe, loop = tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for path in (pipe, loop):
        for refuse in (require_writable, lambda path: write_atomic(path, b"")):
            with pytest.raises(InputError, match=f"{path}: it is no regular file; name a file"):
                refuse(path)
    assert pipe.is_fifo()
