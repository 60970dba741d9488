// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Memory that direct I/O can use. */
#ifndef DIFFSNAP_BASE_ALIGNED_BUFFER_H
#define DIFFSNAP_BASE_ALIGNED_BUFFER_H

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace diffsnap {

/** What direct I/O is aligned to here, in memory and on devices: as much as any device asks for. */
inline constexpr std::size_t direct_alignment = 4096;

/** Aligned to direct_alignment, not initialised. Movable, not copyable. */
class AlignedBuffer {
 public:
  /** @param size  a multiple of direct_alignment. Throws std::bad_alloc. */
  explicit AlignedBuffer(std::size_t size)
      : data_(static_cast<unsigned char *>(std::aligned_alloc(direct_alignment, size))), size_(size) {
    if (!data_) {
      throw std::bad_alloc();
    }
  }

  [[nodiscard]] unsigned char *data() const noexcept { return data_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  struct Free {
    void operator()(void *memory) const noexcept { std::free(memory); }
  };
  std::unique_ptr<unsigned char, Free> data_;
  std::size_t size_;
};

}  // namespace diffsnap

#endif
