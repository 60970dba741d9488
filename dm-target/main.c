// SPDX-License-Identifier: GPL-2.0-only
/*
 * diffsnap: point-in-time snapshots of sets of block devices.
 *
 * See dm-diffsnap.rst for what the targets do and how the parts fit.
 */
#include <linux/blkdev.h>
#include <linux/kdev_t.h>
#include <linux/module.h>

#include "change_map.h"
#include "cow.h"
#include "image_io.h"
#include "origin.h"
#include "snapshot.h"
#include "store.h"
#include "target.h"

int parse_device(const char *arg, dev_t *dev)
{
	unsigned int major, minor;
	char end;

	if (sscanf(arg, "%u:%u%c", &major, &minor, &end) == 2) {
		*dev = MKDEV(major, minor);
		return MAJOR(*dev) == major && MINOR(*dev) == minor ? 0 : -EOVERFLOW;
	}
	return lookup_bdev(arg, dev);
}

static void nothing_to_flush(void)
{
}

/*
 * Each part, in the order of making. They are flushed in this order, too, all
 * before the first is undone: a worker may be giving back the last reference of
 * a snapshot whose tables are gone, and ending a snapshot needs them all.
 */
static const struct {
	int (*init)(void);
	void (*flush)(void);
	void (*exit)(void);
} parts[] = {
	{ store_module_init, store_module_flush, store_module_exit },
	{ origin_module_init, origin_module_flush, origin_module_exit },
	{ cow_module_init, cow_module_flush, cow_module_exit },
	{ snapshot_module_init, snapshot_module_flush, snapshot_module_exit },
	{ image_io_module_init, nothing_to_flush, image_io_module_exit },
	{ change_map_module_init, nothing_to_flush, change_map_module_exit },
};

static struct target_type * const targets[] = {
	&origin_target, &store_target, &image_target,
};

static void undo(unsigned int nr_parts, unsigned int nr_targets)
{
	unsigned int i;

	while (nr_targets--)
		dm_unregister_target(targets[nr_targets]);
	for (i = 0; i < nr_parts; i++)
		parts[i].flush();
	while (nr_parts--)
		parts[nr_parts].exit();
}

static int __init diffsnap_init(void)
{
	unsigned int nr_parts = 0, nr_targets = 0;
	int r;

	for (; nr_parts < ARRAY_SIZE(parts); nr_parts++) {
		r = parts[nr_parts].init();
		if (r)
			goto fail;
	}
	for (; nr_targets < ARRAY_SIZE(targets); nr_targets++) {
		r = dm_register_target(targets[nr_targets]);
		if (r)
			goto fail;
	}
	return 0;

fail:
	undo(nr_parts, nr_targets);
	return r;
}

static void __exit diffsnap_exit(void)
{
	undo(ARRAY_SIZE(parts), ARRAY_SIZE(targets));
}

module_init(diffsnap_init);
module_exit(diffsnap_exit);

MODULE_DESCRIPTION("device-mapper snapshots of sets of devices, for backup");
MODULE_AUTHOR("The diffsnap developers");
MODULE_LICENSE("GPL");
