// TensorRT's view of the kernels: plugins without state. Weights come as inputs from constants of the network, so an
// engine keeps and moves them as it does its own.
#include <NvInferRuntime.h>

#include <cstring>

#include "convnext_block.cuh"
#include "disparity_head.cuh"
#include "fasternet_block.cuh"

namespace {

using nvinfer1::DataType;
using nvinfer1::DimsExprs;
using nvinfer1::IExprBuilder;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

constexpr char const* kVersion = "1";

// A tensor as a kernel wants it: pictures have their channels last, all else stands in a row.
struct Wanted {
    DataType type;
    TensorFormat format;
};
constexpr Wanted kPicture = {DataType::kHALF, TensorFormat::kHWC8};
constexpr Wanted kHalves = {DataType::kHALF, TensorFormat::kLINEAR};
constexpr Wanted kFloats = {DataType::kFLOAT, TensorFormat::kLINEAR};

// What is the same for all; `Self` has kName, kOutputs and kWanted, of inputs and then outputs.
template <class Self>
class Stateless : public nvinfer1::IPluginV2DynamicExt {
public:
    char const* getPluginType() const noexcept override { return Self::kName; }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    int32_t getNbOutputs() const noexcept override { return Self::kOutputs; }
    int32_t initialize() noexcept override { return 0; }
    void terminate() noexcept override {}
    size_t getSerializationSize() const noexcept override { return std::strlen(kVersion); }
    void serialize(void* buffer) const noexcept override { std::memcpy(buffer, kVersion, std::strlen(kVersion)); }
    void destroy() noexcept override { delete this; }
    void setPluginNamespace(char const*) noexcept override {}
    char const* getPluginNamespace() const noexcept override { return ""; }
    nvinfer1::IPluginV2DynamicExt* clone() const noexcept override { return new Self; }
    // Half or float is chosen with the format; here both are called float.
    DataType getOutputDataType(int32_t, DataType const*, int32_t) const noexcept override { return DataType::kFLOAT; }
    bool supportsFormatCombination(int32_t at, PluginTensorDesc const* tensors, int32_t, int32_t) noexcept override {
        return tensors[at].type == Self::kWanted[at].type && tensors[at].format == Self::kWanted[at].format;
    }
    void configurePlugin(nvinfer1::DynamicPluginTensorDesc const*, int32_t, nvinfer1::DynamicPluginTensorDesc const*,
                         int32_t) noexcept override {}
    size_t getWorkspaceSize(PluginTensorDesc const*, int32_t, PluginTensorDesc const*,
                            int32_t) const noexcept override {
        return 0;
    }
};

// A block of a network, from a picture to another of its size; `Self` has kCompute, too.
template <class Self>
class Block : public Stateless<Self> {
public:
    static constexpr int32_t kOutputs = 1;

    DimsExprs getOutputDimensions(int32_t, DimsExprs const* inputs, int32_t, IExprBuilder&) noexcept override {
        return inputs[0];
    }
    int32_t enqueue(PluginTensorDesc const* inputs, PluginTensorDesc const*, void const* const* in, void* const* out,
                    void*, cudaStream_t stream) noexcept override {
        auto const* const size = inputs[0].dims.d;
        return Self::kCompute(size[1], in[0], in[1], in[2], in[3], out[0], size[0], size[2], size[3], stream);
    }
};

class ConvNeXtBlock final : public Block<ConvNeXtBlock> {
public:
    static constexpr char const* kName = "LitestereoConvNeXtBlock";
    static constexpr Wanted kWanted[] = {kPicture, kFloats, kHalves, kFloats, kPicture};
    static constexpr auto kCompute = litestereo::convnext_block;
};

class FasterNetBlock final : public Block<FasterNetBlock> {
public:
    static constexpr char const* kName = "LitestereoFasterNetBlock";
    static constexpr Wanted kWanted[] = {kPicture, kHalves, kHalves, kFloats, kPicture};
    static constexpr auto kCompute = litestereo::fasternet_block;
};

class DisparityHead final : public Stateless<DisparityHead> {
public:
    static constexpr char const* kName = "LitestereoDisparityHead";
    static constexpr int32_t kOutputs = 2;
    static constexpr Wanted kWanted[] = {kPicture, kPicture, kHalves, kFloats, kFloats};

    DimsExprs getOutputDimensions(int32_t, DimsExprs const* inputs, int32_t, IExprBuilder& make) noexcept override {
        DimsExprs size(inputs[1]);
        size.d[1] = make.constant(1);
        for (int axis : {2, 3})
            size.d[axis] = make.operation(nvinfer1::DimensionOperation::kPROD, *size.d[axis], *make.constant(2));
        return size;
    }
    size_t getWorkspaceSize(PluginTensorDesc const* inputs, int32_t, PluginTensorDesc const*,
                            int32_t) const noexcept override {
        auto const* const quarter = inputs[0].dims.d;
        return litestereo::head_workspace_bytes(quarter[0], 4 * quarter[2], 4 * quarter[3]);
    }
    int32_t enqueue(PluginTensorDesc const* inputs, PluginTensorDesc const*, void const* const* in, void* const* out,
                    void* workspace, cudaStream_t stream) noexcept override {
        auto const* const quarter = inputs[0].dims.d;
        return litestereo::disparity_head(in[0], in[1], in[2], out[0], out[1], workspace, quarter[0], 4 * quarter[2],
                                          4 * quarter[3], stream);
    }
};

template <class Plugin>
class Creator final : public nvinfer1::IPluginCreator {
public:
    char const* getPluginName() const noexcept override { return Plugin::kName; }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override { return &fields_; }
    nvinfer1::IPluginV2* createPlugin(char const*, nvinfer1::PluginFieldCollection const*) noexcept override {
        return new Plugin;
    }
    nvinfer1::IPluginV2* deserializePlugin(char const*, void const*, size_t) noexcept override { return new Plugin; }
    void setPluginNamespace(char const*) noexcept override {}
    char const* getPluginNamespace() const noexcept override { return ""; }

private:
    nvinfer1::PluginFieldCollection fields_{0, nullptr};
};

}  // namespace

// What TensorRT's `IPluginRegistry::loadLibrary` looks for.
extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder*) {}

extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreator* const* getPluginCreators(int32_t& count) {
    static Creator<ConvNeXtBlock> convnext;
    static Creator<FasterNetBlock> fasternet;
    static Creator<DisparityHead> head;
    static nvinfer1::IPluginCreator* const creators[] = {&convnext, &fasternet, &head};
    count = sizeof(creators) / sizeof(*creators);
    return creators;
}
