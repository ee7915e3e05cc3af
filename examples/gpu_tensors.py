"""Raw pictures that are on the GPU: rectified, resized, padded in one pass, and matched there.

    python examples/gpu_tensors.py left.png right.png --calib stereo.yaml

With cupy it is the same: its arrays go into `infer_gpu`, and `cupy.asarray(disparity)` reads the
answer in place. With --device cpu the same maps feed the CPU backend.
"""

import argparse

import cv2
import numpy as np
import torch

from litestereo import StereoEngine
from litestereo.runtime.geometry import Rectifier, read_calibration


def sampling_grid(maps: np.ndarray, raw: torch.Tensor) -> torch.Tensor:
    """Return maps of raw pixels as grid_sample takes them: -1..1 from edge to edge."""
    sides = torch.tensor([raw.shape[1], raw.shape[0]], device=raw.device)
    return ((2 * torch.from_numpy(maps).to(raw.device) + 1) / sides - 1)[None]


def sampled(raw: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Return (H, W, 3) uint8 of a raw (h, w, 3) uint8 picture."""
    planes = raw.permute(2, 0, 1)[None].float()
    picture = torch.nn.functional.grid_sample(planes, grid, align_corners=False)
    return picture[0].permute(1, 2, 0).round().byte().contiguous()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("pictures", nargs=2)
    parser.add_argument("--calib", required=True)
    parser.add_argument("--model", default="las1")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    given = parser.parse_args(arguments)
    pictures = [cv2.imread(name)[..., ::-1].copy() for name in given.pictures]
    raw = [torch.from_numpy(picture).to(given.device) for picture in pictures]
    rectifier = Rectifier(read_calibration(given.calib, size=pictures[0].shape[:2]))
    on_gpu = given.device == "cuda"
    backend = "tensorrt" if on_gpu else "onnxruntime-cpu"
    with StereoEngine.load(given.model, backend=backend) as engine:
        maps = rectifier.sampling_maps(engine.frame_for(rectifier.size))
        left, right = (sampled(r, sampling_grid(m, r)) for r, m in zip(raw, maps, strict=True))
        if on_gpu:
            stream = torch.cuda.current_stream().cuda_stream
            answer, _ = engine.infer_gpu(left, right, stream=stream)
            disparity_px = torch.from_dlpack(answer)
        else:
            disparity_px = torch.from_numpy(engine(left.numpy(), right.numpy()).disparity_px)
        print(f"mean disparity {disparity_px.mean().item():.2f} px at {tuple(disparity_px.shape)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
