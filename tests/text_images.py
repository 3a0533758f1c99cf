"""Pictures of text, as a scanner or a camera would give them: several fonts, sizes, words and shades."""

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Array = npt.NDArray[np.float32]
Font = ImageFont.FreeTypeFont
Shade = tuple[int, int, int]

WORDS = (
    "Hello",
    "Kitchen",
    "EXIT 24",
    "Lighthouse",
    "Invoice No. 7",
    "quality",
    "Bahnhof",
    "Forty-two",
    "AGENT",
    "Receipt",
)
SIZES_PIXELS = (18, 24, 32, 44, 60)
# Ink and paper: print, a faded copy, a street sign, a chalk board.
SHADES: tuple[tuple[Shade, Shade], ...] = (
    ((0, 0, 0), (255, 255, 255)),
    ((90, 80, 70), (225, 220, 205)),
    ((255, 255, 255), (0, 60, 140)),
    ((240, 240, 230), (30, 40, 35)),
)
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


@dataclass(frozen=True)
class TextImage:
    """One line of text on a tight background; `turned` by 180 degrees or upright."""

    name: str
    image: Image.Image
    turned: bool


def fonts() -> dict[str, Callable[[float], Font]]:
    """Makers of fonts by their size in pixels: Pillow's own sans, the four serif faces of the wheel font-caladea."""
    found: dict[str, Callable[[float], Font]] = {"Aileron": _aileron}
    package = importlib.util.find_spec("font_caladea")
    if package is not None and package.submodule_search_locations:
        for path in sorted(Path(package.submodule_search_locations[0]).glob("files/*.ttf")):
            found[path.stem] = _face(path)
    return found


def _aileron(size: float) -> Font:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _face(path: Path) -> Callable[[float], Font]:
    return lambda size: ImageFont.truetype(path, size)


def text_images() -> Iterator[TextImage]:
    """Every word in every font, upright and turned; sizes and shades take turns."""
    index = 0
    for font_name, make in fonts().items():
        for word in WORDS:
            size, (ink, paper) = SIZES_PIXELS[index % len(SIZES_PIXELS)], SHADES[index // 2 % len(SHADES)]
            upright = _line(word, make(size), ink, paper)
            yield TextImage(f"{font_name} {size} '{word}'", upright, turned=False)
            yield TextImage(f"{font_name} {size} '{word}' turned", upright.rotate(180), turned=True)
            index += 1


def _line(text: str, font: Font, ink: Shade, paper: Shade) -> Image.Image:
    left, top, right, bottom = font.getbbox(text)
    margin = font.size / 6
    image = Image.new("RGB", (round(right - left + 2 * margin), round(bottom - top + 2 * margin)), paper)
    ImageDraw.Draw(image).text((margin - left, margin - top), text, font=font, fill=ink)
    return image


@dataclass(frozen=True)
class Page:
    """A page and the boxes (left, top, right, bottom, in pixels) of the words on it."""

    image: Image.Image
    boxes: tuple[tuple[int, int, int, int], ...]


def page(height: int, width: int, seed: int) -> Page:
    """Lines of words, one font a line, from top to bottom until the page is full."""
    rng = np.random.default_rng(seed)
    ink, paper = SHADES[seed % len(SHADES)]
    image = Image.new("RGB", (width, height), paper)
    draw, makers = ImageDraw.Draw(image), list(fonts().values())
    boxes: list[tuple[int, int, int, int]] = []
    top = 12
    while True:
        font = makers[rng.integers(len(makers))](float(rng.integers(18, 40)))
        word = WORDS[rng.integers(len(WORDS))]
        box = draw.textbbox((int(rng.integers(10, 40)), top), word, font=font)
        if box[2] > width - 10:
            continue
        if box[3] > height - 8:
            return Page(image, tuple(boxes))
        draw.text((box[0], top), word, font=font, fill=ink)
        boxes.append((round(box[0]), round(box[1]), round(box[2]), round(box[3])))
        top = round(box[3]) + 16


def classifier_input(image: Image.Image, height: int = 48, width: int = 192) -> Array:
    """PaddleOCR's: to the network's height with the aspect kept, values in -1..1, zeros to the right; NCHW."""
    scaled = min(width, math.ceil(height * image.width / image.height))
    pixels = np.asarray(image.resize((scaled, height), Image.Resampling.BILINEAR), np.float32)
    padded = np.zeros((1, 3, height, width), np.float32)
    padded[0, :, :, :scaled] = ((pixels / 255 - 0.5) / 0.5).transpose(2, 0, 1)
    return padded


def detector_input(image: Image.Image) -> Array:
    """PaddleOCR's: ImageNet's mean and deviation; NCHW."""
    pixels = np.asarray(image, np.float32) / 255
    return np.ascontiguousarray(((pixels - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1)[np.newaxis], np.float32)
