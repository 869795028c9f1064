// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/core/Images.h"
#include "runtime/core/Error.h"

#include <dlfcn.h>
#include <leptonica/allheaders.h>
#include <memory>
#include <mutex>

using namespace snug;

namespace {
struct Leptonica {
#define SNUG_LEPTONICA(name) decltype(&::name) name = find<decltype(&::name)>(#name)
  void *library = dlopen("liblept.so.5", RTLD_NOW | RTLD_LOCAL);
  SNUG_LEPTONICA(setMsgSeverity);
  SNUG_LEPTONICA(pixReadHeaderMem);
  SNUG_LEPTONICA(pixReadMem);
  SNUG_LEPTONICA(pixConvertTo32);
  SNUG_LEPTONICA(pixGetDimensions);
  SNUG_LEPTONICA(pixGetWpl);
  SNUG_LEPTONICA(pixGetData);
  SNUG_LEPTONICA(pixDestroy);
#undef SNUG_LEPTONICA
  bool isComplete = library != nullptr;

  Leptonica() {
    if (isComplete)
      setMsgSeverity(L_SEVERITY_NONE);
  }
  static const Leptonica &get() {
    static const Leptonica loaded;
    if (!loaded.isComplete)
      throw Failure(SNUG_EXIT_MACHINE, "the model decodes images, which needs Leptonica (liblept.so.5): install liblept5");
    return loaded;
  }

private:
  template <class Function> Function find(const char *name) {
    void *found = library ? dlsym(library, name) : nullptr;
    if (library && !found) // of another version
      library = nullptr;
    return reinterpret_cast<Function>(found);
  }
};

struct Destroy {
  void operator()(PIX *pix) const { Leptonica::get().pixDestroy(&pix); }
};
using Image = std::unique_ptr<PIX, Destroy>;
} // namespace

ImageSize snug::imageSize(const uint8_t *bytes, size_t size) {
  l_int32 width = 0, height = 0;
  constexpr size_t least = 12; // Leptonica looks at as many to tell the format
  if (size < least || Leptonica::get().pixReadHeaderMem(bytes, size, nullptr, &width, &height, nullptr, nullptr, nullptr) ||
      width <= 0 || height <= 0)
    return {};
  return {height, width};
}

bool snug::decodeImage(const uint8_t *bytes, size_t length, PixelFormat format, ImageSize size, uint8_t *pixels) {
  const Leptonica &leptonica = Leptonica::get();
  // What the header says is known before memory is taken for it.
  ImageSize said = imageSize(bytes, length);
  if (said.height != size.height || said.width != size.width || !said.height)
    return false;
  Image read(leptonica.pixReadMem(bytes, length));
  Image words(read ? leptonica.pixConvertTo32(read.get()) : nullptr);
  l_int32 width = 0, height = 0;
  if (!words || leptonica.pixGetDimensions(words.get(), &width, &height, nullptr) || width != size.width ||
      height != size.height)
    return false;
  const l_uint32 *data = leptonica.pixGetData(words.get());
  l_int32 wordsPerLine = leptonica.pixGetWpl(words.get());
  for (int64_t row = 0; row < size.height; ++row)
    for (int64_t column = 0; column < size.width; ++column) {
      l_uint32 word = data[row * wordsPerLine + column], red = word >> 24, green = word >> 16 & 255, blue = word >> 8 & 255;
      if (format == PixelFormat::Grayscale) {
        *pixels++ = static_cast<uint8_t>((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16); // ITU-R BT.601 luma
        continue;
      }
      *pixels++ = static_cast<uint8_t>(format == PixelFormat::RGB ? red : blue);
      *pixels++ = static_cast<uint8_t>(green);
      *pixels++ = static_cast<uint8_t>(format == PixelFormat::RGB ? blue : red);
    }
  return true;
}
