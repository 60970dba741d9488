// SPDX-License-Identifier: GPL-2.0-only
/*
 * diffsnap-origin: passes everything through, and copies before first writes.
 */
#include <linux/blkdev.h>
#include <linux/kdev_t.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "cow.h"
#include "origin.h"
#include "origin_message.h"
#include "target.h"

#define DM_MSG_PREFIX "diffsnap"

/* One table's instance; ti->private. */
struct origin_table {
	struct origin *origin;
	struct dm_dev *real;
	unsigned int tracking_block;	/* sectors; 0: not given */
	bool has_feature_count;		/* for the table line */
	bool was_live;			/* it was resumed; registry_mutex */
};

/*
 * A discard of what is unsettled is not passed on: it is advice, and copying
 * what the origin no longer wants would cost more than it gains.
 */
static int map_discard(struct member *member, struct bio *bio, bool may_split)
{
	unsigned int shift = member->snapshot->store.chunk_shift;
	sector_t sector = bio->bi_iter.bi_sector, end = bio_end_sector(bio);
	u64 first = sector >> shift;
	unsigned int room = REGION_CHUNKS - chunk_in_region(to_chunk(first));
	u64 nr = sectors_to_chunks(end, shift) - first;
	struct chunk_run run;

	if (first >= member->nr_chunks)
		return DM_MAPIO_REMAPPED;

	spin_lock(&member->lock);
	chunk_map_lookup(&member->map, to_chunk(first),
			 min3(nr, (u64)room, member->nr_chunks - first), &run);
	spin_unlock(&member->lock);

	if (run.nr < nr && may_split) {
		dm_accept_partial_bio(bio, ((first + run.nr) << shift) - sector);
		nr = run.nr;
	}
	if (run.state != RUN_UNSETTLED && run.nr >= nr) {
		/* See cow_before_write(). */
		smp_mb();
		return DM_MAPIO_REMAPPED;
	}
	bio_endio(bio);
	return DM_MAPIO_SUBMITTED;
}

/* A write to an origin that a snapshot holds. May submit bios. */
static int map_held(struct member *member, struct diffsnap_io *io, bool may_split)
{
	struct bio *bio = io_bio(io);

	if (bio_op(bio) == REQ_OP_DISCARD)
		return map_discard(member, bio, may_split);

	if (bio->bi_opf & REQ_POLLED) {
		/*
		 * A worker begins its copies. Requests for these may be wanting
		 * while polled ones have them all, which only this task ends.
		 */
		bio_stop_polling(bio);
		atomic64_inc(&member->origin->nr_held);
		io->member = member;
		io->fresh = true;
		snapshot_retry(member->snapshot, io);
		return DM_MAPIO_SUBMITTED;
	}

	switch (cow_before_write(member, io, bio->bi_bdev, GFP_TRY)) {
	case COW_PASS:
		return DM_MAPIO_REMAPPED;
	case COW_PARKED:
		atomic64_inc(&member->origin->nr_held);
		return DM_MAPIO_SUBMITTED;
	case COW_WOULD_WAIT:
		break;
	}
	bio_wouldblock_error(bio);
	return DM_MAPIO_SUBMITTED;
}

/*
 * @io is @bio's; @may_split: called from dm's map. Most writes are settled ones: what
 * these need is in one RCU section, and asks dm for nothing that the caller has.
 */
static int enter_write(struct origin *origin, struct bio *bio, struct diffsnap_io *io,
		       bool may_split)
{
	struct member *member;
	int r;

	rcu_read_lock();
	if (!origin_enter(origin, bio)) {
		rcu_read_unlock();
		return DM_MAPIO_SUBMITTED;
	}
	io->counted = true;
	/* Whatever becomes of it: an answer may hold too much. */
	tracker_mark_write(&origin->tracker, bio->bi_iter.bi_sector,
			   bio_end_sector(bio));

	member = rcu_dereference(origin->member);
	/* Of a snapshot that is about to be freed no reference can be had. */
	if (!member || !snapshot_active(member->snapshot) ||
	    (bio_op(bio) != REQ_OP_DISCARD && cow_settled(member, bio)) ||
	    !snapshot_try_get(member->snapshot)) {
		rcu_read_unlock();
		/*
		 * The write is submitted after its chunks, or the end of the
		 * snapshot, were seen. Pairs with the one in image_end_io().
		 */
		smp_mb();
		return DM_MAPIO_REMAPPED;
	}
	rcu_read_unlock();

	r = map_held(member, io, may_split);
	snapshot_put(member->snapshot);
	return r;
}

/* A parked write goes on. */
static void resume_write(struct diffsnap_io *io, gfp_t gfp)
{
	struct bio *bio = io_bio(io);

	/* Behind those that waited, as if it came from .map. */
	if (io->fresh)
		gfp = GFP_TRY;
	io->fresh = false;
	/* A parked write carries no NOWAIT: it cannot be told to wait. */
	if (cow_before_write(io->member, io, bio->bi_bdev, gfp) == COW_PASS)
		submit_bio_noacct(bio);
}

static int origin_map(struct dm_target *ti, struct bio *bio)
{
	struct origin_table *table = ti->private;
	struct diffsnap_io *io = bio_io(bio);

	bio_set_dev(bio, table->real->bdev);
	io->counted = false;
	if (!op_is_write(bio_op(bio)) || !bio_sectors(bio))
		return DM_MAPIO_REMAPPED;

	io->ti = ti;
	io->image = false;
	io->resume = resume_write;
	io->fresh = false;
	return enter_write(table->origin, bio, io, true);
}

static int origin_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error)
{
	struct origin_table *table = ti->private;

	if (bio_io(bio)->counted)
		origin_leave(table->origin);
	return DM_ENDIO_DONE;
}

/*
 * What the origin has to say
 */

static void enter_gated(struct bio *bio)
{
	struct diffsnap_io *io = bio_io(bio);
	struct origin_table *table = io->ti->private;

	if (enter_write(table->origin, bio, io, false) == DM_MAPIO_REMAPPED)
		submit_bio_noacct(bio);
}

static const struct origin_ops target_origin_ops = {
	.enter = enter_gated,
	.resume = io_go_on,
	.gone = member_lose_origin,
};

/*
 * Tables
 */

static int parse_tracking_block(const char *value, unsigned int *sectors, char **error)
{
	if (!value || kstrtouint(value, 10, sectors) || !is_power_of_2(*sectors) ||
	    *sectors < MIN_TRACKING_BLOCK || *sectors > MAX_TRACKING_BLOCK) {
		*error = "Invalid tracking_block";
		return -EINVAL;
	}
	return 0;
}

static int parse_features(struct origin_table *table, struct dm_arg_set *as, char **error)
{
	static const struct dm_arg args[] = {
		{ 0, 2, "Invalid number of feature arguments" },
	};
	unsigned int nr;
	int r;

	if (!as->argc)
		return 0;
	r = dm_read_arg_group(args, as, &nr, error);
	if (r)
		return r;
	table->has_feature_count = true;
	if (nr % 2) {
		*error = "A feature argument has no value";
		return -EINVAL;
	}
	if (nr && strcasecmp(dm_shift_arg(as), "tracking_block")) {
		*error = "Unknown feature argument";
		return -EINVAL;
	}
	if (nr) {
		r = parse_tracking_block(dm_shift_arg(as), &table->tracking_block, error);
		if (r)
			return r;
	}
	if (as->argc) {
		*error = "Too many arguments";
		return -EINVAL;
	}
	return 0;
}

/*
 * Returns which store is in the way of an origin @dev with the real device @real,
 * or NULL: writes of the origin would destroy what is preserved, or what is
 * preserved would be copied. Asked again by preresume, as a store whose table was
 * only loaded is not known.
 */
static char *store_below(dev_t dev, dev_t real)
{
	lockdep_assert_held(&registry_mutex);
	if (snapshot_lies_on(real, NULL))
		return "The real device holds a store";
	if (snapshot_lies_on(dev, NULL))
		return "The device holds a store";
	return NULL;
}

/* Takes up the origin of the device, or makes one. */
static int get_origin(struct dm_target *ti, struct origin_table *table)
{
	struct mapped_device *md = dm_table_get_md(ti->table);
	unsigned int noio;
	int r;

	mutex_lock(&registry_mutex);
	/* A resume needs the mutex, and reclaim may wait for that device. */
	noio = memalloc_noio_save();
	table->origin = origin_get_table(md, disk_devt(dm_disk(md)),
					 &target_origin_ops);
	if (!table->origin) {
		ti->error = "Cannot allocate the origin";
		r = -ENOMEM;
		goto unlock;
	}
	r = tracker_prepare(&table->origin->tracker, table->tracking_block, ti->len);
	if (r) {
		ti->error = r == -EINVAL ? "The tracking block cannot be changed" :
					   "Cannot allocate the tracker";
		origin_put_table(table->origin, table);
	}
unlock:
	memalloc_noio_restore(noio);
	mutex_unlock(&registry_mutex);
	return r;
}

static int origin_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct dm_arg_set as = { .argc = argc, .argv = argv };
	struct origin_table *table;
	const char *device;
	char *store;
	int r;

	if (argc < 1) {
		ti->error = "Invalid argument count";
		return -EINVAL;
	}

	table = kzalloc(sizeof(*table), GFP_KERNEL);
	if (!table) {
		ti->error = "Cannot allocate the origin's table";
		return -ENOMEM;
	}
	device = dm_shift_arg(&as);
	r = parse_features(table, &as, &ti->error);
	if (r)
		goto free;
	r = dm_get_device(ti, device, dm_table_get_mode(ti->table), &table->real);
	if (r) {
		ti->error = "Cannot get the real device";
		goto free;
	}
	r = -EINVAL;
	if (bdev_is_zoned(table->real->bdev)) {
		ti->error = "Zoned devices are not supported";
		goto put_device;
	}
	if (ti->len > bdev_nr_sectors(table->real->bdev)) {
		ti->error = "The real device is too small";
		goto put_device;
	}

	mutex_lock(&registry_mutex);
	store = store_below(disk_devt(dm_disk(dm_table_get_md(ti->table))),
			    table->real->bdev->bd_dev);
	mutex_unlock(&registry_mutex);
	if (store) {
		ti->error = store;
		r = -EBUSY;
		goto put_device;
	}

	r = get_origin(ti, table);
	if (r)
		goto put_device;

	ti->num_flush_bios = 1;
	ti->num_discard_bios = 1;
	ti->num_secure_erase_bios = 1;
	ti->num_write_zeroes_bios = 1;
	ti->per_io_data_size = sizeof(struct diffsnap_io);
	ti->limit_swap_bios = true;
	ti->private = table;
	return 0;

put_device:
	dm_put_device(ti, table->real);
free:
	kfree(table);
	return r;
}

/*
 * True if old contents may still be read from @table's real device, which dm is
 * about to close: not if the device's live table has it open, too.
 */
static bool may_be_read(const struct origin_table *table)
{
	const struct origin_table *live = table->origin->live_table;

	lockdep_assert_held(&registry_mutex);
	return table->was_live && (!live || live->real->bdev != table->real->bdev);
}

static void origin_dtr(struct dm_target *ti)
{
	struct origin_table *table = ti->private;
	struct origin *origin = table->origin;
	bool drain;

	origin_get(origin);
	mutex_lock(&registry_mutex);
	origin_put_table(origin, table);
	drain = may_be_read(table);
	mutex_unlock(&registry_mutex);
	if (drain)
		origin_drain_reads(origin);
	origin_put(origin);
	dm_put_device(ti, table->real);
	kfree(table);
}

/*
 * The tracker of an origin whose table was replaced by one of ours. What was
 * added at the end is not in any older copy.
 */
static void go_on_tracking(struct origin *origin, dev_t real_dev, u64 nr_sectors)
{
	struct member *member =
		rcu_dereference_protected(origin->member,
					  lockdep_is_held(&registry_mutex));

	if (!origin->nr_sectors)
		return;
	/* The cut changes the tracker without its lock: no write is in then. */
	if (member)
		mutex_lock(&member->snapshot->lock);
	if (origin->real_dev != real_dev)
		tracker_renew(&origin->tracker);
	else if (nr_sectors > origin->nr_sectors)
		tracker_mark(&origin->tracker, origin->nr_sectors, nr_sectors);
	if (member)
		mutex_unlock(&member->snapshot->lock);
}

/* While a snapshot holds the origin, what lies under it must stay. */
static int origin_preresume(struct dm_target *ti)
{
	struct origin_table *table = ti->private;
	struct origin *origin = table->origin;
	dev_t real_dev = table->real->bdev->bd_dev;
	const char *store;
	int r = 0;

	mutex_lock(&registry_mutex);
	origin_set_live(origin, table);
	store = store_below(origin->dev, real_dev);
	if (store) {
		DMERR("%s: cannot resume: %s", origin->name, store);
		r = -EBUSY;
	} else if (rcu_access_pointer(origin->member) && origin->real_dev != real_dev) {
		DMERR("%s: the real device differs from the one that a snapshot holds",
		      origin->name);
		r = -EBUSY;
	} else {
		table->was_live = true;
		go_on_tracking(origin, real_dev, ti->len);
		origin->real_dev = real_dev;
		origin->nr_sectors = ti->len;
		origin->logical_block = bdev_logical_block_size(table->real->bdev);
		origin->physical_block = bdev_physical_block_size(table->real->bdev);
	}
	mutex_unlock(&registry_mutex);
	return r;
}

static void origin_resume(struct dm_target *ti)
{
	struct origin_table *table = ti->private;

	origin_run(table->origin);
}

static void origin_postsuspend(struct dm_target *ti)
{
	struct origin_table *table = ti->private;

	origin_pause(table->origin);
}

static void origin_status(struct dm_target *ti, status_type_t type,
			  unsigned int status_flags, char *result, unsigned int maxlen)
{
	struct origin_table *table = ti->private;
	struct origin *origin = table->origin;
	const char *state = "idle", *store = "-";
	unsigned int sz = 0;
	struct member *member;
	uuid_t generation;
	u64 number;

	switch (type) {
	case STATUSTYPE_INFO:
		number = tracker_state(&origin->tracker, &generation);
		rcu_read_lock();
		member = rcu_dereference(origin->member);
		if (member) {
			store = member->snapshot->name;
			if (snapshot_given_up(member->snapshot))
				state = "invalid";
			else if (snapshot_active(member->snapshot))
				state = "held";
			else
				state = "added";
		}
		DMEMIT("%s %s %lld %lld %lld %pUb %llu %u", state, store,
		       atomic64_read(&origin->nr_copies),
		       atomic64_read(&origin->nr_preserved),
		       atomic64_read(&origin->nr_held), &generation, number,
		       1U << origin->tracker.block_shift);
		rcu_read_unlock();
		break;
	case STATUSTYPE_TABLE:
		DMEMIT("%s", table->real->name);
		if (table->tracking_block)
			DMEMIT(" 2 tracking_block %u", table->tracking_block);
		else if (table->has_feature_count)
			DMEMIT(" 0");
		break;
	case STATUSTYPE_IMA:
		DMEMIT_TARGET_NAME_VERSION(ti->type);
		DMEMIT(",real_device=%s;", table->real->name);
		break;
	}
}

static int target_message(struct dm_target *ti, unsigned int argc, char **argv,
			  char *result, unsigned int maxlen)
{
	struct origin_table *table = ti->private;

	return origin_message(table->origin, argc, argv, result, maxlen);
}

static int origin_iterate_devices(struct dm_target *ti,
				  iterate_devices_callout_fn fn, void *data)
{
	struct origin_table *table = ti->private;

	return fn(ti, table->real, 0, ti->len, data);
}

struct target_type origin_target = {
	.name = "diffsnap-origin",
	.version = { 1, 0, 0 },
	.features = DM_TARGET_SINGLETON | DM_TARGET_NOWAIT,
	.module = THIS_MODULE,
	.ctr = origin_ctr,
	.dtr = origin_dtr,
	.map = origin_map,
	.end_io = origin_end_io,
	.preresume = origin_preresume,
	.resume = origin_resume,
	.postsuspend = origin_postsuspend,
	.message = target_message,
	.status = origin_status,
	.iterate_devices = origin_iterate_devices,
};
