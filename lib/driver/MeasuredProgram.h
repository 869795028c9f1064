// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A small program, compiled as any model is and run by the runtime, to learn how fast its kernels are here.
#ifndef SNUG_LIB_DRIVER_MEASUREDPROGRAM_H
#define SNUG_LIB_DRIVER_MEASUREDPROGRAM_H

#include "mlir/IR/MLIRContext.h"
#include <cstdint>
#include <string>
#include <vector>

struct snug_context;
struct snug_model;

namespace snug {

class MeasuredProgram {
public:
  // `text`: a module with a function @main over f32 tensors of fixed shapes, as it is after canonicalization; `fuse`:
  // whether to fuse its kernels. `folder` is for its library.
  MeasuredProgram(mlir::MLIRContext &context, const std::string &text, const std::string &folder, int threads,
                  bool fuse = true);
  ~MeasuredProgram();
  MeasuredProgram(const MeasuredProgram &) = delete;
  MeasuredProgram &operator=(const MeasuredProgram &) = delete;

  // Empty, or what went wrong.
  const std::string &problem() const { return failure; }
  // Seconds of the fastest of many runs with so many threads, no more than the constructor's; 0 after a problem. Other
  // work on the machine only ever makes a run slower.
  double seconds(int threads);

private:
  bool compile(mlir::MLIRContext &context, const std::string &text, int threads, bool fuse);
  bool load();

  std::string library, failure;
  snug_model *model = nullptr;
  std::vector<std::vector<float>> inputs, outputs;
};

} // namespace snug

#endif
