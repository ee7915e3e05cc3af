"""The assembled networks: LAS1, LAS2-S/M/L and the recurrent LAS2-H."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from litestereo.errors import InputError
from litestereo.models.aggregation import ConvNeXtAggregation, FasterNetAggregation
from litestereo.models.cost_volume import (
    CostStem3d,
    all_pairs_volume,
    correlation_volume,
    grouped_correlation_volume,
    mean_over_groups,
)
from litestereo.models.layers import ConvBlock, PyramidLevel
from litestereo.models.pyramid import FasterNetPyramid, Features, MobileNetPyramid
from litestereo.models.recurrent import (
    ChannelAttention,
    ContextNet,
    LookupPyramid,
    MaskUpsampler,
    SpatialAttention,
    UpdateBlock,
    UpdateContext,
)
from litestereo.models.refinement import (
    confidence_from_distribution,
    context_head,
    convex_upsample,
    distribution_from_cost,
    expected_disparity,
    image_stem,
)
from litestereo.models.refiner import Refiner
from litestereo.models.registry import SIZE_MULTIPLE, ModelSpec

__all__ = ["Las1", "Las2", "Las2Recurrent", "Stages", "StereoNetwork", "build"]

_GROUPS = 8


class Stages(NamedTuple):
    """Everything a forward pass computed that a loss, a test or a probe may want.

    Attributes:
        features_left: left features at 1/4, 1/8, 1/16 and 1/32.
        features_right: right features, likewise.
        cost_into_aggregation: (B, 48, H/4, W/4) volume given to the aggregation.
        cost_aggregated: (B, 48, H/4, W/4) scores, >= 0.
        disparity_quarter: (B, 1, H/4, W/4) soft-argmax of the scores, in quarter pixels.
        predictions: full-size disparities in pixels, oldest first; the last is `disparity`. One,
            except that LAS2-H in training mode gives one for each of its iterations, and that a
            refiner adds one.
        unrefined: what the refiner was given; `disparity` itself where there is none.
        disparity: (B, 1, H, W) final disparity in pixels, float32.
        confidence: (B, 1, H, W) in [0, 1], float32.
    """

    features_left: Features
    features_right: Features
    cost_into_aggregation: Tensor
    cost_aggregated: Tensor
    disparity_quarter: Tensor
    predictions: tuple[Tensor, ...]
    unrefined: Tensor
    disparity: Tensor
    confidence: Tensor


class StereoNetwork(nn.Module):
    """What all five models share: the two images in, disparity and confidence out.

    Attributes:
        spec: the sizes of its parts.
        refiner: corrects the disparity at full size; None, as in the published networks, leaves it.
            `load_weights` sets it as the file has it, and assigning a `Refiner` adds one to train.
    """

    refiner: Refiner | None

    def __init__(self, spec: ModelSpec) -> None:
        """Remember what model this is.

        Args:
            spec: the sizes of its parts.
        """
        super().__init__()
        self.spec = spec
        self.refiner = None

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Match a rectified pair.

        Args:
            left: (B, 3, H, W) float32 RGB in 0..255, H and W multiples of 32.
            right: the same from the right camera.

        Returns:
            Disparity in pixels of the left image, (B, 1, H, W) float32, and confidence in [0, 1],
            same shape.

        Raises:
            InputError: the images do not fit (not checked while the model is being exported).

        Convention: a left pixel at column x shows the point that the right image has at
        x - disparity.
        """
        stages = self.stages(left, right)
        return stages.disparity, stages.confidence

    def stages(self, left: Tensor, right: Tensor) -> Stages:
        """Match a pair as `forward` does and give back every stage of it.

        Args:
            left: (B, 3, H, W) float32 RGB, 0 to 255; H and W multiples of 32.
            right: same of the right camera.
        """
        raise NotImplementedError

    def _refined(
        self, predictions: tuple[Tensor, ...], left: Tensor, right: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the predictions, with the refiner's added where there is one."""
        if self.refiner is None:
            return predictions
        return (*predictions, self.refiner(predictions[-1], left, right))


def _check_pair(left: Tensor, right: Tensor) -> None:
    if torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling():
        return
    for side, image in (("left", left), ("right", right)):
        if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
            raise InputError(
                f"{side} image is {tuple(image.shape)} {image.dtype}; the model needs "
                f"(B, 3, H, W) floating-point RGB in 0..255"
            )
    if left.shape != right.shape:
        raise InputError(
            f"left image is {tuple(left.shape)} but right is {tuple(right.shape)}; "
            f"a pair must have one shape"
        )
    height, width = left.shape[2:]
    if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE or 0 in left.shape:
        raise InputError(
            f"images are {height}x{width}; height and width must be multiples of "
            f"{SIZE_MULTIPLE}: pad them by replication"
        )


def _features_of_pair(
    fnet: Callable[[Tensor], Features], left: Tensor, right: Tensor
) -> tuple[Features, Features]:
    """Run both images as one batch: half the launches, same numbers (no norm mixes samples)."""
    maps = fnet(torch.cat((left, right), dim=0))
    halves = [torch.chunk(m, 2, dim=0) for m in maps]
    return cast(Features, tuple(h[0] for h in halves)), cast(Features, tuple(h[1] for h in halves))


class _ImageNetNorm(nn.Module):
    """Bring 0..255 RGB to zero mean and unit variance over natural images."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
        std = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images / 255.0 - self.mean) / self.std


class _FeedForwardNetwork(StereoNetwork):
    """A network in one pass: its upsampling weights come from the left image alone."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        finest = spec.feature_channels[0]
        self.refine_1 = context_head(finest)
        self.stem_2 = image_stem()
        self.refine_2 = PyramidLevel(finest, 16)
        self.refine_3 = ConvBlock(nn.ConvTranspose2d(16, 9, 4, stride=2, padding=1, bias=False))

    def _normalize(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def _features(self, images: Tensor) -> Features:
        raise NotImplementedError

    def _cost(self, left: Tensor, right: Tensor) -> Tensor:
        raise NotImplementedError

    def _aggregate(self, cost: Tensor, features: Features) -> Tensor:
        raise NotImplementedError

    def stages(self, left: Tensor, right: Tensor) -> Stages:
        """Match a pair as `forward` does and give back every stage of it."""
        _check_pair(left, right)
        left_image, right_image = self._normalize(left), self._normalize(right)
        features_left, features_right = _features_of_pair(self._features, left_image, right_image)
        cost = self._cost(features_left[0], features_right[0])
        scores = self._aggregate(cost, features_left)
        probability = distribution_from_cost(scores)
        initial = expected_disparity(probability)
        context = self.refine_2(self.refine_1(features_left[0]), self.stem_2(left_image))
        unrefined = convex_upsample(initial, self.refine_3(context))
        predictions = self._refined((unrefined,), left, right)
        return Stages(
            features_left=features_left,
            features_right=features_right,
            cost_into_aggregation=cost,
            cost_aggregated=scores,
            disparity_quarter=initial,
            predictions=predictions,
            unrefined=unrefined,
            disparity=predictions[-1],
            confidence=confidence_from_distribution(probability, initial),
        )


class Las1(_FeedForwardNetwork):
    """Lite Any Stereo: MobileNetV2 features, a small 3-D stem, ConvNeXt aggregation."""

    def __init__(self, spec: ModelSpec, *, layer_scale_init: float = 1e-6) -> None:
        """Build the network; `layer_scale_init` starts the scales of the ConvNeXt blocks.

        Args:
            spec: the sizes of its parts.
            layer_scale_init: where the scale per channel of a ConvNeXt block starts.
        """
        super().__init__(spec)
        self.fnet = MobileNetPyramid()
        self.cost_stem_3d = CostStem3d()
        self.cost_agg_2d = ConvNeXtAggregation(
            spec.feature_channels,
            spec.aggregation_blocks,
            expansion=spec.aggregation_expansion,
            layer_scale_init=layer_scale_init,
        )

    def _normalize(self, images: Tensor) -> Tensor:
        return images / 255.0 * 2.0 - 1.0

    def _features(self, images: Tensor) -> Features:
        return cast(Features, self.fnet(images))

    def _cost(self, left: Tensor, right: Tensor) -> Tensor:
        return cast(Tensor, self.cost_stem_3d(correlation_volume(left, right)))

    def _aggregate(self, cost: Tensor, features: Features) -> Tensor:
        return cast(Tensor, self.cost_agg_2d(cost, features))


class Las2(_FeedForwardNetwork):
    """Lite Any Stereo 2, sizes S, M and L: FasterNet features and aggregation."""

    def __init__(self, spec: ModelSpec) -> None:
        """Build the network in the size that `spec` says.

        Args:
            spec: the sizes of its parts.
        """
        super().__init__(spec)
        self.image_norm = _ImageNetNorm()
        self.fnet = FasterNetPyramid()
        self.cost_agg = _las2_aggregation(spec)

    def _normalize(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.image_norm(images))

    def _features(self, images: Tensor) -> Features:
        return cast(Features, self.fnet(images))

    def _cost(self, left: Tensor, right: Tensor) -> Tensor:
        return correlation_volume(left, right)

    def _aggregate(self, cost: Tensor, features: Features) -> Tensor:
        return cast(Tensor, self.cost_agg(cost, features))


def _las2_aggregation(spec: ModelSpec) -> FasterNetAggregation:
    return FasterNetAggregation(
        spec.feature_channels, spec.aggregation_blocks, expansion=spec.aggregation_expansion
    )


class Las2Recurrent(StereoNetwork):
    """Lite Any Stereo 2, size H: the M trunk, then a few recurrent corrections at 1/4."""

    def __init__(self, spec: ModelSpec) -> None:
        """Build trunk and tail.

        Args:
            spec: the sizes of its parts.
        """
        super().__init__(spec)
        self.image_norm = _ImageNetNorm()
        self.fnet = FasterNetPyramid()
        self.cost_agg = _las2_aggregation(spec)
        self.stem_2 = image_stem(instance_norm=True)
        self.spx_2_gru = MaskUpsampler()
        self.spx_gru = nn.ConvTranspose2d(32, 9, 4, stride=2, padding=1)
        self.cnet = ContextNet(spec.feature_channels[0])
        self.cam = ChannelAttention()
        self.sam = SpatialAttention()
        self.update_block = UpdateBlock(groups=_GROUPS)

    def stages(self, left: Tensor, right: Tensor) -> Stages:
        """Match a pair as `forward` does and give back every stage of it.

        Args:
            left: (B, 3, H, W) float32 RGB, 0 to 255; H and W multiples of 32.
            right: same of the right camera.
        """
        _check_pair(left, right)
        left_image, right_image = self.image_norm(left), self.image_norm(right)
        features_left, features_right = _features_of_pair(self.fnet, left_image, right_image)
        finest = features_left[0], features_right[0]
        grouped = grouped_correlation_volume(*finest, groups=_GROUPS)
        cost = mean_over_groups(grouped, groups=_GROUPS)
        scores = self.cost_agg(cost, features_left)
        probability = distribution_from_cost(scores)
        initial = expected_disparity(probability)
        lookups = LookupPyramid(grouped, all_pairs_volume(*finest), groups=_GROUPS)
        steps, final = self._iterate(initial, lookups, finest[0], self.stem_2(left_image))
        predictions = self._refined(steps, left, right)
        return Stages(
            features_left=features_left,
            features_right=features_right,
            cost_into_aggregation=cost,
            cost_aggregated=scores,
            disparity_quarter=initial,
            predictions=predictions,
            unrefined=steps[-1],
            disparity=predictions[-1],
            confidence=confidence_from_distribution(probability, final),
        )

    def _iterate(
        self, disparity: Tensor, lookups: LookupPyramid, features: Tensor, stem: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Iterate; give full-size predictions, oldest first, and the last quarter disparity."""
        hidden, inputs = self.cnet(features)
        inputs = inputs * self.cam(inputs)
        context = UpdateContext(inputs, self.sam(inputs))
        predictions = []
        for step in range(self.spec.recurrent_steps):
            # Each step learns to correct what it is given, not to change the steps before it.
            disparity = disparity.detach()
            lookup = lookups.read(disparity)
            hidden, delta = self.update_block(hidden, disparity, lookup=lookup, context=context)
            disparity = disparity + delta
            if self.training or step == self.spec.recurrent_steps - 1:
                low = self.update_block.mask_features(hidden)
                mask = self.spx_gru(self.spx_2_gru(low, stem))
                predictions.append(convex_upsample(disparity, mask))
        return tuple(predictions), disparity


def build(spec: ModelSpec, *, layer_scale_init: float | None = None) -> StereoNetwork:
    """Make the network that `spec` describes; `litestereo.models.create` is the public way.

    Args:
        spec: the sizes of its parts.
        layer_scale_init: where the scales of ConvNeXt blocks start; None takes the published one.

    Raises:
        InputError: layer scales are asked for of a model that has none.
    """
    if spec.backbone == "mobilenetv2":
        return Las1(spec, layer_scale_init=1e-6 if layer_scale_init is None else layer_scale_init)
    if layer_scale_init is not None:
        raise InputError(
            f"layer_scale_init is {layer_scale_init} but {spec.name} has no layer scales; "
            f"leave it out"
        )
    return Las2Recurrent(spec) if spec.recurrent_steps else Las2(spec)
