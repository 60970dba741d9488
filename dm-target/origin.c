// SPDX-License-Identifier: GPL-2.0-only
/*
 * Origins: the gates and the registry.
 */
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/kdev_t.h>
#include <linux/slab.h>

#include "compat.h"
#include "io.h"
#include "origin.h"

DEFINE_MUTEX(registry_mutex);

static LIST_HEAD(origins);	/* registry_mutex */
static struct workqueue_struct *origin_wq;

DECLARE_WAIT_QUEUE_HEAD(origin_drain_waitq);

/* Completions look here, not for the gate of their origin, which may be gone. */
static atomic_t nr_closed_gates = ATOMIC_INIT(0);

/* Under RCU. */
static bool gate_is_closed(struct origin *origin)
{
	struct gate *gate = rcu_dereference(origin->gate);

	/* Pairs with the release in gate_open(). */
	return gate && smp_load_acquire(&gate->closed);
}

/*
 * Takes on what waited at the gate, and what stalled. Holds a reference.
 */
static void origin_go_on_work(struct work_struct *work)
{
	struct origin *origin = container_of(work, struct origin, go_on_work);
	struct bio_list entering, resuming;
	struct bio *bio;

	bio_list_init(&entering);
	bio_list_init(&resuming);
	spin_lock(&origin->lock);
	rcu_read_lock();
	if (!gate_is_closed(origin)) {
		bio_list_merge(&entering, &origin->gated);
		bio_list_init(&origin->gated);
	}
	rcu_read_unlock();
	if (origin->running || origin->gone) {
		bio_list_merge(&resuming, &origin->stalled);
		bio_list_init(&origin->stalled);
	}
	spin_unlock(&origin->lock);

	while ((bio = bio_list_pop(&entering)))
		origin->ops->enter(bio);
	origin->ops->resume(&resuming);
	origin_put(origin);
}

static void origin_go_on(struct origin *origin)
{
	origin_get(origin);
	if (!queue_work(origin_wq, &origin->go_on_work))
		origin_put(origin);
}

struct origin *origin_find(dev_t dev)
{
	struct origin *origin;

	lockdep_assert_held(&registry_mutex);
	list_for_each_entry(origin, &origins, node)
		if (origin->dev == dev)
			return origin;
	return NULL;
}

struct origin *origin_find_on(dev_t dev)
{
	struct origin *origin;

	lockdep_assert_held(&registry_mutex);
	list_for_each_entry(origin, &origins, node)
		if (origin->live_table && origin->real_dev == dev)
			return origin;
	return NULL;
}

struct origin *origin_get_table(struct mapped_device *md, dev_t dev,
				const struct origin_ops *ops)
{
	struct origin *origin;

	lockdep_assert_held(&registry_mutex);
	list_for_each_entry(origin, &origins, node) {
		if (origin->md == md) {
			origin->nr_tables++;
			origin_get(origin);
			return origin;
		}
	}

	origin = kzalloc(sizeof(*origin), GFP_KERNEL);
	if (!origin)
		return NULL;
	origin->started = alloc_percpu(unsigned long);
	origin->completed = alloc_percpu(unsigned long);
	if (!origin->started || !origin->completed) {
		free_percpu(origin->started);
		free_percpu(origin->completed);
		kfree(origin);
		return NULL;
	}
	kref_init(&origin->refs);
	origin->md = md;
	origin->dev = dev;
	snprintf(origin->name, sizeof(origin->name), "%u:%u", MAJOR(dev), MINOR(dev));
	origin->nr_tables = 1;
	spin_lock_init(&origin->lock);
	bio_list_init(&origin->gated);
	bio_list_init(&origin->stalled);
	tracker_init(&origin->tracker);
	origin->ops = ops;
	INIT_WORK(&origin->go_on_work, origin_go_on_work);
	list_add(&origin->node, &origins);
	return origin;
}

/* Writes may pass unseen, or have passed. */
static void origin_lose(struct origin *origin)
{
	struct member *member =
		rcu_dereference_protected(origin->member,
					  lockdep_is_held(&registry_mutex));

	origin->live_table = NULL;
	/*
	 * Given up first: what stalled fails when it goes on, and a cut was either
	 * made before, and its view ends now, or is not made.
	 */
	if (member)
		origin->ops->gone(member);
	origin_set_member(origin, NULL, NULL);
	tracker_renew(&origin->tracker);
}

void origin_put_table(struct origin *origin, const void *table)
{
	lockdep_assert_held(&registry_mutex);
	if (origin->live_table == table)
		origin_lose(origin);
	if (!--origin->nr_tables) {
		list_del(&origin->node);
		spin_lock(&origin->lock);
		WRITE_ONCE(origin->running, false);
		origin->gone = true;
		spin_unlock(&origin->lock);
		origin_go_on(origin);
	}
	origin_put(origin);
}

void origin_set_live(struct origin *origin, const void *table)
{
	lockdep_assert_held(&registry_mutex);
	origin->live_table = table;
}

static void origin_release(struct kref *refs)
{
	struct origin *origin = container_of(refs, struct origin, refs);

	tracker_destroy(&origin->tracker);
	free_percpu(origin->started);
	free_percpu(origin->completed);
	kfree(origin);
}

void origin_get(struct origin *origin)
{
	kref_get(&origin->refs);
}

void origin_put(struct origin *origin)
{
	kref_put(&origin->refs, origin_release);
}

void origin_set_member(struct origin *origin, struct member *member,
		       struct gate *gate)
{
	lockdep_assert_held(&registry_mutex);
	if (member)
		tracker_close_past(&origin->tracker);
	else if (rcu_access_pointer(origin->member))
		tracker_end_view(&origin->tracker);
	rcu_assign_pointer(origin->gate, gate);
	rcu_assign_pointer(origin->member, member);
}

void origin_run(struct origin *origin)
{
	spin_lock(&origin->lock);
	/* Pairs with the acquire in origin_is_running(). */
	smp_store_release(&origin->running, true);
	spin_unlock(&origin->lock);
	origin_go_on(origin);
}

void origin_pause(struct origin *origin)
{
	spin_lock(&origin->lock);
	WRITE_ONCE(origin->running, false);
	spin_unlock(&origin->lock);
}

void origin_drain_reads(struct origin *origin)
{
	/* Seldom anything, and soon over: not worth a wake-up for each read. */
	while (atomic_read(&origin->nr_reading))
		fsleep(1000);
}

bool origin_stall(struct origin *origin, struct bio *bio)
{
	bool stalled = false;

	spin_lock(&origin->lock);
	if (!origin->running && !origin->gone) {
		bio_list_add(&origin->stalled, bio);
		stalled = true;
	}
	spin_unlock(&origin->lock);
	return stalled;
}

void origin_unstall(struct origin *origin)
{
	struct bio_list stalled;

	bio_list_init(&stalled);
	spin_lock(&origin->lock);
	bio_list_merge(&stalled, &origin->stalled);
	bio_list_init(&origin->stalled);
	spin_unlock(&origin->lock);
	origin->ops->resume(&stalled);
}

/* Queues a write until the gate opens; false if it is open (again). */
static bool wait_at_gate(struct origin *origin, struct bio *bio)
{
	bool closed;

	spin_lock(&origin->lock);
	/* Under the lock: origin_pass_gated() comes after the opening. */
	closed = gate_is_closed(origin);
	if (closed) {
		bio_stop_polling(bio);
		bio_list_add(&origin->gated, bio);
	}
	spin_unlock(&origin->lock);
	return closed;
}

bool origin_enter(struct origin *origin, struct bio *bio)
{
	for (;;) {
		this_cpu_inc(*origin->started);
		/*
		 * Pairs with the barrier in gate_close(): either the cut
		 * counts this write, or we see the closed gate.
		 */
		smp_mb();
		if (likely(!gate_is_closed(origin)))
			return true;

		origin_leave(origin);
		/* Polled ones are queued: see bio_stop_polling(). */
		if ((bio->bi_opf & (REQ_NOWAIT | REQ_POLLED)) == REQ_NOWAIT) {
			bio_wouldblock_error(bio);
			return false;
		}
		if (wait_at_gate(origin, bio))
			return false;
	}
}

void origin_leave(struct origin *origin)
{
	this_cpu_inc(*origin->completed);
	/*
	 * Pairs with the barrier in gate_close(): either the cut sees this
	 * write completed, or we see that it waits.
	 */
	smp_mb();
	if (unlikely(atomic_read(&nr_closed_gates)))
		wake_up(&origin_drain_waitq);
}

void gate_close(struct gate *gate)
{
	atomic_inc(&nr_closed_gates);
	WRITE_ONCE(gate->closed, true);
	/* Pairs with those in origin_enter() and origin_leave(). */
	smp_mb();
}

void gate_open(struct gate *gate)
{
	/*
	 * Pairs with the acquire in gate_is_closed(): who finds the gate open
	 * finds the snapshot active.
	 */
	smp_store_release(&gate->closed, false);
	atomic_dec(&nr_closed_gates);
}

void origin_pass_gated(struct origin *origin)
{
	bool waiting;

	spin_lock(&origin->lock);
	waiting = !bio_list_empty(&origin->gated);
	spin_unlock(&origin->lock);
	if (waiting)
		origin_go_on(origin);
}

int origin_module_init(void)
{
	origin_wq = alloc_workqueue("diffsnap-origin", WQ_MEM_RECLAIM | WQ_PERCPU, 0);
	return origin_wq ? 0 : -ENOMEM;
}

void origin_module_flush(void)
{
	flush_workqueue(origin_wq);
}

void origin_module_exit(void)
{
	destroy_workqueue(origin_wq);
}
