"""The stereo-* commands, one module each: read the arguments, make one library call, print.

Each command is a typer app with a `*_main` function, which `litestereo.cli` gathers for the entry
points. What is heavy is imported inside the command, so that `--help` is quick. Results go to
stdout, words to stderr; an error is one line and exit status 1 (2 for wrong usage), its traceback
is shown with --debug.
"""
