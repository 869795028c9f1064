// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lib/import/onnx/ModelFile.h"

#include "onnx-ml.pb.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"

#include <google/protobuf/io/coded_stream.h>
#include <limits>

using llvm::StringRef;
using llvm::Twine;
using mlir::failure;
using mlir::LogicalResult;
using mlir::success;

namespace snug {
namespace {

/// The messages on the way from a model to its tensors.
enum class Message { Model, Graph, Node, Attribute, Function, Tensor, Other };

Message childMessage(Message parent, uint64_t field) {
  switch (parent) {
  case Message::Model:
    return field == 7 ? Message::Graph : field == 25 ? Message::Function : Message::Other;
  case Message::Graph:
    return field == 1 ? Message::Node : field == 5 ? Message::Tensor : Message::Other;
  case Message::Node:
    return field == 5 ? Message::Attribute : Message::Other;
  case Message::Attribute:
    return field == 5 || field == 10 ? Message::Tensor : field == 6 || field == 11 ? Message::Graph : Message::Other;
  case Message::Function:
    return field == 7 ? Message::Node : field == 11 ? Message::Attribute : Message::Other;
  default:
    return Message::Other;
  }
}

/// Copies a serialized model, putting references in place of large tensors' elements. protobuf's parser would copy
/// the weights and forget where they stood, so this walks the wire format: tags, lengths, nothing else.
class PayloadStripper {
public:
  PayloadStripper(StringRef file, StringRef ownName) : file(file), ownName(ownName) {}

  /// False if the file is malformed at byte `position`.
  bool run(std::string &out) { return copy(Message::Model, file.size(), out, 0); }
  uint64_t position = 0;
  bool tooDeep = false;

private:
  /// As protobuf's own default; deeper input would be refused by its parser anyway, and here it would use up the stack.
  static constexpr unsigned kDepthLimit = 100;

  bool varint(uint64_t end, uint64_t &value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && position < end; shift += 7) {
      uint8_t byte = file[position++];
      value |= uint64_t(byte & 0x7f) << shift;
      if (byte < 0x80)
        return true;
    }
    return false;
  }

  static void putVarint(uint64_t value, std::string &out) {
    for (; value >= 0x80; value >>= 7)
      out.push_back(static_cast<char>(value | 0x80));
    out.push_back(static_cast<char>(value));
  }

  static void putBytes(unsigned field, StringRef bytes, std::string &out) {
    putVarint(field << 3 | 2, out);
    putVarint(bytes.size(), out);
    out.append(bytes.begin(), bytes.end());
  }

  bool copy(Message message, uint64_t end, std::string &out, unsigned depth) {
    if (depth > kDepthLimit) {
      tooDeep = true;
      return false;
    }
    // Little-endian elements, if a single field holds them: raw_data, or one packed chunk of float_data or double_data.
    uint64_t payloads = 0, payloadBegin = 0, payloadEnd = 0;
    uint64_t payloadField = 0;
    while (position < end) {
      uint64_t begin = position, tag, length;
      if (!varint(end, tag) || tag >> 3 == 0)
        return false;
      uint64_t field = tag >> 3;
      switch (tag & 7) {
      case 0:
        if (!varint(end, length))
          return false;
        break;
      case 1:
      case 5:
        length = (tag & 7) == 1 ? 8 : 4;
        if (length > end - position)
          return false;
        position += length;
        break;
      case 2: {
        uint64_t at = position;
        if (!varint(end, length) || length > end - position) {
          position = at;
          return false;
        }
        Message child = childMessage(message, field);
        if (child != Message::Other) {
          std::string stripped;
          if (!copy(child, position + length, stripped, depth + 1))
            return false;
          putBytes(field, stripped, out);
          continue;
        }
        if (message == Message::Tensor && (field == 9 || field == 4 || field == 10) && length != 0) {
          // A second one: the first goes back, and both are left to the parser.
          if (payloads++ == 1)
            putBytes(payloadField, file.slice(payloadBegin, payloadEnd), out);
          if (payloads == 1) {
            payloadField = field, payloadBegin = position, payloadEnd = position + length;
            position += length;
            continue;
          }
        }
        position += length;
        break;
      }
      default: // Groups: ONNX has none.
        position = begin;
        return false;
      }
      out.append(file.begin() + begin, file.begin() + position);
    }
    if (payloads == 1)
      finishTensor(payloadField, payloadBegin, payloadEnd, out);
    return true;
  }

  void finishTensor(unsigned field, uint64_t begin, uint64_t end, std::string &out) {
    if (end - begin <= kLargestInlineTensor)
      return putBytes(field, file.slice(begin, end), out);
    std::pair<StringRef, std::string> entries[] = {
        {"location", ownName.str()}, {"offset", std::to_string(begin)}, {"length", std::to_string(end - begin)}};
    for (auto &[key, value] : entries) {
      std::string entry;
      putBytes(1, key, entry);
      putBytes(2, value, entry);
      putBytes(13, entry, out); // TensorProto.external_data
    }
    putVarint(14 << 3, out); // TensorProto.data_location
    putVarint(::onnx::TensorProto::EXTERNAL, out);
  }

  StringRef file, ownName;
};

} // namespace

// What a file or the caller's memory holds; null after an error was set.
static std::unique_ptr<llvm::MemoryBuffer> readSource(const OnnxSource &source, ImportError &error) {
  auto fail = [&](int code, const Twine &message) {
    error = {code, ("'" + source.path + "' " + message).str()};
    return nullptr;
  };
  uint64_t size;
  if (source.bytes) {
    size = source.bytes->size();
  } else {
    llvm::sys::fs::file_status status;
    if (std::error_code code = llvm::sys::fs::status(source.path, status))
      return fail(5, "cannot be read: " + code.message());
    if (status.type() != llvm::sys::fs::file_type::regular_file)
      return fail(5, llvm::sys::fs::is_directory(status) ? "is a folder; name the .onnx file in it"
                                                         : "is no regular file; name an .onnx file");
    size = status.getSize();
  }
  if (size == 0)
    return fail(2, "is empty; it is no ONNX model");
  if (size > static_cast<uint64_t>(std::numeric_limits<int32_t>::max()))
    return fail(2, "is larger than 2 GiB, which an ONNX file cannot be; save the model with external data "
                   "(onnx.save(model, path, save_as_external_data=True))");
  if (source.bytes)
    return llvm::MemoryBuffer::getMemBuffer(*source.bytes, "", /*RequiresNullTerminator=*/false);
  auto buffer = llvm::MemoryBuffer::getFile(source.path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return fail(5, "cannot be read: " + buffer.getError().message());
  return std::move(*buffer);
}

LogicalResult readModelFile(const OnnxSource &source, StringRef ownName, ::onnx::ModelProto &model,
                            ImportError &error) {
  std::unique_ptr<llvm::MemoryBuffer> buffer = readSource(source, error);
  if (!buffer)
    return failure();
  auto fail = [&](int code, const Twine &message) {
    error = {code, ("'" + source.path + "' " + message).str()};
    return failure();
  };
  PayloadStripper stripper(buffer->getBuffer(), ownName);
  std::string stripped;
  bool whole = stripper.run(stripped);
  if (stripper.tooDeep)
    return fail(2, "nests subgraphs too deeply to be read");
  if (!whole)
    return fail(2, "is no ONNX model, or is truncated: it is malformed at byte " + Twine(stripper.position) + " of " +
                       Twine(buffer->getBufferSize()) + "; fetch or export it again");
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t *>(stripped.data()),
                                                static_cast<int>(stripped.size()));
  stream.SetTotalBytesLimit(std::numeric_limits<int>::max());
  if (!model.ParseFromCodedStream(&stream) || !stream.ConsumedEntireMessage())
    return fail(2, "is no ONNX model: its fields are not those of the ONNX schema; fetch or export it again");
  if (!model.has_ir_version() || !model.has_graph())
    return fail(2, "is no ONNX model: it has no " + Twine(model.has_graph() ? "ir_version" : "graph") +
                       "; fetch or export it again");
  return success();
}

} // namespace snug
