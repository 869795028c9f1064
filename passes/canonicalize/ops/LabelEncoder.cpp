// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ai.onnx.ml: elements looked up in a table. Keys are sorted by the compiler, and found by halving.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Classic.h"
#include "passes/canonicalize/ops/Strings.h"
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace snug;

namespace {
// Elements of one kind: of an attribute that is a list or a tensor.
struct Items {
  Type type; // f32, f64, an integer or string; null where there are none
  SmallVector<double> floats;
  SmallVector<int64_t> ints;
  SmallVector<StringRef> strings;

  size_t size() const { return isString(type) ? strings.size() : isa<FloatType>(type) ? floats.size() : ints.size(); }
  // NaN is the largest.
  bool less(size_t x, size_t y) const {
    if (isString(type))
      return strings[x] < strings[y];
    if (isa<FloatType>(type))
      return floats[x] < floats[y] || (std::isnan(floats[y]) && !std::isnan(floats[x]));
    return ints[x] < ints[y];
  }
  Items inOrder(ArrayRef<size_t> order) const {
    Items sorted{type, {}, {}, {}};
    for (size_t place : order) {
      if (isString(type))
        sorted.strings.push_back(strings[place]);
      else if (isa<FloatType>(type))
        sorted.floats.push_back(floats[place]);
      else
        sorted.ints.push_back(ints[place]);
    }
    return sorted;
  }
  void append(const Items &other) {
    strings.append(other.strings);
    floats.append(other.floats);
    ints.append(other.ints);
  }
};

Items itemsOf(MLIRContext *context, Attribute attribute) {
  Items items;
  Builder b(context);
  Type string = elementTypeOf(context, 8);
  if (auto text = dyn_cast_or_null<StringAttr>(attribute)) {
    items.type = string;
    items.strings = {text.getValue()};
  } else if (auto texts = dyn_cast_or_null<ArrayAttr>(attribute)) {
    items.type = string;
    for (Attribute text : texts)
      items.strings.push_back(cast<StringAttr>(text).getValue());
  } else if (auto floats = dyn_cast_or_null<DenseF32ArrayAttr>(attribute)) {
    items.type = b.getF32Type();
    items.floats.assign(floats.asArrayRef().begin(), floats.asArrayRef().end());
  } else if (auto number = dyn_cast_or_null<FloatAttr>(attribute)) {
    items.type = number.getType();
    items.floats = {number.getValueAsDouble()};
  } else if (auto ints = dyn_cast_or_null<DenseI64ArrayAttr>(attribute)) {
    items.type = b.getI64Type();
    items.ints.assign(ints.asArrayRef().begin(), ints.asArrayRef().end());
  } else if (auto whole = dyn_cast_or_null<IntegerAttr>(attribute)) {
    items.type = b.getI64Type();
    items.ints = {whole.getInt()};
  } else if (auto dense = dyn_cast_or_null<DenseStringElementsAttr>(attribute)) {
    items.type = string;
    for (StringRef text : dense.getValues<StringRef>())
      items.strings.push_back(text);
  } else if (auto dense = dyn_cast_or_null<DenseFPElementsAttr>(attribute)) {
    items.type = dense.getElementType();
    for (APFloat value : dense.getValues<APFloat>()) {
      bool lost;
      value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
      items.floats.push_back(value.convertToDouble());
    }
  } else if (auto dense = dyn_cast_or_null<DenseIntElementsAttr>(attribute);
             dense && dense.getElementType().isSignlessInteger() && !dense.getElementType().isInteger(1)) {
    items.type = dense.getElementType();
    for (const APInt &value : dense.getValues<APInt>())
      items.ints.push_back(value.getSExtValue());
  }
  return items;
}

LoweredValue constantOf(Lowering &l, const Items &items) {
  int64_t count = items.size();
  if (isString(items.type))
    return stringsValue(l, items.strings, {count});
  if (auto type = dyn_cast<FloatType>(items.type))
    return listOf(l, items.floats, type);
  unsigned width = items.type.getIntOrFloatBitWidth();
  SmallVector<APInt> values = llvm::map_to_vector(
      items.ints, [&](int64_t value) { return APInt(64, value, /*isSigned=*/true).trunc(width); });
  return l.dataValue(DenseElementsAttr::get(RankedTensorType::get({count}, items.type), values));
}

// Each element of the input as the value of its key, or as `fallback`.
FailureOr<LoweredValue> lookUp(Lowering &l, LoweredValue &x, const Items &keys, Items values, const Items &fallback) {
  if (!keys.type || !values.type || !keys.size() || keys.size() != values.size() || fallback.type != values.type ||
      fallback.size() != 1) {
    l.error() << "there are not as many values as keys, or keys, values or the default are missing or of a type that is "
                 "not supported";
    return failure();
  }
  if (x.elementType != keys.type) {
    l.error() << "the input has elements of type " << nameOf(x.elementType) << ", the keys are of type " << nameOf(keys.type);
    return failure();
  }
  SmallVector<size_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  llvm::stable_sort(order, [&](size_t a, size_t b) { return keys.less(a, b); }); // of equal keys the first one counts
  int64_t count = order.size();
  Items sorted = keys.inOrder(order);
  bool hasNan = isa<FloatType>(keys.type) && std::isnan(sorted.floats.back());
  int64_t firstNan = count;
  while (hasNan && firstNan > 0 && std::isnan(sorted.floats[firstNan - 1]))
    --firstNan;
  Items results = values.inOrder(order);
  results.append(fallback);
  LoweredValue table = constantOf(l, sorted), outputs = constantOf(l, results);

  constexpr int any = ScalarKernel::Any;
  unsigned rank = x.rank();
  ScalarKernel kernel(l, rank);
  unsigned from = kernel.read(x, dimsInOrder(rank)), keyAt = kernel.read(table, {any}), valueAt = kernel.read(outputs, {any});
  unsigned to = kernel.write(x.shape, values.type, dimsInOrder(rank));
  return kernel.build([&](ScalarCode &c, ValueRange i) {
    Value element = c.load(from, i), end = c.index(count);
    Type i64 = c.b.getI64Type();
    auto isLess = [&](Value x, Value y) {
      return isString(keys.type) ? c.less(textOp(c, nn::TextKind::Compare, {x, y})[0], c.number(i64, 0)) : c.less(x, y);
    };
    // The first key that is not less.
    Value place = c.whileLoop({c.index(0), end}, [&](ValueRange at) { return c.less(at[0], at[1]); },
                              [&](ValueRange at) -> ScalarCode::Values {
                                Value middle = c.div(c.add(at[0], at[1]), c.index(2));
                                Value below = isLess(c.load(keyAt, {middle}), element);
                                return {c.select(below, c.add(middle, c.index(1)), at[0]), c.select(below, at[1], middle)};
                              })[0];
    Value near = c.clamp(place, end), key = c.load(keyAt, {near});
    Value isSame = isString(keys.type) ? sameText(c, key, element) : c.equal(key, element);
    Value found = c.select(c.both(c.less(place, end), isSame), place, end);
    if (hasNan)
      found = c.select(c.equal(element, element), found, c.index(firstNan));
    c.store(c.load(valueAt, {found}), to, i);
  })[0];
}

Items itemsOf(Lowering &l, ArrayRef<StringRef> names) {
  for (StringRef name : names)
    if (Items items = itemsOf(l.b.getContext(), l.attr(name)); items.type && items.size())
      return items;
  return {};
}

// What stands for a key that is not there, where the node does not say.
Items defaultOf(Lowering &l, Type type, StringRef name, StringRef tensorName) {
  if (Items given = itemsOf(l, {tensorName}); given.type == type)
    return given;
  if (Items given = itemsOf(l, {name}); given.type == type)
    return given;
  if (isString(type))
    return {type, {}, {}, {"_Unused"}};
  if (isa_and_nonnull<FloatType>(type))
    return {type, {-0.0}, {}, {}};
  return {type, {}, {-1}, {}};
}

Items defaultOf(Lowering &l, Type type) {
  StringRef name = !type ? "" : isString(type) ? "default_string" : isa<FloatType>(type) ? "default_float" : "default_int64";
  return defaultOf(l, type, name, "default_tensor");
}

LogicalResult labelEncoder(Lowering &l) {
  Items keys = itemsOf(l, {"keys_strings", "keys_int64s", "keys_floats", "keys_tensor"});
  Items values = itemsOf(l, {"values_strings", "values_int64s", "values_floats", "values_tensor"});
  return finish(l, lookUp(l, l.input(0), keys, values, defaultOf(l, values.type)));
}

// From strings to integers, or back: by which the input is.
LogicalResult translate(Lowering &l, const Items &strings, const Items &ints) {
  bool isText = isString(l.input(0).elementType);
  const Items &keys = isText ? strings : ints, &values = isText ? ints : strings;
  return finish(l, lookUp(l, l.input(0), keys, values, defaultOf(l, values.type)));
}

LogicalResult firstLabelEncoder(Lowering &l) {
  Items strings = itemsOf(l, {"classes_strings"}), ints{l.b.getI64Type(), {}, {}, {}};
  for (size_t i = 0, count = strings.type ? strings.size() : 0; i < count; ++i)
    ints.ints.push_back(i);
  return translate(l, strings, ints);
}

LogicalResult categoryMapper(Lowering &l) {
  return translate(l, itemsOf(l, {"cats_strings"}), itemsOf(l, {"cats_int64s"}));
}
} // namespace

FailureOr<LoweredValue> snug::placesOf(Lowering &l, LoweredValue &x, ArrayRef<StringRef> words) {
  Type i64 = l.b.getI64Type();
  Items keys{elementTypeOf(l.b.getContext(), 8), {}, {}, SmallVector<StringRef>(words)}, places{i64, {}, {}, {}};
  for (size_t i = 0; i < words.size(); ++i)
    places.ints.push_back(i);
  return lookUp(l, x, keys, places, {i64, {}, {-1}, {}});
}

void snug::addLabelEncoderOps(LoweringTable &t) {
  constexpr llvm::StringLiteral domain = "ai.onnx.ml";
  TypeSet types = types::Numbers | types::String;
  t.add("LabelEncoder", 1, firstLabelEncoder, types, domain);
  t.add("LabelEncoder", 2, labelEncoder, types, domain);
  t.add("CategoryMapper", 1, categoryMapper, types, domain);
}
