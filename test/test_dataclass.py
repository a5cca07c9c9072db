"""`xget_lib.dataclass` makes what the standard library makes, apart from when."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xget_lib import dataclass as ours

NAMES = ["a", "b", "c", "d"]
KINDS = ["plain", "default", "list", "not in init", "not in repr", "not compared"]
Both = tuple[type[Any], type[Any]]


def both(make: Callable[[Any], type[Any]]) -> Both:
    """The same class, made by the standard library and by ours."""
    return make(dataclasses), make(ours)


def result(function: Callable[[], object]) -> object:
    """What a call returns, or which error it raises; for an error of arguments also its text."""
    try:
        return function()
    except Exception as error:
        return type(error), str(error) if isinstance(error, TypeError) else ""


def declared(library: Any, kinds: list[str]) -> dict[str, Any]:
    made: dict[str, Callable[[], Any]] = {
        "default": lambda: 7,
        "list": lambda: library.field(default_factory=list),
        "not in init": lambda: library.field(init=False, default=8),
        "not in repr": lambda: library.field(repr=False, default=9),
        "not compared": lambda: library.field(compare=False, default=10),
    }
    body: dict[str, Any] = {name: made[kind]() for name, kind in zip(NAMES, kinds, strict=False) if kind in made}
    return {"__annotations__": {name: "object" for name, _ in zip(NAMES, kinds, strict=False)}, **body}


@given(
    st.lists(st.sampled_from(KINDS), max_size=4).map(lambda kinds: sorted(kinds, key=lambda kind: kind != "plain")),
    st.fixed_dictionaries({name: st.booleans() for name in ("eq", "frozen", "kw_only", "slots")}),
    st.lists(st.integers(0, 2), max_size=4),
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2), max_size=4),
)
def test_a_class_behaves_like_that_of_the_standard_library(
    kinds: list[str], flags: dict[str, bool], arguments: list[int], named: dict[str, int]
) -> None:
    def make(library: Any) -> type[Any]:
        made: type[Any] = library.dataclass(**flags)(type("Kind", (), declared(library, kinds)))
        return made

    theirs, mine = both(make)
    assert mine.__match_args__ == theirs.__match_args__
    built = [result(lambda kind=kind: kind(*arguments, **named)) for kind in (theirs, mine)]  # type: ignore[misc]
    if not isinstance(built[1], mine):
        assert built[0] == built[1]
        return
    assert repr(built[0]) == repr(built[1])
    assert repr(dataclasses.replace(built[1])) == repr(built[1])  # its own functions too
    for of in (theirs, mine):
        other = of(*arguments, **named)
        assert (built[of is mine] == other) is flags["eq"]
        assert built[of is mine] != object()
    for do in (
        lambda library, it: library.asdict(it),
        lambda library, it: library.astuple(it),
        lambda library, it: [(field.name, field.type) for field in library.fields(it)],
        lambda library, it: hash(it) if flags["eq"] else None,
        lambda library, it: repr(library.replace(it, a=5)) if kinds[:1] != ["not in init"] else None,
        # A frozen class with slots of the standard library raises TypeError for other names (cpython issue 90562).
        lambda library, it: setattr(it, "a" if kinds else "z", 1) if kinds or not flags["slots"] else None,
        lambda library, it: delattr(it, "a") if kinds else None,
    ):
        assert result(lambda do=do: do(dataclasses, built[0])) == result(lambda do=do: do(ours, built[1]))  # type: ignore[misc]


def test_a_class_inherits_fields_and_calls_post_init() -> None:
    def make(library: Any) -> type[Any]:
        @library.dataclass(frozen=True)
        class Base:
            first: int
            shared: ClassVar[int] = 5
            second: int = 2

        @library.dataclass(frozen=True, slots=True)
        class Kind(Base):
            third: int = 3
            seen: list[int] = library.field(default_factory=list)

            def __post_init__(self) -> None:
                self.seen.append(self.first)

        return Kind

    for kind in both(make):
        assert repr(kind(1)).endswith("Kind(first=1, second=2, third=3, seen=[1])")
        assert kind(1) == kind(1) and kind(1) != kind(2) and kind.shared == 5
        with pytest.raises(dataclasses.FrozenInstanceError):
            kind(1).first = 2


def test_methods_of_the_class_itself_stay() -> None:
    def make(library: Any) -> type[Any]:
        @library.dataclass(frozen=True)
        class Kind:
            value: int

            def __repr__(self) -> str:
                return "mine"

            def __eq__(self, other: object) -> bool:
                return True

            def __hash__(self) -> int:
                return 5

        return Kind

    for kind in both(make):
        assert (repr(kind(1)), kind(1) == kind(2), hash(kind(1))) == ("mine", True, 5)


def test_nested_values_become_plain() -> None:
    @ours.dataclass
    class Inner:
        value: int

    @ours.dataclass
    class Outer:
        one: Inner
        several: tuple[Inner, ...]

    outer = Outer(Inner(1), (Inner(2), Inner(3)))
    assert ours.asdict(outer) == {"one": {"value": 1}, "several": ({"value": 2}, {"value": 3})}
    assert ours.astuple(outer) == ((1,), ((2,), (3,)))


def test_a_mutable_default_is_refused() -> None:
    with pytest.raises(ValueError, match="default_factory"):
        ours.dataclass(type("Kind", (), {"__annotations__": {"a": "list[int]"}, "a": []}))


def test_a_method_is_compiled_when_the_first_instance_is_made() -> None:
    @ours.dataclass
    class Kind:
        value: int

    later = Kind.__init__
    assert Kind(3).value == 3
    assert Kind.__init__ is not later
    assert Kind(value=4).value == 4
