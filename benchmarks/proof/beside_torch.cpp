// torch's own memory and kernels in a process whose Python is not torch's: what `running.py
// beside-torch` calls. Compiled by proof.sh against the torch that is installed.
#include <torch/torch.h>
#include <cstring>
#include <vector>

static std::vector<torch::Tensor> held;

extern "C" {

const char* version() { return TORCH_VERSION; }

// Copies bytes into torch's memory on the GPU and gives its address; the tensor is kept.
void* to_gpu(void* host, size_t bytes) {
  auto picture = torch::from_blob(host, {static_cast<int64_t>(bytes)}, torch::kUInt8);
  held.push_back(picture.to(torch::kCUDA));
  return held.back().data_ptr();
}

// Copies bytes from the GPU; waits for the default stream.
void to_host(void* gpu, void* host, size_t bytes) {
  auto options = torch::TensorOptions().dtype(torch::kUInt8).device(torch::kCUDA);
  auto seen = torch::from_blob(gpu, {static_cast<int64_t>(bytes)}, options).cpu();
  std::memcpy(host, seen.data_ptr(), bytes);
}

// Returns a sum that is the same each time, out of a product of two fixed matrices.
double product_check(int side) {
  auto options = torch::TensorOptions().dtype(torch::kFloat32).device(torch::kCUDA);
  auto a = torch::arange(side * side, options).reshape({side, side}).remainder(7) - 3;
  auto b = torch::arange(side * side, options).reshape({side, side}).remainder(5) - 2;
  return torch::matmul(a, b).abs().sum().to(torch::kFloat64).item<double>();
}
}
