/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading, writing and releasing an image.
 */
#ifndef DIFFSNAP_IMAGE_IO_H
#define DIFFSNAP_IMAGE_IO_H

#include "snapshot.h"

/* An image's table; ti->private. */
struct image {
	struct snapshot *snapshot;	/* holds a reference */
	struct member *member;
	struct dm_dev *store;		/* the dm device, held open */
	struct dm_dev *real;		/* the origin's real device */
	char origin[16];		/* major:minor, for the table line */
};

/* As dm's map and end_io. */
int image_map_bio(struct dm_target *ti, struct bio *bio);
int image_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error);

int image_io_module_init(void);
void image_io_module_exit(void);

#endif /* DIFFSNAP_IMAGE_IO_H */
