// TensorRT's view of `convnext_block.cuh`: a plugin without state. Its weights come as inputs from constants of the
// network, so an engine keeps and moves them as it does its own.
#include <NvInferRuntime.h>

#include <cstring>

#include "convnext_block.cuh"

namespace {

using nvinfer1::DataType;
using nvinfer1::TensorFormat;

constexpr char const* kName = "LitestereoConvNeXtBlock";
constexpr char const* kVersion = "1";

class ConvNeXtBlock final : public nvinfer1::IPluginV2DynamicExt {
public:
    char const* getPluginType() const noexcept override { return kName; }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    int32_t getNbOutputs() const noexcept override { return 1; }
    int32_t initialize() noexcept override { return 0; }
    void terminate() noexcept override {}
    size_t getSerializationSize() const noexcept override { return std::strlen(kVersion); }
    void serialize(void* buffer) const noexcept override { std::memcpy(buffer, kVersion, std::strlen(kVersion)); }
    void destroy() noexcept override { delete this; }
    void setPluginNamespace(char const*) noexcept override {}
    char const* getPluginNamespace() const noexcept override { return ""; }
    nvinfer1::IPluginV2DynamicExt* clone() const noexcept override { return new ConvNeXtBlock; }

    DataType getOutputDataType(int32_t, DataType const* types, int32_t) const noexcept override { return types[0]; }

    nvinfer1::DimsExprs getOutputDimensions(int32_t, nvinfer1::DimsExprs const* inputs, int32_t,
                                            nvinfer1::IExprBuilder&) noexcept override {
        return inputs[0];
    }

    // x, taps, weights, biases, result.
    bool supportsFormatCombination(int32_t at, nvinfer1::PluginTensorDesc const* tensors, int32_t,
                                   int32_t) noexcept override {
        static constexpr DataType kTypes[] = {DataType::kHALF, DataType::kFLOAT, DataType::kHALF, DataType::kFLOAT,
                                              DataType::kHALF};
        auto const format = at == 0 || at == 4 ? TensorFormat::kHWC8 : TensorFormat::kLINEAR;
        return tensors[at].type == kTypes[at] && tensors[at].format == format;
    }

    void configurePlugin(nvinfer1::DynamicPluginTensorDesc const*, int32_t, nvinfer1::DynamicPluginTensorDesc const*,
                         int32_t) noexcept override {}

    size_t getWorkspaceSize(nvinfer1::PluginTensorDesc const*, int32_t, nvinfer1::PluginTensorDesc const*,
                            int32_t) const noexcept override {
        return 0;
    }

    int32_t enqueue(nvinfer1::PluginTensorDesc const* descriptions, nvinfer1::PluginTensorDesc const*,
                    void const* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept override {
        auto const& size = descriptions[0].dims;
        return litestereo::convnext_block(size.d[1], inputs[0], inputs[1], inputs[2], inputs[3], outputs[0], size.d[0],
                                          size.d[2], size.d[3], stream);
    }
};

class Creator final : public nvinfer1::IPluginCreator {
public:
    char const* getPluginName() const noexcept override { return kName; }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override { return &fields_; }
    nvinfer1::IPluginV2* createPlugin(char const*, nvinfer1::PluginFieldCollection const*) noexcept override {
        return new ConvNeXtBlock;
    }
    nvinfer1::IPluginV2* deserializePlugin(char const*, void const*, size_t) noexcept override {
        return new ConvNeXtBlock;
    }
    void setPluginNamespace(char const*) noexcept override {}
    char const* getPluginNamespace() const noexcept override { return ""; }

private:
    nvinfer1::PluginFieldCollection fields_{0, nullptr};
};

}  // namespace

// Called once per process with what `getPluginRegistry` returns. TensorRT's own `loadLibrary` is not used: in a process
// with libtorch's symbols it ends in "free(): invalid pointer" (8.6).
extern "C" __attribute__((visibility("default"))) bool litestereo_register(nvinfer1::IPluginRegistry* registry) {
    static Creator creator;
    return registry->registerCreator(creator, "");
}
