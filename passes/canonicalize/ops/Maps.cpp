// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ai.onnx.ml: maps, as outputs of a model. A sequence of maps whose keys the node states is a tensor with a row of values for
// each of them; the keys go with the compiled model.
#include "lib/analysis/Arguments.h"
#include "lib/analysis/NodeName.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Classic.h"

using namespace mlir;
using namespace snug;

namespace {
LogicalResult zipMap(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto strings = stringsAttr(l, "classlabels_strings");
  auto ints = l.intsAttr("classlabels_int64s");
  bool isText = strings && !strings->empty();
  int64_t count = isText ? strings->size() : ints ? ints->size() : 0;
  if (!count || (isText && ints && !ints->empty()))
    return l.error() << "needs either classlabels_strings or classlabels_int64s";
  if (x.rank() < 1 || x.rank() > 2 || !l.same(x.shape.back(), count))
    return l.error() << "an input of shape " << l.print(x.shape) << " has not one value for each of " << count << " keys";
  SmallVector<Attribute> maps;
  if (auto others = l.module->getAttrOfType<ArrayAttr>(kMaps))
    llvm::append_range(maps, others);
  Attribute keys = isText ? Attribute(l.b.getStrArrayAttr(*strings)) : Attribute(l.b.getDenseI64ArrayAttr(*ints));
  for (OpOperand &use : l.node()->getResult(0).getUses()) {
    auto main = dyn_cast<func::FuncOp>(use.getOwner()->getParentOp());
    if (!main || !isa<func::ReturnOp>(use.getOwner()))
      return l.error() << "maps are supported as outputs of the model only, and node '" << nodeName(use.getOwner()->getLoc())
                       << "' reads these";
    auto name = main.getResultAttrOfType<StringAttr>(use.getOperandNumber(), "snug.name");
    maps.push_back(l.b.getDictionaryAttr({l.b.getNamedAttr("output", name), l.b.getNamedAttr("keys", keys)}));
  }
  if (!maps.empty())
    l.module->setAttr(kMaps, l.b.getArrayAttr(maps));
  return finish(l, x.rank() == 2 ? FailureOr<LoweredValue>(x) : l.reshape(x, {l.constant(1), l.constant(count)}));
}
} // namespace

void snug::addMapOps(LoweringTable &t) { t.add("ZipMap", 1, zipMap, "ai.onnx.ml"); }
