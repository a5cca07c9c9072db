"""Messages as values, and which reply may answer which request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.messages import (
    Message,
    Rerror,
    Rflush,
    Rread,
    Rwrite,
    Tclunk,
    Tflush,
    Tread,
    Tremove,
    is_reply_to,
    rread_header,
)


def test_messages_of_different_types_are_never_equal() -> None:
    one: Message = Tclunk(1)
    other: Message = Tremove(1)
    assert one != other


@given(st.binary(max_size=50))
def test_the_header_of_an_rread_goes_before_its_data(data: bytes) -> None:
    assert rread_header(7, len(data)) + data == encode(7, Rread(data), NINEP2000)


def test_a_reply_is_of_the_type_after_its_request() -> None:
    assert is_reply_to(Rread(b""), Tread(0, 0, 0))
    assert is_reply_to(Rerror(""), Tread(0, 0, 0))
    assert is_reply_to(Rflush(), Tflush(0))
    assert not is_reply_to(Rwrite(0), Tread(0, 0, 0))
    assert not is_reply_to(Rerror(""), Tflush(0))


def test_a_message_says_what_it_is_when_it_is_printed() -> None:
    assert repr(Tread(1, 2, count=3)) == "Tread(fid=1, offset=2, count=3)"
