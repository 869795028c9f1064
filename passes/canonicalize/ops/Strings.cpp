// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops that make or look into strings. All of it is scalar code that asks the runtime.
#include "passes/canonicalize/ops/Strings.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

LoweredValue snug::stringsValue(Lowering &l, ArrayRef<StringRef> strings, ArrayRef<int64_t> shape) {
  auto type = RankedTensorType::get(shape, onnx::StringType::get(l.b.getContext()));
  return l.dataValue(DenseElementsAttr::get(type, strings));
}

SmallVector<Value> snug::textOp(ScalarCode &c, nn::TextKind kind, ValueRange operands) {
  SmallVector<Type> types;
  for (char letter : nn::TextOp::resultsOf(kind))
    types.push_back(c.b.getIntegerType(letter == 's' ? 128 : 64));
  return SmallVector<Value>(nn::TextOp::create(c.b, c.loc, types, kind, operands).getResults());
}

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
  return c.equal(textOp(c, nn::TextKind::Compare, {x, y})[0], c.number(c.b.getI64Type(), 0));
}

namespace {
Type stringType(Lowering &l) { return onnx::StringType::get(l.b.getContext()); }

// One op of the runtime on each element.
LogicalResult mapText(Lowering &l, ArrayRef<LoweredValue *> inputs, nn::TextKind kind) {
  return finish(l, mapScalars(l, inputs, stringType(l), [&](ScalarCode &c, ValueRange x) { return textOp(c, kind, x)[0]; }));
}

LogicalResult concat(Lowering &l) { return mapText(l, {&l.input(0), &l.input(1)}, nn::TextKind::Concat); }

LogicalResult fullMatch(Lowering &l) {
  LoweredValue pattern = stringsValue(l, {l.stringAttr("pattern", "")}, {});
  return finish(l, mapScalars(l, {&l.input(0), &pattern}, l.b.getI1Type(), [&](ScalarCode &c, ValueRange x) {
    return c.convert(textOp(c, nn::TextKind::FullMatch, x)[0], c.b.getI1Type());
  }));
}

// --- sizes that data decides --------------------------------------------------------------------------------------

// Calls body(place, piece) for each piece of a string; gives their number.
using PieceBody = function_ref<void(Value, Value)>;
using EachPiece = function_ref<Value(ScalarCode &, Value text, Value pattern, PieceBody)>;

// Rows of the pieces of each string, as long as the longest of them, and how many each has. `mostPieces` is what the node says
// of their number, or nothing. Rows are filled up with `filling`.
std::pair<LoweredValue, LoweredValue> allPieces(Lowering &l, StringRef pattern, std::optional<int64_t> mostPieces,
                                                StringRef filling, EachPiece each) {
  LoweredValue &x = l.input(0);
  LoweredValue delimiter = stringsValue(l, {pattern}, {}), rest = stringsValue(l, {filling}, {});
  unsigned rank = x.rank();
  Type i64 = l.b.getI64Type();
  if (llvm::is_contained(x.shape, l.constant(0))) { // no string, so no piece
    Extents none = x.shape;
    none.push_back(l.constant(0));
    return {l.tensorValue(l.empty(none, x.elementType), none, x.elementType), l.tensorValue(l.empty(x.shape, i64), x.shape)};
  }
  ScalarKernel counting(l, rank);
  unsigned from = counting.read(x, dimsInOrder(rank)), by = counting.read(delimiter, {});
  unsigned to = counting.write(x.shape, i64, dimsInOrder(rank));
  LoweredValue counts = counting.build([&](ScalarCode &c, ValueRange i) {
    Value count = each(c, c.load(from, i), c.load(by, {}), [](Value, Value) {});
    c.store(c.convert(count, i64), to, i);
  })[0];

  // Where the node does not say how many there can be, the command does.
  auto said = l.module->getAttrOfType<IntegerAttr>("snug.text_pieces");
  int64_t limit = said ? said.getInt() : 64;
  bool isBounded = mostPieces && *mostPieces <= limit;
  int64_t most = isBounded ? *mostPieces : limit;
  ScalarKernel longest(l, 0);
  SmallVector<int> whole(rank, ScalarKernel::Any);
  unsigned of = longest.read(counts, whole), into = longest.write({l.constant(1)}, i64, {ScalarKernel::Any});
  LoweredValue width = longest.build([&](ScalarCode &c, ValueRange) {
    SmallVector<Value> extents;
    for (unsigned dim = 0; dim < rank; ++dim)
      extents.push_back(c.extent(of, dim));
    c.store(c.number(i64, 0), into, {c.index(0)});
    c.loops(extents, [&](ValueRange place) {
      c.store(c.max(c.load(into, {c.index(0)}), c.load(of, place)), into, {c.index(0)});
    });
    if (!isBounded)
      c.store(textOp(c, nn::TextKind::AtMost, {c.load(into, {c.index(0)}), c.number(i64, static_cast<double>(most))})[0], into,
              {c.index(0)});
  })[0];
  Extents shape = x.shape;
  shape.push_back(l.dataExtent(width, l.constant(most)));
  SmallVector<int> rows = dimsInOrder(rank);
  rows.push_back(ScalarKernel::Any);
  ScalarKernel writing(l, rank);
  unsigned strings = writing.read(x, dimsInOrder(rank)), at = writing.read(delimiter, {}), fillAt = writing.read(rest, {});
  unsigned pieces = writing.write(shape, x.elementType, rows);
  LoweredValue written = writing.build([&](ScalarCode &c, ValueRange i) {
    auto place = [&](Value k) {
      SmallVector<Value> full(i);
      full.push_back(k);
      return full;
    };
    Value room = c.extent(pieces, rank);
    Value count = each(c, c.load(strings, i), c.load(at, {}), [&](Value k, Value piece) {
      c.ifThen(c.less(k, room), [&] { c.store(piece, pieces, place(k)); });
    });
    c.loop(count, room, [&](Value k) { c.store(c.load(fillAt, {}), pieces, place(k)); });
  })[0];
  return {written, counts};
}

Value wholeNumber(ScalarCode &c, int64_t value) { return c.constant(c.b.getI64IntegerAttr(value)); }
Value isSet(ScalarCode &c, Value flag) { return c.negate(c.equal(flag, wholeNumber(c, 0))); }

// Strings cut at a delimiter.
LogicalResult split(Lowering &l) {
  int64_t mostSplits = l.attr("maxsplit") ? std::max<int64_t>(l.wideIntAttr("maxsplit", -1), -1) : -1;
  std::optional<int64_t> most;
  if (mostSplits >= 0)
    most = std::min<int64_t>(mostSplits, INT32_MAX) + 1;
  auto each = [&](ScalarCode &c, Value text, Value delimiter, PieceBody body) {
    Type i64 = c.b.getI64Type();
    return c.whileLoop({text, wholeNumber(c, 1), c.index(0)}, [&](ValueRange at) { return isSet(c, at[1]); },
                       [&](ValueRange at) -> ScalarCode::Values {
                         Value splits = wholeNumber(c, -1);
                         if (mostSplits >= 0)
                           splits = c.sub(wholeNumber(c, mostSplits), c.convert(at[2], i64));
                         auto cut = textOp(c, nn::TextKind::Piece, {at[0], delimiter, splits});
                         c.ifThen(isSet(c, cut[2]), [&] { body(at[2], cut[0]); });
                         return {cut[1], cut[3], c.add(at[2], c.convert(cut[2], c.b.getIndexType()))};
                       })[2];
  };
  auto [pieces, counts] = allPieces(l, l.stringAttr("delimiter", ""), most, "", each);
  l.define(0, pieces);
  l.define(1, counts);
  return success();
}

// ONNX Runtime's: what a regular expression matches, or each character.
LogicalResult tokenize(Lowering &l) {
  LoweredValue &x = l.input(0);
  StringRef pattern = l.stringAttr("tokenexp", "");
  auto separators = dyn_cast_or_null<ArrayAttr>(l.attr("separators"));
  bool isOfCharacters = pattern == "." || (separators && separators.size() == 1 && separators[0] == l.b.getStringAttr(""));
  int64_t shortest = l.intAttr("mincharnum", 1);
  if (x.rank() < 1 || x.rank() > 2 || shortest < 1)
    return l.error() << "mincharnum " << shortest << " for an input of shape " << l.print(x.shape) << " is not supported";
  if (l.intAttr("mark", 0) || (pattern.empty() && !isOfCharacters) || (!pattern.empty() && separators))
    return l.error() << "tokens are supported as what tokenexp matches, without separators and marks";
  auto each = [&](ScalarCode &c, Value text, Value expression, PieceBody body) {
    return c.whileLoop({wholeNumber(c, 0), wholeNumber(c, 1), c.index(0)}, [&](ValueRange at) { return isSet(c, at[1]); },
                       [&](ValueRange at) -> ScalarCode::Values {
                         auto found = textOp(c, nn::TextKind::Match, {text, expression, wholeNumber(c, shortest), at[0]});
                         c.ifThen(isSet(c, found[2]), [&] { body(at[2], found[0]); });
                         return {found[1], found[2], c.add(at[2], c.convert(found[2], c.b.getIndexType()))};
                       })[2];
  };
  // Where each character is a token, so is the end of a line.
  l.define(0, allPieces(l, isOfCharacters ? "(?s)." : pattern, std::nullopt, l.stringAttr("pad_value", ""), each).first);
  return success();
}

// Those of a list that are none of the stop words, or one empty string where none is left.
FailureOr<LoweredValue> withoutStopwords(Lowering &l, LoweredValue &x, ArrayRef<StringRef> words, bool isCaseSensitive) {
  LoweredValue stop = stringsValue(l, words, {static_cast<int64_t>(words.size())}), compared = x;
  if (!isCaseSensitive) {
    auto lower = [&](LoweredValue &strings) {
      return mapScalars(l, {&strings}, stringType(l),
                        [](ScalarCode &c, ValueRange s) { return textOp(c, nn::TextKind::Lower, s)[0]; });
    };
    auto foldedWords = lower(stop), folded = lower(x);
    if (failed(foldedWords) || failed(folded))
      return failure();
    stop = *foldedWords;
    compared = *folded;
  }
  Type i64 = l.b.getI64Type();
  ScalarKernel looking(l, 1);
  unsigned from = looking.read(compared, {0}), wordAt = looking.read(stop, {ScalarKernel::Any});
  unsigned to = looking.write(x.shape, i64, {0});
  LoweredValue stays = looking.build([&](ScalarCode &c, ValueRange i) {
    Value text = c.load(from, i);
    Value isStop = c.sum(c.index(0), c.extent(wordAt, 0), c.constant(c.b.getBoolAttr(false)),
                         [&](Value k, Value so) { return c.either(so, sameText(c, text, c.load(wordAt, {k}))); });
    c.store(c.select(isStop, c.number(i64, 0), c.number(i64, 1)), to, i);
  })[0];
  constexpr int any = ScalarKernel::Any;
  ScalarKernel counting(l, 0);
  unsigned flags = counting.read(stays, {any}), into = counting.write({l.constant(1)}, i64, {any});
  LoweredValue count = counting.build([&](ScalarCode &c, ValueRange) {
    Value all = c.sum(c.index(0), c.extent(flags, 0), c.number(i64, 0),
                      [&](Value k, Value total) { return c.add(total, c.load(flags, {k})); });
    c.store(c.max(all, c.number(i64, 1)), into, {c.index(0)});
  })[0];
  auto most = l.extremum(x.shape[0], l.constant(1), /*larger=*/true);
  AffineExpr left = l.dataExtent(count, most ? *most : x.shape[0] + 1);
  ScalarKernel writing(l, 0);
  unsigned strings = writing.read(x, {any}), which = writing.read(stays, {any}), out = writing.write({left}, x.elementType, {any});
  return writing.build([&](ScalarCode &c, ValueRange) {
    c.store(c.number(c.b.getIntegerType(128), 0), out, {c.index(0)});
    c.loop(c.index(0), c.extent(strings, 0), ValueRange{c.index(0)}, [&](Value k, ValueRange place) -> ScalarCode::Values {
      Value flag = c.load(which, {k});
      c.ifThen(c.both(c.equal(flag, c.number(i64, 1)), c.less(place[0], c.extent(out, 0))),
               [&] { c.store(c.load(strings, {k}), out, {place[0]}); });
      return {c.add(place[0], c.toIndex(flag))};
    });
  })[0];
}

LogicalResult normalizeStrings(Lowering &l) {
  LoweredValue x = l.input(0);
  StringRef action = l.stringAttr("case_change_action", "NONE");
  auto stopwords = dyn_cast_or_null<ArrayAttr>(l.attr("stopwords"));
  if (x.rank() < 1 || x.rank() > 2 || (x.rank() == 2 && !l.same(x.shape[0], 1)))
    return l.error() << "an input of shape " << l.print(x.shape) << " is not supported, only [n] and [1, n]";
  if (action != "NONE" && action != "LOWER" && action != "UPPER")
    return l.error() << "case_change_action '" << action << "' is none that the standard knows";
  bool isRow = x.rank() == 2;
  if (stopwords && !stopwords.empty()) {
    SmallVector<StringRef> words;
    for (Attribute word : stopwords)
      words.push_back(cast<StringAttr>(word).getValue());
    auto list = isRow ? l.reshape(x, {x.shape[1]}) : FailureOr<LoweredValue>(x);
    auto left = failed(list) ? list : withoutStopwords(l, *list, words, l.intAttr("is_case_sensitive", 0));
    auto shaped = failed(left) || !isRow ? left : l.reshape(*left, {l.constant(1), left->shape[0]});
    if (failed(shaped))
      return failure();
    x = *shaped;
  }
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
    return textOp(c, nn::TextKind::FromFloat, {bitsOf(c, x), c.number(i64, from.isF64() ? twice : single)})[0];
  }
  return textOp(c, isUnsigned(from) ? nn::TextKind::FromUint : nn::TextKind::FromInt, {c.convert(x, i64)})[0];
}

Value fromText(ScalarCode &c, Value text, Type to, CastMode mode) {
  Type i64 = c.b.getI64Type();
  auto number = [&](int64_t value) { return c.constant(c.b.getI64IntegerAttr(value)); };
  if (isa<FloatType>(to)) {
    Value real = arith::BitcastOp::create(c.b, c.loc, c.b.getF64Type(), textOp(c, nn::TextKind::ToFloat, {text})[0]);
    if (isCode(to))
      return convert(c.b, c.loc, real, c.b.getF64Type(), to, mode);
    return c.convert(real, computeType(cast<FloatType>(to)));
  }
  if (to.isUnsignedInteger(64)) // has twice its bits in scalar code
    return arith::ExtUIOp::create(c.b, c.loc, c.b.getIntegerType(128), textOp(c, nn::TextKind::ToUint, {text, number(-1)})[0]);
  auto range = *rangeOf(to);
  Value whole = textOp(c, nn::TextKind::ToInt, {text, number(range.first), number(range.second)})[0];
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
  t.add("StringSplit", 20, split, types::String);
  t.add("Tokenizer", 1, tokenize, types::String, "com.microsoft");
}
