"""Odd image files: each becomes the pixels that a viewer shows, or is skipped and counted with a reason."""

import io
import os
import shutil
import struct
import tarfile
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import genlab.sources
from genlab.data import load_dataset
from genlab.sources import describe, to_square

SIDE = 16
RED, GREY = (200, 30, 40), (90, 90, 90)


def flat(colour, mode="RGB", size=(SIDE, SIDE)):
    return Image.new(mode, size, colour)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# -- files that Pillow does not write


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(pixel, bits, colour_type, *between, passes=((SIDE, SIDE),), size=SIDE):
    "A PNG (ISO 15948) of one colour: samples, colour type, chunks before the pixels, rows and columns."
    samples = b"".join(struct.pack(">H" if bits == 16 else ">B", value) for value in pixel)
    rows = b"".join((b"\0" + samples * columns) * count for count, columns in passes)
    header = chunk(b"IHDR", struct.pack(">2I5B", size, size, bits, colour_type, 0, 0, len(passes) > 1))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(between) + body


ADAM7 = [(2, 2), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16)]  # rows and columns of the passes over 16x16


def tiff(value, dtype, photometric=1, form=1):
    "A little-endian TIFF of one strip with one sample a pixel."
    data = np.full((SIDE, SIDE), value, dtype).tobytes()
    fields = [(256, SIDE), (257, SIDE), (258, np.dtype(dtype).itemsize * 8), (259, 1)]
    fields += [(262, photometric), (273, 8), (277, 1), (278, SIDE), (279, len(data)), (339, form)]
    directory = b"".join(struct.pack("<2H2I", tag, 4, 1, value) for tag, value in fields)
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    return head + data + struct.pack("<H", len(fields)) + directory + bytes(4)


def bmp_with_alpha(colour):
    "A bitmap with the fourth version of the header, which says where the opacity is."
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<I2i2H6I", 108, SIDE, SIDE, 1, 32, 3, SIDE * SIDE * 4, 0, 0, 0, 0) + masks
    pixel = bytes([*colour[2::-1], colour[3]])
    return struct.pack("<2sI2HI", b"BM", 122 + 1024, 0, 0, 122) + header.ljust(108, b"\0") + pixel * SIDE**2


def ycck(colour):
    "A JPEG as Photoshop writes: inks, inverted, then turned into YCbCr as if they were red, green, blue."
    y, cb, cr = flat(tuple(255 - value for value in colour)).convert("YCbCr").getpixel((0, 0))
    file = saved(flat((255 - y, 255 - cb, 255 - cr, 0), "CMYK"), "jpeg", quality=100)
    at = file.index(b"Adobe") + 11
    assert file[at] == 0  # CMYK
    return file[:at] + b"\2" + file[at + 1 :]


# -- colour profiles, from their definitions

P3 = [[0.51512, 0.24120, -0.00105], [0.29198, 0.69225, 0.04189], [0.15710, 0.06657, 0.78407]]  # XYZ at D50
ADOBE = [[0.60974, 0.31111, 0.01947], [0.20528, 0.62567, 0.06087], [0.14919, 0.06322, 0.74457]]
SRGB = [[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.71410]]
WHITE = [0.96420, 1.0, 0.82491]


def fixed(*numbers):
    return struct.pack(f">{len(numbers)}i", *(round(65536 * n) for n in numbers))


def profile(primaries, gamma, space=b"RGB "):
    "A profile (ICC.1) of three primaries, or of grey without them; levels are light to the power 1 / gamma."
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * gamma)) + bytes(2)
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(*WHITE)}
    tags[b"desc"] = b"desc" + bytes(4) + struct.pack(">I", 5) + b"mine\0" + bytes(78) + bytes(1)
    tags[b"cprt"] = b"text" + bytes(4) + b"free"
    for letter, xyz in zip(b"rgb", primaries, strict=False):
        tags[bytes([letter]) + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*xyz)
        tags[bytes([letter]) + b"TRC"] = curve
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">2I", start + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + fixed(*WHITE)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def in_srgb(xyz):
    "IEC 61966-2-1: a colour, X, Y and Z for a white of 5,000 K, in sRGB."
    linear = np.clip(xyz @ np.linalg.inv(SRGB), 0, 1)
    levels = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return tuple((255 * levels).round().astype(int).tolist())


def translated(colour, primaries, gamma):
    return in_srgb((np.asarray(colour) / 255) ** gamma @ np.array(primaries))


def from_lab(lightness, a, b):
    "CIE 1976."
    y = (lightness + 16) / 116
    return in_srgb(np.array([y + a / 500, y, y - b / 200]) ** 3 * WHITE)


PLAIN = (100, 150, 90)
DISPLAY_P3, ADOBE_RGB = profile(P3, 2.2), profile(ADOBE, 2.19921875)
LINEAR_GREY = profile([], 1, b"GRAY")
HALF_THE_LIGHT = translated([128] * 3, SRGB, 1)

JPEG = dict(quality=100, subsampling=0)
HALF = (228, 143, 148)  # RED over white, an opacity of 127 / 255: 255 - (255 - c) * 127 / 255
SHOWN = {  # name: (file, the pixels that a viewer shows, how far they may be off)
    "rgb.png": (saved(flat(RED), "png"), RED, 0),
    "CAPITALS.PNG": (saved(flat(RED), "png"), RED, 0),
    "png called.jpg": (saved(flat(RED), "png"), RED, 0),
    "jpeg called.png": (saved(flat(RED), "jpeg", **JPEG), RED, 2),
    "interlaced.png": (png(RED, 8, 2, passes=ADAM7), RED, 0),
    "progressive.jpg": (saved(flat(RED), "jpeg", progressive=True, **JPEG), RED, 2),
    "grey.jpg": (saved(flat(90, "L"), "jpeg", **JPEG), GREY, 1),
    "one bit.png": (saved(flat(1, "1"), "png"), (255,) * 3, 0),
    "one bit.tiff": (saved(flat(0, "1"), "tiff", compression="group4"), (0,) * 3, 0),
    "palette.png": (saved(flat(RED).quantize(2), "png"), RED, 0),
    "palette.bmp": (saved(flat(RED).quantize(2), "bmp"), RED, 0),
    "rgba.png": (saved(flat((*RED, 127), "RGBA"), "png"), HALF, 1),
    "rgba hidden.png": (saved(flat((*RED, 0), "RGBA"), "png"), (255,) * 3, 0),
    "la.png": (saved(flat((90, 127), "LA"), "png"), (173,) * 3, 1),
    "rgba.webp": (saved(flat((*RED, 127), "RGBA"), "webp", lossless=True), HALF, 1),
    "rgba.tiff": (saved(flat((*RED, 127), "RGBA"), "tiff"), HALF, 1),
    "palette of alpha.png": (png([0], 8, 3, chunk(b"PLTE", bytes(RED)), chunk(b"tRNS", b"\x7f")), HALF, 1),
    "trns grey.png": (png([90], 8, 0, chunk(b"tRNS", b"\0\x5a")), (255,) * 3, 0),
    "trns other grey.png": (png([90], 8, 0, chunk(b"tRNS", b"\0\x5b")), GREY, 0),
    "trns rgb.png": (png(RED, 8, 2, chunk(b"tRNS", struct.pack(">3H", *RED))), (255,) * 3, 0),
    "trns 16 bits.png": (png([20000], 16, 0, chunk(b"tRNS", struct.pack(">H", 20000))), (255,) * 3, 0),
    "trns 16 bits rgb.png": (
        png([257 * c for c in RED], 16, 2, chunk(b"tRNS", struct.pack(">3H", *(257 * c for c in RED)))),
        (255,) * 3, 0,
    ),
    "16 bits, white.png": (png([65535], 16, 0), (255,) * 3, 0),
    "16 bits, white.ppm": (b"P5 16 16 65535\n" + b"\xff" * 512, (255,) * 3, 0),
    "16 bits.png": (png([23130], 16, 0), GREY, 0),
    "16 bits.ppm": (b"P5 16 16 65535\n" + struct.pack(">H", 23130) * 256, GREY, 0),
    "16 bits rgb.png": (png([257 * c for c in RED], 16, 2), RED, 0),
    "16 bits rgba.png": (png([*(257 * c for c in RED), 257 * 127], 16, 6), HALF, 1),
    "16 bits la.png": (png([257 * 90, 257 * 127], 16, 4), (173,) * 3, 1),
    "white is zero.tiff": (tiff(165, "u1", photometric=0), GREY, 0),
    "16 bits, white is zero.tiff": (tiff(42405, "<u2", photometric=0), GREY, 0),
    "16 bits.tiff": (tiff(23130, "<u2"), GREY, 0),
    "float.tiff": (tiff(90 / 255, "<f4", form=3), GREY, 0),
    "cmyk.tiff": (saved(flat(RED).convert("CMYK"), "tiff"), RED, 1),
    "cmyk.jpg": (saved(flat(RED).convert("CMYK"), "jpeg", **JPEG), RED, 4),
    "ycck.jpg": (ycck(RED), RED, 4),
    "ycbcr.tiff": (saved(flat(RED).convert("YCbCr"), "tiff"), RED, 2),
    "lab.tiff": (saved(flat((153, 158, 108), "LAB"), "tiff"), from_lab(60, 30, -20), 2),
    "display p3.png": (saved(flat(PLAIN), "png", icc_profile=DISPLAY_P3), translated(PLAIN, P3, 2.2), 1),
    "adobe rgb.jpg": (
        saved(flat(PLAIN), "jpeg", icc_profile=ADOBE_RGB, **JPEG), translated(PLAIN, ADOBE, 2.199), 3,
    ),
    "adobe rgb, alpha.png": (saved(flat((*PLAIN, 0), "RGBA"), "png", icc_profile=ADOBE_RGB), (255,) * 3, 0),
    "linear grey.png": (saved(flat(128, "L"), "png", icc_profile=LINEAR_GREY), HALF_THE_LIGHT, 1),
    "linear grey, alpha.png": (
        saved(flat((128, 255), "LA"), "png", icc_profile=LINEAR_GREY), HALF_THE_LIGHT, 1,
    ),
    "profile of no kind.png": (saved(flat(PLAIN), "png", icc_profile=b"nonsense"), PLAIN, 0),
    "profile of grey.png": (saved(flat(PLAIN), "png", icc_profile=LINEAR_GREY), PLAIN, 0),
    "animated.gif": (saved(flat(RED), "gif", save_all=True, append_images=[flat("blue")]), RED, 0),
    "animated.webp": (
        saved(flat(RED), "webp", save_all=True, append_images=[flat("blue")], lossless=True), RED, 1,
    ),
    "animated.apng": (saved(flat(RED), "png", save_all=True, append_images=[flat("blue")]), RED, 0),
    "pages.tif": (saved(flat(RED), "tiff", save_all=True, append_images=[flat("blue")]), RED, 0),
    "two views.mpo": (saved(flat(RED), "mpo", save_all=True, append_images=[flat("blue")], **JPEG), RED, 2),
    "avif.avif": (saved(flat(RED), "avif", quality=100, subsampling="4:4:4"), RED, 3),
    "2000.jp2": (saved(flat(RED), "jpeg2000"), RED, 0),
    "24 bits.bmp": (saved(flat(RED), "bmp"), RED, 0),
    "32 bits.bmp": (saved(flat((*RED, 0), "RGBA"), "bmp"), RED, 0),  # the fourth byte has no meaning
    "alpha.bmp": (bmp_with_alpha((*RED, 127)), HALF, 1),
    "icon.ico": (saved(flat((*RED, 255), "RGBA"), "ico", sizes=[(SIDE, SIDE)]), RED, 0),
    "1x1.png": (saved(flat(RED, size=(1, 1)), "png"), RED, 0),
    "5000x1.png": (saved(flat(RED, size=(5000, 1)), "png"), RED, 0),
    "1x5000.png": (saved(flat(RED, size=(1, 5000)), "png"), RED, 0),
    "two\nlines, 'quotes' and \"more\".png": (saved(flat(RED), "png"), RED, 0),
    "\u00e4\u4e2d\U0001f600.png": (saved(flat(RED), "png"), RED, 0),
    "no text \udcff\udcfe.png": (saved(flat(RED), "png"), RED, 0),
}  # fmt: skip

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
UNKNOWN, NO_NUMBERS = "no image of a known kind", "negative or infinite numbers"


def half(image, kind):
    return (file := saved(image, kind))[: len(file) // 2]


SKIPPED = {  # name: (file, the reason)
    "empty.png": (b"", "empty"),
    "text.png": (b"I am no picture", UNKNOWN),
    "page.jpg": (b"<!DOCTYPE html><title>404</title>", UNKNOWN),
    "paper.png": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<</Type /Catalog>>\nendobj\n", UNKNOWN),
    "phone.HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", UNKNOWN),
    "cut.jpg": (half(NOISE, "jpeg"), "cut short"),
    "cut.png": (half(NOISE, "png"), "cut short"),
    "cut.gif": (half(NOISE, "gif"), "cut short"),
    "cut.bmp": (half(NOISE, "bmp"), "cut short"),
    "cut.tiff": (half(NOISE, "tiff"), "cut short"),
    "cut.webp": (half(NOISE, "webp"), None),
    "cut.avif": (half(NOISE, "avif"), None),
    "cut.jp2": (half(NOISE, "jpeg2000"), None),
    "bomb.png": (png([0], 8, 0, size=60000), "more than 178,956,970 pixels"),
    "negative.tiff": (tiff(-0.5, "<f4", form=3), NO_NUMBERS),
    "not a number.tiff": (tiff(np.nan, "<f4", form=3), NO_NUMBERS),
    "infinite.tiff": (tiff(np.inf, "<f4", form=3), NO_NUMBERS),
    "negative integers.tiff": (tiff(-5, "<i4", form=2), NO_NUMBERS),
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


PACKED = ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"]


def pack(folder, kind, order=sorted):
    "An archive of what is in a folder, beside it; the order of its members may be another than by name."
    archive = folder.with_name(f"{folder.name}.{kind}")
    files = order(path for path in folder.rglob("*") if path.is_file())
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as opened:
            for path in files:
                opened.writestr(str(path.relative_to(folder)), path.read_bytes())
    else:
        with tarfile.open(archive, f"w:{kind.partition('.')[2]}") as opened:
            for path in files:
                opened.add(path, path.relative_to(folder))
    return archive


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def load(place, size=SIDE):
    "Both splits, and what was warned of."
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        parts = [load_dataset(f"folder:{place}", split, size) for split in ("train", "test")]
    return parts, [str(warning.message) for warning in found]


def test_twenty_odd_files_and_more():
    assert len(SHOWN) + len(SKIPPED) > 60


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.xz"])
def test_odd_files_become_what_a_viewer_shows(tmp_path, cache, kind):
    "In a folder and in archives: each by its name, none is skipped, and none lends its pixels to another."
    files = {f"{split}/{name}": file for split in ("train", "test") for name, (file, *_) in SHOWN.items()}
    place = write(tmp_path / "set", files)
    (train, test), said = load(place if kind == "folder" else pack(place, kind))
    assert not said and train.images.shape == (len(SHOWN), 3, SIDE, SIDE)
    assert torch.equal(train.images, test.images)
    wrong = {}
    for name, image in zip(sorted(SHOWN), train.images, strict=True):
        _, colour, off = SHOWN[name]
        if (image - torch.tensor(colour)[:, None, None].float()).abs().max() > off:
            wrong[name] = image[:, 8, 8].tolist(), colour
    assert not wrong


@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
def test_odd_files_are_skipped_with_the_reason(tmp_path, cache, kind):
    good = {f"train/good {i}.png": saved(flat(RED), "png") for i in range(2)}
    files = {f"train/{name}": file for name, (file, _) in SKIPPED.items()}
    place = write(tmp_path / "set", good | files | {"test/good.png": saved(flat(RED), "png")})
    (train, _), (said,) = load(place if kind == "folder" else pack(place, kind))
    assert len(train.images) == 2
    assert f"{len(SKIPPED)} of {len(SKIPPED) + 2} files are not readable images and were skipped: " in said
    reasons = [reason for _, reason in SKIPPED.values() if reason]
    for reason in set(reasons):
        assert f"{reason} (" in said
    assert f"{NO_NUMBERS} (4, such as" in said and "empty (1, such as 'train/empty.png')" in said
    assert "\n" not in said


@pytest.mark.parametrize("name", SKIPPED)
def test_each_of_them_alone(tmp_path, cache, name):
    "Then no image is left, and the sentence says why."
    file, reason = SKIPPED[name]
    write(tmp_path / "set", {f"train/{name}": file, "test/good.png": saved(flat(RED), "png")})
    sentence = f"none of the 1 images can be read: {reason or '.*'} [(]1, such as 'train/"
    with pytest.raises(ValueError, match=sentence) as error:
        load_dataset(f"folder:{tmp_path / 'set'}", size=SIDE)
    assert "\n" not in str(error.value)


# -- archives


def numbered(*folders, n=6):
    "Small pictures, each of another colour, by their names."
    names = [f"{folder}/{i}.png" for folder in folders for i in range(n)]
    return {name: saved(flat((i % 256, 40 + i // 256, 7)), "png") for i, name in enumerate(names)}


def shuffled(files):
    files = sorted(files)
    return [files[i] for i in np.random.default_rng(0).permutation(len(files))]


@pytest.mark.parametrize("order", [sorted, shuffled])
@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize(
    "folders", [["."], ["cat", "dog"], ["train/cat", "train/dog", "test/cat", "test/dog"], ["train", "val"]]
)
def test_an_archive_is_what_its_folder_is(tmp_path, cache, kind, order, folders):
    "Pixels, order, labels, classes, splits, and what is said about broken files."
    files = numbered(*folders, n=10) | {f"{folders[0]}/3.png": b"broken", f"{folders[0]}/4.png": b""}
    files |= {".hidden/1.png": b"x", "__MACOSX/cat/._1.png": b"x", "notes.txt": b"x", "a/.cache/1.png": b"x"}
    folder = write(tmp_path / "set", files)
    unpacked, said = load(folder)
    before = sorted(tmp_path.rglob("set*"))
    archive = pack(folder, kind, order)
    packed, said_of_archive = load(archive)
    for one, other in zip(unpacked, packed, strict=True):
        assert torch.equal(one.images, other.images) and one.classes == other.classes
        assert (one.labels is None) == (other.labels is None) == (not one.classes)
        assert one.labels is None or torch.equal(one.labels, other.labels)
    assert [text.replace(str(archive), str(folder)) for text in said_of_archive] == said and said
    assert sorted(tmp_path.rglob("set*")) == sorted([*before, archive]), "nothing is unpacked"
    assert not list(cache.rglob("*.png")) and not list(cache.rglob("unsorted.bin"))


@pytest.mark.parametrize("order", [sorted, shuffled])
@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "zip"])
def test_a_conversion_that_is_killed_goes_on(tmp_path, cache, monkeypatch, kind, order):
    folder = write(tmp_path / "set", numbered("train", n=320) | numbered("test", n=1))
    (whole, _), _ = load(folder)
    place = pack(folder, kind, order) if kind != "folder" else shutil.copytree(folder, tmp_path / "again")
    calls = []

    def counted(*args, **options):
        calls.append(1)
        if len(calls) == 250:
            raise KeyboardInterrupt
        return to_square(*args, **options)

    monkeypatch.setattr(genlab.sources, "to_square", counted)
    with pytest.raises(KeyboardInterrupt):
        load(place)
    del calls[:]
    calls += [1] * 1000
    assert torch.equal(load(place)[0][0].images, whole.images)
    assert len(calls) - 1000 == 120 + 1, "the first 200 are not read again"


@pytest.mark.parametrize("file, lost", [("images.bin", 1000), ("images.bin", 0), ("read.txt", 103)])
def test_what_a_power_failure_has_lost(tmp_path, cache, file, lost):
    "Of pixels that the log knows of, or of the log, up to the middle of a line. Nothing becomes black."
    folder = write(tmp_path / "set", numbered("train", "test", n=30))
    whole = [part.images.clone() for part in load(folder)[0]]
    for kept in (cache / "converted").glob("*[!k]"):
        path = kept.rename(kept.with_suffix(".tmp")) / file
        os.truncate(path, lost and path.stat().st_size - lost)
    for part, before in zip(load(folder)[0], whole, strict=True):
        assert torch.equal(part.images, before)


@pytest.mark.parametrize("when", ["_sort_pixels", "_sha256"])
def test_killed_while_images_are_sorted_or_afterwards(tmp_path, cache, monkeypatch, when):
    folder = write(tmp_path / "set", numbered("train", "test", n=30))
    whole, _ = load(folder)
    place, original = pack(folder, "tar.gz", shuffled), getattr(genlab.sources, when)

    def killed(*args):
        if when == "_sort_pixels":
            original(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(genlab.sources, when, killed)
    with pytest.raises(KeyboardInterrupt):
        load(place)
    monkeypatch.setattr(genlab.sources, when, original)
    for one, other in zip(load(place)[0], whole, strict=True):
        assert torch.equal(one.images, other.images)


@pytest.mark.parametrize("kind", PACKED)
def test_a_second_start_reads_no_archive(tmp_path, cache, monkeypatch, kind):
    "And a changed archive is read again."
    folder = write(tmp_path / "set", numbered("cat", "dog"))
    archive = pack(folder, kind)
    before, _ = load(archive)
    listed = [getattr(genlab.sources, name) for name in ("_tar_members", "_zip_members")]
    for name in ("_tar_members", "_zip_members", "openers"):
        monkeypatch.setattr(genlab.sources, name, None)
    assert torch.equal(load(archive)[0][0].images, before[0].images)
    monkeypatch.undo()
    os.environ["GENLAB_CACHE"] = str(cache)
    assert all(listed)
    (folder / "cat" / "0.png").write_bytes(saved(flat((99, 98, 97)), "png"))
    (folder / "cat" / "9.png").write_bytes(saved(flat(RED), "png"))
    times = archive.stat().st_mtime_ns
    pack(folder, kind)
    os.utime(archive, ns=(times, times))
    (train, _), _ = load(archive)
    assert train.images[0, :, 0, 0].tolist() == [99, 98, 97] and len(train.images) == 12


def tar_of(path, *members):
    "A tar of members (name, content) or (name, kind of link, where it leads)."
    with tarfile.open(path, "w") as tar:
        for name, *what in members:
            info = tarfile.TarInfo(name)
            if len(what) == 2:
                info.type, info.linkname = what
                tar.addfile(info)
            else:
                info.size = len(what[0])
                tar.addfile(info, io.BytesIO(what[0]))
    return path


SYM, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


def test_names_and_links_in_a_tar(tmp_path, cache):
    "Absolute names, names that lead out, links to members, to links, in circles and to somewhere else."
    shade = lambda value: saved(flat(value, "L"), "png")
    archive = tar_of(
        tmp_path / "set.tar",
        ("/train/0.png", shade(100)), ("../../train/1.png", shade(101)), ("./train//2.png", shade(102)),
        ("train/x/../3.png", shade(103)), ("train/4.png", b"replaced below"), ("train/4.png", shade(104)),
        ("train/5.png", SYM, "0.png"), ("train/6.png", SYM, "../train/1.png"), ("train/7.png", SYM, "5.png"),
        ("train/8.png", HARD, "./train//2.png"), ("train/90.png", SYM, "91.png"),
        ("train/91.png", SYM, "90.png"), ("train/92.png", SYM, str(tmp_path / "outside.png")),
        ("train/93.png", SYM, "../train"), ("test/0.png", shade(105)),
    )  # fmt: skip
    write(tmp_path, {"outside.png": shade(200)})
    (train, test), (said,) = load(archive)
    assert train.images[:, 0, 0, 0].tolist() == [100, 101, 102, 103, 104, 100, 101, 100, 102]
    assert "4 of 13 files" in said and "a link that leads nowhere (4, such as 'train/90.png')" in said
    assert test.images[:, 0, 0, 0].tolist() == [105]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "outside.png", "set.tar"]


def test_a_zip_from_windows(tmp_path, cache):
    "Some programs there write backslashes."
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as opened:
        for name, content in numbered("train/cat", "train/dog", "test/cat", "test/dog").items():
            info = zipfile.ZipInfo(name)
            info.filename, info.create_system = name.replace("/", "\\"), 0
            opened.writestr(info, content)
    (train, test), said = load(tmp_path / "set.zip")
    assert train.classes == ["cat", "dog"] and (len(train.images), len(test.images), said) == (12, 12, [])


def test_an_encrypted_member_of_a_zip(tmp_path, cache):
    folder = write(tmp_path / "set", numbered("train", "test"))
    raw = bytearray(pack(folder, "zip").read_bytes())
    for signature, flags in (b"PK\3\4", 6), (b"PK\1\2", 8):
        raw[raw.index(signature, raw.index(b"train/0.png") if flags == 8 else 0) + flags] |= 1
    write(tmp_path, {"set.zip": raw})
    _, (said,) = load(tmp_path / "set.zip")
    assert "1 of 6 files" in said and "encrypted (1, such as 't" in said


@pytest.mark.parametrize(
    "members, sentence",
    [
        ([], "no images .* for the train split in .*: it takes one at least"),
        ([("a.txt", b"x"), ("b.tar", b"x")], r"no images .* end in \.tar, \.txt .*those inside are not read"),
        ([("only.png", saved(flat(RED), "png"))], "no images .* for the test split"),
    ],
)
@pytest.mark.parametrize("kind", PACKED)
def test_archives_without_images(tmp_path, cache, members, sentence, kind):
    (tmp_path / "set").mkdir()
    archive = pack(write(tmp_path / "set", dict(members)), kind)
    with pytest.raises(ValueError, match=f"^dataset: {sentence}") as error:
        load(archive)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", PACKED)
def test_an_archive_that_is_cut_short_or_damaged(tmp_path, cache, kind):
    "Either the right images, or some are skipped, or a sentence; never other images."
    folder = write(tmp_path / "set", numbered("train", "test", n=3))
    raw = pack(folder, kind).read_bytes()
    right = {bytes(image.numpy()) for part in load(folder)[0] for image in part.images}
    random = np.random.default_rng(0)
    cuts = [raw[: len(raw) * i // 12] for i in range(12)]
    for i in range(24):
        damaged = bytearray(raw)
        damaged[random.integers(len(raw))] ^= 1 << i % 8
        cuts.append(bytes(damaged))
    refused = 0
    for cut in cuts:
        place = write(tmp_path, {f"damaged.{kind}": cut}) / f"damaged.{kind}"
        try:
            parts, _ = load(place)
            assert {bytes(image.numpy()) for part in parts for image in part.images} <= right
        except (ValueError, OSError) as problem:
            refused += 1
            assert str(problem).startswith("dataset: ") and "\n" not in str(problem)
    assert refused >= 8


# -- describe


def test_describe(tmp_path, cache):
    "Counts by split and class, copies, test images that were trained on, sizes, modes, reasons."
    files = numbered("train/cat", "train/dog", "test/cat", "test/dog")
    files["train/dog/5.png"] = files["train/cat/0.png"]  # a copy
    files["test/dog/0.png"] = files["test/dog/1.png"] = files["train/cat/1.png"]  # seen in training
    files["train/cat/9.jpg"] = saved(flat(9, "L", (80, 40)), "jpeg")
    files |= {"train/cat/7.png": b"", "train/cat/8.png": b"x", "train/stray.png": files["train/cat/2.png"]}
    folder = write(tmp_path / "a set", files)
    for place in (folder, pack(folder, "tar.xz")):
        found = describe(f"folder:{place}", 16)
        counts = found.counts
        assert counts["train"].tolist() == [13, 7, 6, 1, ""] and counts["test"].tolist() == [12, 6, 6, 1, 2]
        assert list(counts.index) == ["images", "of cat", "of dog", "copies", "in training, too"]
        text = repr(found)
        assert "files have 16x16 to 80x40, median 16x16, modes RGB (12), L (1)" in text
        assert "train: 2 of 15 files are not readable images and were skipped: empty (1, such as" in text
        assert "1 of 28 images, such as" in text and len(found.some) == 13
        assert found.show().images
    found = describe("digits")
    assert found.counts["train"]["images"] == 1297 and "16x16 pixels, grey" in repr(found)


def test_what_is_said_about_files():
    log = ["RGB 3x5", "L 2x2", "skipped: empty", "RGB 9x9", "skipped: cut", "skipped: empty", "RGB 9x9"]
    found = genlab.sources._originals(log, "gfedcba".__getitem__)
    assert found["sizes"] == [(2, 2), (9, 9), (9, 9)] and found["modes"] == {"RGB": 3, "L": 1}
    assert found["skipped"] == {"empty": (2, "b"), "cut": (1, "c")}


def test_describe_a_name_that_is_no_text(tmp_path, cache):
    files = numbered("train", "test") | {"train/\udcff\n.png": b"", "test/\udcff.png": b""}
    repr(describe(f"folder:{write(tmp_path / 'set', files)}", 16)).encode()


def test_describe_many_classes(tmp_path, cache):
    folders = [f"{split}/{i:02}" for split in ("train", "test") for i in range(21)]
    counts = describe(f"folder:{write(tmp_path / 'set', numbered(*folders, n=1))}", 16).counts
    assert counts["train"].tolist() == [21, 21, 1, 1, 0, ""]
