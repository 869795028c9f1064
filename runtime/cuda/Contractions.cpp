// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/Contractions.h"

#include <algorithm>
#include <climits>
#include <cstring>

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
bool Contractions::describe(ProductChoice &choice, const snug_contraction &contraction, const Shape &s) const {
  const Library &lib = blas.lib;
  int64_t extents[] = {s.m, s.n, s.k, s.batch};
  if (std::any_of(extents, extents + 4, [](int64_t extent) { return extent <= 0 || extent > INT_MAX; }))
    return false;
  DataType operands = typeOf(contraction.operands), result = typeOf(contraction.result);
  bool isDouble = result == kFloat64;
  ComputeType compute = isDouble ? kCompute64F : contraction.flags & SNUG_CONTRACTION_TF32 ? kCompute32FFastTF32 : kCompute32F;
  if (lib.cublasLtMatmulDescCreate(&choice.desc, compute, isDouble ? kFloat64 : kFloat32) != cublaslt::kSuccess)
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

// What the library has in the workspace that is planned, in the order in which it thinks that they are fast.
std::vector<HeuristicResult> Contractions::offers(const ProductChoice &choice, const snug_contraction &contraction, const Shape &s, int most) const {
  const Library &lib = blas.lib;
  Preference preference = nullptr;
  if (lib.cublasLtMatmulPreferenceCreate(&preference) != cublaslt::kSuccess)
    return {};
  auto set = [&](PreferenceAttribute attribute, auto value) {
    return lib.cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value) == cublaslt::kSuccess;
  };
  // Parts of a sum are not added up in a type of fewer bits than the sum's.
  DataType result = typeOf(contraction.result);
  bool isNarrow = result == kFloat16 || result == kBFloat16;
  bool isSet = set(kMaxWorkspaceBytes, header.workspace_bytes) && set(kReductionSchemes, uint32_t(isNarrow ? kInComputeType : kAnyScheme)) &&
               set(kAlignmentA, alignmentOf(s.a)) && set(kAlignmentB, alignmentOf(s.b)) &&
               set(kAlignmentC, alignmentOf(contraction.beta != 0 ? s.c : s.d)) && set(kAlignmentD, alignmentOf(s.d));
  std::vector<HeuristicResult> results(size_t(most), HeuristicResult{});
  int found = 0;
  Status status = isSet ? lib.cublasLtMatmulAlgoGetHeuristic(blas.handle, choice.desc, choice.a, choice.b, choice.c, choice.d, preference, most,
                                                             results.data(), &found)
                        : kNotSupported;
  lib.cublasLtMatmulPreferenceDestroy(preference);
  results.resize(status == cublaslt::kSuccess ? size_t(found) : 0);
  auto isNone = [&](const HeuristicResult &one) { return one.state != cublaslt::kSuccess || one.workspaceBytes > header.workspace_bytes; };
  results.erase(std::remove_if(results.begin(), results.end(), isNone), results.end());
  return results;
}

// All that an algorithm depends on, but for the device and the library: two contractions that differ in their factors are the same.
std::string Contractions::textOf(const snug_contraction &contraction, const Shape &s) const {
  auto name = [](const snug_dtype &type) {
    DataType of = typeOf(type);
    return std::string(of == kFloat64 ? "f64" : of == kFloat32 ? "f32" : of == kFloat16 ? "f16" : "bf16");
  };
  std::string text = name(contraction.operands) + " " + name(contraction.result) + " flags " + std::to_string(contraction.flags) + " c " +
                     std::to_string(contraction.beta != 0);
  auto add = [&](const char *what, std::initializer_list<int64_t> values) {
    text += std::string(" ") + what;
    for (int64_t value : values)
      text += " " + std::to_string(value);
  };
  add("m n k batch", {s.m, s.n, s.k, s.batch});
  add("ld", {s.ld_a, s.ld_b, s.ld_c, s.ld_d});
  add("stride", {s.stride_a, s.stride_b, s.stride_c, s.stride_d});
  add("aligned", {alignmentOf(s.a), alignmentOf(s.b), alignmentOf(s.c), alignmentOf(s.d), alignmentOf(s.bias)});
  add("workspace", {int64_t(header.workspace_bytes)});
  return text;
}

// The library itself says whether it has what the file says.
bool Contractions::takeTuned(ProductChoice &choice, const std::string &key) {
  auto known = tuned ? tuned->find(key) : TuneFile::Choices::iterator();
  if (!tuned || known == tuned->end())
    return false;
  const std::vector<uint8_t> &bytes = known->second.algorithm;
  HeuristicResult checked{};
  if (bytes.size() == sizeof choice.algorithm) {
    memcpy(&choice.algorithm, bytes.data(), bytes.size());
    Status status = blas.lib.cublasLtMatmulAlgoCheck(blas.handle, choice.desc, choice.a, choice.b, choice.c, choice.d, &choice.algorithm, &checked);
    choice.isTuned = choice.isFound = status == cublaslt::kSuccess && checked.workspaceBytes <= header.workspace_bytes;
  }
  refused += !choice.isFound;
  return choice.isFound;
}

void Contractions::choose(ProductChoice &choice, const snug_contraction &contraction, const Shape &s) {
  if (!describe(choice, contraction, s) || takeTuned(choice, textOf(contraction, s)))
    return;
  std::vector<HeuristicResult> best = offers(choice, contraction, s, 1);
  choice.isFound = !best.empty();
  if (choice.isFound)
    choice.algorithm = best[0].algorithm;
}

int Contractions::tune(int64_t number, const void *given, Stream stream) {
  const Shape &shape = shapeOf(given);
  constexpr int offered = 8, rounds = 3, runs = 5;
  auto [entry, isNew] = choices.try_emplace(keyOf(number, shape));
  ProductChoice &choice = entry->second;
  const snug_contraction &contraction = header.contractions[number];
  if (!isNew || !describe(choice, contraction, shape))
    return cublaslt::kSuccess;
  const Driver &cuda = driver();
  struct Events {
    ~Events() {
      for (Event event : {started, ended})
        if (event)
          driver().cuEventDestroy(event);
    }
    Event started = nullptr, ended = nullptr;
  } events;
  check(cuda.cuEventCreate(&events.started, kEventDefault), "make an event");
  check(cuda.cuEventCreate(&events.ended, kEventDefault), "make an event");
  double least = 0;
  for (const HeuristicResult &offer : offers(choice, contraction, shape, offered)) {
    if (start(choice, offer.algorithm, contraction, shape, stream) != cublaslt::kSuccess) // which loads it
      continue;
    for (int round = 0; round < rounds; ++round) {
      check(cuda.cuEventRecord(events.started, stream), "time an algorithm");
      for (int i = 0; i < runs; ++i)
        if (Status status = start(choice, offer.algorithm, contraction, shape, stream); status != cublaslt::kSuccess)
          return status;
      check(cuda.cuEventRecord(events.ended, stream), "time an algorithm");
      check(cuda.cuEventSynchronize(events.ended), "time an algorithm");
      float milliseconds = 0;
      check(cuda.cuEventElapsedTime(&milliseconds, events.started, events.ended), "time an algorithm");
      double took = double(milliseconds) * 1e3 / runs;
      if (choice.isFound && took >= least)
        continue;
      least = took;
      choice.algorithm = offer.algorithm;
      choice.isFound = choice.isTuned = choice.isLoaded = true;
    }
  }
  auto *bytes = reinterpret_cast<const uint8_t *>(&choice.algorithm);
  if (choice.isFound)
    (*tuned)[textOf(contraction, shape)] = {{bytes, bytes + sizeof choice.algorithm}, least};
  return cublaslt::kSuccess;
}

Status Contractions::start(const ProductChoice &choice, const Algorithm &algorithm, const snug_contraction &contraction, const Shape &s,
                           Stream stream) const {
  auto at = [](int64_t address) { return reinterpret_cast<void *>(address); };
  if (const void *bias = at(s.bias); contraction.flags & SNUG_CONTRACTION_BIAS)
    if (Status status = blas.lib.cublasLtMatmulDescSetAttribute(choice.desc, kBiasPointer, &bias, sizeof bias); status != cublaslt::kSuccess)
      return status;
  float alpha = float(contraction.alpha), beta = float(contraction.beta);
  bool isDouble = typeOf(contraction.result) == kFloat64; // which the factors are then, too
  auto factor = [&](const double &wide, const float &narrow) { return isDouble ? static_cast<const void *>(&wide) : &narrow; };
  return blas.lib.cublasLtMatmul(blas.handle, choice.desc, factor(contraction.alpha, alpha), at(s.a), choice.a, at(s.b), choice.b,
                                 factor(contraction.beta, beta), at(contraction.beta != 0 ? s.c : s.d), choice.c, at(s.d), choice.d,
                                 &algorithm, at(s.workspace), header.workspace_bytes, stream);
}
