"""Images and label maps for FCN-8s (VGG16).

Data sets, decoding, augmentation, synthetic scenes.
Geometry happens in one place (`resize`, `Samples.sample`): image and label map always go through
the same window, the image bilinearly, the labels by nearest neighbour, so that no label is ever
mixed. Whatever is random is a function of (seed, epoch, index), in any number of workers.
Images are decoded as stored (EXIF rotation is not applied), to RGB.

    python data.py --data camvid --root DIR --split train      # reads everything, lists faults
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from runtime import Stop, run

CHANNELS = 3  # of the image
CLASSES = 21
IGNORE = 255  # label of pixels that count neither in the loss nor in the scores
MEAN = (104.00699, 116.66877, 122.67892)  # of BGR, 0 to 255
STD = (1, 1, 1)
MAX_PIXELS = 64_000_000  # larger images are refused before they are decoded

KINDS = ("synthetic", "camvid", "voc", "cityscapes", "ade20k", "coco", "folder")


def accepts(H: int, W: int) -> bool:
    """Whether the network takes an image of this size, as derived from its layers."""
    return min(H, W) >= 1


def to_input(image: Tensor) -> Tensor:
    """What the network was made for, from uint8 [3, H, W]: BGR, 0 to 255, minus MEAN, over STD."""
    mean = torch.tensor(MEAN).view(-1, 1, 1)
    std = torch.tensor(STD).view(-1, 1, 1)
    return (image.flip(0).float() - mean) / std


# --- data sets ------------------------------------------------------------------------------


class Split(Protocol):
    """One split of a data set: `names` of the classes, and image and labels by number."""

    names: list[str]

    def __len__(self) -> int: ...
    def name(self, index: int) -> str: ...
    def image(self, index: int) -> Tensor: ...
    def mask(self, index: int) -> Tensor: ...


@dataclass
class Files:
    """Image and label files; `values` says which class (or IGNORE) a stored label stands for."""

    pairs: list[tuple[Path, Path]]
    names: list[str]
    values: dict[int, int]

    def __post_init__(self) -> None:
        self.table = torch.full((65536,), -1, dtype=torch.int16)
        for value, label in self.values.items():
            self.table[value] = label

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        return str(self.pairs[index][0])

    def image(self, index: int) -> Tensor:
        """uint8 [C, H, W]"""
        return read_image(self.pairs[index][0])

    def mask(self, index: int) -> Tensor:
        """uint8 [H, W] of class ids and IGNORE; a label that is neither is an error."""
        path = self.pairs[index][1]
        stored = read_labels(path)
        mask = self.table[stored]
        if (mask < 0).any():
            raise Stop(bad_labels(path, stored, mask < 0))
        return mask.to(torch.uint8)


def bad_labels(path: Path, stored: Tensor, bad: Tensor) -> str:
    value = int(stored[bad][0])
    where = bad & (stored == value)
    y, x = where.nonzero()[0].tolist()
    hint = "map it with --label-map, or" if value > CLASSES else "if it means no class,"
    return (
        f"{path}: label {value} ({int(where.sum())} pixels, first at x={x} y={y}) is none of the "
        f"{CLASSES} classes 0..{CLASSES - 1} nor {IGNORE} (ignored); {hint} "
        f"use --label-map {value}:{IGNORE}"
    )


def listed(root: Path, split: str) -> list[tuple[Path, Path]]:
    """The pairs of `<split>.txt`: one `image label` a line, relative to the root."""
    pairs = []
    for number, line in enumerate(lines_of(root / f"{split}.txt"), 1):
        parts = line.split()
        if len(parts) != 2:
            raise Stop(f"{root / split}.txt:{number}: needs `image label`, got {line!r}")
        image, label = (root / part.lstrip("/") for part in parts)
        pairs.append((image, label))
    return pairs


def lines_of(path: Path) -> list[str]:
    if not path.is_file():
        raise Stop(f"{path}: no such file (is --root right, and does this split exist?)")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def camvid(root: Path, split: str) -> Files:
    """CamVid with 11 classes: train.txt, val.txt, test.txt; label 11 is unlabelled."""
    names = "Sky Building Pole Road Pavement Tree SignSymbol Fence Car Pedestrian Bicyclist"
    return Files(listed(root, split), names.split(), {**{i: i for i in range(11)}, 11: IGNORE})


def voc(root: Path, split: str) -> Files:
    """PASCAL VOC: the folder with JPEGImages (or one above it); 255 is the border."""
    found = [root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"]
    base = next((path for path in found if (path / "JPEGImages").is_dir()), None)
    if base is None:
        raise Stop(f"{root}: no JPEGImages folder here, nor in VOCdevkit/VOC2012")
    names = (
        "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog "
        "horse motorbike person pottedplant sheep sofa train tvmonitor"
    )
    stems = lines_of(base / "ImageSets" / "Segmentation" / f"{split}.txt")
    pairs = [
        (base / "JPEGImages" / f"{stem}.jpg", base / "SegmentationClass" / f"{stem}.png")
        for stem in stems
    ]
    return Files(pairs, names.split(), {**{i: i for i in range(21)}, 255: IGNORE})


def cityscapes(root: Path, split: str) -> Files:
    """Cityscapes: leftImg8bit and gtFine with the original label ids, 19 of which are trained."""
    names = (
        "road,sidewalk,building,wall,fence,pole,traffic light,traffic sign,vegetation,terrain,sky,"
        "person,rider,car,truck,bus,train,motorcycle,bicycle"
    )
    trained = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
    pairs = []
    for image in sorted((root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png")):
        stem = image.name.removesuffix("_leftImg8bit.png")
        city = root / "gtFine" / split / image.parent.name
        pairs.append((image, city / f"{stem}_gtFine_labelIds.png"))
    values = dict.fromkeys(range(256), IGNORE) | {v: i for i, v in enumerate(trained)}
    return Files(pairs, names.split(","), values)


def ade20k(root: Path, split: str) -> Files:
    """ADE20K scene parsing (ADEChallengeData2016): labels 1..150; 0 is everything else."""
    folder = {"train": "training", "val": "validation"}.get(split, split)
    images = sorted((root / "images" / folder).glob("*.jpg"))
    pairs = [(p, root / "annotations" / folder / f"{p.stem}.png") for p in images]
    values = {0: IGNORE, **{i: i - 1 for i in range(1, 151)}}
    return Files(pairs, [f"class {i}" for i in range(1, 151)], values)


def coco(root: Path, split: str) -> Files:
    """COCO-Stuff pixel maps (stuffthingmaps): ids 0..181; 255 is unlabelled."""
    images = sorted((root / f"{split}2017").glob("*.jpg"))
    maps = root / "stuffthingmaps" / f"{split}2017"
    if not maps.is_dir():
        raise Stop(f"{maps}: no such folder; coco needs the COCO-Stuff pixel maps (PNG)", 2)
    pairs = [(p, maps / f"{p.stem}.png") for p in images]
    values = {**{i: i for i in range(182)}, 255: IGNORE}
    return Files(pairs, [f"class {i}" for i in range(182)], values)


def folder(root: Path, split: str, label_map: dict[int, int] | None = None) -> Files:
    """Your own data: lists `train.txt`, `val.txt` of `image label` lines, or two folders.

    `images/` and `masks/` are paired by file name; inside them `train/` and `val/`, or nothing:
    then every fifth image is `val`. What the stored labels mean says `label_map`, else lines
    `- {id: 0, name: cell, png_value: 255}` of a classes.yaml, else they are the class ids.
    """
    names, described = classes_yaml(root / "classes.yaml")
    values = label_map or described or {i: i for i in range(CLASSES)}
    pairs = listed(root, split) if (root / f"{split}.txt").is_file() else matched(root, split)
    return Files(pairs, names or own_names(), {IGNORE: IGNORE, **values})


def matched(root: Path, split: str) -> list[tuple[Path, Path]]:
    """Images and masks of the same stem."""
    nested = (root / "images" / split).is_dir()
    images = by_stem(root / "images" / split if nested else root / "images")
    masks = by_stem(root / "masks" / split if nested else root / "masks")
    lonely = sorted(images.keys() ^ masks.keys())
    if lonely:
        raise Stop(f"{root}: {lonely[0]!r} has no partner ({len(lonely)} such files)")
    if not nested and split not in ("train", "val"):
        raise Stop(f"{root}: no {split} split; {split}.txt, or images/{split} and masks/{split}")
    chosen = [
        stem
        for number, stem in enumerate(sorted(images))
        if nested or (number % 5 == 4) == (split == "val")
    ]
    return [(images[stem], masks[stem]) for stem in chosen]


def by_stem(path: Path) -> dict[str, Path]:
    if not path.is_dir():
        raise Stop(f"{path}: no such folder; it needs images/ and masks/, or train.txt and val.txt")
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"):
            if file.stem in found:
                raise Stop(f"{file}: {found[file.stem].name} has the same name")
            found[file.stem] = file
    return found


def classes_yaml(path: Path) -> tuple[list[str], dict[int, int]]:
    """Names, and class ids by stored label, of lines `- {id: 0, name: cell, png_value: 255}`."""
    if not path.is_file():
        return [], {}
    text = path.read_text(encoding="utf-8")
    ignored = re.search(r"^ignore_index: (\d+)", text, re.MULTILINE)
    names: dict[int, str] = {}
    values = {int(ignored[1]): IGNORE} if ignored else {}
    for line in re.findall(r"^\s*- \{(.*)\}", text, re.MULTILINE):
        fields = dict(re.findall(r"(\w+): ([^,\[\]]+)", line))
        if not fields.get("id", "").isdigit() or "name" not in fields:
            raise Stop(f"{path}: a class needs an id and a name: {line}")
        number, stored = int(fields["id"]), fields.get("png_value", fields["id"])
        if ignored and number == int(ignored[1]):
            continue
        if not stored.isdigit() or int(stored) > 65535:
            raise Stop(f"{path}: png_value {stored} is not a label")
        names[number] = fields["name"].strip("'\" ")
        values[int(stored)] = number
    return [names[number] for number in sorted(names)], values if names else {}


def own_names() -> list[str]:
    return [f"class {i}" for i in range(CLASSES)]


def open_split(
    kind: str, root: str | None, split: str, size: tuple[int, int], labels: str = ""
) -> Split:
    """The split, checked against the network; `size` is that of synthetic scenes."""
    if kind == "synthetic":
        return Scenes(split, size)
    if root is None:
        raise Stop(f"--data {kind} needs --root DIR", 2)
    if labels and kind != "folder":
        raise Stop("--label-map goes with --data folder", 2)
    if kind == "folder":
        found = folder(Path(root), split, label_map(labels))
    else:
        reader = {"camvid": camvid, "voc": voc, "cityscapes": cityscapes}
        found = (reader | {"ade20k": ade20k, "coco": coco})[kind](Path(root), split)
    if len(found.names) != CLASSES:
        raise Stop(f"{kind} has {len(found.names)} classes, the network {CLASSES}: rebuild it")
    if not found.pairs:
        raise Stop(f"{root}: the {split} split of {kind} is empty")
    return found


def label_map(text: str) -> dict[int, int]:
    """`0:0,255:1`: stored label to class id."""
    pairs = [part.split(":") for part in text.split(",") if part]
    if not all(len(p) == 2 and p[0].isdigit() and p[1].isdigit() for p in pairs):
        raise Stop(f"--label-map {text}: write stored:class pairs, for example 0:0,255:1", 2)
    found = {int(stored): int(label) for stored, label in pairs}
    for stored, label in found.items():
        if stored > 65535 or (label >= CLASSES and label != IGNORE):
            raise Stop(f"--label-map {stored}:{label}: classes are 0..{CLASSES - 1} or {IGNORE}", 2)
    return found


# --- decoding -------------------------------------------------------------------------------


def pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise Stop("reading images needs Pillow: pip install pillow", 3) from None
    return Image


def open_image(path: Path) -> Any:
    """A decoded PIL image, at most MAX_PIXELS large."""
    if not path.is_file():
        raise Stop(f"{path}: no such file")
    try:
        image = pillow().open(path)
        if image.width * image.height > MAX_PIXELS:
            raise Stop(f"{path}: {image.width} x {image.height} pixels are too many")
        image.load()
    except (OSError, SyntaxError, ValueError, pillow().DecompressionBombError) as error:
        raise Stop(f"cannot read {path}: {error}") from None
    return image


def read_image(path: Path) -> Tensor:
    """uint8 [C, H, W]; palette, transparency and CMYK are converted, deeper images refused."""
    image = open_image(path)
    if image.mode.startswith(("I", "F")):
        raise Stop(f"{path}: more than 8 bits a channel ({image.mode}); convert it first")
    if CHANNELS not in (1, 3):
        raise Stop(f"{path}: image files have 1 or 3 channels, the network takes {CHANNELS}")
    image = image.convert("L" if CHANNELS == 1 else "RGB")
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, CHANNELS).permute(2, 0, 1).contiguous()


def read_labels(path: Path) -> Tensor:
    """int32 [H, W] of the stored values: palette indices, grey levels of 8 or 16 bits, 0/1."""
    image = open_image(path)
    if image.format == "JPEG":
        raise Stop(f"{path}: JPEG changes labels; store label maps as PNG")
    depth = {"1": torch.uint8, "L": torch.uint8, "P": torch.uint8, "I;16": torch.uint16}
    if image.mode not in depth:
        raise Stop(f"{path}: a label map holds one value a pixel, this is {image.mode}")
    if image.mode == "1":
        image = image.point(lambda value: value and 1, "L")
    stored = torch.frombuffer(bytearray(image.tobytes()), dtype=depth[image.mode.replace("1", "1")])
    return stored.to(torch.int32).view(image.height, image.width)


# --- synthetic scenes -----------------------------------------------------------------------


@dataclass
class Scenes:
    """Discs, boxes and diamonds on noise, drawn when asked for; their class sets their colour."""

    split: str
    size: tuple[int, int]

    def __post_init__(self) -> None:
        self.names = own_names()

    def __len__(self) -> int:
        return {"train": 512}.get(self.split, 32)

    def name(self, index: int) -> str:
        return f"synthetic {self.split} {index}"

    def image(self, index: int) -> Tensor:
        """uint8 [C, H, W]: a level per class and channel, and noise."""
        mask = self.mask(index).long()
        classes = torch.arange(256) % CLASSES
        levels = torch.stack([classes * (c + 1) % CLASSES for c in range(CHANNELS)])
        noise = torch.Generator().manual_seed(self.seed(index))
        shown = 30 + 180 * levels[:, mask] / (CLASSES - 1)
        shown += 12 * torch.randn(shown.shape, generator=noise)
        return shown.clamp(0, 255).to(torch.uint8)

    def mask(self, index: int) -> Tensor:
        """uint8 [H, W]: background 0, shapes of the other classes, later ones on top."""
        rng = random.Random(self.seed(index))
        height, width = self.size
        mask = torch.zeros(self.size, dtype=torch.uint8)
        for _ in range(6):
            label = 1 + int(rng.random() * (CLASSES - 1))
            y = (torch.arange(height) - rng.random() * height).abs()[:, None]
            x = (torch.arange(width) - rng.random() * width).abs()[None, :]
            radius = (0.08 + 0.2 * rng.random()) * min(height, width)
            distance = (torch.hypot(y, x), torch.maximum(y, x), y + x)[label % 3]
            mask[distance < radius] = label
        return mask

    def seed(self, index: int) -> int:
        return 1000 * index + {"train": 1, "val": 2}.get(self.split, 3)


# --- what the network is fed ----------------------------------------------------------------


def resize(image: Tensor, mask: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Both maps on the same new grid: the image bilinear (antialiased), the labels nearest."""
    image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    mask = F.interpolate(mask[None, None], size, mode="nearest-exact")[0, 0]
    return image, mask


def mirror(length: int, before: int, after: int) -> Tensor:
    """Indices that extend a line of `length` pixels by its mirror image on both sides."""
    index = torch.arange(-before, length + after)
    if length == 1:
        return torch.zeros_like(index)
    index = index.remainder(2 * length - 2)
    return torch.minimum(index, 2 * length - 2 - index)


@cache
def accepted_size(height: int, width: int) -> tuple[int, int]:
    """The smallest size the network takes that holds height x width."""
    near = range(1024)
    for down, right in product(near, near):
        if accepts(height + down, width + right):
            return height + down, width + right
    raise Stop(f"the network takes no image of {height} x {width} or larger: use --resize H W")


@dataclass
class Samples(torch.utils.data.Dataset[tuple[Tensor, Tensor, list[int]]]):
    """Training batches. An item is asked for by a list of (epoch, index), one for each image.

    `crop` is the size of what the network sees; None takes whole images. `scale` is the range of
    the random resize, `flip` whether half of the images are mirrored left to right.
    """

    split: Split
    crop: tuple[int, int] | None
    fixed: tuple[int, int] | None
    scale: tuple[float, float] | None
    flip: bool
    seed: int

    def __getitem__(self, picks: list[tuple[int, int]]) -> tuple[Tensor, Tensor, list[int]] | Stop:
        try:
            images, masks = zip(*(self.sample(*pick) for pick in picks), strict=True)
        except Stop as stop:  # crosses to the main process as a value, its text unchanged
            return stop
        if len({image.shape for image in images}) > 1:
            return Stop("images of one batch differ in size: use --crop H W or --batch-size 1")
        return torch.stack(images), torch.stack(masks), [index for _, index in picks]

    def sample(self, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        """float [C, H, W] and uint8 [h, w]: resized, flipped and cropped by one draw."""
        rng = random.Random((self.seed << 64) + (epoch << 32) + index)
        image, mask = read_pair(self.split, index)
        if self.fixed:
            image, mask = resize(image, mask, self.fixed)
        if self.scale:
            low, high = self.scale
            factor = low + (high - low) * rng.random()
            height, width = (max(1, round(side * factor)) for side in mask.shape)
            image, mask = resize(image, mask, (height, width))
        if self.flip and rng.random() < 0.5:
            image, mask = image.flip(-1), mask.flip(-1)
        return cut(to_input(image), mask, self.crop, rng)


def read_pair(split: Split, index: int) -> tuple[Tensor, Tensor]:
    image, mask = split.image(index), split.mask(index)
    if image.shape[1:] != mask.shape:
        raise Stop(
            f"{split.name(index)}: the image is {image.shape[1]} x {image.shape[2]}, its label map "
            f"{mask.shape[0]} x {mask.shape[1]} (height x width; is one of them rotated by EXIF?)"
        )
    return image, mask


def cut(
    image: Tensor, mask: Tensor, crop: tuple[int, int] | None, rng: random.Random
) -> tuple[Tensor, Tensor]:
    """A random window; beyond the border the image is MEAN, labels IGNORE."""
    height, width = mask.shape
    rows, columns = crop or accepted_size(height, width)
    short = max(0, rows - height), max(0, columns - width)
    image = F.pad(image, (0, short[1], 0, short[0]))
    mask = F.pad(mask, (0, short[1], 0, short[0]), value=IGNORE)
    y = int(rng.random() * (mask.shape[0] - rows + 1))
    x = int(rng.random() * (mask.shape[1] - columns + 1))
    window = image[:, y : y + rows, x : x + columns]
    return window, mask[y : y + rows, x : x + columns]


@dataclass
class Picks(torch.utils.data.Sampler[list[tuple[int, int]]]):
    """The (epoch, index) pairs of each step from `first` on; every image once an epoch.

    Each of the `world` processes takes its own part of a batch. A last part of an epoch that does
    not fill a batch is left out, so that all steps are alike.
    """

    images: int
    batch: int
    seed: int
    first: int
    last: int
    rank: int = 0
    world: int = 1

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = self.images // self.batch
        share = self.batch // self.world
        shuffled = -1
        for step in range(self.first, self.last):
            epoch, number = divmod(step, per_epoch)
            if epoch != shuffled:
                shuffle = torch.Generator().manual_seed(self.seed + (epoch << 20))
                order = torch.randperm(self.images, generator=shuffle).tolist()
                shuffled = epoch
            start = number * self.batch + self.rank * share
            yield [(epoch, index) for index in order[start : start + share]]

    def __len__(self) -> int:
        return max(0, self.last - self.first)


@dataclass
class Whole(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Images as they are, for evaluation; `fixed` resizes the image, never its labels."""

    split: Split
    fixed: tuple[int, int] | None

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor] | Stop:
        try:
            image, mask = read_pair(self.split, index)
        except Stop as stop:
            return stop
        if self.fixed:
            image = F.interpolate(image[None], self.fixed, mode="bilinear", antialias=True)[0]
        return to_input(image), mask


# --- reading a whole split ------------------------------------------------------------------


def count_labels(masks: Iterable[Tensor]) -> Tensor:
    """[3, CLASSES]: pixels of a class, pixels of the images it is in, images it is in."""
    counts = torch.zeros(3, CLASSES, dtype=torch.int64)
    for mask in masks:
        pixels = torch.bincount(mask.flatten().long(), minlength=256)
        labelled = pixels.clone()
        labelled[IGNORE] = 0
        pixels = pixels[:CLASSES] if IGNORE >= CLASSES else labelled[:CLASSES]
        counts += torch.stack([pixels, (pixels > 0) * mask.numel(), (pixels > 0).long()])
    return counts


def median_frequency(counts: Tensor) -> Tensor:
    """Class weights median(frequency) / frequency; a class that never occurs weighs 0.

    The frequency of a class is its share of the pixels of the images that show it.
    """
    frequency = counts[0] / counts[1].clamp(min=1)
    seen = frequency[frequency > 0]
    middle = seen.double().quantile(0.5)
    return torch.where(frequency > 0, middle / frequency.clamp(min=1e-12), 0).float()


def main() -> None:
    parser = argparse.ArgumentParser(description="Read every image and label map of a split.")
    parser.add_argument("--data", choices=KINDS, default="synthetic")
    parser.add_argument("--root", metavar="DIR")
    parser.add_argument("--split", default="train")
    parser.add_argument("--label-map", default="", metavar="0:0,255:1")
    args = parser.parse_args()
    split = open_split(args.data, args.root, args.split, accepted_size(96, 96), args.label_map)
    faults: list[str] = []
    counts = count_labels(sound_masks(split, faults))
    print(f"{len(split)} images, {len(faults)} at fault\n\n{'class':<16} pixels %  images  weight")
    weights = median_frequency(counts)
    for number, name in enumerate(split.names):
        share = 100 * float(counts[0, number]) / max(1, int(counts[0].sum()))
        print(f"{name:<16} {share:8.3f} {int(counts[2, number]):7} {float(weights[number]):7.4f}")
    if faults:
        raise Stop("\n".join([*faults[:20], *[f"and {len(faults) - 20} more"][: len(faults) > 20]]))


def sound_masks(split: Split, faults: list[str]) -> Iterator[Tensor]:
    for index in range(len(split)):
        try:
            yield read_pair(split, index)[1]
        except Stop as stop:
            faults.append(str(stop))


if __name__ == "__main__":
    run(main)
