"""`dataclass`, `field` and what belongs to them: as in the standard library, but cheap at each start of a client.

The standard library compiles up to six methods for each class, which takes half a millisecond. A client imports more
than a hundred of these classes, and makes instances of half of them. So here a method is compiled when it is called for
the first time. Those that are rarely called (`__repr__`, and what refuses to change a frozen instance) never are.

Type checkers read the module of the standard library instead. What this program does not use of it is missing here, see
the signatures. The functions of the standard library, such as `dataclasses.replace`, accept these classes too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

_MISSING = object()
_OWN = "__fields__"
"""The attribute of a class that has its fields, by name and in their order."""


class Field:
    """One field. `default` and `default_factory` are _MISSING where there is none."""

    name: str
    type: Any
    """As it is annotated: a text, in a module that imports annotations from __future__."""
    kw_only: bool

    def __init__(self, default: Any, default_factory: Any, *, init: bool, repr: bool, compare: bool) -> None:
        self.default = default
        self.default_factory = default_factory
        self.init = init
        self.repr = repr
        self.compare = compare

    @property
    def has_default(self) -> bool:
        return self.default is not _MISSING or self.default_factory is not _MISSING


def _field(
    *,
    default: Any = _MISSING,
    default_factory: Any = _MISSING,
    init: bool = True,
    repr: bool = True,
    compare: bool = True,
) -> Any:
    return Field(default, default_factory, init=init, repr=repr, compare=compare)


def _dataclass(
    kind: type | None = None,
    /,
    *,
    eq: bool = True,
    frozen: bool = False,
    kw_only: bool = False,
    slots: bool = False,
) -> Any:
    def make(kind: type) -> type:
        return _make(kind, eq=eq, frozen=frozen, kw_only=kw_only, slots=slots)

    return make if kind is None else make(kind)


def _make(kind: type, *, eq: bool, frozen: bool, kw_only: bool, slots: bool) -> type:
    """The class with its methods. With `slots` it is a new one, since Python cannot add slots to a class."""
    own = _declared(kind, kw_only=kw_only)
    fields = {name: each for base in kind.__mro__[:0:-1] for name, each in vars(base).get(_OWN, {}).items()} | own
    if slots:
        kind = _with_slots(kind, own)
    given = vars(kind)
    methods: dict[str, Any] = {
        "__init__": _later(kind, "__init__", lambda: _init(kind, fields, frozen=frozen, slots=slots)),
        "__match_args__": tuple(name for name, each in fields.items() if each.init and not each.kw_only),
        "__repr__": _repr([name for name, each in fields.items() if each.repr]),
    }
    if eq:
        compared = [name for name, each in fields.items() if each.compare]
        methods["__eq__"] = _later(kind, "__eq__", lambda: _eq(compared))
        if given.get("__hash__") is None:  # Python sets None where a class has __eq__ alone
            method = _later(kind, "__hash__", lambda: _hash(compared)) if frozen else None
            setattr(kind, "__hash__", method)  # noqa: B010 - mypy
    if frozen:
        methods["__setattr__"], methods["__delattr__"] = _refusing(kind, fields)
    for name, method in methods.items():
        if name not in given:
            setattr(kind, name, method)
    setattr(kind, _OWN, fields)
    for name in ("__dataclass_fields__", "__dataclass_params__"):
        setattr(kind, name, _AsInStandardLibrary(name, frozen=frozen))
    return kind


def _declared(kind: type, *, kw_only: bool) -> dict[str, Field]:
    """The fields that the body of a class declares. Of their defaults, the class keeps those that are plain values."""
    own = {}
    for name, annotation in vars(kind).get("__annotations__", {}).items():
        if _is_of_class(annotation):
            continue
        given = vars(kind).get(name, _MISSING)
        each = given if isinstance(given, Field) else Field(given, _MISSING, init=True, repr=True, compare=True)
        each.name, each.type, each.kw_only = name, annotation, kw_only
        if each.default is not _MISSING:
            if each.default.__class__.__hash__ is None:
                raise ValueError(f"mutable default of {kind.__name__}.{name}: use default_factory")
            setattr(kind, name, each.default)
        elif given is not _MISSING:
            delattr(kind, name)
        own[name] = each
    return own


def _is_of_class(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.startswith("ClassVar")
    return getattr(annotation, "__origin__", annotation) is ClassVar


def _with_slots(kind: type, own: Mapping[str, Field]) -> type:
    body = {name: value for name, value in vars(kind).items() if name not in own}
    body.pop("__dict__", None)
    body.pop("__weakref__", None)
    inherited = {name for base in kind.__mro__[1:-1] for name in _slots_of(base)}
    body["__slots__"] = tuple(name for name in own if name not in inherited)
    made: type = type(kind)(kind.__name__, kind.__bases__, body)
    made.__qualname__ = kind.__qualname__
    return made


def _slots_of(kind: type) -> Iterable[str]:
    slots: str | Iterable[str] = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else slots


def _later(kind: type, name: str, compile_it: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """A method that replaces itself by the compiled one."""

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        compiled = compile_it()
        setattr(kind, name, compiled)
        return compiled(self, *arguments, **named)

    return method


def _init(kind: type, fields: Mapping[str, Field], *, frozen: bool, slots: bool) -> Callable[..., None]:
    parameters, body = ["self"], []
    named: list[str] = []
    scope: dict[str, Any] = {"_set": object.__setattr__, "_made": _MISSING}
    for name, each in fields.items():
        value = name
        if each.default_factory is not _MISSING:
            scope[f"_default_{name}"] = each.default_factory
            value = f"_default_{name}() if {name} is _made else {name}" if each.init else f"_default_{name}()"
        elif each.default is not _MISSING:
            scope[f"_default_{name}"] = each.default
            value = name if each.init else f"_default_{name}"
        if each.init:
            default = "_made" if each.default_factory is not _MISSING else f"_default_{name}"
            (named if each.kw_only else parameters).append(f"{name}={default}" if each.has_default else name)
        elif each.default_factory is _MISSING and (each.default is _MISSING or not slots):
            continue
        body.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(kind, "__post_init__"):
        body.append("self.__post_init__()")
    if named:
        parameters += ["*", *named]
    made = _compiled("__init__", parameters, body or ["pass"], scope)
    made.__qualname__ = f"{kind.__qualname__}.__init__"  # errors about arguments name it
    return made


def _eq(names: list[str]) -> Callable[[Any, object], bool]:
    same = f"{_tuple('self', names)} == {_tuple('other', names)}"
    body = [f"return {same} if other.__class__ is self.__class__ else NotImplemented"]
    return _compiled("__eq__", ["self", "other"], body, {})


def _hash(names: list[str]) -> Callable[[Any], int]:
    return _compiled("__hash__", ["self"], [f"return hash({_tuple('self', names)})"], {})


def _tuple(instance: str, names: list[str]) -> str:
    return f"({''.join(f'{instance}.{name}, ' for name in names)})"


def _compiled(name: str, parameters: list[str], body: list[str], scope: dict[str, Any]) -> Callable[..., Any]:
    exec(f"def {name}({', '.join(parameters)}):\n " + "\n ".join(body), scope)
    made: Callable[..., Any] = scope[name]
    return made


def _repr(names: list[str]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return __repr__


def _refusing(kind: type, fields: Mapping[str, Field]) -> tuple[Callable[..., None], Callable[..., None]]:
    """__setattr__ and __delattr__ of a frozen class. A subclass that is not frozen may have more attributes."""

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if type(self) is kind or name in fields:
            _refuse(f"cannot assign to field {name!r}")
        super(kind, self).__setattr__(name, value)  # type: ignore[arg-type]  # mypy wants the name of a class

    def __delattr__(self: Any, name: str) -> None:
        if type(self) is kind or name in fields:
            _refuse(f"cannot delete field {name!r}")
        super(kind, self).__delattr__(name)  # type: ignore[arg-type]

    return __setattr__, __delattr__


def _refuse(what: str) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(what)


class _AsInStandardLibrary:
    """What functions of the standard library want to see of a class. It is made when they look."""

    def __init__(self, name: str, *, frozen: bool) -> None:
        self._name = name
        self._frozen = frozen

    def __get__(self, instance: object, owner: type) -> Any:
        import dataclasses

        fields = [(name, each.type, _standard(each)) for name, each in getattr(owner, _OWN).items()]
        return getattr(dataclasses.make_dataclass(owner.__name__, fields, frozen=self._frozen), self._name)


def _standard(each: Field) -> Any:
    import dataclasses

    given: dict[str, Any] = {"init": each.init, "repr": each.repr, "compare": each.compare, "kw_only": each.kw_only}
    given |= {
        name: getattr(each, name) for name in ("default", "default_factory") if getattr(each, name) is not _MISSING
    }
    return dataclasses.field(**given)


def _fields(of: Any) -> tuple[Field, ...]:
    return tuple(getattr(of, _OWN).values())


def _replace(instance: Any, /, **changes: Any) -> Any:
    values = {each.name: getattr(instance, each.name) for each in _fields(instance) if each.init}
    return type(instance)(**values | changes)


def _asdict(instance: Any) -> dict[str, Any]:
    return {each.name: _plain(getattr(instance, each.name), _asdict) for each in _fields(instance)}


def _astuple(instance: Any) -> tuple[Any, ...]:
    return tuple(_plain(getattr(instance, each.name), _astuple) for each in _fields(instance))


def _plain(value: Any, convert: Callable[[Any], Any]) -> Any:
    if hasattr(value, _OWN):
        return convert(value)
    if type(value) in (list, tuple):
        return type(value)(_plain(each, convert) for each in value)
    return value


if TYPE_CHECKING:
    from dataclasses import asdict, astuple, dataclass, field, fields, replace
else:
    asdict, astuple, dataclass, field, fields, replace = _asdict, _astuple, _dataclass, _field, _fields, _replace

__all__ = ["asdict", "astuple", "dataclass", "field", "fields", "replace"]
