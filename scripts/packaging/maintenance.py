"""What the package does when it is installed, upgraded and removed: the shell scripts in .deb and .rpm.

An upgrade restarts the masters that run. Clients and nodes connect to them again, within their --timeout, and go on
where they were. Clients, followers and the child servers that they became are left alone: they go on with the version
that they started with, until they are restarted. Removing the package stops all services, and names what still runs.

Who makes the user, and who knows that files of systemd changed, may not be there: in containers, in images that are
built, and on systems with another init. Then the first is done with useradd, and the second is not needed.
"""

from __future__ import annotations

_ADD_USER = """\
if [ -x "$(command -v systemd-sysusers)" ]; then
    systemd-sysusers xget.conf || true
fi
if ! getent passwd xget >/dev/null; then
    useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin xget
fi
if [ -d /run/systemd/system ] && [ -x "$(command -v systemd-tmpfiles)" ]; then
    systemd-tmpfiles --create xget.conf || true
fi
"""

_NEW_UNITS = """\
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
"""

_RESTART_MASTERS = """\
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
    systemctl try-restart 'xget-master@*.service' || true
fi
"""

_STOP_ALL = """\
if [ -d /run/systemd/system ]; then
    systemctl stop 'xget-*.socket' 'xget-*.service' || true
fi
if left=$(/usr/bin/xget status --timeout 5 2>/dev/null) && [ -n "$left" ]; then
    echo "xget: these were not started as services, and go on until they end (kill PID stops one):"
    echo "$left"
fi
"""

_PURGE = """\
rm -rf /etc/xget /var/cache/xget /var/lib/xget
rm -f /run/xget/cron-*
rmdir /run/xget 2>/dev/null || true # what still runs has its socket there
rm -f /var/log/xget.log /var/log/xget.log.* /var/log/xget-*.log /var/log/xget-*.log.*
rm -rf /var/log/xget
rm -f /etc/systemd/system/*.wants/xget-*.service /etc/systemd/system/*.wants/xget-*.socket
"""
"""The user stays: files of other programs may belong to it, and a new user must not get its number."""


def debian_scripts() -> dict[str, str]:
    """By name; deb-postinst(5) and its neighbours say when dpkg runs them, and with which arguments."""
    return {
        "postinst": _script(
            'if [ "$1" = configure ]; then',
            _indented(_ADD_USER),
            '    if [ -n "$2" ]; then',
            _indented(_RESTART_MASTERS, 2),
            "    else",
            _indented(_NEW_UNITS, 2),
            "    fi",
            "fi",
        ),
        "prerm": _script('if [ "$1" = remove ]; then', _indented(_STOP_ALL), "fi"),
        "postrm": _script(
            'if [ "$1" = remove ]; then',
            _indented(_NEW_UNITS),
            "fi",
            'if [ "$1" = purge ]; then',
            _indented(_PURGE),
            "fi",
        ),
    }


def rpm_scripts() -> dict[str, str]:
    """By section of the spec file. The first argument is how many versions will be installed afterwards."""
    return {
        "post": f'{_ADD_USER}if [ "$1" -eq 1 ]; then\n{_indented(_NEW_UNITS)}\nfi\n',
        "preun": f'if [ "$1" -eq 0 ]; then\n{_indented(_STOP_ALL)}\nfi\n',
        "postun": f'if [ "$1" -ge 1 ]; then\n{_indented(_RESTART_MASTERS)}\nelse\n{_indented(_NEW_UNITS)}\nfi\n',
    }


def _script(*parts: str) -> str:
    return "\n".join(["#!/bin/sh", "set -e", *parts, ""])


def _indented(text: str, levels: int = 1) -> str:
    return "\n".join("    " * levels + line for line in text.splitlines())
