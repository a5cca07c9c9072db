"""Starting a master: the checks before it serves, and the forks before gevent is imported.

What can be refused at once is refused here, in the foreground: a path that cannot be read, a port in use. Then the
daemon is forked, then the nursery, and only then `master` is imported, and gevent with it.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial

from xget_lib.config import Config, absolute
from xget_lib.errors import AddressRefused, Failed, PathRefused, UsageError, XGetError, printable
from xget_lib.fs.cache_directory import usual_cache_directory
from xget_lib.net.listen import listen
from xget_lib.ninep.auth import Credentials, Tls
from xget_lib.process import activation, daemon, nursery, pidfile, rlimit
from xget_lib.process.acting_as import acting_as, why_not_as_root
from xget_lib.process.channel import Channel
from xget_lib.process.credentials import read_certificates_again, read_credentials
from xget_lib.process.local_processes import listen_as_master
from xget_lib.process.notify import Notifier
from xget_lib.process.privileges import User, give_up_root, read_everything
from xget_lib.process.runtime_directory import Listening
from xget_lib.process.secret_file import read_again
from xget_lib.report import log
from xget_lib.signing import signature_file
from xget_lib.signing.keys import read_signing_key

RunWorker = Callable[[Channel, int, Tls | None], int]
"""Runs a worker, whose connections are TLS if there is one, and returns its exit status."""


def run(config: Config, path: bytes, run_worker: RunWorker) -> int:
    """Serve a file or directory until told to stop. Returns the exit status. Each worker process calls `run_worker`.

    A service manager is told how that goes, if there is one, and may have opened the port. Raises PathRefused,
    AddressRefused, UsageError for a secret, a certificate or a signature file that cannot be used, and Failed for a log
    or pid file that cannot be written.
    """
    notifier = Notifier.take()
    try:
        return _run(config, absolute(path), run_worker, notifier)
    except XGetError as error:
        notifier.failed(str(error))
        raise


def _run(config: Config, root: bytes, run_worker: RunWorker, notifier: Notifier) -> int:
    given = activation.take_socket(config.port)
    if given is not None and config.daemon:
        raise UsageError("--daemon: cannot be combined with a socket of the service manager")
    rlimit.raise_limit(rlimit.MASTER_NEEDS + rlimit.WORKER_NEEDS * config.workers)
    _check_path(root)
    if config.signature or config.sign_key or config.signed_only:
        signature_file.path_of(root, config.signature, one_file_system=config.one_file_system)
    credentials = read_credentials(config)
    user = User.look_up(config.user) if config.user is not None else None
    if not config.daemon:
        return _serve(config, root, credentials, user, run_worker, lambda: None, notifier, given)
    background = daemon.daemonize()
    try:
        return _serve(config, root, credentials, user, run_worker, background.ready, notifier)
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
    config: Config,
    root: bytes,
    credentials: Credentials,
    user: User | None,
    run_worker: RunWorker,
    ready: Callable[[], None],
    notifier: Notifier,
    given: socket.socket | None = None,
) -> int:
    """`given`: the socket that this process was given by a service manager, if any."""
    level = log.level(debug=config.debug, verbose=config.verbose, quiet=config.quiet)

    def prepare_nursery() -> None:
        if user is not None:
            give_up_root(user, may_read=True)

    def work(channel: Channel, number: int) -> int:
        if user is not None:
            read_everything()
        log.restart_after_fork(config.log, background=config.daemon, level=level, form=config.log_format)
        return run_worker(channel, number, credentials.tls)

    with ExitStack() as stack:
        listening = stack.enter_context(given or listen(config.bind, config.port))
        page = stack.enter_context(_listen_for_browsers(*config.http)) if config.http is not None else None
        _start_log(config, user, level)
        if config.pidfile:
            stack.callback(pidfile.Pidfile(config.pidfile).remove)
        if config.daemon:
            daemon.detach()
        forks = nursery.start(work, prepare_nursery)
        # From here on this process may have an event loop, and forks no more.

        from xget_lib.master.master import Master

        # Nor do the processes that talk to strangers, and were forked before, have the key.
        key = read_signing_key("sign-key", config.sign_key) if config.sign_key else None
        control = _listen_for_commands(config.port, root)
        if user is not None:
            config = _become(user, config, credentials, control)
        status = Master(config, root, listening, forks, credentials, key, control, page, notifier).run(ready)
        forks.close()
    return status


def _listen_for_browsers(host: str, port: int) -> socket.socket:
    """Where the status page is. Raises AddressRefused."""
    try:
        return listen(host, port)
    except AddressRefused as error:
        raise AddressRefused(error.address, error.port, error.why, "--http") from None


def _listen_for_commands(port: int, root: bytes) -> Listening | None:
    """Where commands come from, such as `xget.py reload`."""
    try:
        listening, first = listen_as_master(port, printable(root))
    except Failed as error:
        log.LOGGER.warning("no commands can be given to this master: %s", error)
        return None
    if not first:
        log.LOGGER.warning("another master of port %d runs here: xget reload reaches that one", port)
    return listening


def _become(user: User, config: Config, credentials: Credentials, control: Listening | None) -> Config:
    """Give up root. Returns the options with a directory for the digest cache in which the user can write. Raises
    Failed."""
    try:
        if control is not None:
            control.give_to(user.uid)
    except OSError as error:
        raise Failed(f"--user {user.name}", f"{printable(error.filename or '')}: {error.strerror}") from None
    cache = config.cache or os.path.join(usual_cache_directory(), user.name)
    _make_cache_directory(cache, user)
    give_up_root(user, may_read=False)
    try:
        read_again(credentials)
    except UsageError as error:
        text = "the secret cannot be changed without a restart, because %s cannot read it: %s"
        log.LOGGER.warning(text, user.name, error)
    try:
        read_certificates_again(config, credentials)
    except UsageError as error:
        text = "the certificates cannot be changed without a restart, because %s cannot read them: %s"
        log.LOGGER.warning(text, user.name, error)
    return replace(config, cache=cache)


def _start_log(config: Config, user: User | None, level: int) -> None:
    """Begin to log. The file is one that `user` can open again. Raises Failed."""
    start = partial(log.start, config.log, background=config.daemon, level=level, form=config.log_format)
    if user is None or config.log is None:
        start()
        return
    try:
        with acting_as(user):
            start()
    except Failed as failed:
        why = why_not_as_root(config.log)
        if why:
            what_to_do = f"make the file, and give it to {user.name}"
            raise Failed(f"--user {user.name}", f"{failed}, and {printable(why)} ({what_to_do})") from None
        start()
        log.give_to(user.uid)


def _make_cache_directory(path: str, user: User) -> None:
    """If it cannot be made, it is missed when digests are saved, and told then."""
    with suppress(OSError), acting_as(user):
        os.makedirs(path, 0o700, exist_ok=True)
        return
    with suppress(OSError):
        if not why_not_as_root(path):
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            os.mkdir(path, 0o700)
            os.chown(path, user.uid, user.gid)
