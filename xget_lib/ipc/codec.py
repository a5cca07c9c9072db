"""Messages between processes as the channel carries them: [name, fields...], where a field may be a message itself.

A class decorated with `message` is a frozen dataclass. Its annotations are what is checked on arrival: int, bool, str,
bytes, tuples of these, and other messages; and how many descriptors come with it. So a message is stated once. A
package that has messages of its own declares them in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

from xget_lib.dataclass import dataclass, fields
from xget_lib.errors import ProtocolViolation
from xget_lib.process.channel import Channel, close_all


class Message:
    """Base of all messages."""

    __slots__ = ()
    DESCRIPTORS: ClassVar[int] = 0
    """How many descriptors travel with it, besides those of messages inside it."""


_SCALARS = (int, bool, str, bytes)

M = TypeVar("M", bound=Message)


class _Layout:
    """How one class is packed. Flat ones, whose fields are all scalars, are fast: these come by tens of thousands."""

    def __init__(self, kind: type[Message]) -> None:
        hints = get_type_hints(kind)
        self.kind = kind
        self.names = tuple(field.name for field in fields(kind))  # type: ignore[arg-type]  # `message` makes dataclasses
        self.types = tuple(hints[name] for name in self.names)
        self.is_flat = all(each in _SCALARS for each in self.types)


LAYOUTS: dict[str, _Layout] = {}
"""Every message, by the name of its class."""


@dataclass_transform(frozen_default=True)
def message(kind: type[M]) -> type[M]:
    """Make a class a message: a frozen dataclass that `pack` and `unpack` know. Its name must be unique."""
    made = dataclass(frozen=True, slots=True)(kind)
    assert made.__name__ not in LAYOUTS, made.__name__
    LAYOUTS[made.__name__] = _Layout(made)
    return made


def pack(message: Message) -> list[Any]:
    """A message as the channel sends it."""
    name = type(message).__name__
    layout = LAYOUTS[name]
    values = [getattr(message, field) for field in layout.names]
    if not layout.is_flat:
        values = [pack(value) if isinstance(value, Message) else value for value in values]
    return [name, *values]


def unpack(packed: Sequence[Any]) -> Message:
    """The message that was packed. Raises ProtocolViolation if it is no message, or a field has another type."""
    layout = LAYOUTS.get(packed[0]) if packed and type(packed[0]) is str else None
    if layout is None:
        raise ProtocolViolation(f"unknown message {packed[:1]!r} between master and worker")
    values = packed[1:]
    if layout.is_flat:
        if tuple(map(type, values)) != layout.types:
            raise ProtocolViolation(f"{packed[0]}: wrong fields")
        return layout.kind(*values)
    if len(values) != len(layout.types):
        raise ProtocolViolation(f"{packed[0]}: {len(values)} fields instead of {len(layout.types)}")
    return layout.kind(*map(_read, layout.types, values))


def receive(channel: Channel) -> tuple[Message, list[int]] | None:
    """Wait for a message. Returns it and its descriptors, which the caller now owns; None at the end of the channel.

    Raises ProtocolViolation for what is no message, or has another number of descriptors, which are closed.
    """
    received = channel.receive()
    if received is None:
        return None
    packed, descriptors = received
    try:
        message = unpack(packed)
        expected = _descriptors(message)
        if len(descriptors) != expected:
            raise ProtocolViolation(f"{packed[0]}: {len(descriptors)} descriptors instead of {expected}")
    except ProtocolViolation:
        close_all(descriptors)
        raise
    return message, descriptors


def _descriptors(message: Message) -> int:
    layout = LAYOUTS[type(message).__name__]
    if layout.is_flat:
        return message.DESCRIPTORS
    fields = (getattr(message, name) for name in layout.names)
    return message.DESCRIPTORS + sum(_descriptors(field) for field in fields if isinstance(field, Message))


def _read(expected: Any, value: Any) -> Any:
    """A field of the expected type. Raises ProtocolViolation."""
    if get_origin(expected) is tuple and type(value) is tuple:
        types = get_args(expected)
        if len(types) == 2 and types[1] is Ellipsis:
            return tuple(_read(types[0], each) for each in value)
        if len(types) == len(value):
            return tuple(map(_read, types, value))
    elif type(value) is expected:
        return value
    elif type(value) is tuple and isinstance(expected, type) and issubclass(expected, Message):
        found = unpack(value)
        if isinstance(found, expected):
            return found
    raise ProtocolViolation(f"a field of type {type(value).__name__} instead of {expected}")
