// SPDX-License-Identifier: GPL-2.0-only
/*
 * Snapshots: membership, the mode, the cut, and the parking of requests.
 */
#include <linux/device-mapper.h>
#include <linux/kdev_t.h>
#include <linux/ktime.h>
#include <linux/slab.h>

#include "compat.h"
#include "cow.h"
#include "snapshot.h"

#define DM_MSG_PREFIX "diffsnap"

/* Chunk map nodes in reserve; taken only when the slab has nothing. */
#define MIN_NODES	64

static LIST_HEAD(snapshots);	/* registry_mutex */

/* Origins' requests that were parked; may wait for memory. */
static struct workqueue_struct *retry_wq;
/* Images' requests that were parked; may wait for memory, and for the store. */
static struct workqueue_struct *image_wq;
/* Events, and the ends of snapshots; never needed to make progress. */
static struct workqueue_struct *slow_wq;

/*
 * Parking
 */

void snapshot_retry_parked(struct snapshot *snapshot, struct bio_list *parked)
{
	unsigned long flags;
	struct bio *bio;

	/* The references may be gone when the lock is; see free_work(). */
	rcu_read_lock();
	spin_lock_irqsave(&snapshot->retry_lock, flags);
	while ((bio = bio_list_pop(parked))) {
		struct diffsnap_io *io = bio_io(bio);
		struct member *member = io->member;
		struct retry *retry = io->image ? &member->image_retry :
						  &member->origin_retry;

		bio_list_add(&retry->parked, bio);
		queue_work(io->image ? image_wq : retry_wq, &retry->work);
	}
	spin_unlock_irqrestore(&snapshot->retry_lock, flags);
	rcu_read_unlock();
}

void snapshot_retry(struct snapshot *snapshot, struct diffsnap_io *io)
{
	struct bio_list parked;

	snapshot_get(snapshot);
	bio_list_init(&parked);
	bio_list_add(&parked, io_bio(io));
	snapshot_retry_parked(snapshot, &parked);
}

void io_go_on(struct bio_list *parked)
{
	struct bio *bio;

	while ((bio = bio_list_pop(parked))) {
		struct diffsnap_io *io = bio_io(bio);
		struct snapshot *snapshot = io->member->snapshot;

		if (io->image) {
			struct bio_list one;

			bio_list_init(&one);
			bio_list_add(&one, bio);
			snapshot_retry_parked(snapshot, &one);
		} else {
			io->resume(io, GFP_TRY);
			snapshot_put(snapshot);
		}
	}
}

static void take_on(struct snapshot *snapshot, struct retry *retry)
{
	struct bio_list parked;
	struct bio *bio;

	bio_list_init(&parked);
	spin_lock_irq(&snapshot->retry_lock);
	bio_list_merge(&parked, &retry->parked);
	bio_list_init(&retry->parked);
	spin_unlock_irq(&snapshot->retry_lock);

	while ((bio = bio_list_pop(&parked))) {
		bio_io(bio)->resume(bio_io(bio), GFP_RECLAIM);
		snapshot_put(snapshot);
	}
}

static void origin_retry_work(struct work_struct *work)
{
	struct member *member = container_of(work, struct member, origin_retry.work);

	take_on(member->snapshot, &member->origin_retry);
}

static void image_retry_work(struct work_struct *work)
{
	struct member *member = container_of(work, struct member, image_retry.work);

	take_on(member->snapshot, &member->image_retry);
}

static void retry_init(struct retry *retry, work_func_t work)
{
	bio_list_init(&retry->parked);
	INIT_WORK(&retry->work, work);
}

/*
 * What was taken from the reserve does not come back by itself, it is part of a map.
 * Without memory for that it is tried again every second.
 */
static void refill_work(struct work_struct *work)
{
	struct snapshot *snapshot =
		container_of(work, struct snapshot, refill_work.work);

	while (READ_ONCE(snapshot->nodes.curr_nr) < MIN_NODES) {
		void *node = kmalloc(MAP_NODE_MAX, GFP_RECLAIM);

		if (!node) {
			queue_delayed_work(retry_wq, &snapshot->refill_work, HZ);
			return;
		}
		mempool_free(node, &snapshot->nodes);
	}
}

void *snapshot_take_node(struct snapshot *snapshot)
{
	void *node = mempool_alloc(&snapshot->nodes, GFP_TRY);

	queue_delayed_work(retry_wq, &snapshot->refill_work, 0);
	return node;
}

/*
 * Mode and events
 */

/* Queues one of our works with a reference that it gives back. */
static void queue_held(struct snapshot *snapshot, struct work_struct *work)
{
	snapshot_get(snapshot);
	if (!queue_work(slow_wq, work))
		snapshot_put(snapshot);
}

static void event_work(struct work_struct *work)
{
	struct snapshot *snapshot = container_of(work, struct snapshot, event_work);

	mutex_lock(&snapshot->event_mutex);
	if (snapshot->event_ti)
		dm_table_event(snapshot->event_ti->table);
	mutex_unlock(&snapshot->event_mutex);
	snapshot_put(snapshot);
}

/* The snapshot was given up: no image is to wait for an origin any longer. */
static void unstall_work(struct work_struct *work)
{
	struct snapshot *snapshot = container_of(work, struct snapshot, unstall_work);
	struct member *member;

	mutex_lock(&snapshot->lock);
	list_for_each_entry(member, &snapshot->members, node)
		origin_unstall(member->origin);
	mutex_unlock(&snapshot->lock);
	snapshot_put(snapshot);
}

void snapshot_set_event_target(struct snapshot *snapshot, struct dm_target *ti)
{
	mutex_lock(&snapshot->event_mutex);
	snapshot->event_ti = ti;
	mutex_unlock(&snapshot->event_mutex);
}

void snapshot_clear_event_target(struct snapshot *snapshot, struct dm_target *ti)
{
	mutex_lock(&snapshot->event_mutex);
	if (snapshot->event_ti == ti)
		snapshot->event_ti = NULL;
	mutex_unlock(&snapshot->event_mutex);
}

void snapshot_degrade(struct snapshot *snapshot, enum snapshot_mode mode,
		      const char *what, int error, dev_t culprit)
{
	unsigned long flags;
	bool changed = false;

	spin_lock_irqsave(&snapshot->mode_lock, flags);
	/* Given up once; after that it can only be dropped. */
	if (snapshot->mode <= SNAPSHOT_ACTIVE ||
	    (mode == SNAPSHOT_DROPPED && snapshot->mode < mode)) {
		if (mode != SNAPSHOT_DROPPED) {
			snapshot->what = what;
			snapshot->error = error;
			snapshot->culprit = culprit;
		}
		/* Who finds it given up finds the reason, too. */
		smp_store_release(&snapshot->mode, mode);
		changed = true;
	}
	spin_unlock_irqrestore(&snapshot->mode_lock, flags);
	if (!changed)
		return;

	if (mode != SNAPSHOT_DROPPED && culprit)
		DMERR("%s: snapshot given up: %s, error %d, origin %u:%u",
		      snapshot->name, what, error, MAJOR(culprit), MINOR(culprit));
	else if (mode != SNAPSHOT_DROPPED)
		DMERR("%s: snapshot given up: %s, error %d", snapshot->name, what,
		      error);
	store_release_parked(&snapshot->store);
	queue_held(snapshot, &snapshot->unstall_work);
	queue_held(snapshot, &snapshot->event_work);
}

void member_lose_origin(struct member *member)
{
	snapshot_degrade(member->snapshot, SNAPSHOT_INVALID, "origin-gone",
			 -ENODEV, member->origin->dev);
}

/*
 * What the store has to say
 */

static struct snapshot *store_snapshot(struct store *store)
{
	return container_of(store, struct snapshot, store);
}

static void store_problem(struct store *store, enum store_problem problem, int error)
{
	static const char * const what[] = {
		[STORE_FULL] = "store-full",
		[STORE_WRITE_ERROR] = "store-write",
		[STORE_TIMEOUT] = "store-timeout",
	};

	snapshot_degrade(store_snapshot(store),
			 problem == STORE_FULL ? SNAPSHOT_OVERFLOW : SNAPSHOT_INVALID,
			 what[problem], error, 0);
}

static void store_go_on(struct store *store, struct bio_list *parked)
{
	snapshot_retry_parked(store_snapshot(store), parked);
}

static void store_low(struct store *store)
{
	struct snapshot *snapshot = store_snapshot(store);

	queue_held(snapshot, &snapshot->event_work);
}

static bool store_given_up(struct store *store)
{
	return snapshot_given_up(store_snapshot(store));
}

static void store_get(struct store *store)
{
	snapshot_get(store_snapshot(store));
}

static void store_put(struct store *store)
{
	snapshot_put(store_snapshot(store));
}

static const struct store_ops snapshot_store_ops = {
	.problem = store_problem,
	.go_on = store_go_on,
	.low = store_low,
	.given_up = store_given_up,
	.get = store_get,
	.put = store_put,
};

/*
 * Members
 */

struct member *snapshot_member(struct snapshot *snapshot, dev_t origin)
{
	struct member *member, *found = NULL;

	lockdep_assert_held(&registry_mutex);
	mutex_lock(&snapshot->lock);
	list_for_each_entry(member, &snapshot->members, node)
		if (member->origin->dev == origin)
			found = member;
	mutex_unlock(&snapshot->lock);
	return found;
}

void member_usage(struct member *member, struct member_usage *usage)
{
	unsigned int shift = member->snapshot->store.chunk_shift;

	spin_lock(&member->lock);
	usage->preserved = member->map.nr_preserved << shift;
	usage->written = member->map.nr_written << shift;
	usage->released = member->map.nr_released << shift;
	spin_unlock(&member->lock);
}

static int check_origin(struct snapshot *snapshot, struct origin *origin)
{
	unsigned int chunk_bytes =
		1U << (snapshot->store.chunk_shift + SECTOR_SHIFT);
	struct member *holder;

	lockdep_assert_held(&registry_mutex);
	/* One that has only an inactive table sees no writes. */
	if (!origin || !origin->live_table)
		return -ENODEV;

	holder = rcu_dereference_protected(origin->member,
					   lockdep_is_held(&registry_mutex));
	if (holder && holder->snapshot == snapshot)
		return -EEXIST;
	if (holder) {
		DMERR("%s: cannot add origin %s: the snapshot of store %s holds it",
		      snapshot->name, origin->name, holder->snapshot->name);
		return -EBUSY;
	}
	if (chunk_bytes < origin->physical_block) {
		DMERR("%s: cannot add origin %s: its physical block of %u bytes is larger than the chunk",
		      snapshot->name, origin->name, origin->physical_block);
		return -EINVAL;
	}
	if (snapshot->logical_block > origin->logical_block) {
		DMERR("%s: cannot add origin %s: its logical block of %u bytes is smaller than the store's, %u",
		      snapshot->name, origin->name, origin->logical_block,
		      snapshot->logical_block);
		return -EINVAL;
	}
	return 0;
}

int snapshot_add(struct snapshot *snapshot, dev_t origin_dev)
{
	struct origin *origin;
	struct member *member;
	int r;

	member = kzalloc(sizeof(*member), GFP_KERNEL);
	if (!member)
		return -ENOMEM;

	mutex_lock(&registry_mutex);
	mutex_lock(&snapshot->lock);
	if (READ_ONCE(snapshot->mode) != SNAPSHOT_NEW) {
		r = -EINVAL;
		goto unlock;
	}
	origin = origin_find(origin_dev);
	r = check_origin(snapshot, origin);
	if (r)
		goto unlock;

	origin_get(origin);
	member->snapshot = snapshot;
	member->origin = origin;
	member->nr_sectors = origin->nr_sectors;
	member->nr_chunks = sectors_to_chunks(origin->nr_sectors,
					      snapshot->store.chunk_shift);
	spin_lock_init(&member->lock);
	chunk_map_init(&member->map, member->nr_chunks);
	cow_init_member(member);
	retry_init(&member->origin_retry, origin_retry_work);
	retry_init(&member->image_retry, image_retry_work);
	store_add_feeder(&snapshot->store, &member->feeder);
	list_add_tail(&member->node, &snapshot->members);
	snapshot->nr_members++;
	origin_set_member(origin, member, &snapshot->gate);
	member = NULL;
unlock:
	mutex_unlock(&snapshot->lock);
	mutex_unlock(&registry_mutex);
	kfree(member);
	return r;
}

/* Under registry_mutex and snapshot->lock; the mode is past active. */
static void release_origins(struct snapshot *snapshot)
{
	struct member *member;

	lockdep_assert_held(&registry_mutex);
	lockdep_assert_held(&snapshot->lock);
	/*
	 * Whoever lets a write pass because it finds no member must not be
	 * ahead of an image read that still finds the mode active.
	 */
	synchronize_rcu();
	list_for_each_entry(member, &snapshot->members, node) {
		struct origin *origin = member->origin;

		if (rcu_access_pointer(origin->member) != member)
			continue;
		/*
		 * What the origin has grown by since it was added is not in this
		 * snapshot, and was maybe marked before the cut.
		 */
		if (origin->nr_sectors > member->nr_sectors)
			tracker_mark(&origin->tracker, member->nr_sectors,
				     origin->nr_sectors);
		origin_set_member(origin, NULL, NULL);
	}
}

int snapshot_drop(struct snapshot *snapshot)
{
	mutex_lock(&registry_mutex);
	mutex_lock(&snapshot->lock);
	snapshot_degrade(snapshot, SNAPSHOT_DROPPED, NULL, 0, 0);
	release_origins(snapshot);
	mutex_unlock(&snapshot->lock);
	mutex_unlock(&registry_mutex);
	return 0;
}

/*
 * The cut
 */

/* True if no write to a member is in flight; see origin_completed(). */
static bool drained(struct snapshot *snapshot)
{
	unsigned long started = 0, completed = 0;
	struct member *member;
	int cpu;

	for_each_possible_cpu(cpu)
		list_for_each_entry(member, &snapshot->members, node)
			completed += origin_completed(member->origin, cpu);
	/* Orders the two sums; pairs with the barriers in enter and leave. */
	smp_mb();
	for_each_possible_cpu(cpu)
		list_for_each_entry(member, &snapshot->members, node)
			started += origin_started(member->origin, cpu);
	return started == completed;
}

/* A member with writes in flight, for the message; NULL if that is over now. */
static struct origin *find_slow(struct snapshot *snapshot)
{
	struct member *member;

	list_for_each_entry(member, &snapshot->members, node) {
		struct origin *origin = member->origin;
		unsigned long in_flight = 0;
		int cpu;

		for_each_possible_cpu(cpu)
			in_flight += origin_started(origin, cpu) -
				     origin_completed(origin, cpu);
		if (in_flight)
			return origin;
	}
	return NULL;
}

int snapshot_cut(struct snapshot *snapshot, unsigned int limit_ms)
{
	struct origin *slow = NULL;
	struct member *member;
	ktime_t start, end;
	int r = 0;

	mutex_lock(&snapshot->lock);
	if (READ_ONCE(snapshot->mode) != SNAPSHOT_NEW || !snapshot->nr_members) {
		/* Given up before the cut: it has lost a member. */
		r = READ_ONCE(snapshot->mode) == SNAPSHOT_INVALID ? -ENODEV : -EINVAL;
		mutex_unlock(&snapshot->lock);
		return r;
	}

	start = ktime_get();
	gate_close(&snapshot->gate);
	if (!wait_event_timeout(origin_drain_waitq, drained(snapshot),
				msecs_to_jiffies(limit_ms))) {
		slow = find_slow(snapshot);
		r = -ETIMEDOUT;
	} else {
		/* An origin that has gone meanwhile has changed the mode. */
		spin_lock_irq(&snapshot->mode_lock);
		if (snapshot->mode == SNAPSHOT_NEW) {
			/* Under the lock: before an origin that goes now ends its view. */
			list_for_each_entry(member, &snapshot->members, node)
				tracker_cut(&member->origin->tracker);
			/* Pairs with the acquire in snapshot_active(). */
			smp_store_release(&snapshot->mode, SNAPSHOT_ACTIVE);
		} else {
			r = -ENODEV;
		}
		spin_unlock_irq(&snapshot->mode_lock);
	}
	gate_open(&snapshot->gate);
	end = ktime_get();
	list_for_each_entry(member, &snapshot->members, node)
		origin_pass_gated(member->origin);
	if (!r)
		snapshot->closed_ns = ktime_to_ns(ktime_sub(end, start));
	mutex_unlock(&snapshot->lock);

	if (slow)
		DMERR("%s: cannot cut: writes to origin %s were not completed within %u ms",
		      snapshot->name, slow->name, limit_ms);
	else if (r == -ETIMEDOUT)
		DMERR("%s: cannot cut: writes were not completed within %u ms",
		      snapshot->name, limit_ms);
	return r;
}

/*
 * Life
 */

/*
 * Completions that hand over their reference may still touch the snapshot
 * inside an RCU read section, and queue work; so first a grace period, then the
 * works.
 */
static void free_work(struct work_struct *work)
{
	struct snapshot *snapshot = container_of(work, struct snapshot, free_work);
	struct member *member, *next;

	synchronize_rcu();
	list_for_each_entry(member, &snapshot->members, node) {
		cancel_work_sync(&member->origin_retry.work);
		cancel_work_sync(&member->image_retry.work);
	}
	list_for_each_entry(member, &snapshot->members, node) {
		cancel_work_sync(&member->done_work);
		cancel_work_sync(&member->publish_work);
	}
	cancel_delayed_work_sync(&snapshot->refill_work);
	store_destroy(&snapshot->store);
	list_for_each_entry_safe(member, next, &snapshot->members, node) {
		chunk_map_destroy(&member->map);
		origin_put(member->origin);
		kfree(member);
	}
	mempool_exit(&snapshot->nodes);
	kfree(snapshot);
}

static void snapshot_release(struct kref *refs)
{
	struct snapshot *snapshot = container_of(refs, struct snapshot, refs);

	queue_work(slow_wq, &snapshot->free_work);
}

void snapshot_get(struct snapshot *snapshot)
{
	kref_get(&snapshot->refs);
}

bool snapshot_try_get(struct snapshot *snapshot)
{
	return kref_get_unless_zero(&snapshot->refs);
}

void snapshot_put(struct snapshot *snapshot)
{
	kref_put(&snapshot->refs, snapshot_release);
}

struct snapshot *snapshot_find(dev_t dev)
{
	struct snapshot *snapshot;

	lockdep_assert_held(&registry_mutex);
	list_for_each_entry(snapshot, &snapshots, node)
		if (snapshot->dev == dev)
			return snapshot;
	return NULL;
}

bool snapshot_lies_on(dev_t dev, const struct mapped_device *except)
{
	struct snapshot *snapshot;

	lockdep_assert_held(&registry_mutex);
	list_for_each_entry(snapshot, &snapshots, node)
		if (snapshot->store_dev == dev && snapshot->md != except)
			return true;
	return false;
}

static struct snapshot *snapshot_create(struct mapped_device *md, dev_t dev,
					unsigned int chunk_sectors)
{
	struct snapshot *snapshot = kzalloc(sizeof(*snapshot), GFP_KERNEL);
	int r;

	if (!snapshot)
		return ERR_PTR(-ENOMEM);
	r = mempool_init_kmalloc_pool(&snapshot->nodes, MIN_NODES, MAP_NODE_MAX);
	if (r)
		goto free;
	r = store_init(&snapshot->store, &snapshot_store_ops, chunk_sectors);
	if (r)
		goto free_nodes;

	kref_init(&snapshot->refs);
	snapshot->md = md;
	snapshot->dev = dev;
	snprintf(snapshot->name, sizeof(snapshot->name), "%u:%u",
		 MAJOR(dev), MINOR(dev));
	snapshot->nr_tables = 1;
	mutex_init(&snapshot->lock);
	INIT_LIST_HEAD(&snapshot->members);
	spin_lock_init(&snapshot->mode_lock);
	spin_lock_init(&snapshot->retry_lock);
	mutex_init(&snapshot->event_mutex);
	INIT_WORK(&snapshot->event_work, event_work);
	INIT_DELAYED_WORK(&snapshot->refill_work, refill_work);
	INIT_WORK(&snapshot->unstall_work, unstall_work);
	INIT_WORK(&snapshot->free_work, free_work);
	list_add(&snapshot->node, &snapshots);
	return snapshot;

free_nodes:
	mempool_exit(&snapshot->nodes);
free:
	kfree(snapshot);
	return ERR_PTR(r);
}

struct snapshot *snapshot_get_table(struct mapped_device *md, dev_t dev,
				    unsigned int chunk_sectors)
{
	struct snapshot *snapshot;

	lockdep_assert_held(&registry_mutex);
	list_for_each_entry(snapshot, &snapshots, node) {
		if (snapshot->md != md)
			continue;
		if (snapshot->store.chunk_shift != ilog2(chunk_sectors))
			return ERR_PTR(-EINVAL);
		snapshot->nr_tables++;
		snapshot_get(snapshot);
		return snapshot;
	}
	return snapshot_create(md, dev, chunk_sectors);
}

void snapshot_put_table(struct snapshot *snapshot)
{
	lockdep_assert_held(&registry_mutex);
	if (!--snapshot->nr_tables) {
		list_del(&snapshot->node);
		/* One that was never cut is no loss to be loud about. */
		if (READ_ONCE(snapshot->mode) == SNAPSHOT_NEW)
			snapshot_degrade(snapshot, SNAPSHOT_DROPPED, NULL, 0, 0);
		else
			snapshot_degrade(snapshot, SNAPSHOT_INVALID, "store-gone",
					 -ENODEV, 0);
		mutex_lock(&snapshot->lock);
		release_origins(snapshot);
		mutex_unlock(&snapshot->lock);
	}
	snapshot_put(snapshot);
}

int snapshot_module_init(void)
{
	retry_wq = alloc_workqueue("diffsnap-retry", WQ_MEM_RECLAIM | WQ_PERCPU, 0);
	if (!retry_wq)
		return -ENOMEM;
	image_wq = alloc_workqueue("diffsnap-image", WQ_MEM_RECLAIM | WQ_PERCPU, 0);
	if (!image_wq)
		goto destroy_retry;
	slow_wq = alloc_workqueue("diffsnap-slow", WQ_UNBOUND, 0);
	if (!slow_wq)
		goto destroy_image;
	return 0;

destroy_image:
	destroy_workqueue(image_wq);
destroy_retry:
	destroy_workqueue(retry_wq);
	return -ENOMEM;
}

void snapshot_module_flush(void)
{
	flush_workqueue(retry_wq);
	flush_workqueue(image_wq);
	/*
	 * Last: all the others may queue the end of a snapshot here. The second
	 * time for what this one has queued: an event may have had the last
	 * reference.
	 */
	flush_workqueue(slow_wq);
	flush_workqueue(slow_wq);
}

void snapshot_module_exit(void)
{
	destroy_workqueue(slow_wq);
	destroy_workqueue(image_wq);
	destroy_workqueue(retry_wq);
}
