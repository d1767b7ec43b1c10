// A device of torch that is made of the CPU's memory, but whose tensors do not mix with those of the CPU, as on a GPU.
//
// Operations are done by the CPU's kernels. Memory starts with garbage. What torch would refuse on a GPU is refused:
// tensors on both devices in one operation, except numbers (no dimensions), copies, and indices of the CPU's.

// Not <torch/extension.h>, which takes twice the time to compile.
#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <set>
#include <string>
#include <torch/library.h>

using at::IntArrayRef;
using at::Tensor;
using c10::SymInt;
using c10::SymIntArrayRef;
using std::optional;

namespace {

constexpr auto KIND = c10::DeviceType::PrivateUse1;
const c10::Device DEVICE(KIND, 0);

struct Guard final : c10::impl::DeviceGuardImplInterface {
  Guard() = default;
  explicit Guard(c10::DeviceType) {}
  c10::DeviceType type() const override { return KIND; }
  c10::Device exchangeDevice(c10::Device) const override { return DEVICE; }
  c10::Device getDevice() const override { return DEVICE; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, DEVICE); }
  c10::Stream getNewStream(c10::Device, int) const override { return getStream(DEVICE); }
  c10::Stream getDefaultStream(c10::Device) const override { return getStream(DEVICE); }
  c10::Stream exchangeStream(c10::Stream) const override { return getStream(DEVICE); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Allocator final : at::Allocator {
  at::DataPtr allocate(size_t size) override {
    void* memory = c10::alloc_cpu(size);
    memset(memory, 0x7f, size);
    return {memory, memory, &release, DEVICE};
  }
  static void release(void* memory) {
    if (memory) c10::free_cpu(memory);
  }
  at::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t size) const override { memcpy(to, from, size); }
};
Allocator allocator;
REGISTER_ALLOCATOR(KIND, &allocator);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool isAvailable() const override { return true; }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::detail::createCPUGenerator(); }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return at::detail::getDefaultCPUGenerator();
  }
};

IntArrayRef ints(SymIntArrayRef sizes) { return C10_AS_INTARRAYREF_SLOW(sizes); }

// The tensor of the CPU with the same memory.
Tensor shared(const Tensor& tensor) {
  if (tensor.is_cpu()) return tensor;
  auto bytes = at::from_blob(
      tensor.storage().mutable_data(), {static_cast<int64_t>(tensor.storage().nbytes())}, [tensor](void*) {},
      at::TensorOptions().dtype(at::kByte));
  auto same = at::empty({0}, at::TensorOptions().dtype(tensor.dtype()));
  return same.set_(bytes.storage(), tensor.storage_offset(), tensor.sizes(), tensor.strides());
}

Tensor here(const Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  auto copy = at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(DEVICE));
  shared(copy).copy_(tensor);
  return copy;
}

Tensor empty(
    IntArrayRef size, optional<at::ScalarType> type, optional<at::Layout>, optional<at::Device>, optional<bool>,
    optional<at::MemoryFormat> format) {
  c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);
  return at::detail::empty_generic(size, &allocator, keys, c10::dtype_or_default(type), format);
}

Tensor empty_strided(
    IntArrayRef size, IntArrayRef stride, optional<at::ScalarType> type, optional<at::Layout>, optional<at::Device>,
    optional<bool>) {
  c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);
  return at::detail::empty_strided_generic(size, stride, &allocator, keys, c10::dtype_or_default(type));
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool) {
  shared(to).copy_(shared(from));
  return to;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, false);
}

const Tensor& resize(const Tensor& tensor, SymIntArrayRef size, optional<at::MemoryFormat>) {
  auto count = c10::multiply_integers(ints(size));
  auto needed = (count + tensor.storage_offset()) * tensor.dtype().itemsize();
  auto storage = tensor.storage();
  if (needed > storage.nbytes()) {
    auto memory = allocator.allocate(needed);
    memcpy(memory.get(), storage.data(), storage.nbytes());
    storage.set_data_ptr_noswap(std::move(memory));
    storage.set_nbytes(needed);
  }
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(ints(size));
  return tensor;
}

Tensor as_strided(const Tensor& tensor, SymIntArrayRef size, SymIntArrayRef stride, optional<SymInt> offset) {
  auto start = offset ? optional<int64_t>(offset->expect_int()) : std::nullopt;
  return at::native::as_strided_tensorimpl(tensor, ints(size), ints(stride), start);
}

Tensor view(const Tensor& tensor, SymIntArrayRef size) { return at::native::view(tensor, ints(size)); }

Tensor reshape_alias(const Tensor& tensor, SymIntArrayRef size, SymIntArrayRef stride) {
  return at::native::_reshape_alias(tensor, ints(size), ints(stride));
}

at::Scalar item(const Tensor& tensor) { return shared(tensor).item(); }

Tensor& set_storage(Tensor& tensor, at::Storage storage, SymInt offset, SymIntArrayRef size, SymIntArrayRef stride) {
  auto* own = tensor.unsafeGetTensorImpl();
  own->set_storage_keep_dtype(storage);
  own->set_storage_offset(offset.expect_int());
  own->set_sizes_and_strides(ints(size), ints(stride));
  return tensor;
}

Tensor& set_whole_storage(Tensor& tensor, at::Storage storage) {
  auto count = static_cast<int64_t>(storage.nbytes() / tensor.dtype().itemsize());
  return set_storage(tensor, storage, 0, c10::fromIntArrayRefSlow({count}), c10::fromIntArrayRefSlow({1}));
}

Tensor& set_tensor(Tensor& tensor, const Tensor& source) {
  return set_storage(tensor, source.storage(), source.storage_offset(), source.sym_sizes(), source.sym_strides());
}

void check_here(std::initializer_list<Tensor> tensors) {
  for (const auto& tensor : tensors) {
    TORCH_CHECK(!tensor.defined() || !tensor.is_cpu(), "Expected all tensors to be on the same device: convolution");
  }
}

Tensor convolution(
    const Tensor& input, const Tensor& weight, const optional<Tensor>& bias, SymIntArrayRef stride,
    SymIntArrayRef padding, SymIntArrayRef dilation, bool transposed, SymIntArrayRef output_padding, SymInt groups) {
  check_here({input, weight, bias.value_or(Tensor())});
  auto added = bias && bias->defined() ? optional<Tensor>(shared(*bias)) : std::nullopt;
  return here(at::convolution_symint(
      shared(input), shared(weight), added, stride, padding, dilation, transposed, output_padding, groups));
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(
    const Tensor& gradient, const Tensor& input, const Tensor& weight, SymIntArrayRef stride, SymIntArrayRef padding,
    SymIntArrayRef dilation, bool transposed, SymIntArrayRef output_padding, SymInt groups, std::array<bool, 3> mask) {
  check_here({gradient, input, weight});
  std::vector<SymInt> bias = {transposed ? weight.sym_size(1) * groups : weight.sym_size(0)};
  auto [of_input, of_weight, of_bias] = at::convolution_backward_symint(
      shared(gradient), shared(input), shared(weight), at::OptionalSymIntArrayRef(bias), stride, padding, dilation,
      transposed, output_padding, groups, mask);
  return {here(of_input), here(of_weight), here(of_bias)};
}

void on_the_cpu(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  static const std::set<std::string> with_indices = {
      "aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_", "aten::_unsafe_index"};
  const auto& name = operation.operator_name().name;
  bool of_the_cpu = false, of_the_device = false;
  auto look = [&](const Tensor& tensor) {
    if (!tensor.defined() || tensor.dim() == 0) return;
    (tensor.is_cpu() ? of_the_cpu : of_the_device) = true;
  };
  for (const auto& argument : torch::jit::last(*stack, operation.schema().arguments().size())) {
    if (argument.isTensor()) look(argument.toTensor());
    if (argument.isTensorList())
      for (const Tensor& tensor : argument.toTensorVector()) look(tensor);
    if (argument.isOptionalTensorList())
      for (const auto& tensor : argument.toOptionalTensorVector()) look(tensor.value_or(Tensor()));
  }
  TORCH_CHECK(
      !(of_the_cpu && of_the_device) || with_indices.count(name),
      "Expected all tensors to be on the same device: ", name);
  at::native::cpu_fallback(operation, stack, false);
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", TORCH_FN(empty));
  library.impl("empty_strided", TORCH_FN(empty_strided));
  library.impl("_copy_from", TORCH_FN(copy_from));
  library.impl("_copy_from_and_resize", TORCH_FN(copy_from_and_resize));
  library.impl("resize_", TORCH_FN(resize));
  library.impl("as_strided", TORCH_FN(as_strided));
  library.impl("view", TORCH_FN(view));
  library.impl("_reshape_alias", TORCH_FN(reshape_alias));
  library.impl("unfold", TORCH_FN(at::native::unfold));
  library.impl("_local_scalar_dense", TORCH_FN(item));
  library.impl("set_.source_Storage_storage_offset", TORCH_FN(set_storage));
  library.impl("set_.source_Storage", TORCH_FN(set_whole_storage));
  library.impl("set_.source_Tensor", TORCH_FN(set_tensor));
  library.impl("convolution_overrideable", TORCH_FN(convolution));
  library.impl("convolution_backward_overrideable", TORCH_FN(convolution_backward));
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&on_the_cpu>());
}

TORCH_LIBRARY_IMPL(_, AutogradPrivateUse1, library) { library.fallback(torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, library) { library.fallback(torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
  KERNEL_PRIVATEUSEONE(linear, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(conv2d, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(addmm, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(mm, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(bmm, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(matmul, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(cross_entropy_loss, fp32)
}

static const bool HOOKS = (at::RegisterPrivateUse1HooksInterface(new Hooks()), true);
