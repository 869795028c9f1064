// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "test/unit/comm/CheckCollectives.h"
#include "runtime/comm/Mesh.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

using namespace snug;

namespace {
using Bytes = std::vector<uint8_t>;

// Values of 16 bits, decoded by their definition.
long double decode16(uint32_t bits, int exponentBits) {
  int fractionBits = 15 - exponentBits, bias = (1 << (exponentBits - 1)) - 1;
  int exponent = int(bits >> fractionBits) & ((1 << exponentBits) - 1);
  long double fraction = bits & ((1u << fractionBits) - 1), sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << exponentBits) - 1)
    return fraction == 0 ? sign * std::numeric_limits<long double>::infinity() : std::numeric_limits<long double>::quiet_NaN();
  if (exponent == 0)
    return sign * std::ldexp(fraction, 1 - bias - fractionBits);
  return sign * std::ldexp(fraction + (1 << fractionBits), exponent - bias - fractionBits);
}

// The nearest of all values of 16 bits, ties to even.
uint16_t encode16(long double value, int exponentBits) {
  if (std::isnan(value))
    return uint16_t(exponentBits == 5 ? 0x7e00 : 0x7fc0);
  auto table = [](int ofBits) {
    std::vector<long double> values; // that are not negative: they rise with their bits
    for (uint32_t bits = 0; bits < 0x8000 && std::isfinite(decode16(bits, ofBits)); ++bits)
      values.push_back(decode16(bits, ofBits));
    return values;
  };
  static const std::vector<long double> half = table(5), bfloat = table(8);
  const std::vector<long double> &values = exponentBits == 5 ? half : bfloat;
  long double magnitude = std::fabs(value);
  auto above = uint32_t(std::lower_bound(values.begin(), values.end(), magnitude) - values.begin());
  uint32_t best = above;
  if (above == values.size())
    best = above - 1; // nothing here is that large
  else if (above > 0 && values[above] != magnitude) {
    long double up = values[above] - magnitude, down = magnitude - values[above - 1];
    best = up < down || (up == down && above % 2 == 0) ? above : above - 1;
  }
  return uint16_t((std::signbit(value) ? 0x8000 : 0) | best);
}

uint64_t random(uint64_t x) { // splitmix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

bool isFloat(snug_dtype type) { return type.code == 2 || type.code == 4; }
int exponentBitsOf(snug_dtype type) { return type.code == 2 ? 5 : 8; } // of 16 bits
size_t sizeOf(snug_dtype type) { return type.bits / 8u; }

long double decode(const uint8_t *at, snug_dtype type) {
  uint64_t bits = 0;
  memcpy(&bits, at, sizeOf(type) > 8 ? 8 : sizeOf(type));
  if (type.code == 0)
    return (long double)(int64_t(bits << (64 - type.bits)) >> (64 - type.bits));
  if (!isFloat(type))
    return (long double)bits;
  float narrow;
  double wide;
  memcpy(&narrow, at, 4 * (type.bits == 32));
  memcpy(&wide, at, 8 * (type.bits == 64));
  return type.bits == 64 ? (long double)wide : type.bits == 32 ? (long double)narrow : decode16(uint32_t(bits), exponentBitsOf(type));
}

// What rank `rank` sends in place i. `exact`: sums and products of 8 such values are exact in all types.
void fill(uint8_t *at, snug_dtype type, uint32_t rank, uint64_t i, bool exact) {
  uint64_t bits = random(rank * 1000003u + i);
  static const int small[] = {-2, -1, 1, 2};
  double value = exact ? small[bits % 4] : double(int64_t(bits) >> 11) / double(int64_t(1) << 51); // in [-2, 2)
  if (!exact && i % 13 == 5 && i / 13 % 3 == rank % 3)
    value = i % 2 ? std::numeric_limits<double>::quiet_NaN() : -0.0;
  auto narrow = float(value);
  if (type.code == 6)
    *at = bits & 1;
  else if (!isFloat(type))
    memcpy(at, &bits, std::min<size_t>(8, sizeOf(type)));
  else if (type.bits == 64)
    memcpy(at, &value, 8);
  else if (type.bits == 32)
    memcpy(at, &narrow, 4);
  else {
    uint16_t half = exact || std::isnan(value) || value == 0 ? encode16(value, exponentBitsOf(type))
                                                            : uint16_t((bits & 0x83ff) | (type.code == 2 ? 0x3800 : 0x3f00));
    memcpy(at, &half, 2);
  }
}

template <class T> T reduceFloats(const std::vector<long double> &values, uint32_t reduction) {
  T result = T(values[0]);
  for (size_t i = 1; i < values.size(); ++i) {
    T x = T(values[i]);
    bool isNan = std::isnan(result) || std::isnan(x);
    if (reduction == SNUG_REDUCE_SUM)
      result = result + x;
    else if (reduction == SNUG_REDUCE_PROD)
      result = result * x;
    else if (isNan)
      result = std::numeric_limits<T>::quiet_NaN();
    else
      result = reduction == SNUG_REDUCE_MAX ? std::max(result, x) : std::min(result, x);
  }
  return result;
}

// The combination of these elements, in order, rounded once.
void reduce(uint8_t *result, const std::vector<const uint8_t *> &parts, snug_dtype type, uint32_t reduction) {
  std::vector<long double> values;
  for (const uint8_t *part : parts)
    values.push_back(decode(part, type));
  if (type.code == 6) {
    bool any = false, every = true;
    for (long double value : values) {
      any = any || value != 0;
      every = every && value != 0;
    }
    *result = reduction == SNUG_REDUCE_SUM || reduction == SNUG_REDUCE_MAX ? any : every;
  } else if (type.code <= 1) {
    uint64_t bits = 0;
    if (reduction == SNUG_REDUCE_SUM || reduction == SNUG_REDUCE_PROD) {
      bits = reduction == SNUG_REDUCE_PROD;
      for (const uint8_t *part : parts) {
        uint64_t x = 0;
        memcpy(&x, part, sizeOf(type));
        bits = reduction == SNUG_REDUCE_SUM ? bits + x : bits * x;
      }
      memcpy(result, &bits, sizeOf(type));
    } else {
      size_t best = 0;
      for (size_t i = 1; i < values.size(); ++i)
        if (reduction == SNUG_REDUCE_MAX ? values[i] > values[best] : values[i] < values[best])
          best = i;
      memcpy(result, parts[best], sizeOf(type));
    }
  } else if (type.bits == 64) {
    auto x = reduceFloats<double>(values, reduction);
    memcpy(result, &x, 8);
  } else if (type.bits == 32) {
    auto x = reduceFloats<float>(values, reduction);
    memcpy(result, &x, 4);
  } else {
    uint16_t half = encode16(reduceFloats<float>(values, reduction), exponentBitsOf(type));
    memcpy(result, &half, 2);
  }
}

// Same bits, but for NaNs and zeros; or, of floats, as near as any order gets.
bool agrees(const uint8_t *got, const uint8_t *want, snug_dtype type, bool toTheBit) {
  if (memcmp(got, want, sizeOf(type)) == 0)
    return true;
  if (!isFloat(type))
    return false;
  long double x = decode(got, type), y = decode(want, type);
  long double step = type.bits == 64 ? 0x1p-53L : type.bits == 32 ? 0x1p-24L : type.code == 2 ? 0x1p-11L : 0x1p-8L;
  return (std::isnan(x) && std::isnan(y)) || x == y || (!toTheBit && std::fabs(x - y) <= 16 * 16 * step);
}

struct Checker {
  snug_comm &comm;
  uint32_t d1, d2;
  bool inOrder;
  std::vector<snug_collective_info> infos;

  std::vector<uint32_t> groupOf(uint32_t axes) const {
    std::vector<uint32_t> members;
    for (uint32_t r = 0; r < d1 * d2; ++r)
      if ((axes & 1 || r / d2 == comm.rank() / d2) && (axes & 2 || r % d2 == comm.rank() % d2))
        members.push_back(r);
    return members;
  }

  std::string check(comm::Mesh &mesh, size_t number, uint64_t count, bool exact, bool inPlace) const {
    const snug_collective_info &info = infos[number];
    snug_dtype type = info.dtype;
    size_t size = sizeOf(type);
    std::vector<uint32_t> members = groupOf(info.axes);
    uint64_t g = members.size(), place = 0;
    uint64_t sent = info.kind == SNUG_REDUCE_SCATTER || info.kind == SNUG_ALL_TO_ALL ? g * count : count;
    uint64_t got = info.kind == SNUG_ALL_GATHER || info.kind == SNUG_ALL_TO_ALL ? g * count : count;
    std::vector<Bytes> sends(g, Bytes(sent * size));
    for (uint64_t m = 0; m < g; ++m) {
      for (uint64_t i = 0; i < sent; ++i)
        fill(&sends[m][i * size], type, members[m], i, exact);
      if (members[m] == comm.rank())
        place = m;
    }
    Bytes want(got * size);
    for (uint64_t i = 0; i < got; ++i) {
      uint64_t part = i / count, within = i % count;
      std::vector<const uint8_t *> parts;
      for (const Bytes &send : sends)
        parts.push_back(&send[(info.kind == SNUG_REDUCE_SCATTER ? place * count + i : i % sent) * size]);
      if (info.kind == SNUG_ALL_GATHER)
        memcpy(&want[i * size], &sends[part][within * size], size);
      else if (info.kind == SNUG_SHIFT)
        memcpy(&want[i * size], &sends[(place + g - 1) % g][i * size], size);
      else if (info.kind == SNUG_ALL_TO_ALL)
        memcpy(&want[i * size], &sends[part][(place * count + within) * size], size);
      else
        reduce(&want[i * size], parts, type, info.reduction);
    }
    std::string what = "kind " + std::to_string(info.kind) + " axes " + std::to_string(info.axes) + " reduction " +
                       std::to_string(info.reduction) + " type " + std::to_string(type.code) + "/" + std::to_string(type.bits) +
                       " count " + std::to_string(count) + (exact ? " exact" : "") + (inPlace ? " in place" : "") + " rank " +
                       std::to_string(comm.rank());
    Bytes before;
    for (int round = 0; round < 2; ++round) {
      Bytes send = sends[place], recv = inPlace ? send : Bytes(got * size, 0xaa);
      const void *from = inPlace ? recv.data() : send.data();
      if (round == 0) {
        comm::Mesh::collective(&mesh, int64_t(number), from, recv.data(), int64_t(count));
      } else { // as one that runs while the ranks compute, and somebody asks now and then
        comm::Mesh::start(&mesh, int64_t(number), from, recv.data(), int64_t(count));
        comm::Mesh::poll(&mesh);
        comm::Mesh::wait(&mesh, int64_t(number));
        if (comm::Mesh::poll(&mesh))
          return what + ": something is left in flight";
      }
      if (!comm.lost.empty())
        return what + ": " + comm.lost;
      if (!inPlace && send != sends[place])
        return what + ": what was sent has changed";
      bool combines = info.kind == SNUG_ALL_REDUCE || info.kind == SNUG_REDUCE_SCATTER;
      for (uint64_t i = 0; i < got; ++i)
        if (!agrees(&recv[i * size], &want[i * size], type, inOrder || exact || !combines))
          return what + " element " + std::to_string(i) + ": " + std::to_string(double(decode(&recv[i * size], type))) +
                 ", not " + std::to_string(double(decode(&want[i * size], type)));
      if (round > 0 && recv != before)
        return what + ": other bits the second time";
      before = recv;
    }
    // All that were in the group of rank 0 have its bits.
    if (info.kind == SNUG_ALL_REDUCE && info.axes == 3) {
      Bytes all(before.size() * comm.size());
      comm.allGather(before.data(), all.data(), before.size());
      if (!comm.lost.empty())
        return what + ": " + comm.lost;
      if (memcmp(all.data(), before.data(), before.size()) != 0)
        return what + ": other bits than rank 0";
    }
    return "";
  }

  // Sums over each kind of group in flight at once, large ones, with a blocking one in between, give the bits of blocking ones.
  std::string checkInFlight(comm::Mesh &mesh) const {
    constexpr size_t count = 100000;
    std::vector<size_t> sums;
    for (size_t number = 0; number < infos.size(); ++number)
      if (infos[number].kind == SNUG_ALL_REDUCE && infos[number].reduction == SNUG_REDUCE_SUM && infos[number].dtype.code == 2 && infos[number].dtype.bits == 32)
        sums.push_back(number);
    std::vector<float> mine(count), between(count), other(count);
    for (size_t i = 0; i < count; ++i)
      mine[i] = float(random(comm.rank() * count + i) % 1000) / 7;
    std::vector<std::vector<float>> want(sums.size(), mine), got(sums.size(), mine);
    for (size_t i = 0; i < sums.size(); ++i)
      comm::Mesh::collective(&mesh, int64_t(sums[i]), want[i].data(), want[i].data(), count);
    for (size_t i = 0; i < sums.size(); ++i)
      comm::Mesh::start(&mesh, int64_t(sums[i]), got[i].data(), got[i].data(), count);
    size_t another = sums.back() - 1; // the sum of another type
    comm::Mesh::collective(&mesh, int64_t(another), between.data(), other.data(), count / 2);
    for (int polls = 0; polls < 1000 && comm::Mesh::poll(&mesh); ++polls)
      ;
    for (size_t i = 0; i < sums.size(); ++i)
      comm::Mesh::wait(&mesh, int64_t(sums[i]));
    if (!comm.lost.empty())
      return "in flight: " + comm.lost;
    for (size_t i = 0; i < sums.size(); ++i)
      if (want[i] != got[i])
        return "what was in flight has other bits, axes " + std::to_string(infos[sums[i]].axes);
    return "";
  }
};
} // namespace

std::string checkCollectives(snug_comm &comm, uint32_t d1, uint32_t d2, bool inOrder) {
  static const snug_dtype types[] = {{0, 8, 1},  {0, 16, 1}, {0, 32, 1}, {0, 64, 1}, {1, 8, 1},  {1, 16, 1}, {1, 32, 1},
                                     {1, 64, 1}, {2, 16, 1}, {2, 32, 1}, {2, 64, 1}, {4, 16, 1}, {6, 8, 1}};
  Checker checker{comm, d1, d2, inOrder, {}};
  for (uint32_t axes : {1u, 2u, 3u}) {
    for (uint32_t kind : {SNUG_ALL_REDUCE, SNUG_REDUCE_SCATTER})
      for (snug_dtype type : types)
        for (uint32_t reduction : {SNUG_REDUCE_SUM, SNUG_REDUCE_MAX, SNUG_REDUCE_MIN, SNUG_REDUCE_PROD})
          checker.infos.push_back({kind, axes, reduction, type, ""});
    for (uint32_t kind : {SNUG_ALL_GATHER, SNUG_ALL_TO_ALL, SNUG_SHIFT})
      for (snug_dtype type : {snug_dtype{2, 32, 1}, snug_dtype{0, 8, 1}, snug_dtype{5, 128, 1}})
        checker.infos.push_back({kind, axes, 0, type, ""});
  }
  snug_model_header header{};
  header.struct_size = sizeof(header);
  header.mesh[0] = d1;
  header.mesh[1] = d2;
  header.num_collectives = uint32_t(checker.infos.size());
  header.collectives = checker.infos.data();
  comm::Mesh mesh(comm, header);
  mesh.openGroups();
  if (mesh.index()[0] != comm.rank() / d2 || mesh.index()[1] != comm.rank() % d2)
    return "the place in the mesh is wrong";
  if (std::string wrong = checker.checkInFlight(mesh); !wrong.empty())
    return wrong;
  // Between processes, which take their time, each collective is checked in one of these ways. Large ones are sent in pieces of
  // 32 KiB, the last of which is not full.
  for (size_t number = 0; number < checker.infos.size() && !inOrder; ++number) {
    const snug_collective_info &info = checker.infos[number];
    bool isChecked = info.dtype.code == 2 ? info.dtype.bits == 32 : info.dtype.code != 6 && (info.dtype.bits == 8 || info.dtype.bits == 128);
    if (isChecked && info.reduction == SNUG_REDUCE_SUM)
      if (std::string wrong = checker.check(mesh, number, 160021 * 8 / info.dtype.bits, number % 3 == 0, info.kind == SNUG_ALL_REDUCE && number % 2);
          !wrong.empty())
        return wrong;
  }
  for (size_t number = 0; number < checker.infos.size(); ++number)
    for (uint64_t count : {1, 300})
      for (bool exact : {false, true})
        if (inOrder || (number + number / 4) % 4 == (count > 1) * 2u + exact)
          for (bool inPlace : {false, true})
            if ((!inPlace || checker.infos[number].kind == SNUG_ALL_REDUCE) && !(inOrder && exact))
              if (std::string wrong = checker.check(mesh, number, count, exact, inPlace); !wrong.empty())
                return wrong;
  return "";
}
