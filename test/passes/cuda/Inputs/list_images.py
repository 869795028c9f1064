# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Prints what is in a fat binary: a line with kind and chip for each image, as the driver would find them. The layout is that
of the headers that NVIDIA's fatbinary writes: one for all of it (magic, version and bytes of header, bytes of images), and one
before each image (kind, version, bytes of header, bytes of image, ..., chip at byte 28)."""
import struct
import sys

data = open(sys.argv[1], "rb").read()
magic, version, header, size = struct.unpack_from("<IHHQ", data)
assert (magic, version) == (0xBA55ED50, 1) and header + size == len(data), (hex(magic), version, header, size, len(data))
at = header
while at < len(data):
    kind, _, header, size = struct.unpack_from("<HHIQ", data, at)
    image = data[at + header:at + header + size]
    assert kind in (1, 2) and len(image) == size and (kind != 2 or image[:4] == b"\x7fELF"), (kind, size)
    print({1: "ptx", 2: "elf"}[kind], "sm_%d" % struct.unpack_from("<I", data, at + 28))
    at += header + size
