// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/Convolutions.h"

#include <algorithm>

using namespace snug;
using namespace snug::cuda;
using namespace snug::cudnn;

// Whether an engine with these numerical notes computes what Snug promises of operands of that type, in the way that is worth a call.
// Products of 16 bits are exact and summed in f32, those of f32 are f32's; and a run gives the same bits each time. Of the transforms
// that save products, only Winograd's smallest, of sums and halves, leaves f32 as precise as it is. Of 16 bits, the generated kernel
// multiplies on tensor cores, too: an engine without them would be slower.
static bool isWanted(const std::vector<NumericalNote> &notes, DataType type, bool allowTf32) {
  auto has = [&](NumericalNote note) { return std::find(notes.begin(), notes.end(), note) != notes.end(); };
  if (has(kDownConvertInputs) || has(kReducedPrecisionReduction) || has(kNondeterministic) || has(kFft))
    return false;
  if (type != kFloat32)
    return !has(kWinograd) && has(kTensorCore);
  return (!has(kWinograd) || has(kWinogradTile4x4)) && (!has(kTensorCore) || allowTf32);
}

//===-- Descriptors -----------------------------------------------------------------------------------------------===//

class convolutions::Descriptor {
public:
  Descriptor(const Library &lib, Kind kind) : lib(lib) { status = lib.cudnnBackendCreateDescriptor(kind, &handle); }
  Descriptor(const Descriptor &) = delete;
  Descriptor &operator=(const Descriptor &) = delete;
  ~Descriptor() {
    if (handle)
      lib.cudnnBackendDestroyDescriptor(handle);
  }
  // What follows the first failure is not done.
  Descriptor &set(Attribute attribute, Type type, int64_t count, const void *values) {
    if (status == cudnn::kSuccess)
      status = lib.cudnnBackendSetAttribute(handle, attribute, type, count, values);
    return *this;
  }
  template <class Number> Descriptor &setNumber(Attribute attribute, Type type, Number value) { return set(attribute, type, 1, &value); }
  Descriptor &setNumbers(Attribute attribute, const std::vector<int64_t> &values) {
    return set(attribute, kTypeInt64, int64_t(values.size()), values.data());
  }
  Descriptor &setDescriptor(Attribute attribute, const Descriptor &other) {
    status = status == cudnn::kSuccess ? other.status : status;
    return set(attribute, kTypeDescriptor, 1, &other.handle);
  }
  Descriptor &finalize() {
    if (status == cudnn::kSuccess)
      status = lib.cudnnBackendFinalize(handle);
    return *this;
  }
  // How many there are; of descriptors, `values` are some to fill.
  int64_t get(Attribute attribute, Type type, int64_t asked, void *values) {
    int64_t count = 0;
    if (status == cudnn::kSuccess)
      status = lib.cudnnBackendGetAttribute(handle, attribute, type, asked, &count, values);
    return status == cudnn::kSuccess ? count : 0;
  }
  bool isGood() const { return status == cudnn::kSuccess; }

  const Library &lib;
  BackendDesc handle = nullptr;
  Status status = cudnn::kSuccess;
};

static DataType typeOf(const snug_dtype &type) { return type.code == 4 ? kBFloat16 : type.bits == 16 ? kFloat16 : kFloat32; }

namespace {
// Tensors by what the library knows them by; those from kNumTensors on are none in memory.
enum Tensor : int64_t { kInput, kFilters, kOther, kResult, kBias, kNumTensors };
} // namespace

// Whether c is read beside the result, and not where that will be.
static bool readsOther(const snug_contraction &contraction, const snug_convolution_shape &s) { return contraction.beta != 0 && s.c != s.d; }

// The operations, as the library has them: a convolution and what follows on its sums.
namespace {
using convolutions::Descriptor;
using Shape = snug_convolution_shape;

class OperationGraph {
public:
  OperationGraph(const Library &lib, const snug_contraction &contraction, const Shape &s)
      : lib(lib), s(s), type(typeOf(contraction.operands)), rank(std::max(2u, contraction.spatial)), spatial(contraction.spatial) {
    // What no window reaches of a slice is left out where the result would be larger with it.
    for (size_t i = 0; i < 3; ++i) {
      int64_t reach = (s.window[i] - 1) * s.dilation[i] + 1;
      in[i] = (s.in[i] - reach) / s.step[i] + 1 == s.out[i] ? s.in[i] : (s.out[i] - 1) * s.step[i] + reach;
    }
  }

  // Null where it takes none of that.
  Descriptor *make(const snug_contraction &contraction, Handle handle) {
    bool hasOther = readsOther(contraction, s), hasBias = contraction.flags & SNUG_CONTRACTION_BIAS;
    bool hasRelu = contraction.flags & SNUG_CONTRACTION_RELU;
    int left = hasOther + hasBias + hasRelu; // operations behind the convolution
    bool adds = contraction.beta != 0 && !hasOther; // to what is where the result will be, which graphs of one operation can
    if (adds && left)
      return nullptr;
    std::vector<int64_t> made = extents(s.batch, s.filters, s.out);
    auto result = [&]() -> Descriptor & {
      return left-- ? tensor(kNumTensors + left, kFloat32, made, s.strides_d, 0) : tensor(kResult, type, made, s.strides_d, s.d);
    };

    Descriptor &convolution = add(kConvolution);
    std::vector<int64_t> nothing(rank, 0);
    convolution.setNumber(kConvolutionType, kTypeDataType, kFloat32).setNumber(kConvolutionMode, kTypeConvolutionMode, kCrossCorrelation);
    convolution.setNumber(kConvolutionSpatialDims, kTypeInt64, int64_t(rank)).setNumbers(kConvolutionDilations, ofSpatial(s.dilation));
    convolution.setNumbers(kConvolutionStrides, ofSpatial(s.step)).setNumbers(kConvolutionPaddingBefore, nothing);
    convolution.setNumbers(kConvolutionPaddingAfter, nothing).finalize();
    Descriptor &input = tensor(kInput, type, extents(s.batch, s.channels, in), s.strides_a, s.a);
    Descriptor &filters = tensor(kFilters, type, extents(s.filters, s.channels / s.groups, s.window), s.strides_b, s.b);
    Descriptor *sums = &result();
    Descriptor &forward = add(kConvolutionForward);
    forward.setDescriptor(kForwardConvolution, convolution).setDescriptor(kForwardInput, input).setDescriptor(kForwardFilters, filters);
    forward.setDescriptor(kForwardResult, *sums).setNumber(kForwardAlpha, kTypeFloat, float(contraction.alpha));
    operations.push_back(&forward.setNumber(kForwardBeta, kTypeFloat, adds ? float(contraction.beta) : 0.0f).finalize());

    auto follow = [&](PointwiseModes mode, Descriptor *other, float factor) {
      Descriptor &pointwise = add(kPointwise), &operation = add(kPointwiseOperation), &to = result();
      pointwise.setNumber(kPointwiseMode, kTypePointwiseMode, mode).setNumber(kPointwisePrecision, kTypeDataType, kFloat32).finalize();
      operation.setDescriptor(kOperationPointwise, pointwise).setDescriptor(kOperationInput, *sums).setDescriptor(kOperationResult, to);
      if (other)
        operation.setDescriptor(kOperationOther, *other).setNumber(kOperationOtherAlpha, kTypeFloat, factor);
      operations.push_back(&operation.finalize());
      sums = &to;
    };
    if (hasOther)
      follow(kAdd, &tensor(kOther, type, made, s.strides_c, s.c), float(contraction.beta));
    if (hasBias) {
      const int64_t one[3] = {1, 1, 1}, strides[5] = {s.filters, 1, 1, 1, 1};
      follow(kAdd, &tensor(kBias, type, extents(1, s.filters, one), strides, s.bias), 1);
    }
    if (hasRelu)
      follow(kRelu, nullptr, 1);

    Descriptor &graph = add(kGraph);
    std::vector<BackendDesc> handles;
    for (Descriptor *one : operations)
      handles.push_back(one->handle);
    graph.setNumber(kGraphHandle, kTypeHandle, handle);
    graph.set(kGraphOperations, kTypeDescriptor, int64_t(handles.size()), handles.data());
    return std::all_of(parts.begin(), parts.end(), [](auto &part) { return part->isGood(); }) && graph.finalize().isGood() ? &graph : nullptr;
  }

  std::vector<std::unique_ptr<Descriptor>> parts;

private:
  Descriptor &add(Kind kind) { return *parts.emplace_back(std::make_unique<Descriptor>(lib, kind)); }

  // It has no convolutions over one spatial dim: those are over two, the first of which is of one element.
  std::vector<int64_t> ofSpatial(const int64_t (&values)[3], int64_t missing = 1) const {
    std::vector<int64_t> all(rank - spatial, missing);
    all.insert(all.end(), values, values + spatial);
    return all;
  }
  std::vector<int64_t> extents(int64_t first, int64_t channels, const int64_t (&places)[3]) const {
    std::vector<int64_t> all = ofSpatial(places);
    all.insert(all.begin(), {first, channels});
    return all;
  }
  // It tells layouts by the strides of dims of one element, too: those are as if there were more.
  std::vector<int64_t> stridesOf(const std::vector<int64_t> &extents, const int64_t (&strides)[5]) const {
    std::vector<int64_t> all(rank - spatial, 0);
    all.insert(all.begin(), {strides[0], strides[1]});
    all.insert(all.end(), strides + 2, strides + 2 + spatial);
    std::vector<size_t> order; // from the inside out
    for (size_t i = all.size(); i-- > 0;)
      order.push_back(i);
    int64_t nextPlace = 0; // between the innermost neighbours in space
    for (size_t i = all.size(); i-- > 2 && !nextPlace;)
      nextPlace = extents[i] > 1 ? all[i] : 0;
    if (extents[1] > 1 && nextPlace > all[1]) // channels of a place lie side by side
      std::rotate(order.begin(), order.end() - 2, order.end() - 1);
    int64_t next = 1;
    for (size_t i : order) {
      all[i] = extents[i] == 1 ? next : all[i];
      next = all[i] * extents[i];
    }
    return all;
  }
  // Without an address it is none in memory.
  Descriptor &tensor(int64_t id, DataType element, const std::vector<int64_t> &extents, const int64_t (&strides)[5], int64_t address) {
    Descriptor &made = add(cudnn::kTensor);
    made.setNumber(kTensorType, kTypeDataType, element).setNumbers(kTensorExtents, extents).setNumbers(kTensorStrides, stridesOf(extents, strides));
    made.setNumber(kTensorId, kTypeInt64, id).setNumber(kTensorAlignment, kTypeInt64, int64_t(alignmentOf(address)));
    if (id >= kNumTensors)
      made.setNumber(kTensorIsVirtual, kTypeBool, true);
    return made.finalize();
  }

  const Library &lib;
  const Shape &s;
  int64_t in[3];
  DataType type;
  size_t rank, spatial;
  std::vector<Descriptor *> operations;
};
} // namespace

convolutions::Choice::Choice() = default;
convolutions::Choice::~Choice() = default;

//===-- Choices ---------------------------------------------------------------------------------------------------===//

Convolutions::Convolutions(const snug_model_header &header, const std::string &device) : ChosenCalls(header), lib(library()) {
  if (Status status = lib.cudnnCreate(&handle); status != cudnn::kSuccess)
    throw Failure(SNUG_EXIT_MACHINE, "cuDNN cannot be used on " + device + ": " + cudnn::errorText(status) +
                                         "; repair its installation, or compile the model with --gpu-libraries cublaslt or none");
}

Convolutions::~Convolutions() {
  choices.clear();
  lib.cudnnDestroy(handle);
}

// Takes the configuration if it keeps what Snug promises and fits the workspace that is planned.
bool Convolutions::takeConfig(Choice &choice, std::unique_ptr<Descriptor> config, const snug_contraction &contraction) {
  auto engine = std::make_unique<Descriptor>(lib, kEngine);
  config->get(kConfigEngine, kTypeDescriptor, 1, &engine->handle);
  constexpr int64_t most = 64; // there are ten by now
  std::vector<NumericalNote> notes(most);
  notes.resize(size_t(std::clamp<int64_t>(engine->get(kEngineNotes, kTypeNumericalNote, most, notes.data()), 0, most)));
  if (!config->isGood() || !engine->isGood() || 
      !isWanted(notes, typeOf(contraction.operands), contraction.flags & SNUG_CONTRACTION_TF32))
    return false;
  auto plan = std::make_unique<Descriptor>(lib, kPlan);
  int64_t bytes = 0;
  plan->setNumber(kPlanHandle, kTypeHandle, handle).setDescriptor(kPlanConfig, *config).finalize();
  plan->get(kPlanWorkspaceBytes, kTypeInt64, 1, &bytes);
  if (!plan->isGood() || bytes < 0 || uint64_t(bytes) > header.workspace_bytes)
    return false;
  choice.plan = plan.get();
  choice.isFound = true;
  for (auto *part : {&engine, &config, &plan})
    choice.parts.push_back(std::move(*part));
  return true;
}

// Takes the first that will do, in the order of what the library thinks is fastest; what always works comes last.
void Convolutions::choose(Choice &choice, const snug_contraction &contraction, const Shape &s) {
  if (std::min({s.batch, s.in[0], s.in[1], s.in[2], s.out[0], s.out[1], s.out[2]}) < 1)
    return;
  OperationGraph graph(lib, contraction, s);
  Descriptor *operations = graph.make(contraction, handle);
  choice.parts = std::move(graph.parts);
  for (HeuristicModes mode : {kModeA, kFallback}) {
    if (!operations)
      break;
    Descriptor heuristic(lib, kHeuristic);
    heuristic.setDescriptor(kHeuristicGraph, *operations).setNumber(cudnn::kHeuristicMode, kTypeHeuristicMode, mode).finalize();
    int64_t count = heuristic.get(kHeuristicResults, kTypeDescriptor, 0, nullptr);
    std::vector<std::unique_ptr<Descriptor>> configs;
    std::vector<BackendDesc> handles;
    for (int64_t i = 0; i < count; ++i) {
      configs.push_back(std::make_unique<Descriptor>(lib, kEngineConfig));
      handles.push_back(configs.back()->handle);
    }
    count = std::min(count, heuristic.get(kHeuristicResults, kTypeDescriptor, count, handles.data()));
    for (int64_t i = 0; i < count; ++i)
      if (takeConfig(choice, std::move(configs[size_t(i)]), contraction))
        return;
  }
  choice.parts.clear();
}

//===-- Runs ------------------------------------------------------------------------------------------------------===//

// Where tensors are, which a caller may change from run to run.
Status Convolutions::pack(Choice &choice, const snug_contraction &contraction, const Shape &s) {
  std::array<int64_t, 6> addresses{s.a, s.b, s.c, s.d, s.bias, s.workspace};
  if (choice.pack && choice.packed == addresses)
    return cudnn::kSuccess;
  std::vector<int64_t> ids;
  std::vector<void *> places;
  for (int64_t id = 0; id < kNumTensors; ++id)
    if ((id != kOther || readsOther(contraction, s)) && (id != kBias || contraction.flags & SNUG_CONTRACTION_BIAS)) {
      ids.push_back(id);
      places.push_back(reinterpret_cast<void *>(addresses[size_t(id)]));
    }
  choice.pack = std::make_unique<Descriptor>(lib, kVariantPack);
  choice.pack->setNumbers(kPackIds, ids).set(kPackAddresses, kTypePointer, int64_t(places.size()), places.data());
  choice.pack->setNumber(kPackWorkspace, kTypePointer, reinterpret_cast<void *>(s.workspace)).finalize();
  choice.packed = addresses;
  return choice.pack->status;
}

int Convolutions::start(Choice &choice, const snug_contraction &contraction, const Shape &s, Stream stream) {
  Status status = pack(choice, contraction, s);
  if (status == cudnn::kSuccess && current != stream)
    status = lib.cudnnSetStream(handle, stream);
  if (status != cudnn::kSuccess) {
    choice.pack.reset();
    return status;
  }
  current = stream;
  return lib.cudnnBackendExecute(handle, choice.plan->handle, choice.pack->handle);
}
