// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the ONNX standard says of the element types of an op's inputs and outputs, read from the `onnx` package when Snug
// is built.
#ifndef SNUG_PASSES_CANONICALIZE_OPSCHEMAS_H
#define SNUG_PASSES_CANONICALIZE_OPSCHEMAS_H

#include "passes/canonicalize/StringType.h"

namespace snug {

struct OpSchema {
  const char *domain, *opType;
  int since;
  bool mixes; // further inputs beyond the last named one may have a type each
  // One letter a formal parameter, the same for those of one type. The last holds for all that follow.
  const char *inputs, *outputs;
  TypeSet sets[8]; // of letter 'a', 'b'...

  char inputLetter(unsigned index) const { return letter(inputs, index); }
  char outputLetter(unsigned index) const { return letter(outputs, index); }
  // Types that are no tensors of numbers are left out.
  TypeSet set(char letter) const { return letter ? sets[letter - 'a'] & types::Any : 0; }

  // The version that `opset` of `domain` has, null where the standard knows no such op.
  static const OpSchema *find(llvm::StringRef domain, llvm::StringRef opType, int64_t opset);

private:
  // 0 where there is none.
  static char letter(llvm::StringRef letters, unsigned index) {
    return letters.empty() ? 0 : letters[index < letters.size() ? index : letters.size() - 1];
  }
};

} // namespace snug

#endif
