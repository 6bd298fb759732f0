"""Random specs that are valid by construction: every map keeps its height and width."""

from __future__ import annotations

from random import Random

PAIR = """\
  pair:
    params: {out: int}
    inputs: [x, other]
    layers:
      a: {op: conv2d, from: x, out_channels: out, kernel_size: 3, padding: 1}
      b: {op: conv2d, from: other, out_channels: out, kernel_size: 1}
      sum: {op: add, from: [a, b]}
      act: relu"""
ACTS = ("relu", "{op: leaky_relu, negative_slope: 0.2}", "sigmoid", "identity", "gelu")
WIDTHS = ("4", "6", "width", "2 * width", "width + 2")


class Writer:
    """Writes one spec; `rng` decides everything."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.blocks: list[str] = []
        self.names = 0
        self.made: dict[str, list[tuple[str, str, str]]] = {}  # layers of the list being written

    def name(self, stem: str) -> str:
        self.names += 1
        return f"{stem}{self.names}"

    def width(self, inside: bool) -> str:
        return self.rng.choice(("out", "2 * out", "4") if inside else WIDTHS)

    def conv(self, width: str) -> str:
        k = self.rng.choice((1, 3, 5))
        bias = self.rng.choice(("", ", bias: false"))
        return f"op: conv2d, out_channels: {width}, kernel_size: {k}, padding: {k // 2}{bias}"

    # --- lists of layers: (lines, names that can be read, with the width of each) -----------
    def layers(self, depth: int, inside: bool, pad: str, first: tuple[str, str]) -> list[str]:
        """Lines of a `layers:` list that reads `first` (its name, its width)."""
        outer, self.made[pad] = self.made.get(pad, []), []
        values = [first]  # (name, width); the last one is what the next layer reads
        lines: list[str] = []
        for _ in range(self.rng.randint(2, 5)):
            lines += self.layer(depth, inside, pad, values)
        self.made[pad] = outer
        return lines

    def layer(self, depth: int, inside: bool, pad: str, values: list[tuple[str, str]]) -> list[str]:
        kind = self.rng.choice(
            ("conv", "conv", "act", "bn", "add", "concat", "group", "numbered", "block", "repeat",
             "when", "pool", "use", "use", "pair", "outer", "updown")
        )  # fmt: skip
        last, width = values[-1]
        if kind == "act":
            name = self.name("act")
            values.append((name, width))
            return [f"{pad}{name}: {self.rng.choice(ACTS)}"]
        if kind == "bn":
            name = self.name("bn")
            values.append((name, width))
            return [f"{pad}{name}: batch_norm2d"]
        if kind == "pool":
            name = self.name("smooth")
            values.append((name, width))
            return [f"{pad}{name}: {{op: max_pool2d, kernel_size: 3, stride: 1, padding: 1}}"]
        if kind == "when":
            name, when = (
                self.name("maybe"),
                self.rng.choice(
                    ("flag", "not flag", "true", "false") if not inside else ("flag", "false")
                ),
            )
            values.append((name, width))
            if self.rng.random() < 0.4:
                group = f"{pad}{name}:\n{pad}  when: {when}\n{pad}  layers:\n"
                return [f"{group}{pad}    0: batch_norm2d\n{pad}    1: relu"]
            if self.rng.random() < 0.4:
                group = f"{pad}{name}:\n{pad}  when: {when}\n{pad}  layers:\n"
                return [f"{group}{pad}    n: batch_norm2d\n{pad}    act: relu"]
            return [f"{pad}{name}: {{op: batch_norm2d, when: {when}}}"]
        if kind == "use" and self.made.get(pad):
            fitting = [m for m in self.made[pad] if m[1] == width]
            if fitting:
                target, _, out = self.rng.choice(fitting)
                name = self.name("again")
                values.append((name, out))
                return [f"{pad}{name}: {{use: {target}}}"]
        if kind == "pair" and len(values) > 1:
            name, out = self.name("pair"), self.width(inside)
            other = self.rng.choice(values[:-1])
            extra = self.rng.choice(("", ", when: flag", ", repeat: 3")) if out == width else ""
            values.append((name, out))
            return [f"{pad}{name}: {{block: pair, from: [{last}, {other[0]}], out: {out}{extra}}}"]
        if kind == "outer" and len(values) > 1:
            name, out = self.name("outer"), self.width(inside)
            other = self.rng.choice(values[:-1])
            values.append((name, out))
            lines = [f"{pad}{name}:", f"{pad}  layers:"]
            lines += [f"{pad}    mix: {{op: concat, from: [{last}, {other[0]}]}}"]
            return [*lines, f"{pad}    conv: {{{self.conv(out)}}}"]
        if kind == "updown":
            name = self.name("down")
            values.append((name, width))
            lines = [f"{pad}{name}:", f"{pad}  layers:"]
            lines += [f"{pad}    pool: {{op: max_pool2d, kernel_size: 2, return_indices: true}}"]
            lines += [f"{pad}    mid: batch_norm2d"]
            size = "pool.input"
            rest = f"op: max_unpool2d, from: [mid, pool.indices], size: {size}"
            return [*lines, f"{pad}    up: {{{rest}}}"]
        if kind == "add":
            others = [v for v in values if v[1] == width and v[0] != last]
            if others:
                name = self.name("add")
                values.append((name, width))
                other = self.rng.choice(others)[0]
                return [f"{pad}{name}: {{op: add, from: [{last}, {other}]}}"]
        if kind == "concat" and len(values) > 1:
            name, other = self.name("cat"), self.rng.choice(values[:-1])
            values.append((name, f"{width}|{other[1]}"))
            return [f"{pad}{name}: {{op: concat, from: [{last}, {other[0]}]}}"]
        if depth and kind in ("group", "numbered", "block", "repeat"):
            return self.nested(kind, depth, inside, pad, values)
        name, out = self.name("conv"), self.width(inside)
        values.append((name, out))
        self.made.setdefault(pad, []).append((name, width, out))
        width = out
        return [f"{pad}{name}: {{{self.conv(width)}}}"]

    def nested(
        self, kind: str, depth: int, inside: bool, pad: str, values: list[tuple[str, str]]
    ) -> list[str]:
        width = self.width(inside)
        if kind == "group":
            name = self.name("group")
            inner = self.layers(depth - 1, inside, pad + "    ", values[-1])
            tail = f"{pad}    end: {{{self.conv(width)}}}"
            middle = self.name("mid")
            tap = f"{pad}    {middle}: {{{self.conv(width)}}}"
            values += [(f"{name}.{middle}", width), (name, width)]
            return [f"{pad}{name}:", f"{pad}  layers:", *inner, tap, tail]
        if kind == "numbered":
            name = self.name("seq")
            values += [(f"{name}.0", width), (name, width)]
            items = [f"{{{self.conv(width)}}}", self.rng.choice(ACTS), f"{{{self.conv(width)}}}"]
            lines = [f"{pad}    {n}: {item}" for n, item in enumerate(items)]
            return [f"{pad}{name}:", f"{pad}  layers:", *lines]
        block = self.block(depth - 1)
        name = self.name("use" if kind == "block" else "rep")
        flag = self.rng.choice(("true", "false"))
        if kind == "block":
            self.made.setdefault(pad, []).append((name, values[-1][1], width))
            values.append((name, width))
            return [f"{pad}{name}: {{block: {block}, out: {width}, flag: {flag}}}"]
        count = self.rng.randint(1, 4)
        values += [(f"{name}.0", width), (name, width)]
        flag = self.rng.choice((flag, "i == 0", "i % 2 == 1"))
        return [f"{pad}{name}: {{repeat: {count}, block: {block}, out: {width}, flag: {flag}}}"]

    def block(self, depth: int) -> str:
        """The name of a block that maps any map to one of `out` channels."""
        if self.blocks and self.rng.random() < 0.6:
            return self.rng.choice(self.blocks).split(":")[0].strip()
        name = self.name("block")
        body = self.layers(depth, True, "      ", ("x", "in"))
        end = "      norm: {op: batch_norm2d, when: flag}\n"
        end += f"      last: {{{self.conv('out')}}}"
        head = [f"  {name}:", "    params: {out: int, flag: false}", "    inputs: [x]"]
        self.blocks.append("\n".join([*head, "    layers:", *body, end]))
        return name


def random_spec(seed: int) -> str:
    """A spec with groups, blocks, repeats, conditions, taps and joins."""
    w = Writer(seed)
    body = w.layers(3, False, "  ", ("image", "3"))
    extra = ["  aux: {op: conv2d, out_channels: 2, kernel_size: 1, only: train}"]
    train = w.rng.random() < 0.3
    lines = ["segc: 1", "model: Net", "params: {classes: 3, width: 4, flag: true}", "inputs:"]
    lines += ["  image: [N, 3, H, W]"]
    lines += ["blocks:", PAIR, *w.blocks]
    lines += ["layers:", *body, "  wide: {op: conv2d, out_channels: width, kernel_size: 1}"]
    lines += ["  norm: {op: batch_norm2d, when: flag}"]
    lines += ["  head: {op: conv2d, out_channels: classes, kernel_size: 1}"]
    lines += extra if train else []
    return "\n".join([*lines, f"outputs: {{head: head{', aux: aux' if train else ''}}}"]) + "\n"
