"""Pictures as they come: every depth, transparency and orientation, and all that is damaged, odd or hostile."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaebench.data import pictures as module
from vaebench.data.folders import images
from vaebench.data.pictures import picture
from vaebench.data.places import BadFile

ROOT = Path(__file__).resolve().parents[2]
SPLITS = {"train": ["train"], "test": ["test"]}
WHITE = 255


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def read(path: Path, *, mode: str = "RGB", side: int = 8) -> np.ndarray:
    """[h w c], or [h w] of grey."""
    return picture(path, mode=mode, side=side)[0][0].transpose(1, 2, 0).squeeze(-1 if mode == "L" else ())


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = 0, extra: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def sixteen(values: np.ndarray, extra: bytes = b"") -> bytes:
    """A grey PNG of 16 bits."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], rows, depth=16, extra=extra)


# Ordinary pictures are what they were


def resized_whole(path: Path, mode: str, side: int) -> np.ndarray:
    """Torchvision's Resize and CenterCrop: the whole picture resized, then cut."""
    with Image.open(path) as file:
        found = file.convert(mode)
    width, height = found.size
    scaled = side * max(width, height) // min(width, height)
    found = found.resize((side, scaled) if width <= height else (scaled, side), Image.Resampling.BICUBIC)
    left, top = (round((size - side) / 2) for size in found.size)
    return np.asarray(found.crop((left, top, left + side, top + side)))


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (64, 48), (33, 100), (5, 80), (80, 5), (3, 48), (1, 16), (1, 1)])
def test_an_ordinary_picture_is_resized_whole_to_the_bit(tmp_path, size, mode):
    for stored, suffix in (("L", "png"), ("RGB", "png"), ("RGB", "jpg"), ("RGB", "bmp"), ("RGB", "webp"), ("P", "png")):
        path = tmp_path / f"{stored}.{suffix}"
        Image.fromarray(noise(*size)).convert(stored).save(path)
        for side in (7, 8, 32):
            assert np.array_equal(read(path, mode=mode, side=side), resized_whole(path, mode, side))


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (2, 333), (301, 4)])
def test_a_very_long_picture_is_cut_first_and_looks_the_same(tmp_path, size):
    steps = np.linspace(0, 255, max(size)).astype(np.uint8)
    Image.fromarray(np.broadcast_to(steps[:, None] if size[0] > size[1] else steps, size).copy()).save(
        tmp_path / "a.png"
    )
    found = read(tmp_path / "a.png", mode="L").astype(int)
    assert np.abs(found - resized_whole(tmp_path / "a.png", "L", 8)).max() <= 255 * 2 / max(size) + 1


# What a pixel is


def test_of_16_bits_of_grey_the_upper_8_are_taken(tmp_path):
    values = np.linspace(12_768, 52_768, 64).astype(int).reshape(8, 8)
    (tmp_path / "a.png").write_bytes(sixteen(values))
    assert np.array_equal(read(tmp_path / "a.png", mode="L"), values >> 8)
    assert (read(tmp_path / "a.png").min(), read(tmp_path / "a.png").max()) == (49, 206)


def test_of_16_bits_of_colour_the_upper_8_are_taken(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**16, (8, 8, 3))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(8, 8, rows, depth=16, colour=2))
    assert np.array_equal(read(tmp_path / "a.png"), values >> 8)


def half_clear(mode: str) -> tuple[Image.Image, dict[str, object]]:
    """A picture whose upper half is transparent, and how to save it; the lower half is 90 in every channel."""
    alpha = np.repeat([0, 255], 4).astype(np.uint8)[:, None].repeat(8, 1)
    grey = np.where(alpha, 90, 10).astype(np.uint8)
    if mode == "RGBA":
        return Image.fromarray(np.dstack([grey, grey, grey, alpha])), {}
    if mode == "LA":
        return Image.fromarray(np.dstack([grey, alpha])), {}
    if mode == "P":
        found = Image.fromarray((alpha // 255).astype(np.uint8)).convert("P")
        found.putpalette([10, 10, 10, 90, 90, 90])
        return found, {"transparency": bytes([0, 255])}
    if mode == "RGB":
        return Image.fromarray(np.dstack([grey] * 3)), {"transparency": (10, 10, 10)}
    return Image.fromarray(grey), {"transparency": 10}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_what_is_transparent_is_white(tmp_path, mode):
    made, options = half_clear(mode)
    made.save(tmp_path / "a.png", **options)
    for wanted in ("L", "RGB"):
        found = read(tmp_path / "a.png", mode=wanted)
        assert (found[:4] == WHITE).all()
        assert (found[4:] == 90).all()


def test_what_is_transparent_is_white_of_16_bits_of_1_bit_and_in_webp(tmp_path):
    values = np.repeat([[5000], [23_040]], 4, 0).repeat(8, 1)
    (tmp_path / "a.png").write_bytes(sixteen(values, chunk(b"tRNS", struct.pack(">H", 5000))))
    half_clear("RGBA")[0].save(tmp_path / "b.webp", lossless=True, exact=True)
    for name in ("a.png", "b.webp"):
        found = read(tmp_path / name)
        assert (found[:4] == WHITE).all()
        assert (found[4:] == 90).all()
    rows = b"\0\0" * 4 + b"\0\xff" * 4
    (tmp_path / "c.png").write_bytes(png(8, 8, rows, depth=1, extra=chunk(b"tRNS", b"\0\0")))
    assert (read(tmp_path / "c.png") == WHITE).all()  # black is clear, and white is white
    (tmp_path / "c.png").write_bytes(png(8, 8, rows, depth=1))
    assert np.unique(read(tmp_path / "c.png")).tolist() == [0, WHITE]


def test_half_transparent_is_half_white_and_opaque_is_as_it_is(tmp_path):
    made = noise(8, 8, 4)
    made[..., 3] = 255
    made[0, 0] = (100, 0, 200, 128)
    Image.fromarray(made).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png").astype(int)
    assert np.abs(found[0, 0] - [177, 127, 227]).max() <= 1
    assert np.array_equal(found.reshape(-1, 3)[1:], made.reshape(-1, 4)[1:, :3])


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_data_say(tmp_path, orientation, suffix):
    upright = noise(8, 12)
    undo = {2: [np.fliplr], 3: [np.rot90, np.rot90], 4: [np.flipud], 5: [np.rot90, np.flipud]}
    undo |= {6: [np.rot90], 7: [np.rot90, np.fliplr], 8: [lambda x: np.rot90(x, -1)]}
    stored = upright
    for turn in undo.get(orientation, []):
        stored = turn(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif} | (
        {"lossless": True} if suffix == "webp" else {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
    )
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"a.{suffix}", **options)
    Image.fromarray(upright).save(tmp_path / "upright.png")
    difference = read(tmp_path / f"a.{suffix}").astype(int) - read(tmp_path / "upright.png")
    assert np.abs(difference).mean() <= (20 if suffix == "jpg" else 0)  # two pictures of noise differ by 85


def test_cmyk(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = read(tmp_path / "a.jpg").reshape(-1, 3).astype(int).mean(0)
    assert red > 240
    assert max(green, blue) < 15


def test_of_an_animation_the_first_picture_is_taken_and_that_is_said(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for suffix, options in (("png", {}), ("webp", {"lossless": True})):
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
        found, remark = picture(tmp_path / f"a.{suffix}", mode="RGB", side=8)
        assert found[0, :, 0, 0].tolist() == [255, 0, 0]
        assert remark == "animated, of which the first picture is taken"


def test_garbage_beside_the_pixels_is_no_harm(tmp_path):
    pixels = noise(8, 8)
    Image.fromarray(pixels).save(tmp_path / "icc.png", icc_profile=b"garbage" * 50)
    Image.fromarray(pixels).save(tmp_path / "exif.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")
    Image.fromarray(pixels).save(tmp_path / "text.png", exif=b"none of this")
    for name in ("icc.png", "exif.png", "text.png"):
        assert np.array_equal(read(tmp_path / name), pixels)


# What is refused, in words


def as_format(form: str, mode: str = "RGB") -> Callable[[Path], None]:
    return lambda path: Image.fromarray(noise(8, 8)).convert(mode).save(path, form)


def cut(form: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        Image.fromarray(noise(40, 40)).save(path, form)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return make


def text(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


NO_PICTURE = "it is no JPEG, PNG, WebP or BMP picture"
HUGE = "900,000,000"
BMP = (
    b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 2**20, 2**20, 1, 24, 0, 0, 0, 0, 0, 0)
)
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.png": (text(b""), "it is empty"),
    "text.png": (text(b"not a picture"), NO_PICTURE),
    "cut.png": (cut("PNG"), "truncated"),
    "cut.jpg": (cut("JPEG"), "truncated"),
    "cut.bmp": (cut("BMP"), "truncated"),
    "cut.webp": (cut("WEBP"), ""),
    "only-a-signature.png": (text(b"\x89PNG\r\n\x1a\n"), ""),
    "postscript.png": (text(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"), NO_PICTURE),
    "drawing.png": (text(b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'), NO_PICTURE),
    "tiff.png": (as_format("TIFF"), NO_PICTURE),
    "floats.jpg": (as_format("TIFF", "F"), NO_PICTURE),
    "gif.png": (as_format("GIF"), NO_PICTURE),
    "pipe.png": (os.mkfifo, "it is no ordinary file"),
    "nowhere.png": (lambda path: path.symlink_to("none"), "it is a link that leads nowhere"),
    "loop.png": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    "huge.png": (text(png(30_000, 30_000, b"")), "it has 30,000 x 30,000 pixels, more than the 268,435,456"),
    "huge.bmp": (text(BMP), "it has 1,048,576 x 1,048,576 pixels"),
    "no-pixels.png": (text(png(0, 8, b"")), ""),
    "bad-checksum.png": (text(png(8, 8, b"\0" * 72).replace(b"IHDR", b"IHDS")), ""),
}
BAD["unreadable.png"] = (lambda path: (as_format("PNG")(path), path.chmod(0)), "Permission denied")
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def made(folder: Path) -> dict[Path, str]:
    """Every bad file in the folder, and what is said of it."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, (make, message) in BAD.items():
        if name == "unreadable.png" and IS_ROOT:
            continue
        make(folder / name)
        found[folder / name] = message
    return found


def test_what_is_wrong_with_a_file_is_said(tmp_path):
    for path, message in made(tmp_path).items():
        with pytest.raises(BadFile) as error:
            picture(path, mode="RGB", side=8)
        assert message in str(error.value), path
        assert len(str(error.value).splitlines()) == 1, path


def test_a_folder_of_bad_files_gives_the_good_ones(places, recwarn):
    folder = places.given / "toy"
    bad = made(folder / "train" / "cat")
    good = [
        b"\xff\xfe.png",
        b"line\nbreak.png",
        b"\x1b[31mred.png",
        b"[bold]x[/b].png",
        b"name.png",
        b"uebergr\xc3\xb6sse.png",
    ]
    for number, name in enumerate(good):
        path = Path(os.fsdecode(os.fsencode(folder / "train" / "dog") + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noise(8, 8, seed=number)).save(path)
    (folder / "train" / "dog" / "folder.png").mkdir()
    Image.fromarray(noise(1, 12_000)).save(folder / "train" / "dog" / "folder.png" / "long.png")
    (folder / "test" / "cat").mkdir(parents=True)
    Image.fromarray(noise(12_000, 1)).save(folder / "test" / "cat" / "tall.png")
    total = len(bad) + len(good) + 2
    options = {"name": "toy", "shape": [3, 8, 8], "splits": SPLITS}
    with pytest.raises(Exception, match=f"toy: {len(bad)} of {total} files cannot be read") as error:
        images(**options, bad_files=len(bad) - 1)
    assert len(error.value.lines) == 1
    found = images(**options, bad_files=len(bad))
    assert (len(found), len(found.test_x)) == (len(good) + 1, 1)
    assert found.note == f"{len(bad)} of {total} files unreadable and left out"
    assert found.train_y.tolist() == [1] * len(found)
    assert found.class_names == ("cat", "dog")
    assert not recwarn.list


def test_a_bad_name_is_shown_as_text(places):
    folder = places.given / "toy" / "test"
    folder.mkdir(parents=True)
    path = Path(os.fsdecode(os.fsencode(folder) + b"/a\xff\x1b\n.png"))
    path.write_bytes(b"")
    with pytest.raises(Exception, match="cannot be read") as error:
        images(name="toy", shape=[3, 8, 8], splits=SPLITS, bad_files=0)
    assert r"a\xff\x1b\n.png: it is empty" in str(error.value)
    str(error.value).encode()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
def test_any_damage_is_a_bad_file_or_a_picture(tmp_path, form):
    path = tmp_path / f"a.{form.lower()}"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(12, 12)).save(path, form, **({} if form == "BMP" else {"exif": exif}))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    random = np.random.default_rng(0)
    outcomes = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(150):
            damaged = whole.copy()
            damaged[random.integers(0, min(len(whole), 200), 3)] = random.integers(0, 256, 3)
            path.write_bytes(damaged.tobytes())
            try:
                outcomes.add(picture(path, mode="RGB", side=8)[0].shape)
            except BadFile:
                outcomes.add(None)
    assert outcomes - {(1, 3, 8, 8)} == {None}


# Memory


MEASURE = """
import resource, sys
from vaebench.data.pictures import picture
from vaebench.data.places import BadFile
from pathlib import Path
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        print(path.name, picture(path, mode="RGB", side=256)[0].shape)
    except BadFile as error:
        print(path.name, error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_long_and_huge_pictures_take_little_memory(tmp_path):
    for name, (width, height) in {"a.png": (1, 12_000), "b.png": (12_000, 1), "c.png": (1, 100_000)}.items():
        (tmp_path / name).write_bytes(png(width, height, (b"\0" + bytes(width)) * height))
    (tmp_path / "d.png").write_bytes(png(30_000, 30_000, b""))
    (tmp_path / "e.bmp").write_bytes(BMP)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURE, str(tmp_path)],
        capture_output=True, text=True, env=environment, timeout=120, check=True,
    )  # fmt: skip
    *lines, megabytes = done.stdout.splitlines()
    assert [line.partition(" ")[2][:16] for line in lines[:3]] == ["(1, 3, 256, 256)"] * 3
    assert all("pixels, more than the" in line for line in lines[3:])
    assert int(megabytes) < 100
    assert not done.stderr


def test_a_large_picture_is_no_attack(tmp_path, monkeypatch, recwarn):
    assert Image.MAX_IMAGE_PIXELS is None  # above 89 million it would warn, above 179 million refuse
    (tmp_path / "a.png").write_bytes(png(10_000, 9_000, bytes(1_251) * 9_000, depth=1))
    assert not read(tmp_path / "a.png").any()
    assert not recwarn.list
    monkeypatch.setattr(module, "_MOST_PIXELS", 90_000_000 - 1)
    with pytest.raises(BadFile, match="10,000 x 9,000 pixels, more than the 89,999,999 in all that are read"):
        read(tmp_path / "a.png")
