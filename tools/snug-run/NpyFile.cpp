// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/NpyFile.h"
#include "tools/snug-run/CommandFailure.h"
#include "tools/snug-run/StringTensor.h"
#include "tools/snug-run/WholeFile.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

using namespace snug;

static const char kMagic[] = "\x93NUMPY";
static constexpr uint64_t kMaxHeader = 1 << 20; // real headers have some hundred bytes

static constexpr uint64_t kMaxText = uint64_t(1) << 32;

namespace {
struct NpyHeader {
  snug_dtype dtype;
  std::vector<int64_t> shape;
  uint64_t units; // of a string
  bool isFortranOrder;
};

// Reads the Python dict literal of a header: {'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }
class HeaderParser {
public:
  HeaderParser(const std::string &file, const std::string &text) : file(file), text(text) {}

  NpyHeader parse() {
    expect('{');
    while (!accept('}')) {
      std::string key = quoted();
      expect(':');
      if (key == "descr")
        parseDtype();
      else if (key == "fortran_order")
        parseOrder();
      else if (key == "shape")
        parseShape();
      else
        fail("its header has the unknown key '" + key + "'");
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (!hasDtype || !hasOrder || !hasShape)
      fail("its header lacks descr, fortran_order or shape");
    return {dtype, std::move(shape), units, isFortranOrder};
  }

private:
  [[noreturn]] void fail(const std::string &why) const {
    throw CommandFailure(SNUG_EXIT_RUN, "cannot read the array '" + file + "': " + why);
  }
  void skipSpace() {
    while (at < text.size() && (text[at] == ' ' || text[at] == '\n'))
      ++at;
  }
  bool accept(char c) {
    skipSpace();
    if (at >= text.size() || text[at] != c)
      return false;
    return ++at, true;
  }
  void expect(char c) {
    if (!accept(c))
      fail("its header is damaged");
  }
  std::string quoted() {
    skipSpace();
    char quote = at < text.size() ? text[at] : 0;
    size_t end = quote == '\'' || quote == '"' ? text.find(quote, at + 1) : std::string::npos;
    if (end == std::string::npos)
      fail("its header is damaged");
    std::string value = text.substr(at + 1, end - at - 1);
    at = end + 1;
    return value;
  }

  void parseDtype() {
    hasDtype = true;
    skipSpace();
    if (at < text.size() && text[at] == '[')
      fail("it has a structured dtype; save one plain array");
    std::string descr = quoted();
    char order = descr.empty() ? '?' : descr[0], kind = descr.size() < 3 ? '?' : descr[1];
    std::string digits = descr.size() < 3 ? "" : descr.substr(2);
    int size = digits == "1" ? 1 : digits == "2" ? 2 : digits == "4" ? 4 : digits == "8" ? 8 : digits == "16" ? 16 : 0;
    if (order == '>' && size != 1)
      fail("its dtype '" + descr + "' is big-endian; convert it with .astype('<" + descr.substr(1) + "')");
    if (kind == 'U' && order != '>' && digits.find_first_not_of("0123456789") == std::string::npos && digits.size() < 10) {
      units = std::stoull(digits);
      dtype = kStringType;
      return;
    }
    uint8_t code = 0;
    bool known = (order == '<' || order == '|' || order == '=' || order == '>') && size != 0;
    switch (kind) {
    case 'b':
      known = known && size == 1;
      code = 6;
      break;
    case 'i':
      known = known && size <= 8;
      code = kDLInt;
      break;
    case 'u':
      known = known && size <= 8;
      code = kDLUInt;
      break;
    case 'f':
      known = known && size >= 2 && size <= 8;
      code = kDLFloat;
      break;
    case 'c':
      known = known && size >= 8;
      code = kDLComplex;
      break;
    case 'V':
      known = known && size == 2;
      code = kDLBfloat;
      break;
    default:
      known = false;
    }
    if (!known)
      fail("its dtype '" + descr + "' is not one of bool, int, uint, float (16 to 64 bits), complex or unicode (<U..)");
    dtype = {code, uint8_t(size * 8), 1};
  }

  void parseOrder() {
    hasOrder = true;
    skipSpace();
    isFortranOrder = text.compare(at, 4, "True") == 0;
    if (!isFortranOrder && text.compare(at, 5, "False") != 0)
      fail("its header is damaged");
    at += isFortranOrder ? 4 : 5;
  }

  void parseShape() {
    hasShape = true;
    expect('(');
    while (!accept(')')) {
      skipSpace();
      size_t digits = 0;
      int64_t extent = 0;
      bool overflow = false;
      for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, ++digits)
        overflow |=
            __builtin_mul_overflow(extent, 10, &extent) || __builtin_add_overflow(extent, text[at] - '0', &extent);
      if (digits == 0 || overflow)
        fail("its header is damaged");
      shape.push_back(extent);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
  }

  const std::string &file, &text;
  size_t at = 0;
  bool hasDtype = false, hasOrder = false, hasShape = false, isFortranOrder = false;
  snug_dtype dtype{};
  uint64_t units = 0;
  std::vector<int64_t> shape;
};
} // namespace

// Elements whose first index runs fastest, to such whose last one does.
static std::string toRowMajor(const char *data, const std::vector<int64_t> &shape, uint64_t elementBytes) {
  std::vector<uint64_t> strides(shape.size());
  uint64_t total = elementBytes;
  for (size_t dim = 0; dim < shape.size(); total *= shape[dim++])
    strides[dim] = total;
  std::string rows(total, 0);
  std::vector<int64_t> index(shape.size(), 0);
  for (uint64_t to = 0, from = 0; to < total; to += elementBytes) {
    memcpy(&rows[to], data + from, elementBytes);
    for (size_t dim = shape.size(); dim-- > 0;) {
      from += strides[dim];
      if (++index[dim] < shape[dim])
        break;
      from -= strides[dim] * shape[dim];
      index[dim] = 0;
    }
  }
  return rows;
}

// The part of a row-major array that is read from its start; nothing where it ends too early.
static std::optional<HostTensor> readPart(const NpyHeader &header, const PartPlaces &places, uint64_t bytes,
                                          const std::function<uint64_t(void *, uint64_t)> &read) {
  HostTensor part(header.dtype, places.shape());
  std::vector<char> skipped(1 << 16);
  uint64_t now = 0;
  bool isComplete = true;
  auto skipTo = [&](uint64_t place) {
    for (uint64_t step; isComplete && now < place; now += step) {
      step = std::min<uint64_t>(place - now, skipped.size());
      isComplete = read(skipped.data(), step) == step;
    }
  };
  places.visit(0, part.bytes(), [&](uint64_t at, uint64_t from, uint64_t length) {
    skipTo(from);
    isComplete = isComplete && read(part.data() + at, length) == length;
    now += length;
  });
  skipTo(bytes);
  return isComplete ? std::optional(std::move(part)) : std::nullopt;
}

HostTensor snug::readNpy(const std::string &name, const std::function<uint64_t(void *, uint64_t)> &read, const PartOf &part) {
  auto fail = [&](const char *why) { throw CommandFailure(SNUG_EXIT_RUN, "cannot read the array '" + name + "': " + why); };
  unsigned char prefix[12] = {};
  if (read(prefix, 8) != 8 || memcmp(prefix, kMagic, 6) != 0)
    fail("it is not a NumPy .npy file");
  if (prefix[6] < 1 || prefix[6] > 3)
    fail("its .npy format version is unknown");
  uint64_t lengthBytes = prefix[6] == 1 ? 2 : 4, length = 0;
  bool complete = read(prefix + 8, lengthBytes) == lengthBytes;
  for (uint64_t i = lengthBytes; i-- > 0;)
    length = length << 8 | prefix[8 + i];
  std::string header(complete && length <= kMaxHeader ? length : 0, 0);
  if (!complete || length > kMaxHeader || read(&header[0], length) != length)
    fail("its header is damaged");
  NpyHeader parsed = HeaderParser(name, header).parse();
  char more;
  std::optional<PartPlaces> places = part && !isString(parsed.dtype) ? part(parsed.shape, parsed.dtype) : std::nullopt;
  if (places && !parsed.isFortranOrder) {
    uint64_t bytes = uint64_t(parsed.dtype.bits) / 8;
    bool isTooLarge = false;
    for (int64_t extent : parsed.shape)
      isTooLarge = __builtin_mul_overflow(bytes, uint64_t(extent), &bytes) || isTooLarge;
    std::optional<HostTensor> made = isTooLarge ? std::nullopt : readPart(parsed, *places, bytes, read);
    if (!made)
      fail("it is shorter than its header says");
    if (read(&more, 1) != 0)
      fail("it is longer than its header says");
    return std::move(*made);
  }
  HostTensor tensor(parsed.dtype, parsed.shape);
  if (isString(parsed.dtype)) {
    uint64_t bytes;
    if (__builtin_mul_overflow(uint64_t(tensor.elements()), 4 * parsed.units, &bytes) || bytes > kMaxText)
      fail("it has too many strings");
    std::string rows(bytes, 0);
    if (read(&rows[0], bytes) != bytes)
      fail("it is shorter than its header says");
    if (parsed.isFortranOrder)
      rows = toRowMajor(rows.data(), parsed.shape, 4 * parsed.units);
    tensor = stringsFromUtf32(parsed.shape, rows, parsed.units);
  } else if (read(tensor.data(), tensor.bytes()) != tensor.bytes()) {
    fail("it is shorter than its header says");
  } else if (parsed.isFortranOrder && tensor.elements() > 0) {
    std::string rows = toRowMajor(reinterpret_cast<const char *>(tensor.data()), parsed.shape, tensor.bytes() / tensor.elements());
    memcpy(tensor.data(), rows.data(), rows.size());
  }
  if (read(&more, 1) != 0)
    fail("it is longer than its header says");
  if (!places)
    return tensor;
  HostTensor kept(parsed.dtype, places->shape());
  places->visit(0, kept.bytes(), [&](uint64_t at, uint64_t from, uint64_t bytes) { memcpy(kept.data() + at, tensor.data() + from, bytes); });
  return kept;
}

HostTensor snug::readNpyFile(const std::string &path, const PartOf &part) {
  std::unique_ptr<FILE, int (*)(FILE *)> file(fopen(path.c_str(), "rb"), &fclose);
  if (!file)
    throw CommandFailure(SNUG_EXIT_MACHINE, "cannot open '" + path + "': " + strerror(errno));
  return readNpy(path, [&](void *to, uint64_t bytes) { return fread(to, 1, bytes, file.get()); }, part);
}

std::string snug::npyHeader(const HostTensor &tensor) {
  const char *kinds = "iuf?Vcb"; // by DLPack code
  snug_dtype dtype = tensor.dtype;
  bool isText = isString(dtype);
  if (!isText && (dtype.code > 6 || kinds[dtype.code] == '?' || dtype.bits < 8 || dtype.bits % 8 != 0 || dtype.lanes != 1))
    throw CommandFailure(SNUG_EXIT_UNSUPPORTED, "NumPy has no dtype for DLPack type " + std::to_string(dtype.code) + " of " +
                                             std::to_string(dtype.bits) + " bits, so no .npy can hold it");
  char kind = kinds[dtype.code]; // of a string '?', which is not looked at
  std::string dict = "{'descr': '";
  dict += !isText && (dtype.bits == 8 || kind == 'V') ? '|' : '<';
  dict += (isText ? "U" + std::to_string(longestUtf32(tensor)) : kind + std::to_string(dtype.bits / 8)) + "', 'fortran_order': False, 'shape': (";
  for (int64_t extent : tensor.shape)
    dict += std::to_string(extent) + ", ";
  dict += "), }";
  size_t comma = dict.rfind(", ), }"); // a tuple of one keeps its comma, a longer one has none at its end
  if (comma != std::string::npos)
    dict.replace(comma, 3, tensor.shape.size() == 1 ? ",)" : ")");
  size_t total = (10 + dict.size() + 1 + 63) / 64 * 64;
  dict.resize(total - 11, ' ');
  std::string header(kMagic, 6);
  header += {'\1', '\0', char((total - 10) & 0xff), char((total - 10) >> 8)};
  return header + dict + '\n';
}

void snug::writeNpyFile(const std::string &path, const HostTensor &tensor) {
  std::string header = npyHeader(tensor);
  WholeFile file(path);
  std::string rows = isString(tensor.dtype) ? utf32Of(tensor, longestUtf32(tensor)) : std::string();
  file.write(header.data(), header.size());
  if (isString(tensor.dtype))
    file.write(rows.data(), rows.size());
  else
    file.write(tensor.data(), tensor.bytes());
  file.commit();
}
