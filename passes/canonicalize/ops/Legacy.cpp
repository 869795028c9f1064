// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Forms of opsets 1 to 6: what later versions say by broadcasting from the right, or by inputs, was said by attributes.
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

namespace {
// The second input stands at `axis` of the first, and is broadcast from there; then as in opset 7.
LogicalResult broadcastAtAxis(Lowering &l) {
  LoweringFunction later = LoweringTable::get().find("", l.node().getOpType(), 7)->function;
  LoweredValue &x = l.input(0), &y = l.input(1);
  bool isChannel = l.node().getOpType() == "PRelu"; // one slope a channel
  if ((!isChannel && (!l.intAttr("broadcast", 0) || !l.attr("axis"))) || y.rank() == 0 || x.rank() == y.rank() ||
      (isChannel && (y.rank() != 1 || x.rank() < 3)))
    return later(l);
  auto axis = l.normalizeAxis(l.intAttr("axis", 1), x.rank());
  if (!axis)
    return failure();
  if (*axis + y.rank() > x.rank())
    return l.error() << "an input of shape " << l.print(y.shape) << " does not fit axis " << *axis << " of shape " << l.print(x.shape);
  Extents shape = y.shape;
  shape.append(x.rank() - *axis - y.rank(), l.constant(1));
  auto placed = l.reshape(y, shape);
  if (failed(placed))
    return failure();
  // The later form reads it where this input stands.
  Value operand = l.node()->getOperand(1);
  LoweredValue kept = y;
  l.map(operand, *placed);
  LogicalResult result = later(l);
  l.map(operand, kept);
  return result;
}

// Repeats along one axis, as inputs say.
LogicalResult tileAlongAxis(Lowering &l) {
  LoweredValue value = l.input(0);
  auto times = l.constantInts(l.input(1)), along = l.constantInts(l.input(2));
  if (!times || !along || times->size() != 1 || along->size() != 1 || (*times)[0] < 1)
    return l.error() << "tiles or an axis that are computed from data are not supported; give them with --value";
  auto axis = l.normalizeAxis((*along)[0], value.rank());
  if (!axis)
    return failure();
  std::vector<LoweredValue> parts((*times)[0], value);
  auto whole = l.concat(parts, *axis);
  if (failed(whole))
    return failure();
  l.define(0, *whole);
  return success();
}

// Was of training unless it said otherwise; compiled models are there to infer.
LogicalResult keepAll(Lowering &l) {
  if (!l.intAttr("is_test", 1))
    return l.error() << "training mode is not supported before opset 12";
  l.define(0, l.input(0));
  l.define(1, l.splatValue(numberAttr(l.input(0).elementType, 1), l.input(0).shape, l.input(0).elementType));
  return success();
}
LogicalResult keepAllWithMask(Lowering &l) {
  l.define(0, l.input(0));
  l.define(1, l.splatValue(l.b.getBoolAttr(true), l.input(0).shape));
  return success();
}
} // namespace

void snug::addLegacyOps(LoweringTable &t) {
  for (StringRef op : {"Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Less", "Greater", "PRelu"})
    t.add(op, 1, broadcastAtAxis, t.find("", op, 13)->types);
  // Only what they took over of their inputs' memory, or allowed of types and shapes, was different.
  for (StringRef op : {"Abs", "Ceil", "Exp", "Floor", "Log", "Neg", "Reciprocal", "Sigmoid", "Sqrt", "Tanh", "Sum", "Max", "Min",
                       "Mean", "Gemm", "InstanceNormalization", "BatchNormalization", "Concat", "Tile"})
    t.add(op, 1, t.find("", op, 13)->function, t.find("", op, 13)->types);
  t.add("Tile", 1, tileAlongAxis);
  t.add("Dropout", 1, keepAll);
  t.add("Dropout", 10, keepAllWithMask);
}
