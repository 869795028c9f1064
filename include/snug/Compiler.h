// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The C API of the compiler: snugc as a function, for programs that compile many models or must not start others. Link
// with libsnug_compiler; it needs LLVM and MLIR, which running a compiled model does not.
//
//   static void say(void *state, snug_stream stream, const char *text, size_t length) { fwrite(text, 1, length, stderr); }
//   const char *words[] = {"model.onnx", "-o", "model.so", "--dim", "batch=1"};
//   snug_compile_request request = {sizeof request, words, 5, 0, NULL, 0, NULL, say, NULL};
//   snug_exit_code code = snug_compile(&request);
#ifndef SNUG_COMPILER_H
#define SNUG_COMPILER_H

#include "snug/ExitCodes.h"

#include <stddef.h>
#include <stdint.h>

#ifndef SNUG_API
#define SNUG_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

// Version of the compiler as "major.minor.patch". Static string; any thread.
SNUG_API const char *snug_compiler_version(void);

typedef enum snug_stream {
  SNUG_STREAM_OUTPUT = 1,  // what a flag asks for: IR of --emit, tables, --help
  SNUG_STREAM_MESSAGES = 2 // errors, warnings, remarks, the summary: one a line, as snugc prints them
} snug_stream;

// Takes `length` bytes of UTF-8, which end with a whole line and are not kept. Called on a thread of the compiler's while
// the caller of snug_compile waits; must return.
typedef void (*snug_say_fn)(void *state, snug_stream stream, const char *text, size_t length);

enum {
  // Leave the process's handlers of SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP and SIGABRT alone: a crash of the compiler
  // then is a crash of the process.
  SNUG_COMPILE_KEEP_SIGNALS = 1
};

typedef struct snug_compile_request {
  size_t struct_size; // sizeof(snug_compile_request)
  // The words of snugc's command line, without its own name: docs/command-line.md has them all. Paths are relative to the
  // working directory.
  const char *const *words;
  uint32_t num_words;
  uint32_t flags; // of SNUG_COMPILE_*
  // The model, where it is in memory: what an .onnx file holds. NULL: the words name the file. Else they name none, and
  // the model is called `model_name` (NULL: "model.onnx") in messages and in the library. It has no external data.
  const void *model;
  uint64_t model_bytes;
  const char *model_name;
  snug_say_fn say; // NULL: nothing is said
  void *say_state;
} snug_compile_request;

// Does what snugc does and returns what snugc exits with (snug/ExitCodes.h). Nothing of the request is kept; on any code
// but SNUG_EXIT_DONE no output file is left behind. Calls do not affect each other, and may be made from any number of
// threads at once if their outputs differ; each works on a thread of its own with 8 MiB of stack.
// A crash or fatal error of the compiler is SNUG_EXIT_FAULT, and costs the memory that it had: to that end the signals
// of SNUG_COMPILE_KEEP_SIGNALS are handled for as long as a compilation runs. (LLVM's worker threads are watched while
// they generate code.)
SNUG_API snug_exit_code snug_compile(const snug_compile_request *request);

#ifdef __cplusplus
}
#endif
#endif
