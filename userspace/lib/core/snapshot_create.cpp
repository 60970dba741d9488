// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>
#include <optional>

#include "base/size.h"
#include "core/naming.h"
#include "core/snapshot_set.h"
#include "core/snapshot_take.h"
#include "core/steps.h"
#include "dm/limits.h"
#include "sys/block_device.h"

namespace diffsnap {

namespace {

using std::chrono::milliseconds;

[[noreturn]] void refuse(const CreateOptions &options, int error, std::string reason, std::string hint = {}) {
  throw Error("create", "snapshot \"" + options.name + '"', error, std::move(reason), std::move(hint));
}

void check_time(const char *what, std::optional<milliseconds> time, milliseconds most) {
  if (time && (*time < milliseconds(1) || *time > most)) {
    throw SyntaxError("use", what + std::to_string(time->count()), EINVAL,
                      "it is from 1 to " + std::to_string(most.count()) + " milliseconds");
  }
}

class Creation {
 public:
  Creation(const Environment &env, const CreateOptions &options, sys::Freezer *freezer,
           sys::CriticalSection *critical)
      : env_(env), options_(options), freezer_(freezer), critical_(critical) {}

  CreateResult run() {
    check();
    result_.name = options_.name;
    result_.images = image_paths(options_.name, origins_);
    if (options_.dry_run) {
      return result_;
    }
    result_.id = new_id();
    make_data_device();
    make_store();
    add_members(env_, options_.name, origins_);
    if (options_.take) {
      uninterrupted_.emplace(sys::SignalBlock::Which::termination);
      const Taking taking{"create", options_.name, result_.id, store_, origins_, options_.cut_limit};
      cut(env_, taking, freezer_, critical_, *uninterrupted_, result_);
      check_not_interrupted(taking, *uninterrupted_);
      make_images(env_, taking, steps_);
      check_not_interrupted(taking, *uninterrupted_);
    }
    steps_.finish();
    return result_;
  }

 private:
  void check() {
    check_name(options_.name);
    check_limits(options_);
    if (options_.take && options_.origins.empty()) {
      refuse(options_, EINVAL, "no origin was given");
    }
    if (options_.store.size() == 0) {
      refuse(options_, ENOSPC, "no room was given for its difference storage");
    }
    check_names_are_free();
    origins_ = check_new_members(env_, options_.name, options_.chunk, options_.origins, options_.dry_run);
    check_store_origins(env_, options_.store);
  }

  void check_names_are_free() {
    for (const std::string &name : {store_name(options_.name), data_name(options_.name)}) {
      if (env_.dm.info(name)) {
        refuse(options_, EEXIST, "the device \"" + name + "\" exists",
               "`diffsnap remove " + options_.name + "` also removes what is left of an unfinished one.");
      }
    }
  }

  void make_data_device() {
    const auto cookie = env_.dm.make_cookie();
    dm::CreateRequest request;
    request.name = data_name(options_.name);
    request.uuid = DeviceUuid{DeviceKind::data, result_.id}.to_string();
    request.table = options_.store.table();
    request.udev = dm::UdevFlags::hidden();
    data_ = make_device(env_, steps_, std::move(request), *cookie);
    cookie->wait();
    wipe_edges(env_, options_.store);
  }

  void make_store() {
    dm::StoreTable table;
    table.length = options_.store.size();
    table.device = data_;
    table.chunk = options_.chunk;
    table.low_water = options_.low_water;
    table.buffer = options_.buffer;
    table.store_timeout = options_.store_timeout;
    table.on_full = options_.on_full;

    const auto cookie = env_.dm.make_cookie();
    dm::CreateRequest request;
    request.name = store_name(options_.name);
    DeviceUuid uuid{DeviceKind::store, result_.id};
    uuid.to_be_taken = !options_.take;
    request.uuid = uuid.to_string();
    request.table = {table.line()};
    request.udev = dm::UdevFlags::hidden();
    const std::string name = request.name;
    // Dropping frees the origins at once, even if the device cannot be removed yet.
    store_ = make_device(env_, steps_, std::move(request), *cookie, [this, name] { drop_quietly(name); });
    cookie->wait();
  }

  void drop_quietly(const std::string &name) {
    try {
      env_.dm.message(name, "drop");
    } catch (const Error &) {
      // Removing the device ends the snapshot as well.
    }
  }

  const Environment &env_;
  const CreateOptions &options_;
  sys::Freezer *freezer_;
  sys::CriticalSection *critical_;
  std::vector<OriginInfo> origins_;
  DeviceId data_;
  DeviceId store_;
  CreateResult result_;
  // From before the cut to the end. A process that ended between would leave a snapshot that nobody was told
  // of; so signals wait, and one that came has the snapshot undone first.
  std::optional<sys::SignalBlock> uninterrupted_;
  // Last, so that what it undoes finds everything else alive.
  Steps steps_;
};

}  // namespace

void check_cut_limit(std::optional<milliseconds> limit) {
  check_time("a limit of the cut of ", limit, dm::max_cut_limit);
}

void check_limits(const CreateOptions &options) {
  if (options.chunk < dm::min_chunk || options.chunk > dm::max_chunk ||
      (options.chunk & (options.chunk - 1)) != 0) {
    throw SyntaxError("use", "a chunk size of " + format_size(options.chunk << sector_shift, 'h'), EINVAL,
                      "it is a power of two from 4k to 1m");
  }
  if (options.buffer && *options.buffer < dm::min_buffer) {
    throw SyntaxError("use", "a buffer size of " + format_size(*options.buffer << sector_shift, 'h'), EINVAL,
                      "it is at least 2m");
  }
  check_time("a store timeout of ", options.store_timeout, dm::max_store_timeout);
  if (options.on_full && options.on_full->wait.count() != 0) {
    check_time("on-full wait:", options.on_full->wait, dm::max_full_wait);
  }
  check_cut_limit(options.cut_limit);
}

CreateResult create_snapshot(const Environment &env, const CreateOptions &options, sys::Freezer *freezer,
                             sys::CriticalSection *critical) {
  return Creation(env, options, freezer, critical).run();
}

}  // namespace diffsnap
