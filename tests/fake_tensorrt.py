"""A TensorRT made of Python, in three generations, to test what is around it.

Its engines compute what the stand-in artefact says (tests/stand_in.py) on the fake GPU's memory.
It is strict where the real one kills the process: an engine used after its runtime, a context
after its engine, an object dropped in the wrong order are all noted in `log`.
"""

from __future__ import annotations

import json
from enum import Enum, IntEnum

import numpy as np
from fake_cuda import memory_at
from stand_in import expected

__all__ = ["fake_tensorrt"]


class Memory(bytes):
    """An IHostMemory."""


def fake_tensorrt(version="10.3.0", *, device=None, **behaviour):
    """Return a module; `behaviour` sets attributes of `State`, e.g. refuse_parse="why"."""
    return Module(version, device, behaviour)


class State:
    refuse_parse = None  # words of the parser
    refuse_build = None  # words in the log
    refuse_load = None
    null_builder = False
    null_context = False
    refuse_shape = False
    unknown_shapes = ()  # what infer_shapes leaves open
    infer_fails = False
    layers = None  # the inspector's; default all FP32
    refuse_execution = False
    io_types = None
    network_layers = ()
    input_shape = (-1, -1, 3)
    answer_size = None


class Module:
    def __init__(self, version, device, behaviour):
        self.__name__, self.__version__ = "tensorrt", version
        self.state = State()
        vars(self.state).update(behaviour)
        self.device, self.log, self.builds = device, [], []
        old = version.startswith("8.")
        flags = ["TF32", "VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"]
        if not version.startswith("11."):
            flags += ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"]
        creation = {"EXPLICIT_BATCH": 0} if old else {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
        if version.startswith("11."):
            creation = {"STRONGLY_TYPED": 0}
        levels = ["NONE", "AMPERE_PLUS"] + ([] if old else ["SAME_COMPUTE_CAPABILITY"])
        self.NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", creation)
        self.BuilderFlag = Enum("BuilderFlag", flags)
        self.DataType = Enum("DataType", ["FLOAT", "HALF", "INT8", "INT32", "UINT8", "BOOL"])
        self.HardwareCompatibilityLevel = Enum("HardwareCompatibilityLevel", levels)
        self.LayerInformationFormat = Enum("LayerInformationFormat", ["JSON"])
        self.LayerType = Enum(
            "LayerType",
            [
                *("CAST", "CONSTANT", "IDENTITY", "SHAPE", "CONVOLUTION", "DECONVOLUTION"),
                *("SOFTMAX", "QUANTIZE", "DEQUANTIZE"),
            ],
        )
        self.MemoryPoolType = Enum("MemoryPoolType", ["WORKSPACE"])
        self.ProfilingVerbosity = Enum("ProfilingVerbosity", ["DETAILED"])
        if not version.startswith("11."):
            self.PreviewFeature = Enum("PreviewFeature", ["PROFILE_SHARING_0806"])
        sources = ["CUBLAS", "JIT_CONVOLUTIONS"] if old else ["JIT_CONVOLUTIONS"]
        self.TacticSource = IntEnum("TacticSource", sources, start=3)
        self.TensorIOMode = Enum("TensorIOMode", ["INPUT", "OUTPUT"])
        severity = Enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])
        self.ILogger = type("ILogger", (), {"Severity": severity, "__init__": lambda self: None})
        if not old:
            self.IProgressMonitor = type("IProgressMonitor", (), {"__init__": lambda self: None})

    def say(self, logger, words):
        logger.log(self.ILogger.Severity.ERROR, words)

    def Builder(self, logger):
        if self.state.null_builder:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return Builder(self, logger)

    def OnnxParser(self, network, logger):
        return Parser(self, network)

    def Runtime(self, logger):
        return Runtime(self, logger)


class Tensor:
    def __init__(self, name, shape=(), dtype=None):
        self.name, self.shape, self.dtype = name, shape, dtype


class Layer:
    """A layer of a parsed network; `outputs` are the types of its outputs, called name:0, ..."""

    def __init__(self, trt, name, kind, outputs, inputs=()):
        self.name, self.type = name, trt.LayerType[kind]
        self._tensors = [
            Tensor(f"{name}:{i}", dtype=trt.DataType[o]) for i, o in enumerate(outputs)
        ]
        self.num_outputs, self.num_inputs = len(outputs), len(inputs)
        self._inputs = [Tensor(i) for i in inputs]
        self.precision, self.types = None, {}

    def get_input(self, index):
        return self._inputs[index]

    def set_input(self, index, tensor):
        self._inputs[index] = tensor

    def get_output(self, index):
        return self._tensors[index]

    def set_output_type(self, index, kind):
        self.types[index] = kind


class Network:
    def __init__(self, trt, flags):
        self.trt, self.flags = trt, flags
        self.layers = [Layer(trt, *layer) for layer in trt.state.network_layers]
        self.num_layers, self.num_inputs = len(self.layers), 2

    def get_layer(self, index):
        return self.layers[index]

    def add_constant(self, shape, values):
        self.layers.append(Layer(self.trt, f"constant {len(self.layers)}", "CONSTANT", ["FLOAT"]))
        return self.layers[-1]

    def get_input(self, index):
        return Tensor(("left", "right")[index], self.trt.state.input_shape)


class Parser:
    def __init__(self, trt, network):
        self.refusal, self.num_errors = trt.state.refuse_parse, 0

    def parse(self, graph):
        self.num_errors = 1 if self.refusal else 0
        return not self.refusal

    def get_error(self, index):
        words = self.refusal
        return type("ParserError", (), {"node": lambda _: 7, "desc": lambda _: words})()


class Profile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, smallest, typical, largest):
        self.shapes[name] = (smallest, typical, largest)


class TimingCache:
    def __init__(self, content):
        self.content = content

    def serialize(self):
        return Memory(self.content + b"+")


class Config:
    def __init__(self):
        self.flags, self.cleared, self.profiles, self.limits = set(), set(), [], {}
        self.previews, self.tactic_sources, self.timing_cache = {}, None, None

    def set_preview_feature(self, feature, on):
        self.previews[feature.name] = on

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.cleared.add(flag)
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool, size):
        self.limits[pool] = size

    def set_tactic_sources(self, mask):
        self.tactic_sources = mask

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, content):
        return None if content.startswith(b"stale") else TimingCache(content)

    def set_timing_cache(self, cache, ignore_mismatch):
        self.timing_cache = cache
        return True

    def get_timing_cache(self):
        return self.timing_cache


class Builder:
    def __init__(self, trt, logger):
        self.trt, self.logger = trt, logger

    def create_network(self, flags):
        return Network(self.trt, flags)

    def create_builder_config(self):
        return Config()

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        self.trt.builds.append((network, config))
        monitor = getattr(config, "progress_monitor", None)
        if monitor is not None:
            monitor.phase_start("Building", None, 4)
            assert monitor.step_complete("Building", 1) is True
            monitor.phase_finish("Building")
        if self.trt.state.refuse_build:
            self.trt.say(self.logger, self.trt.state.refuse_build)
            return None
        return Memory(f"plan of {self.trt.__version__}".encode())


class Runtime:
    def __init__(self, trt, logger):
        self.trt, self.logger, self.engine_host_code_allowed = trt, logger, False

    def deserialize_cuda_engine(self, plan):
        if self.trt.state.refuse_load or plan != f"plan of {self.trt.__version__}".encode():
            self.trt.say(
                self.logger, self.trt.state.refuse_load or "serialization version mismatch"
            )
            return None
        return Engine(self.trt, self)

    def __del__(self):
        self.trt.log.append("drop runtime")


class Engine:
    def __init__(self, trt, runtime):
        # The real engine knows nothing of its runtime, which must outlive it all the same.
        self.trt, self.num_io_tensors = trt, 4
        self.names = ("left", "right", "disparity", "confidence")

    def get_tensor_name(self, index):
        return self.names[index]

    def get_tensor_mode(self, name):
        mode = self.trt.TensorIOMode
        return mode.INPUT if name in ("left", "right") else mode.OUTPUT

    def get_tensor_dtype(self, name):
        kinds = self.trt.state.io_types or ("UINT8", "UINT8", "FLOAT", "FLOAT")
        return self.trt.DataType[kinds[self.names.index(name)]]

    def create_engine_inspector(self):
        return Inspector(self.trt)

    def create_execution_context(self):
        return None if self.trt.state.null_context else Context(self.trt)

    def __del__(self):
        self.trt.log.append("drop engine")


class Inspector:
    execution_context = None

    def __init__(self, trt):
        self.trt = trt

    def get_engine_information(self, kind):
        """Like TensorRT 8.6, tell no formats of shapes that are open or not inferred yet."""
        full = {"Name": "a", "LayerType": "kgen", "Outputs": [{"Format/Datatype": "Float"}]}
        layers = self.trt.state.layers or [full]
        profiles = self.trt.builds[-1][1].profiles if self.trt.builds else []
        is_open = any(len(set(shapes)) > 1 for p in profiles for shapes in p.shapes.values())
        if is_open and not (self.execution_context and self.execution_context.inferred):
            layers = [{**layer, "Outputs": [{"Format/Datatype": "N/A"}]} for layer in layers]
        return json.dumps({"Layers": layers})


class Context:
    def __init__(self, trt):
        self.trt, self.addresses, self.shapes, self.inferred = trt, {}, {}, False

    def set_input_shape(self, name, shape):
        self.shapes[name] = tuple(shape)
        return not self.trt.state.refuse_shape

    def infer_shapes(self):
        if self.trt.state.infer_fails:
            raise RuntimeError("infer_shapes error code: -1")
        open_ones = sorted({"left", "right"} - self.shapes.keys())
        open_ones += [*self.trt.state.unknown_shapes]
        self.inferred = not open_ones
        return open_ones

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        if self.trt.state.refuse_execution:
            return False
        height, width, _ = self.shapes["left"]
        left, right = (
            memory_at(self.addresses[n], (height, width, 3), np.uint8) for n in ("left", "right")
        )
        rows, columns = self.trt.state.answer_size or (height, width)
        disparity, confidence = (
            memory_at(self.addresses[n], (rows, columns), np.float32)
            for n in ("disparity", "confidence")
        )

        def kernel():
            disparity[...], confidence[...] = expected(
                left[:rows, :columns], right[:rows, :columns]
            )

        self.trt.device.submit(stream, kernel)
        return True

    def __del__(self):
        self.trt.log.append("drop context")
