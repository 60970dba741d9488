/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Copy-on-write: who may change a chunk, and in what order.
 *
 * A copy claims its chunks in member->claims until its contents are published.
 * There is one claim at a time for a chunk; who needs a claimed chunk waits on
 * the claim.
 */
#ifndef DIFFSNAP_COW_H
#define DIFFSNAP_COW_H

#include "snapshot.h"

enum cow_verdict {
	COW_PASS,	/* all settled: submit the write */
	COW_PARKED,	/* waits; its resume function will be called */
	COW_WOULD_WAIT,	/* must not be parked (REQ_NOWAIT), nothing done */
};

/*
 * True if every chunk that the write touches is settled; after a full barrier
 * it may be submitted then. Takes no lock; false if that cannot be told without
 * one.
 */
bool cow_settled(struct member *member, struct bio *bio);

/*
 * To be called before a write, write zeroes or secure erase that is not
 * settled goes to @real, the origin's real device: begins copies of the
 * unsettled chunks that it touches, and parks it until they are published.
 * Waits for memory, and uses the reserves, only if @gfp may sleep; submits bios.
 */
enum cow_verdict cow_before_write(struct member *member, struct diffsnap_io *io,
				  struct block_device *real, gfp_t gfp);

/*
 * Claims up to @nr chunks from @chunk, in one region, for a write of the image
 * (@io), with a copy of kind RUN_WRITTEN that reads from @real if it reads.
 * Returns NULL if @io was parked, or an ERR_PTR: -ENOSPC if the store is full,
 * -EIO if the snapshot was given up, -ENOMEM. copy->nr tells how many chunks
 * it became; copy->finish is to be set before it is read.
 */
struct copy *cow_claim_written(struct member *member, struct diffsnap_io *io,
			       struct block_device *real, chunk_t chunk,
			       unsigned int nr, gfp_t gfp);

/*
 * Reads the old contents of a claimed copy from the origin, with @cause's
 * priority, and calls copy->finish from a worker.
 */
void cow_read_old(struct copy *copy, const struct bio *cause);

/* What a claimed copy had to read is there: calls copy->finish. Any context. */
void cow_copy_done(struct copy *copy);

/*
 * Publishes a copy whose data is complete and ends its claim. Returns 0; -EIO if the
 * snapshot was given up; -EAGAIN if an origin's copy is published by a worker, as soon
 * as there is memory; or -ENOMEM for an image's write, of which a part may have been
 * published. Does not sleep; the copy is gone.
 */
int cow_publish(struct copy *copy);

/* Ends the claim of a copy that will not have data, and frees it. */
void cow_abandon(struct copy *copy);

/*
 * Releases @nr chunks from @chunk, in one region. Returns 0; -EBUSY if @io was
 * parked; -EIO if the snapshot was given up; or -ENOMEM. Must not sleep unless @gfp
 * may.
 */
int cow_release(struct member *member, struct diffsnap_io *io, chunk_t chunk,
		unsigned int nr, gfp_t gfp);

void cow_init_member(struct member *member);

/* After the last table: until what still holds references has ended. */
void cow_module_flush(void);
int cow_module_init(void);
void cow_module_exit(void);

#endif /* DIFFSNAP_COW_H */
