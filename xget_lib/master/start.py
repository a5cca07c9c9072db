"""Starting a master: the checks before it serves, and the forks before gevent is imported.

What can be refused at once is refused here, in the foreground: a path that cannot be read, a port in use. Then the
daemon is forked, then the nursery, and only then `master` is imported, and gevent with it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import ExitStack

from xget_lib.config import Config, absolute
from xget_lib.errors import PathRefused, XGetError
from xget_lib.net.listen import listen
from xget_lib.ninep.auth import Credentials, Tls
from xget_lib.process import daemon, nursery, pidfile, rlimit
from xget_lib.process.channel import Channel
from xget_lib.process.secret_file import read_credentials
from xget_lib.report import log
from xget_lib.signing import signature_file
from xget_lib.signing.keys import read_signing_key

RunWorker = Callable[[Channel, int, Tls | None], int]
"""Runs a worker, whose connections are TLS if there is one, and returns its exit status."""


def run(config: Config, path: bytes, run_worker: RunWorker) -> int:
    """Serve a file or directory until told to stop. Returns the exit status. Each worker process calls `run_worker`.

    Raises PathRefused, AddressRefused, UsageError for a secret, a certificate or a signature file that cannot be used,
    and Failed for a log or pid file that cannot be written.
    """
    root = absolute(path)
    rlimit.raise_limit(rlimit.MASTER_NEEDS + rlimit.WORKER_NEEDS * config.workers)
    _check_path(root)
    if config.signature or config.sign_key or config.signed_only:
        signature_file.path_of(root, config.signature, one_file_system=config.one_file_system)
    credentials = read_credentials(config)
    if not config.daemon:
        return _serve(config, root, credentials, run_worker, lambda: None)
    background = daemon.daemonize()
    try:
        return _serve(config, root, credentials, run_worker, background.ready)
    except XGetError as error:
        background.failed(int(error.exit_status), f"xget: {error}")
        return int(error.exit_status)


def _check_path(root: bytes) -> None:
    """Raise PathRefused unless the path is a file or directory that can be read."""
    try:
        mode = os.stat(root).st_mode
        if stat.S_ISDIR(mode):
            os.scandir(root).close()
        elif stat.S_ISREG(mode):
            os.close(os.open(root, os.O_RDONLY))
        else:
            raise PathRefused(root, "neither a directory nor a regular file")
    except OSError as error:
        raise PathRefused(root, error.strerror or str(error)) from None


def _serve(
    config: Config, root: bytes, credentials: Credentials, run_worker: RunWorker, ready: Callable[[], None]
) -> int:
    level = log.level(debug=config.debug, verbose=config.verbose, quiet=config.quiet)

    def work(channel: Channel, number: int) -> int:
        log.restart_after_fork(config.log, background=config.daemon, level=level)
        return run_worker(channel, number, credentials.tls)

    with ExitStack() as stack:
        listening = stack.enter_context(listen(config.bind, config.port))
        log.start(config.log, background=config.daemon, level=level)
        if config.pidfile:
            stack.callback(pidfile.Pidfile(config.pidfile).remove)
        if config.daemon:
            daemon.detach()
        forks = nursery.start(work)
        # From here on this process may have an event loop, and forks no more.

        from xget_lib.master.master import Master

        # Nor do the processes that talk to strangers, and were forked before, have the key.
        key = read_signing_key("sign-key", config.sign_key) if config.sign_key else None
        status = Master(config, root, listening, forks, credentials, key).run(ready)
        forks.close()
    return status
