// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lib/import/onnx/Tensors.h"

#include "dialects/onnx/OnnxDialect.h"
#include "lib/import/onnx/ModelFile.h"
#include "llvm/Support/CheckedArithmetic.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/MemoryBuffer.h"

#include <cstring>

using namespace mlir;
using ::onnx::TensorProto;

namespace snug {

LogicalResult TensorImporter::fail(int exitCode, const Twine &message) {
  error = {exitCode, ("'" + Twine(modelPath) + "': " + message).str()};
  return failure();
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

FailureOr<Type> TensorImporter::elementType(int dataType, const Twine &owner) {
  Builder b(&context);
  switch (dataType) {
  case TensorProto::FLOAT:
    return Type(b.getF32Type());
  case TensorProto::DOUBLE:
    return Type(b.getF64Type());
  case TensorProto::FLOAT16:
    return Type(b.getF16Type());
  case TensorProto::BFLOAT16:
    return Type(b.getBF16Type());
  case TensorProto::FLOAT8E4M3FN:
    return Type(Float8E4M3FNType::get(&context));
  case TensorProto::FLOAT8E4M3FNUZ:
    return Type(Float8E4M3FNUZType::get(&context));
  case TensorProto::FLOAT8E5M2:
    return Type(Float8E5M2Type::get(&context));
  case TensorProto::FLOAT8E5M2FNUZ:
    return Type(Float8E5M2FNUZType::get(&context));
  case TensorProto::FLOAT8E8M0:
    return Type(Float8E8M0FNUType::get(&context));
  case TensorProto::FLOAT6E2M3:
    return Type(Float6E2M3FNType::get(&context));
  case TensorProto::FLOAT6E3M2:
    return Type(Float6E3M2FNType::get(&context));
  case TensorProto::FLOAT4E2M1:
    return Type(Float4E2M1FNType::get(&context));
  case TensorProto::COMPLEX64:
    return Type(ComplexType::get(b.getF32Type()));
  case TensorProto::COMPLEX128:
    return Type(ComplexType::get(b.getF64Type()));
  case TensorProto::BOOL:
    return Type(b.getI1Type());
  case TensorProto::INT2:
    return Type(b.getIntegerType(2));
  case TensorProto::INT4:
    return Type(b.getIntegerType(4));
  case TensorProto::INT8:
    return Type(b.getI8Type());
  case TensorProto::INT16:
    return Type(b.getI16Type());
  case TensorProto::INT32:
    return Type(b.getI32Type());
  case TensorProto::INT64:
    return Type(b.getI64Type());
  case TensorProto::UINT2:
    return Type(b.getIntegerType(2, /*isSigned=*/false));
  case TensorProto::UINT4:
    return Type(b.getIntegerType(4, /*isSigned=*/false));
  case TensorProto::UINT8:
    return Type(b.getIntegerType(8, /*isSigned=*/false));
  case TensorProto::UINT16:
    return Type(b.getIntegerType(16, /*isSigned=*/false));
  case TensorProto::UINT32:
    return Type(b.getIntegerType(32, /*isSigned=*/false));
  case TensorProto::UINT64:
    return Type(b.getIntegerType(64, /*isSigned=*/false));
  case TensorProto::STRING:
    return Type(snug::onnx::StringType::get(&context));
  default:
    if (dataType <= 0)
      return fail(2, owner + " has no valid element type (" + Twine(dataType) + ")");
    return fail(3, owner + " has element type " + Twine(dataType) + ", which this version of Snug does not know");
  }
}

FailureOr<Type> TensorImporter::tensorType(int dataType, const ::onnx::TensorShapeProto *shape, const Twine &owner) {
  if (dataType == TensorProto::UNDEFINED)
    return Type(snug::onnx::UnknownType::get(&context));
  FailureOr<Type> element = elementType(dataType, owner);
  if (failed(element))
    return failure();
  if (!shape)
    return Type(UnrankedTensorType::get(*element));
  SmallVector<int64_t> sizes;
  for (const auto &dim : shape->dim()) {
    if (dim.has_dim_value() && dim.dim_value() < 0)
      return fail(2, owner + " has the negative dim " + Twine(dim.dim_value()) +
                         "; name the dim instead to make it dynamic");
    sizes.push_back(dim.has_dim_value() ? dim.dim_value() : ShapedType::kDynamic);
  }
  return Type(RankedTensorType::get(sizes, *element));
}

FailureOr<Type> TensorImporter::type(const ::onnx::TypeProto &type, const Twine &owner) {
  // A nested type's own failure names the owner, so one step wraps the next.
  auto wrap = [&](const ::onnx::TypeProto &inner, auto make) -> FailureOr<Type> {
    FailureOr<Type> element = this->type(inner, owner);
    return failed(element) ? element : FailureOr<Type>(make(*element));
  };
  switch (type.value_case()) {
  case ::onnx::TypeProto::kTensorType: {
    const auto &tensor = type.tensor_type();
    return tensorType(tensor.elem_type(), tensor.has_shape() ? &tensor.shape() : nullptr, owner);
  }
  case ::onnx::TypeProto::kSparseTensorType: {
    const auto &tensor = type.sparse_tensor_type();
    FailureOr<Type> dense = tensorType(tensor.elem_type(), tensor.has_shape() ? &tensor.shape() : nullptr, owner);
    return failed(dense) ? dense : FailureOr<Type>(snug::onnx::SparseType::get(&context, *dense));
  }
  case ::onnx::TypeProto::kSequenceType:
    return wrap(type.sequence_type().elem_type(),
                [&](Type element) { return snug::onnx::SequenceType::get(&context, element); });
  case ::onnx::TypeProto::kOptionalType:
    return wrap(type.optional_type().elem_type(),
                [&](Type element) { return snug::onnx::OptionalType::get(&context, element); });
  case ::onnx::TypeProto::kMapType: {
    FailureOr<Type> key = elementType(type.map_type().key_type(), owner);
    if (failed(key))
      return failure();
    return wrap(type.map_type().value_type(),
                [&](Type value) { return snug::onnx::MapType::get(&context, *key, value); });
  }
  case ::onnx::TypeProto::kOpaqueType:
    return Type(snug::onnx::OpaqueType::get(&context, type.opaque_type().domain(), type.opaque_type().name()));
  default:
    return Type(snug::onnx::UnknownType::get(&context));
  }
}

ArrayAttr TensorImporter::dims(const ::onnx::TypeProto &type, StringRef name) {
  if (!type.has_tensor_type() || !type.tensor_type().has_shape())
    return {};
  SmallVector<Attribute> dims;
  for (const auto &dim : type.tensor_type().shape().dim())
    if (dim.has_dim_value())
      dims.push_back(StringAttr::get(&context, Twine(dim.dim_value())));
    else if (dim.dim_param().empty())
      dims.push_back(StringAttr::get(&context, name + "_dim" + Twine(dims.size())));
    else
      dims.push_back(StringAttr::get(&context, dim.dim_param()));
  return ArrayAttr::get(&context, dims);
}

/// Bits of one element as ONNX stores it; strings, which are not stored so, have 8 here.
static uint64_t storedBits(Type type) {
  if (auto complex = dyn_cast<ComplexType>(type))
    return 2 * complex.getElementType().getIntOrFloatBitWidth();
  return type.isInteger(1) || !type.isIntOrFloat() ? 8 : type.getIntOrFloatBitWidth();
}

static uint64_t storedBytes(RankedTensorType type) {
  return llvm::divideCeil(uint64_t(type.getNumElements()) * storedBits(type.getElementType()), 8);
}

FailureOr<RankedTensorType> TensorImporter::type(const TensorProto &tensor, const Twine &owner) {
  FailureOr<Type> element = elementType(tensor.data_type(), owner);
  if (failed(element))
    return failure();
  // Over all dims but zeros: MLIR multiplies them in some order, and no order may overflow.
  int64_t bits = storedBits(*element);
  for (int64_t size : tensor.dims()) {
    if (size < 0)
      return fail(2, owner + " has the negative dim " + Twine(size));
    auto product = llvm::checkedMul<int64_t>(bits, std::max<int64_t>(size, 1));
    if (!product)
      return fail(2, owner + " has dims whose product overflows");
    bits = *product;
  }
  return RankedTensorType::get(ArrayRef<int64_t>(tensor.dims().data(), tensor.dims_size()), *element);
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

FailureOr<TensorPlace> TensorImporter::place(const TensorProto &tensor, const Twine &owner) {
  FailureOr<RankedTensorType> type = this->type(tensor, owner);
  if (failed(type))
    return failure();
  if (isa<snug::onnx::StringType>(type->getElementType()))
    return fail(2, owner + " holds strings, which cannot be external data");
  uint64_t bytes = storedBytes(*type);
  TensorPlace place{"", 0, bytes};
  for (const auto &entry : tensor.external_data()) {
    if (entry.key() == "location")
      place.file = entry.value();
    for (auto [key, number] : {std::pair<StringRef, uint64_t *>("offset", &place.offset), {"length", &place.length}})
      if (entry.key() == key && StringRef(entry.value()).getAsInteger(10, *number))
        return fail(2, owner + " has external data with " + key + " '" + entry.value() + "', which is no byte count");
  }
  if (place.length != bytes)
    return fail(2, owner + " has " + Twine(bytes) + " bytes by its type and dims, but its data has " +
                       Twine(place.length));
  std::string problem;
  std::optional<DataFile> file = external.find(place.file, problem);
  if (!file)
    return fail(2, owner + " " + problem);
  if (place.offset > file->size || place.length > file->size - place.offset)
    return fail(2, owner + " needs " + Twine(place.length) + " bytes at offset " + Twine(place.offset) + " of '" +
                       place.file + "', which has " + Twine(file->size) +
                       "; the file is truncated or belongs to another model");
  return place;
}

/// The elements of typed fields as raw_data would hold them; each int32_data entry is one element of its width.
static std::string typedBytes(const TensorProto &tensor, unsigned bits) {
  std::string bytes;
  auto append = [&](const auto &field, size_t width) {
    bytes.reserve(bytes.size() + field.size() * width);
    for (auto value : field)
      bytes.append(reinterpret_cast<const char *>(&value), width); // the hosts that Snug supports are little-endian
  };
  // The field that the schema gives to the type; data in another one does not count.
  switch (tensor.data_type()) {
  case TensorProto::FLOAT:
  case TensorProto::COMPLEX64:
    append(tensor.float_data(), 4);
    break;
  case TensorProto::DOUBLE:
  case TensorProto::COMPLEX128:
    append(tensor.double_data(), 8);
    break;
  case TensorProto::INT64:
    append(tensor.int64_data(), 8);
    break;
  case TensorProto::UINT32:
  case TensorProto::UINT64:
    append(tensor.uint64_data(), bits / 8);
    break;
  default: // all others have at most 32 bits
    append(tensor.int32_data(), llvm::divideCeil(bits, 8));
  }
  return bytes;
}

FailureOr<DenseElementsAttr> TensorImporter::elements(const TensorProto &tensor, const Twine &owner) {
  FailureOr<RankedTensorType> checked = type(tensor, owner);
  if (failed(checked))
    return failure();
  if (tensor.has_segment())
    return fail(3, owner + " is stored in segments, which Snug does not support; save the model again with onnx.save");
  RankedTensorType type = *checked;
  Type element = type.getElementType();
  auto countError = [&](uint64_t actual, uint64_t wanted, StringRef unit) {
    return fail(2,
                owner + " has " + Twine(actual) + " " + unit + " of data, but its type and dims need " + Twine(wanted));
  };

  if (isa<snug::onnx::StringType>(element)) {
    SmallVector<StringRef> strings(tensor.string_data().begin(), tensor.string_data().end());
    if (static_cast<int64_t>(strings.size()) != type.getNumElements())
      return countError(strings.size(), type.getNumElements(), "strings");
    return DenseElementsAttr::get(type, strings);
  }

  unsigned bits = storedBits(element);
  // The one type whose typed field is not packed as its raw data is: an entry an element.
  bool unpacked = bits == 6 && !tensor.has_raw_data();
  std::string typed = tensor.has_raw_data() ? std::string() : typedBytes(tensor, bits);
  StringRef bytes = tensor.has_raw_data() ? StringRef(tensor.raw_data()) : StringRef(typed);
  uint64_t wanted = unpacked ? type.getNumElements() : storedBytes(type);
  if (bytes.size() != wanted)
    return countError(bytes.size(), wanted, "bytes");
  if (type.getNumElements() == 0)
    return DenseElementsAttr::get(type, ArrayRef<Attribute>());

  if (element.isInteger(1)) {
    SmallVector<bool> values(bytes.begin(), bytes.end()); // any byte but 0 is true
    return DenseElementsAttr::get(type, values);
  }
  if (bits >= 8)
    return DenseElementsAttr::getFromRawBuffer(type, ArrayRef<char>(bytes.data(), bytes.size()));

  // Less than a byte: packed from the low bits on.
  SmallVector<APInt> codes;
  for (int64_t i = 0, count = type.getNumElements(); i < count; ++i) {
    uint64_t bit = unpacked ? 8 * i : bits * i;
    unsigned code = static_cast<uint8_t>(bytes[bit / 8]) >> (bit % 8);
    if (bit % 8 + bits > 8)
      code |= static_cast<uint8_t>(bytes[bit / 8 + 1]) << (8 - bit % 8);
    codes.push_back(APInt(bits, code & ((1u << bits) - 1)));
  }
  if (auto floating = dyn_cast<FloatType>(element)) {
    SmallVector<APFloat> values;
    for (const APInt &code : codes)
      values.emplace_back(floating.getFloatSemantics(), code);
    return DenseElementsAttr::get(type, values);
  }
  return DenseElementsAttr::get(type, codes);
}

bool TensorImporter::isSmall(RankedTensorType type, const TensorPlace &place) {
  return place.length <= (isa<IntegerType>(type.getElementType()) ? kLargestInlineIntegers : kLargestInlineTensor);
}

FailureOr<DenseElementsAttr> TensorImporter::elements(const TensorProto &tensor, const TensorPlace &place,
                                                      const Twine &owner) {
  std::string problem;
  std::optional<DataFile> file = external.find(place.file, problem);
  if (!file)
    return fail(2, owner + " " + problem);
  auto slice = file->bytes
                   ? llvm::ErrorOr<std::unique_ptr<llvm::MemoryBuffer>>(llvm::MemoryBuffer::getMemBuffer(
                         file->bytes->substr(place.offset, place.length), "", /*RequiresNullTerminator=*/false))
                   : llvm::MemoryBuffer::getFileSlice(file->path, place.length, place.offset);
  if (!slice)
    return fail(5, owner + " cannot be read from '" + place.file + "': " + slice.getError().message());
  TensorProto inside;
  *inside.mutable_dims() = tensor.dims();
  inside.set_data_type(tensor.data_type());
  inside.set_raw_data((*slice)->getBufferStart(), (*slice)->getBufferSize());
  return elements(inside, owner);
}

FailureOr<SparseElementsAttr> TensorImporter::elements(const ::onnx::SparseTensorProto &tensor, const Twine &owner) {
  if (isExternal(tensor.values()) || isExternal(tensor.indices()))
    return fail(3, owner + " is sparse with external data, which Snug does not support; store it dense");
  TensorProto shape;
  *shape.mutable_dims() = tensor.dims();
  shape.set_data_type(tensor.values().data_type());
  FailureOr<RankedTensorType> type = this->type(shape, owner);
  FailureOr<DenseElementsAttr> values = elements(tensor.values(), owner + " (values)");
  FailureOr<DenseElementsAttr> stored = elements(tensor.indices(), owner + " (indices)");
  if (failed(type) || failed(values) || failed(stored))
    return failure();
  auto indicesType = cast<RankedTensorType>(stored->getType());
  int64_t count = values->getNumElements(), rank = type->getRank();
  bool linear = indicesType.getRank() == 1 && indicesType.getDimSize(0) == count;
  bool full = indicesType.getRank() == 2 && indicesType.getDimSize(0) == count && indicesType.getDimSize(1) == rank;
  if (cast<ShapedType>(values->getType()).getRank() != 1 || !indicesType.getElementType().isInteger(64) || rank == 0 ||
      !(linear || full))
    return fail(2, owner + " has sparse indices that do not fit its values and dims");
  SmallVector<int64_t> indices;
  for (int64_t index : stored->getValues<int64_t>()) {
    if (!linear) {
      indices.push_back(index);
      continue;
    }
    size_t begin = indices.size();
    for (int64_t size : llvm::reverse(type->getShape())) {
      indices.push_back(size == 0 ? index : index % size);
      index = size == 0 ? index : index / size;
    }
    if (index != 0)
      return fail(2, owner + " has a sparse index outside its dims");
    std::reverse(indices.begin() + begin, indices.end());
  }
  for (auto [i, index] : llvm::enumerate(indices))
    if (index < 0 || index >= type->getDimSize(i % rank))
      return fail(2, owner + " has a sparse index outside its dims");
  auto mlirIndices = DenseIntElementsAttr::get(RankedTensorType::get({count, rank}, IntegerType::get(&context, 64)),
                                               ArrayRef<int64_t>(indices));
  return SparseElementsAttr::get(*type, mlirIndices, *values);
}

} // namespace snug
