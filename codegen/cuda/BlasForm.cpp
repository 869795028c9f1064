// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/BlasForm.h"
#include "codegen/cuda/Kernels.h"
#include "codegen/kernel/KernelTarget.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

//===-- Epilogues -------------------------------------------------------------------------------------------------===//

static std::optional<double> constantOf(Value value) {
  APFloat number(0.0f);
  if (!matchPattern(value, m_ConstantFloat(&number)))
    return std::nullopt;
  bool ignored;
  number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &ignored);
  return number.convertToDouble();
}

namespace {
// constant + sum of weights times the arguments of a block.
struct Terms {
  double constant = 0;
  SmallVector<double> weights;

  void add(const Terms &other, double times) {
    constant += times * other.constant;
    for (auto [own, others] : llvm::zip_equal(weights, other.weights))
      own += times * others;
  }
  bool isConstant() const { return llvm::all_of(weights, [](double weight) { return weight == 0; }); }
};

std::optional<Terms> termsOf(Value value, Block &block) {
  Terms terms;
  terms.weights.assign(block.getNumArguments(), 0);
  if (auto argument = dyn_cast<BlockArgument>(value); argument && argument.getOwner() == &block) {
    terms.weights[argument.getArgNumber()] = 1;
    return terms;
  }
  if (std::optional<double> constant = constantOf(value)) {
    terms.constant = *constant;
    return terms;
  }
  Operation *op = value.getDefiningOp();
  if (!op || op->getBlock() != &block)
    return std::nullopt;
  SmallVector<Terms> of;
  for (Value operand : op->getOperands()) {
    std::optional<Terms> one = termsOf(operand, block);
    if (!one)
      return std::nullopt;
    of.push_back(*one);
  }
  auto scaled = [&](const Terms &by, double times) -> std::optional<Terms> {
    terms.add(by, times);
    return terms;
  };
  return TypeSwitch<Operation *, std::optional<Terms>>(op)
      .Case([&](arith::ExtFOp) { return of[0]; })
      .Case([&](arith::NegFOp) { return scaled(of[0], -1); })
      .Case<arith::AddFOp, arith::SubFOp>([&](Operation *) {
        of[0].add(of[1], isa<arith::SubFOp>(op) ? -1 : 1);
        return of[0];
      })
      .Case([&](arith::MulFOp) -> std::optional<Terms> {
        if (!of[0].isConstant() && !of[1].isConstant())
          return std::nullopt;
        return of[0].isConstant() ? scaled(of[1], of[0].constant) : scaled(of[0], of[1].constant);
      })
      .Case([&](arith::DivFOp) -> std::optional<Terms> {
        if (!of[1].isConstant() || of[1].constant == 0)
          return std::nullopt;
        return scaled(of[0], 1 / of[1].constant);
      })
      .Default([](Operation *) { return std::nullopt; });
}

// The value at a point, where `inner` is `at`; NaN where it is not computed of that alone.
double valueAt(Value value, Value inner, double at, unsigned depth = 0) {
  if (value == inner)
    return at;
  if (std::optional<double> constant = constantOf(value))
    return *constant;
  Operation *op = value.getDefiningOp();
  if (!op || depth > 32)
    return NAN;
  auto operand = [&](unsigned i) { return valueAt(op->getOperand(i), inner, at, depth + 1); };
  return TypeSwitch<Operation *, double>(op)
      .Case([&](arith::AddFOp) { return operand(0) + operand(1); })
      .Case([&](arith::SubFOp) { return operand(0) - operand(1); })
      .Case([&](arith::MulFOp) { return operand(0) * operand(1); })
      .Case([&](arith::DivFOp) { return operand(0) / operand(1); })
      .Case([&](arith::NegFOp) { return -operand(0); })
      .Case([&](math::TanhOp) { return std::tanh(operand(0)); })
      .Case([&](math::PowFOp) { return std::pow(operand(0), operand(1)); })
      .Case([&](math::FPowIOp power) {
        APInt exponent;
        return matchPattern(power.getRhs(), m_ConstantInt(&exponent)) ? std::pow(operand(0), double(exponent.getSExtValue())) : NAN;
      })
      .Default([](Operation *) { return NAN; });
}

// x of gelu(x) = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), in whatever way that is written.
// Of a type of few bits its constants are rounded, too: the same is what differs by less than that.
Value geluInput(Value value, Block &block, Type result) {
  bool hasTanh = false;
  block.walk([&](math::TanhOp) { hasTanh = true; });
  if (!hasTanh)
    return {};
  double unit = result.isBF16() ? 0x1p-8 : result.isF16() ? 0x1p-11 : 1e-6;
  SmallVector<Value> candidates;
  for (Operation &op : block.without_terminator())
    if (op.getNumResults() == 1 && op.getResult(0) != value)
      candidates.push_back(op.getResult(0));
  llvm::append_range(candidates, block.getArguments());
  for (Value inner : candidates) {
    bool isSame = true;
    for (double x : {-3.0, -1.25, -0.5, 0.0, 0.25, 1.0, 2.5}) {
      double want = x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      isSame &= std::abs(valueAt(value, inner, x) - want) <= unit * std::max(1.0, std::abs(x)); // NaN is not
    }
    if (isSame)
      return inner;
  }
  return {};
}
} // namespace

std::optional<BlasEpilogue> BlasEpilogue::of(nn::ContractOp op) {
  Block &block = op.getEpilogue().front();
  BlasEpilogue epilogue;
  Value value = block.getTerminator()->getOperand(0);
  // Rounding to the result's type, which is the last thing that a library does, too.
  if (auto rounds = value.getDefiningOp<arith::TruncFOp>())
    value = rounds.getIn();
  auto isZero = [](Value operand) { return constantOf(operand) == 0.0; };
  if (Operation *most = value.getDefiningOp(); most && isa<arith::MaximumFOp, arith::MaxNumFOp>(most) && (isZero(most->getOperand(0)) || isZero(most->getOperand(1)))) {
    epilogue.activation = Activation::Relu;
    value = most->getOperand(isZero(most->getOperand(0)) ? 1 : 0);
    // What is rounded in front of it is the same behind it.
    if (auto wide = value.getDefiningOp<arith::ExtFOp>())
      if (auto rounds = wide.getIn().getDefiningOp<arith::TruncFOp>())
        value = rounds.getIn();
  } else if (Value input = geluInput(value, block, cast<ShapedType>(op.getInit().getType()).getElementType())) {
    epilogue.activation = Activation::Gelu;
    value = input;
  }
  std::optional<Terms> terms = termsOf(value, block);
  if (!terms || terms->constant != 0 || terms->weights[0] == 0)
    return std::nullopt;
  epilogue.alpha = terms->weights[0];
  epilogue.weights.assign(terms->weights.begin() + 1, terms->weights.end());
  return epilogue;
}

//===-- Matrices --------------------------------------------------------------------------------------------------===//

namespace {
// How the dims of a contraction lie in its operands, as far as types say.
class Layouts {
public:
  explicit Layouts(nn::ContractOp op) : op(op), maps(op.getMaps()) {
    for (unsigned operand = 0; operand < maps.size(); ++operand) {
      int64_t offset;
      strides.emplace_back();
      sound &= succeeded(typeOf(operand).getStridesAndOffset(strides.back(), offset));
      sound &= maps[operand].isProjectedPermutation(/*allowZeroInResults=*/true);
    }
  }
  bool isSound() const { return sound; }
  MemRefType typeOf(unsigned operand) const { return cast<MemRefType>(op->getOperand(operand).getType()); }
  unsigned result() const { return maps.size() - 1; }
  std::optional<unsigned> place(unsigned operand, unsigned dim) const { return positionOf(maps[operand], dim); }
  int64_t extent(unsigned dim) const {
    ExtentPlace at = *extentPlace(maps, dim);
    return typeOf(at.operand).getDimSize(at.dim);
  }
  bool hasAll(unsigned operand, ArrayRef<unsigned> dims) const {
    return llvm::all_of(dims, [&](unsigned dim) { return place(operand, dim).has_value(); });
  }
  bool hasAny(unsigned operand, ArrayRef<unsigned> dims) const {
    return llvm::any_of(dims, [&](unsigned dim) { return place(operand, dim).has_value(); });
  }
  // Of the innermost one of `dims`; none: of no dim, so 1.
  std::optional<int64_t> strideOf(unsigned operand, ArrayRef<unsigned> dims) const {
    if (dims.empty())
      return 1;
    int64_t stride = strides[operand][*place(operand, dims.back())];
    return ShapedType::isDynamic(stride) ? std::nullopt : std::optional(stride);
  }
  // Whether a step in `outer` is all of `inner`'s steps, so that both are one dim.
  bool areOne(unsigned operand, unsigned outer, unsigned inner) const {
    unsigned from = *place(operand, outer), to = *place(operand, inner);
    MemRefType type = typeOf(operand);
    if (type.getLayout().isIdentity()) {
      bool isNext = from < to;
      for (unsigned between = from + 1; between < to; ++between)
        isNext &= type.getDimSize(between) == 1;
      return isNext;
    }
    ArrayRef<int64_t> of = strides[operand];
    return !ShapedType::isDynamic(of[from]) && !ShapedType::isDynamic(of[to]) && !type.isDynamicDim(to) &&
           of[from] == of[to] * type.getDimSize(to);
  }
  bool areOne(ArrayRef<unsigned> operands, ArrayRef<unsigned> dims) const {
    for (unsigned operand : operands)
      for (size_t i = 1; i < dims.size(); ++i)
        if (!areOne(operand, dims[i - 1], dims[i]))
          return false;
    return true;
  }
  void sort(SmallVectorImpl<unsigned> &dims, unsigned by) const {
    llvm::sort(dims, [&](unsigned x, unsigned y) { return *place(by, x) < *place(by, y); });
  }

private:
  nn::ContractOp op;
  SmallVector<AffineMap> maps;
  SmallVector<SmallVector<int64_t>> strides;
  bool sound = true;
};

// The dims from the first one on that are one dim in all `operands`; the others go to `rest`.
SmallVector<unsigned> innermost(const Layouts &layouts, ArrayRef<unsigned> operands, ArrayRef<unsigned> dims, SmallVectorImpl<unsigned> &rest) {
  size_t first = 0;
  while (!layouts.areOne(operands, dims.drop_front(first)))
    ++first;
  llvm::append_range(rest, dims.take_front(first));
  return llvm::to_vector(dims.drop_front(first));
}
} // namespace

std::optional<BlasForm> BlasForm::of(nn::ContractOp op, const std::optional<BlasEpilogue> &epilogue) {
  Layouts layouts(op);
  unsigned d = layouts.result();
  Type element = layouts.typeOf(0).getElementType(), made = layouts.typeOf(d).getElementType();
  Type sum = op.getEpilogue().front().getArgument(0).getType();
  bool isNarrow = element.isF16() || element.isBF16();
  if (!layouts.isSound() || op.getPacked() || layouts.typeOf(1).getElementType() != element)
    return std::nullopt;
  if (!(element == sum && made == sum && (sum.isF32() || sum.isF64())) && !(isNarrow && sum.isF32() && (made == element || made.isF32())))
    return std::nullopt;

  SmallVector<unsigned> rows, columns;
  BlasForm form;
  form.op = op;
  for (unsigned dim = 0, all = op.getMaps()[0].getNumDims(); dim < all; ++dim) {
    bool inA = layouts.place(0, dim).has_value(), inB = layouts.place(1, dim).has_value(), inD = layouts.place(d, dim).has_value();
    if (!inA && !inB)
      return std::nullopt;
    if (layouts.extent(dim) == 1)
      continue;
    if (!inD && !(inA && inB)) // a sum of one operand only
      return std::nullopt;
    (!inD ? form.k : inA && inB ? form.batch : inA ? rows : columns).push_back(dim);
  }

  // What else is read: a matrix like the result, and a vector along its rows.
  SmallVector<unsigned> reads;
  for (auto [number, weight] : llvm::enumerate(epilogue ? ArrayRef(epilogue->weights) : ArrayRef<double>()))
    if (weight != 0)
      reads.push_back(2 + number);
  layouts.sort(rows, d);
  layouts.sort(columns, d);
  layouts.sort(form.k, 0);
  if (!layouts.areOne({0, 1}, form.k))
    return std::nullopt;
  auto with = [&](unsigned operand, ArrayRef<unsigned> dims) {
    SmallVector<unsigned> operands{operand, d};
    for (unsigned read : reads)
      if (layouts.hasAll(read, dims))
        operands.push_back(read);
    return operands;
  };
  rows = innermost(layouts, with(0, rows), rows, form.batch);
  columns = innermost(layouts, with(1, columns), columns, form.batch);
  layouts.sort(form.batch, d);
  for (unsigned operand : {0u, 1u, d}) {
    bool isPart = layouts.hasAny(operand, form.batch) && !layouts.hasAll(operand, form.batch);
    if (isPart || (layouts.hasAny(operand, form.batch) && !layouts.areOne({operand}, form.batch)))
      return std::nullopt;
  }

  bool isTransposed = layouts.strideOf(d, columns) == 1; // ours is row-major
  form.a = isTransposed ? 1 : 0;
  form.b = isTransposed ? 0 : 1;
  form.m = isTransposed ? columns : rows;
  form.n = isTransposed ? rows : columns;
  auto isUnit = [&](unsigned operand, ArrayRef<unsigned> dims) { return layouts.strideOf(operand, dims) == 1; };
  bool transposeA = !isUnit(form.a, form.m), transposeB = !isUnit(form.b, form.k);
  if (!isUnit(d, form.m) || (transposeA && !isUnit(form.a, form.k)) || (transposeB && !isUnit(form.b, form.n)))
    return std::nullopt;

  double beta = 0;
  for (unsigned read : reads) {
    double weight = epilogue->weights[read - 2];
    if (layouts.typeOf(read).getElementType() != made)
      return std::nullopt;
    bool isVector = !layouts.hasAny(read, form.n) && !form.n.empty();
    if (isVector) {
      if (form.bias || weight != 1 || !layouts.hasAll(read, form.m) || !isUnit(read, form.m) || layouts.hasAny(read, form.batch) || made.isF64())
        return std::nullopt;
      form.bias = read;
      continue;
    }
    bool isPart = layouts.hasAny(read, form.batch) && !layouts.hasAll(read, form.batch);
    bool isBatched = layouts.hasAll(read, form.batch) && !layouts.areOne({read}, form.batch);
    if (form.c || !layouts.hasAll(read, form.m) || !layouts.hasAll(read, form.n) || !isUnit(read, form.m) || isPart || isBatched)
      return std::nullopt;
    form.c = read;
    beta = weight;
  }
  Builder builder(op.getContext());
  auto number = [&](double value) { return builder.getF64FloatAttr(value); };
  StringRef activation = "none";
  if (epilogue && epilogue->activation != BlasEpilogue::Activation::None) {
    // The library's tanh may be the chip's, which has 11 bits.
    bool isGelu = epilogue->activation == BlasEpilogue::Activation::Gelu;
    if (made.isF64() || (isGelu && !made.isF16() && !made.isBF16()))
      return std::nullopt;
    activation = isGelu ? "gelu" : "relu";
  }
  form.contraction = plan::ContractionAttr::get(op.getContext(), element, made, transposeA, transposeB, number(epilogue ? epilogue->alpha : 1),
                                                number(beta), form.bias.has_value(), builder.getStringAttr(activation),
                                                element.isF32() && multipliesInTf32(op));
  return form;
}

SmallVector<Value> BlasForm::shape(OpBuilder &host, Value workspace) {
  Location loc = op->getLoc();
  Layouts layouts(op);
  SmallVector<AffineMap> maps = op.getMaps();
  Value none = arith::ConstantIndexOp::create(host, loc, 0);
  auto extentOf = [&](ArrayRef<unsigned> dims) {
    Value product = arith::ConstantIndexOp::create(host, loc, 1);
    for (unsigned dim : dims) {
      ExtentPlace place = *extentPlace(maps, dim);
      product = host.createOrFold<arith::MulIOp>(loc, product, host.createOrFold<memref::DimOp>(loc, op->getOperand(place.operand), place.dim));
    }
    return product;
  };
  auto strideOf = [&](unsigned operand, ArrayRef<unsigned> dims) -> Value {
    if (std::optional<int64_t> stride = layouts.strideOf(operand, dims))
      return arith::ConstantIndexOp::create(host, loc, *stride);
    auto metadata = memref::ExtractStridedMetadataOp::create(host, loc, op->getOperand(operand));
    return metadata.getStrides()[*layouts.place(operand, dims.back())];
  };
  Value extents[] = {extentOf(m), extentOf(n), extentOf(k), extentOf(batch)};
  // The distance of columns: of one that there is alone, how long it is.
  auto leading = [&](unsigned operand, ArrayRef<unsigned> columns, Value length) { return columns.empty() ? length : strideOf(operand, columns); };
  auto between = [&](unsigned operand) {
    return batch.empty() || !layouts.hasAny(operand, batch) ? none : strideOf(operand, batch);
  };
  unsigned d = layouts.result();
  bool transposeA = contraction.getTransposeA(), transposeB = contraction.getTransposeB();
  SmallVector<Value> values(extents, extents + 4);
  values.push_back(leading(a, transposeA ? m : k, extents[transposeA ? 2 : 0]));
  values.push_back(leading(b, transposeB ? k : n, extents[transposeB ? 1 : 2]));
  values.push_back(c ? leading(*c, n, extents[0]) : none);
  values.push_back(leading(d, n, extents[0]));
  values.append({between(a), between(b), c ? between(*c) : none, between(d)});
  auto address = [&](std::optional<unsigned> operand) { return operand ? op->getOperand(*operand) : none; };
  values.append({address(a), address(b), address(c), address(d), address(bias), workspace ? workspace : none});
  return values;
}
