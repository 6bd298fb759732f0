"""The parts of an emitted harness against direct computations: geometry, labels, losses, scores."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

from harness_kit import CROSS_ENTROPY, RECIPE, checked, emit, load, shared_data  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from segc.dim import Domain, symbol  # noqa: E402

CAMVID_WEIGHTS = [
    0.2793, 0.2017, 4.7865, 0.1490, 1.0000, 0.4217, 3.8467, 1.9736, 0.7889, 6.3747, 8.8587,
]  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="module")
def net(work: Path) -> Iterator[SimpleNamespace]:
    yield load(emit(work / "net", checked()))


@pytest.fixture(scope="module")
def valid(work: Path) -> SimpleNamespace:
    """A network whose output is 6 pixels smaller on every side; sizes 4k + 2, at least 14."""
    height, width = symbol("H"), symbol("W")
    domain = Domain().multiple(height - 2, 4).multiple(width - 2, 4)
    domain = domain.at_least(height, 14).at_least(width, 14)
    recipe = {**RECIPE, "crop": [30, 38], "augment": {}}
    shape = {"logits": lambda side: side - 12}
    given = checked(sizes=shape, domain=domain, recipe=recipe)
    return load(emit(work / "valid", given, margin=6))


class Fake:
    """A split of one image whose every pixel says where it is and what it is."""

    names = ("a", "b", "c")

    def __init__(self, height: int, width: int) -> None:
        y, x = torch.arange(height)[:, None], torch.arange(width)[None, :]
        self.labels = ((y // 5 + x // 7) % 3).to(torch.uint8)
        self.pixels = torch.stack([self.labels * 100] * 3)

    def __len__(self) -> int:
        return 1

    def name(self, index: int) -> str:
        return "fake"

    def image(self, index: int) -> Any:
        return self.pixels

    def mask(self, index: int) -> Any:
        return self.labels


# --- geometry -------------------------------------------------------------------------------


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 60), st.integers(6, 60), st.booleans())
def test_image_and_mask_stay_on_each_other(
    net: SimpleNamespace, epoch: int, height: int, width: int, small: bool
) -> None:
    """The image shows its own labels: away from edges both say the same after scale, flip, crop."""
    crop = (16, 20) if small else (32, 44)
    samples = net.sampling.Samples(Fake(height, width), crop, None, 1, (0.5, 2.0))
    image, mask = samples.sample(epoch, 0)
    assert image.shape == (3, *crop) and mask.shape == crop
    assert set(mask.unique().tolist()) <= {0, 1, 2, 255}
    same = torch.ones(crop, dtype=torch.bool)
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            same &= mask == mask.roll((dy, dx), (0, 1))
    same[:3], same[-3:], same[:, :3], same[:, -3:] = False, False, False, False
    inner = same & (mask != 255)
    assert torch.allclose(image[0][inner], mask[inner].float() * 100 / 255, atol=0.02)
    assert (image[0][mask == 255] == 0).all()


def test_scaled_masks_are_nearest_neighbours(net: SimpleNamespace) -> None:
    """Against the definition: the source pixel under the centre of each new pixel."""
    fake = Fake(23, 31)
    for size in ((46, 62), (12, 15), (37, 90)):
        _, mask = net.sampling.resize(fake.pixels, fake.labels, size)
        for y in range(size[0]):
            for x in range(size[1]):
                source = int((y + 0.5) * 23 / size[0]), int((x + 0.5) * 31 / size[1])
                assert mask[y, x] == fake.labels[source]


def test_flip_and_crop_alone_are_exact(work: Path) -> None:
    """Without scaling every pixel is an original pixel, in both maps from the same place."""
    fake = Fake(40, 50)
    y, x = torch.meshgrid(torch.arange(40), torch.arange(50), indexing="ij")
    fake.pixels = torch.stack([y, x, fake.labels.long()]).to(torch.uint8)
    flipped = checked(recipe={**RECIPE, "augment": {"flip": True}})
    samples = load(emit(work / "flipped", flipped)).sampling.Samples(fake, (16, 20), None, 3)
    seen = set()
    for epoch in range(60):
        image, mask = samples.sample(epoch, 0)
        rows, columns, labels = (image * 255).round().long()
        assert torch.equal(labels, mask.long())
        assert torch.equal(fake.labels[rows, columns], mask)
        seen.add((int(rows[0, 0]), int(columns[0, 0] > columns[0, 1])))
    assert {flipped for _, flipped in seen} == {0, 1} and len(seen) > 20


def test_samples_are_a_function_of_seed_epoch_index(net: SimpleNamespace) -> None:
    def draw(seed: int, epoch: int) -> Any:
        return net.sampling.Samples(Fake(40, 50), (16, 20), None, seed, (0.5, 2.0)).sample(
            epoch, 0
        )[0]

    assert torch.equal(draw(1, 7), draw(1, 7))
    assert not torch.equal(draw(1, 7), draw(1, 8)) and not torch.equal(draw(1, 7), draw(2, 7))


def test_valid_convolutions_get_their_margin(valid: SimpleNamespace) -> None:
    """The window of labels lies in the middle of the window the network sees, mirrored outside."""
    fake = Fake(40, 50)
    samples = valid.sampling.Samples(fake, (30, 38), None, 3)
    for epoch in range(30):
        image, mask = samples.sample(epoch, 0)
        assert image.shape == (3, 30, 38) and mask.shape == (18, 26)
        assert torch.equal((image[0, 6:-6, 6:-6] * 2.55).round().to(torch.uint8), mask)


@pytest.mark.parametrize(("length", "before", "after"), [(7, 3, 5), (5, 4, 4), (9, 0, 8)])
def test_mirror_is_reflect_padding(
    net: SimpleNamespace, length: int, before: int, after: int
) -> None:
    line = torch.rand(1, 1, length)
    expected = torch.nn.functional.pad(line, (before, after), mode="reflect")
    assert torch.equal(line[:, :, net.inputs.mirror(length, before, after)], expected)
    assert net.inputs.mirror(1, before, after).unique().tolist() == [0]
    assert set(net.inputs.mirror(3, 20, 20).tolist()) == {0, 1, 2}


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (17, 30), (31, 33)])
def test_logits_cover_images_of_any_size(
    net: SimpleNamespace, valid: SimpleNamespace, size: tuple[int, int]
) -> None:
    """A network that returns its input, cut by its margin, must give back every pixel in place."""

    class Same(torch.nn.Module):
        def __init__(self, kit: SimpleNamespace, margin: int) -> None:
            super().__init__()
            self.kit, self.margin = kit, margin

        def forward(self, image: Any) -> Any:
            assert self.kit.inputs.accepts(*image.shape[-2:])
            m = self.margin
            return image[:, :, m : image.shape[2] - m, m : image.shape[3] - m]

    image = torch.rand(1, 3, *size)
    for kit, margin in ((net, 0), (valid, 6)):
        assert torch.equal(kit.inference.logits_of(Same(kit, margin), image), image)


def test_accepted_sizes_are_the_derived_ones(net: SimpleNamespace, valid: SimpleNamespace) -> None:
    for kit, ok in (
        (net, lambda side: side % 2 == 0),
        (valid, lambda side: side >= 14 and side % 4 == 2),
    ):
        for side in range(1, 60):
            assert kit.inputs.accepts(side, 30) == ok(side)
            above = next(s for s in range(side, 200) if ok(s))
            assert kit.inputs.accepted_size(side, 30) == (above, 30)


# --- batches --------------------------------------------------------------------------------


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.integers(4, 40), st.sampled_from([2, 4]), st.sampled_from([1, 2]), st.integers(0, 30))
def test_every_image_once_an_epoch_in_any_number_of_processes(
    net: SimpleNamespace, images: int, batch: int, world: int, first: int
) -> None:
    last = 3 * (images // batch)
    whole = list(net.sampling.Picks(images, batch, 7, 0, last))
    for epoch in range(3):
        steps = whole[epoch * (images // batch) : (epoch + 1) * (images // batch)]
        picked = [index for step in steps for _, index in step]
        assert len(picked) == len(set(picked)) == images // batch * batch
        assert {number for step in steps for number, _ in step} == {epoch}
    parts = [list(net.sampling.Picks(images, batch, 7, 0, last, r, world)) for r in range(world)]
    assert [sum(step, []) for step in zip(*parts, strict=True)] == whole
    assert list(net.sampling.Picks(images, batch, 7, first, last)) == whole[first:]


# --- labels ---------------------------------------------------------------------------------


def files(kit: SimpleNamespace, mask: Any, work: Path, name: str = "m.png", **save: Any) -> Any:
    path = work / name
    mask.save(path, **save)
    return kit.data.Files([(path, path)], ["a", "b", "c"], {0: 0, 1: 1, 2: 2, 255: 255})


def test_label_maps_are_read_as_stored(net: SimpleNamespace, work: Path) -> None:
    values = bytes([0, 1, 2, 255, 2, 1])
    grey = Image.frombytes("L", (3, 2), values)
    expected = torch.tensor([[0, 1, 2], [255, 2, 1]], dtype=torch.uint8)
    assert torch.equal(files(net, grey, work).mask(0), expected)
    palette = Image.frombytes("P", (3, 2), values)
    palette.putpalette([(7 * i) % 256 for i in range(768)])
    assert torch.equal(files(net, palette, work).mask(0), expected)
    deep = Image.frombytes("I;16", (3, 2), b"".join(bytes([v, 0]) for v in values))
    assert torch.equal(files(net, deep, work).mask(0), expected)
    bits = Image.frombytes("L", (3, 2), bytes([0, 255, 0, 255, 255, 0])).convert("1")
    assert files(net, bits, work).mask(0).tolist() == [[0, 1, 0], [1, 1, 0]]


def test_bad_files_are_named(net: SimpleNamespace, work: Path) -> None:
    stop = net.runtime.Stop
    with pytest.raises(stop, match=r"m\.png: label 300 \(1 pixels, first at x=1 y=0\)"):
        deep = Image.frombytes("I;16", (2, 1), bytes([0, 0, 44, 1]))
        files(net, deep, work).mask(0)
    with pytest.raises(stop, match="this is RGB"):
        files(net, Image.new("RGB", (4, 4)), work).mask(0)
    with pytest.raises(stop, match="JPEG changes labels"):
        files(net, Image.new("L", (8, 8)), work, "m.jpg").mask(0)
    rng = random.Random(0)
    whole = files(net, Image.frombytes("L", (64, 64), rng.randbytes(4096)), work)
    path = whole.pairs[0][1]
    for cut in (0, 10, 60, 2000):
        path.write_bytes(path.read_bytes()[:cut] if cut else b"")
        with pytest.raises(stop, match=r"cannot read .*m\.png"):
            whole.image(0)
    path.write_text("<html>not found</html>")
    with pytest.raises(stop, match=r"cannot read .*m\.png"):
        whole.mask(0)
    with pytest.raises(stop, match="too many"):
        files(net, Image.new("1", (9000, 8000)), work).mask(0)
    with pytest.raises(stop, match="more than 8 bits"):
        files(net, Image.new("I;16", (4, 4)), work).image(0)


def test_sizes_that_differ_are_named(net: SimpleNamespace) -> None:
    fake = Fake(20, 30)
    fake.labels = fake.labels.T
    with pytest.raises(net.runtime.Stop, match="the image is 20 x 30, its label map 30 x 20"):
        net.data.read_pair(fake, 0)
    samples = net.sampling.Samples(fake, (16, 16), None, 0, (0.5, 2.0))
    assert isinstance(samples[[(0, 0)]], net.runtime.Stop)


def test_folders_pair_by_name(net: SimpleNamespace, work: Path) -> None:
    root = work / "pairs"
    for name in ("images/a.png", "images/b.jpg", "masks/a.png", "masks/b.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(root / name)
    found = net.data.folder(root, "train").pairs
    assert [(i.name, m.name) for i, m in found] == [("a.png", "a.png"), ("b.jpg", "b.png")]
    (root / "masks" / "b.png").unlink()
    with pytest.raises(net.runtime.Stop, match="'b' has no partner"):
        net.data.folder(root, "train")


def save(path: Path, values: list[int] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if values is None:
        Image.new("RGB", (4, 1)).save(path)
    else:
        Image.frombytes("L", (len(values), 1), bytes(values)).save(path)


def test_layouts_of_known_data_sets(net: SimpleNamespace, work: Path) -> None:
    """A tree of each kind, with four labels whose class ids the data sets' own tables give."""
    data = net.data
    city = work / "cityscapes"
    save(city / "leftImg8bit/train/ulm/ulm_0_leftImg8bit.png")
    save(city / "gtFine/train/ulm/ulm_0_gtFine_labelIds.png", [7, 33, 0, 26])
    found = data.cityscapes(city, "train")
    assert found.mask(0).tolist() == [[0, 18, 255, 13]] and len(found.names) == 19
    ade = work / "ade"
    save(ade / "images/validation/a.jpg")
    save(ade / "annotations/validation/a.png", [0, 1, 150, 13])
    found = data.ade20k(ade, "val")
    assert found.mask(0).tolist() == [[255, 0, 149, 12]] and len(found.names) == 150
    stuff = work / "coco"
    save(stuff / "val2017/7.jpg")
    save(stuff / "stuffthingmaps/val2017/7.png", [0, 181, 255, 4])
    assert data.coco(stuff, "val").mask(0).tolist() == [[0, 181, 255, 4]]
    pascal = work / "voc" / "VOCdevkit" / "VOC2012"
    save(pascal / "JPEGImages/b.jpg")
    save(pascal / "SegmentationClass/b.png", [0, 20, 255, 1])
    (pascal / "ImageSets/Segmentation").mkdir(parents=True)
    (pascal / "ImageSets/Segmentation/val.txt").write_text("b\n")
    for root in (pascal, work / "voc"):
        found = data.voc(root, "val")
        assert found.mask(0).tolist() == [[0, 20, 255, 1]] and len(found.names) == 21
        assert found.image(0).shape == (3, 1, 4)
    with pytest.raises(net.runtime.Stop, match="voc has 21 classes, the network 3"):
        data.open_split("voc", str(pascal), "val", (8, 8))


@pytest.mark.parametrize("text", ["0", "0:x", "0:7", "a:1", "99999:0", "0:0:0"])
def test_wrong_label_maps(net: SimpleNamespace, text: str) -> None:
    with pytest.raises(net.runtime.Stop, match="--label-map"):
        net.data.label_map(text)


def test_label_map_and_classes_yaml(net: SimpleNamespace, work: Path) -> None:
    assert net.data.label_map("0:0,255:1,128:255") == {0: 0, 255: 1, 128: 255}
    root = work / "described"
    root.mkdir()
    (root / "classes.yaml").write_text(
        "name: x\nignore_index: 9\nclasses:\n"
        "  - {id: 1, name: cell, png_value: 255}\n  - {id: 0, name: wall, png_value: 0}\n"
        "  - {id: 2, name: 'far away', color: [1, 2, 3], png_value: 7}\n"
        "  - {id: 9, name: void}\n"
    )
    (root / "train.txt").write_text("a.png b.png\n")
    found = net.data.folder(root, "train")
    assert found.names == ["wall", "cell", "far away"]
    assert found.values == {255: 1, 0: 0, 7: 2, 9: 255}


# --- counting, losses, scores ---------------------------------------------------------------


def random_masks(count: int = 5) -> Any:
    generator = torch.Generator().manual_seed(1)
    masks = torch.randint(0, 3, (count, 12, 10), generator=generator)
    masks[0][masks[0] == 2] = 1
    masks[:, :2] = 255
    return masks


def test_median_frequency_against_its_definition(net: SimpleNamespace) -> None:
    masks = random_masks()
    found = net.data.median_frequency(net.data.count_labels(masks.to(torch.uint8)))
    frequency = []
    for label in range(3):
        shown = [m for m in masks if (m == label).any()]
        frequency.append(sum(int((m == label).sum()) for m in shown) / (120 * len(shown)))
    middle = sorted(frequency)[1]
    assert found.tolist() == pytest.approx([middle / f for f in frequency])


def test_median_frequency_of_nothing(net: SimpleNamespace) -> None:
    """A split whose label maps are all ignored, or all at fault."""
    ignored = torch.full((2, 3, 4), 255, dtype=torch.uint8)
    for masks in (ignored, []):
        assert net.data.median_frequency(net.data.count_labels(masks)).tolist() == [0, 0, 0]


def test_median_frequency_of_camvid(work: Path) -> None:
    kit = load(emit(work / "eleven", checked(outputs={"logits": 11}), classes=11))
    split = kit.data.camvid(shared_data() / "camvid", "train")
    found = kit.data.median_frequency(kit.data.count_labels(split.mask(i) for i in range(367)))
    assert found.tolist() == pytest.approx(CAMVID_WEIGHTS, abs=6e-5)


def loss_of(work: Path, **changes: Any) -> Any:
    name = "loss_" + "_".join(str(v) for v in changes.values())
    given = checked(losses={"seg": {**CROSS_ENTROPY, **changes}})
    return load(emit(work / name.replace(" ", ""), given)).train.total_loss


@pytest.mark.parametrize("weights", [None, [0.2, 1.0, 5.0]])
@pytest.mark.parametrize("reduction", ["mean", "valid_pixels", "batch", "sum"])
def test_cross_entropy_against_a_direct_sum(work: Path, reduction: str, weights: Any) -> None:
    total_loss = loss_of(work, reduction=reduction, class_weights=weights)
    masks = random_masks()
    logits = torch.randn(5, 3, 12, 10, generator=torch.Generator().manual_seed(2))
    extra = () if weights is None else (torch.tensor(weights),)
    total, share, valid = 0.0, 0.0, 0
    for n in range(5):
        for y in range(12):
            for x in range(10):
                label = int(masks[n, y, x])
                if label != 255:
                    weight = 1.0 if weights is None else weights[label]
                    scores = logits[n, :, y, x].double()
                    total += weight * float(scores.logsumexp(0) - scores[label])
                    share, valid = share + weight, valid + 1
    by = {"mean": share, "valid_pixels": valid, "batch": 5, "sum": 1}[reduction]
    assert float(total_loss(logits, masks, *extra)) == pytest.approx(total / by, rel=1e-5)
    nothing = total_loss(logits, torch.full_like(masks, 255), *extra)
    assert float(nothing) == 0


def test_losses_that_are_alike_share_a_function(work: Path) -> None:
    losses = {"seg": CROSS_ENTROPY, "aux": {**CROSS_ENTROPY, "output": "aux", "weight": 0.4}}
    given = checked(outputs={"logits": 3, "aux": 3}, losses=losses)
    folder = emit(work / "alike", given)
    assert (folder / "losses.py").read_text().count("F.cross_entropy(") == 1
    masks, (one, two) = random_masks(), torch.randn(2, 5, 3, 12, 10)
    a, b = (
        torch.nn.functional.cross_entropy(logits, masks, ignore_index=255) for logits in (one, two)
    )
    found = load(folder).train.total_loss({"logits": one, "aux": two}, masks)
    assert float(found) == pytest.approx(float(a + 0.4 * b), rel=1e-5)


def test_binary_cross_entropy(work: Path) -> None:
    loss = {k: v for k, v in CROSS_ENTROPY.items() if k != "class_weights"}
    loss = {"seg": {**loss, "kind": "binary_cross_entropy"}}
    kit = load(emit(work / "binary", checked(outputs={"logits": 1}, losses=loss), classes=1))
    masks = random_masks() % 2 + 254 * (random_masks() == 255)
    assert set(masks.unique().tolist()) == {0, 1, 255}
    logits = torch.randn(5, 1, 12, 10)
    keep = masks != 255
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[:, 0][keep], masks[keep].float()
    )
    assert float(kit.train.total_loss(logits, masks)) == pytest.approx(float(expected), rel=1e-5)
    assert kit.inputs.CLASSES == 2
    sure = kit.scoring.labels_of(torch.tensor([[[[0.2, 0.8]]]]))
    assert sure.long().tolist() == [[[0, 1]]]


def test_scores_against_brute_force(net: SimpleNamespace) -> None:
    """Sets of pixels over the whole set, not averages of images; an absent class has no IoU."""
    masks = random_masks()
    masks[masks == 2] = 1
    said = torch.randint(0, 2, masks.shape, generator=torch.Generator().manual_seed(4))
    matrix = sum(net.scoring.confusion(s, m) for s, m in zip(said, masks, strict=True))
    found = net.scoring.scores(matrix, ["a", "b", "c"])
    truth = {i: v for i, v in enumerate(masks.flatten().tolist()) if v != 255}
    guess = {i: said.flatten().tolist()[i] for i in truth}
    for label, name in ((0, "a"), (1, "b")):
        a = {i for i in truth if truth[i] == label}
        b = {i for i in truth if guess[i] == label}
        assert found["iou"][name] == pytest.approx(len(a & b) / len(a | b))
        assert found["accuracy"][name] == pytest.approx(len(a & b) / len(a))
    assert found["iou"]["c"] is None and found["accuracy"]["c"] is None
    assert found["miou"] == pytest.approx((found["iou"]["a"] + found["iou"]["b"]) / 2)
    right = sum(truth[i] == guess[i] for i in truth) / len(truth)
    assert found["pixel_accuracy"] == pytest.approx(right)
    assert "a " in net.scoring.table(found)
    empty = net.scoring.scores(torch.zeros(3, 3, dtype=torch.int64), ["a", "b", "c"])
    assert empty["miou"] is None and empty["pixel_accuracy"] is None


# --- checkpoints ----------------------------------------------------------------------------


def test_no_damage_goes_unnoticed(net: SimpleNamespace, tmp_path: Path) -> None:
    """Flipped bits, cuts and zeroed pages, anywhere in the file."""
    path, rng = tmp_path / "c.pt", random.Random(1)
    net.checkpoints.save({"weights": {"a": torch.rand(500)}, "step": 3}, path)
    whole = path.read_bytes()
    assert net.checkpoints.load(path)["step"] == 3
    assert torch.load(path, weights_only=True)["step"] == 3  # plain torch reads it too
    for _ in range(200):
        content = bytearray(whole)
        at = rng.randrange(len(content))
        kind = rng.randrange(3)
        if kind == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del content[at:]
        else:
            content[at : at + 512] = bytes(len(content[at : at + 512]))
        path.write_bytes(content)
        if bytes(content) != whole:
            with pytest.raises(net.runtime.Stop, match="damaged"):
                net.checkpoints.load(path)


def test_a_full_disk_keeps_the_last_state(
    net: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = net.checkpoints.Keeper(tmp_path)
    state = {"weights": {"a": torch.rand(5)}, "settings": {}, "place": {}}
    keeper.save(state, True)
    before = (tmp_path / "last.pt").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(net.checkpoints.os, "fsync", full)
    keeper.save(state, False)
    keeper.save(state, False)
    with pytest.raises(net.runtime.Stop, match="No space left on device") as stopped:
        keeper.save(state, False)
    assert stopped.value.status == 3
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.tmp"))


def test_compressed_archives_are_refused(net: SimpleNamespace, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(net.runtime.Stop, match="compressed"):
        net.checkpoints.read_weights(tmp_path / "bomb.pt")


def test_modules_do_not_leak(net: SimpleNamespace) -> None:
    assert isinstance(net.data, ModuleType) and "scoring" not in sys.modules
