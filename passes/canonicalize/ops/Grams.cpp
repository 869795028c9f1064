// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Counts of n-grams (TfIdfVectorizer).
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Classic.h"
#include "passes/canonicalize/ops/Strings.h"

using namespace mlir;
using namespace snug;

namespace {
// What is counted: n-grams of a pool of numbers.
struct Grams {
  struct Gram {
    int64_t first, size, output; // its first member in the pool, how many, and where it is counted
  };
  SmallVector<int64_t> pool, places; // places: of all n-grams of the pool, in its order
  SmallVector<Gram> list;
  int64_t outputs = 0, skips = 0;

  // Those of the lengths that the node asks for, in the order of their first members.
  LogicalResult read(Lowering &l) {
    auto counts = l.intsAttr("ngram_counts");
    places = l.intsAttr("ngram_indexes").value_or(SmallVector<int64_t>());
    int64_t shortest = l.intAttr("min_gram_length", 1), longest = l.intAttr("max_gram_length", 1);
    skips = l.intAttr("max_skip_count", 0);
    if (!counts || places.empty() || shortest < 1 || longest < shortest || skips < 0 || skips > INT32_MAX)
      return l.error() << "ngram_counts, ngram_indexes, min_gram_length, max_gram_length or max_skip_count are missing or out of "
                          "their range";
    for (int64_t place : places) {
      if (place < 0 || place >= 1 << 24) // far above what any vocabulary has
        return l.error() << "ngram_indexes has " << place;
      outputs = std::max(outputs, place + 1);
    }
    size_t number = 0, size = 1, members = pool.size();
    for (size_t i = 0; i < counts->size(); ++i, ++size) {
      int64_t begin = (*counts)[i], end = i + 1 < counts->size() ? (*counts)[i + 1] : static_cast<int64_t>(members);
      if (begin < 0 || end < begin || end > static_cast<int64_t>(members))
        return l.error() << "ngram_counts do not fit a pool of " << members << " members";
      for (int64_t at = begin; at + static_cast<int64_t>(size) <= end; at += size, ++number) {
        if (number >= places.size())
          return l.error() << "ngram_indexes has fewer elements than there are n-grams";
        if (static_cast<int64_t>(size) >= shortest && static_cast<int64_t>(size) <= longest)
          list.push_back({at, static_cast<int64_t>(size), places[number]});
      }
    }
    llvm::sort(list, [&](const Gram &x, const Gram &y) { return pool[x.first] < pool[y.first]; });
    return success();
  }

  // How often each stands in a row of numbers, where its members may be up to some places apart: (rows, outputs) or (outputs).
  LoweredValue count(Lowering &l, LoweredValue &x) const;
};

LoweredValue Grams::count(Lowering &l, LoweredValue &x) const {
  constexpr int any = ScalarKernel::Any;
  constexpr int64_t columns = 3;
  SmallVector<int64_t> table, heads, numbers = pool;
  for (const Gram &gram : list) {
    table.append({gram.first, gram.size, gram.output});
    heads.push_back(pool[gram.first]);
  }
  for (auto *constant : {&table, &heads, &numbers}) // an empty constant has no place
    if (constant->empty())
      constant->push_back(0);
  LoweredValue entries = listOf(l, table), firsts = listOf(l, heads), members = listOf(l, numbers);
  FloatType f32 = l.b.getF32Type();
  bool hasRows = x.rank() == 2;
  ScalarKernel kernel(l, hasRows ? 1 : 0);
  SmallVector<int> dims = hasRows ? SmallVector<int>{0, any} : SmallVector<int>{any};
  Extents shape = hasRows ? Extents{x.shape[0], l.constant(outputs)} : Extents{l.constant(outputs)};
  unsigned from = kernel.read(x, dims), entryAt = kernel.read(entries, {any}), headAt = kernel.read(firsts, {any});
  unsigned memberAt = kernel.read(members, {any}), to = kernel.write(shape, f32, dims);
  return kernel.build([&](ScalarCode &c, ValueRange i) {
    Type i64 = c.b.getI64Type();
    Value zero = c.number(f32, 0), one = c.number(f32, 1), length = c.extent(from, hasRows ? 1 : 0), end = c.index(list.size());
    auto at = [&](Value place) {
      SmallVector<Value> full(i);
      full.push_back(place);
      return full;
    };
    auto head = [&](Value gram) { return c.load(headAt, {c.clamp(gram, c.index(heads.size()))}); };
    c.loop(c.index(outputs), [&](Value k) { c.store(zero, to, at(k)); });
    c.loop(length, [&](Value start) {
      Value element = c.convert(c.load(from, at(start)), i64);
      // The first one whose first member is not less.
      Value gram = c.whileLoop({c.index(0), end}, [&](ValueRange s) { return c.less(s[0], s[1]); },
                               [&](ValueRange s) -> ScalarCode::Values {
                                 Value middle = c.div(c.add(s[0], s[1]), c.index(2)), isLess = c.less(head(middle), element);
                                 return {c.select(isLess, c.add(middle, c.index(1)), s[0]), c.select(isLess, s[1], middle)};
                               })[0];
      c.whileLoop(gram, [&](ValueRange s) { return c.both(c.less(s[0], end), c.equal(head(s[0]), element)); },
                  [&](ValueRange s) -> ScalarCode::Values {
        auto field = [&](int64_t k) { return c.toIndex(c.load(entryAt, {c.add(c.mul(s[0], c.index(columns)), c.index(k))})); };
        Value first = field(0), size = field(1), place = field(2);
        // One member alone is counted once, however many places may lie between two.
        Value most = c.min(c.index(skips + 1), length), distances = c.select(c.equal(size, c.index(1)), c.index(1), most);
        Value found = c.sum(c.index(0), distances, zero, [&](Value less, Value total) {
          Value step = c.add(less, c.index(1)), last = c.add(start, c.mul(step, c.sub(size, c.index(1))));
          return c.ifElse(
              c.less(last, length),
              [&]() -> ScalarCode::Values {
                Value same = c.sum(c.index(1), size, c.constant(c.b.getBoolAttr(true)), [&](Value k, Value so) {
                  Value other = c.convert(c.load(from, at(c.add(start, c.mul(k, step)))), i64);
                  return c.both(so, c.equal(other, c.load(memberAt, {c.add(first, k)})));
                });
                return {c.select(same, c.add(total, one), total)};
              },
              [&]() -> ScalarCode::Values { return {total}; })[0];
        });
        c.store(c.add(c.load(to, at(place)), found), to, at(place));
        return {c.add(s[0], c.index(1))};
      });
    });
  })[0];
}

LogicalResult tfIdfVectorizer(Lowering &l) {
  LoweredValue x = l.input(0);
  StringRef mode = l.stringAttr("mode", "TF");
  if (x.rank() < 1 || x.rank() > 2 || (mode != "TF" && mode != "IDF" && mode != "TFIDF"))
    return l.error() << "mode '" << mode << "' of an input of shape " << l.print(x.shape) << " is none that the standard knows";
  Grams grams;
  auto numbers = l.intsAttr("pool_int64s");
  auto words = stringsAttr(l, "pool_strings");
  if (isString(x.elementType) ? !words || words->empty() : !numbers || !isa<IntegerType>(x.elementType))
    return l.error() << "there is no pool of the input's element type, " << nameOf(x.elementType);
  if (isString(x.elementType)) { // words become numbers, so that all that follows is of numbers
    llvm::StringMap<int64_t> known;
    SmallVector<StringRef> distinct;
    for (StringRef word : *words) {
      auto [entry, isNew] = known.try_emplace(word, distinct.size());
      if (isNew)
        distinct.push_back(word);
      grams.pool.push_back(entry->second);
    }
    auto places = placesOf(l, x, distinct);
    if (failed(places))
      return failure();
    x = *places;
  } else {
    grams.pool = *numbers;
  }
  if (failed(grams.read(l)))
    return failure();
  auto weights = floatsAttr(l, "weights");
  if (weights && weights->size() != grams.places.size())
    return l.error() << weights->size() << " weights for " << grams.places.size() << " elements of ngram_indexes";
  LoweredValue counts = grams.count(l, x);
  if (mode == "TF" || (mode == "TFIDF" && !weights)) {
    l.define(0, counts);
    return success();
  }
  FloatType f32 = l.b.getF32Type();
  // A weight is that of an n-gram of the pool, wherever this is counted.
  SmallVector<std::optional<double>> scales(grams.outputs);
  for (auto [i, place] : llvm::enumerate(grams.places)) {
    double weight = weights ? (*weights)[i] : 1;
    if (scales[place].value_or(weight) != weight)
      return l.error() << "n-grams that are counted at output " << place << " have different weights";
    scales[place] = weight;
  }
  LoweredValue factors = listOf(l, llvm::map_to_vector(scales, [](auto scale) { return scale.value_or(0); }), f32);
  return finish(l, l.elementwise({&counts, &factors}, f32, [&](OpBuilder &b, Location loc, ValueRange a) {
    ScalarCode c{b, loc};
    Value zero = c.number(f32, 0);
    return mode == "IDF" ? c.select(c.less(zero, a[0]), a[1], zero) : c.mul(a[0], a[1]);
  }));
}
} // namespace

void snug::addGramOps(LoweringTable &t) { t.add("TfIdfVectorizer", 9, tfIdfVectorizer, types::Ordinary | types::String); }
