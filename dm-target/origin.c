// SPDX-License-Identifier: GPL-2.0-only
/*
 * Origins: the gate and the registry.
 */
#include <linux/blkdev.h>
#include <linux/kdev_t.h>
#include <linux/slab.h>

#include "compat.h"
#include "origin.h"

DEFINE_MUTEX(registry_mutex);

static LIST_HEAD(origins);	/* registry_mutex */
static struct workqueue_struct *origin_wq;

DECLARE_WAIT_QUEUE_HEAD(origin_drain_waitq);

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
	if (!origin->gate_closed) {
		bio_list_merge(&entering, &origin->gated);
		bio_list_init(&origin->gated);
	}
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
	origin->ops = ops;
	INIT_WORK(&origin->go_on_work, origin_go_on_work);
	list_add(&origin->node, &origins);
	return origin;
}

void origin_put_table(struct origin *origin)
{
	struct member *member;

	lockdep_assert_held(&registry_mutex);
	if (!--origin->nr_tables) {
		list_del(&origin->node);
		spin_lock(&origin->lock);
		WRITE_ONCE(origin->running, false);
		origin->gone = true;
		spin_unlock(&origin->lock);

		/* Given up before what stalled goes on, so that it fails. */
		member = rcu_dereference_protected(origin->member,
						   lockdep_is_held(&registry_mutex));
		RCU_INIT_POINTER(origin->member, NULL);
		if (member)
			origin->ops->gone(member);
		origin_go_on(origin);
	}
	origin_put(origin);
}

static void origin_release(struct kref *refs)
{
	struct origin *origin = container_of(refs, struct origin, refs);

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

void origin_run(struct origin *origin)
{
	spin_lock(&origin->lock);
	WRITE_ONCE(origin->running, true);
	spin_unlock(&origin->lock);
	origin_go_on(origin);
}

void origin_pause(struct origin *origin)
{
	spin_lock(&origin->lock);
	WRITE_ONCE(origin->running, false);
	spin_unlock(&origin->lock);
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

bool origin_enter(struct origin *origin, struct bio *bio)
{
	for (;;) {
		this_cpu_inc(*origin->started);
		/*
		 * Pairs with the barrier in origin_close_gate(): either the
		 * cut counts this write, or we see the closed gate.
		 */
		smp_mb();
		/* Pairs with the release in origin_open_gate(). */
		if (likely(!smp_load_acquire(&origin->gate_closed)))
			return true;

		origin_leave(origin);
		if (bio->bi_opf & REQ_NOWAIT) {
			bio_wouldblock_error(bio);
			return false;
		}
		spin_lock(&origin->lock);
		if (origin->gate_closed) {
			bio_list_add(&origin->gated, bio);
			spin_unlock(&origin->lock);
			return false;
		}
		spin_unlock(&origin->lock);
	}
}

void origin_leave(struct origin *origin)
{
	this_cpu_inc(*origin->completed);
	/*
	 * Pairs with the barrier in origin_close_gate(): either the cut sees
	 * this write completed, or we see that it waits.
	 */
	smp_mb();
	if (unlikely(READ_ONCE(origin->gate_closed)))
		wake_up(&origin_drain_waitq);
}

void origin_close_gate(struct origin *origin)
{
	spin_lock(&origin->lock);
	WRITE_ONCE(origin->gate_closed, true);
	spin_unlock(&origin->lock);
	/* Pairs with those in origin_enter() and origin_leave(). */
	smp_mb();
}

void origin_open_gate(struct origin *origin)
{
	spin_lock(&origin->lock);
	/*
	 * Pairs with the acquire in origin_enter(): who finds the gate open
	 * finds the snapshot active.
	 */
	smp_store_release(&origin->gate_closed, false);
	spin_unlock(&origin->lock);
	origin_go_on(origin);
}

/*
 * The sum of what was completed is taken before that of what was started. If
 * they are equal, then at the moment between no write was in flight: each one
 * counted as completed had been counted as started before.
 */
bool origin_drained(struct origin *origin)
{
	unsigned long started = 0, completed = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		completed += READ_ONCE(*per_cpu_ptr(origin->completed, cpu));
	/* Orders the two sums; pairs with the barriers in enter and leave. */
	smp_mb();
	for_each_possible_cpu(cpu)
		started += READ_ONCE(*per_cpu_ptr(origin->started, cpu));
	return started == completed;
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
