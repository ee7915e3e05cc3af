"""What each stage minimises: network and loss as one module, the one forward that DDP sees."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litestereo.models.registry import MAX_DISPARITY_PX, SIZE_MULTIPLE
from litestereo.training.loss import (
    disparity_loss,
    distribution_loss,
    edge_weights,
    feature_loss,
    supervised_loss,
    training_metrics,
)
from litestereo.training.perturb import perturb
from litestereo.training.scenes.random import Draw

if TYPE_CHECKING:
    from litestereo.models.las import Stages, StereoNetwork

__all__ = [
    "SMALLER",
    "RefinerAlone",
    "SelfDistillation",
    "Supervised",
    "TruthLoss",
    "smaller_answer",
]

# A teacher's gross mistakes shall not outweigh what it knows (LAS2 paper, stage three).
_LARGEST_LABEL_ERROR_PX = 10.0
# Where the truth is known, and exact, as in rendered scenes.
_TEACHER_IS_RIGHT_PX = 1.0
# At which sizes else a network is asked, that a refiner is trained on alone.
SMALLER = (0.75, 0.5)


def _stages(network: nn.Module, left: Tensor, right: Tensor, *, autocast: bool | None) -> Stages:
    device = left.device.type
    enabled = device == "cuda" if autocast is None else autocast
    with torch.autocast(device, dtype=torch.bfloat16, enabled=enabled):
        return cast("StereoNetwork", network).stages(left, right)


@dataclass(frozen=True, slots=True)
class TruthLoss:
    """The loss of an answer against given disparities.

    Attributes:
        labels: they are a teacher's, and may be wrong: errors of 10 px and more are left out.
        edge_weight: of pixels beside a step in disparity, where others have 1.
        distribution_weight: of the levels' cross-entropy.
        robust_px: from where on errors count by their logarithm; 0 never.
    """

    labels: bool = False
    edge_weight: float = 1.0
    distribution_weight: float = 0.0
    robust_px: float = 0.0

    def __call__(self, stages: Stages, truth_px: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and what is watched.

        Args:
            stages: the network's answer.
            truth_px: (B, 1, H, W) float32, pixels; infinite where unknown.
        """
        truth_px, weight, valid = self._counted(stages.disparity, truth_px)
        coarse_px = 4 * stages.disparity_quarter
        loss = supervised_loss(
            stages.predictions, coarse_px, truth_px, weight, robust_px=self.robust_px
        )
        metrics = training_metrics(stages.disparity, truth_px, valid)
        if self.distribution_weight:
            entropy = distribution_loss(stages.cost_aggregated, truth_px, weight)
            loss = loss + self.distribution_weight * entropy
            metrics["cross_entropy"] = entropy.detach()
        return loss, metrics

    def of_disparity(
        self, disparity_px: Tensor, truth_px: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a disparity alone, and what is watched.

        Args:
            disparity_px: (B, 1, H, W) float32, pixels.
            truth_px: same shape; infinite where unknown.
        """
        truth_px, weight, valid = self._counted(disparity_px, truth_px)
        loss = disparity_loss(disparity_px, truth_px, weight, robust_px=self.robust_px)
        return loss, training_metrics(disparity_px, truth_px, valid)

    def _counted(self, disparity_px: Tensor, truth_px: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return a truth that is finite everywhere, how much each pixel counts, and which do."""
        valid = truth_px < MAX_DISPARITY_PX
        truth_px = torch.where(valid, truth_px, 0.0)
        weight = valid
        if self.edge_weight != 1:
            weight = edge_weights(truth_px, valid, weight=self.edge_weight)
        if self.labels:
            near = (disparity_px.detach() - truth_px).abs() < _LARGEST_LABEL_ERROR_PX
            weight, valid = weight * near, valid & near
        return truth_px, weight, valid


class Supervised(nn.Module):
    """The error against given disparities: exact ones of scenes, or a teacher's labels.

    Attributes:
        generator: what perturbations are drawn from; None without any.
    """

    def __init__(
        self,
        network: nn.Module,
        truth_loss: TruthLoss,
        *,
        perturb_seed: int | None = None,
        autocast: bool | None = None,
    ) -> None:
        """Take the network.

        Args:
            network: what is trained.
            truth_loss: what is minimised.
            perturb_seed: of the perturbations; None shows the network the pairs as they are.
            autocast: compute in bfloat16 where torch deems it safe; None does on a GPU alone.
        """
        super().__init__()
        self.network = network
        self.truth_loss, self.autocast = truth_loss, autocast
        self._draw = None if perturb_seed is None else _drawing(network, perturb_seed)
        self.generator = self._draw.generator if self._draw else None

    def forward(
        self, left: Tensor, right: Tensor, truth_px: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and what is watched; `truth_px` is infinite where unknown.

        Args:
            left: (B, 3, H, W) float32 RGB, 0 to 255.
            right: same of the right camera.
            truth_px: (B, 1, H, W) float32, pixels; infinite where unknown.
        """
        if self._draw:
            left, right, _ = perturb(self._draw, left, right)
        stages = _stages(self.network, left, right, autocast=self.autocast)
        return self.truth_loss(stages, truth_px)


class RefinerAlone(nn.Module):
    """The error of what a refiner makes of a network that stays as it is, its statistics too.

    Networks are surer on rendered pairs than on real ones, and a refiner would learn from them to
    leave what it is given. So half of the pairs are matched at full size, a quarter each at 3/4 and
    at 1/2, which leaves edges farther off and fractions of a pixel worse.

    Attributes:
        generator: what perturbations are drawn from; None, as there are none.
        autocast: compute in bfloat16 where torch deems it safe; None does on a GPU alone.
    """

    generator = None
    autocast: bool | None = None

    def __init__(self, network: StereoNetwork, truth_loss: TruthLoss) -> None:
        """Take the network.

        Args:
            network: has a refiner, which is trained.
            truth_loss: what is minimised, of its terms the one of the disparity.
        """
        super().__init__()
        self.network, self.truth_loss = network, truth_loss
        given = copy.deepcopy(network).eval().requires_grad_(False)
        given.refiner = None
        self._given = (given,)  # no part of what is trained, saved or exchanged

    def forward(
        self, left: Tensor, right: Tensor, truth_px: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and what is watched; `truth_px` is infinite where unknown.

        Args:
            left: (B, 3, H, W) float32 RGB, 0 to 255.
            right: same of the right camera.
            truth_px: (B, 1, H, W) float32, pixels; infinite where unknown.
        """
        quarter = len(left) // 4
        sizes = [len(left) - len(SMALLER) * quarter] + len(SMALLER) * [quarter]
        whole, *smaller = zip(*(torch.split(x, sizes) for x in (left, right)), strict=True)
        with torch.no_grad():
            given = [_stages(self._given[0], *whole, autocast=self.autocast).unrefined]
            given += [
                smaller_answer(self._given[0], *pair, share=share, autocast=self.autocast)
                for share, pair in zip(SMALLER, smaller, strict=True)
                if quarter
            ]
        refiner = self.network.refiner
        assert refiner is not None
        return self.truth_loss.of_disparity(refiner(torch.cat(given), left, right), truth_px)


def smaller_answer(
    network: nn.Module, left: Tensor, right: Tensor, *, share: float, autocast: bool | None = None
) -> Tensor:
    """Return the disparity of pairs that are matched at a part of their size, (B, 1, H, W) pixels.

    Args:
        network: its refiner is left out.
        left: (B, 3, H, W) float32 RGB, 0 to 255.
        right: same of the right camera.
        share: of the size.
        autocast: compute in bfloat16 where torch deems it safe; None does on a GPU alone.
    """
    size = left.shape[2:]
    smaller = [max(1, round(n * share / SIZE_MULTIPLE)) * SIZE_MULTIPLE for n in size]
    pair = (F.interpolate(x, smaller, mode="bilinear", antialias=True) for x in (left, right))
    found = _stages(network, *pair, autocast=autocast).unrefined
    grown = F.interpolate(found, size, mode="bilinear", align_corners=False)
    return grown * (size[1] / smaller[1])


class SelfDistillation(nn.Module):
    """A frozen teacher sees the clean pair, the student a perturbed one (LAS paper, stage two).

    Smooth-L1 between their disparities, 1 - cosine between their features, and, where there is
    exact ground truth, the supervised loss. There the teacher is followed only as far as it is
    right: two absolute errors of opposite signs would cancel out just where it has yet to learn.

    Attributes:
        generator: what perturbations are drawn from; whoever records or repeats a step asks for it.
        autocast: compute in bfloat16 where torch deems it safe; None does on a GPU alone.
    """

    autocast: bool | None = None

    def __init__(
        self,
        network: nn.Module,
        teacher: StereoNetwork,
        truth_loss: TruthLoss,
        *,
        seed: int,
        truth_weight: float,
        feature_weight: float,
    ) -> None:
        """Take the student and a teacher of the same architecture.

        Args:
            network: what is trained.
            teacher: is frozen here.
            truth_loss: is added where there is truth.
            seed: of the perturbations.
            truth_weight: of the loss against the truth.
            feature_weight: of the loss between the features.
        """
        super().__init__()
        self.network = network
        # In a tuple, so that the teacher is no part of what is trained, saved or exchanged.
        self._teacher = (teacher.eval().requires_grad_(False),)
        self._draw = _drawing(network, seed)
        self.generator = self._draw.generator
        self.truth_loss = truth_loss
        self.truth_weight, self.feature_weight = truth_weight, feature_weight

    def forward(
        self, left: Tensor, right: Tensor, truth_px: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and what is watched; `truth_px` is infinite where unknown.

        Args:
            left: (B, 3, H, W) float32 RGB, 0 to 255.
            right: same of the right camera.
            truth_px: (B, 1, H, W) float32, pixels; infinite where unknown.
        """
        with torch.no_grad():
            wanted = _stages(self._teacher[0], left, right, autocast=self.autocast)
            seen_left, seen_right, hidden = perturb(self._draw, left, right)
        seen = _stages(self.network, seen_left, seen_right, autocast=self.autocast)
        mine, theirs = seen.disparity, wanted.disparity
        if self._teacher[0].refiner is None:  # what the student's adds is not to be undone
            mine = seen.unrefined
        followed = torch.ones_like(truth_px, dtype=torch.bool)
        if self.truth_weight:
            is_right = (theirs - truth_px).abs() < _TEACHER_IS_RIGHT_PX
            followed = is_right | (truth_px >= MAX_DISPARITY_PX)
        follow = disparity_loss(mine, theirs, followed, robust_px=self.truth_loss.robust_px)
        # What is hidden is to be filled in by the disparity; its features the student cannot know.
        features = 0.5 * (
            feature_loss(seen.features_left, wanted.features_left)
            + feature_loss(seen.features_right, wanted.features_right, hidden=hidden)
        )
        loss = follow + self.feature_weight * features
        supervised, metrics = self.truth_loss(seen, truth_px)
        loss = loss + self.truth_weight * supervised
        return loss, {**metrics, "follow": follow.detach(), "features": features.detach()}


def _drawing(network: nn.Module, seed: int) -> Draw:
    return Draw(next(network.parameters()).device, seed=seed)
