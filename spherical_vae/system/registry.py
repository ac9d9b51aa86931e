"""Tables of kinds by name, which files of one's own can extend."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from spherical_vae.system.errors import UserError
from spherical_vae.system.names import require_name

Kind = TypeVar("Kind")


class Registry(Mapping[str, Kind], Generic[Kind]):
    """Kinds of one part of a model.

    A name with a dot in it is a module of one's own, which describes its kind as `KIND`. It is
    found wherever Python finds modules, so that a run that names it can be evaluated by whoever has
    the module.
    """

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        """Makes the table.

        Args:
          kinds: of the package, by name.
        """
        self._kinds = dict(kinds)
        self._type = type(next(iter(self._kinds.values())))

    def __getitem__(self, name: str) -> Kind:
        """Returns a kind.

        Raises:
          KeyError: neither in the table nor a module that describes a kind.
        """
        if name in self._kinds or "." not in name:
            return self._kinds[name]
        try:
            kind = importlib.import_module(name).KIND
        except (ImportError, AttributeError) as error:
            raise KeyError(f"{name}: {error}") from error
        if not isinstance(kind, self._type):
            raise KeyError(f"{name}: KIND is a {type(kind).__name__}, not a {self._type.__name__}")
        return kind

    def __iter__(self) -> Iterator[str]:
        """Iterates over the names of the package's own kinds."""
        return iter(self._kinds)

    def __len__(self) -> int:
        """Returns the number of the package's own kinds."""
        return len(self._kinds)

    def require(self, key: str, name: object) -> None:
        """Raises a `UserError` that names `key` unless `name` is a kind."""
        if not isinstance(name, str) or "." not in name:
            require_name(key, name, self)
            return
        try:
            self[name]
        except KeyError as error:
            raise UserError(
                f"{key}: {name!r} given, allowed: {', '.join(self)}, or a module with a KIND "
                f"({error.args[0]})"
            ) from error
