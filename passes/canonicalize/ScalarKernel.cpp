// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/ScalarKernel.h"
#include "passes/canonicalize/StringType.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace snug;

static bool isFloat(Value value) { return isa<FloatType>(value.getType()); }

static bool isWidened(Type type) { return isUnsigned(type) && !isCode(type) && !type.isInteger(1); }

static Type computed(Type type) {
  if (isCode(type) || isString(type))
    return storedAs(type);
  if (isWidened(type))
    return IntegerType::get(type.getContext(), 2 * type.getIntOrFloatBitWidth());
  auto floatType = dyn_cast<FloatType>(type);
  return floatType ? Type(computeType(floatType)) : type;
}

Value ScalarCode::load(unsigned operand, ValueRange indices) {
  Type type = elementTypes[operand], wide = computed(type);
  Value element = nn::LoadOp::create(b, loc, isWidened(type) ? storedAs(type) : wide, operand, indices);
  return isWidened(type) ? arith::ExtUIOp::create(b, loc, wide, element).getResult() : element;
}
void ScalarCode::store(Value value, unsigned operand, ValueRange indices) {
  if (Type type = elementTypes[operand]; isWidened(type))
    value = convert(value, storedAs(type));
  nn::StoreOp::create(b, loc, value, operand, indices);
}
Value ScalarCode::extent(unsigned operand, unsigned dim) {
  return nn::ExtentOp::create(b, loc, b.getIndexType(), operand, dim);
}
Value ScalarCode::place(unsigned dim) { return nn::IndexOp::create(b, loc, b.getIndexType(), dim); }

Value ScalarCode::constant(TypedAttr value) { return arith::ConstantOp::create(b, loc, value); }
Value ScalarCode::index(int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); }
Value ScalarCode::number(Type type, double value) {
  if (isa<FloatType>(type))
    return constant(b.getFloatAttr(type, value));
  return constant(b.getIntegerAttr(type, static_cast<int64_t>(value)));
}
Value ScalarCode::add(Value x, Value y) {
  return isFloat(x) ? b.createOrFold<arith::AddFOp>(loc, x, y) : b.createOrFold<arith::AddIOp>(loc, x, y);
}
Value ScalarCode::sub(Value x, Value y) {
  return isFloat(x) ? b.createOrFold<arith::SubFOp>(loc, x, y) : b.createOrFold<arith::SubIOp>(loc, x, y);
}
Value ScalarCode::mul(Value x, Value y) {
  return isFloat(x) ? b.createOrFold<arith::MulFOp>(loc, x, y) : b.createOrFold<arith::MulIOp>(loc, x, y);
}
Value ScalarCode::div(Value x, Value y) {
  return isFloat(x) ? b.createOrFold<arith::DivFOp>(loc, x, y) : b.createOrFold<arith::DivSIOp>(loc, x, y);
}
Value ScalarCode::rem(Value x, Value y) { return b.createOrFold<arith::RemSIOp>(loc, x, y); }
Value ScalarCode::min(Value x, Value y) {
  return isFloat(x) ? b.createOrFold<arith::MinimumFOp>(loc, x, y) : b.createOrFold<arith::MinSIOp>(loc, x, y);
}
Value ScalarCode::max(Value x, Value y) {
  return isFloat(x) ? b.createOrFold<arith::MaximumFOp>(loc, x, y) : b.createOrFold<arith::MaxSIOp>(loc, x, y);
}
Value ScalarCode::less(Value x, Value y) {
  return isFloat(x) ? b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::OLT, x, y)
                    : b.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::slt, x, y);
}
Value ScalarCode::lessEqual(Value x, Value y) {
  return isFloat(x) ? b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::OLE, x, y)
                    : b.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::sle, x, y);
}
Value ScalarCode::equal(Value x, Value y) {
  return isFloat(x) ? b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::OEQ, x, y)
                    : b.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::eq, x, y);
}
Value ScalarCode::both(Value x, Value y) { return b.createOrFold<arith::AndIOp>(loc, x, y); }
Value ScalarCode::either(Value x, Value y) { return b.createOrFold<arith::OrIOp>(loc, x, y); }
Value ScalarCode::negate(Value x) { return b.createOrFold<arith::XOrIOp>(loc, x, constant(b.getBoolAttr(true))); }
Value ScalarCode::select(Value condition, Value x, Value y) {
  return b.createOrFold<arith::SelectOp>(loc, condition, x, y);
}
Value ScalarCode::floor(Value x) { return math::FloorOp::create(b, loc, x); }

Value ScalarCode::convert(Value value, Type type) {
  Type from = value.getType();
  if (from == type)
    return value;
  if (isa<FloatType>(type)) {
    if (from.isF64() && type.getIntOrFloatBitWidth() < 32) // no target has both steps in one
      return convert(convert(value, b.getF32Type()), type);
    if (isa<FloatType>(from))
      return from.getIntOrFloatBitWidth() < type.getIntOrFloatBitWidth()
                 ? arith::ExtFOp::create(b, loc, type, value).getResult()
                 : arith::TruncFOp::create(b, loc, type, value).getResult();
    if (from.isIndex())
      return arith::SIToFPOp::create(b, loc, type, convert(value, b.getI64Type()));
    return from.isInteger(1) ? arith::UIToFPOp::create(b, loc, type, value).getResult()
                             : arith::SIToFPOp::create(b, loc, type, value).getResult();
  }
  if (isa<FloatType>(from)) {
    if (type.isIndex())
      return convert(convert(value, b.getI64Type()), type);
    return arith::FPToSIOp::create(b, loc, type, value);
  }
  if (from.isIndex() || type.isIndex())
    return arith::IndexCastOp::create(b, loc, type, value);
  if (from.getIntOrFloatBitWidth() > type.getIntOrFloatBitWidth())
    return arith::TruncIOp::create(b, loc, type, value);
  return from.isInteger(1) ? arith::ExtUIOp::create(b, loc, type, value).getResult()
                           : arith::ExtSIOp::create(b, loc, type, value).getResult();
}

Value ScalarCode::fromEnd(Value at, Value extent) {
  return select(less(at, index(0)), add(at, extent), at);
}
Value ScalarCode::clamp(Value at, Value extent) { return max(min(at, sub(extent, index(1))), index(0)); }
Value ScalarCode::isInside(Value at, Value extent) { return both(lessEqual(index(0), at), less(at, extent)); }

void ScalarCode::loop(Value from, Value to, function_ref<void(Value)> body) {
  auto made = scf::ForOp::create(b, loc, from, to, index(1));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(made.getBody());
  body(made.getInductionVar());
}

void ScalarCode::loops(ArrayRef<Value> extents, function_ref<void(ValueRange)> body) {
  SmallVector<Value> at;
  std::function<void()> nest = [&] {
    if (at.size() == extents.size())
      return body(at);
    loop(extents[at.size()], [&](Value i) {
      at.push_back(i);
      nest();
      at.pop_back();
    });
  };
  nest();
}

ScalarCode::Values ScalarCode::loop(Value from, Value to, ValueRange init,
                                    function_ref<Values(Value, ValueRange)> body) {
  auto made = scf::ForOp::create(b, loc, from, to, index(1), init);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(made.getBody());
  scf::YieldOp::create(b, loc, body(made.getInductionVar(), made.getRegionIterArgs()));
  return Values(made.getResults());
}

Value ScalarCode::sum(Value from, Value to, Value init, function_ref<Value(Value, Value)> body) {
  return loop(from, to, init, [&](Value i, ValueRange total) { return Values{body(i, total[0])}; })[0];
}

ScalarCode::Values ScalarCode::whileLoop(ValueRange init, function_ref<Value(ValueRange)> condition,
                                         function_ref<Values(ValueRange)> body) {
  auto made = scf::WhileOp::create(
      b, loc, init.getTypes(), init,
      [&](OpBuilder &, Location, ValueRange values) { scf::ConditionOp::create(b, loc, condition(values), values); },
      [&](OpBuilder &, Location, ValueRange values) { scf::YieldOp::create(b, loc, body(values)); });
  return Values(made.getResults());
}

Value ScalarCode::placeIn(unsigned counts, Value number) {
  auto isOpen = [&](ValueRange span) { return less(span[0], span[1]); };
  return whileLoop({index(0), extent(counts, 0)}, isOpen, [&](ValueRange span) -> Values {
    Value middle = div(add(span[0], span[1]), index(2)), isBehind = less(number, toIndex(load(counts, {middle})));
    return {select(isBehind, span[0], add(middle, index(1))), select(isBehind, middle, span[1])};
  })[0];
}

void ScalarCode::parallel(Value to, function_ref<void(Value)> body) {
  auto made = scf::ParallelOp::create(b, loc, index(0), to, index(1));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(made.getBody());
  body(made.getInductionVars()[0]);
}

Value ScalarCode::reduce(Value to, Kind kind, Value init, function_ref<Value(Value)> body) {
  auto made = scf::ParallelOp::create(b, loc, index(0), to, index(1), init,
                                      [](OpBuilder &, Location, ValueRange, ValueRange) {});
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(made.getBody());
  auto reduction = scf::ReduceOp::create(b, loc, body(made.getInductionVars()[0]));
  Block &combination = reduction.getReductions()[0].front();
  b.setInsertionPointToEnd(&combination);
  Value x = combination.getArgument(0), y = combination.getArgument(1);
  scf::ReduceReturnOp::create(b, loc, kind == Kind::Max ? max(x, y) : kind == Kind::Min ? min(x, y) : add(x, y));
  return made.getResult(0);
}

void ScalarCode::ifThen(Value condition, function_ref<void()> body) {
  auto made = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(made.thenBlock());
  body();
}

ScalarCode::Values ScalarCode::ifElse(Value condition, function_ref<Values()> then, function_ref<Values()> otherwise) {
  auto made = scf::IfOp::create(
      b, loc, condition, [&](OpBuilder &, Location) { scf::YieldOp::create(b, loc, then()); },
      [&](OpBuilder &, Location) { scf::YieldOp::create(b, loc, otherwise()); });
  return Values(made.getResults());
}

// --- the kernel ---------------------------------------------------------------------------------------------------

void ScalarKernel::addMap(ArrayRef<int> dims) {
  auto &map = maps.emplace_back();
  for (int dim : dims)
    map.push_back(dim >= 0 ? dim : -1 - static_cast<int>(otherDims++));
}

unsigned ScalarKernel::read(LoweredValue &value, ArrayRef<int> dims) {
  ins.push_back(l.tensor(value));
  elementTypes.push_back(value.elementType);
  addMap(dims);
  return maps.size() - 1;
}

unsigned ScalarKernel::write(ArrayRef<AffineExpr> shape, Type elementType, ArrayRef<int> dims) {
  inits.push_back(l.empty(shape, elementType));
  shapes.push_back(Extents(shape));
  elementTypes.push_back(elementType);
  addMap(dims);
  return maps.size() - 1;
}

Type ScalarKernel::computedType(unsigned operand) { return computed(elementTypes[operand]); }

std::vector<LoweredValue> ScalarKernel::build(function_ref<void(ScalarCode &, ValueRange)> body) {
  OpBuilder &b = l.b;
  SmallVector<AffineMap> affine;
  for (ArrayRef<int> map : maps) {
    SmallVector<AffineExpr> exprs;
    for (int dim : map)
      exprs.push_back(getAffineDimExpr(dim >= 0 ? dim : parallelDims - 1 - dim, b.getContext()));
    affine.push_back(AffineMap::get(parallelDims + otherDims, 0, exprs, b.getContext()));
  }
  auto op = nn::ScalarKernelOp::create(b, l.loc(), ValueRange(inits).getTypes(), ins, inits, b.getAffineMapArrayAttr(affine),
                                       b.getDenseI64ArrayAttr(overwrites));
  Block &block = op.getBody().emplaceBlock();
  for (unsigned dim = 0; dim < parallelDims; ++dim)
    block.addArgument(b.getIndexType(), l.loc());
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(&block);
  ScalarCode code{b, l.loc(), elementTypes};
  body(code, block.getArguments());
  nn::YieldOp::create(b, l.loc(), ValueRange());
  std::vector<LoweredValue> results;
  for (auto [result, shape] : llvm::zip(op.getResults(), shapes))
    results.push_back(l.tensorValue(result, shape, elementTypes[ins.size() + results.size()]));
  return results;
}

bool snug::areExtents(Lowering &l, ArrayRef<AffineExpr> shape) {
  double elements = 1;
  bool fits = true;
  for (AffineExpr extent : shape) {
    auto least = l.dims.lowerBound(extent), most = l.dims.upperBound(extent);
    fits &= least && *least >= 0;
    elements *= most ? static_cast<double>(*most) : 1;
  }
  if (!fits || elements > 1e15) // far above any memory, far below where sizes overflow
    l.error() << "a shape of " << l.print(shape) << " is not supported";
  return fits && elements <= 1e15;
}

SmallVector<int> snug::dimsInOrder(unsigned count, ArrayRef<int64_t> others) {
  SmallVector<int> dims;
  for (unsigned dim = 0; dim < count; ++dim)
    dims.push_back(llvm::is_contained(others, static_cast<int64_t>(dim)) ? ScalarKernel::Any : static_cast<int>(dim));
  return dims;
}
