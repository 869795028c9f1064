// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the readers of small JSON files share: exact sets of keys, numbers within a range, and one message for the first
// thing that is wrong. No value of a file reaches an exception.
#ifndef SNUG_LIB_SOLVER_JSONREADER_H
#define SNUG_LIB_SOLVER_JSONREADER_H

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace snug {

using Json = nlohmann::ordered_json;

class JsonReader {
public:
  explicit JsonReader(std::string &error) : error(error) {}

protected:
  std::nullopt_t fail(const std::string &message) {
    error = message;
    return std::nullopt;
  }

  /// The text as one JSON object.
  std::optional<Json> object(const std::string &text) {
    Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded() || !json.is_object())
      return fail("it is no JSON object");
    return json;
  }

  /// Whether the object has the keys that are required, and none that is not known.
  bool keysAre(const Json &object, const std::string &prefix, const std::vector<std::string> &required,
               const std::vector<std::string> &optional = {}) {
    auto has = [](const std::vector<std::string> &list, const std::string &key) {
      return std::find(list.begin(), list.end(), key) != list.end();
    };
    for (const auto &[key, value] : object.items())
      if (!has(required, key) && !has(optional, key))
        return fail("it has a key that is not known, '" + prefix + key + "'"), false;
    for (const std::string &key : required)
      if (!object.contains(key))
        return fail("it lacks the key '" + prefix + key + "'"), false;
    return true;
  }

  /// `result` is the number times its unit; the range is in the file's unit.
  bool number(const Json &json, const std::string &key, const Json &least, const Json &most, double unit,
              double &result) {
    if (!json.is_number() || !(json.get<double>() >= least.get<double>() && json.get<double>() <= most.get<double>()))
      return fail("'" + key + "' is " + text(json) + ", not a number from " + text(least) + " to " + text(most)), false;
    result = json.get<double>() * unit;
    return true;
  }

  bool integer(const Json &json, const std::string &key, int64_t least, int64_t most, int64_t &result) {
    double value = 0;
    if (!number(json, key, least, most, 1, value))
      return false;
    result = static_cast<int64_t>(value);
    return static_cast<double>(result) == value ||
           (fail("'" + key + "' is " + text(json) + ", not a whole number"), false);
  }

  static std::string text(const Json &json) { return json.dump(-1, ' ', true, Json::error_handler_t::replace); }

private:
  std::string &error;
};

} // namespace snug

#endif
