"""What every counterpart shares: its command line, and an end in good order."""

import argparse
import os
import sys


class OneLine(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"error: {message}; --help lists the flags\n")


def quick():
    """Whether `--quick` was given. Any other flag ends the program with status 2."""
    about = sys.modules["__main__"].__doc__ or ""
    parser = OneLine(description=about.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="small sizes: a second or two")
    return parser.parse_args().quick


def run(main):
    """Runs `main`. A reader that goes away (`| head`) ends the program quietly, a full disk
    with one line and status 1, Ctrl-C with one line and status 130."""
    if sys.stdout:  # none when it was closed before the start
        sys.stdout = Stdout(sys.stdout)
    try:
        main()
        if sys.stdout:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


class Stdout:
    """Standard output whose errors end the program. They leave every `with` on the way: an
    executor ends its processes there."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        return self.attempt(self.stream.write, text)

    def flush(self):
        self.attempt(self.stream.flush)

    def attempt(self, operation, *arguments):
        try:
            return operation(*arguments)
        except OSError as error:
            # What is left goes nowhere: else it would fail once more when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())
            if isinstance(error, BrokenPipeError):
                sys.exit(0)
            print(f"Error: cannot write to stdout: {error.strerror}", file=sys.stderr)
            sys.exit(1)
