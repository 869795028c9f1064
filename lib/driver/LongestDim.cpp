// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/LongestDim.h"
#include "lib/driver/Pipeline.h"
#include "mlir/IR/Diagnostics.h"
#include "snug/ExitCodes.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"
#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace snug;

// The text of a definition up to `max`: "seq=" of seq=max, "seq=1.." of seq=1..max.
static std::optional<StringRef> beforeMax(const std::string &definition) {
  StringRef text = StringRef(definition).rtrim();
  if (!text.consume_back("max"))
    return std::nullopt;
  StringRef before = text.rtrim();
  return before.ends_with("=") || before.ends_with("..") ? std::optional(text) : std::nullopt;
}

bool snug::asksForLongestDim(const CompileOptions &options) {
  return std::any_of(options.dims.begin(), options.dims.end(),
                     [](const std::string &definition) { return beforeMax(definition).has_value(); });
}

namespace {
struct Probe {
  int64_t number = 0;
  bool fits = false;
  double need = 0; // share of the budget; 0 where it is not known
};

class LongestDim {
public:
  LongestDim(MLIRContext &context, CompileOptions &options, std::string &definition)
      : context(context), options(options), definition(definition), before(beforeMax(definition)->str()) {}

  int resolve() {
    StringRef name = StringRef(before).split('=').first.trim();
    int64_t first = 1;
    if (StringRef lower = StringRef(before).split('=').second.trim(); lower.consume_back(".."))
      if (lower.trim().getAsInteger(10, first) || first < 1)
        return usage("'" + definition + "' has no lower bound; write NAME=max or NAME=A..max");
    // The first number may say what is wrong with the model or the command.
    Probe fits = probe(first);
    if (exitCode)
      return exitCode;
    if (!fits.fits) {
      instantiate(first); // the compilation then says why not even this fits
      return SNUG_EXIT_DONE;
    }
    ScopedDiagnosticHandler quiet(&context, [](Diagnostic &) { return success(); });
    isQuiet = true;
    std::optional<Probe> above;
    while (!above && fits.number < kLimit) {
      // The need grows with a power of at least 1 of the number, or not at all.
      double factor = fits.need > 0 ? std::clamp(1.0 / fits.need, 2.0, 64.0) : 64;
      Probe next = probe(std::min<int64_t>(kLimit, static_cast<int64_t>(fits.number * factor)));
      if (next.fits)
        fits = next;
      else
        above = next;
    }
    for (int step = 0; above && above->number - fits.number > 1; ++step) {
      Probe next = probe(between(fits, *above, step));
      (next.fits ? fits : *above) = next;
    }
    instantiate(fits.number);
    options.console.messages() << "longest '" << printable(name.str()) << "' that fits: " << fits.number
                 << (above ? "" : ", the largest that is looked for") << "\n";
    return SNUG_EXIT_DONE;
  }

private:
  static constexpr int64_t kLimit = int64_t(1) << 31;

  int usage(const Twine &message) {
    return options.console.fail(SNUG_EXIT_USAGE, "--dim: " + message);
  }

  void instantiate(int64_t number) { definition = before + std::to_string(number); }

  // Where a power law through both would meet the budget; every third step halves, so that it ends for any law.
  static int64_t between(const Probe &low, const Probe &high, int step) {
    int64_t middle = low.number + (high.number - low.number) / 2;
    if (step % 3 == 2 || low.need <= 0 || high.need <= low.need)
      return middle;
    double exponent = std::log(high.need / low.need) / std::log(double(high.number) / double(low.number));
    double guess = static_cast<double>(low.number) * std::pow(1 / low.need, 1 / exponent);
    // It is the last one that fits which is looked for, so the guess and the one behind it are what to ask about.
    return std::clamp<int64_t>(static_cast<int64_t>(guess) + step % 3, low.number + 1, high.number - 1);
  }

  Probe probe(int64_t number) {
    instantiate(number);
    CompileReport report;
    Probe result{number, false, 0};
    Pipeline pipeline(context, options, report);
    if (imported)
      pipeline.take(OwningOpRef<ModuleOp>(imported->clone()));
    else if (int code = pipeline.import())
      return exitCode = code, result;
    else
      imported = OwningOpRef<ModuleOp>(pipeline.module().clone());
    int code = pipeline.need(result.need);
    if (code && !isQuiet)
      exitCode = code;
    result.fits = !code && result.need <= 1;
    return result;
  }

  MLIRContext &context;
  CompileOptions &options;
  std::string &definition;
  const std::string before;
  OwningOpRef<ModuleOp> imported;
  int exitCode = SNUG_EXIT_DONE;
  bool isQuiet = false;
};
} // namespace

int snug::resolveLongestDim(MLIRContext &context, CompileOptions &options) {
  auto fail = [&](const Twine &message) { return options.console.fail(SNUG_EXIT_USAGE, message); };
  std::string *definition = nullptr;
  for (std::string &text : options.dims)
    if (beforeMax(text)) {
      if (definition)
        return fail("only one --dim can be max; '" + *definition + "' and '" + text + "' are");
      definition = &text;
    }
  if (!options.memoryBudget.isSet() && options.activationBudget.bytes < 0)
    return fail("--dim " + *definition +
                " asks what fits a budget; add --memory-budget or --activation-budget in bytes");
  if (options.activationBudget.percent >= 0)
    return fail("--dim " + *definition +
                " needs a budget in bytes: a share of the unchunked arena grows with the arena");
  return LongestDim(context, options, *definition).resolve();
}
