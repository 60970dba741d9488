// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cerrno>
#include <set>

#include "core/naming.h"
#include "core/snapshot_set.h"
#include "core/steps.h"
#include "sys/block_device.h"

namespace diffsnap {

namespace {

constexpr Sectors min_chunk = 8;
constexpr Sectors max_chunk = 2048;

[[noreturn]] void refuse(const CreateOptions &options, int error, std::string reason, std::string hint = {}) {
  throw Error("create", "snapshot \"" + options.name + '"', error, std::move(reason), std::move(hint));
}

/** Why the kernel did not take an origin. The words are those of dm-diffsnap.rst. */
[[noreturn]] void rethrow_add(const Error &error, const std::string &origin) {
  std::string reason;
  std::string hint;
  switch (error.error_number()) {
    case EBUSY:
      reason = "another snapshot holds it";
      hint = "`diffsnap origins` shows which.";
      break;
    case EEXIST:
      reason = "it was given twice";
      break;
    case ENODEV:
      reason = "it is not attached";
      break;
    case EINVAL:
      reason =
          "the chunk is smaller than its physical block, or its logical block is smaller than the store's";
      hint = "A larger --chunk, or a store on a device with smaller blocks.";
      break;
    default:
      throw;
  }
  throw Error("add", "origin \"" + origin + '"', error.error_number(), reason, hint);
}

[[noreturn]] void throw_cut(const CreateOptions &options, int error) {
  switch (error) {
    case ETIMEDOUT:
      refuse(options, error, "an origin's writes in flight did not end within the limit",
             "The kernel's log names the origin. Nothing was changed.");
    case ENODEV:
      refuse(options, error, "an origin is gone or suspended", "`dmsetup info` shows which.");
    default:
      refuse(options, error, "the kernel refused the cut (" + std::generic_category().message(error) + ')');
  }
}

class Creation {
 public:
  Creation(const Environment &env, const CreateOptions &options, Freezer *freezer, CriticalSection *critical)
      : env_(env), options_(options), freezer_(freezer), critical_(critical) {}

  CreateResult run() {
    check();
    result_.name = options_.name;
    for (const OriginInfo &origin : origins_) {
      result_.images.push_back(image_path(options_.name, origin.name()));
    }
    if (options_.dry_run) {
      return result_;
    }
    result_.id = new_id();
    make_data_device();
    make_store();
    add_origins();
    cut();
    make_images();
    steps_.finish();
    return result_;
  }

 private:
  void check() {
    check_name(options_.name);
    if (options_.chunk < min_chunk || options_.chunk > max_chunk ||
        (options_.chunk & (options_.chunk - 1)) != 0) {
      throw SyntaxError("use chunk size", std::to_string(options_.chunk << sector_shift), EINVAL,
                        "it is a power of two from 4096 to 1048576 bytes");
    }
    if (options_.origins.empty()) {
      refuse(options_, EINVAL, "no origin was given");
    }
    if (options_.store.size() == 0) {
      refuse(options_, ENOSPC, "no room was given for its difference storage");
    }
    check_names_are_free();
    check_origins();
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

  void check_origins() {
    const Inventory inventory = read_inventory(env_.dm);
    std::set<DeviceId> seen;
    for (const DeviceId id : options_.origins) {
      const OriginInfo *origin = inventory.find_origin(id);
      if (origin == nullptr) {
        throw Error("add", "origin " + sys::device_node(id), ENODEV, "it is not attached",
                    "`diffsnap attach` puts the origin target on it.");
      }
      const std::string object = "origin \"" + origin->name() + '"';
      if (!seen.insert(id).second) {
        throw Error("add", object, EEXIST, "it was given twice");
      }
      if (const auto *status = std::get_if<dm::OriginStatus>(&origin->status);
          status != nullptr && status->state != dm::OriginState::idle) {
        throw Error("add", object, EBUSY,
                    "the snapshot \"" + origin->snapshot.value_or("of an unknown name") + "\" holds it");
      }
      const std::string image = image_name(options_.name, origin->name());
      if (env_.dm.info(image)) {
        refuse(options_, EEXIST, "the device \"" + image + "\" exists");
      }
      const unsigned block = env_.devices.facts(id).physical_block;
      if (block > options_.chunk << sector_shift) {
        throw Error("add", object, EINVAL, "the chunk is smaller than its physical block",
                    "Use --chunk " + std::to_string(block) + "b.");
      }
      origins_.push_back(*origin);
    }
  }

  [[nodiscard]] std::string uuid(DeviceKind kind, std::size_t index = 0) const {
    return DeviceUuid{kind, result_.id, index}.to_string();
  }

  /** Creates a device whose removal is its undoing. */
  DeviceId make_device(dm::CreateRequest request, dm::UdevCookie &cookie,
                       const Steps::Action &before_removal = {}) {
    DeviceId id;
    const std::string name = request.name;
    steps_.run([&] { id = env_.dm.create(request, cookie); },
               [this, name, before_removal] {
                 if (before_removal) {
                   before_removal();
                 }
                 const auto removal = env_.dm.make_cookie();
                 env_.dm.remove(name, *removal);
               });
    return id;
  }

  void make_data_device() {
    wipe_edges(env_, options_.store);
    const auto cookie = env_.dm.make_cookie();
    dm::CreateRequest request;
    request.name = data_name(options_.name);
    request.uuid = uuid(DeviceKind::data);
    request.table = options_.store.table();
    request.udev = dm::UdevFlags::hidden();
    data_ = make_device(std::move(request), *cookie);
    cookie->wait();
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
    request.uuid = uuid(DeviceKind::store);
    request.table = {table.line()};
    request.udev = dm::UdevFlags::hidden();
    const std::string name = request.name;
    // Dropping frees the origins at once, even if the device cannot be removed yet.
    store_ = make_device(std::move(request), *cookie, [this, name] { drop_quietly(name); });
    cookie->wait();
  }

  void drop_quietly(const std::string &name) {
    try {
      env_.dm.message(name, "drop");
    } catch (const Error &) {
      // Removing the device ends the snapshot as well.
    }
  }

  void add_origins() {
    for (const OriginInfo &origin : origins_) {
      try {
        env_.dm.message(store_name(options_.name), "add " + origin.device.id.to_string());
      } catch (const Error &error) {
        rethrow_add(error, origin.name());
      }
    }
  }

  [[nodiscard]] std::string cut_message() const {
    return options_.cut_limit ? "cut " + std::to_string(options_.cut_limit->count()) : "cut";
  }

  void cut() {
    const std::string store = store_name(options_.name);
    const auto message = env_.dm.prepare_message(store, cut_message());
    if (freezer_ == nullptr) {
      if (const int error = message->send()) {
        throw_cut(options_, error);
      }
    } else {
      freeze_and_cut(*message);
      result_.frozen = freezer_->frozen_time();
    }
    read_closed_time(store);
  }

  void freeze_and_cut(dm::PreparedMessage &message) {
    freezer_->prepare(options_.origins);
    freezer_->write_out();
    critical_->enter();
    // From here to leave(): no memory, no files, no log, no exceptions. What went wrong is told afterwards.
    const int freeze_error = freezer_->freeze();
    const int cut_error = freeze_error == 0 ? message.send() : 0;
    const int thaw_error = freeze_error == 0 ? freezer_->thaw() : 0;
    critical_->leave();

    if (freeze_error != 0 || thaw_error != 0) {
      throw freezer_->failure();
    }
    if (cut_error != 0) {
      throw_cut(options_, cut_error);
    }
  }

  void read_closed_time(const std::string &store) {
    const dm::Table lines = env_.dm.status(store);
    if (lines.size() == 1) {
      const auto status = dm::parse_store_status(lines.front().params);
      if (const auto *numbers = dm::numbers(status)) {
        result_.closed = numbers->closed;
      }
    }
  }

  void make_images() {
    // One wait for all of them.
    const auto cookie = env_.dm.make_cookie();
    for (std::size_t i = 0; i < origins_.size(); ++i) {
      dm::CreateRequest request;
      request.name = image_name(options_.name, origins_[i].name());
      request.uuid = uuid(DeviceKind::image, i);
      request.table = {dm::ImageTable{origins_[i].table.length, store_, origins_[i].device.id}.line()};
      request.udev = dm::UdevFlags::image();
      make_device(std::move(request), *cookie);
    }
    cookie->wait();
  }

  const Environment &env_;
  const CreateOptions &options_;
  Freezer *freezer_;
  CriticalSection *critical_;
  std::vector<OriginInfo> origins_;
  DeviceId data_;
  DeviceId store_;
  CreateResult result_;
  // Last, so that what it undoes finds everything else alive.
  Steps steps_;
};

}  // namespace

CreateResult create_snapshot(const Environment &env, const CreateOptions &options, Freezer *freezer,
                             CriticalSection *critical) {
  return Creation(env, options, freezer, critical).run();
}

}  // namespace diffsnap
