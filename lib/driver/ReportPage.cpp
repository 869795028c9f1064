// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/ReportPage.h"
#include "lib/driver/PageParts.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Base64.h"
#include "llvm/Support/SHA256.h"

using namespace snug;

// As a Content-Security-Policy names the one piece of code, or style, that may be used.
static std::string hashOf(llvm::StringRef text) {
  std::array<uint8_t, 32> hash = llvm::SHA256::hash(llvm::ArrayRef(text.bytes_begin(), text.size()));
  return "'sha256-" + llvm::encodeBase64(hash) + "'";
}

// JSON that can stand in a script element: what could end the element, or open a comment in it, is escaped.
static std::string inScript(llvm::StringRef json) {
  std::string text;
  text.reserve(json.size());
  for (char c : json)
    if (c == '<' || c == '>' || c == '&') {
      text += c == '<' ? "\\u003c" : c == '>' ? "\\u003e" : "\\u0026";
    } else {
      text += c;
    }
  return text;
}

std::string snug::reportPage(const std::string &json) {
  std::string page;
  llvm::StringRef rest = kPageTemplate;
  while (!rest.empty()) {
    auto [before, after] = rest.split("{{");
    page += before;
    auto [name, tail] = after.split("}}");
    if (name == "policy")
      page += "default-src 'none'; script-src " + hashOf(kPageScript) + "; style-src " + hashOf(kPageStyle);
    else if (name == "style")
      page += kPageStyle;
    else if (name == "script")
      page += kPageScript;
    else if (name == "report")
      page += inScript(json);
    rest = tail;
  }
  return page;
}
