// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/BlasForm.h"
#include "codegen/cuda/Kernels.h"
#include "codegen/cuda/Layouts.h"
#include "codegen/kernel/KernelTarget.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

// The dims from the first one on that are one dim in all `operands`; the others go to `rest`.
static SmallVector<unsigned> innermost(const Layouts &layouts, ArrayRef<unsigned> operands, ArrayRef<unsigned> dims, SmallVectorImpl<unsigned> &rest) {
  size_t first = 0;
  while (!layouts.areOne(operands, dims.drop_front(first)))
    ++first;
  llvm::append_range(rest, dims.take_front(first));
  return llvm::to_vector(dims.drop_front(first));
}

std::optional<BlasForm> BlasForm::of(nn::ContractOp op, const LibraryEpilogue &epilogue) {
  Layouts layouts(op);
  unsigned d = layouts.result();
  Type element = layouts.elementOf(0), made = layouts.elementOf(d);
  auto isPlain = [](AffineMap map) { return map.isProjectedPermutation(/*allowZeroInResults=*/true); };
  if (op.getPacked() || !layouts.haveStrides() || !llvm::all_of(op.getMaps(), isPlain) || !haveLibraryTypes(op))
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
  for (auto [number, weight] : llvm::enumerate(epilogue.weights))
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
    double weight = epilogue.weights[read - 2];
    if (layouts.elementOf(read) != made)
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
  if (epilogue.activation != LibraryEpilogue::Activation::None) {
    // The library's tanh may be the chip's, which has 11 bits.
    bool isGelu = epilogue.activation == LibraryEpilogue::Activation::Gelu;
    if (made.isF64() || (isGelu && !made.isF16() && !made.isBF16()))
      return std::nullopt;
    activation = isGelu ? "gelu" : "relu";
  }
  form.contraction = plan::ContractionAttr::get(op.getContext(), element, made, /*spatial=*/0, transposeA, transposeB, number(epilogue.alpha),
                                                number(beta), form.bias.has_value(), builder.getStringAttr(activation),
                                                element.isF32() && multipliesInTf32(op));
  return form;
}

SmallVector<Value> BlasForm::shape(OpBuilder &host, Value workspace) {
  Layouts layouts(op);
  Value none = arith::ConstantIndexOp::create(host, op->getLoc(), 0);
  auto extentOf = [&](ArrayRef<unsigned> dims) { return layouts.extent(host, dims); };
  auto strideOf = [&](unsigned operand, ArrayRef<unsigned> dims) { return layouts.strideOf(host, operand, dims); };
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
