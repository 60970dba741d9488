/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Snapshots: a store, its members, the mode that they share, the cut.
 */
#ifndef DIFFSNAP_SNAPSHOT_H
#define DIFFSNAP_SNAPSHOT_H

#include <linux/device-mapper.h>
#include <linux/kref.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/workqueue.h>

#include "chunk_map.h"
#include "io.h"
#include "origin.h"
#include "store.h"

/* Only ever moves down this list; see snapshot_degrade(). */
enum snapshot_mode {
	SNAPSHOT_NEW,
	SNAPSHOT_ACTIVE,
	SNAPSHOT_OVERFLOW,	/* given up: the store was full */
	SNAPSHOT_INVALID,	/* given up for another reason */
	SNAPSHOT_DROPPED,	/* given up because somebody asked for it */
};

/* Parked requests that a worker takes on. */
struct retry {
	struct bio_list parked;
	struct work_struct work;
};

struct snapshot {
	struct kref refs;
	struct list_head node;		/* registry_mutex */
	struct mapped_device *md;	/* of the store; the key, not dereferenced */
	dev_t dev;
	char name[16];			/* major:minor of the store's device */
	unsigned int nr_tables;		/* registry_mutex */

	/* Of the store; 0 before its first resume; registry_mutex. */
	dev_t store_dev;		/* what its newest table lies on */
	unsigned int logical_block;	/* bytes */

	struct mutex lock;		/* one message at a time; members */
	struct list_head members;	/* grows until the cut, stays until freed */
	unsigned int nr_members;
	struct gate gate;		/* of all members */
	u64 closed_ns;			/* the gate was closed for the cut */

	spinlock_t mode_lock;		/* irqs off; changes of mode */
	enum snapshot_mode mode;	/* read without it */
	const char *what;		/* why it was given up, or NULL */
	int error;
	dev_t culprit;			/* the origin, or 0 */

	struct store store;
	mempool_t nodes;		/* of MAP_NODE_MAX bytes, for emergencies */
	struct delayed_work refill_work;	/* of nodes */

	spinlock_t retry_lock;		/* irqs off; the members' retry lists */

	struct mutex event_mutex;	/* protects event_ti */
	struct dm_target *event_ti;	/* where events are raised, or NULL */
	struct work_struct event_work;
	struct work_struct unstall_work;
	struct work_struct free_work;
};

struct member {
	struct snapshot *snapshot;
	struct list_head node;		/* in snapshot->members */
	struct origin *origin;		/* holds a reference */
	u64 nr_sectors;			/* of the origin, when added */
	u64 nr_chunks;

	spinlock_t lock;		/* protects what follows */
	struct chunk_map map;
	struct rb_root claims;		/* of struct copy, by chunk */
	unsigned int nr_changes;	/* of map and claims */

	/*
	 * Each member's own: who takes a request on may stand still in the queue
	 * of the origin's real device.
	 */
	struct retry origin_retry;	/* lists: snapshot->retry_lock */
	struct retry image_retry;

	struct feeder feeder;		/* protected by store->lock */

	struct llist_head done;		/* copies whose data is complete */
	struct work_struct done_work;	/* see cow.c */
	struct llist_head unpublished;	/* copies without memory for the map */
	struct work_struct publish_work;
};

/*
 * Finds the snapshot of @md, or makes it, and counts one more table. Returns
 * an ERR_PTR. Under registry_mutex.
 */
struct snapshot *snapshot_get_table(struct mapped_device *md, dev_t dev,
				    unsigned int chunk_sectors);

/* Counts one table less; the last one gives it up. Under registry_mutex. */
void snapshot_put_table(struct snapshot *snapshot);

/* The snapshot of the store's dm device @dev, or NULL. Under registry_mutex. */
struct snapshot *snapshot_find(dev_t dev);
/* True if a store other than that of @except lies on @dev. Under registry_mutex. */
bool snapshot_lies_on(dev_t dev, const struct mapped_device *except);

void snapshot_get(struct snapshot *snapshot);
/* For those who have only RCU: false if there is none to be had any more. */
bool snapshot_try_get(struct snapshot *snapshot);
void snapshot_put(struct snapshot *snapshot);

/* The member of @origin's device, or NULL. Under registry_mutex. */
struct member *snapshot_member(struct snapshot *snapshot, dev_t origin);

/* The messages of dm-diffsnap.rst; sleep. */
int snapshot_add(struct snapshot *snapshot, dev_t origin);
int snapshot_cut(struct snapshot *snapshot, unsigned int limit_ms);
int snapshot_drop(struct snapshot *snapshot);

/*
 * Moves the snapshot to a lower mode, once; says why, raises the event, sends
 * on what is parked. Any context.
 */
void snapshot_degrade(struct snapshot *snapshot, enum snapshot_mode mode,
		      const char *what, int error, dev_t culprit);

/* What an image consists of, in sectors. */
struct member_usage {
	u64 preserved, written, released;
};

void member_usage(struct member *member, struct member_usage *usage);

/* The origin of @member has gone. */
void member_lose_origin(struct member *member);

/* True while writes to the origin must be copied and images may be read. */
static inline bool snapshot_active(const struct snapshot *snapshot)
{
	/* Pairs with the release in snapshot_cut(). */
	return smp_load_acquire(&snapshot->mode) == SNAPSHOT_ACTIVE;
}

static inline bool snapshot_given_up(const struct snapshot *snapshot)
{
	return READ_ONCE(snapshot->mode) > SNAPSHOT_ACTIVE;
}

/* Sets where events are raised; NULL for nowhere. Sleeps. */
void snapshot_set_event_target(struct snapshot *snapshot, struct dm_target *ti);
void snapshot_clear_event_target(struct snapshot *snapshot, struct dm_target *ti);

/*
 * A node of MAP_NODE_MAX bytes from the reserve, which a worker fills up again;
 * NULL if it is used up. Any context.
 */
void *snapshot_take_node(struct snapshot *snapshot);

/*
 * Parks @io for a worker that may wait for memory, and takes what else it
 * waits for into account anew. Images' requests have a worker of their own: it
 * may also have to wait for the store, which no origin's write may. Any context.
 */
void snapshot_retry(struct snapshot *snapshot, struct diffsnap_io *io);

/* Likewise for requests that hold their references already. */
void snapshot_retry_parked(struct snapshot *snapshot, struct bio_list *parked);

/*
 * Takes parked requests on that hold a reference: origins' on the spot, images'
 * by snapshot_retry_parked(). Those could need the store; and one that is
 * published on the spot would in turn take on who waits for it, deeper each time.
 */
void io_go_on(struct bio_list *parked);

/* After the last table: until what still holds references has ended. */
void snapshot_module_flush(void);
int snapshot_module_init(void);
void snapshot_module_exit(void);

#endif /* DIFFSNAP_SNAPSHOT_H */
