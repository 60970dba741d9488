// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * Names and UUIDs of diffsnap's device-mapper devices. They are all there is to find things again by: there
 * is no database beside them.
 *
 *   store   diffsnap-<snapshot>            DIFFSNAP-store-<snapshot id>
 *   data    diffsnap--data-<snapshot>      DIFFSNAP-data-<snapshot id>
 *   image   diffsnap-<snapshot>-<origin>   DIFFSNAP-image-<snapshot id>-<index in the store's status>
 *   real    <origin>-diffsnap              DIFFSNAP-real-<id>
 *   origin  any name, or what it had       DIFFSNAP-origin-<id>, or what it had
 *
 * with '-' doubled inside <snapshot> and <origin>, so that `dmsetup splitname` takes the names apart.
 */
#ifndef DIFFSNAP_CORE_NAMING_H
#define DIFFSNAP_CORE_NAMING_H

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace diffsnap {

/** Whether a text may name a snapshot or an origin: [A-Za-z0-9+_.-], not starting with '-', not "." or "..".
 */
[[nodiscard]] bool is_valid_name(std::string_view name) noexcept;
/** Throws SyntaxError (`cannot use name "..."`) if it may not. */
void check_name(std::string_view name);

/** Doubles every '-'. */
[[nodiscard]] std::string mangle(std::string_view text);

// dm names. They throw SyntaxError if the name would be longer than device-mapper's 127 characters.
[[nodiscard]] std::string store_name(std::string_view snapshot);
[[nodiscard]] std::string data_name(std::string_view snapshot);
[[nodiscard]] std::string image_name(std::string_view snapshot, std::string_view origin_name);
[[nodiscard]] std::string real_name(std::string_view origin_name);

/** Where udev puts an image: /dev/diffsnap/<snapshot>/<origin dm name>. */
[[nodiscard]] std::string image_path(std::string_view snapshot, std::string_view origin_name);

/** The snapshot that a store's or data device's dm name stands for; nothing for other names. */
[[nodiscard]] std::optional<std::string> snapshot_of_store_name(std::string_view dm_name);
[[nodiscard]] std::optional<std::string> snapshot_of_data_name(std::string_view dm_name);

struct ImageName {
  std::string snapshot;
  std::string origin;
};
/** Takes an image's dm name apart; nothing for other names. */
[[nodiscard]] std::optional<ImageName> split_image_name(std::string_view dm_name);

/** The snapshot that a store, data or image device is called after; nothing for other names. */
[[nodiscard]] std::optional<std::string> snapshot_of_device_name(std::string_view dm_name);

/**
 * A new id: 32 lower-case hex digits, laid out as a UUID of version 7, so that the time of its making can be
 * read from it (the age of a snapshot is known without a database) and the rest is random.
 */
[[nodiscard]] std::string new_id();
/** When an id was made, to a millisecond; nothing if it is not of version 7. */
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> time_of_id(std::string_view id);

enum class DeviceKind { origin, real, store, data, image };

/** A dm UUID of ours, taken apart. */
struct DeviceUuid {
  DeviceKind kind = DeviceKind::origin;
  std::string id;
  /** Of an image only: the origin's index in the store's status line. */
  std::size_t index = 0;
  /** Of a store only: it was made without a cut, which somebody is to make later. Until then it is no
   * leftover.
   */
  bool to_be_taken = false;

  [[nodiscard]] std::string to_string() const;
  /** Nothing for devices that are not ours. */
  [[nodiscard]] static std::optional<DeviceUuid> parse(std::string_view uuid);
};
[[nodiscard]] bool operator==(const DeviceUuid &a, const DeviceUuid &b) noexcept;

}  // namespace diffsnap

#endif
