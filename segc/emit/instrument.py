"""What the instrumented module adds: every layer's value recorded under the spec's name."""

from __future__ import annotations

PREAMBLE = '''\
_PATH: list[str] = []
_TAPS: dict[str, Tensor] = {}


def _tap(name, value, *ports):
    """Record what a layer computes, each port by its name."""
    path = ".".join([*_PATH, name])
    values = value if isinstance(value, tuple) else (value,)
    _TAPS[path] = values[0]
    for port, other in zip(ports, values[1:]):
        _TAPS[f"{path}.{port}"] = other
    return value


def _call(name, module, *args):
    """Call a module; the layers inside it are recorded under its name."""
    _PATH.append(name)
    value = module(*args)
    _PATH.pop()
    return _tap(name, value) if isinstance(value, Tensor) else value


class _Sequential(nn.Sequential):
    def forward(self, x):
        for name, module in self.named_children():
            x = _call(name, module, x)
        return x
'''

FORWARD = """
    def forward(self, *args, **kwargs):
        _PATH.clear()
        _TAPS.clear()
        result = self._forward(*args, **kwargs)
        self.taps = dict(_TAPS)
        return result"""


def instrumented(lines: list[str]) -> list[str]:
    """Class bodies with containers that record their items."""
    return [
        line.replace("nn.Sequential(", "_Sequential(").replace("(nn.Sequential)", "(_Sequential)")
        for line in lines
    ]
