// SPDX-License-Identifier: GPL-2.0-only
/*
 * The store: its space, and the buffer of what is not written yet.
 */
#include <linux/device-mapper.h>
#include <linux/jiffies.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "compat.h"
#include "io.h"
#include "store_internal.h"

/* How often who waits for memory looks for it. */
#define MEMORY_POLL	max(HZ / 50, 1)

/* Places that wait until the readers of their epoch have ended. */
struct retired {
	struct list_head node;
	place_t place;
	unsigned int nr;
};

DECLARE_WAIT_QUEUE_HEAD(store_drain_waitq);

static void uncharge(struct store *store, unsigned int nr)
{
	lockdep_assert_held(&store->lock);
	store->nr_charged -= nr;
}

/*
 * Feeders
 *
 * What is dirty leaves the buffer as fast as the store writes, which is watched.
 * What is being read leaves it as fast as an origin's device answers, which may
 * be never, and is waited for by nobody but the writes of that origin.
 */

void store_add_feeder(struct store *store, struct feeder *feeder)
{
	feeder->nr_reading = 0;
	bio_list_init(&feeder->waiting);
	spin_lock(&store->lock);
	list_add_tail(&feeder->node, &store->feeders);
	store->nr_feeders++;
	spin_unlock(&store->lock);
}

/*
 * How many chunks of one feeder may be on their way from its device: if those of
 * all others stay there, the last one still has its own part, and never less room
 * in the whole buffer than wakes the throttled. Who is alone has all.
 */
static u64 feeder_limit(const struct store *store)
{
	u64 limit = store_buffer_limit(store);

	lockdep_assert_held(&store->lock);
	if (store->nr_feeders < 2)
		return limit;
	return max(div_u64(limit - store_wake_room(store), store->nr_feeders), 1ULL);
}

/*
 * @nr chunks of @feeder's are no longer being read. Moves those to @parked who
 * waited for that, when half of the limit is free: each of them will ask anew.
 */
static void end_reading(struct store *store, struct feeder *feeder, unsigned int nr,
			struct bio_list *parked)
{
	lockdep_assert_held(&store->lock);
	feeder->nr_reading -= nr;
	if (feeder->nr_reading > feeder_limit(store) / 2)
		return;
	bio_list_merge(parked, &feeder->waiting);
	bio_list_init(&feeder->waiting);
}

static void go_on(struct store *store, struct bio_list *parked)
{
	if (!bio_list_empty(parked))
		store->ops->go_on(store, parked);
}

bool store_await_reads(struct store *store, struct feeder *feeder,
		       struct diffsnap_io *io)
{
	bool parked = false;

	spin_lock(&store->lock);
	/* Whatever is being read ends, and looks who waits. */
	if (feeder->nr_reading && !store->ops->given_up(store)) {
		store_park(store, &feeder->waiting, io);
		parked = true;
	}
	spin_unlock(&store->lock);
	return parked;
}

/*
 * Copies before they are in the buffer
 */

/* Charges @nr chunks, or fewer: what @feeder may have. Returns how many, or an error. */
static int charge(struct store *store, struct feeder *feeder, unsigned int nr, bool queue)
{
	u64 limit = feeder_limit(store);

	lockdep_assert_held(&store->lock);
	nr = min_t(u64, nr, limit);
	if ((queue && !bio_list_empty(&feeder->waiting)) ||
	    (feeder->nr_reading && feeder->nr_reading + nr > limit))
		return -EDQUOT;
	if ((queue && !bio_list_empty(&store->throttled)) ||
	    (store->nr_charged && store->nr_charged + nr > store_buffer_limit(store)))
		return -EBUSY;
	feeder->nr_reading += nr;
	store->nr_charged += nr;
	return nr;
}

/* What was charged, but is not needed. */
static void give_back(struct store *store, struct feeder *feeder, unsigned int nr)
{
	struct bio_list parked;

	bio_list_init(&parked);
	spin_lock(&store->lock);
	uncharge(store, nr);
	end_reading(store, feeder, nr, &parked);
	/* Somebody may have been throttled by this charge alone. */
	if (!bio_list_empty(&store->throttled))
		write_behind_kick(store);
	spin_unlock(&store->lock);
	go_on(store, &parked);
}

struct copy *store_copy_alloc(struct store *store, struct feeder *feeder,
			      struct block_device *bdev, unsigned int nr,
			      bool queue, gfp_t gfp)
{
	struct copy *copy;
	int charged;

	if (atomic_read(&store->nr_unpublished))
		return ERR_PTR(-ENOMEM);
	spin_lock(&store->lock);
	charged = charge(store, feeder, min(nr, store->copy_max), queue);
	if (charged < 0) {
		spin_unlock(&store->lock);
		return ERR_PTR(charged);
	}
	nr = charged;
	copy = copy_take_spare(store, nr);
	spin_unlock(&store->lock);

	if (copy) {
		copy_renew(copy, bdev);
	} else {
		copy = copy_create(store, bdev, nr, gfp);
		/*
		 * The reserves hold one largest copy. While others have a part of
		 * them for small ones, all of it may never be there at once.
		 */
		while (!copy && gfpflags_allow_blocking(gfp) && nr > 1) {
			nr /= 2;
			copy = copy_create(store, bdev, nr, gfp);
		}
	}
	if (!copy) {
		give_back(store, feeder, charged);
		return ERR_PTR(-ENOMEM);
	}
	if (nr < charged)
		give_back(store, feeder, charged - nr);
	copy->charged = nr;
	copy->feeder = feeder;
	return copy;
}

unsigned long store_last_copy(struct store *store, unsigned long since)
{
	unsigned long last = READ_ONCE(store->last_copy);

	return time_after(last, since) ? last : since;
}

bool store_await_memory(struct store *store, unsigned long since)
{
	unsigned long patience =
		msecs_to_jiffies(READ_ONCE(store->settings.timeout_ms));

	if (time_after(jiffies, since + patience))
		return false;
	/* What is in the buffer comes back when it is written. */
	store_flush(store);
	schedule_timeout_idle(MEMORY_POLL);
	return true;
}

static void tell_if_low(struct store *store)
{
	u64 free = space_available(&store->space) << store->chunk_shift;

	if (store->low_told || free >= store->settings.low_water)
		return;
	store->low_told = true;
	store->ops->low(store);
}

int store_copy_place(struct copy *copy, unsigned int nr)
{
	struct store *store = copy->store;

	spin_lock(&store->lock);
	nr = space_alloc(&store->space, min(nr, copy->nr), &copy->place);
	if (nr)
		tell_if_low(store);
	spin_unlock(&store->lock);
	if (!nr)
		return -ENOSPC;
	copy->nr = nr;
	return 0;
}

void store_copy_free(struct copy *copy, bool placed)
{
	struct store *store = copy->store;
	struct bio_list parked;

	bio_list_init(&parked);
	spin_lock(&store->lock);
	uncharge(store, copy->charged);
	end_reading(store, copy->feeder, copy->charged, &parked);
	if (placed)
		space_free(&store->space, copy->place, copy->nr);
	if (!bio_list_empty(&store->throttled))
		write_behind_kick(store);
	spin_unlock(&store->lock);
	copy_put(copy);
	go_on(store, &parked);
}

/*
 * The buffer: committed copies, which never overlap, by place
 */

struct copy *store_buffer_search(struct store *store, place_t place)
{
	struct rb_node *node = store->buffer.rb_node;
	struct copy *found = NULL;

	lockdep_assert_held(&store->lock);
	while (node) {
		struct copy *copy = rb_entry(node, struct copy, place_node);

		if (from_place(place) < from_place(copy->place) + copy->nr) {
			found = copy;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return found;
}

static void buffer_insert(struct store *store, struct copy *new)
{
	struct rb_node **link = &store->buffer.rb_node, *parent = NULL;

	lockdep_assert_held(&store->lock);
	while (*link) {
		struct copy *copy = rb_entry(*link, struct copy, place_node);

		parent = *link;
		if (from_place(new->place) < from_place(copy->place))
			link = &parent->rb_left;
		else
			link = &parent->rb_right;
	}
	rb_link_node(&new->place_node, parent, link);
	rb_insert_color(&new->place_node, &store->buffer);
}

void store_buffer_remove(struct store *store, struct copy *copy)
{
	unsigned int first, end;

	lockdep_assert_held(&store->lock);
	rb_erase(&copy->place_node, &store->buffer);
	uncharge(store, copy->charged);
	/* No reader can have found these on the device. */
	for_each_set_bitrange(first, end, copy->dead, copy->nr)
		space_free(&store->space, place_add(copy->place, first),
			   end - first);
}

void store_commit(struct copy *copy)
{
	struct store *store = copy->store;
	struct bio_list parked;
	bool due;

	bio_list_init(&parked);
	spin_lock(&store->lock);
	copy->state = COPY_DIRTY;
	end_reading(store, copy->feeder, copy->charged, &parked);
	/* Nothing was expected of the device before. */
	if (!store->nr_dirty)
		store->progress = jiffies;
	buffer_insert(store, copy);
	store->nr_dirty += copy->nr;
	due = write_behind_due(store);
	spin_unlock(&store->lock);

	write_behind_start(store, due);
	go_on(store, &parked);
}

/*
 * Giving places back
 */

void store_reuse_retired(struct store *store)
{
	lockdep_assert_held(&store->lock);

	for (;;) {
		unsigned int former = !store->epoch;
		struct retired *retired, *next;

		/*
		 * A place retired in an epoch may be known to readers of that
		 * epoch and of the former one. The epoch changes only when the
		 * former one has no readers, so that after the change only
		 * one count has to be waited for.
		 */
		if (atomic_read(&store->readers[former]))
			break;
		list_for_each_entry_safe(retired, next, &store->retired[former], node) {
			space_free(&store->space, retired->place, retired->nr);
			list_del(&retired->node);
			kfree(retired);
		}
		if (list_empty(&store->retired[store->epoch]))
			break;
		store->epoch = former;
	}
	WRITE_ONCE(store->retired_waits,
		   !list_empty(&store->retired[0]) ||
		   !list_empty(&store->retired[1]));
}

static void retire_written(struct store *store, place_t place, unsigned int nr)
{
	struct retired *retired;

	lockdep_assert_held(&store->lock);
	if (!atomic_read(&store->readers[0]) && !atomic_read(&store->readers[1])) {
		space_free(&store->space, place, nr);
		return;
	}
	retired = kmalloc(sizeof(*retired), GFP_TRY);
	if (!retired) {
		store->space.nr_lost += nr;
		return;
	}
	retired->place = place;
	retired->nr = nr;
	list_add(&retired->node, &store->retired[store->epoch]);
	WRITE_ONCE(store->retired_waits, true);
	/*
	 * Pairs with the barrier of the atomic in store_read_end(): either the
	 * last reader sees retired_waits, or we see that it has ended.
	 */
	smp_mb();
	store_reuse_retired(store);
}

void store_retire(struct store *store, place_t place, unsigned int nr)
{
	LIST_HEAD(forgotten);
	struct copy *copy, *next;

	spin_lock(&store->lock);
	while (nr) {
		unsigned int step = nr;

		copy = store_buffer_search(store, place);
		if (copy && from_place(copy->place) <= from_place(place)) {
			unsigned int first = from_place(place) -
					     from_place(copy->place);

			step = min(nr, copy->nr - first);
			bitmap_set(copy->dead, first, step);
			copy->nr_dead += step;
			if (copy->nr_dead == copy->nr &&
			    copy->state == COPY_DIRTY) {
				store->nr_dirty -= copy->nr;
				store_buffer_remove(store, copy);
				list_add(&copy->batch_node, &forgotten);
			}
		} else {
			if (copy)
				step = min_t(u64, nr, from_place(copy->place) -
						      from_place(place));
			retire_written(store, place, step);
		}
		place = place_add(place, step);
		nr -= step;
	}
	if (!bio_list_empty(&store->throttled))
		write_behind_kick(store);
	spin_unlock(&store->lock);

	list_for_each_entry_safe(copy, next, &forgotten, batch_node)
		copy_put(copy);
}

/*
 * Readers
 */

void store_park(struct store *store, struct bio_list *list,
		struct diffsnap_io *io)
{
	lockdep_assert_held(&store->lock);
	store->ops->get(store);
	bio_list_add(list, io_bio(io));
}

int store_find(struct store *store, place_t place, unsigned int nr,
	       struct store_source *source, struct diffsnap_io *io)
{
	struct copy *copy;
	int r = 0;

	spin_lock(&store->lock);
	copy = store_buffer_search(store, place);
	if (store->ops->given_up(store)) {
		/* The buffer may have been forgotten. */
		r = -EIO;
	} else if (copy && from_place(copy->place) <= from_place(place)) {
		unsigned int first = from_place(place) - from_place(copy->place);

		refcount_inc(&copy->refs);
		source->copy = copy;
		source->offset = first << (store->chunk_shift + SECTOR_SHIFT);
		source->nr = min(nr, copy->nr - first);
	} else if (store->stopped) {
		store_park(store, &store->stalled, io);
		r = -EBUSY;
	} else {
		source->copy = NULL;
		source->bdev = store->bdev;
		source->epoch = store->epoch;
		source->nr = nr;
		if (copy)
			source->nr = min_t(u64, nr, from_place(copy->place) -
						    from_place(place));
		atomic_inc(&store->readers[store->epoch]);
	}
	spin_unlock(&store->lock);
	return r;
}

void store_read_end(struct store *store, unsigned int epoch)
{
	/* A full barrier, which pairs with those in retire_written() and store_stop(). */
	if (!atomic_dec_and_test(&store->readers[epoch]))
		return;
	if (READ_ONCE(store->retired_waits))
		write_behind_kick(store);
	if (READ_ONCE(store->stopped))
		wake_up(&store_drain_waitq);
}

/*
 * The device
 */

int store_start(struct store *store, struct block_device *bdev, u64 sectors,
		const struct store_settings *settings)
{
	struct bio_list parked;
	int r;

	bio_list_init(&parked);
	spin_lock(&store->lock);
	r = space_grow(&store->space, sectors >> store->chunk_shift);
	if (!r) {
		store->bdev = bdev;
		store->settings = *settings;
		/* Not so much that it would matter beside the buffer. */
		WRITE_ONCE(store->spare_limit, min_t(u64, INT_MAX,
						     store_buffer_limit(store) / 4));
		if (space_available(&store->space) << store->chunk_shift >=
		    settings->low_water)
			store->low_told = false;
		WRITE_ONCE(store->stopped, false);
		store->progress = jiffies;
		bio_list_merge(&parked, &store->stalled);
		bio_list_init(&store->stalled);
	}
	spin_unlock(&store->lock);
	if (r)
		return r;

	go_on(store, &parked);
	write_behind_kick(store);
	return 0;
}

void store_stop(struct store *store)
{
	spin_lock(&store->lock);
	WRITE_ONCE(store->stopped, true);
	spin_unlock(&store->lock);
	/* Pairs with the barrier in store_read_end(). */
	smp_mb();
}

static bool store_idle(struct store *store)
{
	bool idle;

	spin_lock(&store->lock);
	idle = !store->nr_batches && !atomic_read(&store->readers[0]) &&
	       !atomic_read(&store->readers[1]);
	spin_unlock(&store->lock);
	return idle;
}

void store_drain(struct store *store)
{
	wait_event(store_drain_waitq, store_idle(store));
}

/*
 * Making and telling
 */

void store_set_low_water(struct store *store, u64 sectors)
{
	spin_lock(&store->lock);
	store->settings.low_water = sectors;
	store->low_told = false;
	tell_if_low(store);
	spin_unlock(&store->lock);
}

void store_usage(struct store *store, struct store_usage *usage)
{
	spin_lock(&store->lock);
	usage->used = space_used(&store->space) << store->chunk_shift;
	usage->size = store->space.nr_places << store->chunk_shift;
	usage->buffered = store->nr_charged << store->chunk_shift;
	usage->low_water = store->settings.low_water;
	usage->low = usage->size - usage->used < usage->low_water;
	spin_unlock(&store->lock);
}

int store_init(struct store *store, const struct store_ops *ops,
	       unsigned int chunk_sectors)
{
	unsigned int chunk_bytes = chunk_sectors << SECTOR_SHIFT;
	int r;

	store->ops = ops;
	store->chunk_shift = ilog2(chunk_sectors);
	store->page_bytes = min_t(unsigned int, chunk_bytes, PAGE_SIZE);
	store->pages_per_chunk = chunk_bytes / store->page_bytes;
	store->copy_max = min_t(unsigned int, COPY_MAX_PAGES / store->pages_per_chunk,
				COPY_MAX_BYTES / chunk_bytes);

	mutex_init(&store->taker);
	spin_lock_init(&store->lock);
	space_init(&store->space, 0);
	BUILD_BUG_ON(1U << COPY_MAX_SHIFT != COPY_MAX_PAGES);
	store->buffer = RB_ROOT;
	store->stopped = true;
	INIT_LIST_HEAD(&store->feeders);
	INIT_LIST_HEAD(&store->retired[0]);
	INIT_LIST_HEAD(&store->retired[1]);
	bio_list_init(&store->stalled);

	r = copy_init_reserves(store);
	if (r)
		return r;
	r = write_behind_init(store);
	if (r)
		copy_exit_reserves(store);
	return r;
}

void store_destroy(struct store *store)
{
	struct retired *retired, *next;
	unsigned int epoch;

	write_behind_exit(store);
	for (epoch = 0; epoch < 2; epoch++)
		list_for_each_entry_safe(retired, next, &store->retired[epoch], node)
			kfree(retired);
	space_destroy(&store->space);
	copy_free_spares(store);
	copy_exit_reserves(store);
}

