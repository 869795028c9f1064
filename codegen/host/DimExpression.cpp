// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/host/DimExpression.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace snug::codegen;

namespace snug::codegen {
class DimExpressionParser {
public:
  DimExpressionParser(llvm::StringRef text, llvm::ArrayRef<std::string> dims) : text(text), rest(text), dims(dims) {}

  llvm::Expected<DimExpression> run() {
    if (!dim(text.trim())) {
      sum();
      skip();
      if (error.empty() && !rest.empty())
        error = ("'" + rest + "' is left over").str();
    }
    if (!error.empty())
      return llvm::createStringError("the extent '" + text.str() + "' cannot be read: " + error);
    return std::move(result);
  }

private:
  void skip() { rest = rest.ltrim(); }
  bool take(llvm::StringRef token) {
    skip();
    return rest.consume_front(token);
  }
  bool dim(llvm::StringRef name) {
    auto found = llvm::find(dims, name);
    if (found == dims.end())
      return false;
    result.steps.push_back({'d', found - dims.begin()});
    return true;
  }
  void sum() {
    product();
    while (error.empty()) {
      char op = take("+") ? '+' : take("-") ? '-' : 0;
      if (!op)
        return;
      product();
      result.steps.push_back({op, 0});
    }
  }
  void product() {
    atom();
    while (error.empty()) {
      char op = take("*") ? '*' : take("//") || take("/") ? '/' : take("%") ? '%' : 0;
      if (!op)
        return;
      atom();
      result.steps.push_back({op, 0});
    }
  }
  void atom() {
    if (++depth > 100) {
      error = "it is nested too deeply";
      return;
    }
    skip();
    char extremum = take("max(") ? '>' : take("min(") ? '<' : 0;
    if (extremum || take("(")) {
      sum();
      if (extremum) {
        if (error.empty() && !take(","))
          error = "a ',' is missing";
        sum();
        result.steps.push_back({extremum, 0});
      }
      if (error.empty() && !take(")"))
        error = "a ')' is missing";
    } else if (!rest.empty() && llvm::isDigit(rest[0])) {
      int64_t value;
      if (rest.consumeInteger(10, value))
        error = "a number is too large";
      else
        result.steps.push_back({'n', value});
    } else {
      llvm::StringRef name = rest.take_while([](char c) { return llvm::isAlnum(c) || c == '_' || c == '.'; });
      rest = rest.drop_front(name.size());
      if (name.empty())
        error = "a number or a dim's name is missing";
      else if (!dim(name))
        error = ("there is no dim '" + name + "'").str();
    }
    --depth;
  }

  llvm::StringRef text, rest;
  llvm::ArrayRef<std::string> dims;
  DimExpression result;
  std::string error;
  int depth = 0;
};
} // namespace snug::codegen

llvm::Expected<DimExpression> DimExpression::parse(llvm::StringRef text, llvm::ArrayRef<std::string> dims) {
  return DimExpressionParser(text, dims).run();
}

int64_t DimExpression::evaluate(llvm::ArrayRef<int64_t> dims) const {
  return evaluate<int64_t>([](int64_t value) { return value; }, [&](unsigned dim) { return dims[dim]; },
                           [](char op, int64_t a, int64_t b) {
                             switch (op) {
                             case '+':
                               return a + b;
                             case '-':
                               return a - b;
                             case '*':
                               return a * b;
                             case '>':
                               return std::max(a, b);
                             case '<':
                               return std::min(a, b);
                             case '/':
                               return b ? a / b : 0;
                             default:
                               return b ? a % b : 0;
                             }
                           });
}

DimExpression::Linear DimExpression::linear() const {
  constexpr Linear other{-2, 0, 0};
  return evaluate<Linear>([](int64_t value) { return Linear{-1, 0, value}; },
                          [](unsigned dim) { return Linear{static_cast<int32_t>(dim), 1, 0}; },
                          [=](char op, Linear a, Linear b) {
                            if (a.symbol == -2 || b.symbol == -2)
                              return other;
                            if (op == '+' || op == '-') {
                              int64_t sign = op == '+' ? 1 : -1;
                              if (a.symbol >= 0 && b.symbol >= 0 && a.symbol != b.symbol)
                                return other;
                              Linear sum{std::max(a.symbol, b.symbol), a.scale + sign * b.scale,
                                         a.offset + sign * b.offset};
                              if (sum.scale == 0)
                                sum.symbol = -1;
                              return sum;
                            }
                            if (op == '*' && (a.symbol == -1 || b.symbol == -1)) {
                              if (a.symbol == -1)
                                std::swap(a, b);
                              Linear product{a.symbol, a.scale * b.offset, a.offset * b.offset};
                              if (product.scale == 0)
                                product.symbol = -1;
                              return product;
                            }
                            if (a.symbol == -1 && b.symbol == -1 && (op == '>' || op == '<'))
                              return Linear{-1, 0, op == '>' ? std::max(a.offset, b.offset) : std::min(a.offset, b.offset)};
                            if (a.symbol == -1 && b.symbol == -1 && b.offset)
                              return Linear{-1, 0, op == '/' ? a.offset / b.offset : a.offset % b.offset};
                            return other;
                          });
}
