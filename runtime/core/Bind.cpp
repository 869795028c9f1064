// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/core/Bind.h"
#include "runtime/core/Error.h"

#include <cstddef>
#include <string>

using namespace snug;

//===-- Texts for messages ----------------------------------------------------------------------------------------===//

static std::string shapeText(const int64_t *extents, int32_t rank) {
  if (rank > 0 && !extents)
    return "NULL";
  if (rank == 0)
    return "() (a scalar)";
  std::string text;
  for (int32_t i = 0; i < rank; ++i)
    text += (i ? "x" : "") + std::to_string(extents[i]);
  return text;
}

// The declared shape, as "[1, seq, past + 1]".
static std::string declaredText(const snug_value_info &value) {
  if (value.rank == 0)
    return "() (a scalar)";
  std::string text;
  for (int32_t i = 0; i < value.rank; ++i) {
    const snug_extent &extent = value.extents[i];
    text += (i ? ", " : "[") + (extent.symbol == -1 ? std::to_string(extent.offset) : extent.text ? extent.text : "?");
  }
  return text + "]";
}

// Of a value that a device has a part of, " (this device's part of 8 along dim 1)".
static std::string partText(const snug_model_header &header, const snug_value_info &value) {
  bool isInput = &value >= header.inputs && &value < header.inputs + header.num_inputs;
  const snug_value_cut *cuts = isInput ? inputCuts(header) : outputCuts(header);
  std::string text;
  for (int axis = 0; cuts && axis < 2; ++axis) {
    const snug_value_cut &cut = cuts[isInput ? &value - header.inputs : &value - header.outputs];
    if (cut.dim[axis] >= 0 && (axis == 0 || cut.dim[0] != cut.dim[1]))
      text += (text.empty() ? "" : " and ") + std::to_string(cut.extent[axis]) + " along dim " + std::to_string(cut.dim[axis]);
  }
  return text.empty() ? "" : " (one device's part of " + text + ")";
}

static std::string dtypeText(uint8_t code, uint8_t bits, uint16_t lanes) {
  static const char *const names[] = {"int", "uint", "float", nullptr, "bfloat", "complex"};
  static const char *const narrow[] = {"float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz",
                                       "float8_e8m0fnu", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"};
  std::string text;
  if (code == 6 && bits == 8)
    text = "bool";
  else if (code == kDLOpaqueHandle && bits == 128)
    text = "string";
  else if (code < 6 && names[code])
    text = names[code] + std::to_string(bits);
  else if (code >= 10 && code <= 17)
    text = narrow[code - 10];
  else
    text = "DLPack type " + std::to_string(code) + " of " + std::to_string(bits) + " bits";
  return lanes == 1 ? text : text + "x" + std::to_string(lanes);
}

static std::string subject(const char *kind, const snug_value_info &value) {
  return std::string(kind) + " '" + value.name + "'";
}

static std::string hasShape(const char *kind, const snug_value_info &value, const DLTensor &tensor) {
  return subject(kind, value) + " has shape " + shapeText(tensor.shape, tensor.ndim);
}

static std::string allows(const snug_dim_info &dim) {
  std::string text = std::string("dim '") + dim.name + "' ";
  if (dim.min == dim.max)
    return text + "was fixed at " + std::to_string(dim.min) + " when the model was compiled";
  text += "allows " + std::to_string(dim.min) + ".." + std::to_string(dim.max);
  return dim.step == 1 ? text : text + " in steps of " + std::to_string(dim.step);
}

// The named dims that a value's shape depends on, as " (seq=5)".
static std::string dimsText(const snug_model_header &header, const snug_value_info &value, const int64_t *dims) {
  std::string text;
  for (int32_t i = 0; i < value.rank; ++i) {
    int32_t symbol = value.extents[i].symbol;
    if (symbol < 0)
      continue;
    std::string item = std::string(header.dims[symbol].name) + "=" + std::to_string(dims[symbol]);
    if (text.find(item) == std::string::npos)
      text += (text.empty() ? "" : ", ") + item;
  }
  return text.empty() ? "" : " (" + text + ")";
}

[[noreturn]] static void fail(std::string message) { throw Failure(SNUG_EXIT_RUN, std::move(message)); }

//===-- Dims ------------------------------------------------------------------------------------------------------===//

static bool isAllowed(const snug_dim_info &dim, int64_t value) {
  return value >= dim.min && value <= dim.max && (dim.step <= 1 || (value - dim.min) % dim.step == 0);
}

void snug::checkDim(const snug_dim_info &dim, int64_t value) {
  if (!isAllowed(dim, value))
    fail(std::to_string(value) + " is given for '" + dim.name + "'; " + allows(dim));
}

void snug::checkDims(const snug_model_header &header, const int64_t *dims) {
  for (uint32_t i = 0; i < header.num_dims; ++i)
    checkDim(header.dims[i], dims[i]);
}

void snug::checkRequirements(const snug_model_header &header, const int64_t *dims) {
  // A model of an older compiler has a shorter header.
  bool hasUnmet = header.struct_size >= offsetof(snug_model_header, unmet) + sizeof(header.unmet) && header.unmet;
  uint32_t first = hasUnmet ? header.unmet(dims) : header.num_requirements;
  if (!hasUnmet || first >= header.num_requirements)
    return;
  std::string text = header.requirements[first], values;
  for (uint32_t i = 0; i < header.num_dims; ++i) {
    size_t at = text.find(header.dims[i].name);
    if (at != std::string::npos)
      values += (values.empty() ? "" : ", ") + std::string(header.dims[i].name) + "=" + std::to_string(dims[i]);
  }
  fail("the model needs " + text + ", but the inputs have " + values);
}

// Says where a dim got its value: the first of the earlier inputs that determines it, else the caller.
static std::string originText(const snug_model_header &header, uint32_t numInputs, int32_t symbol) {
  for (uint32_t n = 0; n < numInputs; ++n)
    for (int32_t i = 0; i < header.inputs[n].rank; ++i)
      if (header.inputs[n].extents[i].symbol == symbol)
        return std::string("input '") + header.inputs[n].name + "'";
  return "the caller";
}

static void bindExtent(const snug_model_header &header, const DLTensor *const *inputs, uint32_t n, int32_t i,
                       int64_t *dims) {
  const snug_value_info &value = header.inputs[n];
  const snug_extent &extent = value.extents[i];
  int64_t got = inputs[n]->shape[i];
  auto wrong = [&](const std::string &why) { fail(hasShape("input", value, *inputs[n]) + "; " + why); };
  if (got < 0)
    wrong("an extent cannot be negative");
  if (extent.symbol == -1 && got != extent.offset)
    wrong("expected " + declaredText(value) + partText(header, value));
  if (extent.symbol < 0 || extent.scale == 0)
    return;
  int64_t &dim = dims[extent.symbol];
  const snug_dim_info &info = header.dims[extent.symbol];
  int64_t rest;
  if (__builtin_sub_overflow(got, extent.offset, &rest) || rest % extent.scale != 0)
    wrong("expected " + declaredText(value) + ", which no whole number for '" + info.name + "' gives");
  int64_t solved = rest / extent.scale;
  if (!isAllowed(info, solved))
    wrong((extent.scale == 1 && extent.offset == 0
               ? ""
               : "so '" + std::string(info.name) + "' is " + std::to_string(solved) + ", but ") +
          allows(info));
  if (dim == kUnboundDim)
    dim = solved;
  else if (dim != solved)
    wrong("expected " + declaredText(value) + ", where dim '" + info.name + "' is " + std::to_string(dim) + " (from " +
          originText(header, n, extent.symbol) + ")");
}

uint32_t snug::numDataShapes(const snug_model_header &header) {
  return header.struct_size >= offsetof(snug_model_header, data_shapes) + sizeof(header.data_shapes) ? header.num_data_shapes : 0;
}

uint32_t snug::numMaps(const snug_model_header &header) {
  return header.struct_size >= offsetof(snug_model_header, maps) + sizeof(header.maps) ? header.num_maps : 0;
}

uint32_t snug::numValueDims(const snug_model_header &header) {
  return header.struct_size >= offsetof(snug_model_header, value_dims) + sizeof(header.value_dims) ? header.num_value_dims : 0;
}

template <class T> static int64_t elementAt(const void *data, uint64_t index) {
  T element = static_cast<const T *>(data)[index];
  return sizeof(T) == 8 && element > T(INT64_MAX) ? INT64_MAX : int64_t(element); // beyond any bound
}

static int64_t integerAt(const snug_dtype &dtype, const void *data, uint64_t index) {
  bool isUnsigned = dtype.code == kDLUInt;
  switch (dtype.bits) {
  case 8:
    return isUnsigned ? elementAt<uint8_t>(data, index) : elementAt<int8_t>(data, index);
  case 16:
    return isUnsigned ? elementAt<uint16_t>(data, index) : elementAt<int16_t>(data, index);
  case 32:
    return isUnsigned ? elementAt<uint32_t>(data, index) : elementAt<int32_t>(data, index);
  default:
    return isUnsigned ? elementAt<uint64_t>(data, index) : elementAt<int64_t>(data, index);
  }
}

// A dim that is an element of an input. The shape of such an input is fixed, and its rank at most 1.
static void bindValue(const snug_model_header &header, const snug_value_dim &value, const DLTensor &tensor, int64_t *dims) {
  const snug_value_info &input = header.inputs[value.input];
  int64_t extent = input.rank > 0 ? input.extents[0].offset : 1;
  // Read here, before anything runs: on a GPU it would have to be waited for.
  const void *data = checkTensor(header, "input", input, &extent, dims, &tensor, {kDLCPU, 0});
  int64_t got = integerAt(input.dtype, data, value.element);
  const snug_dim_info &dim = header.dims[value.dim];
  auto wrong = [&](const std::string &why) { // a run that succeeds makes no texts
    fail(subject("input", input) + (input.rank > 0 ? "[" + std::to_string(value.element) + "]" : "") + " is " +
         std::to_string(got) + why);
  };
  if (!isAllowed(dim, got))
    wrong("; " + allows(dim));
  if (dims[value.dim] != kUnboundDim && dims[value.dim] != got)
    wrong(", but dim '" + std::string(dim.name) + "' was set to " + std::to_string(dims[value.dim]));
  dims[value.dim] = got;
}

void snug::bindDims(const snug_model_header &header, const DLTensor *const *inputs, uint32_t numInputs, int64_t *dims) {
  if (numInputs != header.num_inputs)
    fail("the model takes " + std::to_string(header.num_inputs) + " inputs, got " + std::to_string(numInputs));
  for (uint32_t i = 0; i < header.num_dims; ++i)
    if (dims[i] == kUnboundDim && header.dims[i].min == header.dims[i].max)
      dims[i] = header.dims[i].min;
  for (uint32_t n = 0; n < numInputs; ++n) {
    const DLTensor *tensor = inputs ? inputs[n] : nullptr;
    if (!tensor)
      continue;
    if (tensor->ndim != header.inputs[n].rank || (tensor->ndim > 0 && !tensor->shape))
      fail(hasShape("input", header.inputs[n], *tensor) + "; expected " + declaredText(header.inputs[n]) + partText(header, header.inputs[n]));
    for (int32_t i = 0; i < tensor->ndim; ++i)
      bindExtent(header, inputs, n, i, dims);
  }
  for (uint32_t i = 0; i < numValueDims(header); ++i) {
    const snug_value_dim &value = header.value_dims[i];
    const DLTensor *tensor = inputs ? inputs[value.input] : nullptr;
    if (tensor && tensor->data)
      bindValue(header, value, *tensor, dims);
  }
  for (uint32_t i = 0; i < header.num_dims; ++i) {
    if (dims[i] == kUnboundDim)
      fail(std::string("dim '") + header.dims[i].name +
           "' is not known: no shape of an input determines it, so it has to be set (snug_context_set_dim, --dim " +
           header.dims[i].name + "=V)");
    checkDim(header.dims[i], dims[i]);
  }
  checkRequirements(header, dims);
}

//===-- Tensors ---------------------------------------------------------------------------------------------------===//

uint64_t snug::arenaNeed(const snug_model_header &header, const int64_t *dims) {
  // A model of an older compiler has a shorter header.
  bool hasNeed = header.struct_size >= offsetof(snug_model_header, arena_need) + sizeof(header.arena_need);
  return dims && hasNeed && header.arena_need ? header.arena_need(dims) : header.memory.arena_bytes;
}

uint32_t snug::deviceKind(const snug_model_header &header) {
  bool hasDevice = header.struct_size >= offsetof(snug_model_header, gpu_image_bytes) + sizeof(header.gpu_image_bytes);
  return hasDevice ? header.device : uint32_t(SNUG_DEVICE_CPU);
}

uint32_t snug::numContractions(const snug_model_header &header) {
  bool hasThem = header.struct_size >= offsetof(snug_model_header, contractions) + sizeof(header.contractions);
  return hasThem ? header.num_contractions : 0;
}

const char *snug::precisionOf(const snug_model_header &header) {
  bool hasIt = header.struct_size >= offsetof(snug_model_header, precision) + sizeof(header.precision);
  return hasIt && header.precision ? header.precision : "f32";
}

bool snug::hasContraction(const snug_model_header &header, bool isConvolution) {
  bool has = false;
  for (uint32_t i = 0; i < numContractions(header); ++i)
    has |= (header.contractions[i].spatial != 0) == isConvolution;
  return has;
}

uint32_t snug::numRanks(const snug_model_header &header) {
  bool hasMesh = header.struct_size >= offsetof(snug_model_header, rank_weights) + sizeof(header.rank_weights);
  return hasMesh ? header.mesh[0] * header.mesh[1] : 0;
}

static bool hasCuts(const snug_model_header &header) {
  return header.struct_size >= offsetof(snug_model_header, output_cuts) + sizeof(header.output_cuts);
}
const snug_value_cut *snug::inputCuts(const snug_model_header &header) { return hasCuts(header) ? header.input_cuts : nullptr; }
const snug_value_cut *snug::outputCuts(const snug_model_header &header) { return hasCuts(header) ? header.output_cuts : nullptr; }

uint64_t snug::textBytes(const snug_model_header &header) {
  bool hasText = header.struct_size >= offsetof(snug_model_header, text_bytes) + sizeof(header.text_bytes);
  return hasText ? header.text_bytes : 0;
}

uint64_t snug::numExtents(const snug_model_header &header) {
  uint64_t count = 0;
  for (uint32_t i = 0; i < header.num_inputs; ++i)
    count += header.inputs[i].rank;
  for (uint32_t i = 0; i < header.num_outputs; ++i)
    count += header.outputs[i].rank;
  return count;
}

uint64_t snug::tensorBytes(const snug_value_info &value, const int64_t *extents) {
  int64_t count = 1, bits;
  for (int32_t i = 0; i < value.rank; ++i) // an empty tensor stays empty, whatever its other extents
    if (extents[i] == 0)
      return 0;
  bool overflow = false;
  for (int32_t i = 0; i < value.rank; ++i)
    overflow |= extents[i] < 0 || __builtin_mul_overflow(count, extents[i], &count);
  int64_t stored = value.dtype.bits < 8 ? 8 : value.dtype.bits; // less than a byte takes one
  overflow |= __builtin_mul_overflow(count, stored * value.dtype.lanes, &bits);
  if (overflow)
    fail(std::string("'") + value.name + "' of shape " + shapeText(extents, value.rank) + " is too large");
  return (uint64_t(bits) + 7) / 8;
}

static bool isCompact(const DLTensor &tensor) {
  if (!tensor.strides)
    return true;
  int64_t expected = 1;
  for (int32_t i = 0; i < tensor.ndim; ++i) // the strides of an empty tensor say nothing
    if (tensor.shape[i] == 0)
      return true;
  for (int32_t i = tensor.ndim; i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected)
      return false;
    expected *= tensor.shape[i];
  }
  return true;
}

bool snug::isOnHost(const DLDevice &device) { return device.device_type == kDLCPU || device.device_type == kDLCUDAHost; }

static bool isAt(const DLDevice &device, const DLDevice &place) {
  bool isCuda = device.device_type == kDLCUDA || device.device_type == kDLCUDAManaged;
  return isCuda && place.device_type == kDLCUDA && device.device_id == place.device_id;
}

static std::string deviceText(const DLDevice &device) {
  if (device.device_type == kDLCUDA)
    return "CUDA device " + std::to_string(device.device_id);
  return "DLPack device type " + std::to_string(int(device.device_type));
}

void *snug::checkTensor(const snug_model_header &header, const char *kind, const snug_value_info &value, const int64_t *extents,
                        const int64_t *dims, const DLTensor *tensor, const DLDevice &place) {
  if (!tensor)
    fail(subject(kind, value) + " is NULL; expected shape " + shapeText(extents, value.rank) +
         dimsText(header, value, dims));
  bool sameShape = tensor->ndim == value.rank && (value.rank == 0 || tensor->shape);
  for (int32_t i = 0; sameShape && i < value.rank; ++i)
    sameShape = tensor->shape[i] == extents[i];
  if (!sameShape)
    fail(hasShape(kind, value, *tensor) + "; expected " + shapeText(extents, value.rank) +
         dimsText(header, value, dims) + partText(header, value));
  const DLDataType &dtype = tensor->dtype;
  if (dtype.code != value.dtype.code || dtype.bits != value.dtype.bits || dtype.lanes != value.dtype.lanes)
    fail(subject(kind, value) + " has dtype " + dtypeText(dtype.code, dtype.bits, dtype.lanes) + "; expected " +
         dtypeText(value.dtype.code, value.dtype.bits, value.dtype.lanes));
  bool isHost = isOnHost(tensor->device);
  if (!isHost && !isAt(tensor->device, place))
    fail(subject(kind, value) + " is on " + deviceText(tensor->device) + "; expected " +
         (place.device_type == kDLCPU ? "the CPU (1)" : deviceText(place) + ", where the model runs, or the CPU") +
         ": copy it there first");
  if (!isCompact(*tensor))
    fail(subject(kind, value) + " is not dense row-major; make it contiguous first");
  if (tensorBytes(value, extents) == 0)
    return tensor->data;
  if (!tensor->data)
    fail(subject(kind, value) + " has no data (data is NULL)");
  auto address = reinterpret_cast<uintptr_t>(tensor->data) + tensor->byte_offset;
  uint64_t align = value.dtype.bits / 8u; // a complex number is aligned as its parts are
  align = value.dtype.code == kDLComplex ? align / 2 : align;
  if (align > 1 && address % align != 0)
    fail(subject(kind, value) + " is not aligned to its elements' " + std::to_string(align) + " bytes");
  if (!isHost && address % SNUG_GPU_TENSOR_ALIGNMENT != 0)
    fail(subject(kind, value) + " is not aligned to " + std::to_string(SNUG_GPU_TENSOR_ALIGNMENT) +
         " bytes, as kernels on a GPU need it: it is a view into another tensor; copy it to one of its own");
  return reinterpret_cast<void *>(address);
}
