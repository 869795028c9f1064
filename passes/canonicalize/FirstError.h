// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_FIRSTERROR_H
#define SNUG_PASSES_CANONICALIZE_FIRSTERROR_H

#include "mlir/IR/Diagnostics.h"
#include <optional>
#include <string>

namespace snug {

// Keeps to itself what errors are said while it lives, the first of them to be told later; warnings go on.
struct FirstError {
  explicit FirstError(mlir::MLIRContext *context)
      : handler(context, [this](mlir::Diagnostic &diagnostic) {
          if (diagnostic.getSeverity() != mlir::DiagnosticSeverity::Error)
            return mlir::failure();
          if (text.empty()) {
            text = diagnostic.str();
            where = diagnostic.getLocation();
          }
          return mlir::success();
        }) {}
  mlir::ScopedDiagnosticHandler handler;
  std::string text;
  std::optional<mlir::Location> where;
};

} // namespace snug

#endif
