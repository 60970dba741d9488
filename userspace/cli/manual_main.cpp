// SPDX-License-Identifier: GPL-2.0-or-later
//
// Used at build time only: fills the option parts of a manual page, or writes the completion for bash.
#include <fstream>
#include <iostream>
#include <string>

#include "usage.h"

int main(int argc, char **argv) {
  using namespace diffsnap::cli;

  if (argc == 2 && std::string(argv[1]) == "--bash-completion") {
    print_bash_completion(std::cout);
  } else if (argc == 2 || argc == 3) {
    std::ifstream page(argv[1]);
    const Command *command = argc == 3 ? find_command(argv[2]) : nullptr;
    if (!page || (argc == 3 && !command)) {
      std::cerr << argv[0] << ": cannot fill " << argv[1] << ": no such page or command\n";
      return 1;
    }
    fill_manual(std::cout, page, command);
  } else {
    std::cerr << "Usage: " << argv[0] << " --bash-completion | PAGE [COMMAND]\n";
    return 1;
  }
  return std::cout.flush() ? 0 : 1;
}
