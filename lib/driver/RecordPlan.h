// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a report, and whoever compiles, is told of the stages' programs.
#ifndef SNUG_DRIVER_RECORDPLAN_H
#define SNUG_DRIVER_RECORDPLAN_H

#include "lib/driver/Report.h"
#include "mlir/IR/BuiltinOps.h"

namespace snug {

// The files that the imported program refers to, for the depfile.
void recordFiles(mlir::ModuleOp program, const CompileOptions &options, CompileReport &report);
// Prints the chosen plan of a mesh where nobody chose it, and warns of weights that more than one device holds.
void sayMesh(const CompileOptions &options, const CompileReport &report);
// Of the planned program: what libraries do, which would like so many bytes to work in, and whether chunk loops change bits.
void recordLibraries(mlir::ModuleOp program, bool isForGpu, int64_t wantedWorkspace, CompileReport &report);
// What each bucket of the dims needs.
void recordBuckets(mlir::ModuleOp program, CompileReport &report);

} // namespace snug

#endif
