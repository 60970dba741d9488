// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * libdiffsnap: snapshots of sets of block devices, and what changed between them, for backup programs.
 *
 * The life of a backup: attach() puts the origin target on each device, once; from then on it tracks what
 * is written. create() makes a snapshot of any number of origins at one instant. changes() lists what of an
 * image is to be read; the image is a block device, to be opened by its path. remove() ends the snapshot,
 * the tracker goes on. libdiffsnap(3) is the overview, diffsnap(8) explains the notions.
 *
 * Units: offsets, lengths and sizes are bytes, everywhere.
 *
 * Errors: everything that can fail throws std::system_error. Its code() is an errno value of
 * std::generic_category(), to act on; each function names those that mean something of their own, and any
 * other may come from the kernel. what() is `cannot <verb> <object>: <reason>`, to be shown. Nothing that
 * failed has changed anything, unless said otherwise. std::bad_alloc may come from everywhere.
 *
 * Ownership: all results are values, good for as long as the caller likes. What they say was so when they
 * were made. Snapshots and origins belong to the system, not to the process: they stay when it ends, and
 * any other process may use and remove them. Processes that change devices wait for each other.
 *
 * Threads: the calls of one process must not overlap, be they of one object or of several, and neither may
 * they overlap with other uses of libdevmapper. Reading images is no call: any number of threads may do
 * that at any time.
 *
 * Rights: all of it needs root's (CAP_SYS_ADMIN).
 */
#ifndef DIFFSNAP_DIFFSNAP_H
#define DIFFSNAP_DIFFSNAP_H

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace diffsnap {

/** What stands behind the classes below: known to the library and to its own tests only. */
namespace api {
struct ChangesState;
struct ManagerState;
}  // namespace api

// In the name of every symbol, so that programs never run with a library of another interface. Users need not
// write it; the library itself must, for it has names of its own beside these.
#ifdef DIFFSNAP_INTERNAL
namespace v0 {
#else
inline namespace v0 {
#endif

/** The version of the library, "1.2.3". Needs neither kernel nor rights. */
[[nodiscard]] const char *version() noexcept;

/** What the kernel has, as "1.2.3". */
struct KernelVersions {
  /** Of the module's origin target. */
  std::string module;
  /** Of device-mapper's interface. */
  std::string device_mapper;
};

struct Range {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

/**
 * The name of a snapshot of one origin, for ever: to be kept with the backup that was made of it, so that
 * the next one can ask what changed since.
 */
struct ChangeId {
  /** A UUID. Another one means that writes may have passed unseen in between: a full backup is due. */
  std::string generation;
  /** Snapshots count from 1; 0 is the beginning of the generation. */
  std::uint64_t number = 0;

  /** "GENERATION:N", as the tool writes and reads it. */
  [[nodiscard]] std::string to_string() const;
  /** The reverse of to_string(). EINVAL for anything else. */
  [[nodiscard]] static ChangeId parse(std::string_view text);
};
[[nodiscard]] bool operator==(const ChangeId &a, const ChangeId &b) noexcept;
[[nodiscard]] bool operator!=(const ChangeId &a, const ChangeId &b) noexcept;

/** A device that is protected and tracked. */
struct Origin {
  /** Its device-mapper name. */
  std::string name;
  /** /dev/mapper/NAME: what its users have to open. */
  std::string path;
  std::uint64_t size = 0;
  /** The unit in which changes are tracked. */
  std::uint64_t tracking_block = 0;
  /** Of its newest snapshot. The generation is empty if the kernel's answer was not understood. */
  ChangeId newest;
  /** The snapshot that it belongs to; empty if there is none. */
  std::string snapshot;
};

/** A block device that shows an origin as it was when a snapshot was made. */
struct Image {
  std::string snapshot;
  /** The origin's name at that time. */
  std::string origin;
  /** To be opened for reading; /dev/diffsnap/SNAPSHOT/ORIGIN where the project's udev rules are installed. */
  std::string path;
  std::uint64_t size = 0;
  /** Nothing once the snapshot was given up or the origin has gone: the image is of no use for a backup. */
  std::optional<ChangeId> id;
};

enum class SnapshotState {
  /** Not made yet: its origins are not held. */
  fresh,
  active,
  /** Active, with less room in the store than the low-water mark says. */
  low,
  /** Given up, because the store was full. Reads of images fail from then on. */
  overflow,
  /** Given up for another reason. Reads of images fail from then on. */
  invalid,
  /** Its end was begun; to be removed. */
  dropped,
  /** What the kernel says is not understood. */
  unknown,
};

struct Snapshot {
  std::string name;
  /** 32 hex digits that no other snapshot has or had. */
  std::string id;
  /** Nothing if it was made by other means. */
  std::optional<std::chrono::system_clock::time_point> created;
  SnapshotState state = SnapshotState::unknown;
  /** Why it was given up, in words; empty if it was not. */
  std::string reason;
  std::uint64_t store_size = 0;
  std::uint64_t store_used = 0;
  /** The number of its last event, for wait(). */
  std::uint32_t event = 0;
  /** In the order of the origins as they were given. */
  std::vector<Image> images;
};

/**
 * Where old contents are kept: a block device or a range of one, without the first and the last MiB of the
 * device. What is there is overwritten.
 */
struct Store {
  /** Any path to the device, `UUID=...`, or "major:minor". */
  std::string device;
  /** Offset and length are multiples of 512. Nothing: the whole device. */
  std::optional<Range> range = std::nullopt;
};

struct AttachOptions {
  /**
   * The origin's device-mapper name, for a device that has none yet; empty: the kernel's name of the
   * device.
   */
  std::string name;
  /** A power of two from 4 KiB to 16 MiB; nothing: 64 KiB. */
  std::optional<std::uint64_t> tracking_block;
};

struct AttachResult {
  Origin origin;
  /** Why the tracker does not go on as detach() left it, in words: a full backup is due. Empty if it does, or
   * if nothing was left. */
  std::string tracker_lost;
};

struct DetachResult {
  /** Why what the tracker knew could not be kept, in words: a full backup is due after the next attach().
   * Empty if it was, or if there was nothing to keep. */
  std::string tracker_lost;
};

struct CreateOptions {
  /** Letters, digits and `+_.-`, not beginning with `-`. Must be given. */
  std::string name;
  /** Origins by name or by any path to the device, each once. At least one. */
  std::vector<std::string> origins;
  /** At least one, and none on an origin. */
  std::vector<Store> stores;
  /**
   * Freeze the file systems on the origins for the moment of the cut. Meanwhile the memory of the process
   * is locked, all signals of the calling thread are blocked, and a child process stands by to thaw; see
   * libdiffsnap(3). Without, images are as after a power failure.
   */
  bool freeze = true;
  /** Unit of copy-on-write, a power of two from 4 KiB to 1 MiB. */
  std::uint64_t chunk = 4096;
  /** Use no more of the stores than this, from the front; nothing: all. */
  std::optional<std::uint64_t> store_limit;
  /** Raise an event when less than this is free; nothing: never. */
  std::optional<std::uint64_t> low_water;
  /** Limit of the memory for old contents on their way to the store, at least 2 MiB; nothing: 32 MiB. */
  std::optional<std::uint64_t> buffer;
  /**
   * How long first writes wait for extend() when the store is full, at most 60 s; zero: the snapshot is given
   * up at once.
   */
  std::chrono::milliseconds full_wait{0};
  /** How long writes in flight may take to end before the cut is given up, at most 60 s; nothing: 1 s. */
  std::optional<std::chrono::milliseconds> cut_limit;
  /** Overwrite stores that hold data, and take ranges of devices that others use other ranges of; never what
   * is mounted, swapped to or an origin's. */
  bool force = false;
};

struct CreateResult {
  Snapshot snapshot;
  /** How long file systems were frozen, and how long writes were held back. */
  std::chrono::nanoseconds frozen{0};
  std::chrono::nanoseconds held{0};
  /** Mount points of file systems that know no freezing: their images are as after a power failure. */
  std::vector<std::string> not_frozen;
};

struct Event {
  /** To be given to the next wait(). */
  std::uint32_t number = 0;
  /** As it is after the event: its state tells what happened. */
  Snapshot snapshot;
};

/**
 * A list of ranges that is asked for while it is read, in bounded memory however large the device is. To be
 * moved, not copied. May outlive its Manager. For the calls of its functions the same holds as for a
 * Manager's.
 */
class Changes {
 public:
  Changes(Changes &&other) noexcept;
  Changes &operator=(Changes &&other) noexcept;
  ~Changes();

  /** The image that is listed. Its id is that of this snapshot: the `since` of the next backup. */
  [[nodiscard]] const Image &image() const noexcept;

  /**
   * The next range: ascending, apart from the last one, within the image. Nothing at the end, and only if
   * the snapshot was in order up to then: whatever was listed before an error is not all.
   *
   * Meanwhile ESTALE: the generation ended. EIO: the snapshot was given up. ENOENT: it was removed.
   */
  [[nodiscard]] std::optional<Range> next();

 private:
  friend class Manager;
  explicit Changes(std::unique_ptr<api::ChangesState> state) noexcept;
  std::unique_ptr<api::ChangesState> state_;
};

/**
 * This machine's origins and snapshots. Holds no more than an open connection to device-mapper: any number
 * of them may be made and ended without a change to anything. To be moved, not copied.
 *
 * An origin is given by its name, or by any path to its device or to the device below it. EBUSY may always
 * mean that somebody else is at work on the device.
 */
class Manager {
 public:
  /** EACCES, EPERM: no rights. ENODEV: the module dm-diffsnap is not loaded. */
  Manager();
  Manager(Manager &&other) noexcept;
  Manager &operator=(Manager &&other) noexcept;
  ~Manager();

  [[nodiscard]] KernelVersions kernel_versions();

  /**
   * Puts the origin target on a device, given as Store::device is, or by a mount point. A device-mapper
   * device (a logical volume, LUKS) may be in use and keeps its name and its users; users of any other one
   * go through Origin::path from now on. Its tracker goes on as detach() left it, if the device shows that it
   * was not written to since: the same generation in Origin::newest says so, else AttachResult::tracker_lost
   * why not.
   *
   * EEXIST: it is an origin already, or the name is taken. EBUSY: it is in use, and no device-mapper
   * device. EOPNOTSUPP: it cannot be an origin. ENOENT, ENOTBLK, ENODEV: there is no such device. EINVAL: a
   * name or size that cannot be.
   */
  AttachResult attach(const std::string &device, const AttachOptions &options = {});

  /**
   * Takes the origin target off again, live where it was put on live. What the tracker knows is kept for the
   * next attach() if the device is not in use; see diffsnap-attach(8). That it could not be is no error.
   *
   * EBUSY: a snapshot holds it, or it is in use and was not attached live. ENODEV: it is no origin.
   */
  DetachResult detach(const std::string &origin);

  [[nodiscard]] std::vector<Origin> origins();
  /** Nothing if it is no origin. ENOENT, ENOTBLK, ENODEV: there is no such device at all. */
  [[nodiscard]] std::optional<Origin> find_origin(const std::string &origin);

  /**
   * Says that ranges of an origin are to be taken for changed. They are widened to whole tracking blocks.
   *
   * EINVAL: a range ends beyond the origin's end; nothing is marked then. ENODEV: it is no origin. On any
   * other error some may have been marked, which costs the next backup a little and no more.
   */
  void mark(const std::string &origin, const std::vector<Range> &ranges);

  /**
   * Makes a snapshot of all origins at one instant. When it returns, all images can be opened. From before
   * the cut until then, HUP, INT, QUIT and TERM are blocked for the calling thread.
   *
   * EEXIST: there is a snapshot of that name, an origin was given twice, or a store holds data. ENODEV: one
   * is no origin. EBUSY: another snapshot holds an origin, or a store is in use. EDEADLK: a store lies on
   * an origin. EINVAL: a name, size or store that cannot be. ENOSPC: no room in the stores. ETIMEDOUT:
   * writes in flight did not end within the limit, or file systems stayed frozen for too long. EINTR: one
   * of those signals has come.
   */
  CreateResult create(const CreateOptions &options);

  /**
   * Adds stores to a snapshot while it is held. @return the size of all of them.
   *
   * ENOENT: there is no such snapshot. EINVAL: it was given up. For stores as create().
   * @param force  as in CreateOptions
   */
  std::uint64_t extend(const std::string &snapshot, const std::vector<Store> &stores, bool force = false);

  [[nodiscard]] std::vector<Snapshot> snapshots();
  /** Nothing if there is none of that name. */
  [[nodiscard]] std::optional<Snapshot> find_snapshot(const std::string &name);

  /**
   * What of an image is to be read: with @p since, what differs from that snapshot of the same origin, in
   * whole tracking blocks, rather too much than too little; without, all of it. The image is looked up
   * anew, by its two names.
   *
   * ESTALE: @p since is of another generation: a full backup is due. EINVAL: it is newer than the image.
   * ENOENT: there is no such image. EIO: the snapshot was given up.
   */
  [[nodiscard]] Changes changes(const Image &image, const std::optional<ChangeId> &since = std::nullopt);

  /**
   * Waits until the number of a snapshot's last event is another than @p known, which is Snapshot::event or
   * Event::number of what was seen last: so nothing between two calls is missed, and a program that has
   * other things to do calls with a short time out now and then. Events are: low, overflow, invalid, and the
   * removal, which may be over before its state can be read.
   *
   * @param timeout  zero: does not wait; nothing: for ever
   * @return nothing on a time out. ENOENT, ENXIO: the snapshot is gone.
   */
  [[nodiscard]] std::optional<Event> wait(const std::string &snapshot, std::uint32_t known,
                                          std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  /**
   * Removes a snapshot, its images and its store, or what is left of one that was not finished. Its
   * origins' trackers go on.
   *
   * ENOENT: there is none of that name. EBUSY: an image is open; with @p force its users get I/O errors
   * from then on. On any other error as much as possible was removed, and the rest may be tried again.
   */
  void remove(const std::string &snapshot, bool force = false);

  /** On something else than this machine, for the library's own tests. */
  explicit Manager(std::shared_ptr<api::ManagerState> state) noexcept;

 private:
  std::shared_ptr<api::ManagerState> state_;
};

}  // namespace v0
}  // namespace diffsnap

#endif
