"""Images by backprop: logistic regression, perceptrons, strided and pooled convolutional nets.

Inputs are pixels minus the mean training image. Augmentation, the same law as for the machines of
spins: every image of a batch is seen through an affine map of its own about its centre,

    rotation +-0.2 rad, log scale +-0.12 on each axis, shear +-0.15, shift +-1.5 pixels

all uniform, bilinear, zero outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isingnpu.archive import FilePath
from isingnpu.ledger import StepCost, backprop_step
from isingnpu.npu.baseline_torch import threads, torch
from isingnpu.npu.baseline_training import Parameters, Rule, Tensor, Training, load_training
from isingnpu.npu.budget import Budget, Progress
from isingnpu.npu.images import ImageSet

Array = NDArray[Any]


@dataclass(frozen=True)
class Dense:
    """`units` rectified sums over everything before."""

    units: int


@dataclass(frozen=True)
class Convolution:
    """`channels` rectified sums over size x size fields, `stride` apart, none over the edge."""

    size: int
    channels: int
    stride: int = 1


@dataclass(frozen=True)
class Pool:
    """Maximum over size x size fields, those at the edge cut short."""

    size: int = 2


Layer = Dense | Convolution | Pool
LAYERS: dict[str, type[Layer]] = {kind.__name__: kind for kind in (Dense, Convolution, Pool)}


@dataclass(frozen=True)
class ImageNetwork:
    """Layers, then a linear read-out of the labels. pixels: (height, width)."""

    pixels: tuple[int, int]
    labels: int
    layers: tuple[Layer, ...] = ()

    def __post_init__(self) -> None:
        for layer, into, out in self.shapes():
            if len(into) == 1 and isinstance(layer, Convolution | Pool):
                raise ValueError(f"{layer} needs an image, but a dense layer stands before it")
            if min(out) < 1:
                raise ValueError(f"{layer} does not fit into (channels, height, width) = {into}")

    @property
    def matrices(self) -> frozenset[str]:
        return frozenset()

    def shapes(self) -> Iterator[tuple[Layer | None, tuple[int, ...], tuple[int, ...]]]:
        """(layer, shape before, shape after) of every layer; None is the read-out."""
        shape: tuple[int, ...] = (1, *self.pixels)
        for layer in (*self.layers, None):
            if layer is None or isinstance(layer, Dense):
                after: tuple[int, ...] = (self.labels if layer is None else layer.units,)
            elif isinstance(layer, Pool):
                after = (shape[0], *(-(-side // layer.size) for side in shape[1:]))
            else:
                sides = [(side - layer.size) // layer.stride + 1 for side in shape[1:]]
                after = (layer.channels, *sides)
            yield layer, shape, after
            shape = after

    def start(self, generator: Any) -> Parameters:
        """Uniform in +-(fan-in)^-1/2, the default of torch's layers."""
        made = {}
        for i, (layer, into, out) in enumerate(self.shapes()):
            if isinstance(layer, Pool):
                continue
            if isinstance(layer, Convolution):
                shape: tuple[int, ...] = (out[0], into[0], layer.size, layer.size)
            else:
                shape = (out[0], prod(into))
            bound = prod(shape[1:]) ** -0.5
            for name, size in (("weight", shape), ("bias", out[:1])):
                made[f"{name} {i}"] = bound * (2 * torch.rand(size, generator=generator) - 1)
        return made

    def logits(self, parameters: Parameters, images: Tensor) -> Tensor:
        """(batch, labels) from (batch, 1, height, width)."""
        functional = torch.nn.functional
        h = images
        for i, layer in enumerate((*self.layers, None)):
            if isinstance(layer, Pool):
                h = functional.max_pool2d(h, layer.size, ceil_mode=True)
                continue
            weight, bias = parameters[f"weight {i}"], parameters[f"bias {i}"]
            if isinstance(layer, Convolution):
                h = functional.conv2d(h, weight, bias, stride=layer.stride)
            else:
                h = functional.linear(h.flatten(1), weight, bias)
            h = h if layer is None else torch.relu(h)
        return h

    def cost(self, batch: int) -> StepCost:
        macs = of_inputs = parameters = activations = 0
        for layer, into, out in self.shapes():
            activations += prod(out)
            if isinstance(layer, Pool):
                continue
            fan_in = prod(into)
            if isinstance(layer, Convolution):
                fan_in = into[0] * layer.size**2
            macs += fan_in * prod(out)
            of_inputs = of_inputs or macs
            parameters += (fan_in + 1) * out[0]
        return backprop_step(
            macs=macs,
            parameters=parameters,
            activations=activations,
            samples=batch,
            of_inputs=of_inputs,
        )


NETWORKS: dict[str, tuple[Layer, ...]] = {
    "logistic regression": (),
    "perceptron 512": (Dense(512),),
    "perceptron 512-256": (Dense(512), Dense(256)),
    "strided convolutions": (Convolution(6, 32, 2), Convolution(4, 64, 2)),
    "wide strided convolutions": (Convolution(6, 47, 2), Convolution(4, 94, 2)),
    "pooled convolutions": (Convolution(5, 16), Pool(), Convolution(5, 32), Pool(), Dense(128)),
}


def affine_maps(n: int, generator: Any, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Linear parts (n, 2, 2) and shifts (n, 2) in pixels, axes (row, column): an image's pixel at
    p is taken from L p + t, both about the centre."""
    u = 2 * torch.rand(6, n, generator=generator, device=device) - 1
    angle, shear = 0.2 * u[0], 0.15 * u[1]
    rows, columns = (0.12 * u[2:4]).exp()
    cos, sin = angle.cos(), angle.sin()
    linear = torch.stack((cos * rows, -sin * rows, sin * columns + shear, cos * columns), -1)
    return linear.view(n, 2, 2), 1.5 * u[4:].T


def seen_through(images: Tensor, linear: Tensor, shift: Tensor) -> Tensor:
    """Images (n, 1, height, width) through affine maps of pixel coordinates."""
    size = torch.tensor(images.shape[2:], dtype=linear.dtype, device=linear.device)
    half = (size - 1) / 2  # torch's coordinates run over -1..1, column first
    scaled = linear * half[None, None, :] / half[None, :, None]
    theta = torch.cat((scaled, (shift / half)[..., None]), -1)  # (n, row or column, 3)
    theta = theta.flip(1)[:, :, [1, 0, 2]]
    functional = torch.nn.functional
    grid = functional.affine_grid(theta, images.shape, align_corners=True)
    return functional.grid_sample(images, grid, align_corners=True)


class ImageBaseline:
    """An image network in training, scikit-learn-like. batch: images per step."""

    def __init__(
        self,
        network: ImageNetwork,
        rule: Rule | None = None,
        *,
        batch: int = 128,
        augment: bool = True,
        seed: int | None = None,
        device: str = "cpu",
        n_threads: int = 1,
    ) -> None:
        self.network, self.batch, self.augment = network, batch, augment
        self.training = Training(
            network,
            rule or Rule(warm_up=100, floor=0.01),
            seed=seed,
            device=device,
            n_threads=n_threads,
        )
        self._mean = np.zeros(network.pixels, np.float32)

    @property
    def n_parameters(self) -> int:
        return self.training.n_parameters

    def fit(
        self,
        images: ImageSet,
        budget: Budget,
        *,
        held_out: tuple[Array, Array] | None = None,
        marks: int = 8,
        stop_after: int | None = None,
    ) -> Progress:
        """Learn from the training part. held_out: images and labels whose accuracy is noted in
        the learning curve."""
        pixels, labels = images.train
        if pixels.shape[1:] != self.network.pixels or labels.max() >= self.network.labels:
            raise ValueError(
                f"the network takes images of {self.network.pixels} pixels and "
                f"{self.network.labels} labels, got {pixels.shape[1:]} and {labels.max() + 1}"
            )
        device = self.training.device
        self._mean = pixels.mean(0)
        mean = torch.from_numpy(self._mean).to(device)
        x = torch.from_numpy(pixels).to(device)[:, None]
        y = torch.from_numpy(labels).to(device)

        def loss(parameters: Parameters, generator: Any, step: int) -> Tensor:
            chosen = torch.randint(len(x), (self.batch,), generator=generator, device=device)
            seen = x[chosen]
            if self.augment:
                seen = seen_through(seen, *affine_maps(self.batch, generator, device))
            logits = self.network.logits(parameters, seen - mean)
            return torch.nn.functional.cross_entropy(logits.float(), y[chosen])

        return self.training.run(
            loss,
            self.batch,
            budget,
            evaluate=None if held_out is None else lambda: self._accuracy(*held_out),
            marks=marks,
            stop_after=stop_after,
        )

    def predict(self, images: Array) -> Array:
        """Most probable labels of images (n, height, width)."""
        device = self.training.device
        made = []
        with threads(self.training.n_threads), torch.no_grad():
            for part in np.array_split(images, max(1, len(images) // 500)):
                x = torch.from_numpy(np.asarray(part - self._mean, np.float32))[:, None].to(device)
                made.append(self.network.logits(self.training.parameters, x).argmax(1).cpu())
        return np.concatenate(made)

    def score(self, images: ImageSet) -> float:
        """Part of the test images that are labelled right."""
        return self._accuracy(*images.test)

    def _accuracy(self, images: Array, labels: Array) -> float:
        return float((self.predict(images) == labels).mean())

    def save(self, path: FilePath) -> None:
        """Write network and training."""
        layers = [[type(layer).__name__, asdict(layer)] for layer in self.network.layers]
        description = {
            "pixels": self.network.pixels,
            "labels": self.network.labels,
            "layers": layers,
            "batch": self.batch,
            "augment": self.augment,
            "mean": self._mean.tolist(),
        }
        self.training.save(path, "image baseline", description)

    @classmethod
    def load(cls, path: FilePath, *, device: str = "cpu", n_threads: int = 1) -> Self:
        """What `save` wrote."""
        training, made = load_training(
            path, "image baseline", _network_of, device=device, n_threads=n_threads
        )
        loaded = cls.__new__(cls)
        loaded.training, loaded.network = training, _network_of(made)
        loaded.batch, loaded.augment = made["batch"], made["augment"]
        loaded._mean = np.array(made["mean"], np.float32)
        return loaded


def _network_of(description: dict[str, Any]) -> ImageNetwork:
    layers = tuple(LAYERS[name](**values) for name, values in description["layers"])
    height, width = description["pixels"]
    return ImageNetwork((height, width), description["labels"], layers)
