// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Reads the files of tests/lines. */
#ifndef DIFFSNAP_TESTS_LINES_H
#define DIFFSNAP_TESTS_LINES_H

#include <fstream>
#include <string>
#include <vector>

namespace diffsnap::test {

/** The lines of a file that count. */
inline std::vector<std::string> read_lines(const std::string &name) {
  std::ifstream file(std::string(DIFFSNAP_TEST_LINES) + '/' + name);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line[0] != '#') {
      lines.push_back(line);
    }
  }
  return lines;
}

struct StatusLine {
  std::string target;
  std::string params;
};

/** The lines of a file of the form `<target> | <parameters>`. */
inline std::vector<StatusLine> read_status_lines(const std::string &name) {
  std::vector<StatusLine> result;
  for (const std::string &line : read_lines(name)) {
    const auto bar = line.find(" |");
    const auto params = line.substr(bar + 2);
    result.push_back({line.substr(0, bar), params.empty() ? params : params.substr(1)});
  }
  return result;
}

}  // namespace diffsnap::test

#endif
