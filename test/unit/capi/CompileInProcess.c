// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The compiler's C API from C: compile-in-process MODEL FOLDER. Compiles a model from its file and from memory, many
// times, from two threads, and wrongly; exits with 0 where all was as it should be.
#define _POSIX_C_SOURCE 200112L
#include <pthread.h>
#include <signal.h>
#include <snug/Compiler.h>
#include <snug/Runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                                  \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

static const char *model, *folder;

struct said {
  char text[2][4096];
  int not_a_line;
  int crash; // by what is said
};

static void say(void *state, snug_stream stream, const char *text, size_t length) {
  struct said *said = state;
  said->not_a_line += length == 0 || text[length - 1] != '\n';
  if (said->crash == 1) {
    said->crash = 2;
    raise(SIGFPE);
  }
  strncat(said->text[stream - 1], text, length < 2000 ? length : 2000);
}

static snug_exit_code compile(struct said *said, const char **words, uint32_t count, const void *bytes, size_t size) {
  memset(said, 0, sizeof *said);
  snug_compile_request request = {sizeof request, words, count, 0, bytes, size, NULL, say, said};
  snug_exit_code code = snug_compile(&request);
  CHECK(!said->not_a_line);
  return code;
}

static int file_size(const char *path, char *into, long limit) {
  FILE *file = fopen(path, "rb");
  if (!file)
    return -1;
  long size = (long)fread(into, 1, limit, file);
  fclose(file);
  return (int)size;
}

static void *compile_often(void *number) {
  char output[1000];
  snprintf(output, sizeof output, "%s/thread%s.so", folder, (const char *)number);
  struct said said;
  for (int i = 0; i < 5; ++i) {
    const char *words[] = {model, "-o", output};
    CHECK(compile(&said, words, 3, NULL, 0) == SNUG_EXIT_DONE);
  }
  return NULL;
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  model = argv[1], folder = argv[2];
  CHECK(strcmp(snug_compiler_version(), snug_version()) == 0);
  static char onnx[1 << 20], first[1 << 20], second[1 << 20];
  int onnx_size = file_size(model, onnx, sizeof onnx);
  CHECK(onnx_size > 0);
  struct said said;
  char from_file[1000], from_memory[1000];
  snprintf(from_file, sizeof from_file, "%s/file.so", folder);
  snprintf(from_memory, sizeof from_memory, "%s/memory.so", folder);

  const char *words[] = {model, "-o", from_file};
  CHECK(compile(&said, words, 3, NULL, 0) == SNUG_EXIT_DONE);
  CHECK(strstr(said.text[1], "arena ") && said.text[0][0] == 0);
  words[2] = from_memory;
  CHECK(compile(&said, words + 1, 2, onnx, onnx_size) == SNUG_EXIT_DONE);
  int size = file_size(from_file, first, sizeof first);
  CHECK(size > 0 && size == file_size(from_memory, second, sizeof second) && memcmp(first, second, size) == 0);

  // What a flag asks for goes the other way.
  const char *emit[] = {model, "--emit", "plan"};
  CHECK(compile(&said, emit, 3, NULL, 0) == SNUG_EXIT_DONE && strstr(said.text[0], "func.func"));
  const char *help[] = {"--help"};
  CHECK(compile(&said, help, 1, NULL, 0) == SNUG_EXIT_DONE && strstr(said.text[0], "Usage"));

  // Errors are codes and messages, and leave nothing behind.
  remove(from_memory);
  CHECK(compile(&said, words + 1, 2, onnx, onnx_size - 1) == SNUG_EXIT_INVALID && strstr(said.text[1], "model.onnx"));
  CHECK(file_size(from_memory, second, 1) == -1);
  CHECK(compile(&said, words, 3, onnx, onnx_size) == SNUG_EXIT_USAGE && strstr(said.text[1], "in memory"));
  words[0] = "none.onnx";
  CHECK(compile(&said, words, 3, NULL, 0) == SNUG_EXIT_MACHINE && strstr(said.text[1], "none.onnx"));
  const char *wrong[] = {"--no-such-flag"};
  CHECK(compile(&said, wrong, 1, NULL, 0) == SNUG_EXIT_USAGE && strstr(said.text[1], "no-such-flag"));
  CHECK(snug_compile(NULL) == SNUG_EXIT_USAGE);
  snug_compile_request old = {8, words, 3, 0, NULL, 0, NULL, NULL, NULL};
  CHECK(snug_compile(&old) == SNUG_EXIT_USAGE);
  snug_compile_request silent = {sizeof silent, wrong, 1, SNUG_COMPILE_KEEP_SIGNALS, NULL, 0, NULL, NULL, NULL};
  CHECK(snug_compile(&silent) == SNUG_EXIT_USAGE);

  // A crash on the compiler's thread is an error like others, and the next compilation works.
  memset(&said, 0, sizeof said);
  said.crash = 1;
  snug_compile_request crashing = {sizeof crashing, wrong, 1, 0, NULL, 0, NULL, say, &said};
  CHECK(signal(SIGFPE, SIG_IGN) == SIG_DFL);
  CHECK(snug_compile(&crashing) == SNUG_EXIT_FAULT && said.crash == 2 && strstr(said.text[1], "please report"));
  CHECK(signal(SIGFPE, SIG_DFL) == SIG_IGN);

  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, compile_often, "1") == 0);
  compile_often("2");
  pthread_join(thread, NULL);

  snug_model *library; // and what was compiled here runs here
  CHECK(snug_model_load(from_file, &library) == NULL);
  CHECK(snug_model_num_outputs(library) == 1);
  snug_model_release(library);
  return 0;
}
