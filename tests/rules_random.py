"""Random small networks in which every rule finds something, sound by construction or skipped."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from rules_kit import layer_text

KEEPING = ("conv", "conv", "wide", "norm", "norm", "act", "drop", "scale", "dilated", "identity")
CHANGING = ("up", "up", "nails", "deconv", "bilinear", "down", "unpool")
JOINING = ("concat", "concat", "concat", "add", "duplicate", "use", "parallel", "crop")
ACTS = ("relu", "sigmoid", "{op: leaky_relu, negative_slope: 0.2}")


@dataclass
class Value:
    """A map: the layer that makes it, its channels, its size over the image's."""

    name: str
    channels: int
    scale: int


@dataclass
class Network:
    """One network being written; `rng` decides everything."""

    rng: Random
    lines: list[str] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    convs: list[tuple[str, int, int]] = field(default_factory=list)  # name, channels in and out

    def add(self, stem: str, text: str, channels: int, scale: int, *reads: Value) -> Value:
        """One more layer."""
        name = f"{stem}{len(self.lines)}"
        text = text if text.startswith("{") else f"{{op: {text}}}"
        names = ", ".join(v.name for v in reads)
        source = f"from: [{names}]" if len(reads) > 1 else f"from: {names}"
        self.lines.append(f"  {name}: {text[:-1]}, {source}}}")
        made = Value(name, channels, scale)
        self.values.append(made)
        return made

    def any(self, scale: int | None = None, channels: int | None = None) -> list[Value]:
        """Values of this size and so many channels."""
        return [
            v
            for v in self.values
            if (scale is None or v.scale == scale) and (channels is None or v.channels == channels)
        ]

    def convolution(self, x: Value, out: int, **changes: object) -> Value:
        k = self.rng.choice((1, 1, 3, 3, 5))
        given: dict[str, object] = {"out_channels": out, "kernel_size": k, "padding": k // 2}
        given["bias"] = self.rng.choice((None, False))
        made = self.add("conv", layer_text("conv2d", **given | changes), out, x.scale, x)
        if x.scale:  # not of a map whose size no other has
            self.convs.append((made.name, x.channels, out))
        return made

    # --- one step -------------------------------------------------------------------------

    def step(self, x: Value) -> Value:
        """One or two layers behind a value."""
        rng, kind = self.rng, self.rng.choice(KEEPING + CHANGING + JOINING)
        if kind in ("concat", "add", "duplicate", "use", "parallel", "crop"):
            return self.join(kind, x)
        if kind in CHANGING:
            return self.resize(kind, x)
        if kind == "wide":
            return self.convolution(x, rng.choice((2, 6)))
        if kind == "dilated":
            d = rng.choice((2, 4, 9))
            return self.convolution(x, 4, kernel_size=3, padding=d, dilation=d)
        if kind == "conv":
            return self.convolution(x, rng.choice((4, x.channels)))
        texts = {
            "norm": rng.choice(("batch_norm2d", "frozen_batch_norm2d")),
            "act": rng.choice(ACTS),
            "drop": rng.choice(("dropout", "dropout2d")),
            "scale": "{op: scale, value: 0.75}",
            "identity": "identity",
        }
        return self.add(kind, texts[kind], x.channels, x.scale, x)

    def resize(self, kind: str, x: Value) -> Value:
        rng = self.rng
        if kind == "down" and x.scale > 1:
            pool = "{op: max_pool2d, kernel_size: 2}"
            return self.add("pool", pool, x.channels, x.scale // 2, x)
        if kind == "unpool":
            return self.unpool()
        if x.scale > 2:
            return self.convolution(x, 4)
        scale, bigger = 2, 2 * x.scale
        if kind == "nails":
            return self.add("nails", "bed_of_nails", x.channels, bigger, x)
        if kind == "deconv":
            text = layer_text("conv_transpose2d", out_channels=4, kernel_size=2, stride=2)
            return self.add("deconv", text, 4, bigger, x)
        if kind == "bilinear":
            text = layer_text(
                "conv_transpose2d", out_channels=x.channels, kernel_size=4, stride=2, bias=False
            )
            text = f"{text[:-1]}, init: {{weight: bilinear}}, freeze: true}}"
            large = self.add("deconv", text, x.channels, 0, x)  # two pixels more: cut them off
            cut, same = "{op: pad, padding: -1}", self.any(bigger)
            if same:
                cut = layer_text("crop", like=rng.choice(same).name, offset=1)
            made = self.add("cut", cut, x.channels, bigger, large)
            self.values.remove(large)
            return made
        mode = rng.choice(("nearest", "nearest-exact", "bilinear", "bicubic"))
        corners = True if mode == "bilinear" and rng.random() < 0.5 else None
        text = layer_text("interpolate", mode=mode, scale_factor=scale, align_corners=corners)
        return self.add("up", text, x.channels, bigger, x)

    def unpool(self) -> Value:
        """The image pooled and unpooled: elsewhere equal neighbours would make the largest one a
        matter of the last bit."""
        image = self.values[0]
        text = "{op: max_pool2d, kernel_size: 2, return_indices: true}"
        pooled = self.add("pool", text, 4, 0, image)
        inner = self.convolution(pooled, 4)
        text = layer_text("max_unpool2d", size=f"{pooled.name}.input")
        indices = Value(f"{pooled.name}.indices", 4, 0)
        large = self.add("unpool", text, 4, 1, inner, indices)
        self.values.remove(pooled)
        self.values.remove(inner)
        return self.convolution(large, 4)

    def join(self, kind: str, x: Value) -> Value:
        rng = self.rng
        if kind == "duplicate":
            first = self.add("act", "relu", x.channels, x.scale, x)
            self.add("act", "relu", x.channels, x.scale, x)
            return first
        if kind == "parallel":
            for _ in range(2):
                self.add("part", layer_text("conv2d", out_channels=1, kernel_size=1), 1, x.scale, x)
            return self.values[-1]
        if kind == "use":
            fitting = [c for c in self.convs if c[1] == x.channels]
            if fitting:
                name, _, out = rng.choice(fitting)
                return self.add("again", f"{{use: {name}}}", out, x.scale, x)
        if kind == "crop":
            other = rng.choice(self.any(x.scale))
            text = layer_text("crop", like=other.name)
            return self.add("crop", text, x.channels, x.scale, x)
        same = [v for v in self.any(x.scale, x.channels) if v.name != x.name]
        if kind == "add" and same:
            return self.add("sum", "add", x.channels, x.scale, x, rng.choice(same))
        return self.concat(x)

    def concat(self, x: Value) -> Value:
        """With other maps of the size, some of them enlarged to it; a convolution behind."""
        rng, others = self.rng, []
        for _ in range(rng.randint(1, 2)):
            other = rng.choice(self.values)
            if other.scale != x.scale or rng.random() < 0.3:
                mode = rng.choice(("nearest", "bilinear", "bilinear"))
                text = layer_text("interpolate", like=x.name, mode=mode)
                other = self.add("to", text, other.channels, x.scale, other)
            others.append(other)
        if rng.random() < 0.3:
            pool = "{op: adaptive_avg_pool2d, output_size: 1}"
            pooled = self.add("pixel", pool, x.channels, 0, x)
            self.values.remove(pooled)
            text = layer_text("interpolate", like=x.name, mode="bilinear")
            others.append(self.add("to", text, x.channels, x.scale, pooled))
        parts = [x, *others]
        rng.shuffle(parts)
        total = sum(v.channels for v in parts)
        mixed = self.add("mix", "concat", total, x.scale, *parts)
        return self.convolution(mixed, 4)


def random_network(seed: int) -> tuple[str, str]:
    """Layers over [N, 4, H, W] and the outputs: everything that no layer reads."""
    rng = Random(f"network {seed}")
    made = Network(rng, values=[Value("image", 4, 1)])
    x = made.values[0]
    for _ in range(rng.randint(4, 12)):
        x = made.step(x if rng.random() < 0.7 else rng.choice(made.values))
    read = {
        name.strip(" []}") for line in made.lines for name in line.partition("from: ")[2].split(",")
    }
    read |= {line.partition("like: ")[2].split(",")[0] for line in made.lines}
    unread = [v.name for v in made.values if v.name not in read and v.name != "image"]
    outputs = ", ".join(f"y{n}: {name}" for n, name in enumerate(unread))
    return "\n".join(made.lines), outputs.removeprefix("y0: ")
