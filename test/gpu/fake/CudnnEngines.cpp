// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The engines of the fake cuDNN: plain loops, in f32.

#include "test/gpu/fake/Cudnn.h"

using namespace snug;
using namespace snug::cudnn;
using namespace snug::fake;

size_t TensorInfo::bytes() const {
  int64_t elements = 1;
  for (size_t i = 0; i < extents.size(); ++i)
    elements += (extents[i] - 1) * strides[i];
  return size_t(elements) * bytesOf(element);
}

int64_t TensorInfo::offset(const std::vector<int64_t> &at) const {
  int64_t elements = 0;
  for (size_t i = 0; i < at.size(); ++i)
    elements += at[i] * strides[i];
  return elements * int64_t(bytesOf(element));
}

// Whether elements lie as channels last or first, one behind the other or with something between, but never on each other.
static bool isLayout(const TensorInfo &tensor) {
  for (bool last : {false, true}) {
    std::vector<size_t> order; // from the inside out
    for (size_t i = tensor.extents.size(); i-- > 2;)
      order.push_back(i);
    order.insert(last ? order.begin() : order.end(), 1);
    order.push_back(0);
    int64_t least = 1;
    bool is = tensor.strides[order[0]] == 1;
    for (size_t i : order) {
      is &= tensor.strides[i] >= least;
      least = tensor.strides[i] * tensor.extents[i];
    }
    if (is)
      return true;
  }
  return false;
}

// Filters are in one piece.
static bool isPacked(const TensorInfo &tensor) {
  int64_t elements = 1;
  for (int64_t extent : tensor.extents)
    elements *= extent;
  return tensor.bytes() == size_t(elements) * bytesOf(tensor.element);
}

std::string Problem::problem() const {
  size_t rank = steps.size();
  if (rank < 2 || rank > 3 || dilations.size() != rank)
    return "there are convolutions over two and three spatial dims";
  for (const TensorInfo *tensor : {&input, &filters, &result})
    if (tensor->extents.size() != rank + 2)
      return "a tensor has not as many dims as the convolution";
  int64_t channels = input.extents[1], inGroup = filters.extents[1], made = filters.extents[0];
  if (channels % inGroup || made % (channels / inGroup) || result.extents[1] != made || result.extents[0] != input.extents[0])
    return "channels, filters and groups do not fit together";
  for (size_t i = 0; i < rank; ++i) {
    int64_t reach = (filters.extents[2 + i] - 1) * dilations[i] + 1;
    if (input.extents[2 + i] < reach || result.extents[2 + i] != (input.extents[2 + i] - reach) / steps[i] + 1)
      return "the result of spatial dim " + std::to_string(i) + " has another extent than its windows";
  }
  std::vector<int64_t> vector(rank + 2, 1);
  vector[1] = made;
  if ((hasOther && other.extents != result.extents) || (hasBias && bias.extents != vector))
    return "what is added has another shape";
  for (const TensorInfo *tensor : tensors()) {
    if (tensor->element != input.element)
      return "there is no convolution of tensors of different types";
    if (!isLayout(*tensor))
      return "a tensor has its channels neither first nor last";
  }
  return isPacked(filters) ? "" : "the filters are not in one piece";
}

std::vector<const TensorInfo *> Problem::tensors() const {
  std::vector<const TensorInfo *> all{&result, &input, &filters};
  if (hasOther)
    all.push_back(&other);
  if (hasBias)
    all.push_back(&bias);
  return all;
}

static std::string listOf(const std::vector<int64_t> &values) {
  std::string text;
  for (int64_t value : values)
    text += (text.empty() ? "[" : ", ") + std::to_string(value);
  return text + "]";
}

std::string Problem::fields() const {
  return ", \"input\": " + listOf(input.extents) + ", \"filters\": " + listOf(filters.extents) + ", \"made\": " + listOf(result.extents) +
         ", \"steps\": " + listOf(steps) + ", \"dilations\": " + listOf(dilations) + ", \"groups\": " + std::to_string(groups()) +
         ", \"alpha\": " + std::to_string(alpha) + ", \"beta\": " + std::to_string(int(beta)) + ", \"other\": " + std::to_string(hasOther) + ", \"bias\": " + std::to_string(hasBias) +
         ", \"relu\": " + std::to_string(hasRelu);
}

// In the order of their promised speed: first those that Snug never takes, one that fails late, and one with workspace; what always
// works is only in the list to fall back on.
std::vector<Engine> fake::enginesOf(const Problem &problem, HeuristicModes mode, const std::string &setting) {
  bool isNarrow = problem.input.element != Element::F32;
  int64_t results = 2 * 4;
  for (int64_t extent : problem.result.extents)
    results *= extent;
  std::vector<Engine> rough = {{"down", {kTensorCore, kDownConvertInputs}},
                               {"reduced", {kReducedPrecisionReduction}},
                               {"atomic", {kNondeterministic}},
                               {"fft", {kFft}},
                               {"winograd", {kWinograd, NumericalNote(kWinogradTile4x4 + 1)}}};
  if (isNarrow)
    rough.push_back({"small winograd", {kWinograd, kWinogradTile4x4}});
  else
    rough.push_back({"tf32", {kTensorCore}});
  bool isKnown = problem.hasBias ? problem.alpha == 1 : !problem.hasOther && !problem.hasRelu; // as of cuDNN 9 with channels first
  if (setting == "none" || !isKnown)
    return {};
  if (setting == "rough")
    return rough;
  if (setting == "greedy")
    return {{"greedy", {}, int64_t(1) << 40}};
  if (mode == kFallback)
    return {{"plain", {}}};
  std::vector<Engine> all = rough;
  all.push_back({"late", {}, 0, /*fails=*/true});
  all.push_back({"split", isNarrow ? std::vector{kTensorCore} : std::vector<NumericalNote>{}, results, false, /*isSplit=*/true});
  return all;
}

// Counts in row-major order. False behind the last one.
static bool next(std::vector<int64_t> &at, const std::vector<int64_t> &extents) {
  for (size_t i = at.size(); i-- > 0;) {
    if (++at[i] < extents[i])
      return true;
    at[i] = 0;
  }
  return false;
}

void fake::convolve(const void *argument) {
  const auto &call = *static_cast<const Call *>(argument);
  const Problem &p = call.problem;
  auto read = [&](const TensorInfo &tensor, const std::vector<int64_t> &at) { return load(tensor.element, call.places.at(tensor.id) + tensor.offset(at)); };
  if (call.engine.workspaceBytes) // whoever has something there loses it
    memset(call.workspace, 0xff, size_t(call.engine.workspaceBytes));
  int64_t inGroup = p.filters.extents[1], madeInGroup = p.filters.extents[0] / p.groups();
  std::vector<int64_t> made(p.result.extents.size(), 0), window = p.filters.extents;
  window[0] = 1;
  do {
    float sums[2] = {0, 0};
    std::vector<int64_t> tap(made.size(), 0), in = made, filter = made;
    do {
      filter = tap;
      filter[0] = made[1];
      in[1] = made[1] / madeInGroup * inGroup + tap[1];
      for (size_t i = 2; i < in.size(); ++i)
        in[i] = made[i] * p.steps[i - 2] + tap[i] * p.dilations[i - 2];
      float &sum = sums[call.engine.isSplit && tap[1] >= inGroup / 2];
      sum = std::fma(float(read(p.input, in)), float(read(p.filters, filter)), sum);
    } while (next(tap, window));
    double value = double(p.alpha) * double(sums[0] + sums[1]);
    if (p.beta != 0)
      value += double(p.beta) * read(p.result, made);
    if (p.hasOther)
      value += double(p.otherFactor) * read(p.other, made);
    if (p.hasBias) {
      std::vector<int64_t> at(made.size(), 0);
      at[1] = made[1];
      value += double(p.biasFactor) * read(p.bias, at);
    }
    if (p.hasRelu)
      value = std::max(value, 0.0);
    store(p.result.element, value, call.places.at(p.result.id) + p.result.offset(made));
  } while (next(made, p.result.extents));
}
