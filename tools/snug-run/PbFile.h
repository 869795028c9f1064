// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tensors as ONNX stores them: a serialized TensorProto, as in the test data sets of ONNX models.
#ifndef SNUG_TOOLS_SNUG_RUN_PB_FILE_H
#define SNUG_TOOLS_SNUG_RUN_PB_FILE_H

#include "tools/snug-run/HostTensor.h"

#include <string>

namespace snug {

// By its name: .pb. All else is taken as .npy.
bool isPbFile(const std::string &path);

// Reads a tensor of bool, int, uint, float (16 to 64 bits), bfloat16 or complex, with raw or typed data.
HostTensor readPbFile(const std::string &path);

// Writes through a temporary file beside `path`: either the whole file is there afterwards, or what was before.
void writePbFile(const std::string &path, const std::string &name, const HostTensor &tensor);

} // namespace snug

#endif
