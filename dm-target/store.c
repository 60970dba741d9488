// SPDX-License-Identifier: GPL-2.0-only
/*
 * The buffer of preserved data and its way to the store's device.
 */
#include <linux/device-mapper.h>
#include <linux/jiffies.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "compat.h"
#include "io.h"
#include "store.h"

/* Writes to the store that are under way at once. */
#define MAX_BATCHES		4

/* Large enough for a disk to be busy with, small enough to be soon done. */
#define BATCH_BYTES		(COPY_MAX_PAGES * PAGE_SIZE)

/* Reserves: copies that can be made when memory is short. */
#define MIN_COPIES		16

/* Pages of a large copy are allocated in pieces of at most this order. */
#define LARGE_ORDER		4

/* How long a small rest stays in memory. */
#define FLUSH_DELAY		(HZ / 5)

/* Consecutive copies on their way to the device, in one bio. */
struct batch {
	struct store *store;
	struct llist_node done_node;		/* in store->written */
	struct list_head node;			/* in store->batches_in_flight */
	struct list_head copies;
	unsigned long started;			/* jiffies */
	struct bio bio;				/* must be last */
};

/* Places that wait until the readers of their epoch have ended. */
struct retired {
	struct list_head node;
	place_t place;
	unsigned int nr;
};

static struct workqueue_struct *store_wq;

/* store_drain() of any store; rare enough for one queue. */
static DECLARE_WAIT_QUEUE_HEAD(drain_waitq);

static void kick(struct store *store)
{
	queue_work(store_wq, &store->write_work);
}

static u64 buffer_limit(const struct store *store)
{
	return store->settings.buffer >> store->chunk_shift;
}

/* Chunks that make a batch of full size. */
static unsigned int batch_chunks(const struct store *store)
{
	return store->copy_max;
}

static unsigned long watch_period(const struct store *store)
{
	unsigned int ms = store->settings.timeout_ms;

	if (store->settings.full_wait_ms)
		ms = min(ms, store->settings.full_wait_ms);
	return msecs_to_jiffies(clamp(ms / 8, 10U, 1000U));
}

/*
 * Pages and copies
 */

static void copy_free_pages(struct copy *copy)
{
	unsigned int i;

	for (i = 0; i < copy->bio.bi_vcnt; i++) {
		struct page *page = copy->bio.bi_io_vec[i].bv_page;

		if (copy->order)
			__free_pages(page, copy->order);
		else
			mempool_free(page, &copy->store->pages);
	}
	copy->bio.bi_vcnt = 0;
	copy->bio.bi_iter.bi_size = 0;
}

static void copy_set_order(struct copy *copy, unsigned int order)
{
	copy->order = order;
	copy->unit = copy->store->page_bytes << order;
}

/*
 * Large copies in few pieces, so that devices that take few segments need not
 * split them. Only if that is to be had for nothing.
 */
static bool copy_alloc_large(struct copy *copy, unsigned int nr_pages)
{
	unsigned int order = min_t(unsigned int, __ffs(nr_pages), LARGE_ORDER);

	if (!order)
		return false;
	copy_set_order(copy, order);
	for (; nr_pages; nr_pages -= 1U << order) {
		struct page *page = alloc_pages(GFP_TRY | __GFP_NORETRY |
						__GFP_COMP, order);

		if (!page) {
			copy_free_pages(copy);
			return false;
		}
		__bio_add_page(&copy->bio, page, copy->unit, 0);
	}
	return true;
}

/*
 * Only one worker per store allocates with a @gfp that may sleep, so that the
 * pool's reserve, which suffices for a largest copy, is never shared out
 * among several that wait for each other.
 */
static bool copy_alloc_pages(struct copy *copy, unsigned int nr_pages, gfp_t gfp)
{
	struct store *store = copy->store;

	if (copy_alloc_large(copy, nr_pages))
		return true;
	copy_set_order(copy, 0);
	while (copy->bio.bi_vcnt < nr_pages) {
		struct page *page;

		if (gfpflags_allow_blocking(gfp))
			page = mempool_alloc(&store->pages, gfp);
		else
			page = alloc_page(gfp);
		if (!page)
			return false;
		__bio_add_page(&copy->bio, page, copy->unit, 0);
	}
	return true;
}

static void uncharge(struct store *store, unsigned int nr)
{
	lockdep_assert_held(&store->lock);
	store->nr_charged -= nr;
}

struct copy *store_copy_alloc(struct store *store, struct block_device *bdev,
			      unsigned int nr, bool queue, gfp_t gfp)
{
	struct copy *copy;
	struct bio *bio;

	nr = min(nr, store->copy_max);

	spin_lock(&store->lock);
	if ((queue && !bio_list_empty(&store->throttled)) ||
	    (store->nr_charged && store->nr_charged + nr > buffer_limit(store))) {
		spin_unlock(&store->lock);
		return ERR_PTR(-EBUSY);
	}
	store->nr_charged += nr;
	spin_unlock(&store->lock);

	bio = bio_alloc_bioset(bdev, nr * store->pages_per_chunk, REQ_OP_READ,
			       gfp, &store->copies);
	if (!bio)
		goto no_bio;

	copy = container_of(bio, struct copy, bio);
	memset(copy, 0, offsetof(struct copy, bio));
	refcount_set(&copy->refs, 1);
	copy->store = store;
	copy->charged = nr;
	copy->nr = nr;
	bio_list_init(&copy->waiters);
	RB_CLEAR_NODE(&copy->claim_node);
	INIT_LIST_HEAD(&copy->batch_node);

	if (!copy_alloc_pages(copy, nr * store->pages_per_chunk, gfp)) {
		store_copy_free(copy, false);
		return ERR_PTR(-ENOMEM);
	}
	return copy;

no_bio:
	spin_lock(&store->lock);
	uncharge(store, nr);
	spin_unlock(&store->lock);
	return ERR_PTR(-ENOMEM);
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

	spin_lock(&store->lock);
	uncharge(store, copy->charged);
	if (placed)
		space_free(&store->space, copy->place, copy->nr);
	if (!bio_list_empty(&store->throttled))
		kick(store);
	spin_unlock(&store->lock);
	store_copy_put(copy);
}

void store_copy_put(struct copy *copy)
{
	if (!refcount_dec_and_test(&copy->refs))
		return;
	copy_free_pages(copy);
	bio_put(&copy->bio);
}

struct page *store_copy_page(struct copy *copy, unsigned int offset)
{
	return copy->bio.bi_io_vec[offset / copy->unit].bv_page +
	       offset % copy->unit / PAGE_SIZE;
}

/*
 * The buffer: committed copies, which never overlap, by place
 */

/* The copy that contains @place, or else the first one behind it, or NULL. */
static struct copy *buffer_search(struct store *store, place_t place)
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

/*
 * Takes a copy out of the buffer and frees those of its places that were given
 * back while it was there. No reader can have found these on the device.
 */
static void buffer_remove(struct store *store, struct copy *copy)
{
	unsigned int first, end;

	lockdep_assert_held(&store->lock);
	rb_erase(&copy->place_node, &store->buffer);
	uncharge(store, copy->charged);
	for_each_set_bitrange(first, end, copy->dead, copy->nr)
		space_free(&store->space, place_add(copy->place, first),
			   end - first);
}

void store_commit(struct copy *copy)
{
	struct store *store = copy->store;
	bool due;

	spin_lock(&store->lock);
	copy->state = COPY_DIRTY;
	buffer_insert(store, copy);
	store->nr_dirty += copy->nr;
	due = (store->nr_dirty >= batch_chunks(store) ||
	       !bio_list_empty(&store->throttled)) &&
	      store->nr_batches < MAX_BATCHES;
	spin_unlock(&store->lock);

	if (due)
		kick(store);
	else
		queue_delayed_work(store_wq, &store->flush_work, FLUSH_DELAY);
	queue_delayed_work(store_wq, &store->watch_work, watch_period(store));
}

/*
 * Giving places back
 */

/* Frees what no reader can still be reading. */
static void reuse_retired(struct store *store)
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
	reuse_retired(store);
}

void store_retire(struct store *store, place_t place, unsigned int nr)
{
	LIST_HEAD(forgotten);
	struct copy *copy, *next;

	spin_lock(&store->lock);
	while (nr) {
		unsigned int step = nr;

		copy = buffer_search(store, place);
		if (copy && from_place(copy->place) <= from_place(place)) {
			unsigned int first = from_place(place) -
					     from_place(copy->place);

			step = min(nr, copy->nr - first);
			bitmap_set(copy->dead, first, step);
			copy->nr_dead += step;
			if (copy->nr_dead == copy->nr &&
			    copy->state == COPY_DIRTY) {
				store->nr_dirty -= copy->nr;
				buffer_remove(store, copy);
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
		kick(store);
	spin_unlock(&store->lock);

	list_for_each_entry_safe(copy, next, &forgotten, batch_node)
		store_copy_put(copy);
}

/*
 * Readers
 */

static void park(struct store *store, struct bio_list *list,
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
	copy = buffer_search(store, place);
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
		park(store, &store->stalled, io);
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
		kick(store);
	if (READ_ONCE(store->stopped))
		wake_up(&drain_waitq);
}

/*
 * Writing behind
 */

static void batch_end_io(struct bio *bio)
{
	struct batch *batch = container_of(bio, struct batch, bio);
	struct store *store = batch->store;

	/*
	 * The batch, and its reference, are gone as soon as the worker has
	 * seen it; the store itself is freed after a grace period.
	 */
	rcu_read_lock();
	llist_add(&batch->done_node, &store->written);
	kick(store);
	rcu_read_unlock();
}

static bool batch_due(struct store *store)
{
	lockdep_assert_held(&store->lock);
	if (!store->nr_dirty)
		store->flush = false;
	if (store->stopped || !store->nr_dirty || store->nr_batches >= MAX_BATCHES)
		return false;
	if (store->flush || store->nr_dirty >= batch_chunks(store))
		return true;
	return !store->nr_batches && !bio_list_empty(&store->throttled);
}

/* The dirty copy to go on with. */
static struct copy *next_dirty(struct store *store)
{
	struct copy *start = buffer_search(store, to_place(store->write_cursor));
	struct rb_node *node;

	for (node = start ? &start->place_node : NULL; node; node = rb_next(node))
		if (rb_entry(node, struct copy, place_node)->state == COPY_DIRTY)
			return rb_entry(node, struct copy, place_node);
	for (node = rb_first(&store->buffer); node; node = rb_next(node))
		if (rb_entry(node, struct copy, place_node)->state == COPY_DIRTY)
			return rb_entry(node, struct copy, place_node);
	return NULL;
}

static bool batch_add(struct batch *batch, struct copy *copy)
{
	struct store *store = batch->store;
	unsigned int bytes = copy->nr << (store->chunk_shift + SECTOR_SHIFT);
	unsigned int i, len;

	lockdep_assert_held(&store->lock);
	if (batch->bio.bi_vcnt + DIV_ROUND_UP(bytes, copy->unit) > COPY_MAX_PAGES ||
	    batch->bio.bi_iter.bi_size + bytes > BATCH_BYTES)
		return false;
	/* A copy that got less space than it asked for does not use all of it. */
	for (i = 0; bytes; i++, bytes -= len) {
		len = min(bytes, copy->unit);
		__bio_add_page(&batch->bio, copy->bio.bi_io_vec[i].bv_page, len, 0);
	}
	copy->state = COPY_WRITING;
	store->nr_dirty -= copy->nr;
	list_add_tail(&copy->batch_node, &batch->copies);
	return true;
}

/* Fills @batch with a run of dirty copies; false if there is nothing to do. */
static bool batch_fill(struct store *store, struct batch *batch)
{
	struct copy *copy;
	struct rb_node *node;

	lockdep_assert_held(&store->lock);
	if (!batch_due(store))
		return false;
	copy = next_dirty(store);
	if (WARN_ON_ONCE(!copy))
		return false;

	bio_set_dev(&batch->bio, store->bdev);
	batch->bio.bi_iter.bi_sector = place_to_sector(store, copy->place);
	store->write_cursor = from_place(copy->place);
	while (copy->state == COPY_DIRTY &&
	       from_place(copy->place) == store->write_cursor &&
	       batch_add(batch, copy)) {
		store->write_cursor += copy->nr;
		node = rb_next(&copy->place_node);
		if (!node)
			break;
		copy = rb_entry(node, struct copy, place_node);
	}
	batch->started = jiffies;
	list_add_tail(&batch->node, &store->batches_in_flight);
	store->nr_batches++;
	store->ops->get(store);
	return true;
}

static void write_dirty(struct store *store)
{
	for (;;) {
		struct batch *batch;
		struct bio *bio;
		bool due;

		spin_lock(&store->lock);
		due = batch_due(store);
		spin_unlock(&store->lock);
		if (!due)
			return;

		/* Does not wait: the set's reserve is MAX_BATCHES. */
		bio = bio_alloc_bioset(NULL, COPY_MAX_PAGES, REQ_OP_WRITE,
				       GFP_NOIO, &store->batches);
		bio->bi_end_io = batch_end_io;
		batch = container_of(bio, struct batch, bio);
		batch->store = store;
		INIT_LIST_HEAD(&batch->copies);

		spin_lock(&store->lock);
		due = batch_fill(store, batch);
		spin_unlock(&store->lock);
		if (!due) {
			bio_put(bio);
			return;
		}
		submit_bio_noacct(bio);
	}
}

static void batch_take_back(struct batch *batch)
{
	struct store *store = batch->store;
	int error = blk_status_to_errno(batch->bio.bi_status);
	struct copy *copy, *next;

	if (error)
		store->ops->problem(store, STORE_WRITE_ERROR, error);

	spin_lock(&store->lock);
	list_for_each_entry(copy, &batch->copies, batch_node)
		buffer_remove(store, copy);
	list_del(&batch->node);
	store->nr_batches--;
	store->progress = jiffies;
	spin_unlock(&store->lock);

	list_for_each_entry_safe(copy, next, &batch->copies, batch_node)
		store_copy_put(copy);
	bio_put(&batch->bio);
	wake_up(&drain_waitq);
	store->ops->put(store);
}

static void take_back_written(struct store *store)
{
	struct llist_node *done = llist_del_all(&store->written);
	struct batch *batch, *next;

	llist_for_each_entry_safe(batch, next, done, done_node)
		batch_take_back(batch);
}

/* The snapshot was given up: nobody will read what is in the buffer. */
static void forget_dirty(struct store *store)
{
	struct rb_node *node, *next;
	LIST_HEAD(forgotten);
	struct copy *copy, *tmp;

	spin_lock(&store->lock);
	for (node = rb_first(&store->buffer); node; node = next) {
		next = rb_next(node);
		copy = rb_entry(node, struct copy, place_node);
		if (copy->state != COPY_DIRTY)
			continue;
		buffer_remove(store, copy);
		list_add(&copy->batch_node, &forgotten);
	}
	store->nr_dirty = 0;
	spin_unlock(&store->lock);

	list_for_each_entry_safe(copy, tmp, &forgotten, batch_node)
		store_copy_put(copy);
}

/*
 * Takes throttled requests on when there is room for one of the largest copies
 * at least: with less they would only come back.
 */
static void wake_throttled(struct store *store)
{
	struct bio_list parked;
	u64 room;

	bio_list_init(&parked);
	spin_lock(&store->lock);
	if (store->waits_for_space && space_available(&store->space))
		store->waits_for_space = false;
	room = max_t(u64, buffer_limit(store) / 8, store->copy_max);
	if (!store->waits_for_space &&
	    store->nr_charged + room <= buffer_limit(store)) {
		bio_list_merge(&parked, &store->throttled);
		bio_list_init(&store->throttled);
	}
	spin_unlock(&store->lock);

	if (!bio_list_empty(&parked))
		store->ops->go_on(store, &parked);
}

static void store_write_work(struct work_struct *work)
{
	struct store *store = container_of(work, struct store, write_work);

	take_back_written(store);
	spin_lock(&store->lock);
	reuse_retired(store);
	spin_unlock(&store->lock);
	if (store->ops->given_up(store))
		forget_dirty(store);
	else
		write_dirty(store);
	wake_throttled(store);
}

static void store_flush_work(struct work_struct *work)
{
	store_flush(container_of(work, struct store, flush_work.work));
}

void store_flush(struct store *store)
{
	spin_lock(&store->lock);
	store->flush = true;
	spin_unlock(&store->lock);
	kick(store);
}

/*
 * Limits in time
 */

static bool too_long(unsigned long since, unsigned int limit_ms)
{
	return time_after(jiffies, since + msecs_to_jiffies(limit_ms));
}

static void store_watch_work(struct work_struct *work)
{
	struct store *store = container_of(work, struct store, watch_work.work);
	bool timed_out = false, full = false, again;
	struct batch *batch;

	spin_lock(&store->lock);
	batch = list_first_entry_or_null(&store->batches_in_flight,
					 struct batch, node);
	if (batch && too_long(batch->started, store->settings.timeout_ms))
		timed_out = true;
	if (store->waits_for_space)
		full = too_long(store->full_since, store->settings.full_wait_ms);
	else if (!bio_list_empty(&store->throttled) &&
		 too_long(store->progress, store->settings.timeout_ms))
		timed_out = true;
	again = store->nr_charged || !bio_list_empty(&store->throttled);
	spin_unlock(&store->lock);

	if (full)
		store->ops->problem(store, STORE_FULL, -ENOSPC);
	else if (timed_out)
		store->ops->problem(store, STORE_TIMEOUT, -ETIMEDOUT);
	else if (again)
		queue_delayed_work(store_wq, &store->watch_work,
				   watch_period(store));
}

bool store_throttle(struct store *store, struct diffsnap_io *io, bool for_space)
{
	bool parked = false;

	spin_lock(&store->lock);
	if (store->ops->given_up(store))
		goto unlock;
	if (for_space) {
		if (space_available(&store->space))
			goto unlock;
		if (!store->waits_for_space) {
			store->waits_for_space = true;
			store->full_since = jiffies;
		}
	} else if (!store->nr_charged && bio_list_empty(&store->throttled)) {
		goto unlock;
	}
	if (bio_list_empty(&store->throttled))
		store->progress = jiffies;
	park(store, &store->throttled, io);
	parked = true;
unlock:
	spin_unlock(&store->lock);

	if (parked) {
		kick(store);
		queue_delayed_work(store_wq, &store->watch_work,
				   watch_period(store));
	}
	return parked;
}

void store_release_parked(struct store *store)
{
	struct bio_list parked;

	bio_list_init(&parked);
	spin_lock(&store->lock);
	bio_list_merge(&parked, &store->throttled);
	bio_list_init(&store->throttled);
	bio_list_merge(&parked, &store->stalled);
	bio_list_init(&store->stalled);
	spin_unlock(&store->lock);

	if (!bio_list_empty(&parked))
		store->ops->go_on(store, &parked);
	kick(store);
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

	if (!bio_list_empty(&parked))
		store->ops->go_on(store, &parked);
	kick(store);
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
	wait_event(drain_waitq, store_idle(store));
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
	store->copy_max = COPY_MAX_PAGES / store->pages_per_chunk;

	spin_lock_init(&store->lock);
	space_init(&store->space, 0);
	store->buffer = RB_ROOT;
	store->stopped = true;
	init_llist_head(&store->written);
	INIT_LIST_HEAD(&store->batches_in_flight);
	INIT_LIST_HEAD(&store->retired[0]);
	INIT_LIST_HEAD(&store->retired[1]);
	bio_list_init(&store->throttled);
	bio_list_init(&store->stalled);
	INIT_WORK(&store->write_work, store_write_work);
	INIT_DELAYED_WORK(&store->flush_work, store_flush_work);
	INIT_DELAYED_WORK(&store->watch_work, store_watch_work);

	r = bioset_init(&store->copies, MIN_COPIES, offsetof(struct copy, bio),
			BIOSET_NEED_BVECS);
	if (r)
		return r;
	r = bioset_init(&store->batches, MAX_BATCHES,
			offsetof(struct batch, bio), BIOSET_NEED_BVECS);
	if (r)
		goto free_copies;
	r = mempool_init_page_pool(&store->pages, COPY_MAX_PAGES, 0);
	if (r)
		goto free_batches;
	return 0;

free_batches:
	bioset_exit(&store->batches);
free_copies:
	bioset_exit(&store->copies);
	return r;
}

void store_destroy(struct store *store)
{
	struct retired *retired, *next;
	unsigned int epoch;

	cancel_delayed_work_sync(&store->watch_work);
	cancel_delayed_work_sync(&store->flush_work);
	cancel_work_sync(&store->write_work);
	forget_dirty(store);
	for (epoch = 0; epoch < 2; epoch++)
		list_for_each_entry_safe(retired, next, &store->retired[epoch], node)
			kfree(retired);
	space_destroy(&store->space);
	mempool_exit(&store->pages);
	bioset_exit(&store->batches);
	bioset_exit(&store->copies);
}

int store_module_init(void)
{
	store_wq = alloc_workqueue("diffsnap-store", WQ_MEM_RECLAIM | WQ_PERCPU, 0);
	return store_wq ? 0 : -ENOMEM;
}

void store_module_flush(void)
{
	flush_workqueue(store_wq);
}

void store_module_exit(void)
{
	destroy_workqueue(store_wq);
}
