"""The node's parameters: their names, defaults and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litestereo.errors import InputError
from litestereo.ros.messages import DepthEncoding
from litestereo.runtime.geometry.depth import DepthOptions
from litestereo.runtime.stream.deadline import DeadlineOptions, Level
from litestereo.runtime.stream.stream import StreamOptions

__all__ = ["DEFAULTS", "NodeParameters"]

# ROS parameters have no "none": 0 stands for it.
DEFAULTS: dict[str, Any] = {
    "model": "las1",  # a bundled model, or an artefact's file
    "backend": "onnxruntime-cpu",
    "max_disparity_px": 0.0,  # 0: what the network reaches at full size
    "threads": 0,  # 0: every core
    "rectify": False,  # the topics are raw pictures
    "tolerance_ms": 8.0,  # between the stamps of a pair
    "rate_hz": 0.0,  # deadline: 0 has none
    "max_age_ms": 0.0,  # deadline: 0 is two periods
    "shrinks": [1.0],  # deadline: sizes to step down to under overload
    "near_m": 0.0,
    "far_m": 0.0,
    "min_confidence": 0.0,
    "mask_occluded": True,  # no depth where only the left eye sees
    "depth_encoding": "32FC1",  # or 16UC1
    # QoS: best effort takes pictures of any publisher; RViz only shows what is reliable.
    "reliable_images": False,
    "reliable_results": True,
    "qos_depth": 2,
    "health_every_s": 10.0,  # 0 logs none
    "autostart": True,  # configure and activate by itself; False waits for a lifecycle manager
}


@dataclass(frozen=True, slots=True)
class NodeParameters:
    """The node's parameters, checked.

    Attributes:
        model: a bundled model, or an artefact's file.
        backend: what runs it.
        max_disparity_px: largest disparity to expect; None: the network's reach.
        threads: CPU threads; None: every core.
        rectify: whether the topics are raw pictures.
        tolerance_ms: greatest difference of the stamps of a pair.
        stream: deadline and watchdogs.
        limits: which depths are valid.
        mask_occluded: whether there is no depth where only the left eye sees.
        depth_encoding: of the depth image.
        reliable_images: QoS of what comes in; best effort otherwise.
        reliable_results: same, of what goes out.
        qos_depth: messages that each topic keeps.
    """

    model: str
    backend: str
    max_disparity_px: float | None
    threads: int | None
    rectify: bool
    tolerance_ms: float
    stream: StreamOptions
    limits: DepthOptions
    mask_occluded: bool
    depth_encoding: DepthEncoding
    reliable_images: bool
    reliable_results: bool
    qos_depth: int

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> NodeParameters:
        """Return the parameters in `values`, which has all names of `DEFAULTS`.

        Args:
            values: of the node's parameters, by name.

        Raises:
            InputError: a value that cannot be.
        """
        encoding = values["depth_encoding"]
        if encoding not in ("32FC1", "16UC1"):
            raise InputError(f"depth_encoding is {encoding!r}; it must be 32FC1 or 16UC1")
        if values["qos_depth"] < 1:
            raise InputError(f"qos_depth is {values['qos_depth']}; it must be at least 1")
        if not values["tolerance_ms"] >= 0:
            raise InputError(f"tolerance_ms is {values['tolerance_ms']}; it must be 0 or more")
        return cls(
            model=values["model"],
            backend=values["backend"],
            max_disparity_px=values["max_disparity_px"] or None,
            threads=values["threads"] or None,
            rectify=values["rectify"],
            tolerance_ms=values["tolerance_ms"],
            stream=StreamOptions(
                deadline=_deadline(values),
                # Messages stop whenever their publisher does; that is no fault of this node.
                source_timeout_s=float("inf"),
                log_every_s=values["health_every_s"] or None,
            ),
            limits=DepthOptions(
                values["near_m"] or None, values["far_m"] or None, values["min_confidence"]
            ),
            mask_occluded=values["mask_occluded"],
            depth_encoding=encoding,
            reliable_images=values["reliable_images"],
            reliable_results=values["reliable_results"],
            qos_depth=values["qos_depth"],
        )


def _deadline(values: Mapping[str, Any]) -> DeadlineOptions | None:
    if not values["rate_hz"]:
        return None
    smaller = sorted({shrink for shrink in values["shrinks"] if shrink != 1.0}, reverse=True)
    return DeadlineOptions(
        period_ms=1e3 / values["rate_hz"],
        max_age_ms=values["max_age_ms"] or None,
        levels=(Level("full"), *(Level(f"{shrink:g}", shrink) for shrink in smaller)),
    )
