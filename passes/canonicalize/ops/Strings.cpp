// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops that make or look into strings. All of it is scalar code that asks the runtime.
#include "passes/canonicalize/ops/Strings.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

FailureOr<LoweredValue> snug::mapScalars(Lowering &l, ArrayRef<LoweredValue *> inputs, Type resultType, ScalarBody body) {
  Extents shape;
  for (LoweredValue *in : inputs) {
    auto merged = l.broadcast(shape, in->shape);
    if (!merged)
      return failure();
    shape = *merged;
  }
  unsigned rank = shape.size();
  ScalarKernel kernel(l, rank);
  SmallVector<SmallVector<int>> maps;
  for (LoweredValue *in : inputs) {
    SmallVector<int> &map = maps.emplace_back();
    for (auto [dim, extent] : llvm::enumerate(in->shape)) {
      unsigned place = rank - in->rank() + dim;
      bool isRepeated = extent == l.constant(1) && shape[place] != extent;
      map.push_back(isRepeated ? ScalarKernel::Any : static_cast<int>(place));
    }
    kernel.read(*in, map);
  }
  unsigned to = kernel.write(shape, resultType, dimsInOrder(rank));
  return kernel.build([&](ScalarCode &c, ValueRange i) {
    SmallVector<Value> elements;
    for (auto [number, map] : llvm::enumerate(maps)) {
      SmallVector<Value> at = llvm::map_to_vector(map, [&](int dim) { return dim >= 0 ? i[dim] : c.index(0); });
      elements.push_back(c.load(number, at));
    }
    c.store(body(c, elements), to, i);
  })[0];
}

Value snug::sameText(ScalarCode &c, Value x, Value y) {
  return c.equal(c.text(nn::TextKind::Compare, {x, y})[0], c.number(c.b.getI64Type(), 0));
}

namespace {
LogicalResult finish(Lowering &l, FailureOr<LoweredValue> value) {
  if (failed(value))
    return failure();
  l.define(0, *value);
  return success();
}

Type stringType(Lowering &l) { return onnx::StringType::get(l.b.getContext()); }

// One op of the runtime on each element.
LogicalResult mapText(Lowering &l, ArrayRef<LoweredValue *> inputs, nn::TextKind kind) {
  return finish(l, mapScalars(l, inputs, stringType(l), [&](ScalarCode &c, ValueRange x) { return c.text(kind, x)[0]; }));
}

LogicalResult concat(Lowering &l) { return mapText(l, {&l.input(0), &l.input(1)}, nn::TextKind::Concat); }

LogicalResult fullMatch(Lowering &l) {
  LoweredValue pattern = l.stringsValue({l.stringAttr("pattern", "")}, {});
  return finish(l, mapScalars(l, {&l.input(0), &pattern}, l.b.getI1Type(), [&](ScalarCode &c, ValueRange x) {
    return c.convert(c.text(nn::TextKind::FullMatch, x)[0], c.b.getI1Type());
  }));
}

LogicalResult normalizeStrings(Lowering &l) {
  LoweredValue &x = l.input(0);
  StringRef action = l.stringAttr("case_change_action", "NONE");
  auto stopwords = dyn_cast_or_null<ArrayAttr>(l.attr("stopwords"));
  if (x.rank() < 1 || x.rank() > 2 || (x.rank() == 2 && !l.same(x.shape[0], 1)))
    return l.error() << "an input of shape " << l.print(x.shape) << " is not supported, only [n] and [1, n]";
  if (action != "NONE" && action != "LOWER" && action != "UPPER")
    return l.error() << "case_change_action '" << action << "' is none that the standard knows";
  if (stopwords && !stopwords.empty())
    return l.error() << "stopwords are not supported: how many strings are left depends on data";
  if (action != "NONE")
    return mapText(l, {&x}, action == "LOWER" ? nn::TextKind::Lower : nn::TextKind::Upper);
  l.define(0, x);
  return success();
}

Value bitsOf(ScalarCode &c, Value real) {
  return arith::BitcastOp::create(c.b, c.loc, c.b.getI64Type(), c.convert(real, c.b.getF64Type()));
}

Value toText(ScalarCode &c, Value x, Type from) {
  Type i64 = c.b.getI64Type();
  if (isCode(from)) {
    Type wide = isa<FloatType>(from) ? Type(c.b.getF32Type()) : i64;
    x = convert(c.b, c.loc, x, from, wide);
    from = wide;
  }
  if (isa<FloatType>(from)) {
    constexpr double single = 24, twice = 53; // bits of mantissa
    return c.text(nn::TextKind::FromFloat, {bitsOf(c, x), c.number(i64, from.isF64() ? twice : single)})[0];
  }
  return c.text(isUnsigned(from) ? nn::TextKind::FromUint : nn::TextKind::FromInt, {c.convert(x, i64)})[0];
}

Value fromText(ScalarCode &c, Value text, Type to, CastMode mode) {
  Type i64 = c.b.getI64Type();
  auto number = [&](int64_t value) { return c.constant(c.b.getI64IntegerAttr(value)); };
  if (isa<FloatType>(to)) {
    Value real = arith::BitcastOp::create(c.b, c.loc, c.b.getF64Type(), c.text(nn::TextKind::ToFloat, {text})[0]);
    if (isCode(to))
      return convert(c.b, c.loc, real, c.b.getF64Type(), to, mode);
    return c.convert(real, computeType(cast<FloatType>(to)));
  }
  if (to.isUnsignedInteger(64)) // has twice its bits in scalar code
    return arith::ExtUIOp::create(c.b, c.loc, c.b.getIntegerType(128), c.text(nn::TextKind::ToUint, {text, number(-1)})[0]);
  auto range = *rangeOf(to);
  Value whole = c.text(nn::TextKind::ToInt, {text, number(range.first), number(range.second)})[0];
  if (isCode(to))
    return convert(c.b, c.loc, whole, i64, to, mode);
  if (to.isUnsignedInteger())
    return c.convert(whole, c.b.getIntegerType(2 * to.getIntOrFloatBitWidth()));
  return c.convert(whole, to);
}
} // namespace

LogicalResult snug::equalStrings(Lowering &l) {
  return finish(l, mapScalars(l, {&l.input(0), &l.input(1)}, l.b.getI1Type(),
                              [&](ScalarCode &c, ValueRange x) { return sameText(c, x[0], x[1]); }));
}

LogicalResult snug::castStrings(Lowering &l, Type to, CastMode mode) {
  LoweredValue &in = l.input(0);
  return finish(l, mapScalars(l, {&in}, to, [&](ScalarCode &c, ValueRange x) {
    return isString(to) ? toText(c, x[0], in.elementType) : fromText(c, x[0], to, mode);
  }));
}

void snug::addStringOps(LoweringTable &t) {
  t.add("RegexFullMatch", 20, fullMatch, types::String);
  t.add("StringConcat", 20, concat, types::String);
  t.add("StringNormalizer", 10, normalizeStrings, types::String);
}
