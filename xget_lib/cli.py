"""xget: copy a directory from one node of a cluster to thousands, at the speed of one link.

Usage:
  xget.py status [options] [-n HOST]
  xget.py [options] <path>
  xget.py [options] -n HOST <source>... <dest>

The first form prints the status of a master, or of the servers on this node. The second starts a master, which serves
the file or directory <path>. The third is a client: it downloads from the master and from other nodes, and then serves
what it has to other nodes, in the background.

<source> is a path below what the master serves; `.` is everything. <dest> is a directory. It is created if it does not
exist; its parent must exist.

Options:
  -n HOST, --host=HOST        host name or address of the master
  -p PORT, --port=PORT        TCP port of the master [default: 20004]
  --bind=ADDR                 listen on this address only (without it: on all addresses)
  -w N, --workers=N           master: number of worker processes (without it: one per processor, at least 2)
  -m N, --max-direct=N        master: send at most N chunks at the same time [default: 6]
  -r N, --retries=N           client: how often to request a chunk again when it arrives corrupted from the master
                              [default: 3]
  --timeout=SECONDS           how long to try to reach the master [default: 60]
  --linger=SECONDS            client: after the download, serve until no node has read for this long; `forever`: serve
                              until stopped; 0: serve during the download only [default: 300]
  --follow                    client: keep running, and update <dest> whenever the master's directory changes; it
                              runs until it is stopped, unless --linger is given
  --delete                    client: delete from <dest> what the master does not have
  --max-delete=LIMIT          client: remove nothing where --delete would remove more than LIMIT names, or more than a
                              percentage (such as 20%) of what is there, and at least 10 names [default: 50%]
  --checksum                  client: compare files by content, ignoring size and modification time
  --dry-run                   client: print what would be done, and change nothing
  -s, --no-permissions        client: do not preserve permissions
  -o, --no-owners             do not preserve owners and groups, and do not look up their names
  -x, --one-file-system       master: do not serve what is mounted below <path>
  --cache=DIR                 master: directory of the digest cache (without it: $XDG_CACHE_HOME/xget, or
                              /var/cache/xget for root, or ~/.cache/xget)
  --rehash                    master: ignore the digest cache, and hash all files
  --daemon                    master: go to the background when ready
  --pidfile=FILE              write the process ID of the server to FILE
  --log=FILE                  write the log to FILE (without it: stderr of a master, syslog in the background)
  --config=FILE               read options from FILE (TOML; the keys are the long option names)
  -q, --quiet                 print errors only; log warnings and errors only
  -v, --verbose               print more; log debug messages
  -D LEVEL, --debug=LEVEL     debug level of the log: 0 none, 1 debug messages, 2 also each 9P message [default: 0]
  --json                      print one JSON object per line on stdout
  -h, --help                  print this help
  --version                   print the version

Exit status: 0 success, 1 other failure, 2 usage error, 3 master not reached, 4 source not served, 5 content failed
verification, 6 destination cannot be written, 7 not admitted, 8 more would be removed than --max-delete allows,
130 or 143 interrupted.
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


class _NoUsageMatches(UsageError):
    """All options are valid, but the arguments match no form of the usage."""


def _parse(arguments: list[str], host: str | None = None) -> dict[str, Any]:
    """The arguments by name; `None` for an option that is not given. `host` is added as -n. Raises UsageError."""
    # docopt matches words from left to right without backtracking, so it cannot find the end of `<source>...`.
    usage = _DEFAULT.sub("", __doc__ or "").replace("<source>... <dest>", "<source> <dest>...")
    try:
        return dict(docopt.docopt(usage, ["-n", host, *arguments] if host else arguments, default_help=False))
    except docopt.DocoptExit as error:
        why = str(error).partition("\n")[0]
        if not why or why.startswith(("Usage", "Warning")):
            raise _NoUsageMatches("wrong number or combination of arguments (see --help)") from None
        raise UsageError(f"{printable(why)} (see --help)") from None


def _configure(arguments: list[str]) -> tuple[dict[str, Any], config.Config]:
    """The parsed command line, and the configuration made of it and of the file. Raises UsageError."""
    try:
        parsed = _parse(arguments)
        file = _read_file(parsed)
    except _NoUsageMatches:
        # If the file names a master, this is a client, as with -n.
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
    # docopt gives False for an absent flag; for `build` that must be None, so that the file can set it.
    given = {key: None if value is False else value for key, value in options.items()}
    return parsed, config.build({**dict.fromkeys(_flags(options), False), **defaults}, file, given)


def _read_file(parsed: dict[str, Any]) -> dict[str, Any]:
    path = parsed.get("--config")
    return {} if path is None else config.read_file(path)


def _flags(options: dict[str, Any]) -> list[str]:
    return [key for key, value in options.items() if isinstance(value, bool)]


def _defaults() -> list[tuple[str, str]]:
    """The defaults in the usage text, by long option name."""
    text = re.sub(r"\n {20,}", " ", __doc__ or "")
    found: list[tuple[str, str]] = re.findall(r"--([a-z-]+)=[^\n]*\[default: (\S+)\]", text)
    return found


def _run(arguments: list[str]) -> int:
    if "-h" in arguments or "--help" in arguments:
        return _print((__doc__ or "").strip())
    if "--version" in arguments:
        return _print(f"xget {__version__}")
    parsed, options = _configure(arguments)
    if parsed["--help"]:  # as --he, or within -qh
        return _print((__doc__ or "").strip())
    if parsed["--version"]:
        return _print(f"xget {__version__}")
    # Import a role only when it runs: importing gevent takes longer than everything here.
    if parsed["status"]:
        from xget_lib.control import status

        return status.run(options)
    if not parsed["<dest>"]:
        from xget_lib.master import start

        return start.run(
            options, os.fsencode(parsed["<path>"]), lambda channel, number: _work(options, channel, number)
        )
    from xget_lib.node import client

    *sources, dest = (os.fsencode(name) for name in (parsed["<source>"], *parsed["<dest>"]))
    return client.run(options, sources, dest)


def _work(options: config.Config, channel: Channel, number: int) -> int:
    """Run one worker process of a master. The nursery forks it before gevent is imported."""
    from xget_lib.worker import worker

    return worker.run(channel, number, options.debug)


def _print(text: str) -> int:
    print(text, flush=True)
    return Exit.OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status. An error is one line on stderr, never a traceback."""
    _open_standard_descriptors()
    try:
        return int(_run(list(sys.argv[1:] if arguments is None else arguments)))
    except XGetError as error:
        print(f"xget: {error}", file=sys.stderr)
        return int(error.exit_status)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output is gone; there is nobody to print an error for.
        _discard_output()
    except OSError as error:
        what = printable(error.filename) if isinstance(error.filename, str | bytes) else "failed"
        print(f"xget: {what}: {error.strerror or error}", file=sys.stderr)
        _discard_output()
    except Exception as error:
        logging.getLogger("xget").debug("internal error", exc_info=True)
        what = printable(f"{type(error).__name__}: {error}")
        print(f"xget: internal error: {what} (please report it; -D 1 logs a traceback)", file=sys.stderr)
    return int(Exit.FAILED)


def _open_standard_descriptors() -> None:
    """Open closed ones of stdin, stdout, stderr on /dev/null, so that no socket gets their number and our prints."""
    for descriptor, stream in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # open() takes the lowest free number, which is this one
            setattr(sys, stream, os.fdopen(descriptor, "w" if descriptor else "r", closefd=False))


def _discard_output() -> None:
    """Send stdout to /dev/null, so that the interpreter does not fail again when it flushes stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
