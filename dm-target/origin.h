/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Origins: one object for each device with a diffsnap-origin table, with the
 * gate that lets writes in and the registry that finds it.
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

struct origin {
	struct kref refs;
	struct list_head node;		/* registry_mutex */
	struct mapped_device *md;	/* the key; not dereferenced */
	dev_t dev;
	char name[16];			/* major:minor */
	unsigned int nr_tables;		/* registry_mutex */

	/* Of the newest table that was resumed; registry_mutex. */
	dev_t real_dev;
	u64 nr_sectors;			/* 0 before the first resume */
	unsigned int logical_block, physical_block;	/* bytes */

	struct member __rcu *member;	/* written under registry_mutex */

	/*
	 * Writes let in, and completed. Compared by the cut; never reset, so
	 * that they may be summed while they change.
	 */
	unsigned long __percpu *started;
	unsigned long __percpu *completed;

	spinlock_t lock;		/* protects what follows */
	bool gate_closed;
	bool running;			/* between resume and postsuspend */
	bool gone;			/* its last table is */
	struct bio_list gated;		/* writes at the closed gate */
	struct bio_list stalled;	/* image reads, see origin_stall() */

	const struct origin_ops *ops;
	struct work_struct go_on_work;

	atomic64_t nr_copies, nr_preserved, nr_held;	/* statistics */
	u64 nr_cuts;			/* snapshot->lock of its member */
};

/*
 * Finds the origin of @md, or makes it, and counts one more table. Returns
 * NULL without memory. Under registry_mutex.
 */
struct origin *origin_get_table(struct mapped_device *md, dev_t dev,
				const struct origin_ops *ops);

/*
 * Counts one table less. The last one makes the origin gone: what is stalled
 * is sent on, and the snapshot that held it is given up. Under registry_mutex.
 */
void origin_put_table(struct origin *origin);

/* The origin of the dm device @dev, or NULL. Under registry_mutex. */
struct origin *origin_find(dev_t dev);

void origin_get(struct origin *origin);
void origin_put(struct origin *origin);

/* Between these two the device's table is certain to be ours. */
void origin_run(struct origin *origin);
void origin_pause(struct origin *origin);

/*
 * Lets a write in and counts it. Returns false if the gate is closed: the bio
 * is queued or, if it must not wait, completed with EAGAIN; it is no longer
 * the caller's.
 */
bool origin_enter(struct origin *origin, struct bio *bio);

/* Counts a write as completed. Any context. */
void origin_leave(struct origin *origin);

/* For the cut: nothing is let in between these two. */
void origin_close_gate(struct origin *origin);
void origin_open_gate(struct origin *origin);

/* True if every write that was let in is completed. Gate closed. */
bool origin_drained(struct origin *origin);

/* Where the cut waits for origin_drained(). */
extern wait_queue_head_t origin_drain_waitq;

/*
 * Parks a read of an image until it is known whether the origin's table is
 * still ours. Returns false if it is, or the origin is gone. The caller
 * passes on a reference of the snapshot for the parked request.
 */
bool origin_stall(struct origin *origin, struct bio *bio);

/* Sends on all that is stalled, to look again at what they wait for. */
void origin_unstall(struct origin *origin);

/* After the last table: until what still holds references has ended. */
void origin_module_flush(void);
int origin_module_init(void);
void origin_module_exit(void);

#endif /* DIFFSNAP_ORIGIN_H */
