// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/MachineFile.h"
#include "codegen/Target.h"
#include "snug/ExitCodes.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

using namespace snug;

int snug::chooseMachine(CompileOptions &options) {
  auto target = codegen::Target::create(options.target, options.march == "native" ? "" : options.march);
  if (!target)
    return options.console.fail(SNUG_EXIT_USAGE, printable(llvm::toString(target.takeError())));
  options.gpuCapability = target->kernels->gpuCapability();
  std::vector<llvm::StringRef> precisions = target->kernels->precisions();
  if (!llvm::is_contained(precisions, options.precision))
    return options.console.fail(SNUG_EXIT_USAGE, "--target " + target->kernels->name() + " has no --precision " + printable(options.precision) +
                                                     "; write --precision " + llvm::join(precisions, " or "));
  if (options.machineFile.empty()) {
    options.machine = options.gpuCapability ? builtinGpu(options.gpuCapability, options.precision == "tf32") : builtinMachine(static_cast<int>(target->host.vectorBits));
    return SNUG_EXIT_DONE;
  }
  auto file = llvm::MemoryBuffer::getFile(options.machineFile, /*IsText=*/true);
  if (!file)
    return options.console.fail(SNUG_EXIT_MACHINE, "cannot read '" + options.machineFile + "': " + file.getError().message());
  std::string problem;
  std::optional<Machine> read = parseMachine((*file)->getBuffer().str(), problem);
  if (!read)
    return options.console.fail(SNUG_EXIT_INVALID, "the machine file '" + options.machineFile + "' is not valid: " +
                                       printable(problem) + "; snugc --calibrate -o FILE.json writes one");
  options.machine = *read;
  return SNUG_EXIT_DONE;
}
