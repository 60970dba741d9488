/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The space of a store: a log that is filled from the front, and extents that
 * were given back.
 *
 * Places are handed out in ascending order, so that what is preserved one
 * after the other lies side by side and is written by large I/O. Only when
 * the log has reached the end of the store, extents that were freed are used
 * again, from a cursor that moves through them in ascending order, too.
 *
 * No bios, no devices; builds on a host (tests/kernel-host). The caller
 * serializes all calls by one lock (struct store::lock); nothing sleeps.
 */
#ifndef DIFFSNAP_SPACE_H
#define DIFFSNAP_SPACE_H

#include <linux/rbtree.h>

#include "types.h"

struct space {
	u64 nr_places;		/* size of the store, in chunks */
	u64 log_head;		/* first place that was never handed out */
	u64 cursor;		/* where the search for a freed extent goes on */
	struct rb_root freed;	/* of struct free_extent, by place, merged */
	u64 nr_freed;		/* chunks in it */
	u64 nr_lost;		/* chunks whose return found no memory */
};

/* Readies the space of a store of @nr_places chunks, all free. */
void space_init(struct space *space, u64 nr_places);

/* Frees all memory; the space is empty (size 0) afterwards. */
void space_destroy(struct space *space);

/*
 * Takes up to @want contiguous chunks and stores the first one's place in
 * @place. Returns how many were found: fewer than @want where no freed extent
 * within reach is long enough, 0 if the store is full.
 */
unsigned int space_alloc(struct space *space, unsigned int want, place_t *place);

/*
 * Gives @nr chunks from @place back. Needs memory (GFP_TRY) for an extent
 * that touches no other; without it the chunks are counted as lost, which is
 * wasteful and correct. Giving back what is free already is a bug of the
 * caller: warned of once and ignored.
 */
void space_free(struct space *space, place_t place, unsigned int nr);

/*
 * Makes the store larger. Returns -EINVAL, with nothing changed, if
 * @nr_places is less than the present size.
 */
int space_grow(struct space *space, u64 nr_places);

/* Chunks that space_alloc() can still hand out. */
static inline u64 space_available(const struct space *space)
{
	return space->nr_places - space->log_head + space->nr_freed;
}

/* Chunks in use, lost ones included. */
static inline u64 space_used(const struct space *space)
{
	return space->log_head - space->nr_freed;
}

#endif /* DIFFSNAP_SPACE_H */
