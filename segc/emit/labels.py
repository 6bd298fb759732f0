"""`labels` of a deploy module: the class of every pixel without the scores of every pixel.

Where a network ends in a bilinear enlargement of its scores, the argmax of the enlarged map needs
the interpolation only between neighbours that disagree: where four neighbours have the same
largest class, so has every weighted mean of them.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from segc.check import Checked
from segc.emit.layout import Bracket, Tagged, statement
from segc.ops.resize import Interpolate

ARGMAX = '''\
def upsampled_argmax(scores: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """[N, H, W]: the largest channel of a bilinearly enlarged map, which is not made.

    Between four neighbours with the same largest channel it is the largest too, the enlarged
    value being their weighted mean. Only the other pixels are interpolated.
    """
    best, table = scores.argmax(1), scores.permute(0, 2, 3, 1)
    (up, down, below), (left, right, beside) = (
        neighbours(scores, 2 + axis, size[axis], align_corners) for axis in (0, 1)
    )
    corners = [best[:, y][:, :, x] for y in (up, down) for x in (left, right)]
    labels = corners[0]
    mixed = (labels != corners[1]) | (labels != corners[2]) | (labels != corners[3])
    for n, y, x in zip(*(part.split(65536) for part in mixed.nonzero(as_tuple=True))):
        upper = torch.lerp(table[n, up[y], left[x]], table[n, up[y], right[x]], beside[x, None])
        lower = torch.lerp(table[n, down[y], left[x]], table[n, down[y], right[x]], beside[x, None])
        labels[n, y, x] = torch.lerp(upper, lower, below[y, None]).argmax(1)
    return labels
'''
NEIGHBOURS = '''\
def neighbours(
    x: Tensor, axis: int, size: int, align_corners: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel of an enlarged axis the two it lies between and the share of the second."""
    length, real = x.shape[axis], torch.promote_types(x.dtype, torch.float32)
    at = torch.arange(size, device=x.device, dtype=real)
    if align_corners:
        source = at * ((length - 1) / max(size - 1, 1))
    else:
        source = ((at + 0.5) * (length / size) - 0.5).clamp(min=0)
    low = source.floor().long().clamp(max=length - 1)
    return low, (low + 1).clamp(max=length - 1), (source - low).to(x.dtype)
'''


@dataclass(frozen=True, slots=True)
class Ending:
    """The last statements of `forward`: the enlarged expression, the call, lines they start at."""

    small: str
    call: ast.Call
    key: str | None
    start: int


def with_labels(source: str, checked: Checked, name: str) -> str:
    """The source with `scores` and `labels` beside `forward` of the class `name`, if it can be."""
    resize = _enlargement(checked)
    if resize is None:
        return source
    tree = ast.parse(source)
    top = next(c for c in tree.body if isinstance(c, ast.ClassDef) and c.name == name)
    forward = next(f for f in top.body if isinstance(f, ast.FunctionDef) and f.name == "forward")
    ending = _ending(source, forward)
    if ending is None:
        return source
    lines = source.split("\n")
    assert forward.end_lineno is not None
    head, body = lines[: forward.lineno - 1], lines[forward.body[0].lineno - 1 : ending.start - 1]
    methods = _methods(lines[forward.lineno - 1], body, ending, bool(resize.align_corners), forward)
    text = "\n".join([*head, *methods, *lines[forward.end_lineno :]])
    before, first, rest = text.partition("\n\n\nclass ")
    return f"{before}\n\n\n{ARGMAX}\n\n{NEIGHBOURS}\n\nclass {rest}" if first else text


def _enlargement(checked: Checked) -> Interpolate | None:
    """The operator that makes the only output, if it enlarges scores of classes bilinearly."""
    graph = checked.graph
    if len(graph.outputs) != 1:
        return None
    (ref,) = graph.outputs.values()
    node = graph.by_name.get(ref.node)
    if node is None or node.scope or not isinstance(node.op, Interpolate):
        return None
    op, channels = node.op, checked.shape(ref)[1]
    scores = isinstance(channels, int) and channels > 1
    plain = op.mode == "bilinear" and not op.antialias and op.like in graph.inputs
    return op if scores and plain else None


def _ending(source: str, forward: ast.FunctionDef) -> Ending | None:
    """The return of an F.interpolate, by itself or in a dict of one."""
    last = forward.body[-1]
    value = last.value if isinstance(last, ast.Return) else None
    key, start = None, last.lineno
    if isinstance(value, ast.Dict) and len(value.keys) == 1:
        key = ast.get_source_segment(source, value.keys[0]) if value.keys[0] else None
        value = value.values[0]
        before = forward.body[-2] if len(forward.body) > 1 else None
        if isinstance(value, ast.Name) and isinstance(before, ast.Assign):
            if ast.unparse(before.targets[0]) != value.id:
                return None
            value, start = before.value, before.lineno
    if not isinstance(value, ast.Call) or ast.unparse(value.func) != "F.interpolate":
        return None
    return Ending(ast.unparse(value.args[0]), value, key, start)


def _methods(
    head: str, body: list[str], ending: Ending, corners: bool, forward: ast.FunctionDef
) -> list[str]:
    """`forward`, `scores` and `labels`."""
    argument = forward.args.args[1].arg
    (size,) = (k.value for k in ending.call.keywords if k.arg == "size")
    target = _renamed(size, ending.small)
    arguments = ("scores", Tagged("size=", target), 'mode="bilinear"')
    flag = f"align_corners={corners}"
    enlarged = Bracket("F.interpolate", (*arguments, flag))
    result = enlarged
    if ending.key is not None:
        result = Bracket("", (Tagged(f"{ending.key}: ", enlarged),), "{}")
    small = head.replace("def forward(", "def scores(").split(" -> ")[0] + " -> Tensor:"
    return [
        head,
        f"        scores = self.scores({argument})",
        *statement("return ", result, 8),
        "",
        small,
        '        """The scores before they are enlarged to the size of the image."""',
        *_returning(body, ending.small),
        "",
        small.replace("def scores(", "def labels("),
        '        """[N, H, W]: the class of each pixel, as forward(...).argmax(1) gives it."""',
        f"        scores = self.scores({argument})",
        *statement("return ", Bracket("upsampled_argmax", ("scores", target, flag)), 8),
    ]


def _returning(body: list[str], small: str) -> list[str]:
    """The statements, the last of which is returned instead of named."""
    named = f"        {small} = "
    if body and body[-1].startswith(named):
        return [*body[:-1], body[-1].replace(named, "        return ", 1)]
    return [*body, *statement("return ", small, 8)]


def _renamed(size: ast.expr, small: str) -> str:
    """The size of the enlarged map, with the small one under its new name."""
    for node in ast.walk(size):
        if isinstance(node, ast.Name) and node.id == small:
            node.id = "scores"
    return ast.unparse(size)
