// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/PbFile.h"
#include "tools/snug-run/CommandFailure.h"
#include "tools/snug-run/StringTensor.h"
#include "tools/snug-run/WholeFile.h"

#include "onnx-ml.pb.h"
#include <cerrno>
#include <cstring>
#include <fstream>

using namespace snug;
using onnx::TensorProto;

namespace {
// Element types that both ONNX and DLPack have, at a byte or more.
struct ElementType {
  int onnx;
  snug_dtype dtype;
};
constexpr ElementType kTypes[] = {
    {TensorProto::FLOAT, {kDLFloat, 32, 1}},        {TensorProto::DOUBLE, {kDLFloat, 64, 1}},
    {TensorProto::FLOAT16, {kDLFloat, 16, 1}},      {TensorProto::BFLOAT16, {kDLBfloat, 16, 1}},
    {TensorProto::INT8, {kDLInt, 8, 1}},            {TensorProto::INT16, {kDLInt, 16, 1}},
    {TensorProto::INT32, {kDLInt, 32, 1}},          {TensorProto::INT64, {kDLInt, 64, 1}},
    {TensorProto::UINT8, {kDLUInt, 8, 1}},          {TensorProto::UINT16, {kDLUInt, 16, 1}},
    {TensorProto::UINT32, {kDLUInt, 32, 1}},        {TensorProto::UINT64, {kDLUInt, 64, 1}},
    {TensorProto::BOOL, {6, 8, 1}},                 {TensorProto::COMPLEX64, {kDLComplex, 64, 1}},
    {TensorProto::COMPLEX128, {kDLComplex, 128, 1}}};

// Copies the low bytes of each entry of a typed field. A complex number has two entries.
template <typename Field> bool copyField(const Field &field, uint64_t width, HostTensor &to) {
  if (uint64_t(field.size()) * width != to.bytes())
    return false;
  uint8_t *at = to.data();
  for (auto value : field) {
    memcpy(at, &value, width); // little-endian, as all hosts that Snug supports
    at += width;
  }
  return true;
}

// From the field that the schema gives to the type.
bool copyTyped(const TensorProto &tensor, HostTensor &to) {
  switch (tensor.data_type()) {
  case TensorProto::FLOAT:
  case TensorProto::COMPLEX64:
    return copyField(tensor.float_data(), 4, to);
  case TensorProto::DOUBLE:
  case TensorProto::COMPLEX128:
    return copyField(tensor.double_data(), 8, to);
  case TensorProto::INT64:
    return copyField(tensor.int64_data(), 8, to);
  case TensorProto::UINT32:
  case TensorProto::UINT64:
    return copyField(tensor.uint64_data(), to.dtype.bits / 8, to);
  default:
    return copyField(tensor.int32_data(), to.dtype.bits / 8, to);
  }
}
} // namespace

bool snug::isPbFile(const std::string &path) { return path.size() > 3 && path.compare(path.size() - 3, 3, ".pb") == 0; }

HostTensor snug::readPbFile(const std::string &path) {
  auto fail = [&](const std::string &why) {
    throw CommandFailure(SNUG_EXIT_RUN, "cannot read the tensor '" + path + "': " + why);
  };
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw CommandFailure(SNUG_EXIT_MACHINE, "cannot open '" + path + "': " + strerror(errno));
  TensorProto tensor;
  if (!tensor.ParseFromIstream(&file) || !tensor.has_data_type())
    fail("it is no ONNX TensorProto");
  if (tensor.data_location() == TensorProto::EXTERNAL)
    fail("its data is in another file; save it with its data inside");
  if (tensor.has_segment())
    fail("it is stored in segments");
  for (int64_t extent : tensor.dims())
    if (extent < 0)
      fail("it has the negative dim " + std::to_string(extent));
  if (tensor.data_type() == TensorProto::STRING) {
    std::vector<int64_t> shape(tensor.dims().begin(), tensor.dims().end());
    if (HostTensor(kStringType, shape).elements() != tensor.string_data_size())
      fail("it does not have as many strings as its dims say");
    return stringTensor(shape, {tensor.string_data().begin(), tensor.string_data().end()});
  }
  for (const ElementType &type : kTypes) {
    if (type.onnx != tensor.data_type())
      continue;
    uint64_t stored = tensor.raw_data().size();
    HostTensor result(type.dtype, {tensor.dims().begin(), tensor.dims().end()});
    if (tensor.has_raw_data() ? stored != result.bytes() : !copyTyped(tensor, result))
      fail("its data does not have the size that its dims say");
    if (tensor.has_raw_data())
      memcpy(result.data(), tensor.raw_data().data(), stored);
    return result;
  }
  fail("its element type " + std::to_string(tensor.data_type()) +
       " is not one of bool, int, uint, float (16 to 64 bits), bfloat16, complex or string");
  return {};
}

void snug::writePbFile(const std::string &path, const std::string &name, const HostTensor &tensor) {
  TensorProto proto;
  for (const ElementType &type : kTypes)
    if (type.dtype.code == tensor.dtype.code && type.dtype.bits == tensor.dtype.bits)
      proto.set_data_type(type.onnx);
  if (isString(tensor.dtype))
    proto.set_data_type(TensorProto::STRING);
  if (!proto.has_data_type())
    throw CommandFailure(SNUG_EXIT_UNSUPPORTED, "a .pb file of DLPack type " + std::to_string(tensor.dtype.code) + " of " +
                                             std::to_string(tensor.dtype.bits) + " bits cannot be written; use .npy");
  if (tensor.bytes() > INT32_MAX / 2)
    throw CommandFailure(SNUG_EXIT_UNSUPPORTED, "'" + path + "' would be larger than a .pb file can be; use .npy");
  proto.set_name(name);
  for (int64_t extent : tensor.shape)
    proto.add_dims(extent);
  if (isString(tensor.dtype))
    for (auto *text = reinterpret_cast<const snug_string *>(tensor.data()), *end = text + tensor.elements(); text != end; ++text)
      proto.add_string_data(text->size ? std::string(text->data, text->size) : std::string());
  else
    proto.set_raw_data(tensor.data(), tensor.bytes());
  std::string text = proto.SerializeAsString();
  WholeFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}
