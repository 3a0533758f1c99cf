"""Inputs from files: NumPy arrays and images."""

import struct
import warnings
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mnv3c.compiler.manifest import PortEntry, PreprocessingEntry
from mnv3c.graph.errors import UserError

Array = npt.NDArray[np.float32]
_BROKEN_IMAGE = (ValueError, SyntaxError, EOFError, struct.error, zlib.error, MemoryError)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


class TakesInput(Protocol):
    """What says how an input looks: a manifest."""

    @property
    def input(self) -> PortEntry:
        """The input as the caller hands it over."""

    @property
    def preprocessing(self) -> PreprocessingEntry | None:
        """How an image becomes the input, where the network says."""


def load_input(path: Path, manifest: TakesInput, preprocessing: PreprocessingEntry | None) -> Array:
    """The network's input from a .npy file (taken as it is) or an image (resized and normalised).

    Raises UserError naming the file for anything that cannot be read or does not fit.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return load_array(path)
    if suffix in IMAGE_SUFFIXES:
        return _load_image(path, manifest, preprocessing or manifest.preprocessing)
    raise UserError(f"{path}: an input ends in .npy, {', '.join(IMAGE_SUFFIXES)}")


def load_array(path: Path) -> Array:
    """The float32 values of a .npy file. Raises UserError naming the file for anything else."""
    try:
        with path.open("rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, MemoryError, OverflowError, SyntaxError) as error:
        raise UserError(f"{path}: not a readable .npy file: {_one_line(error)}") from None
    if values.dtype != np.float32:
        raise UserError(f"{path}: holds {values.dtype}, the network takes float32")
    if not np.isfinite(values).all():
        raise UserError(f"{path}: holds values that are not finite")
    return np.asarray(values, dtype=np.float32)


def _load_image(path: Path, manifest: TakesInput, preprocessing: PreprocessingEntry | None) -> Array:
    if preprocessing is None:
        raise UserError(
            f"{path}: this network does not say how images are normalised; give --mean and --std, or a .npy file"
        )
    shape, layout = manifest.input.shape, manifest.input.layout
    if len(shape) != 4:
        raise UserError(f"{path}: the network takes values of shape {list(shape)}, no image; give a .npy file")
    height, width, channels = shape[1:] if layout == "NHWC" else (*shape[2:], shape[1])
    if channels != 3:
        raise UserError(f"{path}: the network takes {channels} channels, an image has 3")
    mean, std = (np.asarray(triple, np.float32) for triple in (preprocessing.mean, preprocessing.std))
    normal = (_rgb(path, width, height) / np.float32(255.0) - mean) / std
    batch = normal[np.newaxis] if layout == "NHWC" else normal.transpose(2, 0, 1)[np.newaxis]
    return np.ascontiguousarray(batch, dtype=np.float32)


def _rgb(path: Path, width: int, height: int) -> Array:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Named formats only: some of Pillow's others start programs.
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                resized = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    except OSError as error:
        raise UserError(f"{path}: not a readable image: {error.strerror or _one_line(error)}") from None
    except _BROKEN_IMAGE as error:
        raise UserError(f"{path}: not a readable image: {_one_line(error)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path}: {_one_line(error)}") from None
    return np.asarray(resized, dtype=np.float32)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
