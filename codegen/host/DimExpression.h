// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// An extent as the plan writes it: a number, a dim's name, or an expression such as "past + 1", "2*(seq+1)" or
// "max(seq, 10)".
#ifndef SNUG_CODEGEN_HOST_DIMEXPRESSION_H
#define SNUG_CODEGEN_HOST_DIMEXPRESSION_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace snug::codegen {

class DimExpression {
public:
  // Precedence as in C; division (`/`, `//`) and `%` are those of non-negative integers. A text that equals a dim's
  // name is that dim, whatever characters it has.
  static llvm::Expected<DimExpression> parse(llvm::StringRef text, llvm::ArrayRef<std::string> dims);

  template <class T>
  T evaluate(std::function<T(int64_t)> number, std::function<T(unsigned)> dim,
             std::function<T(char, T, T)> apply) const {
    std::vector<T> stack;
    for (const Step &step : steps) {
      if (step.kind == 'n') {
        stack.push_back(number(step.value));
      } else if (step.kind == 'd') {
        stack.push_back(dim(static_cast<unsigned>(step.value)));
      } else {
        T right = stack.back();
        stack.pop_back();
        stack.back() = apply(step.kind, stack.back(), right);
      }
    }
    return stack.back();
  }
  int64_t evaluate(llvm::ArrayRef<int64_t> dims) const;

  // scale * dims[symbol] + offset; symbol -1: the constant `offset`; symbol -2: anything else.
  struct Linear {
    int32_t symbol = -1;
    int64_t scale = 0, offset = 0;
  };
  Linear linear() const;

private:
  friend class DimExpressionParser;
  struct Step {
    char kind; // 'n'umber, 'd'im, or one of + - * / % and, for the larger and the smaller one, > <
    int64_t value;
  };
  std::vector<Step> steps; // postfix
};

} // namespace snug::codegen
#endif
