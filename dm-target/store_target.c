// SPDX-License-Identifier: GPL-2.0-only
/*
 * diffsnap-store: the constructor, messages and status of a snapshot.
 */
#include <linux/blkdev.h>
#include <linux/kdev_t.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "snapshot.h"
#include "target.h"

#define DM_MSG_PREFIX "diffsnap"

#define MIN_CHUNK_SECTORS	8
#define MAX_CHUNK_SECTORS	2048
#define DEFAULT_BUFFER		65536		/* sectors: 32 MiB */
#define MIN_BUFFER		4096		/* two of the largest copies */
#define DEFAULT_TIMEOUT_MS	30000
#define DEFAULT_CUT_LIMIT_MS	1000
#define MAX_LIMIT_MS		60000
#define MAX_TIMEOUT_MS		3600000

/* One table's instance; ti->private. */
struct store_table {
	struct snapshot *snapshot;
	struct dm_dev *dev;
	struct store_settings settings;
	bool has_low_water, has_buffer, has_timeout, has_on_full;
	bool has_feature_count;		/* for the table line */
};

/*
 * Arguments
 */

static int parse_low_water(struct store_table *table, const char *value, char **error)
{
	if (kstrtou64(value, 10, &table->settings.low_water)) {
		*error = "Invalid low_water";
		return -EINVAL;
	}
	table->has_low_water = true;
	return 0;
}

static int parse_buffer(struct store_table *table, const char *value, char **error)
{
	if (kstrtou64(value, 10, &table->settings.buffer) ||
	    table->settings.buffer < MIN_BUFFER) {
		*error = "Invalid buffer";
		return -EINVAL;
	}
	table->has_buffer = true;
	return 0;
}

static int parse_timeout(struct store_table *table, const char *value, char **error)
{
	if (kstrtouint(value, 10, &table->settings.timeout_ms) ||
	    !table->settings.timeout_ms ||
	    table->settings.timeout_ms > MAX_TIMEOUT_MS) {
		*error = "Invalid store_timeout";
		return -EINVAL;
	}
	table->has_timeout = true;
	return 0;
}

static int parse_on_full(struct store_table *table, const char *value, char **error)
{
	table->has_on_full = true;
	table->settings.full_wait_ms = 0;
	if (!strcmp(value, "invalidate"))
		return 0;
	if (strncmp(value, "wait:", 5) ||
	    kstrtouint(value + 5, 10, &table->settings.full_wait_ms) ||
	    !table->settings.full_wait_ms ||
	    table->settings.full_wait_ms > MAX_LIMIT_MS) {
		*error = "Invalid on_full";
		return -EINVAL;
	}
	return 0;
}

static const struct {
	const char *word;
	int (*parse)(struct store_table *table, const char *value, char **error);
} features[] = {
	{ "low_water", parse_low_water },
	{ "buffer", parse_buffer },
	{ "store_timeout", parse_timeout },
	{ "on_full", parse_on_full },
};

static int parse_feature(struct store_table *table, const char *word,
			 const char *value, char **error)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(features); i++)
		if (!strcasecmp(word, features[i].word))
			return features[i].parse(table, value, error);
	*error = "Unknown feature argument";
	return -EINVAL;
}

static int parse_features(struct store_table *table, struct dm_arg_set *as, char **error)
{
	static const struct dm_arg args[] = {
		{ 0, 2 * ARRAY_SIZE(features), "Invalid number of feature arguments" },
	};
	unsigned int nr = 0;
	int r;

	table->settings.buffer = DEFAULT_BUFFER;
	table->settings.timeout_ms = DEFAULT_TIMEOUT_MS;
	if (!as->argc)
		return 0;

	r = dm_read_arg_group(args, as, &nr, error);
	if (r)
		return r;
	if (nr % 2) {
		*error = "A feature argument has no value";
		return -EINVAL;
	}
	table->has_feature_count = true;
	for (; nr; nr -= 2) {
		const char *word = dm_shift_arg(as);

		r = parse_feature(table, word, dm_shift_arg(as), error);
		if (r)
			return r;
	}
	if (as->argc) {
		*error = "Too many arguments";
		return -EINVAL;
	}
	return 0;
}

static int parse_chunk_size(const char *arg, unsigned int *chunk, char **error)
{
	if (kstrtouint(arg, 10, chunk) || !is_power_of_2(*chunk) ||
	    *chunk < MIN_CHUNK_SECTORS || *chunk > MAX_CHUNK_SECTORS) {
		*error = "Invalid chunk size";
		return -EINVAL;
	}
	return 0;
}

/*
 * Preserved data must not pass an origin: its write would wait for a copy that
 * waits for it. Nor may two write to one device, as they begin at the same sector.
 * Only the device itself is looked at; what lies further down is for those to
 * know who stacked it.
 *
 * Returns who is in the way of a store of @md on @dev, or NULL. The constructor
 * asks so that it can refuse, but whatever has a table only that was not resumed
 * is not known there yet: preresume asks again.
 */
static char *device_user(const struct mapped_device *md, dev_t dev)
{
	lockdep_assert_held(&registry_mutex);
	if (snapshot_lies_on(dev, md))
		return "The store's device holds another store";
	if (origin_find(dev) || origin_find_on(dev))
		return "The store's device is an origin, or an origin's real device";
	return NULL;
}

/* Takes up the snapshot of the device, or makes one. */
static int get_snapshot(struct dm_target *ti, struct store_table *table,
			unsigned int chunk_sectors)
{
	struct mapped_device *md = dm_table_get_md(ti->table);
	struct snapshot *snapshot;
	struct store_usage usage;
	unsigned int noio;
	int r = 0;

	mutex_lock(&registry_mutex);
	/* A resume needs the mutex, and reclaim may wait for that device. */
	noio = memalloc_noio_save();
	snapshot = snapshot_get_table(md, disk_devt(dm_disk(md)), chunk_sectors);
	if (IS_ERR(snapshot)) {
		r = PTR_ERR(snapshot);
		ti->error = r == -EINVAL ? "The chunk size cannot be changed" :
					   "Cannot allocate the snapshot";
		goto unlock;
	}
	store_usage(&snapshot->store, &usage);
	if (ti->len < usage.size) {
		ti->error = "The store cannot be made smaller";
		snapshot_put_table(snapshot);
		r = -EINVAL;
		goto unlock;
	}
	table->snapshot = snapshot;
unlock:
	memalloc_noio_restore(noio);
	mutex_unlock(&registry_mutex);
	return r;
}

static int store_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct dm_arg_set as = { .argc = argc, .argv = argv };
	struct store_table *table;
	unsigned int chunk_sectors;
	const char *device;
	char *user;
	int r;

	if (argc < 2) {
		ti->error = "Invalid argument count";
		return -EINVAL;
	}
	table = kzalloc(sizeof(*table), GFP_KERNEL);
	if (!table) {
		ti->error = "Cannot allocate the store's table";
		return -ENOMEM;
	}

	device = dm_shift_arg(&as);
	r = parse_chunk_size(dm_shift_arg(&as), &chunk_sectors, &ti->error);
	if (r)
		goto free;
	r = parse_features(table, &as, &ti->error);
	if (r)
		goto free;
	if (ti->len < chunk_sectors) {
		ti->error = "The store is smaller than a chunk";
		r = -EINVAL;
		goto free;
	}
	if (ti->len / chunk_sectors > MAP_MAX_PLACES) {
		ti->error = "The store has more chunks than can be told apart";
		r = -EINVAL;
		goto free;
	}
	r = dm_get_device(ti, device, dm_table_get_mode(ti->table), &table->dev);
	if (r) {
		ti->error = "Cannot get the store's device";
		goto free;
	}
	r = -EINVAL;
	if (bdev_is_zoned(table->dev->bdev)) {
		ti->error = "Zoned devices are not supported";
		goto put_device;
	}
	if (ti->len > bdev_nr_sectors(table->dev->bdev)) {
		ti->error = "The store's device is too small";
		goto put_device;
	}
	mutex_lock(&registry_mutex);
	user = device_user(dm_table_get_md(ti->table), table->dev->bdev->bd_dev);
	mutex_unlock(&registry_mutex);
	if (user) {
		ti->error = user;
		r = -EBUSY;
		goto put_device;
	}
	r = get_snapshot(ti, table, chunk_sectors);
	if (r)
		goto put_device;

	ti->num_flush_bios = 1;
	ti->private = table;
	return 0;

put_device:
	dm_put_device(ti, table->dev);
free:
	kfree(table);
	return r;
}

static void store_dtr(struct dm_target *ti)
{
	struct store_table *table = ti->private;

	snapshot_clear_event_target(table->snapshot, ti);
	mutex_lock(&registry_mutex);
	snapshot_put_table(table->snapshot);
	mutex_unlock(&registry_mutex);
	dm_put_device(ti, table->dev);
	kfree(table);
}

static int store_map(struct dm_target *ti, struct bio *bio)
{
	return DM_MAPIO_KILL;
}

/*
 * Suspend and resume
 */

static void store_presuspend(struct dm_target *ti)
{
	struct store_table *table = ti->private;

	store_stop(&table->snapshot->store);
}

static void store_postsuspend(struct dm_target *ti)
{
	struct store_table *table = ti->private;

	store_drain(&table->snapshot->store);
}

/* Makes @bdev what the store lies on, unless it must not. */
static int take_device(struct snapshot *snapshot, struct block_device *bdev)
{
	unsigned int logical_block = bdev_logical_block_size(bdev);
	const char *user = device_user(snapshot->md, bdev->bd_dev);
	struct store_usage usage;

	if (user) {
		DMERR("%s: cannot resume: %s", snapshot->name, user);
		return -EBUSY;
	}
	/* The store is stopped: what gets a place from here on goes to @bdev. */
	store_usage(&snapshot->store, &usage);
	if (snapshot->store_dev && snapshot->store_dev != bdev->bd_dev &&
	    usage.used && !snapshot_given_up(snapshot)) {
		DMERR("%s: cannot resume: What the store holds is on device %u:%u",
		      snapshot->name, MAJOR(snapshot->store_dev),
		      MINOR(snapshot->store_dev));
		return -EBUSY;
	}
	if (snapshot->logical_block && snapshot->logical_block < logical_block) {
		DMERR("%s: the store's logical block cannot become larger",
		      snapshot->name);
		return -EINVAL;
	}
	if (!snapshot->logical_block)
		snapshot->logical_block = logical_block;
	snapshot->store_dev = bdev->bd_dev;
	return 0;
}

static int store_preresume(struct dm_target *ti)
{
	struct store_table *table = ti->private;
	struct snapshot *snapshot = table->snapshot;
	int r;

	mutex_lock(&registry_mutex);
	r = take_device(snapshot, table->dev->bdev);
	mutex_unlock(&registry_mutex);
	if (r)
		return r;
	snapshot_set_event_target(snapshot, ti);
	return store_start(&snapshot->store, table->dev->bdev, ti->len,
			   &table->settings);
}

static void store_presuspend_undo(struct dm_target *ti)
{
	struct store_table *table = ti->private;

	/* Cannot fail: the size is the present one. */
	WARN_ON_ONCE(store_start(&table->snapshot->store, table->dev->bdev,
				 ti->len, &table->settings));
}

/*
 * Messages
 */

static int message_add(struct snapshot *snapshot, unsigned int argc, char **argv)
{
	dev_t dev;
	int r;

	if (argc != 2)
		return -EINVAL;
	r = parse_device(argv[1], &dev);
	return r ? r : snapshot_add(snapshot, dev);
}

static int message_cut(struct snapshot *snapshot, unsigned int argc, char **argv)
{
	unsigned int limit_ms = DEFAULT_CUT_LIMIT_MS;

	if (argc > 2)
		return -EINVAL;
	if (argc == 2 && (kstrtouint(argv[1], 10, &limit_ms) || !limit_ms ||
			  limit_ms > MAX_LIMIT_MS))
		return -EINVAL;
	return snapshot_cut(snapshot, limit_ms);
}

static int message_drop(struct snapshot *snapshot, unsigned int argc, char **argv)
{
	return argc == 1 ? snapshot_drop(snapshot) : -EINVAL;
}

static int message_low_water(struct snapshot *snapshot, unsigned int argc, char **argv)
{
	u64 sectors;

	if (argc != 2 || kstrtou64(argv[1], 10, &sectors) ||
	    READ_ONCE(snapshot->mode) == SNAPSHOT_DROPPED)
		return -EINVAL;
	store_set_low_water(&snapshot->store, sectors);
	return 0;
}

static const struct {
	const char *word;
	int (*handle)(struct snapshot *snapshot, unsigned int argc, char **argv);
} messages[] = {
	{ "add", message_add },
	{ "cut", message_cut },
	{ "drop", message_drop },
	{ "low_water", message_low_water },
};

static int store_message(struct dm_target *ti, unsigned int argc, char **argv,
			 char *result, unsigned int maxlen)
{
	struct store_table *table = ti->private;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(messages); i++)
		if (!strcasecmp(argv[0], messages[i].word))
			return messages[i].handle(table->snapshot, argc, argv);
	DMERR("%s: unknown message '%s'", table->snapshot->name, argv[0]);
	return -EINVAL;
}

/*
 * Status
 */

static const char *state_word(struct snapshot *snapshot, bool low)
{
	switch (READ_ONCE(snapshot->mode)) {
	case SNAPSHOT_NEW:
		return "new";
	case SNAPSHOT_ACTIVE:
		return low ? "low" : "active";
	case SNAPSHOT_OVERFLOW:
		return "overflow";
	case SNAPSHOT_INVALID:
		return "invalid";
	case SNAPSHOT_DROPPED:
		break;
	}
	return "dropped";
}

static unsigned int emit_reason(struct snapshot *snapshot, char *result,
				unsigned int maxlen, unsigned int sz)
{
	/* Pairs with the release in snapshot_degrade(). */
	if (smp_load_acquire(&snapshot->mode) <= SNAPSHOT_ACTIVE || !snapshot->what)
		DMEMIT(" -");
	else if (snapshot->culprit)
		DMEMIT(" %s:%d:%u:%u", snapshot->what, -snapshot->error,
		       MAJOR(snapshot->culprit), MINOR(snapshot->culprit));
	else
		DMEMIT(" %s:%d:-", snapshot->what, -snapshot->error);
	return sz;
}

static unsigned int emit_info(struct snapshot *snapshot, char *result,
			      unsigned int maxlen)
{
	struct store_usage usage;
	struct member *member;
	unsigned int sz = 0;

	store_usage(&snapshot->store, &usage);
	DMEMIT("%s", state_word(snapshot, usage.low));
	sz = emit_reason(snapshot, result, maxlen, sz);
	mutex_lock(&snapshot->lock);
	DMEMIT(" %llu/%llu %llu %llu %llu %u", usage.used, usage.size,
	       usage.buffered, usage.low_water, snapshot->closed_ns,
	       snapshot->nr_members);
	list_for_each_entry(member, &snapshot->members, node) {
		struct member_usage chunks;

		member_usage(member, &chunks);
		DMEMIT(" %s %llu %llu %llu", member->origin->name,
		       chunks.preserved, chunks.written, chunks.released);
	}
	mutex_unlock(&snapshot->lock);
	return sz;
}

static unsigned int emit_table(struct store_table *table, char *result,
			       unsigned int maxlen)
{
	unsigned int nr = table->has_low_water + table->has_buffer +
			  table->has_timeout + table->has_on_full;
	unsigned int sz = 0;

	DMEMIT("%s %u", table->dev->name, 1U << table->snapshot->store.chunk_shift);
	if (!table->has_feature_count)
		return sz;
	DMEMIT(" %u", 2 * nr);
	if (table->has_low_water)
		DMEMIT(" low_water %llu", table->settings.low_water);
	if (table->has_buffer)
		DMEMIT(" buffer %llu", table->settings.buffer);
	if (table->has_timeout)
		DMEMIT(" store_timeout %u", table->settings.timeout_ms);
	if (table->has_on_full && table->settings.full_wait_ms)
		DMEMIT(" on_full wait:%u", table->settings.full_wait_ms);
	else if (table->has_on_full)
		DMEMIT(" on_full invalidate");
	return sz;
}

static void store_status(struct dm_target *ti, status_type_t type,
			 unsigned int status_flags, char *result, unsigned int maxlen)
{
	struct store_table *table = ti->private;
	unsigned int sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		emit_info(table->snapshot, result, maxlen);
		break;
	case STATUSTYPE_TABLE:
		emit_table(table, result, maxlen);
		break;
	case STATUSTYPE_IMA:
		DMEMIT_TARGET_NAME_VERSION(ti->type);
		DMEMIT(",device=%s,chunk_size=%u;", table->dev->name,
		       1U << table->snapshot->store.chunk_shift);
		break;
	}
}

static int store_iterate_devices(struct dm_target *ti,
				 iterate_devices_callout_fn fn, void *data)
{
	struct store_table *table = ti->private;

	return fn(ti, table->dev, 0, ti->len, data);
}

struct target_type store_target = {
	.name = "diffsnap-store",
	.version = { 1, 0, 0 },
	.features = DM_TARGET_SINGLETON,
	.module = THIS_MODULE,
	.ctr = store_ctr,
	.dtr = store_dtr,
	.map = store_map,
	.presuspend = store_presuspend,
	.presuspend_undo = store_presuspend_undo,
	.postsuspend = store_postsuspend,
	.preresume = store_preresume,
	.message = store_message,
	.status = store_status,
	.iterate_devices = store_iterate_devices,
};
