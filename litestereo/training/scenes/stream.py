"""An endless stream of training batches, rendered on the device that trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from litestereo.errors import InputError
from litestereo.training.recording import record
from litestereo.training.scenes.camera import expose
from litestereo.training.scenes.layout import sample_scenes
from litestereo.training.scenes.random import Draw
from litestereo.training.scenes.render import Rendered, render
from litestereo.training.scenes.scene import Scene
from litestereo.training.scenes.textures import Atlas

__all__ = ["Batch", "SceneStream"]


@dataclass
class Batch:
    """Pairs with exact ground truth.

    Attributes:
        left: (B, 3, H, W) float32 RGB, 0..255.
        right: likewise.
        disparity_px: (B, 1, H, W) float32 of the left picture; 0 at infinity.
        visible: (B, 1, H, W) bool, false where the point is hidden from the right eye.
    """

    left: Tensor
    right: Tensor
    disparity_px: Tensor
    visible: Tensor


class SceneStream:
    """Render batches of random scenes for ever; equal seeds give equal batches."""

    def __init__(
        self,
        atlas: Atlas,
        *,
        batch: int,
        size: tuple[int, int],
        seed: int,
        max_disparity_px: float = 190.0,
        samples: int = 1,
        compiled: bool = False,
        recorded: bool = False,
    ) -> None:
        """Prepare a stream.

        Args:
            atlas: textures, on the device that shall render.
            batch: pairs in a batch.
            size: (height, width), multiples of 32.
            seed: of this stream's own generator.
            max_disparity_px: no disparity is larger.
            samples: colour samples for each pixel (1 or 2).
            compiled: fuse the renderer with torch.compile; worth it on a GPU.
            recorded: replay the making of a batch as one CUDA graph: thousands of small kernels
                lay a scene out, and launching them takes longer than all the rest.

        Raises:
            InputError: `size` is not in multiples of 32.
        """
        if size[0] % 32 or size[1] % 32:
            raise InputError(f"scene size {size[0]}x{size[1]} must be in multiples of 32")
        self.batch, self.size, self.samples = batch, size, samples
        self.max_disparity_px = max_disparity_px
        self._atlas = atlas
        self._draw = Draw(atlas.texels.device, seed=seed)
        self._render: Callable[..., Rendered] = (
            torch.compile(render, dynamic=False) if compiled else render
        )
        self._make: Callable[[], Batch] = self._replayed if recorded else self._launched
        self._recorded: tuple[torch.cuda.CUDAGraph, Batch] | None = None

    @torch.no_grad()
    def next(self) -> Batch:
        """Render the next batch.

        Raises:
            TrainingError: it cannot be recorded.
        """
        return self._make()

    def _launched(self) -> Batch:
        return self.expose(self.see(self.sample()))

    def _replayed(self) -> Batch:
        if self._recorded is None:
            self._recorded = record(
                self._launched,
                what="the making of scenes",
                instead="make them without (--no-compile-renderer, recorded=False)",
                generators=[self._draw.generator],
            )
        graph, batch = self._recorded
        graph.replay()
        return Batch(*(getattr(batch, field.name).clone() for field in fields(batch)))

    @torch.no_grad()
    def sample(self) -> Scene:
        """Lay out a batch of scenes."""
        return sample_scenes(
            self._draw,
            self._atlas,
            batch=self.batch,
            size=self.size,
            max_disparity_px=self.max_disparity_px,
        )

    @torch.no_grad()
    def see(self, scene: Scene) -> Rendered:
        """Render both views of `scene`, without what cameras add.

        Args:
            scene: a batch of scenes.
        """
        return self._render(
            scene,
            self._atlas,
            size=self.size,
            max_disparity_px=self.max_disparity_px,
            samples=self.samples,
        )

    @torch.no_grad()
    def expose(self, seen: Rendered) -> Batch:
        """Take the pictures of rendered views.

        Args:
            seen: what `see` gave.
        """
        left, right = expose(self._draw, seen.left, seen.right)
        return Batch(left, right, seen.disparity_px, seen.visible)
