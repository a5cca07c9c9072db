"""xget: copy a directory from one node of a cluster onto thousands, at the speed of one link.

Usage:
  xget.py status [options] [-n HOST]
  xget.py [options] <path>
  xget.py [options] -n HOST <source>... <dest>

The first form says what a master (or the server on this node) is doing, the second serves a file or directory (the
master), the third downloads from a master and its other clients, and then serves on to others.

<source> is a path below what the master serves, `.` is all of it. <dest> is a directory; it is made if it is missing.

Options:
  -n HOST, --host=HOST        the master to download from (or to ask for its status)
  -p PORT, --port=PORT        the master's port [default: 20004]
  --bind=ADDR                 the address to listen on; otherwise all
  -w N, --workers=N           worker processes of a master; otherwise one a processor, at least 2
  -m N, --max-direct=N        chunks that the master has on their way at once [default: 6]
  -r N, --retries=N           how often to ask again for content that arrives wrong [default: 3]
  --timeout=SECONDS           how long to try to reach the master [default: 60]
  --linger=SECONDS            how long to serve others after their last read: seconds, or `forever`; 0 serves only
                              during the download [default: 300]
  --follow                    client: stay, and update <dest> whenever what the master serves changes; lingers for ever
                              where --linger says nothing else
  --delete                    client: remove from <dest> what the master does not have
  --checksum                  client: read what is in <dest>; do not believe sizes and times
  --dry-run                   client: say what would be done, and do nothing
  -s, --no-permissions        do not preserve permissions
  -o, --no-owners             no look-up of user names, and no ownership
  -x, --one-file-system       serve one file system only, and no mount below <path>
  --cache=DIR                 master: where to keep digests from one run to the next; otherwise $XDG_CACHE_HOME/xget,
                              or /var/cache/xget as root, or ~/.cache/xget
  --rehash                    master: do not believe the digests that are kept, hash everything
  --daemon                    master: go to the background when ready
  --pidfile=FILE              write the server's process number to FILE
  --log=FILE                  log to FILE; otherwise the master's stderr, or syslog in the background
  --config=FILE               read options from FILE (TOML, long option names)
  -q, --quiet                 print errors only
  -v, --verbose               print more
  -D LEVEL, --debug=LEVEL     debug messages in the log, 0 to 9 [default: 0]
  --json                      print one JSON object a line on stdout
  -h, --help                  print this text
  --version                   print the version

Exit status: 0 all is in place and verified, 1 failed, 2 usage, 3 master not reached, 4 source not served, 5 content
not verified, 6 destination refused, 7 not admitted, 130 or 143 interrupted.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import docopt

from xget_lib import __version__, config
from xget_lib.errors import Exit, UsageError, XGetError, printable

if TYPE_CHECKING:
    from xget_lib.process.channel import Channel

_DEFAULT = re.compile(r"\s*\[default: (\S+)\]")


class _FitsNoForm(UsageError):
    """The arguments are known, and yet fit none of the forms."""


def _parse(arguments: list[str], host: str | None = None) -> dict[str, Any]:
    """What stands on the command line; `None` for an option that does not. Raises UsageError."""
    # docopt takes words from left to right and gives none back, so it can't know where sources end.
    usage = _DEFAULT.sub("", __doc__ or "").replace("<source>... <dest>", "<source> <dest>...")
    try:
        return dict(docopt.docopt(usage, ["-n", host, *arguments] if host else arguments, default_help=False))
    except docopt.DocoptExit as error:
        why = str(error).partition("\n")[0]
        if not why or why.startswith(("Usage", "Warning")):
            raise _FitsNoForm("the arguments fit none of the forms (see --help)") from None
        raise UsageError(f"{printable(why)} (see --help)") from None


def _configure(arguments: list[str]) -> tuple[dict[str, Any], config.Config]:
    """The parsed command line and the configuration that it and the file make. Raises UsageError."""
    try:
        parsed = _parse(arguments)
        file = _read_file(parsed)
    except _FitsNoForm:
        # A master named in the file makes this a download, as `-n` would.
        try:
            parsed = _parse(arguments, "named in the file")
        except UsageError:
            parsed = {}
        file = _read_file(parsed)
        if "host" not in file:
            raise
        parsed["--host"] = None
    options = {key.removeprefix("--"): value for key, value in parsed.items() if key.startswith("--")}
    del options["config"], options["help"], options["version"]
    defaults: dict[str, Any] = dict(_defaults())
    defaults["workers"] = max(2, os.cpu_count() or 1)
    # docopt says False for a flag that is not there, and for the file that must be "not said".
    given = {key: None if value is False else value for key, value in options.items()}
    return parsed, config.build({**dict.fromkeys(_flags(options), False), **defaults}, file, given)


def _read_file(parsed: dict[str, Any]) -> dict[str, Any]:
    path = parsed.get("--config")
    return {} if path is None else config.read_file(path)


def _flags(options: dict[str, Any]) -> list[str]:
    return [key for key, value in options.items() if isinstance(value, bool)]


def _defaults() -> list[tuple[str, str]]:
    """The defaults that the usage text states, by long option name."""
    text = re.sub(r"\n {20,}", " ", __doc__ or "")
    found: list[tuple[str, str]] = re.findall(r"--([a-z-]+)=[^\n]*\[default: (\S+)\]", text)
    return found


def _run(arguments: list[str]) -> int:
    if "-h" in arguments or "--help" in arguments:
        return _print((__doc__ or "").strip())
    if "--version" in arguments:
        return _print(f"xget {__version__}")
    parsed, options = _configure(arguments)
    if parsed["--help"]:  # abbreviated, or among other letters
        return _print((__doc__ or "").strip())
    if parsed["--version"]:
        return _print(f"xget {__version__}")
    # A role is imported when it is played: gevent alone costs more than all of this module.
    if parsed["status"]:
        from xget_lib.control import status

        return status.run(options)
    if not parsed["<dest>"]:
        from xget_lib.master import main

        return main.run(options, os.fsencode(parsed["<path>"]), lambda channel, number: _work(options, channel, number))
    from xget_lib.node import client

    *sources, dest = (os.fsencode(name) for name in (parsed["<source>"], *parsed["<dest>"]))
    return client.run(options, sources, dest)


def _work(options: config.Config, channel: Channel, number: int) -> int:
    """A worker process of a master; the nursery forks it before gevent is imported."""
    from xget_lib.worker import worker

    return worker.run(channel, number, options.debug)


def _print(text: str) -> int:
    print(text, flush=True)
    return Exit.OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status. Failures are one line on stderr, never a traceback."""
    _open_standard_descriptors()
    try:
        return int(_run(list(sys.argv[1:] if arguments is None else arguments)))
    except XGetError as error:
        print(f"xget: {error}", file=sys.stderr)
        return int(error.exit_status)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output is gone, and needs no telling.
        _discard_output()
    except OSError as error:
        what = printable(error.filename) if isinstance(error.filename, str | bytes) else "failed"
        print(f"xget: {what}: {error.strerror or error}", file=sys.stderr)
        _discard_output()
    except Exception as error:
        logging.getLogger("xget").debug("internal error", exc_info=True)
        what = printable(f"{type(error).__name__}: {error}")
        print(f"xget: internal error: {what} (please report it; with -D 1 the log says where)", file=sys.stderr)
    return int(Exit.FAILED)


def _open_standard_descriptors() -> None:
    """Where the caller closed one of the first three, nothing may be opened there that prints then go into."""
    for descriptor, stream in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, stream, os.fdopen(descriptor, "w" if descriptor else "r", closefd=False))


def _discard_output() -> None:
    """What could not be written is not to be tried, and complained of, again by the interpreter when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
