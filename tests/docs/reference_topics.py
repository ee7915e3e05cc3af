"""The pages of docs/reference: which names are on each, in the order that a reader needs them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TOPICS", "Topic"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One page.

    Attributes:
        title: its heading.
        purpose: what it is for, in Markdown.
        names: module and names, in the order of the page, a line of import each.
    """

    title: str
    purpose: str
    names: tuple[tuple[str, str], ...]

    def entries(self) -> list[tuple[str, str]]:
        """Return (module, name) of each name, in the order of the page."""
        return [(module, name) for module, names in self.names for name in names.split()]


TOPICS = {
    "engine": Topic(
        "Engine",
        "From a pair of pictures to disparity and confidence, and to pictures and files of them. "
        "Needs neither torch nor onnx. What is raised is in [errors](../errors.md); "
        "`litestereo.__version__` is the version.",
        (
            ("litestereo", "StereoEngine StereoResult"),
            ("litestereo.runtime.results", "Timings"),
            ("litestereo.runtime.visualize", "color_disparity color_confidence panel"),
            ("litestereo.runtime.visualize", "robust_maximum_px"),
            ("litestereo.runtime.disparity_io", "write_png16 write_pfm write_npy write_picture"),
            ("litestereo.runtime.disparity_io", "read_png16 read_pfm"),
            ("litestereo.runtime.viewer.rerun_log", "RerunLog"),
            ("litestereo.assets", "bundled_models artifact_path demo_pair"),
            ("litestereo.runtime.results", "Prepared Inferred"),
            ("litestereo.runtime.preprocess", "ScaleOptions Frame"),
            ("litestereo.runtime.manifest", "Manifest InputSpec"),
            ("litestereo.runtime.backends", "BACKEND_NAMES GraphOptimization BackendOptions"),
            ("litestereo.runtime.backends", "open_backend Backend"),
        ),
    ),
    "streams": Topic(
        "Streams",
        "From cameras, videos, folders or callbacks to results that carry their age, with "
        "deadlines, watchdogs and health. How they are used: [On a robot](../robot.md#streams).",
        (
            ("litestereo.runtime.stream", "cameras CameraOptions videos folders PushSource"),
            ("litestereo.runtime.stream", "RepeatedPair StereoStream StreamResult SourceFrame"),
            ("litestereo.runtime.stream", "StreamOptions DeadlineOptions Level"),
            ("litestereo.runtime.stream.deadline", "Step"),
            ("litestereo.runtime.stream", "steady_heap PauseMeter JitterMeter"),
            ("litestereo.runtime.stream.sources", "FrameSource FrameReader"),
        ),
    ),
    "geometry": Topic(
        "Geometry",
        "From calibration files and disparity to rectified pictures, depth in metres, and points. "
        "Depth is z; points are in the frame of the rectified left camera: x right, y down, z "
        "forward. Centres of pixels are whole numbers. How it is used: [On a "
        "robot](../robot.md#calibration).",
        (
            ("litestereo.runtime.geometry", "MetricRig read_calibration Calibration Eye"),
            ("litestereo.runtime.geometry.calibration", "GivenRectification"),
            ("litestereo.runtime.geometry", "Rectifier DepthOptions DepthMap Validity"),
            ("litestereo.runtime.geometry", "DepthMapper depth_error_m PointCloud CloudMapper"),
            ("litestereo.runtime.geometry", "write_ply write_depth_png read_depth_png"),
            ("litestereo.runtime.geometry", "occluded_by_warp OcclusionFinder right_disparity_of"),
            ("litestereo.runtime.geometry", "left_right_inconsistent speckles"),
        ),
    ),
    "ros": Topic(
        "ROS 2",
        "The ROS 2 node, for a process of your own. Its topics and parameters: [On a "
        "robot](../robot.md#ros-2).",
        (
            ("litestereo.ros.node", "make_node main StereoAdapter import_ros Ros"),
            ("litestereo.ros.parameters", "NodeParameters"),
        ),
    ),
    "tensorrt": Topic(
        "TensorRT and the GPU",
        "How an engine of backend `tensorrt` is built, cached and run, and arrays that stay on the "
        "GPU. How a Jetson is set up: [Jetson](../jetson.md).",
        (
            ("litestereo.runtime.tensorrt.options", "GpuOptions Wait"),
            ("litestereo.runtime.cuda", "Binding"),
            ("litestereo.runtime.tensorrt.options", "SizeRange BuildOptions HardwareCompatibility"),
            ("litestereo.runtime.tensorrt.backend", "build_ahead"),
            ("litestereo.runtime.tensorrt.cache", "CachedEngine"),
            ("litestereo.runtime.cuda.gpu_array", "GpuArray gpu_array ANY_GPU"),
            ("litestereo.runtime.tensorrt.backend", "TensorRt"),
        ),
    ),
    "export": Topic(
        "Export",
        "From a network and its checkpoint to one ONNX file that is judged before it is written; "
        "and the calibration sets of INT8. Needs `litestereo[export,opencv]`.",
        (
            ("litestereo.export", "export_artifact ExportOptions"),
            ("litestereo.export.options", "Precision RigOptions Int8Options Exporter"),
            ("litestereo.export.pipeline", "ExportReport"),
            ("litestereo.export.parity", "ParityReport ParityCase"),
            ("litestereo.export.int8_gate", "GateReport"),
            ("litestereo.calibration.make", "make_set"),
            ("litestereo.calibration.options", "CalibrateOptions MINIMUM_PAIRS HELD_OUT_EVERY"),
            ("litestereo.calibration.store", "CalibrationSet StoredPair"),
            ("litestereo.models", "create load_weights save_weights"),
            ("litestereo.models.registry", "MODEL_NAMES MODEL_SPECS ModelSpec model_spec"),
            ("litestereo.models.registry", "MAX_DISPARITY_PX DISPARITY_LEVELS SIZE_MULTIPLE"),
            ("litestereo.models.registry", "REFINER_PASSES"),
        ),
    ),
    "training": Topic(
        "Training",
        "Training a network, adapting one to a rig, and the rendered scenes alone. Needs "
        "`litestereo[train,opencv]`. What the stages are: [Training](../training.md).",
        (
            ("litestereo.training.stages", "train"),
            ("litestereo.training.options", "TrainOptions Stage"),
            ("litestereo.training.fine_tune", "fine_tune FineTuneResult"),
            ("litestereo.training.scenes.stream", "SceneStream Batch"),
            ("litestereo.training.scenes.textures", "load_atlas Atlas"),
            ("litestereo.training.scenes.random", "Draw"),
            ("litestereo.training.scenes.layout", "sample_scenes"),
            ("litestereo.training.scenes.scene", "Scene"),
            ("litestereo.training.scenes.render", "render Rendered"),
        ),
    ),
}
