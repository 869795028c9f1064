// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Classic machine learning: what ai.onnx.ml does to features.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Classic.h"
#include "passes/canonicalize/ops/Strings.h"
#include <cmath>

using namespace mlir;
using namespace snug;

std::optional<SmallVector<double>> snug::floatsAttr(Lowering &l, StringRef name) {
  if (auto list = dyn_cast_or_null<DenseF32ArrayAttr>(l.attr(name)))
    return SmallVector<double>(list.asArrayRef().begin(), list.asArrayRef().end());
  // An attribute that is a tensor.
  if (auto dense = dyn_cast_or_null<DenseFPElementsAttr>(l.attr(name)))
    return llvm::map_to_vector(dense.getValues<APFloat>(), [](APFloat value) {
      bool lost;
      value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
      return value.convertToDouble();
    });
  return std::nullopt;
}

// Numbers as a constant list.
LoweredValue snug::listOf(Lowering &l, ArrayRef<double> values, FloatType type) {
  SmallVector<Attribute> attributes;
  for (double value : values)
    attributes.push_back(l.b.getFloatAttr(type, value));
  auto shape = RankedTensorType::get({static_cast<int64_t>(values.size())}, type);
  return l.dataValue(DenseElementsAttr::get(shape, attributes));
}
LoweredValue snug::listOf(Lowering &l, ArrayRef<int64_t> values) {
  auto shape = RankedTensorType::get({static_cast<int64_t>(values.size())}, l.b.getI64Type());
  return l.dataValue(DenseElementsAttr::get(shape, values));
}

std::optional<SmallVector<StringRef>> snug::stringsAttr(Lowering &l, StringRef name) {
  auto list = dyn_cast_or_null<ArrayAttr>(l.attr(name));
  if (!list)
    return std::nullopt;
  return llvm::map_to_vector(list, [](Attribute text) { return cast<StringAttr>(text).getValue(); });
}

namespace {
constexpr int any = ScalarKernel::Any;

LogicalResult binarizer(Lowering &l) {
  LoweredValue &x = l.input(0);
  Type type = x.elementType;
  double threshold = l.floatAttr("threshold", 0);
  return finish(l, l.elementwise({&x}, type, [&](OpBuilder &b, Location loc, ValueRange a) {
    ScalarCode c{b, loc};
    return c.select(c.less(c.number(type, threshold), a[0]), c.number(type, 1), c.number(type, 0));
  }));
}

// Elements of the last dim.
LogicalResult arrayFeatureExtractor(Lowering &l) {
  LoweredValue &x = l.input(0), &indices = l.input(1);
  AffineExpr count = l.constant(1);
  for (AffineExpr extent : indices.shape)
    count = count * extent;
  auto flat = l.reshape(indices, {count});
  if (failed(flat) || x.rank() < 1)
    return failure();
  Extents shape = x.shape;
  shape.back() = count;
  Value init = l.empty(shape, x.elementType);
  auto op = nn::GatherOp::create(l.b, l.loc(), init.getType(), l.tensor(x), l.tensor(*flat), Value(), init,
                                 l.b.getI64IntegerAttr(x.rank() - 1));
  LoweredValue result = l.tensorValue(op->getResult(0), shape, x.elementType);
  if (x.rank() > 1)
    return finish(l, result);
  return finish(l, l.reshape(result, {l.constant(1), count}));
}

// (x - offset) * scale, each one number or one a column.
LogicalResult scaler(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto offset = floatsAttr(l, "offset"), scale = floatsAttr(l, "scale");
  if (!offset || !scale)
    return l.error() << "offset or scale is missing";
  FloatType f32 = l.b.getF32Type();
  LoweredValue shift = listOf(l, *offset, f32), factor = listOf(l, *scale, f32);
  return finish(l, l.elementwise({&x, &shift, &factor}, f32, [&](OpBuilder &b, Location loc, ValueRange a) {
    ScalarCode c{b, loc};
    return c.mul(c.sub(c.convert(a[0], f32), a[1]), a[2]);
  }));
}

// Values that stand for missing ones are replaced.
LogicalResult imputer(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto values = floatsAttr(l, "imputed_value_floats");
  auto wholes = l.intsAttr("imputed_value_int64s");
  auto real = dyn_cast<FloatType>(x.elementType);
  if (real ? !values : !wholes || !x.elementType.isSignlessInteger(64))
    return l.error() << "there are no imputed values for elements of type " << nameOf(x.elementType);
  double missing = l.floatAttr("replaced_value_float", 0);
  int64_t missingWhole = l.wideIntAttr("replaced_value_int64", 0);
  LoweredValue fill = real ? listOf(l, *values, real) : listOf(l, *wholes);
  return finish(l, l.elementwise({&x, &fill}, x.elementType, [&](OpBuilder &b, Location loc, ValueRange a) {
    ScalarCode c{b, loc};
    if (!real)
      return c.select(c.equal(a[0], c.constant(b.getI64IntegerAttr(missingWhole))), a[1], a[0]);
    Value hit = std::isnan(missing) ? c.negate(c.equal(a[0], a[0])) : c.equal(a[0], c.number(real, missing));
    return c.select(hit, a[1], a[0]);
  }));
}

// Columns of all inputs side by side, as floats; of each as many as it says.
LogicalResult featureVectorizer(Lowering &l) {
  FloatType f32 = l.b.getF32Type();
  SmallVector<int64_t> columns = l.intsAttr("inputdimensions").value_or(SmallVector<int64_t>());
  if (!l.numInputs() || columns.size() != l.numInputs())
    return l.error() << "inputdimensions has " << columns.size() << " numbers for " << l.numInputs() << " inputs";
  AffineExpr rows;
  int64_t total = 0;
  for (unsigned i = 0; i < l.numInputs(); ++i) {
    LoweredValue &x = l.input(i);
    if (x.rank() < 1 || x.rank() > 2 || columns[i] < 0 || columns[i] > INT32_MAX || (rows && !l.same(rows, x.shape[0])))
      return l.error() << "input " << i << " of shape " << l.print(x.shape) << " does not fit the others or inputdimensions";
    rows = x.shape[0];
    total += columns[i];
  }
  ScalarKernel kernel(l, 1);
  for (unsigned i = 0; i < l.numInputs(); ++i)
    kernel.read(l.input(i), l.input(i).rank() == 2 ? SmallVector<int>{0, any} : SmallVector<int>{0});
  unsigned to = kernel.write({rows, l.constant(total)}, f32, {0, any});
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange row) {
    int64_t first = 0;
    for (unsigned i = 0; i < l.numInputs(); ++i) {
      bool isMatrix = l.input(i).rank() == 2;
      Value there = isMatrix ? c.extent(i, 1) : c.index(1);
      c.loop(c.index(columns[i]), [&](Value k) {
        Value place = c.add(c.index(first), k);
        c.store(c.number(f32, 0), to, {row[0], place});
        c.ifThen(c.less(k, there), [&] {
          Value element = isMatrix ? c.load(i, {row[0], k}) : c.load(i, {row[0]});
          c.store(c.convert(element, f32), to, {row[0], place});
        });
      });
      first += columns[i];
    }
  })[0]);
  return success();
}

// Rows divided by their largest element, sum of sizes, or length.
LogicalResult normalizer(Lowering &l) {
  LoweredValue &x = l.input(0);
  StringRef norm = l.stringAttr("norm", "MAX");
  FloatType f32 = l.b.getF32Type();
  if (x.rank() < 1 || (norm != "MAX" && norm != "L1" && norm != "L2"))
    return l.error() << "norm '" << norm << "' of an input of shape " << l.print(x.shape) << " is not supported";
  auto real = l.elementwise({&x}, f32, [&](OpBuilder &b, Location loc, ValueRange a) { return ScalarCode{b, loc}.convert(a[0], f32); });
  if (failed(real))
    return failure();
  auto sized = l.elementwise({&*real}, f32, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    ScalarCode c{b, loc};
    return norm == "L2" ? c.mul(a[0], a[0]) : norm == "L1" ? math::AbsFOp::create(b, loc, a[0]).getResult() : a[0];
  });
  if (failed(sized))
    return failure();
  SmallVector<bool> reduced(x.rank(), false);
  reduced.back() = true;
  LoweredValue whole = l.reduce(norm == "MAX" ? Reduction::Max : Reduction::Sum, *sized, reduced);
  Extents kept = x.shape;
  kept.back() = l.constant(1);
  auto spread = l.reshape(whole, kept);
  if (failed(spread))
    return failure();
  return finish(l, l.elementwise({&*real, &*spread}, f32, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    ScalarCode c{b, loc};
    Value by = norm == "L2" ? math::SqrtOp::create(b, loc, a[1]).getResult() : a[1], zero = c.number(f32, 0);
    return c.select(c.equal(by, zero), a[0], c.div(a[0], by));
  }));
}

// One output a category.
LogicalResult oneHotEncoder(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto categories = l.intsAttr("cats_int64s");
  auto words = stringsAttr(l, "cats_strings");
  bool isText = isString(x.elementType);
  if (isText ? !words : !categories)
    return l.error() << "there are no categories of the input's element type, " << nameOf(x.elementType);
  FloatType f32 = l.b.getF32Type();
  LoweredValue names = isText ? stringsValue(l, *words, {static_cast<int64_t>(words->size())}) : listOf(l, *categories);
  Extents wide = x.shape;
  wide.push_back(l.constant(1));
  auto spread = l.reshape(x, wide);
  if (failed(spread))
    return failure();
  if (isText)
    return finish(l, mapScalars(l, {&*spread, &names}, f32, [&](ScalarCode &c, ValueRange x) {
      return c.convert(sameText(c, x[0], x[1]), f32);
    }));
  return finish(l, l.elementwise({&*spread, &names}, f32, [&](OpBuilder &b, Location loc, ValueRange a) {
    ScalarCode c{b, loc};
    return c.convert(c.equal(c.convert(a[0], b.getI64Type()), a[1]), f32);
  }));
}

} // namespace

void snug::addClassicOps(LoweringTable &t) {
  constexpr llvm::StringLiteral domain = "ai.onnx.ml";
  t.add("ArrayFeatureExtractor", 1, arrayFeatureExtractor, types::Numbers | types::String, domain);
  t.add("FeatureVectorizer", 1, featureVectorizer, domain);
  t.add("Binarizer", 1, binarizer, domain);
  t.add("Imputer", 1, imputer, domain);
  t.add("Normalizer", 1, normalizer, domain);
  t.add("OneHotEncoder", 1, oneHotEncoder, types::Ordinary | types::String, domain);
  t.add("Scaler", 1, scaler, domain);
}
