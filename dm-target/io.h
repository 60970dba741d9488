/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A request of an origin or an image, and its parking.
 *
 * A request that must wait is parked on one list. It holds a reference of the
 * snapshot that it waits for, and no other state of its own: when it goes on,
 * its resume function looks at everything anew.
 */
#ifndef DIFFSNAP_IO_H
#define DIFFSNAP_IO_H

#include <linux/bio.h>
#include <linux/device-mapper.h>

#include "gfp_try.h"

struct member;
struct copy;

/* The data of a bio of any of our targets; dm's per-bio data. */
struct diffsnap_io {
	/*
	 * Takes the request on after it was parked, with GFP_TRY or, in a worker
	 * that may wait for memory, GFP_RECLAIM; that is so for all of an
	 * image's. Called with a reference of the member's snapshot that is
	 * given back after it returns.
	 */
	void (*resume)(struct diffsnap_io *io, gfp_t gfp);
	struct dm_target *ti;
	struct member *member;		/* set when first parked */

	bool image;			/* of an image, not of an origin */

	/* Origin's write. */
	bool counted;			/* in origin->started */
	bool fresh;			/* a worker has yet to begin its copies */

	/* Image's request. */
	u8 kind;			/* enum image_io_kind, see image_io.c */
	u8 epoch;			/* of a read from the store */
	unsigned short flags;		/* bio->bi_flags, as it came in */
	struct bvec_iter iter;		/* likewise */
	unsigned int done;		/* bytes that are dealt with */
};

static inline struct bio *io_bio(struct diffsnap_io *io)
{
	return dm_bio_from_per_bio_data(io, sizeof(*io));
}

static inline struct diffsnap_io *bio_io(struct bio *bio)
{
	return dm_per_bio_data(bio, sizeof(struct diffsnap_io));
}

/*
 * For a write that is going to be held: who polls would not find it when a worker
 * submits it. Nor can it be refused instead, if it must not wait: dm tries a polled
 * request that got EAGAIN again, from a worker, and what it gets there io_uring
 * reports.
 */
static inline void bio_stop_polling(struct bio *bio)
{
	if (bio->bi_opf & REQ_POLLED) {
		bio_clear_polled(bio);
		bio->bi_opf &= ~REQ_NOWAIT;
	}
}

#endif /* DIFFSNAP_IO_H */
