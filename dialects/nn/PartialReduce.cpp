// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug_nn.partial_reduce.
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"

using namespace mlir;
using namespace snug;
using namespace snug::nn;

SmallVector<utils::IteratorType> PartialReduceOp::getIteratorTypesArray() {
  return llvm::map_to_vector(getIteratorTypes().getAsValueRange<StringAttr>(), [](StringRef type) {
    return type == "parallel" ? utils::IteratorType::parallel : utils::IteratorType::reduction;
  });
}

bool PartialReduceOp::hasIndexSemantics() { return !getBody()->getOps<linalg::IndexOp>().empty(); }

// What linalg asks of its ops has been checked.
LogicalResult PartialReduceOp::verify() {
  for (StringRef type : getIteratorTypes().getAsValueRange<StringAttr>())
    if (type != "parallel" && type != "reduction")
      return emitOpError() << "iterator type '" << type << "' is neither parallel nor reduction";
  AffineExpr part = getAffineDimExpr(partDim(), getContext());
  for (auto [operand, map] : llvm::enumerate(getIndexingMapsArray())) {
    bool isOutput = operand >= getInputs().size();
    bool isFirst = isOutput && map.getNumResults() && map.getResult(0) == part;
    AffineMap others = isFirst ? map.dropResult(0) : map;
    if (isFirst != isOutput || others.isFunctionOfDim(partDim()))
      return emitOpError() << "indexing map " << operand << (isOutput ? " does not have the parts as its first dim alone" : " has the parts");
    for (auto [dim, type] : llvm::enumerate(getIteratorTypesArray()))
      if (isOutput && type == utils::IteratorType::reduction && map.isFunctionOfDim(dim))
        return emitOpError() << "indexing map " << operand << " has dim " << dim << ", which is reduced";
  }
  return success();
}

FailureOr<IndexRule> PartialReduceOp::getIndexRule() {
  IndexRule rule;
  rule.operands = getIndexingMapsArray();
  for (utils::IteratorType type : getIteratorTypesArray())
    rule.dims.push_back({type == utils::IteratorType::parallel ? IterKind::Parallel : IterKind::Whole, Combiner::None});
  rule.dims[partDim()].kind = IterKind::Whole;
  llvm::append_range(rule.results, ArrayRef(rule.operands).drop_front(getInputs().size()));
  keepWindows(rule);
  return rule;
}

void PartialReduceOp::placeSlice(OpBuilder &builder, unsigned dim, Value offset) {
  placeLinalgIndices(*this, builder, dim, offset);
}
