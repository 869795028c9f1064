// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_CODEGEN_LINK_LINK_H
#define SNUG_CODEGEN_LINK_LINK_H

#include "mlir/Support/LLVM.h"
#include <string>
#include <vector>

namespace snug::codegen {

// Links object files (their bytes) to a shared library at `output`, by lld.
// Undefined symbols outside libc and libm are an error. Same bytes in, same bytes out. On failure: one message, and the
// exit code (5: a library is missing or the output cannot be written; 70: the objects do not link).
mlir::LogicalResult linkSharedLibrary(const std::vector<llvm::SmallVector<char, 0>> &objects, const std::string &output,
                                      std::string &error, int &exitCode);

} // namespace snug::codegen
#endif
