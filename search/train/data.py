"""Small image sets to train on: arrays in three parts, and how images are moved about."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mnv3c.graph.errors import MissingError, UserError
from mnv3c.search.accuracy import user_function

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

# Of scikit-learn's digits, which are 8x8 pixels of 0 to 16.
_DIGITS_WHITE = 16.0
_DIGITS_SHARES = (0.6, 0.2, 0.2)


@dataclass(frozen=True)
class Part:
    """Images (n, height, width) in -1..1, all channels alike, or (n, height, width, channels); labels (n,) from 0."""

    images: Floats
    labels: Labels

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels) or not len(self.images) or self.images.ndim not in (3, 4):
            raise UserError(f"a set of images {self.images.shape} with labels {self.labels.shape} cannot be trained on")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageData:
    """What is trained on, what proposals are judged by, and what only the end result is.

    Images are scaled to the network's input. `turn_degrees`, `shift` (a share of the input's side) and `zoom` (a share)
    are the most that an image is turned, moved and scaled: at random in training, and in a fixed way, so many `copies`
    of each image, in the other two parts.
    """

    name: str
    train: Part
    validation: Part
    test: Part
    turn_degrees: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    copies: int = 1


def load_data(name: str) -> ImageData:
    """`digits`, `digits-moved`, or MODULE:FUNCTION that returns an ImageData.

    `digits` are the 1797 of scikit-learn ("Optical Recognition of Handwritten Digits", UCI), 60 % to train on and 20 %
    in each of the other parts; `digits-moved` are the same turned, moved and scaled, which is harder. Raises UserError
    for another name, MissingError where scikit-learn is not installed.
    """
    if name == "digits":
        return digits(name)
    if name == "digits-moved":
        return digits(name, turn_degrees=25.0, shift=0.15, zoom=0.25, copies=2)
    if ":" not in name:
        raise UserError(f"unknown data '{name}': allowed are digits, digits-moved or MODULE:FUNCTION")
    data = user_function(name, "data")()
    if not isinstance(data, ImageData):
        raise UserError(f"data '{name}' must return an ImageData, not {type(data).__name__}")
    return data


def digits(name: str, shares: tuple[float, float, float] = _DIGITS_SHARES, **moved: Any) -> ImageData:
    """scikit-learn's digits in three parts of these shares, which sum to 1; `moved` are further fields of ImageData.

    Raises MissingError where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingError("the digits come with scikit-learn: pip install 'mnv3c[train]'") from None
    loaded = load_digits()
    images = (np.asarray(loaded.images, np.float32) * (2.0 / _DIGITS_WHITE) - 1.0).astype(np.float32)
    labels = np.asarray(loaded.target, np.int64)
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(labels))
    first, second = (round(sum(shares[: n + 1]) * len(labels)) for n in range(2))
    train, validation, test = (Part(images[chosen], labels[chosen]) for chosen in np.split(order, [first, second]))
    return ImageData(name, train, validation, test, **moved)
