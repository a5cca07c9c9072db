"""xget: copy a directory from one node of a cluster to thousands, at the speed of one link.

Usage:
  xget.py [options] <path>
  xget.py [options] -n HOST <source>... <dest>
  xget.py status [options] [-n HOST] [<what>...]
  xget.py list [options] -n HOST [<source>]
  xget.py stop [options] [<what>...]
  xget.py reload [options]
  xget.py sign [options] <path>
  xget.py config [options] [<argument>...]
  xget.py doctor [options] [-n HOST] [<path>]

Examples:
  head node:  xget.py /srv/images
  each node:  xget.py -n head . /var/lib/images

The first form starts a master, which serves the file or directory <path>. The second is a client: it downloads from the
master and from other nodes, and then serves what it has to other nodes, in the background. <source> is a path below
what the master serves; `.` is everything. <dest> is a directory. It is created if it does not exist; its parent must
exist.

status shows the masters and clients of this machine, or with -n a master and all its nodes. list shows what a master
serves. stop ends masters and clients of this machine. reload tells the master of this machine to scan its directory
now, and ends when that is done; if it is the only master, it needs no -p. sign signs a file or directory, so that
clients can tell that it comes from you (--trust). config prints what holds for the rest of the command line, and where
each value comes from. The arguments of a master and of a client can also stand in the file of --config. <what> chooses
processes of this machine: a role (master, client, download, child, follower), a port, or the path that is served or
downloaded to.

doctor finds out what may be wrong. With -n HOST it examines what a client of that master needs: the network, the
master, two other nodes, and the destination <path>. Without it, it examines this machine, and the directory <path> that
a master is to serve. It changes nothing. For each problem it says what to do. The exit status is 0 if there is none, or
else that with which a client would end.

Connection options:
  -n HOST, --host=HOST        client, status, list, doctor: host name or address of the master, also as HOST:PORT and
                              [ADDRESS]:PORT
  -p PORT, --port=PORT        TCP port of the master [default: 20004]
  --bind=ADDR                 master, client, doctor: listen on this address only (without it: on all addresses)
  --ports=FIRST-LAST          client, doctor: serve on the first free port from FIRST to LAST, for a firewall that lets
                              these through; two for each destination (without it: on any free port)
  --config=FILE               read options from FILE (TOML; the keys are the long option names) instead of
                              /etc/xget/xget.toml, which is read if it exists; --config= reads none
  --role=ROLE                 master, client, doctor: what this is, where FILE has the arguments of both: master or
                              client

Download options:
  --follow                    client: keep running, and update <dest> whenever the master's directory changes; it runs
                              until it is stopped, unless --linger is given
  --linger=SECONDS            client: after the download, serve until no node has read for this long; `forever`: serve
                              until stopped; 0: serve during the download only [default: 300]
  --delete                    client: delete from <dest> what the master does not have
  --max-delete=LIMIT          client: remove nothing where --delete would remove more than LIMIT names, or more than a
                              percentage (such as 20%) of what is there, and at least 10 names or more than the master
                              has [default: 50%]
  --exclude=PATTERN           master, client, sign: leave out what matches, in the language of rsync: a name, /name,
                              dir/, *.o, a/**/b; `+ PATTERN` keeps what matches, and the first that matches decides;
                              on a client, --delete keeps it too; may be repeated
  --checksum                  client: compare files by content, ignoring size and modification time
  --dry-run                   client: print what would be done, and change nothing
  -r N, --retries=N           client: how many times to request a chunk from the master again if it arrives corrupted
                              [default: 3]
  --timeout=SECONDS           client, status, list, reload, stop, doctor: how long to wait for a master, or a process,
                              that does not answer [default: 60]
  --rate=BYTES                client, doctor: receive no more content than this in a second, such as 500K, 20M or 1.5G;
                              K is 1024 (without it: as fast as possible)
  --rate-up=BYTES             master, client: send no more content than this in a second, to all together
  --stall-timeout=SECONDS     client: how long to go on without progress while the master answers [default: 60]

Preservation options:
  -s, --no-permissions        client, doctor: do not preserve permissions
  -o, --no-owners             master, client, sign, doctor: do not preserve owners and groups, and do not look up their
                              names
  --no-devices                client, doctor: do not create devices; -s and -o imply it
  --no-set-id                 client, doctor: do not set set-user-ID and set-group-ID bits and capabilities; -s and -o
                              imply it
  --insecure-dest             client, doctor: write to <dest> as root, even if other users can change it or a directory
                              above it

Master options:
  -w N, --workers=N           master, doctor: number of worker processes (without it: one per processor, at least 2)
  -m N, --max-direct=N        master: send at most N chunks at the same time [default: 6]
  -x, --one-file-system       master, sign: do not serve what is mounted below <path>
  --public-only               master, sign: leave out files that not every user of this machine may read
  --user=NAME                 master, doctor: become this user, and keep only the power to read the files that are
                              served
  --cache=DIR                 master, doctor: directory of the digest cache (without it: $XDG_CACHE_HOME/xget, or
                              ~/.cache/xget, or /var/cache/xget for root and users without a home)
  --rehash                    master: ignore the digest cache, and hash all files

Security options:
  --secret=FILE               master, client, status, list, doctor: let in, and trust, only who has the same secret;
                              FILE has a key in each line: the first is used, all are accepted (without it: the
                              credential xget-secret of systemd, if there is one)
  --auth=METHODS              master, client, status, list, doctor: how to prove that one belongs: secret, munge, or
                              both; the first that the other side accepts is used (without it: secret, if there is one)
  --munge-users=USERS         master, client, status, list, doctor: names or uids of those who belong, with MUNGE
                              (without it: root, and the user of this command)
  --munge-socket=PATH         master, client, status, list, doctor: the socket of munged (without it: that of the
                              library)
  --tls                       master, client, status, list, doctor: encrypt all connections, with TLS 1.3, and accept no
                              others; it needs --secret, --auth or --tls-ca
  --tls-cert=FILE             master, client, status, list, doctor: the certificate of this machine, in PEM (without it:
                              each process makes one, which the secret confirms)
  --tls-key=FILE              master, client, status, list, doctor: its private key (without it: it is in the file of
                              the certificate)
  --tls-ca=FILE               master, client, status, list, doctor: accept only certificates of these authorities, from
                              both sides
  --open=TREES                master, client: serve these of files, classic, swarm and page (--http) without a proof and
                              TLS too
  --open-to=NETWORKS          master, client: but only to these networks, such as 127.0.0.0/8,::1 (without it: to all)
  --socket=PATH               client: serve the user of this command, and root, on a Unix socket too, without the
                              secret (mount -t 9p -o trans=unix PATH)
  --allow=NETWORKS            master, client, doctor: only addresses in these networks, such as 192.0.2.0/24,::1, may
                              connect; a client connects only to these, apart from the master (without it: to all)

Monitoring options:
  --http=ADDR                 master, client: serve a status page, metrics for Prometheus, and the same as JSON at this
                              address, such as 127.0.0.1:8004; it asks for no password

Signature options:
  --key=FILE                  sign: the private key (Ed25519, PEM)
  --serial=N                  sign: the serial, higher than that of every generation that was signed before (without
                              it: the time, in seconds since 1970)
  --signature=FILE            master, sign: what is signed (without it: xget.sig, in the directory that <path> is in)
  --sign-key=FILE             master, doctor: sign each generation with this private key
  --signed-only               master: serve only generations that are signed, and the former one until then
  --trust=FILE                client, doctor: take only generations that one of the public keys in FILE has signed, and
                              none with a lower serial than <dest> has had
  --allow-rollback            client: with --trust, take a generation with a lower serial too

Command options:
  --expect=NODES              status: exit with 0 only if all these nodes have what the master serves now: names or
                              addresses, separated by commas, or a set of ClusterShell such as node[1-8]
  --tree                      status: print who got most from whom
  --watch                     status: print it again every two seconds, until it is stopped, or all nodes of --expect
                              have it
  --all                       stop: stop all processes that are meant, not one only
  --force                     reload: serve what is there now, even if it looks as if a file system is not mounted

Output options:
  --daemon                    master: go to the background when ready
  --pidfile=FILE              master, client: write the process ID of the server to FILE
  --log=FILE                  master, client: write the log to FILE (without it: stderr of a master, syslog in the
                              background)
  --log-format=FORMAT         master, client: form of the log: plain, json (an object in each line), or journal (entries
                              of systemd's journal, with fields) [default: plain]
  -q, --quiet                 master, client, reload, stop, sign, doctor: print errors only; log warnings and errors
                              only
  -v, --verbose               master, client, status: print more; log debug messages
  -D LEVEL, --debug=LEVEL     master, client: debug level of the log: 0 none, 1 debug messages, 2 also each 9P message
                              [default: 0]
  --json                      client, status, list, reload, stop, sign, config, doctor: print one JSON object per line
                              on stdout
  -h, --help                  print this help
  --version                   print the version
Exit status: 0 success, 1 other failure, 2 usage error, 3 master not reached, 4 source not served, 5 content failed
verification, 6 destination cannot be written, 7 not admitted, 8 refused for safety, 130 or 143 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from xget_lib import settings, version
from xget_lib.config import Config
from xget_lib.errors import Exit, XGetError, printable, program
from xget_lib.process.null import open_null
from xget_lib.report import events, output
from xget_lib.settings import Settings
from xget_lib.usage import DOCTOR, MASTER, Parsed, Usage

if TYPE_CHECKING:
    from xget_lib.net.sending_hosts import SendingHosts
    from xget_lib.ninep.auth import Tls
    from xget_lib.process.channel import Channel


def _run(usage: Usage, parsed: Parsed) -> int:
    if "help" in parsed.options:
        return _print((__doc__ or "").strip().replace("xget.py", program()))
    if "version" in parsed.options:
        return _print(f"xget {version.full_version()}")
    if settings.is_shown(parsed):
        from xget_lib.control import show_config

        return show_config.run(settings.shown(usage, parsed), as_json="json" in parsed.options)
    command = settings.read(usage, parsed)
    # Import a role only when it runs: importing gevent takes longer than everything here.
    names = [os.fsencode(name) for name in command.words]
    if command.role == DOCTOR:
        from xget_lib.doctor import examination

        path = names[1] if len(names) > 1 else None
        return examination.run(command.config, path, command.about, command.file, usage)
    if command.role in usage.commands:
        return _run_command(command, names)
    if command.role == MASTER:
        from xget_lib.master import start
        from xget_lib.net.sending_hosts import SendingHosts

        work = partial(_work, command.config, SendingHosts(command.config.workers, command.config.rate_up))
        return start.run(command.config, names[0], work)
    from xget_lib.node import foreground

    return foreground.run(command.config, names[:-1], names[-1])


def _run_command(command: Settings, names: list[bytes]) -> int:
    match command.role:
        case "status":
            from xget_lib.control import status

            return status.run(command.config, command.words[1:])
        case "stop":
            from xget_lib.control import stop

            return stop.run(command.config, command.words[1:])
        case "reload":
            from xget_lib.control import reload

            return reload.run(command.config, port_is_given=command.sources["port"].kind != settings.DEFAULT)
        case "list":
            from xget_lib.control import listing

            return listing.run(command.config, names[1] if len(names) > 1 else b".")
        case _:
            from xget_lib.control import sign

            return sign.run(command.config, names[1])


def _work(options: Config, sending: SendingHosts, channel: Channel, number: int, tls: Tls | None) -> int:
    """Run one worker process of a master. The nursery forks it before gevent is imported.

    It imports the worker from the disk. One of another version would not understand its master, or only seem to.
    """
    if (other := version.replaced_by()) is not None:
        logging.getLogger("xget").error("XGet %s was replaced by %s: restart the master", version.RUNNING, other)
        return Exit.FAILED
    from xget_lib.worker import worker

    return worker.run(channel, number, options, sending, tls)


def _print(text: str) -> int:
    print(text, flush=True)
    return Exit.OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status. An error is one line on stderr, never a traceback."""
    _open_standard_descriptors()
    output.accept_all_characters()
    usage = Usage(__doc__ or "")
    parsed = usage.parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return int(_run(usage, parsed))
    except XGetError as error:
        return _failed(str(error), error.exit_status, parsed)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output is gone; there is nobody to print an error for.
        output.discard(sys.stdout)
        return int(Exit.FAILED)
    except OSError as error:
        output.discard(sys.stdout)
        what = printable(error.filename) if isinstance(error.filename, str | bytes) else "failed"
        return _failed(f"{what}: {error.strerror or error}", Exit.FAILED, parsed)
    except Exception as error:
        logging.getLogger("xget").debug("internal error", exc_info=True)
        what = f"internal error: {type(error).__name__}: {error} (please report it; -D 1 logs a traceback)"
        return _failed(what, Exit.FAILED, parsed)


def _failed(message: str, status: Exit, parsed: Parsed) -> int:
    """Report an error that ends the command; with --json also as events, and to a service manager that waits for it."""
    if os.environ.get("NOTIFY_SOCKET"):
        from xget_lib.process.notify import Notifier

        Notifier.take().failed(message)
    if "json" in parsed.options:
        events.report_failure(events.JsonLines(), message, status)
    else:
        output.print_error(f"xget: {message}")
    return int(status)


def _open_standard_descriptors() -> None:
    """Open closed ones of stdin, stdout, stderr on nothing, so that no socket gets their number and our prints."""
    for descriptor, stream in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            open_null()  # it takes the lowest free number, which is this one
            setattr(sys, stream, os.fdopen(descriptor, "w" if descriptor else "r", closefd=False))


if __name__ == "__main__":
    sys.exit(main())
