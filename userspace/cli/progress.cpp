// SPDX-License-Identifier: GPL-2.0-or-later
#include "progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/size.h"

namespace diffsnap::cli {
namespace {

using namespace std::chrono_literals;

/** "1:02:03", "2:03" */
std::string clock_text(std::uint64_t seconds) {
  char text[40];
  const auto hours = static_cast<unsigned long>(seconds / 3600);
  const auto minutes = static_cast<unsigned>(seconds / 60 % 60);
  const auto rest = static_cast<unsigned>(seconds % 60);

  if (hours > 0) {
    std::snprintf(text, sizeof(text), "%lu:%02u:%02u", hours, minutes, rest);
  } else {
    std::snprintf(text, sizeof(text), "%u:%02u", minutes, rest);
  }
  return text;
}

}  // namespace

ProgressStyle progress_style(bool wanted) {
  if (::isatty(STDERR_FILENO) != 0) {
    return ProgressStyle::terminal;
  }
  return wanted ? ProgressStyle::lines : ProgressStyle::none;
}

Progress::Progress(std::ostream &err, ProgressStyle style, std::optional<std::uint64_t> total,
                   Clock::time_point now)
    : err_(err), style_(style), total_(total), start_(now), shown_(now) {}

Progress::~Progress() {
  if (width_ > 0) {
    err_ << '\r' << std::string(width_, ' ') << '\r' << std::flush;
  }
}

void Progress::update(std::uint64_t bytes, Clock::time_point now) {
  const auto interval = style_ == ProgressStyle::terminal ? Clock::duration(500ms) : Clock::duration(10s);
  if (style_ == ProgressStyle::none || now - shown_ < interval) {
    return;
  }
  shown_ = now;
  const std::string text = describe(bytes, now);
  if (style_ == ProgressStyle::lines) {
    err_ << text << '\n' << std::flush;
    return;
  }
  const std::size_t blank = width_ > text.size() ? width_ - text.size() : 0;
  err_ << '\r' << text << std::string(blank, ' ') << std::flush;
  width_ = text.size();
}

std::string Progress::describe(std::uint64_t bytes, Clock::time_point now) const {
  const double seconds = std::max(std::chrono::duration<double>(now - start_).count(), 0.001);
  const auto rate = static_cast<std::uint64_t>(static_cast<double>(bytes) / seconds);
  std::string text = "  " + format_size(bytes, 'h');

  if (total_ && *total_ > 0) {
    char percent[16];
    std::snprintf(percent, sizeof(percent), "%.1f%%",
                  100.0 * static_cast<double>(bytes) / static_cast<double>(*total_));
    text += " of " + format_size(*total_, 'h') + " (" + percent + ")";
  }
  text += ", " + format_size(rate, 'h') + "/s";
  if (total_ && rate > 0 && *total_ > bytes) {
    text += ", " + clock_text((*total_ - bytes) / rate) + " left";
  }
  return text;
}

}  // namespace diffsnap::cli
