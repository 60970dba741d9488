// SPDX-License-Identifier: GPL-2.0-only
/*
 * The way of the buffer to the store's device, and those who wait for it.
 */
#include <linux/jiffies.h>

#include "compat.h"
#include "io.h"
#include "store_internal.h"

/* Writes to the store that are under way at once. */
#define MAX_BATCHES		4

/* Large enough for a disk to be busy with, small enough to be soon done. */
#define BATCH_BYTES		COPY_MAX_BYTES

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

/* Writes to stores: its workers stand still if one hangs. */
static struct workqueue_struct *store_wq;
/* Notices that, and lets go who waits: never sleeps. */
static struct workqueue_struct *watch_wq;

void write_behind_kick(struct store *store)
{
	queue_work(store_wq, &store->write_work);
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

static void start_watch(struct store *store)
{
	queue_delayed_work(watch_wq, &store->watch_work, watch_period(store));
}

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
	write_behind_kick(store);
	rcu_read_unlock();
}

bool write_behind_due(struct store *store)
{
	lockdep_assert_held(&store->lock);
	if (!store->nr_dirty)
		store->flush_left = 0;
	if (store->stopped || !store->nr_dirty || store->nr_batches >= MAX_BATCHES)
		return false;
	if (store->flush_left || store->nr_dirty >= batch_chunks(store))
		return true;
	return !store->nr_batches && !bio_list_empty(&store->throttled);
}

/* The dirty copy to go on with. */
static struct copy *next_dirty(struct store *store)
{
	struct copy *start = store_buffer_search(store, to_place(store->write_cursor));
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
	store->flush_left -= min_t(u64, store->flush_left, copy->nr);
	list_add_tail(&copy->batch_node, &batch->copies);
	return true;
}

/* Fills @batch with a run of dirty copies; false if there is nothing to do. */
static bool batch_fill(struct store *store, struct batch *batch)
{
	struct copy *copy;
	struct rb_node *node;

	lockdep_assert_held(&store->lock);
	if (!write_behind_due(store))
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
		due = write_behind_due(store);
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
		store_buffer_remove(store, copy);
	list_del(&batch->node);
	store->nr_batches--;
	store->progress = jiffies;
	spin_unlock(&store->lock);

	list_for_each_entry_safe(copy, next, &batch->copies, batch_node)
		copy_put(copy);
	/* For what has become a spare. */
	start_watch(store);
	bio_put(&batch->bio);
	wake_up(&store_drain_waitq);
	store->ops->put(store);
}

static void take_back_written(struct store *store)
{
	struct llist_node *done = llist_del_all(&store->written);
	struct batch *batch, *next;

	llist_for_each_entry_safe(batch, next, done, done_node)
		batch_take_back(batch);
}

/*
 * The snapshot was given up: nobody will read what is in the buffer. Any worker;
 * only what is being written stays.
 */
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
		store_buffer_remove(store, copy);
		list_add(&copy->batch_node, &forgotten);
	}
	store->nr_dirty = 0;
	spin_unlock(&store->lock);

	list_for_each_entry_safe(copy, tmp, &forgotten, batch_node)
		copy_put(copy);
}

/*
 * Takes throttled requests on when there is room for one of the largest copies
 * at least: with less they would only come back.
 */
static void wake_throttled(struct store *store)
{
	struct bio_list parked;

	bio_list_init(&parked);
	spin_lock(&store->lock);
	if (store->waits_for_space && space_available(&store->space))
		store->waits_for_space = false;
	if (!store->waits_for_space &&
	    store->nr_charged + store_wake_room(store) <= store_buffer_limit(store)) {
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
	store_reuse_retired(store);
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
	/* Not what comes later: where writes are slow there would be no end to it. */
	store->flush_left = store->nr_dirty;
	spin_unlock(&store->lock);
	write_behind_kick(store);
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

	copy_free_spares(store);

	spin_lock(&store->lock);
	batch = list_first_entry_or_null(&store->batches_in_flight,
					 struct batch, node);
	if (batch && too_long(batch->started, store->settings.timeout_ms))
		timed_out = true;
	if (store->waits_for_space)
		full = too_long(store->full_since, store->settings.full_wait_ms);
	else if (!bio_list_empty(&store->throttled) && store->nr_dirty &&
		 too_long(store->progress, store->settings.timeout_ms))
		/* Without anything to write they wait for reads of origins. */
		timed_out = true;
	again = store->nr_charged || atomic_read(&store->nr_spare) ||
		!bio_list_empty(&store->throttled);
	spin_unlock(&store->lock);

	if (full)
		store->ops->problem(store, STORE_FULL, -ENOSPC);
	else if (timed_out)
		store->ops->problem(store, STORE_TIMEOUT, -ETIMEDOUT);
	if (again)
		start_watch(store);
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
	store_park(store, &store->throttled, io);
	parked = true;
unlock:
	spin_unlock(&store->lock);

	if (parked) {
		write_behind_kick(store);
		start_watch(store);
	}
	return parked;
}

/*
 * The snapshot was given up. Not left to the worker that writes: that one may be
 * where nothing comes back from.
 */
static void store_release_work(struct work_struct *work)
{
	struct store *store = container_of(work, struct store, release_work);
	struct bio_list parked;
	struct feeder *feeder;

	bio_list_init(&parked);
	spin_lock(&store->lock);
	bio_list_merge(&parked, &store->throttled);
	bio_list_init(&store->throttled);
	bio_list_merge(&parked, &store->stalled);
	bio_list_init(&store->stalled);
	list_for_each_entry(feeder, &store->feeders, node) {
		bio_list_merge(&parked, &feeder->waiting);
		bio_list_init(&feeder->waiting);
	}
	spin_unlock(&store->lock);

	if (!bio_list_empty(&parked))
		store->ops->go_on(store, &parked);
	/* If it was given up for want of memory, then all the sooner. */
	forget_dirty(store);
	copy_free_spares(store);
	write_behind_kick(store);
}

void store_release_parked(struct store *store)
{
	queue_work(watch_wq, &store->release_work);
}

/*
 * Making
 */

void write_behind_start(struct store *store, bool due)
{
	if (due)
		write_behind_kick(store);
	/* Also then: what is due may leave a rest that nothing is added to. */
	queue_delayed_work(store_wq, &store->flush_work, FLUSH_DELAY);
	start_watch(store);
}

int write_behind_init(struct store *store)
{
	init_llist_head(&store->written);
	INIT_LIST_HEAD(&store->batches_in_flight);
	bio_list_init(&store->throttled);
	INIT_WORK(&store->write_work, store_write_work);
	INIT_DELAYED_WORK(&store->flush_work, store_flush_work);
	INIT_DELAYED_WORK(&store->watch_work, store_watch_work);
	INIT_WORK(&store->release_work, store_release_work);
	return bioset_init(&store->batches, MAX_BATCHES,
			   offsetof(struct batch, bio), BIOSET_NEED_BVECS);
}

void write_behind_exit(struct store *store)
{
	cancel_work_sync(&store->release_work);
	cancel_delayed_work_sync(&store->flush_work);
	cancel_work_sync(&store->write_work);
	/* Last: the others start it. */
	cancel_delayed_work_sync(&store->watch_work);
	forget_dirty(store);
	bioset_exit(&store->batches);
}

int store_module_init(void)
{
	store_wq = alloc_workqueue("diffsnap-store", WQ_MEM_RECLAIM | WQ_PERCPU, 0);
	if (!store_wq)
		return -ENOMEM;
	watch_wq = alloc_workqueue("diffsnap-watch", WQ_MEM_RECLAIM | WQ_PERCPU, 0);
	if (!watch_wq) {
		destroy_workqueue(store_wq);
		return -ENOMEM;
	}
	return 0;
}

void store_module_flush(void)
{
	flush_workqueue(store_wq);
	flush_workqueue(watch_wq);
}

void store_module_exit(void)
{
	destroy_workqueue(watch_wq);
	destroy_workqueue(store_wq);
}
