"""The node without ROS: messages' fields in, messages' fields out, a stream between them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError, LiteStereoError
from litestereo.ros.messages import (
    Fields,
    calibration_from_infos,
    cloud_fields,
    depth_fields,
    disparity_fields,
    image_from_fields,
    stamp_s,
)
from litestereo.ros.parameters import NodeParameters
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.geometry.rig import MetricRig
from litestereo.runtime.stream.frames import StreamResult
from litestereo.runtime.stream.pairing import Pairer, Side, Stamped
from litestereo.runtime.stream.sources import PushSource

__all__ = ["Bridge"]

log = logging.getLogger("litestereo.ros")

Image = NDArray[np.uint8]
# Topic -> fields of the message to publish on it.
Publish = Callable[[dict[str, Fields]], None]


class Bridge:
    """Pairs images by stamp, streams them through the engine, and publishes what comes out."""

    def __init__(
        self,
        engine: StereoEngine,
        parameters: NodeParameters,
        *,
        publish: Publish,
        wants: Callable[[str], bool],
        now_s: Callable[[], float],
        failed: Callable[[str], None],
    ) -> None:
        """Make a bridge that has not begun.

        Args:
            engine: that computes; the caller closes it.
            parameters: of the node.
            publish: takes the fields of "disparity", "depth/image" and "points"; called from a
                thread of the bridge's own.
            wants: whether anyone listens to a topic: what nobody wants is not computed.
            now_s: ROS time in seconds, which stamps are on.
            failed: takes the error that ended the stream, in words.

        Raises:
            InputError: the artefact rectifies, and the parameters take rectified pictures.
        """
        self._parameters = parameters
        self._publish = publish
        self._wants = wants
        self._now_s = now_s
        self._failed = failed
        self._lock = threading.Lock()
        self._pairer = Pairer(parameters.tolerance_ms)
        self._infos: dict[Side, Fields] = {}
        self._rig: MetricRig | None = None
        self._rig_of: object = None
        self._said: str | None = None
        self._engine = engine
        self._rectifies = engine.calibration is not None
        if self._rectifies and not parameters.rectify:
            raise InputError(
                "the model takes raw pictures and rectifies them; set rectify:=true, so that the "
                "node takes the raw topics, or run a model that was exported without --calib"
            )
        self._source = PushSource("the image topics")
        self._stream = engine.stream(
            self._source, options=parameters.stream, prepare=self._rectified, post=self._messages
        )
        self._thread = threading.Thread(target=self._run, name="litestereo publish", daemon=True)

    @property
    def health(self) -> dict[str, Any]:
        """The stream's health; `unpaired` includes images without a partner."""
        health = self._stream.health
        return {**health, "unpaired": health["unpaired"] + self._pairer.unpaired}

    def start(self) -> None:
        """Begin to compute and publish."""
        self._stream.start()
        self._thread.start()

    def close(self) -> None:
        """Stop; what is under way is dropped."""
        self._source.end()
        self._stream.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(self._parameters.stream.close_timeout_s)

    def take_info(self, side: Side, info: Fields) -> None:
        """Take the fields of a CameraInfo.

        Args:
            side: which eye.
            info: as `info_fields` gives them.
        """
        with self._lock:
            if self._infos.get(side) != info:
                self._infos[side] = info

    def take_image(self, side: Side, image: Fields) -> None:
        """Take the fields of an Image; with its partner it enters the stream.

        Args:
            side: which eye.
            image: fields of a sensor_msgs/Image, its header among them.
        """
        with self._lock:
            pairs = self._pairer.offer(side, Stamped(image, stamp_s(image["header"])))
        for left, right in pairs:
            if len(self._infos) < 2 and not self._rectifies:
                self._say("no camera_info of both eyes yet: check the topics")
                continue
            try:
                pictures = image_from_fields(left.picture), image_from_fields(right.picture)
            except InputError as error:
                self._say(str(error))
                continue
            age_s = self._now_s() - min(left.stamp_s, right.stamp_s)
            self._source.put(
                *pictures,
                captured_s=time.monotonic() - age_s,
                stamp_s=left.stamp_s,
                context=left.picture["header"],
            )

    def _rectified(self, left: Image, right: Image) -> tuple[Image, Image]:
        if self._rectifies:  # in the graph, which has its own calibration
            self._rig = self._rig or self._engine.rig(limits=self._parameters.limits)
            return left, right
        return self._rig_for((left.shape[0], left.shape[1])).rectified(left, right)

    def _rig_for(self, size: tuple[int, int]) -> MetricRig:
        """Return the rig of the present infos; it is made anew when they change."""
        with self._lock:
            infos = self._infos["left"], self._infos["right"]
        if self._rig is None or self._rig_of != (infos, size):
            raw = self._parameters.rectify
            calibration = calibration_from_infos(*infos, size=size, rectified=not raw)
            self._rig = MetricRig(calibration, limits=self._parameters.limits)
            self._rig_of = (infos, size)
        return self._rig

    def _messages(self, result: StreamResult) -> dict[str, Fields]:
        """Return the wanted messages of a result."""
        rig, header, stereo = self._rig, result.frame.context, result.stereo
        assert rig is not None
        if stereo.disparity_px.shape != rig.size:
            return {}  # the pictures' size changed after this one was rectified
        masks = self._parameters.mask_occluded
        depth = rig.depth(stereo, occluded=rig.occluded(stereo) if masks else None)
        messages = {}
        if self._wants("disparity"):
            messages["disparity"] = disparity_fields(
                stereo, rig.calibration, header=header, validity=depth.validity
            )
        if self._wants("depth/image"):
            messages["depth/image"] = depth_fields(
                depth.depth_m, header=header, encoding=self._parameters.depth_encoding
            )
        if self._wants("points"):
            left, _ = self._engine.as_seen(result.left, result.right)
            messages["points"] = cloud_fields(rig.points_m(depth), left, header=header)
        return messages

    def _run(self) -> None:
        try:
            for result in self._stream:
                self._publish(result.post)
        except LiteStereoError as error:
            self._failed(str(error))
        except BaseException as error:  # else the thread would end, and nobody hear of it
            self._failed(f"{type(error).__name__}: {error}")

    def _say(self, text: str) -> None:
        """Log a reason why pictures are lost, once until it changes."""
        if text != self._said:
            self._said = text
            log.warning("%s", text)
