// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/Contractions.h"

#include <algorithm>
#include <climits>

using namespace snug;
using namespace snug::cuda;
using namespace snug::cublaslt;

Blas::Blas(const std::string &device) : lib(library()) {
  if (Status status = lib.cublasLtCreate(&handle); status != cublaslt::kSuccess)
    throw Failure(SNUG_EXIT_MACHINE, "cuBLASLt cannot be used on " + device + ": " + cublaslt::errorText(status) +
                                         "; repair its installation, or compile the model with --gpu-libraries none");
}

Blas::~Blas() { lib.cublasLtDestroy(handle); }

Contractions::~Contractions() {
  for (auto &[key, choice] : choices) {
    for (MatrixLayout layout : {choice.a, choice.b, choice.c, choice.d})
      if (layout)
        blas.lib.cublasLtMatrixLayoutDestroy(layout);
    if (choice.desc)
      blas.lib.cublasLtMatmulDescDestroy(choice.desc);
  }
}

static DataType typeOf(const snug_dtype &type) {
  return type.code == 4 ? kBFloat16 : type.bits == 16 ? kFloat16 : type.bits == 64 ? kFloat64 : kFloat32;
}

// The matrices and what is done with them, as the library has them. False where it does not take them.
bool Contractions::describe(Choice &choice, const snug_contraction &contraction, const Shape &s) const {
  const Library &lib = blas.lib;
  int64_t extents[] = {s.m, s.n, s.k, s.batch};
  if (std::any_of(extents, extents + 4, [](int64_t extent) { return extent <= 0 || extent > INT_MAX; }))
    return false;
  DataType operands = typeOf(contraction.operands), result = typeOf(contraction.result);
  bool isDouble = result == kFloat64;
  if (lib.cublasLtMatmulDescCreate(&choice.desc, isDouble ? kCompute64F : kCompute32F, isDouble ? kFloat64 : kFloat32) != cublaslt::kSuccess)
    return false;
  bool transposeA = contraction.flags & SNUG_CONTRACTION_TRANSPOSE_A, transposeB = contraction.flags & SNUG_CONTRACTION_TRANSPOSE_B;
  uint32_t epilogue = 0;
  for (auto [flag, wanted] : {std::pair(SNUG_CONTRACTION_BIAS, kBias), std::pair(SNUG_CONTRACTION_RELU, kRelu), std::pair(SNUG_CONTRACTION_GELU, kGelu)})
    epilogue |= contraction.flags & flag ? wanted : 0;
  epilogue = epilogue ? epilogue : kDefault;
  auto set = [&](DescAttribute attribute, auto value) {
    return lib.cublasLtMatmulDescSetAttribute(choice.desc, attribute, &value, sizeof value) == cublaslt::kSuccess;
  };
  if (!set(kTransposeA, transposeA ? kTransposed : kPlain) || !set(kTransposeB, transposeB ? kTransposed : kPlain) || !set(kEpilogue, epilogue))
    return false;
  if (contraction.flags & SNUG_CONTRACTION_BIAS && !set(kBiasPointer, reinterpret_cast<const void *>(s.bias)))
    return false;
  auto layout = [&](MatrixLayout &made, DataType type, int64_t rows, int64_t columns, int64_t ld, int64_t stride) {
    if (ld < rows || lib.cublasLtMatrixLayoutCreate(&made, type, uint64_t(rows), uint64_t(columns), ld) != cublaslt::kSuccess)
      return false;
    int32_t batch = int32_t(s.batch);
    return batch == 1 || (lib.cublasLtMatrixLayoutSetAttribute(made, kBatchCount, &batch, sizeof batch) == cublaslt::kSuccess &&
                          lib.cublasLtMatrixLayoutSetAttribute(made, kBatchStride, &stride, sizeof stride) == cublaslt::kSuccess);
  };
  bool hasC = contraction.beta != 0;
  return layout(choice.a, operands, transposeA ? s.k : s.m, transposeA ? s.m : s.k, s.ld_a, s.stride_a) &&
         layout(choice.b, operands, transposeB ? s.n : s.k, transposeB ? s.k : s.n, s.ld_b, s.stride_b) &&
         layout(choice.c, result, s.m, s.n, hasC ? s.ld_c : s.ld_d, hasC ? s.stride_c : s.stride_d) &&
         layout(choice.d, result, s.m, s.n, s.ld_d, s.stride_d);
}

// Takes what the library thinks is fastest, within the workspace that is planned.
void Contractions::choose(Choice &choice, const snug_contraction &contraction, const Shape &s) const {
  const Library &lib = blas.lib;
  if (!describe(choice, contraction, s))
    return;
  Preference preference = nullptr;
  if (lib.cublasLtMatmulPreferenceCreate(&preference) != cublaslt::kSuccess)
    return;
  auto set = [&](PreferenceAttribute attribute, auto value) {
    return lib.cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value) == cublaslt::kSuccess;
  };
  // Parts of a sum are not added up in a type of fewer bits than the sum's.
  DataType result = typeOf(contraction.result);
  bool isNarrow = result == kFloat16 || result == kBFloat16;
  bool isSet = set(kMaxWorkspaceBytes, header.workspace_bytes) && set(kReductionSchemes, uint32_t(isNarrow ? kInComputeType : kAnyScheme)) &&
               set(kAlignmentA, alignmentOf(s.a)) && set(kAlignmentB, alignmentOf(s.b)) &&
               set(kAlignmentC, alignmentOf(contraction.beta != 0 ? s.c : s.d)) && set(kAlignmentD, alignmentOf(s.d));
  HeuristicResult best{};
  int found = 0;
  Status status = isSet ? lib.cublasLtMatmulAlgoGetHeuristic(blas.handle, choice.desc, choice.a, choice.b, choice.c, choice.d, preference, 1, &best, &found)
                        : kNotSupported;
  lib.cublasLtMatmulPreferenceDestroy(preference);
  choice.isFound = status == cublaslt::kSuccess && found == 1 && best.state == cublaslt::kSuccess && best.workspaceBytes <= header.workspace_bytes;
  choice.algorithm = best.algorithm;
}

Contractions::Choice &Contractions::choiceOf(int64_t contraction, const Shape &shape) {
  auto [entry, isNew] = choices.try_emplace(keyOf(contraction, shape));
  if (isNew)
    choose(entry->second, header.contractions[contraction], shape);
  return entry->second;
}

int Contractions::run(int64_t number, const void *shape, Stream stream) {
  const snug_contraction &contraction = header.contractions[number];
  const Shape &s = shapeOf(shape);
  Choice &choice = choiceOf(number, s);
  auto at = [](int64_t address) { return reinterpret_cast<void *>(address); };
  if (const void *bias = at(s.bias); contraction.flags & SNUG_CONTRACTION_BIAS)
    if (Status status = blas.lib.cublasLtMatmulDescSetAttribute(choice.desc, kBiasPointer, &bias, sizeof bias); status != cublaslt::kSuccess)
      return status;
  float alpha = float(contraction.alpha), beta = float(contraction.beta);
  bool isDouble = typeOf(contraction.result) == kFloat64; // which the factors are then, too
  auto factor = [&](const double &wide, const float &narrow) { return isDouble ? static_cast<const void *>(&wide) : &narrow; };
  return blas.lib.cublasLtMatmul(blas.handle, choice.desc, factor(contraction.alpha, alpha), at(s.a), choice.a, at(s.b), choice.b,
                                 factor(contraction.beta, beta), at(contraction.beta != 0 ? s.c : s.d), choice.c, at(s.d), choice.d,
                                 &choice.algorithm, at(s.workspace), header.workspace_bytes, stream);
}
