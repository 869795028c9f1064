// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/Toolkit.h"
#include "codegen/cuda/GpuToNvvm.h"
#include "codegen/cuda/ToolProcess.h"
#include "llvm-c/Target.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/TargetParser/Triple.h"
#include <cstdlib>
#include <mutex>

using namespace snug::codegen;

namespace {
constexpr char remedy[] =
    "install the CUDA toolkit, version 13: with pip, nvidia-cuda-nvcc and nvidia-nvvm; from NVIDIA's Debian packages, "
    "cuda-nvcc-13-0; or say where it is by --cuda-toolkit DIR or SNUG_CUDA_TOOLKIT";

// Where the parts of a toolkit lie in a folder: in NVIDIA's own layout, which its Python packages share, and in
// Debian's.
std::string findPart(llvm::StringRef folder, llvm::ArrayRef<llvm::StringRef> places) {
  for (llvm::StringRef place : places) {
    llvm::SmallString<256> path(folder);
    llvm::sys::path::append(path, place);
    if (llvm::sys::fs::is_regular_file(path))
      return path.str().str();
  }
  return {};
}

// What is not in the folder, or "" if all is.
std::string findParts(llvm::StringRef folder, CudaToolkit &toolkit) {
  toolkit.ptxas = findPart(folder, {"bin/ptxas"});
  toolkit.fatbinary = findPart(folder, {"bin/fatbinary"});
  toolkit.libdevice = findPart(folder, {"nvvm/libdevice/libdevice.10.bc", "libdevice/libdevice.10.bc"});
  std::vector<std::string> missing;
  if (toolkit.ptxas.empty())
    missing.push_back("bin/ptxas");
  if (toolkit.fatbinary.empty())
    missing.push_back("bin/fatbinary");
  if (toolkit.libdevice.empty())
    missing.push_back("nvvm/libdevice/libdevice.10.bc");
  return llvm::join(missing, ", ");
}

// nvidia/cu13 and its like among the packages of each Python in `prefix`, newest first.
void addPythonPackages(llvm::StringRef prefix, std::vector<std::string> &folders) {
  auto below = [](const std::vector<std::string> &parents, llvm::StringRef beginning) {
    std::vector<std::string> found;
    std::error_code code;
    for (const std::string &parent : parents)
      for (llvm::sys::fs::directory_iterator at(parent, code), end; at != end && !code; at.increment(code))
        if (llvm::sys::path::filename(at->path()).starts_with(beginning))
          found.push_back(at->path());
    llvm::sort(found, std::greater<>());
    return found;
  };
  std::vector<std::string> packages = below(below({(prefix + "/lib").str()}, "python3"), "");
  llvm::erase_if(packages, [](llvm::StringRef path) {
    return !path.ends_with("/site-packages") && !path.ends_with("/dist-packages");
  });
  for (const std::string &package : packages)
    llvm::append_range(folders, below({package + "/nvidia"}, "cu"));
}

std::vector<std::string> usualFolders() {
  std::vector<std::string> folders{"/usr/local/cuda"}, packages;
  const char *path = getenv("PATH");
  for (llvm::StringRef entry : llvm::split(path ? path : "", ':')) {
    llvm::SmallString<256> program(entry), real;
    llvm::sys::path::append(program, "ptxas");
    if (!entry.empty() && !llvm::sys::fs::real_path(program, real))
      folders.push_back(llvm::sys::path::parent_path(llvm::sys::path::parent_path(real)).str());
    if (llvm::sys::path::filename(entry) == "bin")
      addPythonPackages(llvm::sys::path::parent_path(entry), packages);
  }
  folders.push_back("/usr/lib/nvidia-cuda-toolkit");
  llvm::append_range(folders, packages);
  return folders;
}

// Of sm_90a: 90.
unsigned generation(llvm::StringRef chip) {
  unsigned number = 0;
  chip.consume_front("sm_");
  return chip.consumeInteger(10, number) ? 0 : number;
}

// ptxas lists in its help what it has code for; 75 is the oldest generation of CUDA 13.
llvm::Error listChips(CudaToolkit &toolkit) {
  llvm::Expected<ToolResult> help = runTool(toolkit.ptxas, {"--help"});
  if (!help)
    return help.takeError();
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
  });
  std::string message;
  llvm::Triple triple(kGpuTriple);
  const llvm::Target *backend = llvm::TargetRegistry::lookupTarget(triple, message);
  if (!backend)
    return llvm::createStringError("LLVM has no code generator for NVIDIA's GPUs; use a build of it with NVPTX");
  std::unique_ptr<llvm::MCSubtargetInfo> known(backend->createMCSubtargetInfo(triple, "", ""));
  llvm::StringSet<> seen;
  for (llvm::StringRef word : llvm::split(help->output, '\''))
    if (word.starts_with("sm_") && generation(word) >= 75 && known->isCPUStringValid(word) && seen.insert(word).second)
      toolkit.chips.push_back(word.str());
  llvm::sort(toolkit.chips, [](const std::string &a, const std::string &b) {
    return std::make_pair(generation(a), a) < std::make_pair(generation(b), b);
  });
  if (help->status || toolkit.chips.empty())
    return llvm::createStringError(toolkit.ptxas + " does not work, or knows none of the chips from sm_75 on");
  return llvm::Error::success();
}
} // namespace

llvm::Expected<CudaToolkit> CudaToolkit::find(const std::string &folder) {
  CudaToolkit toolkit;
  auto accept = [&]() -> llvm::Expected<CudaToolkit> {
    if (llvm::Error error = listChips(toolkit))
      return llvm::createStringError(llvm::toString(std::move(error)) + "; " + remedy);
    return std::move(toolkit);
  };
  // What somebody asked for is not passed over in silence.
  auto only = [&](const std::string &place, const std::string &by) -> llvm::Expected<CudaToolkit> {
    std::string missing = findParts(place, toolkit);
    if (missing.empty())
      return accept();
    return llvm::createStringError("no CUDA toolkit in '" + place + "'" + by + ": it lacks " + missing + "; " + remedy);
  };
  if (!folder.empty())
    return only(folder, "");
  for (const char *name : {"SNUG_CUDA_TOOLKIT", "CUDA_HOME", "CUDA_PATH"})
    if (const char *value = getenv(name); value && *value)
      return only(value, std::string(" (the value of ") + name + ")");
  for (const std::string &place : usualFolders())
    if (findParts(place, toolkit).empty())
      return accept();
  return llvm::createStringError(std::string("a model for NVIDIA's GPUs needs ptxas, fatbinary and libdevice of the "
                                             "CUDA toolkit, which are in none of the usual places; ") +
                                 remedy);
}

llvm::Error CudaToolkit::check(llvm::ArrayRef<std::string> wanted) const {
  llvm::StringSet<> seen;
  for (const std::string &chip : wanted) {
    if (!llvm::is_contained(chips, chip))
      return llvm::createStringError("no code can be made for a chip '" + chip + "'; with this CUDA toolkit (" + ptxas +
                                     ") it can for " + llvm::join(chips, ", "));
    if (!seen.insert(chip).second)
      return llvm::createStringError("the chip " + chip + " is named twice");
  }
  return llvm::Error::success();
}
