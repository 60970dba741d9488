// SPDX-License-Identifier: GPL-2.0-or-later
//
// The only file that includes libgcrypt.
#include "stream/sha256.h"

#include <gcrypt.h>

#include <cerrno>

#include "base/error.h"

namespace diffsnap::stream {

struct Sha256::State {
  gcry_md_hd_t handle = nullptr;

  State() {
    // A program that uses the library for more has set it up before.
    if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P) == 0) {
      static_cast<void>(gcry_check_version(nullptr));
      gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
      gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    }
    if (gcry_md_open(&handle, GCRY_MD_SHA256, 0) != 0) {
      throw Error("compute", "a SHA-256", ENOSYS, "libgcrypt does not do it");
    }
  }
  State(const State &) = delete;
  State &operator=(const State &) = delete;
  ~State() { gcry_md_close(handle); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}

Sha256::~Sha256() = default;

void Sha256::add(const void *data, std::size_t length) noexcept {
  gcry_md_write(state_->handle, data, length);
}

std::string Sha256::finish() {
  constexpr const char *digits = "0123456789abcdef";
  const unsigned char *digest = gcry_md_read(state_->handle, GCRY_MD_SHA256);
  std::string text;
  for (unsigned i = 0; i < gcry_md_get_algo_dlen(GCRY_MD_SHA256); ++i) {
    text += digits[digest[i] >> 4];
    text += digits[digest[i] & 15];
  }
  return text;
}

void HashingSink::write(const void *data, std::size_t length) {
  sink_.write(data, length);
  sum_.add(data, length);
  bytes_ += length;
}

}  // namespace diffsnap::stream
