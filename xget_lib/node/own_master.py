"""Refuses a destination in the directory that the master serves.

A client on the master's machine would add to what is served, and a follower would then fetch that too, without end.
"""

from __future__ import annotations

import binascii

from xget_lib.errors import DestinationRefused, LinkLost, NinepError, ProtocolViolation
from xget_lib.fs.places import MARK_SIZE, MARKS_LIMIT, is_marked
from xget_lib.net.blocking import in_thread
from xget_lib.node.master_link import ANSWER, MasterLink, retry_for


def check_dest(master: MasterLink, dest: bytes, seconds: float) -> None:
    """Raises DestinationRefused where `dest` is what this master serves, or below. It need not exist.

    The master is asked for so many seconds: then LinkLost. To be called when it has a generation.
    """
    marks = retry_for(seconds, lambda _: _read_marks(master), LinkLost)
    is_inside: bool = in_thread(is_marked, dest, marks)
    if is_inside:
        raise DestinationRefused(dest, "is in the directory that this master serves (choose another destination)")


def _read_marks(master: MasterLink) -> frozenset[bytes]:
    if master.link is None:
        raise LinkLost(f"{master.host}:{master.port}", "no connection")
    text = b""
    try:
        file = master.link.open("places", ANSWER)
        while part := file.read(len(text), 64 * 1024, ANSWER):
            text += part
            if len(text) > MARKS_LIMIT * (2 * MARK_SIZE + 1):
                raise ProtocolViolation("places: too long")
        file.close(ANSWER)
    except NinepError:
        return frozenset()  # a master of a version without it
    try:
        return frozenset(binascii.unhexlify(line) for line in text.split())
    except ValueError:
        raise ProtocolViolation("places: not hexadecimal") from None
