// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "runtime/core/Images.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

using namespace snug;

namespace {
const uint8_t *bytesOf(const std::string &text) { return reinterpret_cast<const uint8_t *>(text.data()); }

// Portable pixmaps have their pixels as they are.
std::string pixmap(int width, int height, const std::string &pixels) {
  return "P6\n" + std::to_string(width) + " " + std::to_string(height) + "\n255\n" + pixels;
}
const std::string kTwo = pixmap(2, 1, std::string("\xff\x00\x01\x10\x20\x30", 6));

std::vector<int> decoded(const std::string &image, PixelFormat format, ImageSize size) {
  std::vector<uint8_t> pixels(size.height * size.width * channelsOf(format), 7);
  if (!decodeImage(bytesOf(image), image.size(), format, size, pixels.data()))
    return {};
  return {pixels.begin(), pixels.end()};
}

TEST(Images, SizeIsWhatTheHeaderSays) {
  ImageSize size = imageSize(bytesOf(kTwo), kTwo.size());
  EXPECT_EQ(size.height, 1);
  EXPECT_EQ(size.width, 2);
}

TEST(Images, PixelsAreInTheOrderThatIsAskedFor) {
  EXPECT_EQ(decoded(kTwo, PixelFormat::RGB, {1, 2}), (std::vector<int>{255, 0, 1, 16, 32, 48}));
  EXPECT_EQ(decoded(kTwo, PixelFormat::BGR, {1, 2}), (std::vector<int>{1, 0, 255, 48, 32, 16}));
  EXPECT_EQ(decoded(kTwo, PixelFormat::Grayscale, {1, 2}), (std::vector<int>{76, 29}));
}

TEST(Images, WhatIsNoImageHasNoSize) {
  for (const std::string &text : {std::string(), std::string("P6"), std::string(40, 'x'), std::string("\x89PNG\r\n\x1a\n")}) {
    ImageSize size = imageSize(bytesOf(text), text.size());
    EXPECT_EQ(size.height, 0) << text;
    EXPECT_EQ(size.width, 0) << text;
  }
}

TEST(Images, AnotherSizeOrMissingPixelsAreRefused) {
  EXPECT_TRUE(decoded(kTwo, PixelFormat::RGB, {2, 1}).empty());
  // The header promises more than there is; it is not believed for memory's sake either.
  std::string little = pixmap(30000, 30000, "abc");
  EXPECT_TRUE(decoded(little, PixelFormat::Grayscale, {1, 2}).empty());
}
} // namespace
