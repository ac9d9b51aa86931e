"""Tables of kinds by name, which a user's own modules can extend."""

import importlib
from collections.abc import Iterator, Mapping, MutableMapping
from types import ModuleType
from typing import Any, Generic, TypeVar

from spherical_vae.system.errors import UserError
from spherical_vae.system.names import nearest_name_hint

Kind = TypeVar("Kind")


class UnknownKindError(UserError, KeyError):
    """A name of no kind; a `KeyError`, so that `get` and `in` of a table are those of a mapping."""

    def __str__(self) -> str:
        # That of KeyError would quote it.
        return str(self.args[0])


class Registry(MutableMapping[str, Kind], Generic[Kind]):
    """The kinds of one part of a model, or the corpora, by name; iteration lists those of here.

    A name with a dot is the name of a user's module, which describes its kind by a constant. Python
    must find the module wherever the run is opened.

    Args:
      kinds: of the package, by name.
      constant: name of the constant in a user's module.
    """

    def __init__(self, kinds: Mapping[str, Kind], constant: str = "KIND") -> None:
        self._kinds = dict(kinds)
        self._type = type(next(iter(self._kinds.values())))
        self._constant = constant

    def __getitem__(self, name: str) -> Kind:
        if name in self._kinds:
            return self._kinds[name]
        if "." not in name:
            raise UnknownKindError(f"{name!r} given, allowed: {self._allowed(name)}")
        kind = getattr(_import(name), self._constant, None)
        if not isinstance(kind, self._type):
            wanted = f"{self._constant}, a {self._type.__name__}"
            raise UnknownKindError(f"module {name} has no {wanted}")
        return kind

    def __setitem__(self, name: str, kind: Kind) -> None:
        self._kinds[name] = kind

    def __delitem__(self, name: str) -> None:
        del self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def _allowed(self, name: str) -> str:
        own = f"a module of your own with a {self._constant}, whose name has a dot: package.module"
        return f"{', '.join(self)}, or {own}{nearest_name_hint(name, self)}"

    def check(self, key: str, value: str) -> None:
        """Raises a `UserError` that names `key` unless `value` is a kind: a `Rule`."""
        try:
            self[value]
        except UnknownKindError as error:
            raise UserError(f"{key}: {error}") from error


def _import(name: str) -> ModuleType:
    """Imports a user's module; mistakes in the module itself are raised as they are."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise UnknownKindError(f"{name!r} given, allowed: the name of a module, package.module")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise  # It imports something that is not here.
        raise UnknownKindError(
            f"{name!r} given, but {error}: Python must find it here, in an installed package or "
            "by $PYTHONPATH"
        ) from error


def part(module: str, name: str) -> Any:
    """Returns the function or class that the module of a kind must have.

    Raises:
      UserError: it has none, or is not found.
    """
    found = getattr(_import(module), name, None)
    if found is None:
        raise UserError(f"module {module} has no {name}, which makes the part of the model")
    return found
