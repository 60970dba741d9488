// SPDX-License-Identifier: GPL-2.0-only
/*
 * diffsnap-image: an origin as it was at the cut. See image_io.c for its I/O.
 */
#include <linux/blkdev.h>
#include <linux/kdev_t.h>
#include <linux/slab.h>

#include "compat.h"
#include "image_io.h"
#include "target.h"

/* The largest discard that is taken at once, so that .map ends soon. */
#define MAX_DISCARD_SECTORS	(1U << 19)

/*
 * Finds the member that the arguments name, takes a reference of its snapshot
 * and the number of the origin's real device. Returns 0 or an error.
 */
static int find_member(struct image *image, dev_t store, dev_t origin,
		       dev_t *real, char **error)
{
	int r = -ENODEV;

	mutex_lock(&registry_mutex);
	image->snapshot = snapshot_find(store);
	if (!image->snapshot) {
		*error = "The store's device is no diffsnap-store";
		goto unlock;
	}
	image->member = snapshot_member(image->snapshot, origin);
	if (!image->member) {
		*error = "The origin is not a member of the snapshot";
		goto unlock;
	}
	if (!snapshot_active(image->snapshot)) {
		*error = "The snapshot was not cut, or was given up";
		r = -EINVAL;
		goto unlock;
	}
	*real = image->member->origin->real_dev;
	strscpy(image->origin, image->member->origin->name, sizeof(image->origin));
	snapshot_get(image->snapshot);
	r = 0;
unlock:
	mutex_unlock(&registry_mutex);
	return r;
}

static int image_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	dev_t store, origin, real;
	struct image *image;
	char real_name[16];
	int r;

	if (argc != 2) {
		ti->error = "Invalid argument count";
		return -EINVAL;
	}
	r = parse_device(argv[0], &store);
	if (r) {
		ti->error = "Cannot find the store's device";
		return r;
	}
	r = parse_device(argv[1], &origin);
	if (r) {
		ti->error = "Cannot find the origin's device";
		return r;
	}

	image = kzalloc(sizeof(*image), GFP_KERNEL);
	if (!image) {
		ti->error = "Cannot allocate the image";
		return -ENOMEM;
	}
	r = find_member(image, store, origin, &real, &ti->error);
	if (r)
		goto free;
	if (ti->len != image->member->nr_sectors) {
		ti->error = "The length is not that of the origin";
		r = -EINVAL;
		goto put_snapshot;
	}
	r = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), &image->store);
	if (r) {
		ti->error = "Cannot get the store's device";
		goto put_snapshot;
	}
	snprintf(real_name, sizeof(real_name), "%u:%u", MAJOR(real), MINOR(real));
	r = dm_get_device(ti, real_name, dm_table_get_mode(ti->table), &image->real);
	if (r) {
		ti->error = "Cannot get the origin's real device";
		goto put_store;
	}

	ti->num_flush_bios = 1;
	ti->num_discard_bios = 1;
	ti->num_write_zeroes_bios = 1;
	ti->discards_supported = true;
	ti->flush_supported = true;
	ti->per_io_data_size = sizeof(struct diffsnap_io);
	ti->limit_swap_bios = true;
	ti->private = image;
	return 0;

put_store:
	dm_put_device(ti, image->store);
put_snapshot:
	snapshot_put(image->snapshot);
free:
	kfree(image);
	return r;
}

static void image_dtr(struct dm_target *ti)
{
	struct image *image = ti->private;

	dm_put_device(ti, image->real);
	dm_put_device(ti, image->store);
	snapshot_put(image->snapshot);
	kfree(image);
}

static void image_status(struct dm_target *ti, status_type_t type,
			 unsigned int status_flags, char *result, unsigned int maxlen)
{
	struct image *image = ti->private;
	struct snapshot *snapshot = image->snapshot;
	struct member_usage usage;
	const char *state;
	unsigned int sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		state = snapshot_active(snapshot) ? "active" :
			READ_ONCE(snapshot->mode) == SNAPSHOT_DROPPED ? "dropped" : "invalid";
		member_usage(image->member, &usage);
		DMEMIT("%s %llu %llu %llu", state, usage.preserved, usage.written,
		       usage.released);
		break;
	case STATUSTYPE_TABLE:
		DMEMIT("%s %s", image->store->name, image->origin);
		break;
	case STATUSTYPE_IMA:
		DMEMIT_TARGET_NAME_VERSION(ti->type);
		DMEMIT(",store=%s,origin=%s;", image->store->name, image->origin);
		break;
	}
}

static int image_iterate_devices(struct dm_target *ti,
				 iterate_devices_callout_fn fn, void *data)
{
	struct image *image = ti->private;

	/* Block sizes are the origin's; the store's do not show. */
	return fn(ti, image->real, 0, ti->len, data);
}

static void image_io_hints(struct dm_target *ti, struct queue_limits *limits)
{
	struct image *image = ti->private;
	unsigned int chunk = 1U << (image->snapshot->store.chunk_shift + SECTOR_SHIFT);

	/* The store's device may ask for the block size that stands here. */
	limits->dma_alignment = max(limits->dma_alignment,
				    limits->logical_block_size - 1);
	limits->discard_granularity = chunk;
	limits->discard_alignment = 0;
	limits->max_discard_sectors = MAX_DISCARD_SECTORS;
	limits->max_hw_discard_sectors = MAX_DISCARD_SECTORS;
	limits->max_write_zeroes_sectors = MAX_DISCARD_SECTORS;
	limits_clear_wzeroes_unmap(limits);
}

struct target_type image_target = {
	.name = "diffsnap-image",
	.version = { 1, 0, 0 },
	.features = DM_TARGET_SINGLETON,
	.module = THIS_MODULE,
	.ctr = image_ctr,
	.dtr = image_dtr,
	.map = image_map_bio,
	.end_io = image_end_io,
	.status = image_status,
	.iterate_devices = image_iterate_devices,
	.io_hints = image_io_hints,
};
