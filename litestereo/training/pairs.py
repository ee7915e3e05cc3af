"""Real pairs as training batches: crops, read ahead by threads, perturbed on the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from litestereo.benchmarks.datasets import find_scenes
from litestereo.benchmarks.scenes import Scene
from litestereo.calibration.options import CalibrateOptions
from litestereo.calibration.sources import find_candidates
from litestereo.errors import CalibrationError, InputError, TrainingError
from litestereo.runtime.decode import PICTURE_MOST_BYTES
from litestereo.runtime.image_header import size_from_header
from litestereo.runtime.opencv import import_cv2
from litestereo.runtime.reading import read_file
from litestereo.training.perturb import perturb
from litestereo.training.scenes.random import Draw
from litestereo.training.scenes.stream import Batch

__all__ = ["PairStream", "crop_size", "find_training_pairs", "sound_scenes"]

_READERS = 8
_READ_AHEAD = 3
_MULTIPLE = 32
# Of pairs in no data set's layout: a folder's own name would change when it is moved.
_BARE_SET = "pairs"
_Crop = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]


def sound_scenes(*folders: Path) -> tuple[Scene, ...]:
    """Return the scenes below `folders`, sorted by set and name; none is left out.

    Args:
        folders: in the layouts of `stereo-eval`.

    Raises:
        InputError: a folder holds no scene.
        TrainingError: a scene does not say what its files are.
    """
    found = find_scenes(*folders)
    if found.problem:
        raise TrainingError(found.problem)
    return found.scenes


def find_training_pairs(folder: Path) -> tuple[Scene, ...]:
    """Return the pairs below `folder`, sorted by name; with ground truth where it is known.

    The layouts are those of `stereo-eval`; else `left.png` beside `right.png` and folders `left`
    and `right`, as `stereo-calibrate` takes them.

    Args:
        folder: searched at any depth.

    Raises:
        TrainingError: there is none, or a scene does not say what its files are.
    """
    if not folder.is_dir():
        raise TrainingError(f"there is no folder {folder}; check the path")
    try:
        scenes = sound_scenes(folder)
    except InputError:
        scenes = ()
    if scenes:
        return scenes
    try:
        found = find_candidates([str(folder)], options=CalibrateOptions())
    except (CalibrationError, InputError) as error:
        raise TrainingError(
            f"{folder} holds no stereo pairs; need a data set that stereo-eval knows, left.png "
            "beside right.png, or folders left and right"
        ) from error
    return tuple(
        Scene(source.name.partition("/")[2], _BARE_SET, source.left, source.right)
        for source in found.pairs
        if source.right is not None
    )


def crop_size(
    scenes: Sequence[Scene],
    size: tuple[int, int],
    *,
    note: Callable[[str], object] = lambda _: None,
) -> tuple[int, int]:
    """Return `size`, made smaller where a picture is smaller, in multiples of 32.

    Args:
        scenes: whose pictures are asked for their size.
        size: (height, width) that is wanted.
        note: told in words where crops become smaller.

    Raises:
        TrainingError: a picture is smaller than 64x64.
    """
    sizes = {scene.left: _size(scene) for scene in scenes}
    if smaller := _smaller(sizes, (2 * _MULTIPLE, 2 * _MULTIPLE)):
        raise TrainingError(
            f"{smaller}, which no network here can learn from; remove them or give larger ones"
        )
    height, width = (
        min([wanted, *(each[axis] // _MULTIPLE * _MULTIPLE for each in sizes.values())])
        for axis, wanted in enumerate(size)
    )
    if smaller := _smaller(sizes, size):
        note(f"{smaller}: crops are {height}x{width}")
    return height, width


def _size(scene: Scene) -> tuple[int, int]:
    content = read_file(scene.left, most_bytes=PICTURE_MOST_BYTES)
    # What has no header that is known here cannot be read either, and reading it says so.
    height, width = size_from_header(content) or scene.load_pair()[0].shape[:2]
    return height, width


def _smaller(sizes: Mapping[Path, tuple[int, int]], size: tuple[int, int]) -> str:
    """Say which pictures are smaller than `size`; nothing where none is."""
    small = [path for path, each in sizes.items() if each[0] < size[0] or each[1] < size[1]]
    if not small:
        return ""
    first = "x".join(map(str, sizes[small[0]]))
    return (
        f"{len(small)} of {len(sizes)} pictures are smaller than {size[0]}x{size[1]} "
        f"({small[0]} is {first})"
    )


class PairStream:
    """Draw crops of pairs for ever; equal seeds give equal batches.

    A crop may be magnified or reduced by up to 1.4, disparities with it. Ground truth that is
    unknown is infinite in the batch.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        *,
        batch: int,
        size: tuple[int, int],
        seed: int,
        device: torch.device,
        perturbed: bool,
    ) -> None:
        """Prepare crops of `size` (height, width); `perturbed` changes their colours.

        Args:
            scenes: at least one.
            batch: pairs at a time.
            size: (height, width) of the crops.
            seed: of order, crops and colours.
            device: where batches come to be.
            perturbed: change the colours, as cameras differ.

        Raises:
            TrainingError: there are no scenes.
        """
        if not scenes:
            raise TrainingError("there are no pairs to train on; look at --pairs")
        self.scenes, self.batch, self.size, self.seed = tuple(scenes), batch, size, seed
        self.device = device
        self._draw = Draw(device, seed=seed) if perturbed else None
        self._pool = ThreadPoolExecutor(_READERS)
        self._waiting: deque[list[Future[_Crop]]] = deque()
        self._asked = 0

    def next(self) -> Batch:
        """Return the next batch.

        Raises:
            InputError: a file cannot be read, or ground truth is of another size than its picture.
        """
        while len(self._waiting) < _READ_AHEAD:
            numbers = range(self._asked, self._asked + self.batch)
            self._asked += self.batch
            self._waiting.append([self._pool.submit(self._crop, number) for number in numbers])
        crops = [future.result() for future in self._waiting.popleft()]
        left, right, truth = (
            torch.from_numpy(np.stack(maps)).to(self.device) for maps in zip(*crops, strict=True)
        )
        left, right = (picture.permute(0, 3, 1, 2).float() for picture in (left, right))
        if self._draw is not None:
            left, right, _ = perturb(self._draw, left, right)
        return Batch(left, right, truth[:, None], torch.isfinite(truth[:, None]))

    def _crop(self, number: int) -> _Crop:
        """Read and crop the pair for sample `number`; every pair comes once in each round."""
        round_number, place = divmod(number, len(self.scenes))
        order = np.random.default_rng([self.seed, round_number]).permutation(len(self.scenes))
        rng = np.random.default_rng([self.seed, 1, number])
        scene = self.scenes[order[place]]
        left, right = scene.load_pair()
        truth = scene.load_truth()
        disparity = (
            np.full(left.shape[:2], np.nan, np.float32) if truth is None else truth.disparity_px
        )
        if scene.truth and disparity.shape != left.shape[:2]:
            raise InputError(
                f"{scene.truth.path} is {disparity.shape[0]}x{disparity.shape[1]} but {scene.left} "
                f"is {left.shape[0]}x{left.shape[1]} (height x width); ground truth needs the size "
                "of its picture: give the one that was made for it"
            )
        return _cropped(rng, left, right, disparity, size=self.size)


def _cropped(
    rng: np.random.Generator,
    left: NDArray[np.uint8],
    right: NDArray[np.uint8],
    disparity_px: NDArray[np.float32],
    *,
    size: tuple[int, int],
) -> _Crop:
    """Scale and cut out one window, the same of all three maps."""
    cv2: Any = import_cv2("resizing pictures")
    height, width = left.shape[:2]
    scale = max(float(np.exp2(rng.uniform(-0.5, 0.5))), size[0] / height, size[1] / width)
    new = max(size[1], round(width * scale)), max(size[0], round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    left, right = (cv2.resize(picture, new, interpolation=how) for picture in (left, right))
    # Nearest: a mean over an edge would be a disparity that nothing has. The exact one takes pixel
    # centres as the pictures do; INTER_NEAREST lies half a pixel of the larger size beside them.
    disparity_px = cv2.resize(disparity_px, new, interpolation=cv2.INTER_NEAREST_EXACT)
    disparity_px = disparity_px * np.float32(new[0] / width)
    disparity_px[~np.isfinite(disparity_px)] = np.inf
    top = int(rng.integers(new[1] - size[0] + 1))
    start = int(rng.integers(new[0] - size[1] + 1))
    window = slice(top, top + size[0]), slice(start, start + size[1])
    return left[window], right[window], disparity_px[window]
