// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/link/Weights.h"
#include "codegen/link/WeightRecipe.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/xxhash.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
int64_t bytesOf(Type type) { return llvm::divideCeil(type.getIntOrFloatBitWidth(), 8); }

uint64_t sizeOf(ShapedType type) {
  return static_cast<uint64_t>(type.getNumElements()) * bytesOf(type.getElementType());
}

std::string nameOf(Weights::Entry &entry, size_t index) {
  return entry.data.getSymName().str() + "." + std::to_string(index);
}

// Elements of less than a byte are packed in files, from the low bits on; here each gets a byte.
std::vector<char> unpack(StringRef packed, int64_t count, unsigned bits) {
  std::vector<char> bytes;
  bytes.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    uint64_t bit = static_cast<uint64_t>(i) * bits;
    unsigned code = static_cast<uint8_t>(packed[bit / 8]) >> (bit % 8);
    if (bit % 8 + bits > 8)
      code |= static_cast<uint8_t>(packed[bit / 8 + 1]) << (8 - bit % 8);
    bytes.push_back(static_cast<char>(code & ((1u << bits) - 1)));
  }
  return bytes;
}

StringRef safetensorsType(Type type) {
  if (type.isF32())
    return "F32";
  if (type.isF64())
    return "F64";
  if (type.isF16())
    return "F16";
  if (type.isBF16())
    return "BF16";
  if (type.isInteger(1))
    return "BOOL";
  bool isUnsigned = type.isUnsignedInteger();
  switch (type.getIntOrFloatBitWidth()) {
  case 8:
    return isUnsigned ? "U8" : "I8";
  case 16:
    return isUnsigned ? "U16" : "I16";
  case 32:
    return isUnsigned ? "U32" : "I32";
  default:
    return isUnsigned ? "U64" : "I64";
  }
}
} // namespace

bool codegen::holdsStrings(nn::DataOp data) { return isa_and_nonnull<DenseStringElementsAttr>(data.getValueAttr()); }

FailureOr<std::vector<int64_t>> codegen::elementsOf(nn::WeightOp op, nn::DataOp data, std::string &error) {
  std::vector<int64_t> numbers, ordered;
  auto type = cast<ShapedType>(data.getType());
  for (int64_t i = 0; i < type.getNumElements(); ++i)
    numbers.push_back(i);
  View view{reinterpret_cast<const char *>(numbers.data()), SmallVector<int64_t>(type.getShape()), {}};
  view.dense();
  std::vector<std::vector<char>> copies;
  for (Attribute step : op.getRecipe()) {
    if (isa<nn::RecipeShardAttr>(step)) {
      error = "strings cannot be cut for a mesh";
      return failure();
    }
    if (error = applyStep(step, view, sizeof(int64_t), std::nullopt, copies); !error.empty())
      return failure();
  }
  Sink sink = [&](ArrayRef<char> piece) {
    auto *first = reinterpret_cast<const int64_t *>(piece.data());
    ordered.insert(ordered.end(), first, first + piece.size() / sizeof(int64_t));
  };
  Copier(sizeof(int64_t), sink).copy(view);
  return ordered;
}

FailureOr<Weights> Weights::plan(ModuleOp module) {
  Weights weights;
  FailureOr<std::optional<Mesh>> mesh = Mesh::of(module);
  if (failed(mesh))
    return module.emitError() << kMesh << " is not array<i64: d1, d2>, two numbers of devices from 1 on";
  weights.mesh = *mesh;
  SymbolTable symbols(module);
  llvm::MapVector<std::pair<Operation *, Attribute>, unsigned> known;
  WalkResult result = module.walk([&](nn::WeightOp op) {
    auto data = symbols.lookup<nn::DataOp>(op.getData());
    if (!data) {
      op.emitOpError() << "refers to the data @" << op.getData() << ", which does not exist";
      return WalkResult::interrupt();
    }
    if (holdsStrings(data))
      return WalkResult::advance();
    auto type = cast<ShapedType>(op.getResult().getType());
    if (!known.try_emplace({data, op.getRecipe()}, weights.entries.size()).second)
      return WalkResult::advance();
    weights.bytes = llvm::alignTo(weights.bytes, 64);
    weights.entries.push_back({data, op.getRecipe(), type, weights.bytes, sizeOf(type)});
    weights.bytes += sizeOf(type);
    return WalkResult::advance();
  });
  if (result.wasInterrupted())
    return failure();
  return weights;
}

uint64_t Weights::offsetOf(nn::WeightOp op) const {
  for (const Entry &entry : entries)
    if (const_cast<Entry &>(entry).data.getSymName() == op.getData() && entry.recipe == op.getRecipe())
      return entry.offset;
  llvm_unreachable("every weight op was planned");
}

LogicalResult Weights::stream(const DataFolder &folder, int64_t rank, const Sink &sink, std::string &error) {
  std::optional<Device> device;
  if (mesh)
    device = Device{mesh->extents, mesh->placeOf(rank)};
  uint64_t at = 0, hash = bytes;
  auto emit = [&](ArrayRef<char> piece) {
    uint64_t parts[2] = {hash,
                         llvm::xxh3_64bits(ArrayRef(reinterpret_cast<const uint8_t *>(piece.data()), piece.size()))};
    hash = llvm::xxh3_64bits(ArrayRef(reinterpret_cast<const uint8_t *>(parts), sizeof(parts)));
    at += piece.size();
    sink(piece);
  };
  Sink emitSink = emit;
  for (Entry &entry : entries) {
    auto fail = [&](const Twine &message) {
      error = ("weight @" + entry.data.getSymName() + ": " + message).str();
      return failure();
    };
    if (uint64_t padding = entry.offset - at)
      emit(std::vector<char>(padding));
    auto type = cast<ShapedType>(entry.data.getType());
    int64_t elementSize = bytesOf(type.getElementType());
    uint64_t size = sizeOf(type);
    View view{nullptr, SmallVector<int64_t>(type.getShape()), {}};
    view.dense();
    std::unique_ptr<llvm::MemoryBuffer> mapped;
    std::vector<std::vector<char>> copies;
    if (std::optional<ElementsAttr> value = entry.data.getValue()) {
      auto dense = dyn_cast<DenseElementsAttr>(*value);
      std::vector<char> raw;
      if (auto resource = dyn_cast<DenseResourceElementsAttr>(*value)) {
        if (!resource.getRawHandle().getBlob())
          return fail("its value is an empty resource");
        ArrayRef<char> blob = resource.getRawHandle().getBlob()->getData();
        raw.assign(blob.begin(), blob.end());
      } else if (!dense) {
        return fail("its value is neither dense nor a resource");
      } else if (type.getElementType().isInteger(1)) {
        for (bool bit : dense.getValues<bool>())
          raw.push_back(bit);
      } else if (dense.isSplat()) {
        ArrayRef<char> one = dense.getRawData();
        for (int64_t i = 0; i < type.getNumElements(); ++i)
          raw.insert(raw.end(), one.begin(), one.end());
      } else {
        raw.assign(dense.getRawData().begin(), dense.getRawData().end());
      }
      if (raw.size() != size)
        return fail("its value has " + Twine(raw.size()) + " bytes but its type " + Twine(size));
      copies.push_back(std::move(raw));
      view.data = copies.back().data();
    } else if (entry.data.getFile()) {
      SmallString<256> path(folder.path);
      llvm::sys::path::append(path, *entry.data.getFile());
      if (folder.modelBytes && *entry.data.getFile() != folder.modelName)
        return fail(Twine(path) + " lies outside of the model that is in memory");
      unsigned bits = type.getElementType().getIntOrFloatBitWidth();
      bool isPacked = bits < 8 && !type.getElementType().isInteger(1);
      if (isPacked)
        size = llvm::divideCeil(static_cast<uint64_t>(type.getNumElements()) * bits, 8);
      if (entry.data.getLength().value_or(size) != size)
        return fail("the model says " + Twine(*entry.data.getLength()) + " bytes but its type has " + Twine(size));
      uint64_t offset = entry.data.getOffset().value_or(0), fileSize;
      if (folder.modelBytes)
        fileSize = folder.modelBytes->size();
      else if (std::error_code code = llvm::sys::fs::file_size(path, fileSize))
        return fail("cannot read " + Twine(path) + ": " + code.message());
      if (offset > fileSize || size > fileSize - offset)
        return fail(Twine(path) + " has " + Twine(fileSize) + " bytes, but bytes " + Twine(offset) + " to " +
                    Twine(offset + size) + " are wanted; is the file complete?");
      // Memory-mapped where it is large, so that a big model is never in memory as a whole.
      if (folder.modelBytes) {
        view.data = folder.modelBytes->data() + offset;
      } else {
        auto buffer = llvm::MemoryBuffer::getFileSlice(path, size, offset);
        if (!buffer)
          return fail("cannot read " + Twine(path) + ": " + buffer.getError().message());
        mapped = std::move(*buffer);
        view.data = mapped->getBufferStart();
      }
      if (isPacked) {
        copies.push_back(unpack(StringRef(view.data, size), type.getNumElements(), bits));
        view.data = copies.back().data();
      }
    } else {
      return fail("it has neither a value nor a file");
    }
    int64_t packWidth = 0;
    for (auto [index, step] : llvm::enumerate(entry.recipe)) {
      if (auto pack = dyn_cast<nn::RecipePackAttr>(step)) {
        if (index + 1 != entry.recipe.size() || view.shape.size() != 2 || pack.getWidth() <= 0)
          return fail("a pack is not the last step, over K x N");
        packWidth = pack.getWidth();
        continue;
      }
      if (std::string message = applyStep(step, view, elementSize, device, copies); !message.empty())
        return fail(message);
    }
    SmallVector<int64_t> shape = view.shape;
    if (packWidth)
      shape = {static_cast<int64_t>(llvm::divideCeil(view.shape[1], packWidth)), view.shape[0], packWidth};
    if (ArrayRef<int64_t>(shape) != entry.type.getShape() || bytesOf(entry.type.getElementType()) != elementSize)
      return fail("its recipe does not give the type that the program reads");
    {
      Copier copier(elementSize, emitSink);
      packWidth ? copier.pack(view, packWidth) : copier.copy(view);
    }
  }
  id.clear();
  llvm::raw_string_ostream(id) << llvm::format_hex_no_prefix(hash, 16);
  return success();
}

LogicalResult Weights::writeSafetensors(const std::string &path, const DataFolder &folder, int64_t rank,
                                        uint64_t &dataOffset, std::string &error) {
  auto header = [&](StringRef contentId) {
    std::string text;
    llvm::raw_string_ostream os(text);
    llvm::json::OStream json(os);
    json.object([&] {
      json.attributeObject("__metadata__", [&] { json.attribute("snug_weights_id", contentId); });
      uint64_t begin = 0;
      for (auto [index, entry] : llvm::enumerate(entries)) {
        // The format wants no holes: the padding before a tensor is a tensor of bytes.
        auto tensor = [&](const std::string &name, StringRef type, ArrayRef<int64_t> shape, uint64_t end) {
          json.attributeObject(name, [&] {
            json.attribute("dtype", type);
            json.attributeArray("shape", [&] {
              for (int64_t extent : shape)
                json.value(extent);
            });
            json.attributeArray("data_offsets", [&] {
              json.value(static_cast<int64_t>(begin));
              json.value(static_cast<int64_t>(end));
            });
          });
          begin = end;
        };
        if (int64_t padding = static_cast<int64_t>(entry.offset - begin))
          tensor("__padding__." + std::to_string(index), "U8", {padding}, entry.offset);
        tensor(nameOf(entry, index), safetensorsType(entry.type.getElementType()), entry.type.getShape(),
               entry.offset + entry.bytes);
      }
    });
    // 8 bytes of length and the header end at a multiple of 64, so the blob is aligned in a mapped file.
    text.append(llvm::alignTo(text.size() + 8, 64) - 8 - text.size(), ' ');
    return text;
  };
  std::error_code code;
  llvm::raw_fd_ostream os(path, code, llvm::sys::fs::OF_None);
  if (code) {
    error = "cannot write '" + path + "': " + code.message();
    return failure();
  }
  auto writeHeader = [&](StringRef contentId) {
    std::string text = header(contentId);
    uint64_t length = text.size();
    char prefix[8];
    for (int i = 0; i < 8; ++i)
      prefix[i] = static_cast<char>(length >> (8 * i));
    os.write(prefix, 8);
    os << text;
    return text.size() + 8;
  };
  dataOffset = writeHeader("0000000000000000");
  if (failed(stream(folder, rank, [&](ArrayRef<char> piece) { os.write(piece.data(), piece.size()); }, error)))
    return failure();
  // The id is known only now; it has the length of the one written before.
  os.seek(0);
  writeHeader(id);
  os.close();
  if (os.has_error()) {
    error = "cannot write '" + path + "': " + os.error().message();
    os.clear_error();
    return failure();
  }
  return success();
}
