/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The store of a snapshot: its space, the buffer of preserved data and the
 * write-behind.
 *
 * A copy gets a charge (memory) and a place (space) before its data is there,
 * is committed when it is, and belongs to the store from then on: the store
 * writes it, in the order of places and with its neighbours, and frees it.
 * Until it is written, readers find it in the buffer.
 *
 * The store knows nothing of chunk maps and origins. What it has to say, it
 * says through struct store_ops.
 */
#ifndef DIFFSNAP_STORE_H
#define DIFFSNAP_STORE_H

#include <linux/bio.h>
#include <linux/llist.h>
#include <linux/mempool.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "copy.h"
#include "space.h"

struct diffsnap_io;
struct store;

enum store_problem {
	STORE_FULL,
	STORE_WRITE_ERROR,
	STORE_TIMEOUT,
};

/* Calls upwards; from workers of the store and without locks, unless it is said. */
struct store_ops {
	/* The snapshot cannot be kept up. */
	void (*problem)(struct store *store, enum store_problem what, int error);
	/* Requests that were parked may be taken on. */
	void (*go_on)(struct store *store, struct bio_list *parked);
	/* Less than the low-water mark is free; once per crossing. Under store->lock. */
	void (*low)(struct store *store);
	/* True if the snapshot was given up: the buffer is forgotten. Any context. */
	bool (*given_up)(struct store *store);
	/* References of what contains the store. Under store->lock. */
	void (*get)(struct store *store);
	void (*put)(struct store *store);
};

/* What a table says and a reload may change; units as named. */
struct store_settings {
	u64 low_water;			/* sectors */
	u64 buffer;			/* sectors */
	unsigned int timeout_ms;
	unsigned int full_wait_ms;	/* 0: give up at once */
};

/*
 * One of those whose copies share the buffer: a member. As long as its copies are
 * being read, what they were charged is bounded, so that one whose device stands
 * still leaves room for the others. Protected by store->lock.
 */
struct feeder {
	struct list_head node;		/* in store->feeders */
	u64 nr_reading;			/* chunks charged and not committed yet */
	struct bio_list waiting;	/* until less is; never while it is 0 */
};

struct store {
	const struct store_ops *ops;
	unsigned int chunk_shift;	/* log2 of sectors per chunk */
	unsigned int pages_per_chunk;
	unsigned int page_bytes;	/* of a chunk in each of its pages */
	unsigned int copy_max;		/* chunks of the largest copy */

	/* Reserves, for one at a time: see copy_create(). */
	struct mutex taker;
	mempool_t copies;
	mempool_t tables;		/* of COPY_MAX_PAGES vectors */
	mempool_t pages;
	unsigned long last_copy;	/* when a worker last got one (jiffies) */
	/*
	 * Copies that wait for the map's memory, and are not charged once they are
	 * written: meanwhile none is made, and none becomes a spare.
	 */
	atomic_t nr_unpublished;

	struct llist_head spares[COPY_MAX_SHIFT + 1];	/* by log2 of chunks */
	atomic_t nr_spare;		/* chunks in there */
	int spare_limit;		/* chunks */
	struct bio_set batches;	/* of struct batch, see write_behind.c */

	struct work_struct write_work;
	struct delayed_work flush_work;
	struct delayed_work watch_work;
	struct work_struct release_work;
	struct llist_head written;	/* batches that are completed */
	atomic_t readers[2];		/* reads in flight, by epoch */
	bool retired_waits;		/* places wait for readers to end */

	spinlock_t lock;		/* protects what follows */
	struct space space;
	struct store_settings settings;
	struct block_device *bdev;	/* NULL before the first resume */
	bool stopped;			/* suspended: submit nothing */
	u64 flush_left;			/* dirty chunks to write in small batches, too */
	struct rb_root buffer;		/* committed copies, by place */
	u64 write_cursor;		/* the place to go on writing from */
	u64 nr_charged;			/* chunks in memory, or about to be */
	u64 nr_dirty;			/* chunks of dirty copies */
	struct list_head feeders;
	unsigned int nr_feeders;
	unsigned int nr_batches;	/* in flight */
	struct list_head batches_in_flight;
	unsigned long progress;		/* jiffies: last sign of life */
	unsigned long full_since;	/* jiffies: valid while waits_for_space */
	bool waits_for_space;
	bool low_told;
	struct bio_list throttled;	/* wait for memory or space */
	struct bio_list stalled;	/* wait for the store to be resumed */
	unsigned int epoch;
	struct list_head retired[2];	/* of struct retired, by epoch */
};

/*
 * Makes a store of no size, stopped. @chunk_sectors: a power of two. Returns 0
 * or -ENOMEM. May sleep.
 */
int store_init(struct store *store, const struct store_ops *ops,
	       unsigned int chunk_sectors);

/* Frees everything. Nothing may be in flight. May sleep. */
void store_destroy(struct store *store);

/*
 * Gives the store its device, size (sectors) and settings, or new ones, and
 * lets it run. Returns -EINVAL if it would shrink.
 */
int store_start(struct store *store, struct block_device *bdev, u64 sectors,
		const struct store_settings *settings);

/* From here on nothing new is submitted to the device. */
void store_stop(struct store *store);

/* Waits until what was submitted has ended. After store_stop(); sleeps. */
void store_drain(struct store *store);

/* Adds one to those who share the buffer, for the life of the store. */
void store_add_feeder(struct store *store, struct feeder *feeder);

/*
 * Makes a copy of at most @nr chunks that reads from @bdev: charges the buffer
 * and allocates the pages. copy->nr tells how many chunks it became. Returns
 * ERR_PTR(-EDQUOT) if too much of @feeder's is being read (store_await_reads() is
 * the answer), ERR_PTR(-EBUSY) if the buffer is full (store_throttle() is), or
 * ERR_PTR(-ENOMEM), also while others wait to be published. If @gfp may sleep, the
 * reserves are used. @queue: respect those who wait already.
 */
struct copy *store_copy_alloc(struct store *store, struct feeder *feeder,
			      struct block_device *bdev, unsigned int nr,
			      bool queue, gfp_t gfp);

/* @since or, if that is later, when a worker last got a copy, or published one. */
unsigned long store_last_copy(struct store *store, unsigned long since);

/*
 * For a worker that has found no memory since @since (jiffies): waits a moment for
 * what comes back to the reserves. Returns false if it has waited for as long as the
 * store may take to answer. Sleeps.
 */
bool store_await_memory(struct store *store, unsigned long since);

/*
 * Gives a copy its place; it becomes shorter if space is in pieces. Returns
 * -ENOSPC if there is none. Under member->lock. Only copies without a place
 * or claim may still be passed to store_copy_free().
 */
int store_copy_place(struct copy *copy, unsigned int nr);

/*
 * Frees a copy that was not committed. Its place, if it got one, is given
 * back if @placed.
 */
void store_copy_free(struct copy *copy, bool placed);

/* Puts a copy whose data is complete into the buffer. The store owns it. */
void store_commit(struct copy *copy);

/*
 * Gives places back. Data of theirs that is in the buffer is not written any
 * more if that can be helped; readers in flight are waited for. Under
 * member->lock.
 */
void store_retire(struct store *store, place_t place, unsigned int nr);

/* Where a reader finds data. */
struct store_source {
	struct copy *copy;		/* in the buffer, or NULL: on the device */
	unsigned int offset;		/* bytes into the copy */
	unsigned int nr;		/* chunks found there in one piece */
	struct block_device *bdev;	/* the device, with */
	u8 epoch;			/* the epoch that is now held */
};

/*
 * Finds the data of up to @nr chunks at @place. Returns 0 with a reference to
 * the copy (copy_put()) or an epoch (store_read_end()) held; -EBUSY if
 * the data is on the device and the store is stopped: @io is parked until it
 * is started; -EIO if the snapshot was given up. Under member->lock, which
 * keeps the places from being retired.
 */
int store_find(struct store *store, place_t place, unsigned int nr,
	       struct store_source *source, struct diffsnap_io *io);

/* Ends a read of the device. Any context. */
void store_read_end(struct store *store, unsigned int epoch);

/*
 * Parks @io until the buffer has room, or the store space if @for_space.
 * Returns false if it need not wait (any more): try again.
 */
bool store_throttle(struct store *store, struct diffsnap_io *io, bool for_space);

/*
 * Parks @io until less of @feeder's is being read. Returns false if it need not
 * wait (any more): try again.
 */
bool store_await_reads(struct store *store, struct feeder *feeder,
		       struct diffsnap_io *io);

/*
 * Hands all parked requests to store_ops::go_on, from a worker that nothing of
 * the store's can hold up: the snapshot was given up. Any context.
 */
void store_release_parked(struct store *store);

/* Asks for a written buffer without delay. */
void store_flush(struct store *store);

/* True if writes are to wait for growth when the store is full. */
static inline bool store_waits_when_full(const struct store *store)
{
	return READ_ONCE(store->settings.full_wait_ms);
}

/* Changes the low-water mark, in sectors, and arms its event. */
void store_set_low_water(struct store *store, u64 sectors);

struct store_usage {
	u64 used, size, buffered, low_water;	/* sectors */
	bool low;
};

void store_usage(struct store *store, struct store_usage *usage);

/* After the last table: until what still holds references has ended. */
void store_module_flush(void);
int store_module_init(void);
void store_module_exit(void);

static inline u64 place_to_sector(const struct store *store, place_t place)
{
	return from_place(place) << store->chunk_shift;
}

#endif /* DIFFSNAP_STORE_H */
