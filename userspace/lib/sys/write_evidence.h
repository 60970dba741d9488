// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What tells whether a block device was written to while nobody of ours was looking. */
#ifndef DIFFSNAP_SYS_WRITE_EVIDENCE_H
#define DIFFSNAP_SYS_WRITE_EVIDENCE_H

#include <string>

#include "base/device_id.h"

namespace diffsnap::sys {

/** Read at two moments, to be compared. Each may be empty: not known. */
struct WriteEvidence {
  /** Of the kernel's device: this boot, the kernel's sequence number of the disk, a partition's place. A
   * device that is made anew has another one. */
  std::string incarnation;
  /** How much was written to and discarded from the incarnation so far; of a partition also what went to its
   * disk past all partitions. Empty if the kernel does not count, which a read tells. */
  std::string writes;
  /** Of the device itself, on any boot: the UUID of a dm device, a disk's serial number, a partition's place.
   */
  std::string identity;
  /** Type and super block (bytes) of a file system that changes it, durably, before it lets anything be
   * written, so that a crash right afterwards shows as well: ext2 to ext4. */
  std::string superblock;
};

/** Reads past the page cache. What cannot be read is empty. */
[[nodiscard]] WriteEvidence read_write_evidence(DeviceId id);

/** Whether the disk of a WriteEvidence::incarnation is there, as that incarnation. */
[[nodiscard]] bool is_incarnation_present(const std::string &incarnation);

}  // namespace diffsnap::sys

#endif
