// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/SharedTile.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t kPieceBytes = 16; // the most that a thread moves at once

int64_t pieceOf(Type elementType) { return kPieceBytes * 8 / elementType.getIntOrFloatBitWidth(); }

Value both(CudaKernelBuilder &b, Value x, Value y) { return x ? arith::AndIOp::create(b, x, y).getResult() : y; }
} // namespace

int64_t SharedTile::pitchOf(int64_t columns, Type elementType, int64_t unit) {
  int64_t piece = unit * pieceOf(elementType);
  return (llvm::divideCeil(columns, piece) | 1) * piece;
}

SharedTile::SharedTile(Value buffer, int64_t rows, int64_t columns, int64_t offset, int64_t unit)
    : buffer(buffer), rows(rows), columns(columns),
      pitch(pitchOf(columns, cast<MemRefType>(buffer.getType()).getElementType(), unit)), offset(offset) {
  assert(offset + rows * pitch <= cast<MemRefType>(buffer.getType()).getDimSize(0) && columns % pieceOf(elementType()) == 0);
}

SharedTile::SharedTile(CudaKernelBuilder &b, int64_t rows, int64_t columns, Type elementType)
    : SharedTile(b.shared({elementsOf(rows, columns, elementType)}, elementType), rows, columns) {}

Type SharedTile::elementType() const { return cast<MemRefType>(buffer.getType()).getElementType(); }

Value SharedTile::at(CudaKernelBuilder &b, Value row, Value column) const {
  Value place = b.add(b.add(b.mul(row, b.constant(pitch)), column), b.constant(offset));
  return shift ? b.add(place, shift) : place;
}

Value SharedTile::loadVector(CudaKernelBuilder &b, Value row, Value column) const {
  auto type = VectorType::get({pieceOf(elementType())}, elementType());
  return vector::LoadOp::create(b, type, buffer, ValueRange{at(b, row, column)}, /*nontemporal=*/false,
                                llvm::MaybeAlign(kPieceBytes));
}

void SharedTile::store(CudaKernelBuilder &b, Value value, Value row, Value column) const {
  b.store(value, buffer, at(b, row, column));
}

Value codegen::isInVectors(CudaKernelBuilder &b, Value memref, std::optional<unsigned> dim, int64_t columns) {
  auto view = memref.getDefiningOp<memref::ReinterpretCastOp>();
  int64_t piece = pieceOf(cast<MemRefType>(memref.getType()).getElementType());
  if (!view || !dim || columns % piece != 0)
    return {};
  Value all;
  auto require = [&](Value value, int64_t factor) {
    all = both(b, all, arith::CmpIOp::create(b, arith::CmpIPredicate::eq, b.rem(value, b.constant(factor)), b.constant(0)));
  };
  for (auto [index, stride] : llvm::enumerate(view.getMixedStrides())) {
    std::optional<int64_t> fixed = getConstantIntValue(stride);
    if (index == *dim) {
      if (fixed != 1)
        return {};
    } else if (view.getType().getDimSize(index) == 1) {
      continue; // never a step
    } else if (!fixed) {
      require(getValueOrCreateConstantIndexOp(b, b.getLoc(), stride), piece);
    } else if (*fixed % piece != 0) {
      return {};
    }
  }
  require(memref::ExtractAlignedPointerAsIndexOp::create(b, memref), kPieceBytes);
  return all;
}

namespace {
// What a copy of a tile has to know of its source.
struct Copy {
  CudaKernelBuilder &b;
  const SharedTile &tile;
  const TileSource &source;
  bool full = getConstantIntValue(source.columns) == tile.columns;

  // Places from which something can be read.
  SmallVector<Value> at(Value row, Value column, int64_t piece) const {
    return source.at(b.min(row, b.sub(source.rows, b.constant(1))), full ? column : b.min(column, b.sub(source.columns, b.constant(piece))));
  }
  Value exists(Value row, Value column) const {
    Value inRows = b.isBelow(row, source.rows);
    return full ? inRows : both(b, inRows, b.isBelow(column, source.columns));
  }
};

void copyAsync(CudaKernelBuilder &b, const SharedTile &tile, Value row, Value column, Value memref, ValueRange indices, int64_t elements,
               Value exists) {
  // Only copies of 16 bytes can pass by the first cache.
  bool isPiece = elements == pieceOf(tile.elementType());
  Value live = exists ? arith::SelectOp::create(b, exists, b.constant(elements), b.constant(0)).getResult() : Value();
  nvgpu::DeviceAsyncCopyOp::create(b, nvgpu::DeviceAsyncTokenType::get(b.getContext()), tile.buffer, tile.at(b, row, column), memref,
                                   indices, b.getIndexAttr(elements), live, isPiece ? b.getUnitAttr() : UnitAttr());
}
} // namespace

void codegen::startCopyOfOne(CudaKernelBuilder &b, const SharedTile &tile, Value row, Value column, Value memref, ArrayRef<Value> indices,
                             Value exists) {
  copyAsync(b, tile, row, column, memref, indices, 1, exists);
}

void codegen::startCopyInPieces(CudaKernelBuilder &b, const SharedTile &tile, const TileSource &source) {
  Copy copy{b, tile, source};
  int64_t piece = pieceOf(tile.elementType()), total = tile.rows * tile.columns / piece;
  Value inRow = b.constant(tile.columns / piece);
  auto start = [&](Value number) {
    Value row = b.div(number, inRow), column = b.mul(b.rem(number, inRow), b.constant(piece));
    copyAsync(b, tile, row, column, source.memref, copy.at(row, column, piece), piece, copy.exists(row, column));
  };
  for (int64_t first = 0; first < total; first += kBlock) {
    Value number = b.add(b.thread(), b.constant(first));
    if (first + kBlock <= total)
      start(number);
    else
      b.ifTrue(b.isBelow(number, b.constant(total)), [&] { start(number); });
  }
}

void codegen::startCopy(CudaKernelBuilder &b, const SharedTile &tile, const TileSource &source) {
  Copy copy{b, tile, source};
  auto elements = [&] {
    Value inRow = b.constant(tile.columns);
    b.loop(b.thread(), b.constant(tile.rows * tile.columns), kBlock, [&](Value number) {
      Value row = b.div(number, inRow), column = b.rem(number, inRow);
      Value value = b.loadWide(source.memref, copy.at(row, column, 1));
      value = arith::SelectOp::create(b, copy.exists(row, column), value, b.constantFloat(value.getType(), 0));
      tile.store(b, value, row, column);
    });
  };
  Type type = cast<MemRefType>(source.memref.getType()).getElementType();
  if (!source.inVectors || type != tile.elementType())
    return elements();
  auto choice = scf::IfOp::create(b, source.inVectors, /*withElse=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(choice.thenBlock());
  startCopyInPieces(b, tile, source);
  b.setInsertionPointToStart(choice.elseBlock());
  elements();
}

// Never a group alone: its text would take what follows for its operands.
static void waitForCopies(CudaKernelBuilder &b, int32_t pending) {
  auto group = nvgpu::DeviceAsyncCreateGroupOp::create(b, nvgpu::DeviceAsyncTokenType::get(b.getContext()), ValueRange());
  nvgpu::DeviceAsyncWaitOp::create(b, group, b.getI32IntegerAttr(pending));
}
void codegen::groupCopies(CudaKernelBuilder &b) { waitForCopies(b, 1); } // none was before it
void codegen::finishCopies(CudaKernelBuilder &b) {
  waitForCopies(b, 0);
  b.barrier();
}
void codegen::finishCopiesBefore(CudaKernelBuilder &b) {
  waitForCopies(b, 1);
  b.barrier();
}

Value codegen::toOperand(CudaKernelBuilder &b, Value value, Type type) {
  if (!type.isF32())
    return arith::TruncFOp::create(b, type, value);
  Value bits = NVVM::ConvertFloatToTF32Op::create(b, b.getI32Type(), value, NVVM::FPRoundingMode::RNA);
  return arith::BitcastOp::create(b, type, bits);
}

namespace {
// Four matrices of eight rows of 16 bytes: lane 8 * i + r gives the place of row r of matrix i. The registers are operands.
Value loadMatrices(CudaKernelBuilder &b, const SharedTile &tile, Value row, Value column, bool transpose) {
  int64_t each = pieceOf(tile.elementType()) / 4; // of a register
  auto type = VectorType::get({4, each}, tile.elementType());
  Value matrices = nvgpu::LdMatrixOp::create(b, type, tile.buffer, tile.at(b, row, column), transpose, 4);
  if (each > 1)
    return matrices;
  SmallVector<Value> rounded;
  for (int64_t i = 0; i < 4; ++i)
    rounded.push_back(toOperand(b, vector::ExtractOp::create(b, matrices, ArrayRef<int64_t>{i, 0}), type.getElementType()));
  return vector::FromElementsOp::create(b, type, rounded);
}
} // namespace

Value codegen::loadLeft(CudaKernelBuilder &b, const SharedTile &tile, Value row, Value column) {
  Value lane = b.lane(), half = b.constant(16), piece = b.constant(pieceOf(tile.elementType()));
  return loadMatrices(b, tile, b.add(row, b.rem(lane, half)), b.add(column, b.mul(b.div(lane, half), piece)), false);
}

std::pair<Value, Value> codegen::loadRight(CudaKernelBuilder &b, const SharedTile &tile, Value row, Value column, TileOrder order) {
  Type type = tile.elementType();
  Value lane = b.lane(), half = b.constant(16), eight = b.constant(8), piece = b.constant(pieceOf(type)), matrices;
  if (order == TileOrder::Transposed) { // first along the columns, which are the sum's
    matrices = loadMatrices(b, tile, b.add(row, b.add(b.rem(lane, eight), b.mul(b.div(lane, half), eight))),
                            b.add(column, b.mul(b.rem(b.div(lane, eight), b.constant(2)), piece)), false);
  } else if (type.isF32()) { // which no instruction transposes: terms lane % 4 and lane % 4 + 4, or neighbours
    Value four = b.constant(4), member = b.rem(lane, four), own = b.add(column, b.div(lane, four));
    bool areNeighbours = order == TileOrder::AsSums;
    Value first = b.add(row, areNeighbours ? b.mul(member, b.constant(2)) : member);
    SmallVector<Value> elements;
    for (int64_t right : {0, 8})
      for (int64_t apart : {0, areNeighbours ? 1 : 4})
        elements.push_back(toOperand(b, b.load(tile.buffer, tile.at(b, b.add(first, b.constant(apart)), b.add(own, b.constant(right)))), type));
    matrices = vector::FromElementsOp::create(b, VectorType::get({4, 1}, type), elements);
  } else {
    matrices = loadMatrices(b, tile, b.add(row, b.rem(lane, half)), b.add(column, b.mul(b.div(lane, half), eight)), true);
  }
  auto matrix = [&](int64_t first) -> Value {
    return vector::ExtractStridedSliceOp::create(b, matrices, ArrayRef<int64_t>{first}, ArrayRef<int64_t>{2}, ArrayRef<int64_t>{1});
  };
  return {matrix(0), matrix(2)};
}

Value codegen::multiplyAdd(CudaKernelBuilder &b, Value left, Value right, Value sums) {
  Type type = cast<VectorType>(left.getType()).getElementType();
  return nvgpu::MmaSyncOp::create(b, left, right, sums, ArrayRef<int64_t>{16, 8, SharedTile::stepOf(type)}, /*tf32Enabled=*/type.isF32());
}
