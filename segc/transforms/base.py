"""What a transform is: arguments declared like an operator's, and a function graph -> graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from segc.ir import Graph
from segc.op import REQUIRED, Attr, collect_attrs


class Transform:
    """Base of all transforms; argument values are instance attributes, already checked."""

    name: ClassVar[str] = ""
    attrs: ClassVar[dict[str, Attr]] = {}

    def __init__(self, **values: Any) -> None:
        for name, a in self.attrs.items():
            setattr(self, name, values.get(name, None if a.default is REQUIRED else a.default))

    def apply(self, graph: Graph) -> Graph:
        """The rewritten graph; raises Problem where the transform cannot be exact."""
        raise NotImplementedError


TRANSFORMS: dict[str, type[Transform]] = {}


def transform(name: str) -> Callable[[type[Transform]], type[Transform]]:
    """Register a class as the transform `name`."""

    def register(cls: type[Transform]) -> type[Transform]:
        cls.name, cls.attrs = name, collect_attrs(cls, name)
        TRANSFORMS[name] = cls
        return cls

    return register
