"""Run by test_unpool_conv.py: compiles the kernels for GPUs that need not be there.

Triton's interpreter checks no types and no sizes of tiles; its compiler does. Prints one JSON
object: kernel -> how many instructions of tensor cores it has.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

import segc

sys.path.insert(0, str(Path(segc.__file__).parent / "emit" / "kernels"))
import unpool_conv as fused


class Absent:
    """Stands for the driver of a GPU: what the compiler asks about it."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


class Compiled:
    """A kernel that is compiled where it would be launched."""

    found: dict[str, int] = {}

    def __init__(self, kernel: Any, name: str) -> None:
        self.kernel, self.name = kernel, name

    def __getitem__(self, grid: Any) -> Any:
        def compile(*args: Any, **options: Any) -> None:
            text = self.kernel.warmup(*args, grid=grid, **options).asm["ptx"]
            Compiled.found[self.name] = len(re.findall(r"\bw?g?mma", text))

        return compile


def main() -> None:
    driver.set_active(Absent(int(sys.argv[1])))
    names = ("convolve_kernel", "pooled_gradient_kernel", "weight_gradient_kernel")
    kernels = {name: getattr(fused.kernels, name) for name in names}
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for mirrored in (False, True):
            for name in names:
                label = f"{name}, {dtype}, {'mirrored' if mirrored else 'straight'}"
                setattr(fused.kernels, name, Compiled(kernels[name], label))
            x = torch.empty(2, 64, 8, 8, dtype=dtype)
            weight = torch.empty(64, 64, 3, 3, dtype=dtype)
            places = torch.empty(x.shape, dtype=torch.int64)
            shape = fused.Geometry((2, 2), (3, 3), (1, 1), (1, 1), (16, 16), (16, 16), mirrored)
            y = fused.empty_map(x, 64, (16, 16))
            fused.convolve(x, places, weight, None if mirrored else weight[0, 0, 0], shape)
            fused.pooled_gradient(y, x, places, weight, shape)
            fused.weight_gradient(y, x, places, weight, shape)
    print(json.dumps(Compiled.found))


if __name__ == "__main__":
    main()
