// A stand-in for TensorRT's header of this name, which comes with TensorRT's packages for Linux and not with its wheels:
// what plugin.cu needs of it, laid out in memory as TensorRT 8.6 lays it out (the order of virtual functions is the
// interface). TensorRT 8.6.0 loads a plugin that is compiled with it. On a robot use NVIDIA's own.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace nvinfer1 {

constexpr int32_t kTensorRT = 8600;
constexpr int32_t kMostDims = 8;

enum class DataType : int32_t { kFLOAT = 0, kHALF = 1 };
enum class TensorFormat : int32_t { kLINEAR = 0, kHWC8 = 2 };
enum class DimensionOperation : int32_t { kSUM = 0, kPROD = 1 };

struct Dims {
    int32_t nbDims;
    int32_t d[kMostDims];
};

struct PluginTensorDesc {
    Dims dims;
    DataType type;
    TensorFormat format;
    float scale;
};

struct DynamicPluginTensorDesc {
    PluginTensorDesc desc;
    Dims min, max;
};

// Sizes that are known when the engine is built. TensorRT hands these out; calls go through `made`.
class IDimensionExpr;

class Maker {
public:
    virtual ~Maker() = default;
    virtual IDimensionExpr const* constant(int32_t value) = 0;
    virtual IDimensionExpr const* operation(DimensionOperation, IDimensionExpr const&, IDimensionExpr const&) = 0;
};

class IExprBuilder {
public:
    virtual ~IExprBuilder() = default;
    IDimensionExpr const* constant(int32_t value) { return maker_->constant(value); }
    IDimensionExpr const* operation(DimensionOperation by, IDimensionExpr const& a, IDimensionExpr const& b) {
        return maker_->operation(by, a, b);
    }

protected:
    Maker* maker_;
};

struct DimsExprs {
    int32_t nbDims;
    IDimensionExpr const* d[kMostDims];
};

class IGpuAllocator;
class ILoggerFinder;

class IPluginV2 {
public:
    virtual int32_t getTensorRTVersion() const noexcept { return kTensorRT; }
    virtual char const* getPluginType() const noexcept = 0;
    virtual char const* getPluginVersion() const noexcept = 0;
    virtual int32_t getNbOutputs() const noexcept = 0;
    virtual Dims getOutputDimensions(int32_t, Dims const*, int32_t) noexcept = 0;
    virtual bool supportsFormat(DataType, TensorFormat) const noexcept = 0;
    virtual void configureWithFormat(Dims const*, int32_t, Dims const*, int32_t, DataType, TensorFormat,
                                     int32_t) noexcept = 0;
    virtual int32_t initialize() noexcept = 0;
    virtual void terminate() noexcept = 0;
    virtual size_t getWorkspaceSize(int32_t) const noexcept = 0;
    virtual int32_t enqueue(int32_t, void const* const*, void* const*, void*, cudaStream_t) noexcept = 0;
    virtual size_t getSerializationSize() const noexcept = 0;
    virtual void serialize(void* buffer) const noexcept = 0;
    virtual void destroy() noexcept = 0;
    virtual IPluginV2* clone() const noexcept = 0;
    virtual void setPluginNamespace(char const*) noexcept = 0;
    virtual char const* getPluginNamespace() const noexcept = 0;

protected:
    virtual ~IPluginV2() noexcept = default;
};

class IPluginV2Ext : public IPluginV2 {
public:
    virtual DataType getOutputDataType(int32_t, DataType const*, int32_t) const noexcept = 0;
    virtual bool isOutputBroadcastAcrossBatch(int32_t, bool const*, int32_t) const noexcept = 0;
    virtual bool canBroadcastInputAcrossBatch(int32_t) const noexcept = 0;
    virtual void configurePlugin(Dims const*, int32_t, Dims const*, int32_t, DataType const*, DataType const*,
                                 bool const*, bool const*, TensorFormat, int32_t) noexcept = 0;
    virtual void attachToContext(void*, void*, IGpuAllocator*) noexcept {}
    virtual void detachFromContext() noexcept {}
};

class IPluginV2DynamicExt : public IPluginV2Ext {
public:
    IPluginV2DynamicExt* clone() const noexcept override = 0;
    virtual DimsExprs getOutputDimensions(int32_t, DimsExprs const*, int32_t, IExprBuilder&) noexcept = 0;
    virtual bool supportsFormatCombination(int32_t, PluginTensorDesc const*, int32_t, int32_t) noexcept = 0;
    virtual void configurePlugin(DynamicPluginTensorDesc const*, int32_t, DynamicPluginTensorDesc const*,
                                 int32_t) noexcept = 0;
    virtual size_t getWorkspaceSize(PluginTensorDesc const*, int32_t, PluginTensorDesc const*,
                                    int32_t) const noexcept = 0;
    virtual int32_t enqueue(PluginTensorDesc const*, PluginTensorDesc const*, void const* const*, void* const*, void*,
                            cudaStream_t) noexcept = 0;

    // The kind of plugin is in the highest byte. What older kinds had is never asked of this one.
    int32_t getTensorRTVersion() const noexcept override { return 3 << 24 | kTensorRT; }
    Dims getOutputDimensions(int32_t, Dims const*, int32_t) noexcept final { return {-1, {}}; }
    bool supportsFormat(DataType, TensorFormat) const noexcept final { return false; }
    void configureWithFormat(Dims const*, int32_t, Dims const*, int32_t, DataType, TensorFormat,
                             int32_t) noexcept final {}
    size_t getWorkspaceSize(int32_t) const noexcept final { return 0; }
    int32_t enqueue(int32_t, void const* const*, void* const*, void*, cudaStream_t) noexcept final { return 1; }
    bool isOutputBroadcastAcrossBatch(int32_t, bool const*, int32_t) const noexcept final { return false; }
    bool canBroadcastInputAcrossBatch(int32_t) const noexcept final { return true; }
    void configurePlugin(Dims const*, int32_t, Dims const*, int32_t, DataType const*, DataType const*, bool const*,
                         bool const*, TensorFormat, int32_t) noexcept final {}
};

struct PluginField;

struct PluginFieldCollection {
    int32_t nbFields;
    PluginField const* fields;
};

class IPluginCreator {
public:
    virtual int32_t getTensorRTVersion() const noexcept { return kTensorRT; }
    virtual char const* getPluginName() const noexcept = 0;
    virtual char const* getPluginVersion() const noexcept = 0;
    virtual PluginFieldCollection const* getFieldNames() noexcept = 0;
    virtual IPluginV2* createPlugin(char const*, PluginFieldCollection const*) noexcept = 0;
    virtual IPluginV2* deserializePlugin(char const*, void const*, size_t) noexcept = 0;
    virtual void setPluginNamespace(char const*) noexcept = 0;
    virtual char const* getPluginNamespace() const noexcept = 0;
    virtual ~IPluginCreator() = default;
};

}  // namespace nvinfer1
