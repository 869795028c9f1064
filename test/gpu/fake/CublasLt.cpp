// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What stands in for cuBLASLt in tests: libcublasLt.so.13 on top of the fake driver, with the functions that Snug's runtime uses,
// written from NVIDIA's documentation of them. It computes in the order of k, in f32 (of operands rounded to tf32, where that is allowed) or
// f64, and checks what it is given: layouts,
// types, alignments, workspace, and that all memory is the device's.
//
// The first call of each kernel on a handle loads it, which cannot be while a stream is captured. What an algorithm takes on the device is
// made up: those that are offered first are not the fastest.
//
// Environment: SNUG_FAKE_CUBLASLT=none offers no algorithm, =greedy one that needs more workspace than it may have, =refuses takes none that
// cublasLtMatmulAlgoCheck is asked about; SNUG_FAKE_CUBLASLT_VERSION=130000.

#include "test/gpu/fake/Elements.h"
#include "test/gpu/fake/Hooks.h"

#include "runtime/cuda/CublasLt.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

using namespace snug;
using namespace snug::cublaslt;
using namespace snug::fake;

#define API extern "C" __attribute__((visibility("default")))

namespace {
constexpr uint64_t kMagic = 0x4c74616c676f;

struct Context {
  int device;
  std::set<uint64_t> loaded; // kernels
};
struct Desc {
  ComputeType compute;
  DataType scale;
  int32_t transposes[2] = {kPlain, kPlain};
  uint32_t epilogue = kDefault;
  const void *bias = nullptr;
};
struct Layout {
  DataType type;
  uint64_t rows, columns;
  int64_t ld;
  int32_t batch = 1;
  int64_t stride = 0;
};
struct Wishes {
  uint64_t workspaceBytes = 0;
  uint32_t schemes = kAnyScheme, alignments[4] = {256, 256, 256, 256};
};

// How an algorithm sums: all of k at once, or two halves whose sums go through the workspace.
struct Plan {
  uint64_t magic, problem, workspaceBytes;
  uint32_t isSplit, alignment;
  double milliseconds; // on the device
};
static_assert(sizeof(Plan) <= sizeof(Algorithm));

struct Problem {
  Desc desc;
  Layout a, b, c, d;
  uint64_t m, n, k;
};
struct Call {
  Problem problem;
  Plan plan;
  double alpha, beta;
  const uint8_t *a, *b, *c;
  uint8_t *d, *workspace;
};
} // namespace

static std::string settingOf(const char *name, const char *otherwise) {
  const char *text = getenv(name);
  return text ? text : otherwise;
}

static Status fault(const std::string &text, Status status = cublaslt::kInvalidValue) {
  snug_fake_cuda_fault(("cuBLASLt: " + text).c_str());
  return status;
}

// To 10 bits of mantissa, to nearest, ties away from zero.
static double roundedToTF32(double value) {
  float single = float(value);
  if (!std::isfinite(single))
    return single;
  uint32_t bits;
  memcpy(&bits, &single, 4);
  bits = (bits + 0x1000) & ~0x1fffu;
  memcpy(&single, &bits, 4);
  return single;
}

static Element elementOf(DataType type) {
  return type == kFloat64 ? Element::F64 : type == kFloat32 ? Element::F32 : type == kFloat16 ? Element::F16 : Element::BF16;
}
static size_t bytesOf(DataType type) { return fake::bytesOf(elementOf(type)); }
static double load(DataType type, const uint8_t *at) { return fake::load(elementOf(type), at); }

//===-- Descriptors -----------------------------------------------------------------------------------------------===//

API Status cublasLtCreate(Handle *handle) {
  Status status = snug_fake_cuda_refused("cublasLtCreate");
  if (!status)
    status = snug_fake_cuda_device() < 0 ? cublaslt::kNotInitialized : cublaslt::kSuccess;
  *handle = status ? nullptr : new Context{snug_fake_cuda_device(), {}};
  snug_fake_cuda_log("cublasLtCreate", "", status);
  return status;
}
API Status cublasLtDestroy(Handle handle) {
  delete static_cast<Context *>(handle);
  return cublaslt::kSuccess;
}
API size_t cublasLtGetVersion() { return strtoull(settingOf("SNUG_FAKE_CUBLASLT_VERSION", "130000").c_str(), nullptr, 10); }
API const char *cublasLtGetStatusName(Status status) {
  switch (status) {
  case cublaslt::kSuccess:
    return "CUBLAS_STATUS_SUCCESS";
  case cublaslt::kNotInitialized:
    return "CUBLAS_STATUS_NOT_INITIALIZED";
  case kExecutionFailed:
    return "CUBLAS_STATUS_EXECUTION_FAILED";
  case kNotSupported:
    return "CUBLAS_STATUS_NOT_SUPPORTED";
  default:
    return "CUBLAS_STATUS_INVALID_VALUE";
  }
}

API Status cublasLtMatmulDescCreate(MatmulDesc *desc, ComputeType compute, DataType scale) {
  *desc = new Desc{compute, scale};
  return cublaslt::kSuccess;
}
API Status cublasLtMatmulDescDestroy(MatmulDesc desc) {
  delete static_cast<Desc *>(desc);
  return cublaslt::kSuccess;
}

// Sets a field of exactly that size.
template <class Field> static Status setField(Field &field, const void *value, size_t bytes) {
  if (!value || bytes != sizeof(Field))
    return fault("an attribute of " + std::to_string(sizeof(Field)) + " bytes was given " + std::to_string(bytes));
  memcpy(&field, value, bytes);
  return cublaslt::kSuccess;
}

API Status cublasLtMatmulDescSetAttribute(MatmulDesc handle, DescAttribute attribute, const void *value, size_t bytes) {
  auto &desc = *static_cast<Desc *>(handle);
  switch (attribute) {
  case kTransposeA:
    return setField(desc.transposes[0], value, bytes);
  case kTransposeB:
    return setField(desc.transposes[1], value, bytes);
  case kEpilogue:
    return setField(desc.epilogue, value, bytes);
  case kBiasPointer:
    return setField(desc.bias, value, bytes);
  }
  return fault("attribute " + std::to_string(attribute) + " of a product is not known");
}

API Status cublasLtMatrixLayoutCreate(MatrixLayout *layout, DataType type, uint64_t rows, uint64_t columns, int64_t ld) {
  *layout = new Layout{type, rows, columns, ld};
  return cublaslt::kSuccess;
}
API Status cublasLtMatrixLayoutDestroy(MatrixLayout layout) {
  delete static_cast<Layout *>(layout);
  return cublaslt::kSuccess;
}
API Status cublasLtMatrixLayoutSetAttribute(MatrixLayout handle, LayoutAttribute attribute, const void *value, size_t bytes) {
  auto &layout = *static_cast<Layout *>(handle);
  return attribute == kBatchCount    ? setField(layout.batch, value, bytes)
         : attribute == kBatchStride ? setField(layout.stride, value, bytes)
                                     : fault("attribute " + std::to_string(attribute) + " of a layout is not known");
}

API Status cublasLtMatmulPreferenceCreate(Preference *preference) {
  *preference = new Wishes;
  return cublaslt::kSuccess;
}
API Status cublasLtMatmulPreferenceDestroy(Preference preference) {
  delete static_cast<Wishes *>(preference);
  return cublaslt::kSuccess;
}
API Status cublasLtMatmulPreferenceSetAttribute(Preference handle, PreferenceAttribute attribute, const void *value, size_t bytes) {
  auto &wishes = *static_cast<Wishes *>(handle);
  switch (attribute) {
  case kMaxWorkspaceBytes:
    return setField(wishes.workspaceBytes, value, bytes);
  case kReductionSchemes:
    return setField(wishes.schemes, value, bytes);
  case kAlignmentA:
  case kAlignmentB:
  case kAlignmentC:
  case kAlignmentD:
    return setField(wishes.alignments[attribute - kAlignmentA], value, bytes);
  }
  return fault("attribute " + std::to_string(attribute) + " of a preference is not known");
}

//===-- Products --------------------------------------------------------------------------------------------------===//

// What is asked for, if it is one of the products that the documentation lists; else says what is not.
static Status problemOf(const Desc &desc, const Layout &a, const Layout &b, const Layout &c, const Layout &d, Problem &problem) {
  problem = {desc, a, b, c, d, d.rows, d.columns, desc.transposes[0] ? a.rows : a.columns};
  const Problem &p = problem;
  bool isDouble = desc.compute == kCompute64F && desc.scale == kFloat64;
  bool isRounded = desc.compute == kCompute32FFastTF32;
  bool isSingle = (desc.compute == kCompute32F || isRounded) && desc.scale == kFloat32;
  bool isNarrow = a.type == kFloat16 || a.type == kBFloat16;
  if (a.type != b.type || c.type != d.type || !(isDouble ? a.type == kFloat64 && d.type == kFloat64
                                                         : isSingle && ((a.type == kFloat32 && d.type == kFloat32) ||
                                                                        (isNarrow && !isRounded && (d.type == a.type || d.type == kFloat32)))))
    return fault("there is no product of these types", kNotSupported);
  auto is = [](const Layout &matrix, bool transposed, uint64_t rows, uint64_t columns) {
    return (transposed ? matrix.columns : matrix.rows) == rows && (transposed ? matrix.rows : matrix.columns) == columns;
  };
  if (!is(a, desc.transposes[0], p.m, p.k) || !is(b, desc.transposes[1], p.k, p.n) || !is(c, false, p.m, p.n))
    return fault("the matrices do not fit together");
  for (const Layout *matrix : {&a, &b, &c, &d})
    if (!matrix->rows || !matrix->columns || matrix->ld < int64_t(matrix->rows) || matrix->batch != d.batch || d.batch < 1)
      return fault("a leading dimension is shorter than a column, or batches differ");
  constexpr uint32_t known[] = {kDefault, kRelu, kBias, kRelu | kBias, kGelu, kGelu | kBias};
  bool hasEpilogue = std::find(std::begin(known), std::end(known), desc.epilogue) != std::end(known);
  if (!hasEpilogue || (isDouble && desc.epilogue != kDefault))
    return fault("there is no epilogue " + std::to_string(desc.epilogue) + " of these types", kNotSupported);
  if (desc.epilogue & kBias && !desc.bias)
    return fault("an epilogue with a bias has none");
  return cublaslt::kSuccess;
}

// A number that tells problems apart, addresses left out.
static uint64_t fingerprint(Problem problem) {
  problem.desc.bias = nullptr;
  uint64_t hash = 14695981039346656037u;
  auto mix = [&](uint64_t value) { hash = (hash ^ value) * 1099511628211u; };
  for (uint64_t value : {uint64_t(problem.desc.compute), uint64_t(problem.desc.transposes[0]), uint64_t(problem.desc.transposes[1]),
                         uint64_t(problem.desc.epilogue)})
    mix(value);
  for (const Layout *matrix : {&problem.a, &problem.b, &problem.c, &problem.d})
    for (uint64_t value : {uint64_t(matrix->type), matrix->rows, matrix->columns, uint64_t(matrix->ld), uint64_t(matrix->batch), uint64_t(matrix->stride)})
      mix(value);
  return hash;
}

API Status cublasLtMatmulAlgoGetHeuristic(Handle handle, MatmulDesc desc, MatrixLayout a, MatrixLayout b, MatrixLayout c, MatrixLayout d,
                                          Preference preference, int asked, HeuristicResult *results, int *found) {
  *found = 0;
  if (!handle || asked < 1)
    return cublaslt::kNotInitialized;
  Problem problem;
  if (Status status = problemOf(*static_cast<Desc *>(desc), *static_cast<Layout *>(a), *static_cast<Layout *>(b), *static_cast<Layout *>(c),
                                *static_cast<Layout *>(d), problem))
    return status;
  const auto &wishes = *static_cast<Wishes *>(preference);
  std::string setting = settingOf("SNUG_FAKE_CUBLASLT", "");
  uint32_t alignment = *std::min_element(wishes.alignments, wishes.alignments + 4);
  uint64_t partial = 2 * problem.m * problem.n * uint64_t(problem.d.batch) * bytesOf(problem.desc.scale), counters = 4096;
  std::vector<Plan> plans;
  uint64_t number = fingerprint(problem);
  if (setting == "greedy")
    plans.push_back({kMagic, number, wishes.workspaceBytes + 1, 1, 1, 1});
  else if (setting != "none") {
    bool canSplit = problem.k >= 32 && wishes.schemes & kInComputeType && alignment >= 16;
    if (canSplit && partial + counters <= wishes.workspaceBytes)
      plans.push_back({kMagic, number, partial + counters, 1, 16, 3000});
    if (alignment >= 16)
      plans.push_back({kMagic, number, 0, 0, 16, 2000});
    plans.push_back({kMagic, number, 0, 0, uint32_t(bytesOf(problem.a.type)), 1000});
  }
  for (const Plan &plan : plans)
    if (*found < asked) {
      HeuristicResult result{};
      memcpy(&result.algorithm, &plan, sizeof plan);
      result.workspaceBytes = plan.workspaceBytes;
      results[(*found)++] = result;
    }
  std::string fields = ", \"m\": " + std::to_string(problem.m) + ", \"n\": " + std::to_string(problem.n) + ", \"k\": " + std::to_string(problem.k) +
                       ", \"found\": " + std::to_string(*found);
  Status status = *found ? cublaslt::kSuccess : kNotSupported;
  snug_fake_cuda_log("cublasLtMatmulAlgoGetHeuristic", fields.c_str(), status);
  return status;
}

API Status cublasLtMatmulAlgoCheck(Handle handle, MatmulDesc desc, MatrixLayout a, MatrixLayout b, MatrixLayout c, MatrixLayout d,
                                   const Algorithm *algorithm, HeuristicResult *result) {
  Problem problem;
  if (Status status = problemOf(*static_cast<Desc *>(desc), *static_cast<Layout *>(a), *static_cast<Layout *>(b), *static_cast<Layout *>(c),
                                *static_cast<Layout *>(d), problem))
    return status;
  Plan plan;
  memcpy(&plan, algorithm, sizeof plan);
  bool isOne = handle && plan.magic == kMagic && plan.problem == fingerprint(problem) && settingOf("SNUG_FAKE_CUBLASLT", "") != "refuses";
  result->workspaceBytes = plan.workspaceBytes;
  return result->state = isOne ? cublaslt::kSuccess : cublaslt::kInvalidValue;
}

// A number for each kernel that there would be.
static uint64_t kernelOf(const Call &call) {
  const Problem &p = call.problem;
  uint64_t number = 0;
  for (uint64_t value : {uint64_t(p.desc.compute), uint64_t(p.a.type), uint64_t(p.d.type), uint64_t(p.desc.transposes[0]), uint64_t(p.desc.transposes[1]),
                         uint64_t(p.desc.epilogue), uint64_t(p.d.batch > 1), uint64_t(call.plan.isSplit), uint64_t(call.plan.alignment)})
    number = number * 101 + value;
  return number;
}

// Column-major, as BLAS has it: element (i, j) is at i + j ld.
static void multiply(const void *argument) {
  const Call &call = *static_cast<const Call *>(argument);
  const Problem &p = call.problem;
  bool isDouble = p.desc.compute == kCompute64F, isRounded = p.desc.compute == kCompute32FFastTF32;
  snug_fake_cuda_spend(call.plan.milliseconds);
  if (call.plan.workspaceBytes) // whoever has something there loses it
    memset(call.workspace, 0xff, call.plan.workspaceBytes);
  auto read = [](const Layout &layout, const uint8_t *base, int64_t instance, uint64_t i, uint64_t j, bool transposed) {
    uint64_t row = transposed ? j : i, column = transposed ? i : j;
    return load(layout.type, base + (instance * layout.stride + int64_t(row + column * uint64_t(layout.ld))) * int64_t(bytesOf(layout.type)));
  };
  for (int64_t instance = 0; instance < p.d.batch; ++instance)
    for (uint64_t j = 0; j < p.n; ++j)
      for (uint64_t i = 0; i < p.m; ++i) {
        float sums[2] = {0, 0};
        double wide = 0;
        for (uint64_t l = 0; l < p.k; ++l) {
          double left = read(p.a, call.a, instance, i, l, p.desc.transposes[0]), right = read(p.b, call.b, instance, l, j, p.desc.transposes[1]);
          if (isRounded)
            left = roundedToTF32(left), right = roundedToTF32(right);
          wide += left * right;
          float &sum = sums[call.plan.isSplit && l >= p.k / 2];
          sum = std::fma(float(left), float(right), sum);
        }
        double sum = isDouble ? wide : double(sums[0] + sums[1]);
        double value = call.alpha * sum + (call.beta != 0 ? call.beta * read(p.c, call.c, instance, i, j, false) : 0);
        if (p.desc.epilogue & kBias)
          value += load(p.d.type, static_cast<const uint8_t *>(p.desc.bias) + i * bytesOf(p.d.type));
        if (p.desc.epilogue & kRelu)
          value = std::max(value, 0.0);
        if (p.desc.epilogue & kGelu)
          value = value / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (value + 0.044715 * value * value * value)));
        store(elementOf(p.d.type), value, call.d + (instance * p.d.stride + int64_t(i + j * uint64_t(p.d.ld))) * int64_t(bytesOf(p.d.type)));
      }
}

static Span spanOf(const Layout &layout, const void *at) {
  int64_t elements = (layout.batch - 1) * layout.stride + int64_t(layout.columns - 1) * layout.ld + int64_t(layout.rows);
  auto *begin = static_cast<const uint8_t *>(at);
  return {begin, begin + elements * int64_t(bytesOf(layout.type))};
}

static Status check(const Call &call, const Algorithm *algorithm, size_t workspaceBytes, int device) {
  const Problem &p = call.problem;
  const Plan &plan = call.plan;
  if (!algorithm || plan.magic != kMagic || plan.problem != fingerprint(p))
    return fault("the algorithm was not chosen for this product", kNotSupported);
  Span spans[] = {spanOf(p.a, call.a), spanOf(p.b, call.b), spanOf(p.d, call.d), spanOf(p.c, call.c)};
  size_t count = call.beta != 0 ? 4 : 3;
  for (size_t i = 0; i < count; ++i) {
    if (!snug_fake_cuda_has(spans[i].begin, size_t(spans[i].end - spans[i].begin), device))
      return fault("matrix " + std::to_string(i) + " is not in the device's memory");
    if (reinterpret_cast<uintptr_t>(spans[i].begin) % plan.alignment)
      return fault("matrix " + std::to_string(i) + " is not aligned to " + std::to_string(plan.alignment) + " bytes, as the algorithm needs");
  }
  bool isInPlace = call.c == call.d && p.c.ld == p.d.ld && p.c.stride == p.d.stride;
  if (spans[2].meets(spans[0]) || spans[2].meets(spans[1]) || (count == 4 && !isInPlace && spans[2].meets(spans[3])))
    return fault("the result lies on what is read");
  if (p.desc.epilogue & kBias && !snug_fake_cuda_has(p.desc.bias, p.m * bytesOf(p.d.type), device))
    return fault("the bias is not in the device's memory");
  if (p.d.batch > 1 && p.d.stride == 0)
    return fault("all of a batch write to one result");
  if (plan.workspaceBytes == 0)
    return cublaslt::kSuccess;
  Span workspace{call.workspace, call.workspace + plan.workspaceBytes};
  if (plan.workspaceBytes > workspaceBytes || reinterpret_cast<uintptr_t>(call.workspace) % 256)
    return fault("the algorithm needs " + std::to_string(plan.workspaceBytes) + " bytes of workspace, and has " + std::to_string(workspaceBytes));
  if (!snug_fake_cuda_has(call.workspace, workspaceBytes, device))
    return fault("the workspace is not in the device's memory");
  for (size_t i = 0; i < count; ++i)
    if (workspace.meets(spans[i]))
      return fault("the workspace lies on a matrix");
  return cublaslt::kSuccess;
}

API Status cublasLtMatmul(Handle handle, MatmulDesc desc, const void *alpha, const void *a, MatrixLayout layoutA, const void *b, MatrixLayout layoutB,
                          const void *beta, const void *c, MatrixLayout layoutC, void *d, MatrixLayout layoutD, const Algorithm *algorithm,
                          void *workspace, size_t workspaceBytes, void *stream) {
  auto factor = [&](const void *at) { return load(static_cast<Desc *>(desc)->scale, static_cast<const uint8_t *>(at)); };
  auto bytes = [](const void *at) { return static_cast<const uint8_t *>(at); };
  auto call = std::make_unique<Call>();
  Status status = snug_fake_cuda_refused("cublasLtMatmul");
  if (!status)
    status = problemOf(*static_cast<Desc *>(desc), *static_cast<Layout *>(layoutA), *static_cast<Layout *>(layoutB), *static_cast<Layout *>(layoutC),
                       *static_cast<Layout *>(layoutD), call->problem);
  Plan plan{};
  if (algorithm)
    memcpy(&plan, algorithm, sizeof plan);
  *call = Call{call->problem, plan, factor(alpha), factor(beta), bytes(a), bytes(b), bytes(c), static_cast<uint8_t *>(d), static_cast<uint8_t *>(workspace)};
  int device = static_cast<Context *>(handle)->device;
  if (!status && device != snug_fake_cuda_device())
    status = fault("the current context is not the one of the handle");
  if (!status)
    status = check(*call, algorithm, workspaceBytes, device);
  if (!status && static_cast<Context *>(handle)->loaded.insert(kernelOf(*call)).second && snug_fake_cuda_is_captured(stream))
    status = fault("the first call of a kernel is in a capture, where it cannot be loaded", kExecutionFailed);
  const Problem &p = call->problem;
  std::string fields = ", \"m\": " + std::to_string(p.m) + ", \"n\": " + std::to_string(p.n) + ", \"k\": " + std::to_string(p.k) + ", \"epilogue\": " +
                       std::to_string(p.desc.epilogue) + ", \"compute\": " + std::to_string(p.desc.compute) + ", \"beta\": " + std::to_string(int(call->beta != 0)) + ", \"workspace\": " +
                       std::to_string(plan.workspaceBytes) + ", \"split\": " + std::to_string(plan.isSplit);
  if (!status && snug_fake_cuda_enqueue(stream, "cublasLtMatmul", multiply, call.release(), [](void *gone) { delete static_cast<Call *>(gone); }))
    status = kExecutionFailed;
  snug_fake_cuda_log("cublasLtMatmul", fields.c_str(), status);
  return status;
}
