// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which kernels a library does better.
#include "codegen/cuda/BlasForm.h"
#include "codegen/cuda/Kernels.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
// Below these a kernel made for the case is as good as what a library has.
constexpr int64_t kLeastRows = 9, kLeastSums = 16;
// From as many terms of a sum on, a product by a library and a pass over its result take less than the generated product.
constexpr int64_t kLeastSumsOfTwo = 256;

bool areAtLeast(int64_t least, nn::ContractOp op, ArrayRef<unsigned> dims) {
  int64_t product = 1;
  for (unsigned dim : dims) {
    ExtentPlace place = *extentPlace(op.getMaps(), dim);
    int64_t extent = cast<MemRefType>(op->getOperand(place.operand).getType()).getDimSize(place.dim);
    if (ShapedType::isDynamic(extent))
      return true;
    product *= extent;
  }
  return product >= least;
}

bool isWorth(const BlasForm &form, int64_t leastSums) {
  return areAtLeast(kLeastRows, form.op, form.m) && areAtLeast(kLeastRows, form.op, form.n) && areAtLeast(leastSums, form.op, form.k);
}

// The buffer that a memref is a part of.
Value bufferOf(Value value) {
  while (auto view = value.getDefiningOp<ViewLikeOpInterface>()) {
    if (isa<memref::ViewOp>(view))
      break;
    value = view.getViewSource();
  }
  return value;
}

// The sums alone, then the epilogue on them in place: where they are stored as they are summed, and nothing that the epilogue
// reads lies there.
nn::ContractOp splitEpilogue(nn::ContractOp op) {
  Value init = op.getInit();
  Block &epilogue = op.getEpilogue().front();
  Type sum = epilogue.getArgument(0).getType();
  if (cast<MemRefType>(init.getType()).getElementType() != sum)
    return {};
  SmallVector<AffineMap> maps = op.getMaps();
  AffineMap result = maps.back();
  if (!result.isProjectedPermutation() || llvm::any_of(op.getEpilogueIns(), [&](Value in) { return bufferOf(in) == bufferOf(init); }))
    return {};
  // Dims of the contraction as those of the result.
  OpBuilder b(op);
  SmallVector<AffineExpr> dims(result.getNumDims(), b.getAffineConstantExpr(0));
  for (auto [place, expr] : llvm::enumerate(result.getResults()))
    dims[cast<AffineDimExpr>(expr).getPosition()] = b.getAffineDimExpr(place);
  SmallVector<AffineMap> mapsOfResult;
  for (AffineMap map : ArrayRef(maps).slice(2, op.getEpilogueIns().size()))
    mapsOfResult.push_back(map.replaceDimsAndSymbols(dims, {}, result.getNumResults(), 0));
  mapsOfResult.push_back(b.getMultiDimIdentityMap(result.getNumResults()));

  b.setInsertionPointAfter(op);
  SmallVector<utils::IteratorType> parallel(result.getNumResults(), utils::IteratorType::parallel);
  linalg::GenericOp::create(b, op.getLoc(), TypeRange(), op.getEpilogueIns(), init, mapsOfResult, parallel,
                            [&](OpBuilder &inner, Location loc, ValueRange arguments) {
                              IRMapping mapping;
                              mapping.map(epilogue.getArgument(0), arguments.back());
                              mapping.map(epilogue.getArguments().drop_front(), arguments.drop_back());
                              for (Operation &one : epilogue.without_terminator())
                                inner.clone(one, mapping);
                              linalg::YieldOp::create(inner, loc, mapping.lookupOrDefault(epilogue.getTerminator()->getOperand(0)));
                            });
  b.setInsertionPoint(op);
  auto product = nn::ContractOp::create(b, op.getLoc(), TypeRange(), op.getA(), op.getB(), ValueRange(), init,
                                        b.getAffineMapArrayAttr({maps[0], maps[1], maps.back()}), op.getIteratorTypesAttr(), UnitAttr(),
                                        op.getFewRowsAttr(), op.getFewColumnsAttr());
  Block *plain = b.createBlock(&product.getEpilogue(), {}, {sum}, {op.getLoc()});
  nn::YieldOp::create(b, op.getLoc(), ValueRange(plain->getArgument(0)));
  op.erase();
  return product;
}
} // namespace

int64_t CudaKernels::assignLibraries(ModuleOp module, ArrayRef<std::string> libraries) const {
  if (!llvm::is_contained(libraries, "cublaslt"))
    return 0;
  SmallVector<nn::ContractOp> ops;
  module.walk([&](nn::ContractOp op) { ops.push_back(op); });
  bool any = false;
  for (nn::ContractOp op : ops) {
    if (op.getFewRows() || op.getFewColumns()) // there is a kernel for that
      continue;
    std::optional<BlasEpilogue> epilogue = BlasEpilogue::of(op);
    std::optional<BlasForm> form = epilogue ? BlasForm::of(op, epilogue) : std::nullopt;
    if (form ? !isWorth(*form, kLeastSums) : !(form = BlasForm::of(op, std::nullopt)) || !isWorth(*form, kLeastSumsOfTwo) || !(op = splitEpilogue(op)))
      continue;
    op->setAttr(kLibrary, StringAttr::get(op.getContext(), "cublaslt"));
    any = true;
  }
  // What is customary for these chips.
  return !any ? 0 : gpuCapability() >= 90 ? 32 << 20 : 4 << 20;
}

std::optional<LibraryCall> CudaKernels::libraryCall(Operation *op, OpBuilder &host, Value workspace) const {
  auto contract = dyn_cast<nn::ContractOp>(op);
  if (!contract || !op->hasAttr(kLibrary))
    return std::nullopt;
  std::optional<BlasForm> form = BlasForm::of(contract, BlasEpilogue::of(contract));
  if (!form)
    return std::nullopt;
  return LibraryCall{form->contraction, form->shape(host, workspace)};
}
