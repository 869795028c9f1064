// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// MPI's libraries differ between implementations, so what calls MPI is a library of its own, built against the system's
// and opened when it is asked for: the runtime itself runs where there is none.

#include "runtime/comm/Comm.h"
#include "runtime/core/Error.h"

#include <dlfcn.h>
#include <unistd.h>

using namespace snug;

static constexpr char kLibrary[] = "libsnug_comm_mpi.so";

// Beside this library, else where the system looks for libraries.
static std::string libraryPath() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void *>(&snug_version), &info) && info.dli_fname) {
    std::string own = info.dli_fname;
    if (size_t slash = own.rfind('/'); slash != std::string::npos)
      if (std::string beside = own.substr(0, slash + 1) + kLibrary; access(beside.c_str(), R_OK) == 0)
        return beside;
  }
  return kLibrary;
}

snug_transport comm::openMpi(const void *communicator) {
  // Global: MPI's own plugins look for symbols of MPI. It is never closed, as MPI leaves handlers behind.
  void *library = dlopen(libraryPath().c_str(), RTLD_NOW | RTLD_GLOBAL);
  void *open = library ? dlsym(library, SNUG_TRANSPORT_OPEN_SYMBOL) : nullptr;
  if (!open) {
    const char *why = dlerror();
    throw Failure(SNUG_EXIT_MACHINE, std::string("there is no MPI to run on: ") + (why ? why : kLibrary) +
                                         "; install Snug's package for MPI (snug-mpi), or build Snug where MPI is installed");
  }
  snug_transport transport{};
  if (const char *why = reinterpret_cast<snug_transport_open_fn>(open)(communicator, &transport))
    throw Failure(SNUG_EXIT_MACHINE, std::string("MPI cannot be used: ") + why);
  return transport;
}
