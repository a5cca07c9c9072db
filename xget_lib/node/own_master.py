"""Refuses a destination in the directory that the master serves.

A client on the master's machine would add to what is served, and a follower would then fetch that too, without end.
"""

from __future__ import annotations

import binascii

import gevent

from xget_lib.errors import DestinationRefused, LinkLost, NinepError, NotAdmitted, ProtocolViolation
from xget_lib.fs.places import MARK_SIZE, MARKS_LIMIT, is_marked
from xget_lib.net.threads import in_thread
from xget_lib.node.attempts import retry_for
from xget_lib.node.master_link import ANSWER, MasterLink


def read_marks(master: MasterLink, seconds: float) -> frozenset[bytes]:
    """The marks of what this master serves. It is asked for so many seconds: then MasterUnreachable. To be called when
    it has a generation. Raises ProtocolViolation, and NotAdmitted at once."""
    try:
        return retry_for(seconds, lambda left: _read_marks(master, min(left, ANSWER)), LinkLost)
    except NotAdmitted:
        raise
    except LinkLost as error:
        raise master.unreachable(seconds, error.why) from None


def check_dest(dest: bytes, marks: frozenset[bytes]) -> None:
    """Raises DestinationRefused where `dest` is what the master with these marks serves, or below. It need not
    exist."""
    is_inside: bool = in_thread(is_marked, dest, marks)
    if is_inside:
        raise DestinationRefused(dest, "is in the directory that this master serves (choose another destination)")


def _read_marks(master: MasterLink, seconds: float) -> frozenset[bytes]:
    """All of it within so many seconds."""
    link = master.link
    if link is None:
        raise LinkLost(f"{master.host}:{master.port}", master.why_silent)
    text = b""
    try:
        with gevent.Timeout(seconds, LinkLost(link.name, "no answer")):
            file = link.open("places", seconds)
            while part := file.read(len(text), 64 * 1024, seconds):
                text += part
                if len(text) > MARKS_LIMIT * (2 * MARK_SIZE + 1):
                    raise ProtocolViolation("places: too long")
            file.close(seconds)
    except NinepError:
        return frozenset()  # a master of a version without it
    try:
        return frozenset(binascii.unhexlify(line) for line in text.split())
    except ValueError:
        raise ProtocolViolation("places: not hexadecimal") from None
