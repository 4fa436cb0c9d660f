"""Labelled images with a validation split: MNIST-like .npz files, and a synthetic default.

A file has x_train, y_train, x_test, y_test: images (n, height, width) of 0..255 or 0..1 and labels
0..q-1. The validation split is the end of the training part; settings are chosen on it, the test
part is looked at once.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.archive import FilePath, whole_file
from isingnpu.npu.draws import Draw, normals, uniforms
from isingnpu.rng import Stream

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images float32 in 0..1, (n, height, width); labels int64, (n,)."""

    name: str
    train: tuple[Array, Array]
    test: tuple[Array, Array]

    @property
    def labels(self) -> int:
        """Number of classes q."""
        return int(max(self.train[1].max(), self.test[1].max())) + 1

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of an image."""
        height, width = self.train[0].shape[1:]
        return int(height), int(width)

    def validation(self, fraction: float = 1 / 12) -> ImageSet:
        """The set to choose settings on: its test part is the end of this training part
        (5,000 of MNIST's 60,000 images by default)."""
        images, labels = self.train
        cut = len(images) - round(len(images) * fraction)
        if not 0 < cut < len(images):
            raise ValueError(f"a validation split of {fraction} leaves no images on one side")
        return ImageSet(
            f"{self.name} validation", (images[:cut], labels[:cut]), (images[cut:], labels[cut:])
        )


def read_images(path: FilePath) -> ImageSet:
    """Read a .npz file; ValueError for missing arrays, shapes or labels that do not fit."""
    with whole_file(path, "an image set") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("no zip archive")
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            missing = {"x_train", "y_train", "x_test", "y_test"} - set(stored.files)
            if missing:
                raise ValueError(f"no array {', '.join(sorted(missing))}")
            parts = [(stored[f"x_{part}"], stored[f"y_{part}"]) for part in ("train", "test")]
        train, test = (_part(x, y) for x, y in parts)
        if train[0].shape[1:] != test[0].shape[1:]:
            raise ValueError(f"images of {train[0].shape[1:]} and of {test[0].shape[1:]} pixels")
    return ImageSet(str(path), train, test)


def _part(images: Array, labels: Array) -> tuple[Array, Array]:
    if images.ndim != 3 or labels.shape != images.shape[:1] or not len(images):
        raise ValueError(
            f"images must be (n, height, width) and labels (n,), got {images.shape} "
            f"and {labels.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise ValueError("labels must be integers >= 0")
    scale = 255.0 if np.issubdtype(images.dtype, np.integer) else 1.0
    x = np.ascontiguousarray(images, np.float32) / np.float32(scale)
    if not (x.min() >= 0 and x.max() <= 1):
        raise ValueError("pixels must lie in 0..255 (integers) or 0..1 (floating point)")
    return x, labels.astype(np.int64)


def planted_images(seed: int = 0, n_train: int = 6000, n_test: int = 1000) -> ImageSet:
    """A synthetic set that needs no file: ten smooth random patterns of 14 x 14 pixels, shifted by
    up to two pixels, under noise. Its Bayes error is not known."""
    size, classes = 14, 10
    pattern = _smooth(normals((classes, size + 4, size + 4), Draw(seed, Stream.DATA)))
    parts = []
    for block, n in ((1, n_train), (2, n_test)):
        draw = Draw(seed, Stream.DATA, block=block)
        u = uniforms((n, 3), draw)
        labels = (u[:, 0] * classes).astype(np.int64)
        rows, columns = (u[:, 1:] * 5).astype(np.int64).T
        noise = normals((n, size, size), draw.at(call=1))
        windows = np.lib.stride_tricks.sliding_window_view(pattern, (size, size), axis=(1, 2))
        images = windows[labels, rows, columns] + 0.8 * noise
        parts.append((np.clip(0.5 + images / 6, 0, 1).astype(np.float32), labels))
    return ImageSet("planted images", *parts)


def _smooth(fields: Array) -> Array:
    """Three passes of a 3 x 3 mean, periodic; unit variance."""
    for _ in range(3):
        rows = fields + np.roll(fields, 1, 1) + np.roll(fields, -1, 1)
        fields = (rows + np.roll(rows, 1, 2) + np.roll(rows, -1, 2)) / 9
    return np.asarray(fields / fields.std(axis=(1, 2), keepdims=True))
