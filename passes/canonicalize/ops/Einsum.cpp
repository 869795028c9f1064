// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Einsum: operands are taken in pairs from the left. A pair that shares summed labels is a contraction whose maps are
// the labels themselves, so no transpose is needed; without such labels it is an elementwise product.
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace snug;

namespace {
// A letter, or -1 for the last dim of the ellipsis, -2 for the one before, ...
using Label = int;
using Labels = SmallVector<Label>;

struct Operand {
  LoweredValue value;
  Labels labels; // one a dim, without repetition after diagonals are taken
};

// One side of an equation: letters before and after the ellipsis.
struct Term {
  Labels before, after;
  bool ellipsis = false;

  Labels labels(int64_t ellipsisRank) const {
    Labels all = before;
    for (int64_t i = -ellipsisRank; ellipsis && i < 0; ++i)
      all.push_back(i);
    llvm::append_range(all, after);
    return all;
  }
};

std::optional<Term> parseTerm(StringRef text) {
  Term term;
  while (!text.empty()) {
    if (text.consume_front("...")) {
      if (term.ellipsis)
        return std::nullopt;
      term.ellipsis = true;
    } else if (llvm::isAlpha(text.front())) {
      (term.ellipsis ? term.after : term.before).push_back(text.front());
      text = text.drop_front();
    } else {
      return std::nullopt;
    }
  }
  return term;
}

class Einsum {
public:
  explicit Einsum(Lowering &l) : l(l) {}
  LogicalResult run();

private:
  LogicalResult parse();
  LogicalResult bindExtents();
  FailureOr<Operand> diagonal(Operand operand);
  Operand sumOut(Operand operand, llvm::function_ref<bool(Label)> summed);
  FailureOr<Operand> permute(Operand operand, ArrayRef<Label> order);
  FailureOr<Operand> pair(Operand x, Operand y, const llvm::SmallDenseSet<Label> &kept, ArrayRef<Label> order);
  FailureOr<Operand> product(Operand &x, Operand &y, ArrayRef<Label> result);
  FailureOr<Operand> mergeSummed(Operand operand, ArrayRef<Label> summed);

  AffineMap mapOf(const Operand &operand, ArrayRef<Label> loops) {
    SmallVector<AffineExpr> exprs;
    for (auto [label, extent] : llvm::zip_equal(operand.labels, operand.value.shape))
      exprs.push_back(extent == l.constant(1) && extents[label] != extent
                          ? l.constant(0)
                          : getAffineDimExpr(llvm::find(loops, label) - loops.begin(), l.b.getContext()));
    return AffineMap::get(loops.size(), 0, exprs, l.b.getContext());
  }
  Extents shapeOf(ArrayRef<Label> labels) {
    return llvm::map_to_vector(labels, [&](Label label) { return extents[label]; });
  }

  Lowering &l;
  std::vector<Operand> operands;
  Labels output;
  llvm::DenseMap<Label, AffineExpr> extents;
};

LogicalResult Einsum::parse() {
  std::string text;
  for (char c : l.stringAttr("equation", ""))
    if (c != ' ')
      text += c;
  auto malformed = [&](const Twine &what) {
    l.error() << "equation '" << l.stringAttr("equation", "") << "' " << what.str();
    return failure();
  };
  auto [left, right] = StringRef(text).split("->");
  bool explicitOutput = StringRef(text).contains("->");
  SmallVector<StringRef> terms;
  left.split(terms, ',');
  if (terms.size() != l.numInputs())
    return malformed("has " + Twine(terms.size()) + " terms for " + Twine(l.numInputs()) + " inputs");
  int64_t ellipsisRank = 0;
  SmallVector<Term> parsed;
  std::map<Label, unsigned> uses;
  for (auto [index, termText] : llvm::enumerate(terms)) {
    std::optional<Term> term = parseTerm(termText);
    if (!term)
      return malformed("has a term that is neither letters nor one ellipsis");
    int64_t rank = l.input(index).rank(), letters = term->before.size() + term->after.size();
    if (term->ellipsis ? rank < letters : rank != letters)
      return malformed("does not fit input " + Twine(index) + " of rank " + Twine(rank));
    if (term->ellipsis)
      ellipsisRank = std::max(ellipsisRank, rank - letters);
    for (Label label : term->labels(0))
      ++uses[label];
    parsed.push_back(*term);
  }
  for (auto [index, term] : llvm::enumerate(parsed)) {
    int64_t letters = term.before.size() + term.after.size();
    operands.push_back({l.input(index), term.labels(l.input(index).rank() - letters)});
  }
  if (explicitOutput) {
    std::optional<Term> term = parseTerm(right);
    if (!term)
      return malformed("has an output that is neither letters nor one ellipsis");
    output = term->labels(ellipsisRank);
    llvm::SmallDenseSet<Label> seen;
    for (Label label : output)
      if (!seen.insert(label).second || (label >= 0 && !uses.count(label)))
        return malformed("repeats a label in its output, or has one there that no input has");
  } else {
    // Classic form: the ellipsis, then the letters that appear once, sorted.
    for (int64_t i = -ellipsisRank; i < 0; ++i)
      output.push_back(i);
    for (auto [label, count] : uses)
      if (count == 1)
        output.push_back(label);
  }
  return success();
}

LogicalResult Einsum::bindExtents() {
  for (Operand &operand : operands)
    for (auto [label, extent] : llvm::zip_equal(operand.labels, operand.value.shape)) {
      AffineExpr &known = extents.try_emplace(label, extent).first->second;
      if (known == l.constant(1))
        known = extent;
      if (extent != l.constant(1) && !l.same(extent, known)) {
        l.error() << "a label stands for extents " << l.dims.print(known) << " and " << l.dims.print(extent);
        return failure();
      }
    }
  return success();
}

FailureOr<Operand> Einsum::diagonal(Operand operand) {
  llvm::SetVector<Label> distinct(operand.labels.begin(), operand.labels.end());
  if (distinct.size() == operand.labels.size())
    return operand;
  for (auto [label, extent] : llvm::zip_equal(operand.labels, operand.value.shape))
    if (!l.same(extent, extents[label])) {
      l.error() << "a repeated label stands for extents " << l.dims.print(extent) << " and "
                << l.dims.print(extents[label]);
      return failure();
    }
  Operand result;
  result.labels = distinct.takeVector();
  Value source = l.tensor(operand.value);
  Extents shape = shapeOf(result.labels);
  Value copy = l.generic({source}, {mapOf(operand, result.labels)}, shape, operand.value.elementType,
                         [](OpBuilder &, Location, ValueRange x) -> Value { return x[0]; });
  result.value = l.tensorValue(copy, shape, operand.value.elementType);
  return result;
}

Operand Einsum::sumOut(Operand operand, llvm::function_ref<bool(Label)> summed) {
  SmallVector<bool> reduced = llvm::map_to_vector(operand.labels, [&](Label label) { return summed(label); });
  if (llvm::none_of(reduced, [](bool r) { return r; }))
    return operand;
  Operand result;
  result.value = l.reduce(Reduction::Sum, operand.value, reduced);
  for (auto [label, gone] : llvm::zip_equal(operand.labels, reduced))
    if (!gone)
      result.labels.push_back(label);
  return result;
}

FailureOr<Operand> Einsum::permute(Operand operand, ArrayRef<Label> order) {
  if (operand.labels == order)
    return operand;
  SmallVector<int64_t> permutation = llvm::map_to_vector(
      order, [&](Label label) { return static_cast<int64_t>(llvm::find(operand.labels, label) - operand.labels.begin()); });
  auto value = l.transpose(operand.value, permutation);
  if (failed(value))
    return failure();
  return Operand{*value, Labels(order)};
}

FailureOr<Operand> Einsum::product(Operand &x, Operand &y, ArrayRef<Label> result) {
  Type type = x.value.elementType;
  Extents shape = shapeOf(result);
  Value left = l.tensor(x.value), right = l.tensor(y.value);
  Value value = l.generic({left, right}, {mapOf(x, result), mapOf(y, result)}, shape, type,
                          [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                            if (isa<FloatType>(type))
                              return b.createOrFold<arith::MulFOp>(loc, a[0], a[1]);
                            return b.createOrFold<arith::MulIOp>(loc, a[0], a[1]);
                          });
  return Operand{l.tensorValue(value, shape, type), Labels(result)};
}

// A contraction kernel sums over one dim: several become one, labelled by the first, at the end.
FailureOr<Operand> Einsum::mergeSummed(Operand operand, ArrayRef<Label> summed) {
  if (summed.size() < 2)
    return operand;
  Labels order;
  Extents shape;
  for (Label label : operand.labels)
    if (!llvm::is_contained(summed, label)) {
      order.push_back(label);
      shape.push_back(operand.value.shape[llvm::find(operand.labels, label) - operand.labels.begin()]);
    }
  Labels merged = order;
  merged.push_back(summed[0]);
  llvm::append_range(order, summed);
  AffineExpr count = l.constant(1);
  for (Label label : summed)
    count = count * extents[label];
  shape.push_back(count);
  auto sorted = permute(operand, order);
  if (failed(sorted))
    return failure();
  auto value = l.reshape(sorted->value, shape);
  if (failed(value))
    return failure();
  return Operand{*value, merged};
}

FailureOr<Operand> Einsum::pair(Operand x, Operand y, const llvm::SmallDenseSet<Label> &kept, ArrayRef<Label> order) {
  // A label that one operand broadcasts is summed in the other alone; the broadcast dim of 1 then goes away, too.
  auto isSummed = [&](Label label) { return !kept.contains(label); };
  auto extentIn = [&](const Operand &operand, Label label) {
    auto at = llvm::find(operand.labels, label);
    return at == operand.labels.end() ? AffineExpr() : operand.value.shape[at - operand.labels.begin()];
  };
  auto alone = [&](const Operand &other) {
    return [&, other](Label label) { return isSummed(label) && extentIn(other, label) != extents[label]; };
  };
  Operand left = sumOut(x, alone(y)), right = sumOut(y, alone(x));
  auto leftovers = [&](const Operand &other) {
    return [&, other](Label label) { return isSummed(label) && !llvm::is_contained(other.labels, label); };
  };
  Operand leftSum = sumOut(left, leftovers(right)), rightSum = sumOut(right, leftovers(left));
  left = leftSum;
  right = rightSum;

  Labels summed, result;
  for (Label label : left.labels)
    if (isSummed(label))
      summed.push_back(label);
  // What the caller wants first, then the rest as it comes.
  llvm::SetVector<Label> remaining;
  for (Label label : order)
    if (llvm::is_contained(left.labels, label) || llvm::is_contained(right.labels, label))
      remaining.insert(label);
  for (Label label : llvm::concat<Label>(left.labels, right.labels))
    if (!isSummed(label))
      remaining.insert(label);
  result = remaining.takeVector();
  if (summed.empty())
    return product(left, right, result);

  auto mergedLeft = mergeSummed(left, summed), mergedRight = mergeSummed(right, summed);
  if (failed(mergedLeft) || failed(mergedRight))
    return failure();
  if (summed.size() > 1) {
    AffineExpr count = l.constant(1);
    for (Label label : summed)
      count = count * extents[label];
    extents[summed[0]] = count;
  }
  left = *mergedLeft;
  right = *mergedRight;
  auto isPackable = [&](Operand &weight, Operand &other) {
    return weight.value.tensor && weight.value.tensor.getDefiningOp<nn::WeightOp>() && weight.labels.size() == 2 &&
           computesInF32(weight.value.elementType) && llvm::none_of(weight.labels, [&](Label label) {
             return label != summed[0] && llvm::is_contained(other.labels, label);
           });
  };
  if (isPackable(left, right) && !isPackable(right, left))
    std::swap(left, right);
  if (isPackable(right, left)) {
    Label column = right.labels[0] == summed[0] ? right.labels[1] : right.labels[0];
    auto matrix = permute(right, {summed[0], column});
    if (failed(matrix))
      return failure();
    right = *matrix;
  }
  Labels loops = result;
  loops.push_back(summed[0]);
  SmallVector<AffineExpr> written;
  for (unsigned dim = 0; dim < result.size(); ++dim)
    written.push_back(getAffineDimExpr(dim, l.b.getContext()));
  SmallVector<AffineMap> maps = {mapOf(left, loops), mapOf(right, loops),
                                 AffineMap::get(loops.size(), 0, written, l.b.getContext())};
  auto value = l.contract(left.value, right.value, maps, shapeOf(result));
  if (failed(value))
    return failure();
  return Operand{*value, result};
}

LogicalResult Einsum::run() {
  if (failed(parse()))
    return failure();
  for (Operand &operand : operands)
    if (operand.value.elementType != operands[0].value.elementType || operand.value.elementType.isInteger(1)) {
      l.error() << "operands of different element types, or of booleans, are not supported";
      return failure();
    }
  if (failed(bindExtents()))
    return failure();
  for (Operand &operand : operands) {
    auto flat = diagonal(operand);
    if (failed(flat))
      return failure();
    operand = *flat;
  }
  Operand result = operands[0];
  for (size_t i = 1; i < operands.size(); ++i) {
    llvm::SmallDenseSet<Label> kept(output.begin(), output.end());
    for (const Operand &later : llvm::drop_begin(operands, i + 1))
      kept.insert(later.labels.begin(), later.labels.end());
    auto next = pair(result, operands[i], kept, output);
    if (failed(next))
      return failure();
    result = *next;
  }
  result = sumOut(result, [&](Label label) { return !llvm::is_contained(output, label); });
  auto ordered = permute(result, output);
  if (failed(ordered))
    return failure();
  l.define(0, ordered->value);
  return success();
}

LogicalResult einsum(Lowering &l) { return Einsum(l).run(); }
} // namespace

void snug::addEinsumOps(LoweringTable &t) { t.add("Einsum", 12, einsum); }
