/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What store.c and write_behind.c have in common. The buffer, its charges and
 * the space are store.c's; how the buffer gets to the device, and who waits
 * for that, is write_behind.c's.
 */
#ifndef DIFFSNAP_STORE_INTERNAL_H
#define DIFFSNAP_STORE_INTERNAL_H

#include <linux/wait.h>

#include "store.h"

/*
 * Buffer, in store.c; under store->lock.
 */

/* The copy that contains @place, or else the first one behind it, or NULL. */
struct copy *store_buffer_search(struct store *store, place_t place);

/*
 * Takes a copy out of the buffer and frees those of its places that were given
 * back while it was there. The caller puts the buffer's reference.
 */
void store_buffer_remove(struct store *store, struct copy *copy);

/* Frees the places that no reader can still be reading. */
void store_reuse_retired(struct store *store);

/* Puts @io, with a reference of the snapshot, on one of the store's lists. */
void store_park(struct store *store, struct bio_list *list,
		struct diffsnap_io *io);

/* Where store_drain() waits, of any store; rare enough for one queue. */
extern wait_queue_head_t store_drain_waitq;

/*
 * What the buffer may hold: what the table says, but a largest copy and two chunks
 * of each feeder at least, which feeder_limit() needs.
 */
static inline u64 store_buffer_limit(const struct store *store)
{
	return max_t(u64, store->settings.buffer >> store->chunk_shift,
		     store->copy_max + 2 * store->nr_feeders);
}

/* Who is throttled goes on when there is so much room: less would not go far. */
static inline u64 store_wake_room(const struct store *store)
{
	return max_t(u64, store_buffer_limit(store) / 8, store->copy_max);
}

/*
 * Write-behind, in write_behind.c
 */

/* Returns 0 or -ENOMEM. */
int write_behind_init(struct store *store);

/* Nothing may be in flight; what is in the buffer is forgotten. Sleeps. */
void write_behind_exit(struct store *store);

/* Lets the worker look at the store. Any context. */
void write_behind_kick(struct store *store);

/* True if the worker would write now. Under store->lock. */
bool write_behind_due(struct store *store);

/* Writes what is dirty, at once if @due, and what is left of it after a while. */
void write_behind_start(struct store *store, bool due);

#endif /* DIFFSNAP_STORE_INTERNAL_H */
