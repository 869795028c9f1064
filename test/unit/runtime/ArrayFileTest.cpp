// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug-run's .npy and .npz files, and files that are whole or not there.

#include "test/unit/runtime/Fixture.h"
#include "tools/snug-run/CommandFailure.h"
#include "tools/snug-run/NpyFile.h"
#include "tools/snug-run/NpzFile.h"
#include "tools/snug-run/WholeFile.h"

#include <cstring>
#include <iterator>
#include <zip.h>

using namespace snug;

namespace {
class ArrayFile : public ::testing::Test {
protected:
  std::string path(const char *name) const { return (models.folder / name).string(); }
  size_t numFiles() const {
    return size_t(
        std::distance(std::filesystem::directory_iterator(models.folder), std::filesystem::directory_iterator()));
  }
  ModelFolder models;
};
} // namespace

static std::string contents(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

static HostTensor numbered(snug_dtype dtype, std::vector<int64_t> shape) {
  HostTensor tensor(dtype, std::move(shape));
  for (uint64_t i = 0; i < tensor.bytes(); ++i)
    tensor.data()[i] = uint8_t(i * 7 + 1);
  return tensor;
}

static void expectSame(const HostTensor &a, const HostTensor &b) {
  EXPECT_EQ(a.dtype.code, b.dtype.code);
  EXPECT_EQ(a.dtype.bits, b.dtype.bits);
  EXPECT_EQ(a.shape, b.shape);
  ASSERT_EQ(a.bytes(), b.bytes());
  EXPECT_EQ(memcmp(a.data(), b.data(), a.bytes()), 0);
}

// A .npy whose header is `dict`, followed by `bytes` bytes.
static std::string npy(const std::string &dict, size_t bytes) {
  std::string text = dict + "\n";
  return std::string("\x93NUMPY\x01\x00", 8) + char(text.size()) + '\0' + text + std::string(bytes, '\1');
}

static std::string readFailure(const std::string &path) {
  try {
    readNpyFile(path);
  } catch (const CommandFailure &failure) {
    return failure.what();
  }
  return "";
}

TEST_F(ArrayFile, KeepsEveryDtypeAndShape) {
  const snug_dtype dtypes[] = {{0, 8, 1},  {0, 16, 1}, {0, 32, 1}, {0, 64, 1}, {1, 8, 1},  {1, 16, 1}, {1, 32, 1},
                               {1, 64, 1}, {2, 16, 1}, {2, 32, 1}, {2, 64, 1}, {4, 16, 1}, {5, 64, 1}, {6, 8, 1}};
  for (snug_dtype dtype : dtypes)
    for (std::vector<int64_t> shape : {std::vector<int64_t>{}, {3}, {2, 3}, {1, 0, 4}, {2, 1, 3, 5}}) {
      SCOPED_TRACE(testing::Message() << int(dtype.code) << " " << int(dtype.bits) << " " << shapeText(shape));
      HostTensor tensor = numbered(dtype, shape);
      writeNpyFile(path("a.npy"), tensor);
      expectSame(readNpyFile(path("a.npy")), tensor);
    }
}

TEST_F(ArrayFile, WritesWhatNumPyWrites) {
  // The text of numpy.save, whose padding alone may differ.
  auto dict = [](snug_dtype dtype, std::vector<int64_t> shape) {
    std::string header = npyHeader(HostTensor(dtype, std::move(shape)));
    EXPECT_EQ(header.size() % 64, 0u);
    EXPECT_EQ(header.back(), '\n');
    return header.substr(10, header.find('}') + 1 - 10);
  };
  EXPECT_EQ(dict({2, 32, 1}, {1, 2}), "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }");
  EXPECT_EQ(dict({0, 64, 1}, {5}), "{'descr': '<i8', 'fortran_order': False, 'shape': (5,), }");
  EXPECT_EQ(dict({6, 8, 1}, {}), "{'descr': '|b1', 'fortran_order': False, 'shape': (), }");
  EXPECT_EQ(dict({5, 64, 1}, {}), "{'descr': '<c8', 'fortran_order': False, 'shape': (), }");
  EXPECT_THROW(npyHeader(HostTensor({0, 4, 1}, {2})), CommandFailure);
}

// What numpy.save writes of a transposed array.
TEST_F(ArrayFile, ReadsFortranOrder) {
  std::string file = npy("{'descr': '|i1', 'fortran_order': True, 'shape': (2, 3, 2), }", 0);
  for (char element : {0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11}) // i * 6 + j * 2 + k, i running fastest
    file.push_back(element);
  writeFile(path("f.npy"), file);
  HostTensor tensor = readNpyFile(path("f.npy"));
  EXPECT_EQ(tensor.shape, (std::vector<int64_t>{2, 3, 2}));
  for (int i = 0; i < 12; ++i)
    EXPECT_EQ(int(tensor.data()[i]), i);
  writeFile(path("f.npy"), npy("{'descr': '<f4', 'fortran_order': True, 'shape': (0, 3), }", 0));
  EXPECT_EQ(readNpyFile(path("f.npy")).elements(), 0);
}

// Of 4 x 3 x 4 numbers rows 2 and 3, and of these columns 2 and 3: by places, and of either order of the file.
TEST_F(ArrayFile, ReadsAPart) {
  PartOf corner = [](const std::vector<int64_t> &whole, const snug_dtype &dtype) {
    return PartPlaces({2, 3, 2}, whole, {2, 0, 2}, dtype.bits / 8);
  };
  HostTensor tensor = numbered({0, 16, 1}, {4, 3, 4});
  writeNpyFile(path("p.npy"), tensor);
  writeNpzFile(path("p.npz"), {{"p", &tensor}});
  auto expectPart = [&](const HostTensor &part) {
    EXPECT_EQ(part.shape, (std::vector<int64_t>{2, 3, 2}));
    for (int64_t i = 0; i < 12; ++i) {
      int64_t from = (2 + i / 6) * 12 + i / 2 % 3 * 4 + 2 + i % 2;
      EXPECT_EQ(memcmp(part.data() + 2 * i, tensor.data() + 2 * from, 2), 0) << i;
    }
  };
  expectPart(readNpyFile(path("p.npy"), corner));
  expectPart(readNpzFile(path("p.npz"), [&](const std::string &) { return corner; }).at("p"));
  std::string file = npy("{'descr': '<i2', 'fortran_order': True, 'shape': (4, 3, 4), }", 0);
  for (int64_t k = 0; k < 4; ++k)
    for (int64_t j = 0; j < 3; ++j)
      for (int64_t i = 0; i < 4; ++i)
        file.append(reinterpret_cast<const char *>(tensor.data()) + 2 * (i * 12 + j * 4 + k), 2);
  writeFile(path("f.npy"), file);
  expectPart(readNpyFile(path("f.npy"), corner));
  // What is left out has to be there all the same, and no more.
  const std::string dict = "{'descr': '<i2', 'fortran_order': False, 'shape': (4, 3, 4), }";
  for (auto [bytes, why] : {std::pair(95, "shorter"), {97, "longer"}, {3, "shorter"}}) {
    writeFile(path("p.npy"), npy(dict, size_t(bytes)));
    try {
      readNpyFile(path("p.npy"), [](const std::vector<int64_t> &whole, const snug_dtype &dtype) {
        return PartPlaces({2, 3, 2}, whole, {0, 0, 0}, dtype.bits / 8);
      });
      ADD_FAILURE() << bytes;
    } catch (const CommandFailure &failure) {
      EXPECT_NE(std::string(failure.what()).find(why), std::string::npos) << failure.what();
    }
  }
}

TEST_F(ArrayFile, RefusesWhatItCannotRead) {
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  auto refuses = [&](const std::string &bytes, const std::string &why) {
    writeFile(path("a.npy"), bytes);
    std::string message = readFailure(path("a.npy"));
    EXPECT_NE(message.find(why), std::string::npos) << "'" << message << "'";
    EXPECT_NE(message.find("a.npy"), std::string::npos) << message;
  };
  writeFile(path("a.npy"), npy(good, 8));
  EXPECT_EQ(readFailure(path("a.npy")), "");
  refuses("", "not a NumPy .npy file");
  refuses("PK\3\4 something else", "not a NumPy .npy file");
  refuses(npy(good, 7), "shorter than its header says");
  refuses(npy(good, 9), "longer than its header says");
  refuses(npy(good, 8).substr(0, 30), "header is damaged");
  std::string version = npy(good, 8);
  version[6] = 9;
  refuses(version, "format version is unknown");
  refuses(npy("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,), }", 8), "header is damaged");
  refuses(npy("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", 8), "big-endian");
  refuses(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", 8), "structured dtype");
  refuses(npy("{'descr': '<U4', 'fortran_order': False, 'shape': (2,), }", 8), "shorter than its header says");
  refuses(npy("{'descr': '<M8', 'fortran_order': False, 'shape': (2,), }", 16), "'<M8' is not one of");
  refuses(npy("{'descr': '<f3', 'fortran_order': False, 'shape': (2,), }", 8), "'<f3' is not one of");
  refuses(npy("{'descr': '<f4', 'shape': (2,), }", 8), "lacks");
  refuses(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,", 0), "header is damaged");
  refuses(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", 8), "header is damaged");
  refuses(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 8), "header is damaged");
  EXPECT_EQ(readFailure(path("none.npy")), "cannot open '" + path("none.npy") + "': No such file or directory");
  // An extent that fits no memory is an error, not an overflow.
  writeFile(path("a.npy"), npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", 0));
  EXPECT_NE(readFailure(path("a.npy")).find("cannot get memory"), std::string::npos);
}

TEST_F(ArrayFile, KeepsArchives) {
  HostTensor a = numbered({2, 32, 1}, {3, 2}), b = numbered({0, 64, 1}, {}), c = numbered({2, 32, 1}, {0});
  writeNpzFile(path("x.npz"), {{"a", &a}, {"/deep/b", &b}, {"c", &c}});
  std::map<std::string, HostTensor> read = readNpzFile(path("x.npz"));
  ASSERT_EQ(read.size(), 3u);
  expectSame(read.at("a"), a);
  expectSame(read.at("/deep/b"), b);
  expectSame(read.at("c"), c);
  std::string first = contents(path("x.npz"));
  writeNpzFile(path("x.npz"), {{"a", &a}, {"/deep/b", &b}, {"c", &c}});
  EXPECT_EQ(contents(path("x.npz")), first); // the same bytes again
  EXPECT_EQ(numFiles(), 2u);                 // with the weights file, and nothing temporary
}

TEST_F(ArrayFile, ReadsCompressedArchives) {
  HostTensor tensor({2, 32, 1}, {100000});
  std::string bytes = npyHeader(tensor) + std::string(400000, '\0');
  zip_t *archive = zip_open(path("c.npz").c_str(), ZIP_CREATE, nullptr);
  ASSERT_NE(archive, nullptr);
  zip_source_t *source = zip_source_buffer(archive, bytes.data(), bytes.size(), 0);
  zip_int64_t index = zip_file_add(archive, "z.npy", source, 0);
  ASSERT_EQ(zip_set_file_compression(archive, zip_uint64_t(index), ZIP_CM_DEFLATE, 9), 0);
  ASSERT_EQ(zip_close(archive), 0);
  ASSERT_LT(std::filesystem::file_size(path("c.npz")), 10000u);
  expectSame(readNpzFile(path("c.npz")).at("z"), tensor);

  writeFile(path("c.npz"), contents(path("c.npz")).substr(0, 200));
  EXPECT_THROW(readNpzFile(path("c.npz")), CommandFailure);
}

TEST_F(ArrayFile, IsWholeOrNotThere) {
  {
    WholeFile file(path("w"));
    file.write("half", 4);
    EXPECT_FALSE(std::filesystem::exists(path("w")));
  }
  EXPECT_EQ(numFiles(), 1u); // the weights file
  writeFile(path("w"), "old");
  {
    WholeFile file(path("w"));
    file.write("ne", 2);
    file.write("w!", 2);
    EXPECT_EQ(contents(path("w")), "old");
    file.commit();
  }
  EXPECT_EQ(contents(path("w")), "new!");
  EXPECT_EQ(numFiles(), 2u);
  EXPECT_THROW(WholeFile(path("none/w")), CommandFailure);
}
