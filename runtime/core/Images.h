// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Encoded images (BMP, JPEG, JPEG 2000, PNG, PNM, TIFF, WebP), read by Leptonica. Its library is loaded when the first image
// is looked at, so that a process without images needs none of it.
#ifndef SNUG_RUNTIME_CORE_IMAGES_H
#define SNUG_RUNTIME_CORE_IMAGES_H

#include <cstddef>
#include <cstdint>

namespace snug {

enum class PixelFormat { RGB, BGR, Grayscale };
inline int64_t channelsOf(PixelFormat format) { return format == PixelFormat::Grayscale ? 1 : 3; }

struct ImageSize {
  int64_t height = 0, width = 0;
};

// What the header of an encoded image says; 0 x 0 where there is none that can be read. Nothing is decoded.
// Throws where Leptonica is not installed (SNUG_EXIT_MACHINE). Any thread.
ImageSize imageSize(const uint8_t *bytes, size_t size);

// Writes `size` pixels of channelsOf(format) bytes each, row by row. False, and nothing is written, where the image cannot be
// decoded or has another size. The decoder takes memory of its own while it works. Any thread.
bool decodeImage(const uint8_t *bytes, size_t length, PixelFormat format, ImageSize size, uint8_t *pixels);

} // namespace snug

#endif
