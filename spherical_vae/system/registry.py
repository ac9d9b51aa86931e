"""Tables of kinds by name, which a user's own modules can extend."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from spherical_vae.system.errors import UserError
from spherical_vae.system.names import require_name

Kind = TypeVar("Kind")


class Registry(Mapping[str, Kind], Generic[Kind]):
    """The kinds of one part of a model, by name; iteration lists those of the package.

    A name with a dot is the name of a user's module, which describes its kind as `KIND`. Python
    must find the module wherever the run is opened.
    """

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = dict(kinds)
        self._type = type(next(iter(self._kinds.values())))

    def __getitem__(self, name: str) -> Kind:
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
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def check(self, key: str, value: str) -> None:
        """Raises a `UserError` that names `key` unless `value` is a kind: a `Rule`."""
        if "." not in value:
            require_name(key, value, self)
            return
        try:
            self[value]
        except KeyError as error:
            raise UserError(
                f"{key}: {value!r} given, allowed: {', '.join(self)}, or a module with a KIND "
                f"({error.args[0]})"
            ) from error
