"""How a command refuses, for tests of what it checks first."""

__all__ = ["refused"]


def refused(capsys, main, *arguments):
    """Return the one line that a command leaves with, before it says anything else."""
    assert main([str(argument) for argument in arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line
