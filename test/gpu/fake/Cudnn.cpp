// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What stands in for cuDNN in tests: libcudnn.so.9 on top of the fake driver, with the functions that Snug's runtime uses, written from
// NVIDIA's documentation of its graph API. Each attribute has to be known, of its type and count, and set before its descriptor is
// finalized; graphs have to be convolutions with what its engines can do behind them. CudnnEngines.cpp computes.
//
// Environment: SNUG_FAKE_CUDNN=none offers no engine, =greedy one that needs more workspace than any model has, =rough only engines
// that round more than Snug allows.

#include "test/gpu/fake/Cudnn.h"
#include "test/gpu/fake/Hooks.h"

#include <cstdlib>
#include <cstring>

using namespace snug;
using namespace snug::cudnn;
using namespace snug::fake;

#define API extern "C" __attribute__((visibility("default")))

static Status fault(const std::string &text, Status status = cudnn::kBadParam) {
  snug_fake_cuda_fault(("cuDNN: " + text).c_str());
  return status;
}

//===-- Attributes ------------------------------------------------------------------------------------------------===//

namespace {
enum Need { kOptional, kRequired };
struct Rule {
  Kind kind;
  Attribute attribute;
  Type type;
  int64_t count; // 0: any number
  Need need;
};
constexpr Rule kRules[] = {
    {cudnn::kTensor, kTensorType, kTypeDataType, 1, kRequired},
    {cudnn::kTensor, kTensorExtents, kTypeInt64, 0, kRequired},
    {cudnn::kTensor, kTensorStrides, kTypeInt64, 0, kRequired},
    {cudnn::kTensor, kTensorId, kTypeInt64, 1, kRequired},
    {cudnn::kTensor, kTensorAlignment, kTypeInt64, 1, kRequired},
    {cudnn::kTensor, kTensorIsVirtual, kTypeBool, 1, kOptional},
    {kConvolution, kConvolutionType, kTypeDataType, 1, kRequired},
    {kConvolution, kConvolutionMode, kTypeConvolutionMode, 1, kRequired},
    {kConvolution, kConvolutionSpatialDims, kTypeInt64, 1, kRequired},
    {kConvolution, kConvolutionDilations, kTypeInt64, 0, kRequired},
    {kConvolution, kConvolutionStrides, kTypeInt64, 0, kRequired},
    {kConvolution, kConvolutionPaddingBefore, kTypeInt64, 0, kRequired},
    {kConvolution, kConvolutionPaddingAfter, kTypeInt64, 0, kRequired},
    {kPointwise, cudnn::kPointwiseMode, kTypePointwiseMode, 1, kRequired},
    {kPointwise, kPointwisePrecision, kTypeDataType, 1, kRequired},
    {kConvolutionForward, kForwardConvolution, kTypeDescriptor, 1, kRequired},
    {kConvolutionForward, kForwardInput, kTypeDescriptor, 1, kRequired},
    {kConvolutionForward, kForwardFilters, kTypeDescriptor, 1, kRequired},
    {kConvolutionForward, kForwardResult, kTypeDescriptor, 1, kRequired},
    {kConvolutionForward, kForwardAlpha, kTypeFloat, 1, kRequired},
    {kConvolutionForward, kForwardBeta, kTypeFloat, 1, kRequired},
    {kPointwiseOperation, kOperationPointwise, kTypeDescriptor, 1, kRequired},
    {kPointwiseOperation, kOperationInput, kTypeDescriptor, 1, kRequired},
    {kPointwiseOperation, kOperationOther, kTypeDescriptor, 1, kOptional},
    {kPointwiseOperation, kOperationResult, kTypeDescriptor, 1, kRequired},
    {kPointwiseOperation, kOperationOtherAlpha, kTypeFloat, 1, kOptional},
    {kGraph, kGraphHandle, kTypeHandle, 1, kRequired},
    {kGraph, kGraphOperations, kTypeDescriptor, 0, kRequired},
    {kHeuristic, kHeuristicGraph, kTypeDescriptor, 1, kRequired},
    {kHeuristic, cudnn::kHeuristicMode, kTypeHeuristicMode, 1, kRequired},
    {kPlan, kPlanHandle, kTypeHandle, 1, kRequired},
    {kPlan, kPlanConfig, kTypeDescriptor, 1, kRequired},
    {kVariantPack, kPackIds, kTypeInt64, 0, kRequired},
    {kVariantPack, kPackAddresses, kTypePointer, 0, kRequired},
    {kVariantPack, kPackWorkspace, kTypePointer, 1, kRequired},
};

size_t bytesOf(Type type) {
  switch (type) {
  case kTypeBool:
    return 1;
  case kTypeInt64:
  case kTypeHandle:
  case kTypePointer:
  case kTypeDescriptor:
    return 8;
  default: // enumerations and floats
    return 4;
  }
}
} // namespace

API Status cudnnBackendSetAttribute(BackendDesc handle, Attribute attribute, Type type, int64_t count, const void *values) {
  auto &desc = *static_cast<Desc *>(handle);
  if (!handle || !values)
    return fault("an attribute is set from nowhere");
  if (desc.isFinal)
    return fault("attribute " + std::to_string(attribute) + " is set of a descriptor that is finalized");
  for (const Rule &rule : kRules) {
    if (rule.kind != desc.kind || rule.attribute != attribute)
      continue;
    if (rule.type != type || count < 1 || (rule.count && rule.count != count))
      return fault("attribute " + std::to_string(attribute) + " has another type or number of values");
    Value &value = desc.values[attribute];
    value.count = count;
    value.bytes.assign(static_cast<const char *>(values), static_cast<const char *>(values) + size_t(count) * ::bytesOf(type));
    for (int64_t i = 0; type == kTypeDescriptor && i < count; ++i) {
      Desc *other = desc.others(attribute)[size_t(i)];
      if (other && other->isFinal)
        continue;
      desc.values.erase(attribute);
      return fault("attribute " + std::to_string(attribute) + " is a descriptor that is not finalized", kNotFinalized);
    }
    return cudnn::kSuccess;
  }
  return fault("attribute " + std::to_string(attribute) + " of a descriptor of kind " + std::to_string(desc.kind) + " is not known");
}

//===-- Graphs ----------------------------------------------------------------------------------------------------===//

static Status readTensor(const Desc &desc) {
  auto extents = desc.all<int64_t>(kTensorExtents), strides = desc.all<int64_t>(kTensorStrides);
  if (extents.size() != strides.size() || extents.size() < 3 || extents.size() > 5)
    return fault("a tensor has " + std::to_string(extents.size()) + " extents and " + std::to_string(strides.size()) + " strides");
  for (size_t i = 0; i < extents.size(); ++i)
    if (extents[i] < 1 || strides[i] < 1)
      return fault("a tensor has an extent or a stride below 1");
  auto alignment = desc.get<int64_t>(kTensorAlignment);
  if (alignment < 1 || alignment & (alignment - 1))
    return fault("an alignment is no power of two");
  return cudnn::kSuccess;
}

static TensorInfo tensorOf(const Desc &desc) {
  DataType type = desc.get<DataType>(kTensorType);
  Element element = type == kFloat32 ? Element::F32 : type == kFloat16 ? Element::F16 : Element::BF16;
  return {desc.get<int64_t>(kTensorId), element, desc.all<int64_t>(kTensorExtents), desc.all<int64_t>(kTensorStrides),
          desc.get<int64_t>(kTensorAlignment), desc.has(kTensorIsVirtual) && desc.get<bool>(kTensorIsVirtual)};
}

// The operations of a graph, if they are a convolution of those that the documentation has; else says what is not.
static Status readGraph(Desc &graph) {
  Problem p;
  int64_t last = -1;
  for (Desc *operation : graph.others(kGraphOperations)) {
    auto of = [&](Attribute attribute) { return tensorOf(*operation->others(attribute)[0]); };
    if (operation->kind == kConvolutionForward && last < 0) {
      const Desc &how = *operation->others(kForwardConvolution)[0];
      p.input = of(kForwardInput);
      p.filters = of(kForwardFilters);
      p.result = of(kForwardResult);
      p.steps = how.all<int64_t>(kConvolutionStrides);
      p.dilations = how.all<int64_t>(kConvolutionDilations);
      p.alpha = operation->get<float>(kForwardAlpha);
      p.beta = operation->get<float>(kForwardBeta);
      if (how.get<DataType>(kConvolutionType) != kFloat32 || how.get<ConvolutionModes>(kConvolutionMode) != kCrossCorrelation)
        return fault("a convolution is not summed in f32, or is turned around");
      if (p.beta != 0 && p.result.isVirtual)
        return fault("a convolution adds to what is not in memory", kNotSupported);
      for (Attribute padding : {kConvolutionPaddingBefore, kConvolutionPaddingAfter})
        for (int64_t one : how.all<int64_t>(padding))
          if (one != 0 || how.all<int64_t>(padding).size() != p.steps.size())
            return fault("a convolution has padding, which Snug has not");
    } else if (operation->kind == kPointwiseOperation && last >= 0) {
      const Desc &how = *operation->others(kOperationPointwise)[0];
      auto mode = how.get<PointwiseModes>(cudnn::kPointwiseMode);
      if (of(kOperationInput).id != last || !of(kOperationInput).isVirtual || (mode == kAdd) != operation->has(kOperationOther))
        return fault("an operation is not behind the one before, or has no other operand", kNotSupported);
      if (mode == kAdd) {
        TensorInfo other = of(kOperationOther);
        bool isVector = other.extents != of(kOperationResult).extents;
        if ((isVector ? p.hasBias : p.hasOther || p.hasBias) || p.hasRelu)
          return fault("there is no engine for operations in that order", kNotSupported);
        (isVector ? p.hasBias : p.hasOther) = true;
        (isVector ? p.bias : p.other) = other;
        (isVector ? p.biasFactor : p.otherFactor) = operation->get<float>(kOperationOtherAlpha);
      } else if (mode != kRelu || p.hasRelu) {
        return fault("there is no engine for pointwise mode " + std::to_string(mode), kNotSupported);
      }
      p.hasRelu |= mode == kRelu;
      p.result = of(kOperationResult);
    } else {
      return fault("a graph is no convolution with pointwise operations behind it", kNotSupported);
    }
    if (last = p.result.id; p.result.isVirtual != (operation != graph.others(kGraphOperations).back()))
      return fault("what is between operations is virtual, and nothing else", kNotSupported);
  }
  std::string problem = p.problem();
  if (!problem.empty())
    return fault(problem, kNotSupported);
  graph.problem = std::make_shared<Problem>(p);
  return cudnn::kSuccess;
}

//===-- Descriptors -----------------------------------------------------------------------------------------------===//

API Status cudnnBackendCreateDescriptor(Kind kind, BackendDesc *descriptor) {
  *descriptor = new Desc{kind};
  return cudnn::kSuccess;
}

API Status cudnnBackendDestroyDescriptor(BackendDesc descriptor) {
  delete static_cast<Desc *>(descriptor);
  return cudnn::kSuccess;
}

API Status cudnnBackendFinalize(BackendDesc handle) {
  auto &desc = *static_cast<Desc *>(handle);
  if (desc.isFinal)
    return fault("a descriptor is finalized twice");
  for (const Rule &rule : kRules)
    if (rule.kind == desc.kind && rule.need == kRequired && !desc.has(rule.attribute))
      return fault("a descriptor of kind " + std::to_string(desc.kind) + " lacks attribute " + std::to_string(rule.attribute));
  Status status = cudnn::kSuccess;
  if (desc.kind == cudnn::kTensor)
    status = readTensor(desc);
  else if (desc.kind == kGraph)
    status = readGraph(desc);
  else if (desc.kind == kHeuristic)
    desc.problem = desc.others(kHeuristicGraph)[0]->problem;
  else if (desc.kind == kPlan) {
    const Desc &config = *desc.others(kPlanConfig)[0];
    desc.problem = config.problem;
    desc.engine = config.engine;
    if (desc.engine.fails) // as engines do that find out late
      return kNotSupported;
  }
  desc.isFinal = status == cudnn::kSuccess;
  return status;
}

API Status cudnnBackendGetAttribute(BackendDesc handle, Attribute attribute, Type type, int64_t asked, int64_t *count, void *values) {
  auto &desc = *static_cast<Desc *>(handle);
  auto others = static_cast<BackendDesc *>(values);
  if (!desc.isFinal)
    return fault("attribute " + std::to_string(attribute) + " is asked for of a descriptor that is not finalized", kNotFinalized);
  if (desc.kind == kHeuristic && attribute == kHeuristicResults && type == kTypeDescriptor) {
    const char *setting = getenv("SNUG_FAKE_CUDNN");
    std::vector<Engine> engines = enginesOf(*desc.problem, desc.get<HeuristicModes>(cudnn::kHeuristicMode), setting ? setting : "");
    *count = int64_t(engines.size());
    for (int64_t i = 0; i < asked && i < *count; ++i) {
      auto &config = *static_cast<Desc *>(others[i]);
      if (config.kind != kEngineConfig || config.isFinal)
        return fault("results of a heuristic go to no configurations");
      config.isFinal = true;
      config.problem = desc.problem;
      config.engine = engines[size_t(i)];
    }
    std::string fields = ", \"mode\": " + std::to_string(desc.get<HeuristicModes>(cudnn::kHeuristicMode)) + ", \"found\": " + std::to_string(*count);
    if (asked)
      snug_fake_cuda_log("cudnnHeuristic", fields.c_str(), 0);
  } else if (desc.kind == kEngineConfig && attribute == kConfigEngine && type == kTypeDescriptor && asked == 1) {
    auto &engine = *static_cast<Desc *>(others[0]);
    if (engine.kind != kEngine || engine.isFinal)
      return fault("the engine of a configuration goes to no engine");
    engine.isFinal = true;
    engine.engine = desc.engine;
    *count = 1;
  } else if (desc.kind == kEngine && attribute == kEngineNotes && type == kTypeNumericalNote) {
    *count = int64_t(desc.engine.notes.size());
    for (int64_t i = 0; i < asked && i < *count; ++i)
      memcpy(static_cast<char *>(values) + 4 * i, &desc.engine.notes[size_t(i)], 4);
  } else if (desc.kind == kPlan && attribute == kPlanWorkspaceBytes && type == kTypeInt64 && asked == 1) {
    *count = 1;
    memcpy(values, &desc.engine.workspaceBytes, 8);
  } else {
    return fault("attribute " + std::to_string(attribute) + " of a descriptor of kind " + std::to_string(desc.kind) + " cannot be asked for so");
  }
  return cudnn::kSuccess;
}

//===-- Handles and runs ------------------------------------------------------------------------------------------===//

API Status cudnnCreate(Handle *handle) {
  Status status = snug_fake_cuda_refused("cudnnCreate");
  if (!status)
    status = snug_fake_cuda_device() < 0 ? cudnn::kNotInitialized : cudnn::kSuccess;
  *handle = status ? nullptr : new Context{snug_fake_cuda_device(), nullptr};
  snug_fake_cuda_log("cudnnCreate", "", status);
  return status;
}

API Status cudnnDestroy(Handle handle) {
  delete static_cast<Context *>(handle);
  return cudnn::kSuccess;
}

API Status cudnnSetStream(Handle handle, void *stream) {
  static_cast<Context *>(handle)->stream = stream;
  return cudnn::kSuccess;
}

API const char *cudnnGetErrorString(Status status) {
  switch (status) {
  case cudnn::kSuccess:
    return "CUDNN_STATUS_SUCCESS";
  case cudnn::kNotInitialized:
    return "CUDNN_STATUS_NOT_INITIALIZED";
  case cudnn::kNotSupported:
    return "CUDNN_STATUS_NOT_SUPPORTED";
  case cudnn::kExecutionFailed:
    return "CUDNN_STATUS_EXECUTION_FAILED";
  default:
    return "CUDNN_STATUS_BAD_PARAM";
  }
}

// Where everything is, if the plan can work with that.
static Status readPack(const Desc &plan, const Desc &pack, int device, Call &call) {
  const Problem &p = *plan.problem;
  auto ids = pack.all<int64_t>(kPackIds);
  auto places = pack.all<uint8_t *>(kPackAddresses);
  std::vector<const TensorInfo *> tensors = p.tensors();
  if (ids.size() != places.size() || ids.size() != tensors.size())
    return fault("a pack has " + std::to_string(ids.size()) + " ids and " + std::to_string(places.size()) + " addresses for " +
                 std::to_string(tensors.size()) + " tensors");
  std::vector<Span> spans;
  for (const TensorInfo *tensor : tensors) {
    auto found = std::find(ids.begin(), ids.end(), tensor->id);
    if (found == ids.end())
      return fault("a pack lacks tensor " + std::to_string(tensor->id));
    uint8_t *at = places[size_t(found - ids.begin())];
    call.places[tensor->id] = at;
    spans.push_back({at, at + tensor->bytes()});
    if (!snug_fake_cuda_has(at, tensor->bytes(), device))
      return fault("tensor " + std::to_string(tensor->id) + " is not in the device's memory");
    if (reinterpret_cast<uintptr_t>(at) % uintptr_t(tensor->alignment))
      return fault("tensor " + std::to_string(tensor->id) + " is not aligned as it was said to be");
  }
  call.workspace = pack.get<uint8_t *>(kPackWorkspace);
  auto bytes = size_t(plan.engine.workspaceBytes);
  if (bytes) {
    if (!snug_fake_cuda_has(call.workspace, bytes, device) || reinterpret_cast<uintptr_t>(call.workspace) % 16)
      return fault("the workspace is not " + std::to_string(bytes) + " aligned bytes of the device's memory");
    spans.push_back({call.workspace, call.workspace + bytes});
  }
  for (size_t i = 0; i < spans.size(); ++i) // the result is the first
    for (size_t j : {size_t(0), tensors.size()})
      if (j < spans.size() && i != j && spans[i].meets(spans[j]))
        return fault("the result or the workspace lies on something else");
  return cudnn::kSuccess;
}

API Status cudnnBackendExecute(Handle handle, BackendDesc planHandle, BackendDesc packHandle) {
  const auto &plan = *static_cast<Desc *>(planHandle), &pack = *static_cast<Desc *>(packHandle);
  auto &context = *static_cast<Context *>(handle);
  auto call = std::make_unique<Call>();
  Status status = snug_fake_cuda_refused("cudnnBackendExecute");
  if (!status && (plan.kind != kPlan || pack.kind != kVariantPack || !plan.isFinal || !pack.isFinal))
    status = fault("a plan or a pack is none, or is not finalized", kNotFinalized);
  if (!status && context.device != snug_fake_cuda_device())
    status = fault("the current context is not the one of the handle");
  if (!status && plan.get<Handle>(kPlanHandle) != handle)
    status = fault("the plan is another handle's");
  if (!status)
    status = readPack(plan, pack, context.device, *call);
  std::string fields;
  if (!status) {
    call->problem = *plan.problem;
    call->engine = plan.engine;
    fields = call->problem.fields() + ", \"engine\": \"" + plan.engine.name + "\", \"workspace\": " + std::to_string(plan.engine.workspaceBytes);
    if (snug_fake_cuda_enqueue(context.stream, "cudnnBackendExecute", convolve, call.release(), [](void *gone) { delete static_cast<Call *>(gone); }))
      status = kExecutionFailed;
  }
  snug_fake_cuda_log("cudnnBackendExecute", fields.c_str(), status);
  return status;
}
