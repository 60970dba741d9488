/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Origins: one object for each device with a diffsnap-origin table, with the
 * count of its writes in flight, its tracker, and the registry that finds it;
 * and gates, which hold writes back from all origins of a set at once.
 */
#ifndef DIFFSNAP_ORIGIN_H
#define DIFFSNAP_ORIGIN_H

#include <linux/bio.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "tracker.h"

struct mapped_device;
struct member;
struct origin;

/* Calls upwards. */
struct origin_ops {
	/* Takes a write on that waited at the gate. From a worker. */
	void (*enter)(struct bio *bio);
	/* Takes parked requests on. From a worker. */
	void (*resume)(struct bio_list *parked);
	/* The origin of @member is gone. Under registry_mutex. */
	void (*gone)(struct member *member);
};

/* Protects the registries of origins and snapshots; see dm-diffsnap.rst. */
extern struct mutex registry_mutex;

/*
 * What lets writes into the origins of one set. Only one word, so that closing
 * and opening it costs the same for any number of origins.
 */
struct gate {
	bool closed;
};

struct origin {
	struct kref refs;
	struct list_head node;		/* registry_mutex */
	struct mapped_device *md;	/* the key; not dereferenced */
	dev_t dev;
	char name[16];			/* major:minor */
	unsigned int nr_tables;		/* registry_mutex */
	const void *live_table;		/* registry_mutex; the device's, as we know */

	/* Of the newest table that was resumed; registry_mutex. */
	dev_t real_dev;
	u64 nr_sectors;			/* 0 before the first resume */
	unsigned int logical_block, physical_block;	/* bytes */

	/* Of the snapshot that it is in, or NULL; written under registry_mutex. */
	struct member __rcu *member;
	struct gate __rcu *gate;

	/*
	 * Writes let in, and completed. Compared by the cut; never reset, so
	 * that they may be summed while they change.
	 */
	unsigned long __percpu *started;
	unsigned long __percpu *completed;

	spinlock_t lock;		/* protects what follows */
	bool running;			/* between resume and postsuspend */
	bool gone;			/* its last table is */
	struct bio_list gated;		/* writes that met a closed gate */
	struct bio_list stalled;	/* images' requests, see origin_stall() */

	const struct origin_ops *ops;
	struct work_struct go_on_work;

	atomic_t nr_reading;		/* reads of old contents in flight */

	struct tracker tracker;
	atomic64_t nr_copies, nr_preserved, nr_held;	/* statistics */
};

/*
 * Finds the origin of @md, or makes it, and counts one more table. Returns
 * NULL without memory. Under registry_mutex.
 */
struct origin *origin_get_table(struct mapped_device *md, dev_t dev,
				const struct origin_ops *ops);

/*
 * Counts one table less. If it was the device's live one, then another target's
 * has taken its place, or the device goes: writes may have passed that nobody
 * saw. The snapshot that held the origin is given up, and the tracker begins a
 * new generation. The last table makes the origin gone: what is stalled is sent
 * on. Under registry_mutex.
 */
void origin_put_table(struct origin *origin, const void *table);

/* @table is the device's live one from now on. Under registry_mutex. */
void origin_set_live(struct origin *origin, const void *table);

/* The origin of the dm device @dev, or NULL. Under registry_mutex. */
struct origin *origin_find(dev_t dev);
/* One whose live table lies on @dev, or NULL. Under registry_mutex. */
struct origin *origin_find_on(dev_t dev);

void origin_get(struct origin *origin);
void origin_put(struct origin *origin);

/* Between these two the device's table is certain to be ours. */
void origin_run(struct origin *origin);
void origin_pause(struct origin *origin);

/*
 * Whether it is just now. Who asks with data of the real device in hand and finds it
 * so, but looks later whether the snapshot is active, is told if another target had
 * the device in between: its table's end gives the snapshot up.
 */
static inline bool origin_is_running(const struct origin *origin)
{
	/* Pairs with the release in origin_run(). */
	return smp_load_acquire(&origin->running);
}

/*
 * Puts the origin into a snapshot, or takes it out again (two NULLs), which
 * ends the view of the tracker. The gate is freed after a grace period. Under
 * registry_mutex; may sleep.
 */
void origin_set_member(struct origin *origin, struct member *member,
		       struct gate *gate);

/*
 * Lets a write in and counts it. Returns false if the gate is closed: the bio
 * is queued or, if it must not wait, completed with EAGAIN; it is no longer
 * the caller's. Inside an RCU read section.
 */
bool origin_enter(struct origin *origin, struct bio *bio);

/* Counts a write as completed. Any context. */
void origin_leave(struct origin *origin);

/* For the cut: nothing is let in between these two. */
void gate_close(struct gate *gate);
void gate_open(struct gate *gate);

/* Takes on what has met the gate. After gate_open(). */
void origin_pass_gated(struct origin *origin);

/*
 * Writes that were let in by @cpu, and those that it completed: whole numbers
 * only as sums over all. The gate must be closed. The sum of what was completed
 * is to be taken before that of what was started, with a full barrier between
 * them; if they are equal then nothing was in flight at that moment: each
 * write counted as completed had been counted as started before.
 */
static inline unsigned long origin_completed(const struct origin *origin, int cpu)
{
	return READ_ONCE(*per_cpu_ptr(origin->completed, cpu));
}

static inline unsigned long origin_started(const struct origin *origin, int cpu)
{
	return READ_ONCE(*per_cpu_ptr(origin->started, cpu));
}

/* Woken by completions while a gate is closed. */
extern wait_queue_head_t origin_drain_waitq;

/*
 * Waits until no old contents are being read from the real device. A copy's read
 * can outlive the write that began it: one that wanted several goes on as soon as
 * the snapshot is given up. If the origin goes on with another real device, what is
 * read from that one is waited for as well; it ends, as each chunk is copied once.
 * Sleeps; what is in flight does not wait for us.
 */
void origin_drain_reads(struct origin *origin);

/*
 * Parks a request of an image, which has read the real device, until it is known
 * whether the origin's table is still ours. Returns false if it is, or the origin
 * is gone. The caller passes on a reference of the snapshot for the parked request.
 */
bool origin_stall(struct origin *origin, struct bio *bio);

/* Sends on all that is stalled, to look again at what they wait for. */
void origin_unstall(struct origin *origin);

/* After the last table: until what still holds references has ended. */
void origin_module_flush(void);
int origin_module_init(void);
void origin_module_exit(void);

#endif /* DIFFSNAP_ORIGIN_H */
