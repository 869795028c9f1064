// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "snug/Compiler.h"
#include "lib/driver/Command.h"
#include "lib/driver/Faults.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include <mutex>
#include <new>

using namespace snug;

namespace {
// Gives whole lines to the caller.
class SayStream : public llvm::raw_ostream {
public:
  SayStream(const snug_compile_request &request, snug_stream stream)
      : llvm::raw_ostream(/*unbuffered=*/true), request(request), stream(stream) {}
  ~SayStream() override { say(line); }

private:
  void write_impl(const char *text, size_t size) override {
    position += size;
    line.append(text, size);
    size_t end = line.rfind('\n');
    if (end == std::string::npos)
      return;
    std::string rest = line.substr(end + 1);
    line.resize(end + 1);
    say(line);
    line = std::move(rest);
  }
  void say(const std::string &text) const {
    if (request.say && !text.empty())
      request.say(request.say_state, stream, text.data(), text.size());
  }
  uint64_t current_pos() const override { return position; }

  const snug_compile_request &request;
  snug_stream stream;
  std::string line;
  uint64_t position = 0;
};

// Where this thread's compilation says things, for LLVM's fatal errors.
thread_local const Console *current = nullptr;

// Crashes are caught while one compilation wants it. LLVM has one switch for the process.
class CrashRecovery {
public:
  explicit CrashRecovery(bool wanted) : wanted(wanted) {
    static std::once_flag once;
    std::call_once(once, [] { // else LLVM ends the process
      llvm::install_fatal_error_handler([](void *, const char *reason, bool) {
        auto *context = llvm::CrashRecoveryContext::GetCurrent();
        if (!context)
          return;
        if (current)
          current->fail(SNUG_EXIT_FAULT, llvm::Twine("internal fault: ") + reason);
        context->HandleExit(SNUG_EXIT_FAULT);
      });
    });
    std::lock_guard<std::mutex> lock(mutex);
    if (wanted && users++ == 0)
      llvm::CrashRecoveryContext::Enable();
  }
  ~CrashRecovery() {
    std::lock_guard<std::mutex> lock(mutex);
    if (wanted && --users == 0)
      llvm::CrashRecoveryContext::Disable();
  }

private:
  bool wanted;
  static std::mutex mutex;
  static unsigned users;
};
std::mutex CrashRecovery::mutex;
unsigned CrashRecovery::users = 0;

// What -o names, which a crash leaves half written.
std::string outputOf(const std::vector<std::string> &words) {
  for (size_t i = 1; i < words.size(); ++i) {
    llvm::StringRef word = words[i];
    if (word == "-o" || word == "--output")
      return i + 1 < words.size() ? words[i + 1] : "";
    if (word.consume_front("--output=") || word.consume_front("-o"))
      return word.str();
  }
  return "";
}
} // namespace

const char *snug_compiler_version(void) { return SNUG_VERSION; }

snug_exit_code snug_compile(const snug_compile_request *request) {
  if (!request || request->struct_size < sizeof(snug_compile_request) || (request->num_words && !request->words))
    return SNUG_EXIT_USAGE;
  SayStream messages(*request, SNUG_STREAM_MESSAGES), output(*request, SNUG_STREAM_OUTPUT);
  CommandContext context{{&messages, &output}, std::nullopt, request->model_name ? request->model_name : "model.onnx"};
  if (request->model)
    context.modelBytes = std::string_view(static_cast<const char *>(request->model), request->model_bytes);
  std::vector<std::string> words = {"snugc"};
  words.insert(words.end(), request->words, request->words + request->num_words);

  CrashRecovery recovery(!(request->flags & SNUG_COMPILE_KEEP_SIGNALS));
  llvm::CrashRecoveryContext guard;
  int code = SNUG_EXIT_FAULT;
  auto work = [&] {
    current = &context.console;
    try {
      code = runCommand(words, context);
    } catch (const std::bad_alloc &) {
      code = context.console.fail(SNUG_EXIT_MACHINE, outOfMemory());
    }
  };
  if (!guard.RunSafelyOnThread(work, /*RequestedStackSize=*/8 << 20)) {
    code = SNUG_EXIT_FAULT;
    if (guard.RetCode != SNUG_EXIT_FAULT) // else the reason was said
      context.console.fail(code, "internal fault: the compiler crashed");
    messages << "snugc: " << howToReport() << "\n";
    for (const std::string &path : partialFiles(outputOf(words)))
      llvm::sys::fs::remove(path);
  }
  return static_cast<snug_exit_code>(code);
}
