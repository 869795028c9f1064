// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/link/StringTable.h"
#include "codegen/Codegen.h"
#include "codegen/link/Weights.h"
#include "dialects/nn/TextOps.h"
#include "lib/analysis/Arguments.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "snug/ModelABI.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

FailureOr<StringTable> StringTable::plan(ModuleOp module) {
  StringTable table;
  SymbolTable symbols(module);
  WalkResult result = module.walk([&](nn::WeightOp op) {
    auto data = symbols.lookup<nn::DataOp>(op.getData());
    if (!data || !holdsStrings(data) || table.offsetOf(op))
      return WalkResult::advance();
    auto value = cast<DenseStringElementsAttr>(data.getValueAttr());
    ArrayRef<StringRef> strings = value.getRawStringData();
    std::string error;
    auto numbers = elementsOf(op, data, error);
    if (failed(numbers)) {
      op.emitOpError() << error;
      return WalkResult::interrupt();
    }
    table.entries.push_back({data.getSymNameAttr(), op.getRecipe(), table.strings.size() * sizeof(snug_string)});
    for (int64_t number : *numbers)
      table.strings.push_back(strings[value.isSplat() ? 0 : number]);
    return WalkResult::advance();
  });
  if (result.wasInterrupted())
    return failure();
  return table;
}

std::optional<uint64_t> StringTable::offsetOf(nn::WeightOp op) const {
  for (const Entry &entry : entries)
    if (entry.data.getValue() == op.getData() && entry.recipe == op.getRecipe())
      return entry.offset;
  return std::nullopt;
}

int64_t snug::libraryBytes(ModuleOp module, int threads, bool onGpu) {
  auto number = [&](StringRef name, int64_t otherwise) {
    auto attribute = module->getAttrOfType<IntegerAttr>(name);
    return attribute ? attribute.getInt() : otherwise;
  };
  if (onGpu) {
    int64_t extents = 0;
    if (auto main = module.lookupSymbol<func::FuncOp>("main"))
      for (unsigned i = 0; i < main.getNumArguments(); ++i)
        if (main.getArgAttr(i, kShapeOf))
          extents += cast<ShapedType>(main.getArgumentTypes()[i]).getNumElements();
    return extents * static_cast<int64_t>(sizeof(int64_t));
  }
  auto table = StringTable::plan(module);
  int64_t total = (256 + 128 * number("snug.threads", threads)) << 10;
  total += number(kTextBytes, 0) + (succeeded(table) ? static_cast<int64_t>(table->bytes()) : 0);
  constexpr int64_t expressionBytes = 8 << 20; // what RE2 limits itself to
  module.walk([&](nn::TextOp op) { total += op.getKind() == nn::TextKind::FullMatch ? expressionBytes : 0; });
  return total;
}

uint64_t StringTable::bytes() const {
  uint64_t total = strings.size() * sizeof(snug_string);
  for (StringRef text : strings)
    total += text.size();
  return total;
}
