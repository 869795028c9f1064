// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/Command.h"
#include "lib/driver/Faults.h"

int main(int argc, char **argv) {
  snug::installFaultHandlers();
  return snug::runCommand(std::vector<std::string>(argv, argv + argc));
}
