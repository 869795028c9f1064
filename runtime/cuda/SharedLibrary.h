// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_RUNTIME_CUDA_SHARED_LIBRARY_H
#define SNUG_RUNTIME_CUDA_SHARED_LIBRARY_H

#include <dlfcn.h>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>

namespace snug::cuda {

// The first library of these names that the loader finds. It is never closed, as it may have threads of its own.
class SharedLibrary {
public:
  explicit SharedLibrary(std::initializer_list<const char *> names) {
    for (const char *one : names) {
      if ((handle = dlopen(one, RTLD_NOW | RTLD_LOCAL))) {
        name = one;
        return;
      }
      const char *why = dlerror();
      problem += (problem.empty() ? "" : "; ") + std::string(why ? why : one);
    }
  }
  // Sets a pointer to a function; what is not there is kept in `lacks`.
  template <class Function> void find(const char *function, Function *&pointer) {
    void *found = dlsym(handle, function);
    lacks = found ? lacks : function;
    pointer = reinterpret_cast<Function *>(found);
  }

  void *handle = nullptr;
  std::string name, problem; // why there is none
  const char *lacks = nullptr;
};

// The one table of a library's functions, which `open` makes for whoever is first to ask; where that throws, the next one tries again. Any
// thread.
template <class Table> const Table &openedOnce(std::unique_ptr<Table> (*open)()) {
  static std::mutex mutex;
  static std::unique_ptr<Table> opened;
  std::lock_guard<std::mutex> lock(mutex);
  if (!opened)
    opened = open();
  return *opened;
}

} // namespace snug::cuda

#endif
