"""Builds one frozen `Config` from the command line, the configuration file and the defaults; earlier ones win.

The usage text in `cli.py` is the single source of the options and their defaults. `config_file` reads the file.
"""

from __future__ import annotations

import ipaddress
import math
import os
import pwd
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, AnyStr

from xget_lib.dataclass import dataclass
from xget_lib.errors import UsageError, printable

TRACE = 5
"""The level of log lines about single 9P messages, below logging.DEBUG."""


A_HANDFUL = 10
"""Names: a percentage of a small directory is soon reached, for example when a kernel gets a new version. So it does
not forbid to remove fewer than these, as long as the master has as many: an empty directory is no new version."""


@dataclass(frozen=True)
class DeleteLimit:
    """How many names `--delete` may remove at once: a number, or a percentage of the names that are there."""

    number: int
    is_percentage: bool

    def allows(self, names: int, there: int, wanted: int) -> bool:
        """Whether so many of the names that are there may be removed. `wanted`: how many the master has."""
        if not self.is_percentage:
            return names <= self.number
        return names * 100 <= self.number * there or names < min(A_HANDFUL, wanted + 1)

    def __str__(self) -> str:
        return f"{self.number}{'%' * self.is_percentage}"


NO_LIMIT = DeleteLimit(100, True)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOG_FORMATS = ("plain", "json", "journal")

METHODS = ("secret", "munge")
"""How to prove that one belongs."""

PAGE = "page"
TREES = ("classic", "files", "swarm", PAGE)
"""What a server has: the anames of Tattach, and the status page."""


@dataclass(frozen=True)
class Config:
    """The value of every option, checked. Durations are in seconds."""

    host: str | None
    port: int
    bind: str | None
    ports: tuple[int, int] | None
    """The first and the last port on which a client may serve; None: any."""
    workers: int
    max_direct: int
    retries: int
    timeout: float
    stall_timeout: float
    secret: str | None
    """A file with keys: others must prove that they have them, and this process proves it to them."""
    auth: tuple[str, ...]
    """The methods of proof that are accepted. To others it is proved by the first that they accept. Empty: none."""
    munge_users: tuple[int, ...]
    """The uids that belong, with MUNGE. Empty: root, and that of this process."""
    munge_socket: str | None
    """Of munged; None: where the library looks for it."""
    tls: bool
    """Whether all connections are encrypted."""
    tls_cert: str | None
    tls_key: str | None
    """Files of the certificate of this machine, and its private key; None: in the same file."""
    tls_ca: str | None
    """A file of the authorities whose certificates are accepted; None: the secret says who belongs."""
    http: tuple[str, int] | None
    """Address and port of the status page."""
    open: tuple[str, ...]
    """The trees that are served without a proof,"""
    open_to: tuple[Network, ...]
    """and the networks to which they are; empty: all."""
    socket: str | None
    """A Unix socket on which a child serves programs of its own user, without a proof."""
    allow: tuple[Network, ...]
    """Who may connect, and to which peers a node connects; empty: all."""
    rate: float | None
    """Bytes of content that a client receives in a second, at most; None: no limit."""
    rate_up: float | None
    """Bytes of content that a server sends in a second, at most."""
    linger: float
    """How long a child server runs after the last read. `math.inf`: until stopped. 0: it ends with the download."""
    follow: bool
    delete: bool
    max_delete: DeleteLimit
    checksum: bool
    dry_run: bool
    no_permissions: bool
    no_owners: bool
    no_devices: bool
    no_set_id: bool
    insecure_dest: bool
    one_file_system: bool
    public_only: bool
    """Whether to leave out what not everybody on the master's machine may read."""
    user: str | None
    """Whom a master that was started by root becomes."""
    cache: str | None
    rehash: bool
    force: bool
    exclude: tuple[str, ...]
    """Patterns of rsync for names that are left out (`manifest.patterns`), in their order."""
    expect: str | None
    """The nodes that ought to have what the master serves, as `control.expected` reads it."""
    tree: bool
    watch: bool
    all: bool
    key: str | None
    serial: int | None
    signature: str | None
    sign_key: str | None
    signed_only: bool
    trust: str | None
    allow_rollback: bool
    log: str | None
    log_format: str
    """One of LOG_FORMATS."""
    debug: int
    daemon: bool
    pidfile: str | None
    quiet: bool
    verbose: bool
    json: bool

    @property
    def devices(self) -> bool:
        """Whether to create devices. Who does not copy permissions or owners does not want devices for everybody."""
        return not (self.no_devices or self.no_permissions or self.no_owners)

    @property
    def set_id(self) -> bool:
        """Whether to set set-id bits and capabilities, which are meant for files with the right owner."""
        return not (self.no_set_id or self.no_permissions or self.no_owners)


def default_workers() -> int:
    """The number of worker processes that a master forks without --workers: one per processor, at least 2."""
    return max(2, os.cpu_count() or 1)


_MAX_SECONDS = 1e9
"""30 years. A longer time is a mistake, and system timers may not accept it."""
_LEAST_RATE = 16 * 1024
"""Bytes per second. With less, a node that gets its share of it is taken for one that has stopped."""
_MOST_RATE = 1000 * 1024**4
_MAX_PATTERN = 4096
"""Characters."""
_MAX_SERIAL = 1 << 52
"""Leaves room for the serials that follow (`manifest.signature`)."""


def _integer(minimum: int, maximum: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, bool) or not str(value).isascii() or not str(value).isdecimal():
            raise ValueError("not a whole number")
        if not minimum <= int(value) <= maximum:
            raise ValueError(f"not between {minimum} and {maximum}")
        return int(value)

    return convert


def _seconds(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError("not a number of seconds")
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        raise ValueError("not a number of seconds") from None
    if not 0 <= seconds <= _MAX_SECONDS:
        raise ValueError("not a number of seconds from 0 to 1e9")
    return seconds


def _delete_limit(value: Any) -> DeleteLimit:
    text = str(value)
    number = text.removesuffix("%")
    is_percentage = number != text
    if isinstance(value, bool) or not number.isascii() or not number.isdecimal() or len(number) > 12:
        raise ValueError("neither a whole number nor a percentage")
    if is_percentage and int(number) > 100:
        raise ValueError("not between 0% and 100%")
    return DeleteLimit(int(number), is_percentage)


def _rate(value: Any) -> float | None:
    """Bytes per second: a number, with K, M, G or T for a power of 1024."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", str(value), re.IGNORECASE | re.ASCII)
    if isinstance(value, bool) or not found:
        raise ValueError("not a number of bytes such as 500K, 20M or 1.5G")
    rate: float = float(found[1]) * 1024.0 ** " KMGT".index(found[2].upper() or " ")
    if not _LEAST_RATE <= rate <= _MOST_RATE:
        raise ValueError("not between 16K and 1000T")
    return rate


def _linger(value: Any) -> float:
    return math.inf if value == "forever" else _seconds(value)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("not a text, or an empty one")
    return value


def absolute(path: AnyStr) -> AnyStr:
    """A path made absolute: a server in the background has another working directory. Raises UsageError."""
    try:
        return os.path.abspath(path)
    except OSError:  # of getcwd(2)
        raise UsageError(
            f"{printable(path)}: the current directory does not exist any more (give an absolute path)"
        ) from None


def _path(value: Any) -> str | None:
    text = _text(value)
    return text and absolute(text)


def _list(value: Any) -> list[str]:
    """Texts that are separated by commas; in the file also a list of texts."""
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError("not a list of texts, or an empty one")
    return [text.strip() for text in texts]


def _some_of(known: Sequence[str]) -> Callable[[Any], tuple[str, ...]]:
    """Converts a list of these names, each once."""

    def convert(value: Any) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(_list(value))) if value is not None else ()
        if not set(names) <= set(known):
            raise ValueError(f"not some of {', '.join(known)}")
        return names

    return convert


def _one_of(known: Sequence[str]) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value not in known:
            raise ValueError(f"not one of {', '.join(known)}")
        return str(value)

    return convert


def _users(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(_uid(user) for user in _list([str(user) for user in value] if isinstance(value, list) else str(value)))


def _uid(user: str) -> int:
    if user.isascii() and user.isdecimal():
        return _integer(0, 2**32 - 2)(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ValueError(f"there is no user {user}") from None


def _networks(value: Any) -> tuple[Network, ...]:
    texts = _list(value) if value is not None else []
    try:
        return tuple(map(_network, texts))
    except ValueError as error:
        raise ValueError(f"not a network such as 192.0.2.0/24: {error}") from None


def _network(text: str) -> Network:
    """A network; one of IPv4 also where it is written with `::ffff:`, as an IPv6 socket shows its addresses."""
    network = ipaddress.ip_network(text)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= _MAPPED_PREFIX:
        return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))
    return network


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _host(value: Any) -> tuple[str, int | None] | None:
    text = _text(value)
    return None if text is None else split_host(text)


def split_host(text: str) -> tuple[str, int | None]:
    """A host name or address, and the port, if one is given: HOST, HOST:PORT, ADDRESS, [ADDRESS], [ADDRESS]:PORT.

    Raises ValueError, which says why, for anything else.
    """
    bracketed = re.fullmatch(r"\[(.*)\](?::(.*))?", text)
    if bracketed:
        host, port = bracketed.groups()
    elif text.count(":") > 1:
        host, port = text, None
    else:
        host, colon, rest = text.partition(":")
        port = rest if colon else None
    if bracketed or ":" in host:
        try:
            socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
        except (OSError, ValueError):
            raise ValueError("not an IPv6 address (HOST:PORT, ADDRESS and [ADDRESS]:PORT are)") from None
    if not host:
        raise ValueError("without a host name")
    if not is_host_name(host):
        raise ValueError("not a host name")
    try:
        return host, (None if port is None else _PORT(port))
    except ValueError as error:
        raise ValueError(f"the port is {error}") from None


def is_host_name(host: str) -> bool:
    """Whether a host can have such a name or address, as far as the text shows."""
    if host.isascii():  # as Python's codec `idna`, which takes 3 ms to load
        *labels, last = host.split(".")
        return all(0 < len(label) < 64 for label in labels) and len(last) < 64
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _patterns(value: Any) -> tuple[str, ...]:
    """Patterns; in the file a list of them, or one."""
    texts = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("not a list of patterns")
    for text in texts:
        if not text.removeprefix("+ ").removeprefix("- ") or "\0" in text or len(text) > _MAX_PATTERN:
            raise ValueError("not a list of patterns: one is empty, or too long")
        if text == "!":
            raise ValueError("a pattern that rsync has for itself only")
    return tuple(texts)


def _serial(value: Any) -> int | None:
    return None if value is None else _integer(1, _MAX_SERIAL)(value)


_PORT = _integer(1, 65535)


def _http(value: Any) -> tuple[str, int] | None:
    """ADDR:PORT of a server."""
    found = _host(value)
    if found is None:
        return None
    host, port = found
    if port is None:
        raise ValueError("without a port (127.0.0.1:PORT, for example)")
    return host, port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _ports(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    first, dash, last = str(value).partition("-")
    try:
        found = _SERVING(first), _SERVING(last if dash else first)
    except ValueError as error:
        raise ValueError(f"not FIRST-LAST: {error}") from None
    if found[0] > found[1]:
        raise ValueError("the first port is higher than the last")
    return found


_SERVING = _integer(1024, 65535)
"""Ports of nodes: those below belong to the services of a machine, and no node connects to them."""
_MAPPED_PREFIX = 96
"""Bits of the network of IPv6 in which the addresses of IPv4 are (RFC 4291, section 2.5.5.2)."""

_CONVERT: dict[str, Callable[[Any], Any]] = {
    "host": _host,
    "port": _PORT,
    "bind": _text,
    "ports": _ports,
    "workers": _integer(1, 256),
    "max-direct": _integer(1, 1_000_000),
    "retries": _integer(0, 1_000_000),
    "timeout": _seconds,
    "stall-timeout": _seconds,
    "secret": _path,
    "auth": _some_of(METHODS),
    "munge-users": _users,
    "munge-socket": _path,
    "tls": _flag,
    "tls-cert": _path,
    "tls-key": _path,
    "tls-ca": _path,
    "http": _http,
    "open": _some_of(TREES),
    "open-to": _networks,
    "socket": _path,
    "allow": _networks,
    "rate": _rate,
    "rate-up": _rate,
    "linger": _linger,
    "follow": _flag,
    "delete": _flag,
    "max-delete": _delete_limit,
    "checksum": _flag,
    "dry-run": _flag,
    "no-permissions": _flag,
    "no-owners": _flag,
    "no-devices": _flag,
    "no-set-id": _flag,
    "insecure-dest": _flag,
    "one-file-system": _flag,
    "public-only": _flag,
    "user": _text,
    "cache": _path,
    "rehash": _flag,
    "force": _flag,
    "exclude": _patterns,
    "expect": _text,
    "tree": _flag,
    "watch": _flag,
    "all": _flag,
    "key": _path,
    "serial": _serial,
    "signature": _path,
    "sign-key": _path,
    "signed-only": _flag,
    "trust": _path,
    "allow-rollback": _flag,
    "log": _path,
    "log-format": _one_of(LOG_FORMATS),
    "debug": _integer(0, 9),
    "daemon": _flag,
    "pidfile": _path,
    "quiet": _flag,
    "verbose": _flag,
    "json": _flag,
}

OPTIONS = tuple(_CONVERT)
"""The long names of all options that have a value in `Config`, in its order."""


def build(defaults: Mapping[str, Any], file: Mapping[str, Any], given: Mapping[str, Any]) -> Config:
    """Merge option values by long name. A later mapping wins; `None` means "not given".

    Raises UsageError, with the option and the value, for a value that the option does not accept.
    """
    values = {key: value for mapping in (defaults, file, given) for key, value in mapping.items() if value is not None}
    if values.get("follow") is True and file.get("linger") is None and given.get("linger") is None:
        values["linger"] = "forever"
    if values.get("dry-run") is True:
        values["linger"] = 0  # a dry run has nothing to serve
    fields: dict[str, Any] = {}
    for name, convert in _CONVERT.items():
        value = values.get(name)
        try:
            fields[name.replace("-", "_")] = convert(value)
        except ValueError as error:
            raise UsageError(f"--{name} {printable(str(value))}: {error}") from None
    host, port = fields["host"] or (None, None)
    fields["host"] = host
    if port is not None:
        _join_ports(fields, port, file, given)
    if given.get("max-delete") is not None and not fields["delete"]:
        raise UsageError("--max-delete: has no effect without --delete")
    if given.get("allow-rollback") is True and fields["trust"] is None:
        raise UsageError("--allow-rollback: has no effect without --trust")
    if fields["expect"] is not None and fields["host"] is None:
        raise UsageError("--expect: needs -n HOST, the master")
    _join_methods(fields, given)
    for option, needed in _NEEDS.items():
        if given.get(option) is not None and not any(fields[each.replace("-", "_")] for each in needed):
            raise UsageError(f"--{option}: has no effect without {' or '.join(f'--{each}' for each in needed)}")
    _check_tls(fields)
    _check_page(fields)
    if fields["log"] is not None and fields["log_format"] == "journal":
        raise UsageError("--log: cannot be combined with --log-format journal")
    if fields["follow"] and not fields["linger"]:
        what = "--dry-run" if fields["dry_run"] else "--linger 0"
        raise UsageError(f"{what}: cannot be combined with --follow, which keeps running")
    return Config(**fields)


def _join_methods(fields: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Who has a secret proves it, unless --auth says something else."""
    methods = fields["auth"] = fields["auth"] or (("secret",) if fields["secret"] is not None else ())
    if "secret" in methods and fields["secret"] is None:
        raise UsageError("--auth secret: needs --secret FILE")
    for option, needed, there in (
        ("secret", "--auth secret", "secret" in methods),
        ("munge-users", "--auth munge", "munge" in methods),
        ("munge-socket", "--auth munge", "munge" in methods),
    ):
        if given.get(option) is not None and not there:
            raise UsageError(f"--{option}: has no effect without {needed}")


_NEEDS = {
    "open": ("secret", "auth", "tls"),
    "open-to": ("open",),
    "tls-cert": ("tls",),
    "tls-key": ("tls-cert",),
    "tls-ca": ("tls",),
}
"""Options without effect unless one of others is given."""


def _check_tls(fields: Mapping[str, Any]) -> None:
    """Raise UsageError for TLS that would prove nothing."""
    if fields["tls"] and not fields["auth"] and not fields["tls_ca"]:
        raise UsageError("--tls: needs --secret, --auth or --tls-ca, or anybody can be in the middle")
    if fields["tls"] and fields["tls_ca"] and not fields["tls_cert"]:
        raise UsageError("--tls-ca: needs --tls-cert: both sides show a certificate")


def _check_page(fields: Mapping[str, Any]) -> None:
    """Raise UsageError for a page that shows to everybody what only those who belong may see."""
    if fields["http"] is None:
        if PAGE in fields["open"]:
            raise UsageError("--open page: has no effect without --http")
        return
    host = fields["http"][0]
    guarded = bool(fields["auth"]) or fields["tls"]
    if guarded and PAGE not in fields["open"] and not _is_loopback(host):
        raise UsageError(
            f"--http {printable(host)}: would show the names of nodes to everybody who reaches that address, without"
            " a proof (use 127.0.0.1, or say --open page, best with --open-to)"
        )


def _join_ports(fields: dict[str, Any], port: int, file: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Take the port from HOST:PORT, unless --port says another one on the command line."""
    host_given, port_given = given.get("host") is not None, given.get("port") is not None
    if (port_given == host_given and (port_given or "port" in file)) and fields["port"] != port:
        raise UsageError(f"--port {fields['port']}: the host is given with another port, {port}")
    if host_given or not port_given:
        fields["port"] = port


def check(name: str, value: Any) -> None:
    """Raise ValueError, which says why, for a value that an option does not accept."""
    _CONVERT[name](value)


def credential() -> str | None:
    """The secret that systemd has put ready for this service (LoadCredential=xget-secret), if there is one. One that
    cannot be read is there: who reads it says why, and serves nothing without it."""
    path = os.path.join(os.environ.get("CREDENTIALS_DIRECTORY", ""), "xget-secret")
    try:
        os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError:
        pass
    return path if os.path.isabs(path) else None


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """A hint at the known name that is most like one; empty if none is."""
    import difflib  # only errors need it

    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {prefix}{close[0]}?)" if close else ""
