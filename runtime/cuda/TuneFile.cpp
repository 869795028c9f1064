// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/TuneFile.h"
#include "runtime/core/Error.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unistd.h>

using namespace snug;
using namespace snug::cuda;
using Json = nlohmann::json;

static constexpr uint64_t kVersion = 1;

static std::string hexOf(const std::vector<uint8_t> &bytes) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (uint8_t byte : bytes)
    text += {digits[byte >> 4], digits[byte & 15]};
  return text;
}

static bool fromHex(const std::string &text, std::vector<uint8_t> &bytes) {
  auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0)
      return false;
    bytes.push_back(uint8_t(high << 4 | low));
  }
  return text.size() % 2 == 0 && !text.empty();
}

void TuneFile::say(const std::string &what) { note += (note.empty() ? "" : "; ") + what; }

bool TuneFile::read() {
  std::ifstream file(path, std::ios::binary);
  if (!file && errno == ENOENT)
    return false;
  std::string text;
  char piece[4096];
  bool isOpen = file.is_open();
  while (file.read(piece, sizeof piece), file.gcount() > 0)
    text.append(piece, size_t(file.gcount()));
  if (!isOpen || file.bad())
    throw Failure(SNUG_EXIT_MACHINE, "cannot read the tuning file '" + path + "': " + strerror(errno));
  auto damaged = [&](const std::string &why) {
    return Failure(SNUG_EXIT_INVALID, "the tuning file '" + path + "' " + why + ": remove it, or write it anew with snug-run --tune");
  };
  Json all = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!all.is_object())
    throw damaged("is damaged (it is no object of JSON)");
  auto member = [&](const Json &of, const char *name, bool (Json::*is)() const noexcept) -> const Json & {
    auto found = of.is_object() ? of.find(name) : of.end();
    if (!of.is_object() || found == of.end() || !((*found).*is)())
      throw damaged(std::string("is damaged ('") + name + "' is not there, or is of another kind)");
    return *found;
  };
  uint64_t version = member(all, "version", &Json::is_number_unsigned).get<uint64_t>();
  if (version != kVersion)
    throw damaged("has version " + std::to_string(version) + " of its form, and this runtime reads " + std::to_string(kVersion));
  std::string made = member(all, "device", &Json::is_string).get<std::string>();
  for (const auto &[name, part] : member(all, "libraries", &Json::is_object).items()) {
    Part &library = libraries[name];
    library.version = member(part, "version", &Json::is_number_unsigned).get<uint64_t>();
    for (const auto &[key, choice] : member(part, "choices", &Json::is_object).items()) {
      Choice &read = library.choices[key];
      read.microseconds = member(choice, "microseconds", &Json::is_number).get<double>();
      if (!fromHex(member(choice, "algorithm", &Json::is_string).get<std::string>(), read.algorithm))
        throw damaged("is damaged (an 'algorithm' is not written in hexadecimal digits)");
    }
  }
  if (made != device) {
    libraries.clear();
    say("'" + path + "' was made on " + made + ", and this is " + device + ": nothing of it is used");
  }
  return true;
}

TuneFile::Choices &TuneFile::of(const std::string &library, uint64_t version) {
  Part &part = libraries[library];
  if (part.version != version && !part.choices.empty()) {
    say("'" + path + "' was made with version " + std::to_string(part.version) + " of " + library + ", and this is " + std::to_string(version) +
        ": nothing of that is used");
    part.choices.clear();
  }
  part.version = version;
  return part.choices;
}

void TuneFile::write() const {
  Json all = {{"version", kVersion}, {"device", device}, {"libraries", Json::object()}};
  for (const auto &[name, part] : libraries) {
    Json choices = Json::object();
    for (const auto &[key, choice] : part.choices)
      choices[key] = {{"algorithm", hexOf(choice.algorithm)}, {"microseconds", choice.microseconds}};
    all["libraries"][name] = {{"version", part.version}, {"choices", choices}};
  }
  // Names come from elsewhere and may be no UTF-8: replaced, never an exception.
  std::string text = all.dump(1, ' ', false, Json::error_handler_t::replace) + "\n", part = path + "." + std::to_string(getpid()) + ".part";
  errno = 0;
  {
    std::ofstream file(part, std::ios::binary);
    file << text;
    file.close();
    if (file && rename(part.c_str(), path.c_str()) == 0)
      return;
  }
  std::string why = strerror(errno);
  remove(part.c_str());
  throw Failure(SNUG_EXIT_MACHINE, "cannot write the tuning file '" + path + "': " + why);
}
