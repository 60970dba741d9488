// SPDX-License-Identifier: GPL-2.0-or-later
#include <iostream>

#include "context.h"

int main(int argc, char **argv) {
  diffsnap::cli::Context context(std::cout, std::cerr);
  return diffsnap::cli::run_tool(context, argc, argv);
}
