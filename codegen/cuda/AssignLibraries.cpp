// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which kernels a library does better.
#include "codegen/cuda/BlasForm.h"
#include "codegen/cuda/ConvForm.h"
#include "codegen/cuda/Kernels.h"
#include "codegen/cuda/Layouts.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
// Below these a kernel made for the case is as good as what a library has.
constexpr int64_t kLeastRows = 9, kLeastSums = 16;
// From as many terms of a sum on, a product by a library and a pass over its result take less than the generated product.
constexpr int64_t kLeastSumsOfTwo = 256;
// Kernels of convolutions multiply tiles of channels by tiles of filters, of a group each, and those on tensor cores read 16 bytes of
// channels at once: what has few of them (a first layer, most groups, depthwise) leaves tiles empty or has no such kernel.
constexpr int64_t kLeastChannels = 16, kMultipleOfChannels = 8;

int64_t extentOf(nn::ContractOp op, unsigned dim) {
  ExtentPlace place = *extentPlace(op.getMaps(), dim);
  return cast<MemRefType>(op->getOperand(place.operand).getType()).getDimSize(place.dim);
}

bool areAtLeast(int64_t least, nn::ContractOp op, ArrayRef<unsigned> dims) {
  int64_t product = 1;
  for (unsigned dim : dims) {
    int64_t extent = extentOf(op, dim);
    if (ShapedType::isDynamic(extent))
      return true;
    product *= extent;
  }
  return product >= least;
}

bool isWorth(const BlasForm &form, int64_t leastSums) {
  return areAtLeast(kLeastRows, form.op, form.m) && areAtLeast(kLeastRows, form.op, form.n) && areAtLeast(leastSums, form.op, form.k);
}

bool isWorth(const ConvForm &form, int64_t leastSums) {
  SmallVector<unsigned> sums{form.channel}, places;
  if (form.batch)
    places.push_back(*form.batch);
  for (const ConvForm::Spatial &one : form.spatial) {
    places.push_back(one.out);
    if (one.window)
      sums.push_back(*one.window);
  }
  auto hasMany = [&](unsigned dim) {
    int64_t extent = extentOf(form.op, dim);
    return !ShapedType::isDynamic(extent) && extent >= kLeastChannels && extent % kMultipleOfChannels == 0;
  };
  return hasMany(form.channel) && hasMany(form.filter) && areAtLeast(kLeastRows, form.op, places) && areAtLeast(leastSums, form.op, sums);
}

// Of an epilogue that follows in place what belongs to the sums nevertheless: a weighted term that lies where they do. Nothing where
// sums cannot be stored as they are summed, or it reads something else there.
std::optional<LibraryEpilogue> epilogueOfSums(nn::ContractOp op, const std::optional<LibraryEpilogue> &epilogue) {
  Value init = op.getInit();
  SmallVector<AffineMap> maps = op.getMaps();
  Type sum = op.getEpilogue().front().getArgument(0).getType();
  LibraryEpilogue ofSums;
  if (cast<MemRefType>(init.getType()).getElementType() != sum || !maps.back().isProjectedPermutation())
    return std::nullopt;
  for (auto [number, in] : llvm::enumerate(op.getEpilogueIns())) {
    bool isThere = bufferOf(in) == bufferOf(init);
    if (isThere && (!epilogue || epilogue->weights[number] == 0 || !areSame(in, init) || maps[2 + number] != maps.back()))
      return std::nullopt;
    ofSums.weights.push_back(isThere ? epilogue->weights[number] / epilogue->alpha : 0);
  }
  return ofSums;
}

// The sums with what belongs to them, then the rest of the epilogue on them.
nn::ContractOp splitEpilogue(nn::ContractOp op, const LibraryEpilogue &ofSums) {
  Value init = op.getInit();
  Block &epilogue = op.getEpilogue().front();
  Type sum = epilogue.getArgument(0).getType();
  SmallVector<AffineMap> maps = op.getMaps();
  AffineMap result = maps.back();
  // Dims of the contraction as those of the result.
  OpBuilder b(op);
  SmallVector<AffineExpr> dims(result.getNumDims(), b.getAffineConstantExpr(0));
  for (auto [place, expr] : llvm::enumerate(result.getResults()))
    dims[cast<AffineDimExpr>(expr).getPosition()] = b.getAffineDimExpr(place);
  SmallVector<AffineMap> mapsOfResult, mapsOfSums{maps[0], maps[1]};
  SmallVector<Value> read, readBySums; // and their numbers as arguments of the epilogue
  SmallVector<unsigned> arguments, argumentsOfSums;
  for (auto [number, in] : llvm::enumerate(op.getEpilogueIns())) {
    bool isOfSums = ofSums.weights[number] != 0;
    (isOfSums ? readBySums : read).push_back(in);
    (isOfSums ? argumentsOfSums : arguments).push_back(1 + number);
    AffineMap map = maps[2 + number];
    if (isOfSums)
      mapsOfSums.push_back(map);
    else
      mapsOfResult.push_back(map.replaceDimsAndSymbols(dims, {}, result.getNumResults(), 0));
  }
  mapsOfSums.push_back(result);
  mapsOfResult.push_back(b.getMultiDimIdentityMap(result.getNumResults()));

  b.setInsertionPointAfter(op);
  SmallVector<utils::IteratorType> parallel(result.getNumResults(), utils::IteratorType::parallel);
  linalg::GenericOp::create(b, op.getLoc(), TypeRange(), read, init, mapsOfResult, parallel,
                            [&](OpBuilder &inner, Location loc, ValueRange given) {
                              IRMapping mapping;
                              mapping.map(epilogue.getArgument(0), given.back());
                              for (auto [number, value] : llvm::zip_equal(arguments, given.drop_back()))
                                mapping.map(epilogue.getArgument(number), value);
                              for (unsigned number : argumentsOfSums) // is in the sums by now
                                mapping.map(epilogue.getArgument(number), arith::ConstantOp::create(inner, loc, inner.getZeroAttr(sum)));
                              for (Operation &one : epilogue.without_terminator())
                                inner.clone(one, mapping);
                              linalg::YieldOp::create(inner, loc, mapping.lookupOrDefault(epilogue.getTerminator()->getOperand(0)));
                            });
  b.setInsertionPoint(op);
  auto product = nn::ContractOp::create(b, op.getLoc(), TypeRange(), op.getA(), op.getB(), readBySums, init, b.getAffineMapArrayAttr(mapsOfSums),
                                        op.getIteratorTypesAttr(), UnitAttr(), op.getFewRowsAttr(), op.getFewColumnsAttr());
  SmallVector<Type> types(1 + readBySums.size(), sum);
  Block *body = b.createBlock(&product.getEpilogue(), {}, types, SmallVector<Location>(types.size(), op.getLoc()));
  Value all = body->getArgument(0);
  for (auto [number, term] : llvm::zip_equal(argumentsOfSums, body->getArguments().drop_front())) {
    Value weight = arith::ConstantOp::create(b, op.getLoc(), b.getFloatAttr(sum, ofSums.weights[number - 1]));
    all = arith::AddFOp::create(b, op.getLoc(), all, arith::MulFOp::create(b, op.getLoc(), term, weight));
  }
  nn::YieldOp::create(b, op.getLoc(), ValueRange(all));
  op.erase();
  return product;
}

// How a library would do it: with its epilogue or, where sums are long, with what belongs to them only (`ofSums`).
template <class Form> struct Way {
  Form form;
  std::optional<LibraryEpilogue> ofSums;
};
template <class Form> std::optional<Way<Form>> wayOf(nn::ContractOp op) {
  if (op.getFewRows() || op.getFewColumns()) // there is a kernel for that
    return std::nullopt;
  std::optional<LibraryEpilogue> epilogue = LibraryEpilogue::of(op), ofSums;
  std::optional<Form> form = epilogue ? Form::of(op, *epilogue) : std::nullopt;
  int64_t leastSums = form ? kLeastSums : kLeastSumsOfTwo;
  if (!form && (ofSums = epilogueOfSums(op, epilogue)))
    form = Form::of(op, *ofSums);
  if (!form || !isWorth(*form, leastSums))
    return std::nullopt;
  return Way<Form>{*form, ofSums};
}

void give(nn::ContractOp op, const std::optional<LibraryEpilogue> &ofSums, StringRef library) {
  op = ofSums ? splitEpilogue(op, *ofSums) : op;
  op->setAttr(kLibrary, StringAttr::get(op.getContext(), library));
}

bool assignProducts(ArrayRef<nn::ContractOp> ops) {
  bool any = false;
  for (nn::ContractOp op : ops)
    if (auto way = wayOf<BlasForm>(op)) {
      give(op, way->ofSums, "cublaslt");
      any = true;
    }
  return any;
}

// Places of the filters' dims, in the order that the library wants.
SmallVector<int64_t> filterOrder(const ConvForm &form) {
  nn::ContractOp op = form.op;
  return llvm::map_to_vector(form.filterDims(), [map = op.getMaps()[1]](unsigned dim) { return int64_t(*positionOf(map, dim)); });
}

// The same filters with their dims in another order: all ops that read them are told.
void reorder(nn::WeightOp weight, ArrayRef<int64_t> order) {
  OpBuilder b(weight);
  SmallVector<Attribute> recipe(weight.getRecipe().getValue());
  SmallVector<int64_t> whole(order);
  if (auto last = recipe.empty() ? nullptr : dyn_cast<nn::RecipeTransposeAttr>(recipe.back())) {
    whole = llvm::map_to_vector(order, [&](int64_t place) { return last.getPermutation()[place]; });
    recipe.pop_back();
  }
  if (!llvm::equal(whole, llvm::seq<int64_t>(whole.size())))
    recipe.push_back(nn::RecipeTransposeAttr::get(b.getContext(), whole));
  auto type = cast<MemRefType>(weight.getType());
  SmallVector<int64_t> extents = llvm::map_to_vector(order, [&](int64_t place) { return type.getDimSize(place); });
  Value moved = nn::WeightOp::create(b, weight.getLoc(), MemRefType::get(extents, type.getElementType()), weight.getDataAttr(), b.getArrayAttr(recipe));
  for (Operation *user : llvm::to_vector(weight->getUsers())) {
    auto op = cast<nn::ContractOp>(user);
    SmallVector<AffineMap> maps = op.getMaps();
    SmallVector<AffineExpr> exprs = llvm::map_to_vector(order, [&](int64_t place) { return maps[1].getResult(place); });
    maps[1] = AffineMap::get(maps[1].getNumDims(), 0, exprs, b.getContext());
    op.setIndexingMapsAttr(b.getAffineMapArrayAttr(maps));
    op.getBMutable().assign(moved);
  }
  weight.erase();
}

// All that read the same filters, or none of them, as these are stored once.
bool assignConvolutions(ModuleOp module) {
  SmallVector<nn::WeightOp> weights;
  module.walk([&](nn::WeightOp weight) { weights.push_back(weight); });
  bool any = false;
  for (nn::WeightOp weight : weights) {
    SmallVector<Way<ConvForm>, 1> ways;
    bool isTaken = !weight->use_empty();
    for (OpOperand &use : weight->getUses()) {
      auto op = dyn_cast<nn::ContractOp>(use.getOwner());
      auto way = op && !op->hasAttr(kLibrary) && use.getOperandNumber() == 1 ? wayOf<ConvForm>(op) : std::nullopt;
      if (way)
        ways.push_back(*way);
      isTaken &= way && filterOrder(way->form) == filterOrder(ways.front().form);
    }
    if (!isTaken)
      continue;
    SmallVector<int64_t> order = filterOrder(ways.front().form);
    for (const Way<ConvForm> &way : ways)
      give(way.form.op, way.ofSums, "cudnn");
    reorder(weight, order);
    any = true;
  }
  return any;
}
} // namespace

int64_t CudaKernels::assignLibraries(ModuleOp module, ArrayRef<std::string> libraries) const {
  bool any = false;
  if (llvm::is_contained(libraries, "cublaslt")) {
    SmallVector<nn::ContractOp> ops;
    module.walk([&](nn::ContractOp op) { ops.push_back(op); });
    any |= assignProducts(ops);
  }
  if (llvm::is_contained(libraries, "cudnn"))
    any |= assignConvolutions(module);
  // What is customary for these chips.
  return !any ? 0 : gpuCapability() >= 90 ? 32 << 20 : 4 << 20;
}

std::optional<LibraryCall> CudaKernels::libraryCall(Operation *op, OpBuilder &host, Value workspace) const {
  auto contract = dyn_cast<nn::ContractOp>(op);
  auto library = op->getAttrOfType<StringAttr>(kLibrary);
  if (!contract || !library)
    return std::nullopt;
  auto call = [&](auto form) -> std::optional<LibraryCall> {
    if (!form)
      return std::nullopt;
    return LibraryCall{form->contraction, form->shape(host, workspace)};
  };
  std::optional<LibraryEpilogue> epilogue = LibraryEpilogue::of(contract);
  if (!epilogue)
    return std::nullopt;
  return library == "cudnn" ? call(ConvForm::of(contract, *epilogue)) : call(BlasForm::of(contract, *epilogue));
}
