// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/NpzFile.h"
#include "tools/snug-run/CommandFailure.h"
#include "tools/snug-run/NpyFile.h"
#include "tools/snug-run/StringTensor.h"

#include <algorithm>
#include <list>
#include <memory>
#include <zip.h>

using namespace snug;

static const std::string kSuffix = ".npy";

[[noreturn]] static void failOpen(const std::string &path, int code, bool isSystem) {
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  std::string why = zip_error_strerror(&error);
  zip_error_fini(&error);
  throw CommandFailure(isSystem ? SNUG_EXIT_MACHINE : SNUG_EXIT_RUN, "cannot open '" + path + "': " + why);
}

std::map<std::string, HostTensor> snug::readNpzFile(const std::string &path, const std::function<PartOf(const std::string &)> &partOf) {
  int code = 0;
  std::unique_ptr<zip_t, void (*)(zip_t *)> archive(zip_open(path.c_str(), ZIP_RDONLY, &code), &zip_discard);
  if (!archive)
    failOpen(path, code, code == ZIP_ER_OPEN || code == ZIP_ER_NOENT || code == ZIP_ER_READ);
  std::map<std::string, HostTensor> tensors;
  zip_int64_t count = zip_get_num_entries(archive.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    const char *entry = zip_get_name(archive.get(), zip_uint64_t(i), 0);
    std::string name = entry ? entry : "";
    if (name.size() < kSuffix.size() || name.compare(name.size() - kSuffix.size(), kSuffix.size(), kSuffix) != 0)
      continue; // no array; NumPy leaves such entries alone too
    std::unique_ptr<zip_file_t, int (*)(zip_file_t *)> file(zip_fopen_index(archive.get(), zip_uint64_t(i), 0),
                                                            &zip_fclose);
    if (!file)
      throw CommandFailure(SNUG_EXIT_RUN, "cannot read '" + name + "' in '" + path + "': " + zip_strerror(archive.get()));
    auto read = [&](void *to, uint64_t bytes) {
      uint64_t done = 0;
      while (done < bytes) {
        zip_int64_t got =
            zip_fread(file.get(), static_cast<char *>(to) + done, std::min<uint64_t>(bytes - done, 1 << 30));
        if (got < 0)
          throw CommandFailure(SNUG_EXIT_RUN,
                        "cannot read '" + name + "' in '" + path + "': " + zip_file_strerror(file.get()));
        if (got == 0)
          break;
        done += uint64_t(got);
      }
      return done;
    };
    std::string array = name.substr(0, name.size() - kSuffix.size());
    tensors[array] = readNpy(path + "/" + name, read, partOf ? partOf(array) : PartOf());
  }
  return tensors;
}

void snug::writeNpzFile(const std::string &path, const std::map<std::string, const HostTensor *> &tensors) {
  int code = 0;
  std::unique_ptr<zip_t, void (*)(zip_t *)> archive(zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code),
                                                    &zip_discard);
  if (!archive)
    failOpen(path, code, true);
  auto fail = [&] { throw CommandFailure(SNUG_EXIT_MACHINE, "cannot write '" + path + "': " + zip_strerror(archive.get())); };
  std::list<std::string> headers, rows; // read by zip_close, as the data is: so both have to live until then
  for (const auto &[name, tensor] : tensors) {
    headers.push_back(npyHeader(*tensor));
    auto *data = const_cast<uint8_t *>(tensor->data()); // only read
    uint64_t bytes = tensor->bytes();
    if (isString(tensor->dtype)) {
      rows.push_back(utf32Of(*tensor, longestUtf32(*tensor)));
      data = reinterpret_cast<uint8_t *>(&rows.back()[0]);
      bytes = rows.back().size();
    }
    zip_buffer_fragment_t parts[] = {{reinterpret_cast<zip_uint8_t *>(&headers.back()[0]), headers.back().size()},
                                     {data, bytes}};
    zip_source_t *source = zip_source_buffer_fragment(archive.get(), parts, bytes ? 2 : 1, 0);
    if (!source)
      fail();
    zip_int64_t index = zip_file_add(archive.get(), (name + kSuffix).c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(source);
      fail();
    }
    // NumPy reads both; stored entries can be mapped, and the same arrays always give the same bytes.
    if (zip_set_file_compression(archive.get(), zip_uint64_t(index), ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(archive.get(), zip_uint64_t(index), 0, 1 << 5 | 1, 0) != 0) // 1980-01-01, zip's epoch
      fail();
  }
  if (zip_close(archive.get()) != 0) // writes a temporary file beside `path` and renames it
    fail();
  archive.release();
}
