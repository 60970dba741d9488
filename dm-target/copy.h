/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A copy: consecutive chunks of an origin, their memory and the bio that fills
 * it. It is made by store_copy_alloc(), claimed and filled by cow.c, and
 * belongs to its store from store_commit() on.
 */
#ifndef DIFFSNAP_COPY_H
#define DIFFSNAP_COPY_H

#include <linux/bio.h>
#include <linux/llist.h>
#include <linux/rbtree.h>
#include <linux/refcount.h>
#include <linux/sizes.h>

#include "chunk_map.h"

struct diffsnap_io;
struct feeder;
struct member;
struct store;

/* Pages of the largest copy, and of the largest write to the store. */
#define COPY_MAX_PAGES	BIO_MAX_VECS
#define COPY_MAX_SHIFT	8		/* log2 of it */
#define COPY_MAX_BYTES	SZ_1M		/* likewise, with pages of any size */

/* Copies of so many pages need no table of vectors. */
#define COPY_FEW_PAGES	4

enum copy_state {
	COPY_CLAIMED,		/* its data is on the way */
	COPY_DIRTY,		/* in the buffer */
	COPY_WRITING,		/* in the buffer, and part of a batch */
};

/*
 * Consecutive chunks of an origin whose contents are kept at consecutive
 * places.
 */
struct copy {
	refcount_t refs;
	enum copy_state state;		/* protected by store->lock */
	chunk_t chunk;
	place_t place;
	unsigned int nr;		/* chunks */
	enum run_state kind;		/* RUN_PRESERVED or RUN_WRITTEN */

	/* Used by cow.c while claimed. */
	struct member *member;
	struct rb_node claim_node;	/* in member->claims, by chunk */
	struct llist_node done_node;	/* in ->done, ->unpublished, or a spare's list */
	struct bio_list waiters;	/* protected by member->lock */
	void (*finish)(struct copy *copy);	/* its data is there */
	struct diffsnap_io *writer;	/* the image's write, or NULL */
	u8 epoch;			/* of a read from the store */
	bool reads_store;

	struct store *store;

	/* Of the store; protected by store->lock. */
	unsigned int charged;		/* chunks charged to the buffer */
	struct feeder *feeder;		/* who has them until it is committed */
	struct rb_node place_node;	/* in store->buffer, by place */
	struct list_head batch_node;
	unsigned int nr_dead;
	DECLARE_BITMAP(dead, COPY_MAX_PAGES);	/* places given back meanwhile */

	/*
	 * Reads the old contents. Its vectors, all of unit bytes and never
	 * merged, are the copy's memory. From here on it stays as it is in a
	 * spare. The bio must be last.
	 */
	unsigned int order;		/* of each vector's pages */
	unsigned int unit;
	struct bio_vec few_vecs[COPY_FEW_PAGES];	/* if they suffice */
	struct bio bio;
};

/*
 * Makes a copy of @nr chunks, at most store->copy_max, that reads from @bdev,
 * with one reference. Returns NULL without memory. If @gfp may sleep, what is
 * missing is taken from the reserves; but it is never waited for what others have
 * of those.
 */
struct copy *copy_create(struct store *store, struct block_device *bdev,
			 unsigned int nr, gfp_t gfp);

/* A spare of @nr chunks, for copy_renew(), or NULL. Under store->lock. */
struct copy *copy_take_spare(struct store *store, unsigned int nr);

/* Makes a spare what copy_create() would have made. */
void copy_renew(struct copy *copy, struct block_device *bdev);

/*
 * Gives a reference back. With the last one it becomes a spare for a while, or
 * is freed. Any context.
 */
void copy_put(struct copy *copy);

/* Frees all spares. Takes store->lock. */
void copy_free_spares(struct store *store);

/*
 * The reserves of @store: some copies, tables of vectors for as many large ones,
 * and pages for one largest copy. Returns 0 or -ENOMEM; sleeps.
 */
int copy_init_reserves(struct store *store);
void copy_exit_reserves(struct store *store);

/*
 * The page of @copy that holds byte @offset of it, at the offset's remainder by
 * store->page_bytes: the size of a page, or that of a chunk if it is smaller and
 * has a page of its own.
 */
struct page *copy_page_at(struct copy *copy, unsigned int offset);

#endif /* DIFFSNAP_COPY_H */
