// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rehearsals of a device: how libraries do their part is chosen, measured and loaded before runs that cannot wait for that.

#include "runtime/cuda/Rehearsal.h"
#include "runtime/core/Bind.h"
#include "runtime/core/Model.h"
#include "runtime/cuda/CudaDevice.h"

#include <algorithm>
#include <exception>
#include <functional>
#include <string>

using namespace snug;
using namespace snug::cuda;

namespace {
// Addresses from here on are of tensors that there is no memory for, each so far from the other; the host program counts from them.
constexpr uint64_t kNowhere = uint64_t(1) << 62, kApart = uint64_t(1) << 44;

struct Addresses {
  int64_t a, b, c, d, bias, workspace;
};
template <class Shape> Addresses addressesOf(const void *shape) {
  const Shape &s = *static_cast<const Shape *>(shape);
  return {s.a, s.b, s.c, s.d, s.bias, s.workspace};
}

struct Rehearsal {
  const snug_model_header &header;
  std::function<LibraryCalls &(int64_t)> libraryOf; // of the number of a contraction
  Stream stream;
  bool tunes, mayRun;
  std::vector<std::pair<uint64_t, uint64_t>> kept; // start and end of what may not be written
  bool hasRun = false;
  int status = 0;
  LibraryCalls *failed = nullptr; // that the status is of
  std::exception_ptr thrown = nullptr;

  bool isThere(const Addresses &s) const {
    const int64_t all[] = {s.a, s.b, s.c, s.d, s.bias, s.workspace};
    auto isSomewhere = [](int64_t address) { return uint64_t(address) < kNowhere; };
    auto isKept = [&](const auto &span) { return uint64_t(s.d) >= span.first && uint64_t(s.d) < span.second; };
    return std::all_of(std::begin(all), std::end(all), isSomewhere) && std::none_of(kept.begin(), kept.end(), isKept);
  }
  void contract(int64_t contraction, const Addresses &addresses, const void *shape) {
    LibraryCalls &library = libraryOf(contraction);
    if (!mayRun || !isThere(addresses)) {
      library.has(contraction, shape, /*isCaptured=*/false);
      return;
    }
    hasRun = true;
    status = tunes ? library.tune(contraction, shape, stream) : library.rehearse(contraction, shape, stream);
    failed = &library;
  }
};
} // namespace

// Runs the host program, which starts nothing but what a library does.
static void rehearse(Rehearsal &rehearsal, snug_run_args args, const std::string &device) {
  snug_runtime_table table = silentTable();
  table.device_state = &rehearsal;
  table.contract = [](void *state, int64_t, int64_t contraction, const void *shape, int64_t, int64_t blocks, const int64_t *) {
    auto &now = *static_cast<Rehearsal *>(state);
    if (blocks == 0 || now.status || now.thrown)
      return;
    try { // the host program knows of no exceptions
      bool isConvolution = now.header.contractions[contraction].spatial;
      now.contract(contraction, isConvolution ? addressesOf<snug_convolution_shape>(shape) : addressesOf<snug_contraction_shape>(shape), shape);
    } catch (...) {
      now.thrown = std::current_exception();
    }
  };
  args.runtime = &table;
  rehearsal.header.run(&args);
  if (rehearsal.thrown)
    std::rethrow_exception(rehearsal.thrown);
  if (rehearsal.status)
    throw Failure(SNUG_EXIT_MACHINE, std::string(rehearsal.failed->name()) + " has an algorithm for a product of the model, and could not run it on " +
                                         device + ": " + rehearsal.failed->errorText(rehearsal.status) + "; update it, or compile the model with --gpu-libraries none");
}

void CudaDevice::openTuning(const snug_model &model, const snug_context_options &options) {
  bool tunes = options.flags & SNUG_CONTEXT_TUNE;
  if (tunes && !resident->blas)
    throw Failure(SNUG_EXIT_USAGE, "there is nothing to tune: the model has no products of cuBLASLt's; compile it with --gpu-libraries cublaslt");
  tuning.emplace(options.tune_file ? options.tune_file : model.libraryPath() + ".tune", resident->primary.chip);
  bool isThere = (resident->blas || options.tune_file) && tuning->read();
  if (!isThere && options.tune_file && !tunes)
    throw Failure(SNUG_EXIT_MACHINE, "there is no tuning file '" + tuning->path + "'; snug-run --tune writes one");
  hasTuneFile = isThere || tunes;
}

void CudaDevice::rehearseLargest(const snug_context_options &options) {
  bool tunes = options.flags & SNUG_CONTEXT_TUNE, mayRun = !isCaptured();
  if (tunes && !mayRun)
    throw Failure(SNUG_EXIT_USAGE, "nothing can be timed on a stream that is captured: tune the model before that");
  // In place of tensors that will be the caller's, memory that is there until this returns.
  uint32_t count = header.num_inputs + header.num_outputs;
  std::vector<Memory> lent;
  std::vector<void *> data;
  for (uint64_t i = 0; i < count + numDataShapes(header) + 1; ++i) // two of them may be one tensor else, which is another choice
    data.push_back(reinterpret_cast<void *>(kNowhere + i % (kNowhere / kApart) * kApart));
  std::vector<int64_t> extents(numExtents(header) + 1);
  header.shapes(largestDims.data(), extents.data());
  const int64_t *at = extents.data();
  for (uint32_t i = 0; i < count; ++i) {
    const snug_value_info &value = i < header.num_inputs ? header.inputs[i] : header.outputs[i - header.num_inputs];
    if (isCopied[i]) {
      data[i] = reinterpret_cast<void *>(copies[i].at());
    } else if (mayRun) {
      try {
        lent.emplace_back(resident->primary, tensorBytes(value, at), "the tensors of a rehearsal");
        data[i] = reinterpret_cast<void *>(lent.back().at());
      } catch (const Failure &) { // the caller's tensors may be there already: what needs it is run later
        if (tunes)
          throw;
      }
    }
    at += value.rank;
  }
  const int64_t place[2] = {};
  snug_run_args args{nullptr, this, arena(), weights(), largestDims.data(), data.data(), data.data() + header.num_inputs, place};
  Rehearsal rehearsal{header, [this](int64_t number) -> LibraryCalls & { return libraryOf(number); }, runStream, tunes, mayRun, {}};
  rehearse(rehearsal, args, resident->primary.name);
  if (rehearsal.hasRun)
    check(cuda.cuStreamSynchronize(runStream), "run what libraries do once on " + resident->primary.name);
  if (uint32_t refused = products ? products->numRefused() : 0)
    tuning->say("cuBLASLt does not take " + std::to_string(refused) + " of the algorithms that '" + tuning->path + "' has for the model");
  if (tunes && (!options.comm || options.comm->rank() == 0))
    tuning->write();
  rehearsedDims = largestDims;
}

void CudaDevice::rehearseBeforeRecording(const snug_run_args &args, const Binding &binding) {
  if ((!products && !convolutions) || std::equal(args.dims, args.dims + header.num_dims, rehearsedDims.begin()))
    return;
  Rehearsal rehearsal{header, [this](int64_t number) -> LibraryCalls & { return libraryOf(number); }, runStream, /*tunes=*/false, /*mayRun=*/true, {}};
  for (uint32_t i = 0; i < header.num_inputs; ++i)
    if (auto start = reinterpret_cast<uint64_t>(binding.data[i]); header.inputs[i].flags & SNUG_VALUE_OVERWRITTEN)
      rehearsal.kept.push_back({start, start + binding.bytes[i]});
  rehearse(rehearsal, args, resident->primary.name);
  std::copy_n(args.dims, header.num_dims, rehearsedDims.begin());
}

snug_tuning CudaDevice::tuningState() const {
  snug_tuning state{};
  for (const auto *library : {&products, &convolutions})
    if (*library) {
      snug_tuning some = (*library)->counts();
      state.choices += some.choices;
      state.tuned += some.tuned;
      state.unloaded += some.unloaded;
    }
  state.file = hasTuneFile ? tuning->path.c_str() : "";
  state.note = tuning ? tuning->note.c_str() : "";
  return state;
}
