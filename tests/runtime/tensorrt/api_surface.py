"""Every TensorRT name that litestereo uses, by class: what a new version must still have.

A test reads the code and compares it with these lists, so that they cannot drift; others look the
names up in the real bindings of several versions, which import without a GPU.

Code that uses TensorRT's objects calls them by the names of `OBJECTS`.
"""

from __future__ import annotations

__all__ = ["BUILDER", "NEWER_THAN_8", "OBJECTS", "PLUGIN", "RUNTIME", "WEAK_TYPING"]

OBJECTS = {
    "trt": "",
    "builder": "Builder",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "creator": "IPluginCreator",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "refusal": "ParserError",
    "runtime": "Runtime",
    "severity": "ILogger.Severity",
    "tensor": "ITensor",
    "timing_cache": "ITimingCache",
    **{
        enum: enum
        for enum in (
            *("BuilderFlag", "DataType", "HardwareCompatibilityLevel", "ILogger"),
            *("IProgressMonitor", "LayerInformationFormat", "LayerType", "MemoryPoolType"),
            *("NetworkDefinitionCreationFlag", "PreviewFeature", "ProfilingVerbosity"),
            *("TacticSource", "TensorIOMode"),
        )
    },
}
"""Variable -> TensorRT's class; "" is the module itself."""

RUNTIME: dict[str, frozenset[str]] = {
    "": frozenset({"DataType", "ILogger", "Runtime", "TensorIOMode"}),
    "DataType": frozenset({"FLOAT", "UINT8"}),
    "ICudaEngine": frozenset(
        {
            *("create_execution_context", "get_tensor_dtype", "get_tensor_mode"),
            *("get_tensor_name", "num_io_tensors"),
        }
    ),
    "IExecutionContext": frozenset(
        {"execute_async_v3", "profiler", "set_input_shape", "set_tensor_address"}
    ),
    "ILogger": frozenset({"Severity"}),
    "ILogger.Severity": frozenset({"ERROR", "INTERNAL_ERROR", "WARNING"}),
    "Runtime": frozenset({"deserialize_cuda_engine", "engine_host_code_allowed"}),
    "TensorIOMode": frozenset({"INPUT"}),
}
"""What running an engine takes; the lean runtime has all of it."""

BUILDER: dict[str, frozenset[str]] = {
    "": frozenset(
        {
            *("Builder", "BuilderFlag", "DataType", "HardwareCompatibilityLevel"),
            *("IProgressMonitor", "LayerInformationFormat", "LayerType", "MemoryPoolType"),
            *("NetworkDefinitionCreationFlag", "OnnxParser", "PreviewFeature"),
            *("ProfilingVerbosity", "TacticSource"),
        }
    ),
    "Builder": frozenset(
        {
            *("build_serialized_network", "create_builder_config", "create_network"),
            "create_optimization_profile",
        }
    ),
    "BuilderFlag": frozenset(
        {
            *("EXCLUDE_LEAN_RUNTIME", "FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"),
            *("PREFER_PRECISION_CONSTRAINTS", "TF32", "VERSION_COMPATIBLE"),
        }
    ),
    "DataType": frozenset({"FLOAT", "HALF"}),
    "EngineInspector": frozenset({"execution_context", "get_engine_information"}),
    "HardwareCompatibilityLevel": frozenset({"AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"}),
    "IBuilderConfig": frozenset(
        {
            *("add_optimization_profile", "builder_optimization_level", "clear_flag"),
            *("create_timing_cache", "get_timing_cache", "hardware_compatibility_level"),
            *("max_aux_streams", "profiling_verbosity", "progress_monitor", "set_flag"),
            *("set_memory_pool_limit", "set_preview_feature", "set_tactic_sources"),
            "set_timing_cache",
        }
    ),
    "ICudaEngine": frozenset({"create_engine_inspector"}),
    "IExecutionContext": frozenset({"infer_shapes"}),
    "ILayer": frozenset(
        {
            *("get_input", "get_output", "name", "num_inputs", "num_outputs"),
            *("precision", "set_output_type", "type"),
        }
    ),
    "INetworkDefinition": frozenset({"get_input", "get_layer", "num_inputs", "num_layers"}),
    "IOptimizationProfile": frozenset({"set_shape"}),
    "ITensor": frozenset({"dtype", "name", "shape"}),
    "ITimingCache": frozenset({"serialize"}),
    "LayerInformationFormat": frozenset({"JSON"}),
    "LayerType": frozenset(
        {"CAST", "CONSTANT", "CONVOLUTION", "DECONVOLUTION", "IDENTITY", "SHAPE"}
    ),
    "MemoryPoolType": frozenset({"WORKSPACE"}),
    "NetworkDefinitionCreationFlag": frozenset({"EXPLICIT_BATCH", "STRONGLY_TYPED"}),
    "OnnxParser": frozenset({"get_error", "num_errors", "parse"}),
    "ParserError": frozenset({"desc", "node"}),
    "PreviewFeature": frozenset({"PROFILE_SHARING_0806"}),
    "ProfilingVerbosity": frozenset({"DETAILED"}),
}
"""What building and attesting an engine takes."""

PLUGIN: dict[str, frozenset[str]] = {
    "": frozenset({"PluginFieldCollection", "get_plugin_registry"}),
    "ILayer": frozenset({"get_input", "get_output", "name", "num_inputs", "num_outputs"}),
    "INetworkDefinition": frozenset({"add_constant", "add_plugin_v2", "get_layer", "num_layers"}),
    "IPluginCreator": frozenset({"create_plugin"}),
    "ITensor": frozenset({"name"}),
}
"""What the optional plugin takes; 8.6 and 10 have it."""

WEAK_TYPING: dict[str, frozenset[str]] = {
    "BuilderFlag": frozenset(
        {"FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"}
    ),
    "ILayer": frozenset({"precision", "set_output_type"}),
    "NetworkDefinitionCreationFlag": frozenset({"EXPLICIT_BATCH"}),
    "PreviewFeature": frozenset({"PROFILE_SHARING_0806"}),
}
"""Of `BUILDER`, what only 8.6 needs; 11 has none of it."""

NEWER_THAN_8: dict[str, frozenset[str]] = {
    "": frozenset({"IProgressMonitor"}),
    "HardwareCompatibilityLevel": frozenset({"SAME_COMPUTE_CAPABILITY"}),
    "IBuilderConfig": frozenset({"progress_monitor"}),
    "NetworkDefinitionCreationFlag": frozenset({"STRONGLY_TYPED"}),
}
"""Of `BUILDER`, what 8.6 does not have and is done without."""
