// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ptxas -v says of a kernel, in lines of their own:
//   ptxas info    : Compiling entry function 'add' for 'sm_80'
//   ptxas info    : Function properties for add
//       0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
//   ptxas info    : Used 8 registers, used 1 barriers, 40 bytes cumulative stack size, 64 bytes smem, 360 bytes cmem[0]
// (with the stacks of functions that it calls, which have properties, too, in lines that may follow)
// and of what it refuses:
//   ptxas FILE, line 4; error   : Unknown symbol 'x'
//   ptxas error   : Entry function 'add' uses too much shared data (0xea60 bytes, 0xc000 max)
#include "codegen/cuda/PtxasOutput.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Regex.h"

using namespace mlir;
using namespace snug::codegen;

namespace {
// The number before `what` in a line, 0 if there is none.
uint32_t numberBefore(StringRef line, StringRef what) {
  uint32_t number = 0;
  StringRef before = line.take_front(line.find(what)).rtrim();
  if (before.size() < line.size())
    before.substr(before.find_last_not_of("0123456789") + 1).getAsInteger(10, number);
  return number;
}

StringRef quoted(StringRef line) { return line.split('\'').second.split('\'').first; }

// The kernel that begins in a line of PTX, or none.
StringRef kernelBegun(StringRef line) {
  size_t at = line.find(".entry ");
  return at == StringRef::npos ? StringRef() : line.substr(at + 7).take_until([](char c) { return c == '('; }).trim();
}

// The kernel that has this line, counted from 1.
StringRef kernelOfLine(StringRef ptx, unsigned line) {
  StringRef kernel;
  for (unsigned number = 1; number <= line && !ptx.empty(); ++number) {
    auto [text, rest] = ptx.split('\n');
    if (StringRef begun = kernelBegun(text); !begun.empty())
      kernel = begun;
    ptx = rest;
  }
  return kernel;
}
} // namespace

LogicalResult snug::codegen::readResources(gpu::GPUModuleOp module, const std::string &chip, StringRef output,
                                           std::vector<KernelResources> &resources) {
  llvm::StringMap<KernelResources> found;
  llvm::StringSet<> complete;
  KernelResources *current = nullptr;
  bool own = false; // the properties that follow are those of the kernel
  for (StringRef line : llvm::split(output, '\n')) {
    if (line.contains(" warning "))
      mlir::emitWarning(module.getLoc(), "ptxas for ") << chip << ": " << line.split(':').second.trim();
    if (line.contains("Compiling entry function")) {
      current = &found[quoted(line)];
      current->kernel = quoted(line).str();
      current->chip = chip;
    }
    if (!current)
      continue;
    if (line.contains("Function properties for"))
      own = line.rsplit(' ').second == current->kernel;
    if (own && line.contains("bytes stack frame")) {
      current->stackBytes = numberBefore(line, " bytes stack frame");
      current->spillStoreBytes = numberBefore(line, " bytes spill stores");
      current->spillLoadBytes = numberBefore(line, " bytes spill loads");
    }
    if (line.contains(" registers")) {
      current->registers = numberBefore(line, " registers");
      current->sharedBytes = numberBefore(line, " bytes smem");
      current->stackBytes = std::max(current->stackBytes, numberBefore(line, " bytes cumulative stack size"));
      complete.insert(current->kernel);
    }
  }
  for (auto kernel : module.getOps<LLVM::LLVMFuncOp>()) {
    if (kernel.isExternal())
      continue;
    if (!complete.contains(kernel.getSymName()))
      return mlir::emitError(kernel.getLoc(), "ptxas says nothing of what kernel '")
             << kernel.getSymName() << "' takes on " << chip;
    resources.push_back(found[kernel.getSymName()]);
  }
  return success();
}

std::string snug::codegen::withoutOccupancy(StringRef ptx, ArrayRef<StringRef> kernels) {
  std::string relaxed;
  StringRef kernel;
  for (StringRef line : llvm::split(ptx, '\n')) {
    if (StringRef begun = kernelBegun(line); !begun.empty())
      kernel = begun;
    // Directives stand between the parameters and the body.
    if (line == "{" && llvm::is_contained(kernels, kernel))
      relaxed += ".minnctapersm 1\n";
    relaxed += line;
    relaxed += '\n';
  }
  relaxed.pop_back();
  return relaxed;
}

LogicalResult snug::codegen::reportRefusal(gpu::GPUModuleOp module, const std::string &chip, StringRef ptx,
                                           StringRef output) {
  llvm::Regex atLine(", line ([0-9]+); *(error|fatal) *: *(.*)"), plain("^ptxas *(error|fatal) *: *(.*)");
  for (StringRef line : llvm::split(output, '\n')) {
    SmallVector<StringRef> parts;
    StringRef kernel, message;
    if (atLine.match(line, &parts)) {
      unsigned number = 0;
      parts[1].getAsInteger(10, number);
      kernel = kernelOfLine(ptx, number);
      message = parts[3];
    } else if (plain.match(line, &parts)) {
      kernel = quoted(line);
      message = parts[2];
    } else {
      continue;
    }
    Operation *op = kernel.empty() ? nullptr : module.lookupSymbol(kernel);
    if (op)
      return mlir::emitError(op->getLoc(), "ptxas refuses kernel '") << kernel << "' for " << chip << ": " << message;
    return mlir::emitError(module.getLoc(), "ptxas fails for ") << chip << ": " << message;
  }
  return mlir::emitError(module.getLoc(), "ptxas fails for ") << chip << ": " << output.trim().take_front(2000);
}
